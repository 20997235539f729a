#!/usr/bin/env python3
"""Manages the local cloud: an AWS emulator on this machine, with Tandem deployed into it.

    python3 local/cloud.py doctor                     checks this machine, and prints what is missing
    python3 local/cloud.py install [--aws] [--checkov]    installs emulator and SAM into .local/
    python3 local/cloud.py up      [--name N] [--port P] [--limit LIMIT=NUMBER]
    python3 local/cloud.py deploy  [--name N] [KEY=VALUE ...]     template parameters
    python3 local/cloud.py env     [--name N]         prints settings for a shell: eval "$(...)"
    python3 local/cloud.py run     [--name N] -- COMMAND...       runs a command against it
    python3 local/cloud.py guide   [--name N]         prints how to use it by hand
    python3 local/cloud.py status
    python3 local/cloud.py down    [--name N | --all]
    python3 local/cloud.py with    [--name N] [--set KEY=VALUE] [--limit LIMIT=NUMBER] [--strict-s3] -- COMMAND...
                                                      up, deploy, run, and always down

The emulator enforces IAM: the functions may do only what template.yaml allows. With --no-iam (of up
and with) everything is allowed. The emulator also enforces limits of AWS; local/limits.py lists them,
and --limit (of up and with) changes one, such as --limit account_concurrency=10. With --strict-s3 (of
with) a second, stricter S3 runs beside it, for tests; the command finds its address in
TANDEM_STRICT_S3_URL.

Several local clouds can run side by side; each has a name ("local" by default). They write only to
files under .local/. None can reach a real AWS account: see environment.py.
"""

import argparse
import os
import signal
import subprocess
import sys

if sys.version_info < (3, 10):  # before the imports below, which need it
    sys.exit(f"error: Python 3.10 or newer is needed; {sys.executable} is {sys.version.split()[0]}\n"
             "       Install it, then: make PYTHON=python3.12 ...")

sys.pycache_prefix = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), ".local", "pycache")

import emulator
import limits
import machine
import stack
import strict_s3
from paths import Cloud, Problem, REPOSITORY


def main() -> int:
    # A terminated run must still stop its emulator, so it ends as with Ctrl-C.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _frame: sys.exit(128 + number))
    try:
        arguments = parse_arguments()
        return arguments.verb(arguments) or 0
    except Problem as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def doctor(_arguments) -> int:
    return machine.doctor()


def install(arguments) -> None:
    if arguments.checkov:
        machine.install("checkov")
    else:
        machine.install("emulator", "sam", *(["aws"] if arguments.aws else []))


def up(arguments) -> None:
    emulator.start(arguments.cloud, arguments.port, iam=arguments.iam, limits=dict(arguments.limit))


def deploy(arguments) -> None:
    stack.deploy(arguments.cloud, arguments.parameters)


def env(arguments) -> None:
    print(stack.shell_exports(arguments.cloud))


def run(arguments) -> int:
    return run_command(arguments.cloud, arguments.command)


def guide(arguments) -> None:
    print(stack.guide(arguments.cloud))


def status(_arguments) -> None:
    clouds = Cloud.all()
    for cloud in clouds:
        print(f"{cloud.name}: {emulator.describe(cloud)}")
    if not clouds:
        print("no local cloud is running")


def down(arguments) -> None:
    for cloud in Cloud.all() if arguments.all else [arguments.cloud]:
        emulator.stop(cloud)


def with_cloud(arguments) -> int:
    """Runs one command against a new cloud of its own, and stops the cloud afterwards in every case."""
    cloud = arguments.cloud
    with cloud.lock():
        emulator.stop(cloud, quiet=True)  # a killed run may have left it running
        code = 1
        try:
            emulator.start(cloud, arguments.port, iam=arguments.iam, limits=dict(arguments.limit))
            if arguments.strict_s3:
                strict_s3.start(cloud)
            stack.deploy(cloud, arguments.set)
            if arguments.strict_s3:
                strict_s3.await_healthy(cloud)
            code = run_command(cloud, arguments.command)
        except KeyboardInterrupt:
            code = 130
        except SystemExit as end:  # a signal; see main
            code = end.code
        finally:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)
            emulator.stop(cloud, keep_logs=code != 0, quiet=True)
        if code != 0:
            print(f"failed (exit code {code}); the logs of the local cloud are in "
                  f"{cloud.folder.relative_to(REPOSITORY)}/", file=sys.stderr)
        return code


def run_command(cloud: Cloud, command: list[str]) -> int:
    """Runs a command against the cloud, passes signals on to it, and returns its exit code."""
    variables = stack.client_environment(cloud)
    process, received = None, []

    def pass_on(number, _frame):
        received.append(number)
        if process and number != signal.SIGINT:  # the terminal itself sends Ctrl-C to the command
            process.send_signal(number)

    previous = {number: signal.signal(number, pass_on)
                for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        process = subprocess.Popen(command, env=variables)
        if received:  # before the command was started
            process.send_signal(received[0])
        code = process.wait()
    except OSError as error:
        raise Problem(f"cannot run {command[0]}: {error.strerror}") from error
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    if code == 0 and received:
        code = -received[0]
    return code if code >= 0 else 128 - code


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="local/cloud.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(required=True, metavar="VERB")

    def verb(name, function, *, named=True):
        adding = verbs.add_parser(name)
        adding.set_defaults(verb=function)
        if named:
            adding.add_argument("--name", dest="cloud", type=Cloud.named, default="local")
        return adding

    verb("doctor", doctor, named=False)
    adding = verb("install", install, named=False)
    adding.add_argument("--aws", action="store_true", help="install the aws command too")
    adding.add_argument("--checkov", action="store_true", help="install only checkov")
    adding = verb("up", up)
    adding.add_argument("--port", type=port, default=emulator.DEFAULT_PORT)
    adding.add_argument("--no-iam", dest="iam", action="store_false")
    adding.add_argument("--limit", type=limit, action="append", default=[], metavar="LIMIT=NUMBER")
    verb("deploy", deploy).add_argument("parameters", nargs="*", type=parameter, metavar="KEY=VALUE")
    verb("env", env)
    verb("run", run).add_argument("command", nargs=argparse.REMAINDER)
    verb("guide", guide)
    verb("status", status, named=False)
    verb("down", down).add_argument("--all", action="store_true")
    adding = verb("with", with_cloud)
    adding.add_argument("--port", type=port, default=None, help="(default: a free one)")
    adding.add_argument("--no-iam", dest="iam", action="store_false")
    adding.add_argument("--limit", type=limit, action="append", default=[], metavar="LIMIT=NUMBER")
    adding.add_argument("--strict-s3", action="store_true")
    adding.add_argument("--set", type=parameter, action="append", default=[], metavar="KEY=VALUE")
    adding.add_argument("command", nargs=argparse.REMAINDER)

    arguments = parser.parse_args()
    if hasattr(arguments, "command"):
        arguments.command = arguments.command[arguments.command[:1] == ["--"]:]
        if not arguments.command:
            parser.error("no command to run: give one after --")
    return arguments


def port(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text} is not a port: give a number from 1 to 65535")
    return int(text)


def limit(text: str) -> tuple[str, int]:
    try:
        return limits.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def parameter(text: str) -> str:
    if "=" not in text:
        raise argparse.ArgumentTypeError(f"{text} is not of the form KEY=VALUE")
    return text


if __name__ == "__main__":
    os.chdir(REPOSITORY)
    sys.exit(main())
