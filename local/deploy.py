#!/usr/bin/env python3
"""Deploys the built functions to a real AWS account with SAM. samconfig.toml has SAM's other settings.

    python3 local/deploy.py [--stack NAME] [--region REGION] [--arch arm64|x86_64]
                             [--parameters "KEY=VALUE ..."] [--protect on|off] [-- SAM OPTIONS]

The script asks for stack and region the first time, and stores them (.local/deploy.json); --stack and --region apply to
one deployment. Every other setting is a parameter of template.yaml with a default; a parameter keeps the value that was
last given. SAM shows the changes, and asks before it makes them.

Before that, the script compares the account's Lambda concurrency with the parameters that limit it. If the account has
less, the script suggests smaller values. --protect sets the stack's termination protection after the deployment.
"""

import argparse
import json
import os
import re
import shlex
import subprocess
import sys

import machine
import stack
from paths import HOME, REPOSITORY, SCRIPTS, Problem

ANSWERS = HOME / "deploy.json"

# The parameters that limit concurrency, with how many functions each limits.
SHARES = {"LiveConcurrency": 2, "BackfillConcurrency": 1, "TransferConcurrency": 1}
# The concurrency kept for the functions that answer requests, configure-rule and backfill.
FOR_REQUESTS = 2
# The minimum of Lambda (Lambda developer guide, "Configuring maximum concurrency for Amazon SQS event sources").
SHARE_MIN = 2


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stack", default="")
    parser.add_argument("--region", default="")
    parser.add_argument("--arch", choices=("arm64", "x86_64"), default="arm64")
    parser.add_argument("--parameters", type=shlex.split, default=[], metavar='"KEY=VALUE ..."')
    parser.add_argument("--protect", choices=("on", "off", ""), default="")
    own, sam = split(sys.argv[1:])
    arguments = parser.parse_args(own)
    try:
        for parameter in arguments.parameters:
            if "=" not in parameter:
                raise Problem(f'"{parameter}" is not a parameter; write KEY=VALUE')
        stack.require_functions()
        name, region = where(arguments.stack, arguments.region)
        machine.install("sam")
        account = facts(name, region)
        parameters = replaced(arguments.parameters, fitting(account, arguments.parameters))
        deployed = subprocess.run(command(name, region, arguments.arch, parameters, sam), cwd=REPOSITORY).returncode
        if deployed == 0:
            protect(name, region, arguments.protect, account)
        return deployed
    except Problem as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, EOFError):
        return 130


