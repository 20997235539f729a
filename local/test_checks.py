"""Tests of checks.py: which steps run, what a failure hides, and what is said at the end."""

import contextlib
import io
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

import checks
from checks import Step


def step(name: str, code: str, **kwargs) -> Step:
    """A step that runs a line of Python."""
    return Step(name, [sys.executable, "-c", code], **kwargs)


class Runs(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        for name in ("LOGS", "REPOSITORY"):
            patched = mock.patch.object(checks, name, self.folder)
            patched.start()
            self.addCleanup(patched.stop)

    def run_steps(self, *steps: Step) -> "tuple[int, str]":
        by_name = {step.name: step for step in steps}
        with contextlib.redirect_stdout(io.StringIO()) as said:
            checks.run(by_name)
            code = checks.report(by_name)
        return code, said.getvalue()

    def test_steps_run_in_their_order_and_all_pass(self):
        write = f"open({str(self.folder / 'order')!r}, 'a').write"
        code, said = self.run_steps(step("second", f"{write}('2')", needs=["first"]), step("first", f"{write}('1')"))
        self.assertEqual(code, 0, said)
        self.assertEqual((self.folder / "order").read_text(), "12")

    def test_a_failure_is_shown_and_hides_only_what_needs_it(self):
        code, said = self.run_steps(
            step("bad", "print('the reason'); raise SystemExit(3)"),
            step("needs-it", "print('never')", needs=["bad"]),
            step("comes-after", "print('test result: ok. 7 passed; 0 failed')", after=["bad"]),
        )
        self.assertEqual(code, 1)
        self.assertIn("the reason", said)
        self.assertRegex(said, r"needs-it +not run")
        self.assertRegex(said, r"comes-after +ok")
        self.assertIn("7 tests passed", said)

    def test_a_running_step_is_ended(self):
        long = step("long", "import time; time.sleep(60)")
        with contextlib.redirect_stdout(io.StringIO()):
            checks.start(long)
            checks.end_all({"long": long})
        self.assertIsNotNone(long.process.returncode)


class Plan(unittest.TestCase):
    def test_every_step_waits_only_for_steps_of_the_plan(self):
        for with_lints in (True, False):
            with mock.patch.object(checks, "other_tests", lambda: ["architecture"]):
                steps = checks.planned(with_lints=with_lints)
            names = {step.name for step in steps}
            for planned in steps:
                self.assertLessEqual({*planned.needs, *planned.after}, names, planned.name)
            self.assertEqual({"lint", "docs", "fmt-check", "template"} <= names, with_lints)


    def test_every_target_is_in_the_makefile(self):
        makefile = (checks.REPOSITORY / "Makefile").read_text()
        for planned in checks.planned(with_lints=True):
            if planned.command[0] == "make":
                self.assertRegex(makefile, rf"(?m)^{planned.command[-1]}:")


if __name__ == "__main__":
    unittest.main()
