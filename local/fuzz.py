#!/usr/bin/env python3
"""Runs all property tests with one fresh seed after another, until the time is up.

    python3 local/fuzz.py [--minutes 10] [--seed N] [--only TEXT]

`make test` runs these tests with the one seed of .cargo/config.toml. This script prints every seed that it uses. A test
that fails writes its case into a proptest-regressions file next to its crate. Every later run of the test, also by
`make test`, replays that case: commit the file with the fix.
"""

import argparse
import json
import os
import re
import secrets
import subprocess
import sys
import time
from pathlib import Path

from paths import Problem, REPOSITORY

# A package that depends on one of these crates may have property tests.
PROPERTY_CRATE = "proptest"
# Its tests need a local cloud.
LEFT_OUT = "tandem-tests"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, help="the first seed; the next rounds count up from it")
    parser.add_argument("--only", default="", help="run only tests whose name contains this text")
    arguments = parser.parse_args()
    seed = secrets.randbits(32) if arguments.seed is None else arguments.seed
    try:
        return fuzz(seed, arguments.minutes * 60, arguments.only)
    except Problem as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def fuzz(first_seed: int, seconds: float, only: str) -> int:
    binaries = [binary for binary in built() if binary.keep(only)]
    count = sum(len(binary.tests) for binary in binaries)
    if not count:
        raise Problem(f"no property test has {only!r} in its name")
    print(f"{count} property tests in {len(binaries)} test binaries, first seed {first_seed}", flush=True)
    end = time.monotonic() + seconds
    failed: "dict[str, int]" = {}
    seed = first_seed
    while True:
        print(f"seed {seed}", flush=True)
        for binary in binaries:
            for test in binary.run(seed):
                failed.setdefault(test, seed)
                print(f"FAILED {test}; to repeat: make fuzz SEED={seed} MINUTES=0 ONLY={test.rsplit('::', 1)[-1]}",
                      flush=True)
        seed += 1
        if time.monotonic() >= end:
            break
    print(f"{seed - first_seed} seeds, {len(failed)} tests failed")
    if failed:
        print("new cases are in:", *regressions(), sep="\n  ")
    return 1 if failed else 0


class Binary:
    """A test binary and the property tests in it."""

    def __init__(self, executable: Path, package: Path):
        self.executable = executable
        self.package = package
        self.tests: "list[str]" = []

    def keep(self, only: str) -> bool:
        """Finds the binary's property tests whose name contains `only`. Returns whether there are any."""
        known = {name for source in self.package.rglob("*.rs") for name in property_tests(source.read_text())}
        listed = subprocess.run([self.executable, "--list", "--format", "terse"], cwd=self.package,
                                capture_output=True, text=True, check=True).stdout
        names = [line.removesuffix(": test") for line in listed.splitlines() if line.endswith(": test")]
        self.tests = [name for name in names if name.rsplit("::", 1)[-1] in known and only in name]
        return bool(self.tests)

    def run(self, seed: int) -> "list[str]":
        """Runs the tests with this seed, and returns the names of those that failed."""
        environment = {**os.environ, "PROPTEST_RNG_SEED": str(seed), "CARGO_MANIFEST_DIR": str(self.package)}
        ran = subprocess.run([self.executable, "--exact", *self.tests], cwd=self.package, env=environment,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if ran.returncode == 0:
            return []
        print(ran.stdout, flush=True)
        return failures(ran.stdout) or [self.executable.name]


def failures(output: str) -> "list[str]":
    """Returns the names of the failed tests in a test binary's output."""
    return re.findall(r"^test (\S+) \.\.\. FAILED$", output, re.MULTILINE)


def property_tests(source: str) -> "list[str]":
    """Returns the names of the tests inside the proptest! blocks of a source file.

    rustfmt puts the end of a block in the column of its beginning.
    """
    blocks = re.findall(r"^( *)proptest! \{\n(.*?)\n\1\}$", source, re.MULTILINE | re.DOTALL)
    return [name for _, block in blocks for name in re.findall(r"#\[test\]\s+fn (\w+)", block)]


def built() -> "list[Binary]":
    """Builds the test binaries of all packages with property tests, with the features that `make test` uses."""
    asked = subprocess.run(["cargo", "metadata", "--no-deps", "--format-version", "1"], cwd=REPOSITORY,
                           capture_output=True, text=True)
    if asked.returncode:
        raise Problem(asked.stderr)
    packages = {package["id"] for package in json.loads(asked.stdout)["packages"]
                if package["name"] != LEFT_OUT
                and any(dependency["name"] == PROPERTY_CRATE for dependency in package["dependencies"])}
    build = subprocess.run(["cargo", "test", "--profile", "local", "--workspace", "--no-run",
                            "--message-format", "json-render-diagnostics"],
                           cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
    if build.returncode:
        raise Problem("cannot build the tests: see cargo's error above")
    messages = [json.loads(line) for line in build.stdout.splitlines() if line.startswith("{")]
    return [Binary(Path(message["executable"]), Path(message["manifest_path"]).parent) for message in messages
            if message["reason"] == "compiler-artifact" and message.get("executable")
            and message["profile"]["test"] and message["package_id"] in packages]


def regressions() -> "list[str]":
    """Returns the regression files that differ from the last commit."""
    status = subprocess.run(["git", "status", "--porcelain", "--untracked-files=all"], cwd=REPOSITORY,
                            capture_output=True, text=True, check=True).stdout
    changed = [line[3:] for line in status.splitlines()]
    return [path for path in changed if "proptest-regressions" in path]


if __name__ == "__main__":
    sys.exit(main())