def split(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Returns the script's own arguments, and those after the first "--", which are SAM's."""
    at = arguments.index("--") if "--" in arguments else len(arguments)
    return arguments[:at], arguments[at + 1:]


def command(name: str, region: str, arch: str, parameters: list[str], sam: list[str]) -> list[str]:
    # SAM accepts an empty value only in quotes.
    given = [f'{parameter}""' if parameter.endswith("=") else parameter for parameter in parameters]
    return [str(machine.program("sam", "sam")), "deploy", "--stack-name", name, "--s3-prefix", name, "--region", region,
            "--parameter-overrides", f"Architecture={arch}", *given, *sam]


def ask_account(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run([str(machine.program("sam", "python")), str(SCRIPTS / "account.py"), *arguments],
                          capture_output=True, text=True)


def facts(name: str, region: str) -> dict:
    """Returns the facts that account.py has read. They are optional, so an error is only printed."""
    answer = ask_account("facts", name, region)
    try:
        found = json.loads(answer.stdout)
    except ValueError:
        found = {"unknown": answer.stderr.strip().splitlines()[-1:]}
    for problem in found["unknown"]:
        print(f"note: cannot read the account's settings: {problem}", file=sys.stderr)
    return found


def fitting(account: dict, given: list[str]) -> list[str]:
    """Returns parameters that fit the account's concurrency, if the present ones do not and the user accepts these."""
    if "concurrency" not in account:
        return []
    concurrency = account["concurrency"]
    shares = asked_shares(account.get("parameters", {}), given)
    if total(shares) <= concurrency:
        return []
    smaller = [f"{name}={share}" for name, share in fitted(shares, concurrency - FOR_REQUESTS).items()]
    print(f"The functions may need {total(shares)} concurrent executions, and the account has {concurrency} for them. "
          "Lambda would throttle\nthem: everything is replicated, but more slowly. These parameters fit:\n\n"
          f'    make deploy PARAMETERS="{" ".join(smaller)}"\n\n'
          'or ask AWS for a higher quota (Service Quotas, Lambda, "Concurrent executions").')
    if not sys.stdin.isatty():
        print("The deployment does not apply them, because it has no terminal to ask on.")
        return []
    return smaller if input("Deploy with these? [Y/n]: ").strip().lower() in ("", "y", "yes") else []


def replaced(given: list[str], others: list[str]) -> list[str]:
    """Returns the given parameters; others of the same name replace them."""
    names = [other.split("=")[0] for other in others]
    return [one for one in given if one.split("=")[0] not in names] + others


def asked_shares(before: dict[str, str], given: list[str]) -> dict[str, int]:
    """Returns the limits that would be deployed: given now, given before, or the template's defaults."""
    now = dict(parameter.split("=", 1) for parameter in given)
    defaults = template_defaults()
    shares = {}
    for name in SHARES:
        value = now.get(name) or before.get(name) or defaults[name]
        if not value.isdecimal():
            raise Problem(f'{name}="{value}" is no number; write {name}={defaults[name]}')
        shares[name] = int(value)
    return shares


def template_defaults() -> dict[str, str]:
    template = (REPOSITORY / "template.yaml").read_text()
    return {name: re.search(rf"^  {name}:\n    Type: Number\n    Default: (\d+)$", template, re.MULTILINE)[1]
            for name in SHARES}


def total(shares: dict[str, int]) -> int:
    return FOR_REQUESTS + sum(share * SHARES[name] for name, share in shares.items())


def fitted(shares: dict[str, int], concurrency: int) -> dict[str, int]:
    """Scales the limits down in proportion, none below the minimum that Lambda accepts."""
    wanted = sum(share * SHARES[name] for name, share in shares.items())
    smaller = {name: max(SHARE_MIN, share * concurrency // wanted) for name, share in shares.items()}
    # Raising one limit to the minimum may leave too little for the others.
    for name in sorted(SHARES, key=lambda name: -smaller[name]):
        over = sum(share * SHARES[one] for one, share in smaller.items()) - concurrency
        if over > 0:
            smaller[name] = max(SHARE_MIN, smaller[name] + -over // SHARES[name])
    return smaller


def protect(name: str, region: str, wanted: str, account: dict) -> None:
    """Sets termination protection if the user has asked for it; otherwise prints how to set it."""
    if not wanted:
        if not account.get("is_protected", False):
            print(f"One command can delete the stack. To protect it: make deploy STACK={name} REGION={region} "
                  "PROTECT=on")
        return
    answer = ask_account("protect", name, region, wanted)
    if answer.returncode != 0:
        raise Problem(f"the stack {name} is deployed, but its termination protection could not be set to {wanted}: "
                      f"{answer.stderr.strip()}; allow cloudformation:UpdateTerminationProtection, then try again")
    print(f"Termination protection of the stack {name} is {wanted}.")


def where(name: str, region: str) -> tuple[str, str]:
    """Returns the stack's name and region: as given, as stored, or as answered now."""
    try:
        before = json.loads(ANSWERS.read_text())
    except (OSError, ValueError):
        before = {}
    name = name or before.get("stack") or ask("STACK", "Name of the stack", "tandem")
    region = (region or before.get("region")
              or ask("REGION", "Region of your source buckets",
                     os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"))
    if not re.fullmatch(r"[a-z][a-z0-9-]{0,39}", name):
        raise Problem(f'"{name}" cannot name a stack: use small letters, digits and "-", at most 40 of them')
    if not re.fullmatch(r"[a-z]{2,}(-[a-z]+)+-\d+", region):
        raise Problem(f'"{region}" is not a region; write one such as us-east-1')
    if not before:
        ANSWERS.parent.mkdir(exist_ok=True)
        ANSWERS.write_text(json.dumps({"stack": name, "region": region}) + "\n")
    return name, region


def ask(variable: str, question: str, default: str) -> str:
    if not sys.stdin.isatty():
        raise Problem(f"cannot ask for the {question.lower()} without a terminal; "
                      f"give it with: make deploy {variable}={default}")
    return input(f"{question} [{default}]: ").strip() or default


if __name__ == "__main__":
    sys.exit(main())
