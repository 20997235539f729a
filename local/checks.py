#!/usr/bin/env python3
"""Runs the checks of `make check` or `make test` side by side where they do not need each other, and says how long
each took.

    python3 local/checks.py check|test

A step starts when the steps that it needs have passed. Its output goes to .local/checks/STEP.log; that of a failed step
is shown at the end. Ctrl-C ends everything that is running.
"""

import dataclasses
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from paths import HOME, Problem, REPOSITORY

LOGS = HOME / "checks"
PYTHON = sys.executable
CARGO = ["--profile", "local", "--workspace"]
# Test binaries that need a local cloud of their own, with its options.
CLOUD_TESTS = {"flows": ["--strict-s3"], "chaos": [], "acceptance": []}
# Flows mostly wait for the emulator: this many at a time keep two processors busy.
FLOWS_AT_ONCE = 6
TAIL_LINES = 120
SAY_EVERY_SECS = 60


@dataclasses.dataclass
class Step:
    """One command."""

    name: str
    command: "list[str]"
    # Steps that have to pass before, and steps that only have to end before.
    needs: "list[str]" = dataclasses.field(default_factory=list)
    after: "list[str]" = dataclasses.field(default_factory=list)
    environment: "dict[str, str]" = dataclasses.field(default_factory=dict)
    # While running: the process, and when it began.
    process: "subprocess.Popen | None" = None
    began: float = 0.0
    # When it has ended: how long it took, and whether it passed.
    took: "float | None" = None
    passed: bool = False

    @property
    def log(self) -> Path:
        return LOGS / f"{self.name}.log"


def main() -> int:
    if sys.argv[1:] not in (["check"], ["test"]):
        print(__doc__, file=sys.stderr)
        return 2
    steps = {step.name: step for step in planned(with_lints=sys.argv[1] == "check")}
    shutil.rmtree(LOGS, ignore_errors=True)
    LOGS.mkdir(parents=True)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _frame: sys.exit(128 + number))
    try:
        run(steps)
    except KeyboardInterrupt:
        return 130
    finally:
        end_all(steps)
    return report(steps)


def planned(*, with_lints: bool) -> "list[Step]":
    """The steps, in the order in which they start. The Makefile has the commands of all steps but the tests."""
    steps = [make("scripts")]
    before = []
    if with_lints:
        steps += [make("fmt-check"), make("template"), make("lint", after=["fmt-check"]), make("docs", after=["lint"])]
        before = ["docs"]
    steps += [
        make("functions", after=before),
        Step("test-build", ["cargo", "test", *CARGO, "--no-run"], ["functions"]),
    ]
    others = [word for name in other_tests() for word in ("--test", name)]
    unit_tests = ["cargo", "test", *CARGO, "--no-fail-fast", "--lib", "--bins", *others]
    # The flows take as long as the others together. The acceptance run mostly waits, so it runs beside chaos.
    steps += [
        cloud_tests("flows", [], {"RUST_TEST_THREADS": str(FLOWS_AT_ONCE)}),
        Step("unit-tests", unit_tests, ["test-build"], ["scripts"]),
        cloud_tests("chaos", ["unit-tests"], {}),
        cloud_tests("acceptance", ["unit-tests"], {}),
    ]
    return steps


def make(target: str, after: "list[str] | None" = None) -> Step:
    """The step of a target of the Makefile."""
    return Step(target, ["make", "--no-print-directory", f"PYTHON={PYTHON}", target], after=after or [])


def cloud_tests(test: str, after: "list[str]", environment: "dict[str, str]") -> Step:
    """The step of a test binary that gets a local cloud."""
    cloud = [PYTHON, "local/cloud.py", "with", "--name", f"test-{test}", *CLOUD_TESTS[test]]
    return Step(test, [*cloud, "--", "cargo", "test", *CARGO, "--test", test], ["test-build"], after, environment)


def other_tests() -> "list[str]":
    """The names of all test binaries that need no local cloud."""
    listed = subprocess.run(["cargo", "metadata", "--format-version", "1", "--no-deps"], cwd=REPOSITORY,
                            capture_output=True, text=True)
    if listed.returncode:
        raise Problem(f"cargo metadata failed:\n{listed.stderr}")
    targets = [target for package in json.loads(listed.stdout)["packages"] for target in package["targets"]]
    return sorted({target["name"] for target in targets if target["kind"] == ["test"]} - set(CLOUD_TESTS))


def run(steps: "dict[str, Step]") -> None:
    said = time.monotonic()
    while True:
        for step in steps.values():
            if step.process and step.process.poll() is not None:
                ended(step)
        for step in steps.values():
            may_start = not step.process and step.took is None
            if may_start and all(steps[name].passed for name in step.needs) and all(is_over(steps, name) for name in step.after):
                start(step)
        running = [step.name for step in steps.values() if step.process]
        if not running:
            return
        if time.monotonic() - said > SAY_EVERY_SECS:
            said = time.monotonic()
            print(f"    running: {', '.join(running)}", flush=True)
        time.sleep(0.2)


def is_over(steps: "dict[str, Step]", name: str) -> bool:
    """Whether a step has ended, or cannot start any more."""
    step = steps[name]
    failed_before = (steps[need].took is not None and not steps[need].passed for need in step.needs)
    return step.took is not None or any(failed_before)


def start(step: Step) -> None:
    print(f"--> {step.name}", flush=True)
    step.began = time.monotonic()
    with open(step.log, "w") as log:
        step.process = subprocess.Popen(step.command, cwd=REPOSITORY, env={**os.environ, **step.environment}, stdout=log,
                                        stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True)


def ended(step: Step) -> None:
    step.passed = step.process.returncode == 0
    step.process = None
    step.took = time.monotonic() - step.began
    print(f"{'ok' if step.passed else 'FAILED':>6} {step.name} ({step.took:.0f} s)", flush=True)


def end_all(steps: "dict[str, Step]") -> None:
    """Ends what is still running: first politely, so that local clouds are taken down."""
    for number, patience in ((signal.SIGINT, 30), (signal.SIGTERM, 15), (signal.SIGKILL, 5)):
        running = [step.process for step in steps.values() if step.process and step.process.poll() is None]
        for process in running:
            os.killpg(process.pid, number)
        for process in running:
            try:
                process.wait(timeout=patience)
            except subprocess.TimeoutExpired:
                pass


def report(steps: "dict[str, Step]") -> int:
    """Shows the output of failed steps, then all steps as a table."""
    failed = [step for step in steps.values() if step.took is not None and not step.passed]
    for step in failed:
        lines = step.log.read_text(errors="replace").splitlines()
        print(f"\n==== {step.name} failed; the whole output is in {step.log.relative_to(REPOSITORY)}")
        print("\n".join(lines[-TAIL_LINES:]))
    print()
    for step in steps.values():
        state = "not run" if step.took is None else "ok" if step.passed else "FAILED"
        print(f"{step.name:<12} {state:<8} {step.took or 0:6.0f} s")
    print(f"{sum(passed_tests(step) for step in steps.values() if step.took is not None)} tests passed")
    return 0 if all(step.passed for step in steps.values()) else 1


def passed_tests(step: Step) -> int:
    """How many tests cargo says have passed: "test result: ok. 12 passed; 0 failed; ..." for each binary."""
    said = step.log.read_text(errors="replace")
    return sum(int(count) for count in re.findall(r"^test result: .*?(\d+) passed;", said, re.MULTILINE))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Problem as problem:
        print(f"error: {problem}", file=sys.stderr)
        sys.exit(1)
