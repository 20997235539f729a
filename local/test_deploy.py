"""Where a deployment goes to is asked once, and what it is told wins."""

import contextlib
import io
import os
import tempfile
import unittest
from pathlib import Path
from unittest import mock

import build
import deploy
from paths import Problem


class WhereADeploymentGoes(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        answers = mock.patch.object(deploy, "ANSWERS", Path(folder.name) / "deploy.json")
        answers.start()
        self.addCleanup(answers.stop)

    def terminal(self, *lines):
        stdin = mock.Mock(isatty=lambda: True)
        return mock.patch.multiple("deploy.sys", stdin=stdin), mock.patch("builtins.input", side_effect=list(lines))

    def test_it_is_asked_once(self):
        stdin, answers = self.terminal("mine", "eu-west-1")
        with stdin, answers:
            self.assertEqual(deploy.where("", ""), ("mine", "eu-west-1"))
            self.assertEqual(deploy.where("", ""), ("mine", "eu-west-1"))  # a third answer there is not
            self.assertEqual(deploy.where("other", "us-west-2"), ("other", "us-west-2"))
            self.assertEqual(deploy.where("", ""), ("mine", "eu-west-1"))

    def test_without_a_terminal_it_is_said_how_to_say_it(self):
        with mock.patch.multiple("deploy.sys", stdin=io.StringIO()):
            with self.assertRaisesRegex(Problem, "make deploy STACK=tandem"):
                deploy.where("", "us-east-1")

    def test_names_that_aws_does_not_take_are_refused(self):
        for name, region in (("Mine", "us-east-1"), ("a" * 41, "us-east-1"), ("mine", "east")):
            with self.subTest(name=name, region=region), self.assertRaises(Problem):
                deploy.where(name, region)

    def test_what_follows_two_dashes_is_for_sam(self):
        own, sam = deploy.split(["--arch", "arm64", "--", "--no-confirm-changeset"])
        self.assertEqual(own, ["--arch", "arm64"])
        with mock.patch("deploy.machine.program", lambda *_: "sam"):
            command = deploy.command("mine", "us-east-1", "arm64", ["Alarms=off"], sam)
        self.assertEqual(command[-4:], ["--parameter-overrides", "Architecture=arm64", "Alarms=off",
                                        "--no-confirm-changeset"])


    def test_an_empty_parameter_is_said_as_sam_takes_it(self):
        with mock.patch("deploy.machine.program", lambda *_: "sam"):
            command = deploy.command("mine", "us-east-1", "arm64", ["AlarmEmail=", "RpoSeconds=60"], [])
        self.assertEqual(command[-2:], ['AlarmEmail=""', "RpoSeconds=60"])


class TheSizesOfTheFunctions(unittest.TestCase):
    def check(self, zip_mib):
        with (mock.patch("build.zipped_bytes", lambda _: int(zip_mib * build.MIB)),
              mock.patch("build.built", lambda *_: Path(os.devnull)),
              contextlib.redirect_stdout(io.StringIO()) as said):
            build.check_sizes("arm64", build.FUNCTIONS)
        return said.getvalue()

    def test_they_are_shown(self):
        self.assertIn("replicate-put", self.check(5.9))

    def test_one_that_is_too_large_fails_the_build(self):
        with self.assertRaisesRegex(Problem, "larger than 6 MiB: configure-rule"):
            self.check(6.1)


if __name__ == "__main__":
    unittest.main()
