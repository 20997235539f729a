"""Deploys template.yaml into a local cloud, and says how to use it."""

import json
import os
import platform
import re
import subprocess
import textwrap

import emulator
import environment
import machine
import strict_s3
from paths import REPOSITORY, SCRIPTS, Cloud, Problem

STACK = "tandem"
ARTIFACTS = "tandem-artifacts"  # the bucket into which SAM puts the functions' code
# Topics of these names may deliver notifications. The tests create them.
LOCAL_TOPICS = [f"arn:aws:sns:{environment.REGION}:000000000000:tandem-notifications{more}" for more in ("", "-raw")]
# Accounts that the tests name as owners of destinations.
LOCAL_ACCOUNTS = ("444455556666", "111122223333")
# The concurrency of each function. One emulator process serves all invocations, so more would only wait.
LOCAL_PARAMETERS = ("LiveConcurrency=8", "BackfillConcurrency=4", f"NotificationTopics={','.join(LOCAL_TOPICS)}",
                    f"DestinationAccounts={','.join(LOCAL_ACCOUNTS)}")
FUNCTIONS = ("configure-rule", "replicate-put", "replicate-delete", "backfill", "backfill-shard", "copy-parts")


def deploy(cloud: Cloud, parameters: list[str]) -> None:
    """Deploys the unmodified template with SAM, as for AWS."""
    state = emulator.require_up(cloud)
    require_functions()
    print(f'deploying template.yaml into the local cloud "{cloud.name}"', flush=True)
    cloud.log("deploy").unlink(missing_ok=True)
    python, signed_calls = machine.program("emulator", "python"), SCRIPTS / "signed_calls.py"
    run_tool(cloud, [python, signed_calls, "make-bucket", ARTIFACTS])
    run_tool(cloud, sam_deploy(STACK, environment.REGION, ARTIFACTS, architecture(), [*LOCAL_PARAMETERS, *parameters]))
    run_tool(cloud, [python, signed_calls, "correct-concurrency"])
    cloud.write_state(state | {"stack": STACK})
    print(f'deployed the stack "{STACK}"')


def sam_deploy(name: str, region: str, bucket: str, processor: str, parameters: list[str], *options: str) -> list[str]:
    """Returns SAM's command line for a deployment that asks nothing, with its artifacts in the given bucket."""
    return [
        str(machine.program("sam", "sam")), "deploy",
        "--template-file", "template.yaml", "--stack-name", name, "--region", region,
        "--s3-bucket", bucket, "--s3-prefix", name, "--capabilities", "CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND",
        "--config-env", "local", "--no-confirm-changeset", "--no-fail-on-empty-changeset", "--no-progressbar",
        "--parameter-overrides", f"Architecture={processor}", *parameters, *options,
    ]


def run_tool(cloud: Cloud, command: list) -> None:
    """Runs a step of the deployment. Its output goes to the log, and is shown if the step fails."""
    variables = environment.for_tool(cloud.read_state()["port"], cloud.home, cloud.temporary)
    with open(cloud.log("deploy"), "ab") as log:
        done = subprocess.run([str(part) for part in command], cwd=REPOSITORY, env=variables,
                              stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    if done.returncode != 0:
        raise Problem(f"cannot deploy the stack; the end of the log:\n{emulator.tail(cloud, 'deploy', 40)}")


def require_functions() -> None:
    missing = [name for name in FUNCTIONS
               if not os.access(REPOSITORY / "target" / "lambda" / name / "bootstrap", os.X_OK)]
    if missing:
        raise Problem(f"the functions are not built ({', '.join(missing)}); build them with: make functions")


def architecture() -> str:
    machine_name = platform.machine().lower()
    if machine_name in ("x86_64", "amd64"):
        return "x86_64"
    if machine_name in ("arm64", "aarch64"):
        return "arm64"
    raise Problem(f"Lambda has no processor like this machine's ({machine_name}); use an x86-64 or arm64 machine")


def client_environment(cloud: Cloud) -> dict[str, str]:
    state = emulator.require_up(cloud)
    return environment.for_client(state["port"], STACK, strict_s3.url(state))


def shell_exports(cloud: Cloud) -> str:
    """Returns lines for a shell's eval: they unset variables that could lead elsewhere, and set the local cloud's."""
    variables = environment.aws_variables(emulator.require_up(cloud)["port"])
    variables["TANDEM_STACK_NAME"] = STACK
    stray = sorted(name for name in os.environ
                   if environment.is_dangerous(name) and name not in variables and re.fullmatch(r"\w+", name))
    lines = [f"unset {' '.join(stray)}"] if stray else []
    return "\n".join(lines + [f"export {name}='{value}'" for name, value in variables.items()])


def guide(cloud: Cloud) -> str:
    """Returns a text that says how to use the local cloud by hand."""
    state = emulator.require_up(cloud)
    named = "" if cloud.name == "local" else f" --name {cloud.name}"
    try:
        request = json.loads((REPOSITORY / "events/configure-rule/create.json").read_text())
    except (OSError, ValueError):
        request = {}
    source, destination = request.get("source", "photos"), request.get("destination", "photos-replica")
    return textwrap.dedent(f"""
        The local cloud "{cloud.name}" is up at {environment.endpoint(state['port'])} with the stack "{STACK}".

        1. Point this shell at it (only this shell, and never at a real account):

            eval "$(python3 local/cloud.py env{named})"

           No aws command? `python3 local/cloud.py install --aws` installs one as .local/bin/aws.

        2. Create two buckets, in two regions:

            aws s3 mb s3://{source} --region us-east-1
            aws s3 mb s3://{destination} --region us-west-2

        3. Create a rule: with the aws command, or with tandem (built by `make local`).
           You can send every other request in events/ in the same way.

            aws lambda invoke --function-name {STACK}-configure-rule \\
              --payload fileb://events/configure-rule/create.json /dev/stdout

            target/local/tandem rule create --source {source} --destination {destination}

        4. Put an object and list its replica, then delete it:

            echo hello | aws s3 cp - "s3://{source}/a file.txt"
            aws s3 ls s3://{destination} --region us-west-2
            aws s3 rm "s3://{source}/a file.txt"

        5. Read the functions' logs, and the state of the queues. (Version 1 of the aws command needs
           the option --endpoint-url for sqs. Without it, it sends to AWS, with credentials that are not valid there.)

            aws logs filter-log-events --log-group-name /aws/lambda/{STACK}-replicate-put \\
              --query 'events[].message'
            aws sqs get-queue-attributes --attribute-names All --endpoint-url "$AWS_ENDPOINT_URL" \\
              --queue-url "$AWS_ENDPOINT_URL/000000000000/{STACK}-put"

        Stop it with: make local-down
    """).strip("\n")
