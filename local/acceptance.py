#!/usr/bin/env python3
"""Runs SAM for the acceptance run (the crate acceptance/). The crate starts it; do not run it by hand.

    python3 local/acceptance.py deploy --stack NAME --region REGION --bucket BUCKET --architecture arm64|x86_64
                                       --run ID [KEY=VALUE ...]
    python3 local/acceptance.py correct     corrects a stack on the local AWS after its deployment; see signed_calls.py

The environment chooses account and endpoint. The script asks nothing and stores no answers, so a later `make deploy`
is not affected.
"""

import argparse
import os
import subprocess
import sys

import machine
import stack
from paths import REPOSITORY, SCRIPTS, Problem

TAG = "tandem-acceptance"


def main() -> int:
    try:
        arguments = parse_arguments()
        return arguments.verb(arguments)
    except Problem as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 1


def deploy(arguments) -> int:
    stack.require_functions()
    program, *options = command(arguments)
    os.chdir(REPOSITORY)
    # Replaces this process instead of starting a child, so that a signal to this process ends SAM.
    os.execve(program, [program, *options], os.environ | {"SAM_CLI_TELEMETRY": "0"})


def command(arguments) -> list[str]:
    return stack.sam_deploy(
        arguments.stack, arguments.region, arguments.bucket, arguments.architecture, arguments.parameters,
        "--tags", f"{TAG}={arguments.run}")


def correct(_arguments) -> int:
    command = [machine.program("emulator", "python"), SCRIPTS / "signed_calls.py", "correct-concurrency"]
    return subprocess.run([str(part) for part in command], cwd=REPOSITORY).returncode


def parse_arguments(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    adding = verbs.add_parser("deploy")
    adding.set_defaults(verb=deploy)
    for name in ("stack", "region", "bucket", "run"):
        adding.add_argument(f"--{name}", required=True)
    adding.add_argument("--architecture", choices=("arm64", "x86_64"), required=True)
    adding.add_argument("parameters", nargs="*", metavar="KEY=VALUE")
    verbs.add_parser("correct").set_defaults(verb=correct)
    return parser.parse_args(words)


if __name__ == "__main__":
    sys.exit(main())
