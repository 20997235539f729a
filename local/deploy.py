#!/usr/bin/env python3
"""Deploys to a real AWS account with SAM: what was built, and samconfig.toml for the rest.

    python3 local/deploy.py [--stack NAME] [--region REGION] [--arch arm64|x86_64]
                             [--parameters "KEY=VALUE ..."] [-- SAM OPTIONS]

Stack and region are asked for the first time, and then known (.local/deploy.json); told otherwise, it is so once.
Everything else is a parameter of template.yaml with a default; one that was given once stays until it is
given again. SAM shows what it would change, and asks before it does so.
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
from paths import HOME, REPOSITORY, Problem

ANSWERS = HOME / "deploy.json"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stack", default="")
    parser.add_argument("--region", default="")
    parser.add_argument("--arch", choices=("arm64", "x86_64"), default="arm64")
    parser.add_argument("--parameters", type=shlex.split, default=[], metavar='"KEY=VALUE ..."')
    own, sam = split(sys.argv[1:])
    arguments = parser.parse_args(own)
    try:
        for parameter in arguments.parameters:
            if "=" not in parameter:
                raise Problem(f'"{parameter}" is no parameter; write KEY=VALUE')
        stack.require_functions()
        name, region = where(arguments.stack, arguments.region)
        machine.install("sam")
        return subprocess.run(command(name, region, arguments.arch, arguments.parameters, sam),
                              cwd=REPOSITORY).returncode
    except Problem as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, EOFError):
        return 130


def split(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Our own arguments, and SAM's, after the first "--"."""
    at = arguments.index("--") if "--" in arguments else len(arguments)
    return arguments[:at], arguments[at + 1:]


def command(name: str, region: str, arch: str, parameters: list[str], sam: list[str]) -> list[str]:
    # SAM takes no empty value but one in quotes.
    given = [f'{parameter}""' if parameter.endswith("=") else parameter for parameter in parameters]
    return [str(machine.program("sam", "sam")), "deploy", "--stack-name", name, "--s3-prefix", name, "--region", region,
            "--parameter-overrides", f"Architecture={arch}", *given, *sam]


def where(name: str, region: str) -> tuple[str, str]:
    """The stack's name and region: as told, as answered before, or as answered now."""
    try:
        before = json.loads(ANSWERS.read_text())
    except (OSError, ValueError):
        before = {}
    name = name or before.get("stack") or ask("STACK", "Name of the stack", "tandem")
    region = (region or before.get("region")
              or ask("REGION", "Region of your source buckets",
                     os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"))
    if not re.fullmatch(r"[a-z][a-z0-9-]{0,39}", name):
        raise Problem(f'"{name}" cannot name a stack: small letters, digits and "-", at most 40 of them')
    if not re.fullmatch(r"[a-z]{2,}(-[a-z]+)+-\d", region):
        raise Problem(f'"{region}" is no region; one is us-east-1')
    if not before:
        ANSWERS.parent.mkdir(exist_ok=True)
        ANSWERS.write_text(json.dumps({"stack": name, "region": region}) + "\n")
    return name, region


def ask(variable: str, question: str, default: str) -> str:
    if not sys.stdin.isatty():
        raise Problem(f"{question.lower()}? Say it with: make deploy {variable}={default}")
    return input(f"{question} [{default}]: ").strip() or default


if __name__ == "__main__":
    sys.exit(main())
