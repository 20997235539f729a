"""Reads the facts that a deployment needs from a real AWS account, and sets termination protection there. deploy.py
runs this script with the Python of SAM's installation, which has boto3. The script uses the user's ordinary
credentials, as SAM does.

    account.py facts STACK REGION              prints JSON: the account's concurrency, and the stack's state
    account.py protect STACK REGION on|off     sets the stack's termination protection
"""

import json
import sys

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

# Short, because the user waits.
SETTINGS = Config(connect_timeout=5, read_timeout=10, retries={"total_max_attempts": 2})


def facts(session, stack: str) -> dict:
    """Returns the facts. Those that could not be read are missing; "unknown" lists the errors."""
    found, unknown = {}, []
    try:
        limit = session.client("lambda", config=SETTINGS).get_account_settings()["AccountLimit"]
        found["concurrency"] = limit["UnreservedConcurrentExecutions"]
    except (BotoCoreError, ClientError) as error:
        unknown.append(str(error))
    try:
        described = session.client("cloudformation", config=SETTINGS).describe_stacks(StackName=stack)["Stacks"][0]
        found["parameters"] = {one["ParameterKey"]: one["ParameterValue"] for one in described.get("Parameters", [])}
        found["is_protected"] = described.get("EnableTerminationProtection", False)
    except (BotoCoreError, ClientError) as error:
        if "does not exist" not in str(error):
            unknown.append(str(error))
    return found | {"unknown": unknown}


def protect(session, stack: str, is_on: bool) -> None:
    session.client("cloudformation", config=SETTINGS).update_termination_protection(
        StackName=stack, EnableTerminationProtection=is_on)


def main(arguments: list[str]) -> int:
    what, stack, region, *more = arguments
    try:
        session = boto3.Session(region_name=region)
        if what == "facts":
            print(json.dumps(facts(session, stack)))
        else:
            protect(session, stack, more == ["on"])
    except (BotoCoreError, ClientError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
