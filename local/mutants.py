#!/usr/bin/env python3
"""Breaks the code on purpose, one mutant at a time, and checks that a test detects it.

    python3 local/mutants.py install
    python3 local/mutants.py run --suite domain|process [--shard 1/4] [--file PATH ...] [--minutes 55]

cargo-mutants finds the mutants; this script applies them to a copy of the repository, builds it, and runs the tests
that should detect them. The suite "domain" runs the unit tests and the searches of tandem-replication. The suite
"process" runs the functions' own processes and needs a local cloud (`make mutants` starts one). Mutants that are known
to be harmless are in .cargo/mutants.toml, each with the reason; docs/testing.md has more.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from cargo_tool import CargoTool
from paths import HOME, Problem, REPOSITORY

MUTANTS = CargoTool("cargo-mutants", "26.0.0", ["mutants", "--version"])
WORK = HOME / "mutants"
TREE = WORK / "tree"
TARGET = WORK / "target"

# Files that do not exist are left out.
DOMAIN = [f"shared/replication/src/{name}.rs" for name in (
    "admit", "decide", "deferral", "failure_record", "in_flight", "page_plan", "replicator", "shard", "shard_session",
    "shard_state", "transfer")] + [f"shared/replication/src/{name}/*.rs" for name in (
        "key_list", "replicator", "shard_session", "transfer")]
DOMAIN_TESTS = ["cargo", "test", "--profile", "local", "-p", "tandem-replication"]
# Files that only the functions' processes run, with the tests that should detect their mutants.
PROCESS = {
    "functions/backfill-shard/src/listing_page.rs": ["jobs::"],
    "functions/backfill-shard/src/manifest_page.rs": ["jobs::"],
    "functions/backfill-shard/src/page_object.rs": ["jobs::"],
    "functions/backfill-shard/src/shard_loop.rs": ["jobs::"],
    "shared/aws/src/s3/multipart.rs": ["transfers::"],
    "shared/lambda/src/services.rs": ["failures::", "protocol_faults::"],
}
# Tests of tandem-replication in the order in which they run: the first that fails catches the mutant. The unit tests
# and the scripted ones take seconds. Of the searches, the one that covers the file runs first.
QUICK = ["--lib", "--test", "attempts", "--test", "jobs", "--test", "resume", "--test", "key_lists"]
SEARCHES = {
    "every_schedule": ["admit", "decide", "replicator", "in_flight"],
    "key_lifecycle": ["deferral", "failure_record"],
    "shard_sessions": ["page_plan", "shard", "shard_session", "shard_state"],
    "transfers": ["transfer"],
}
FUNCTIONS = ["configure-rule", "replicate-put", "replicate-delete", "backfill", "backfill-shard", "copy-parts"]

# A mutant counts as hanging, and as caught, after this many times the duration of the tests without one, and a minute.
PATIENCE = 4
# `make mutants` runs both suites, within two hours.
MINUTES_MAX = 55


class Suite:
    """The files to mutate, how to build a mutated tree, and the tests to run."""

    def __init__(self, name: str, files: "list[str]"):
        self.name = name
        known = DOMAIN if name == "domain" else list(PROCESS)
        self.files = files or [pattern for pattern in known if any(REPOSITORY.glob(pattern))]

    def build(self) -> "list[str]":
        if self.name == "domain":
            return [*DOMAIN_TESTS, *QUICK, "--no-run"]
        return ["cargo", "build", "--profile", "local", "--workspace", "--bins", "--test", "flows"]

    def tests(self, file: "str | None") -> "list[list[str]]":
        """Returns the commands that test a mutant of this file; they run one after the other until one fails."""
        if self.name == "domain":
            module = file and Path(file).relative_to("shared/replication/src").parts[0].removesuffix(".rs")
            searches = sorted(SEARCHES, key=lambda search: module not in SEARCHES[search])
            return [[*DOMAIN_TESTS, *QUICK], *([*DOMAIN_TESTS, "--test", search] for search in searches)]
        filters = PROCESS.get(file, ["jobs::"]) if file else sorted({name for names in PROCESS.values() for name in names})
        return [["cargo", "test", "--profile", "local", "--workspace", "--bin", "backfill-shard", "--test", "flows", "--",
                 *filters]]

    def stage(self) -> None:
        """Copies the functions to where the tests start them."""
        if self.name == "domain":
            return
        for name in FUNCTIONS:
            place = TARGET / "lambda" / name / "bootstrap"
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(TARGET / "local" / name, place)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("install")
    run = verbs.add_parser("run")
    run.add_argument("--suite", choices=["domain", "process"], required=True)
    run.add_argument("--shard", type=shard, default=(1, 1), help="one part of all mutants, such as 1/4")
    run.add_argument("--file", action="append", default=[])
    run.add_argument("--minutes", type=float, default=MINUTES_MAX)
    arguments = parser.parse_args()
    try:
        MUTANTS.install()
        if arguments.verb == "install":
            return 0
        suite = Suite(arguments.suite, arguments.file)
        return run_suite(suite, found(suite.files, arguments.shard), time.monotonic() + arguments.minutes * 60)
    except Problem as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def shard(text: str) -> "tuple[int, int]":
    """Reads "1/4"."""
    number, _, count = text.partition("/")
    if not (number.isdigit() and count.isdigit() and 1 <= int(number) <= int(count)):
        raise argparse.ArgumentTypeError(f'"{text}" is not a shard such as 1/4')
    return int(number), int(count)


def found(files: "list[str]", part: "tuple[int, int]") -> "list[dict]":
    """Returns the mutants of these files, or every n-th of them."""
    chosen = [word for file in files for word in ("--file", file)]
    listed = subprocess.run([MUTANTS.program, "mutants", "--list", "--json", "--diff", *chosen],
                            cwd=REPOSITORY, capture_output=True, text=True)
    if listed.returncode:
        raise Problem(listed.stderr)
    number, count = part
    return json.loads(listed.stdout)[number - 1::count]


def named(mutant: dict) -> str:
    """Returns a mutant in one line: its place and its replacement. .cargo/mutants.toml names it by this line."""
    start = mutant["span"]["start"]
    replaced = next(line for line in mutant["diff"].splitlines() if line.startswith("+++ "))
    return f"{mutant['file']}:{start['line']}:{start['column']}: {replaced.removeprefix('+++ ')}"


def run_suite(suite: Suite, mutants: "list[dict]", end: float) -> int:
    copy_tree()
    print(f"{suite.name}: {len(mutants)} mutants", flush=True)
    began = time.monotonic()
    if run(suite.build(), None) != 0:
        raise Problem(f"cannot test mutants: without any mutant this fails: {' '.join(suite.build())}")
    suite.stage()
    # By test command: how long a mutant may take before it counts as hanging.
    patience: "dict[str, float]" = {}
    for command in suite.tests(None):
        began = time.monotonic()
        if run(command, None) != 0:
            raise Problem(f"cannot test mutants: without any mutant this fails: {' '.join(command)}")
        patience[command[-1]] = PATIENCE * (time.monotonic() - began) + 60
    results: "dict[str, list[str]]" = {"caught": [], "missed": [], "unviable": [], "not tried": []}
    for mutant in mutants:
        if time.monotonic() > end:
            result = "not tried"
        else:
            result = tried(suite, mutant, patience)
        results[result].append(named(mutant))
        if result != "not tried":
            print(f"{result:<10} {named(mutant)}", flush=True)
    print(", ".join(f"{len(names)} {result}" for result, names in results.items()))
    for result in ("missed", "not tried"):
        for name in results[result]:
            print(f"{result}: {name}")
    return 1 if results["missed"] or results["not tried"] else 0


def tried(suite: Suite, mutant: dict, patience: "dict[str, float]") -> str:
    """Applies one mutant to the copy, tests it, and reverts it."""
    file = TREE / mutant["file"]
    whole = file.read_text()
    applied = subprocess.run(["patch", "--silent", "--no-backup-if-mismatch", mutant["file"]], cwd=TREE, input=mutant["diff"], text=True)
    try:
        if applied.returncode:
            raise Problem(f"cannot apply {named(mutant)}")
        if run(suite.build(), None, quiet=True) != 0:
            return "unviable"
        suite.stage()
        commands = suite.tests(mutant["file"])
        noticed = any(run(command, patience.get(command[-1], 600), quiet=True) != 0 for command in commands)
        return "caught" if noticed else "missed"
    finally:
        file.write_text(whole)


def run(command: "list[str]", patience: "float | None", *, quiet: bool = False) -> "int | None":
    """Runs a command in the copy. Returns its exit code, or None if it took too long and was killed."""
    environment = {**os.environ, "CARGO_TARGET_DIR": str(TARGET), "PROPTEST_DISABLE_FAILURE_PERSISTENCE": "1"}
    process = subprocess.Popen(command, cwd=TREE, env=environment, start_new_session=True,
                               stdout=subprocess.DEVNULL if quiet else None,
                               stderr=subprocess.DEVNULL if quiet else None)
    try:
        return process.wait(timeout=patience)
    except subprocess.TimeoutExpired:
        return None
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def copy_tree() -> None:
    """Copies the files of the repository, also untracked ones, and keeps their times, so that unchanged files are not
    built again."""
    listed = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"], cwd=REPOSITORY,
                            capture_output=True, text=True, check=True).stdout
    names = [name for name in listed.split("\0") if name and (REPOSITORY / name).is_file()]
    shutil.rmtree(TREE, ignore_errors=True)
    for name in names:
        place = TREE / name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(REPOSITORY / name, place)


if __name__ == "__main__":
    sys.exit(main())
