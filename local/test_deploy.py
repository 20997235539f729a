"""Tests the questions, the parameters and the size check of a deployment."""

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

    def test_stack_and_region_are_asked_once(self):
        stdin, answers = self.terminal("mine", "eu-west-1")
        with stdin, answers:
            self.assertEqual(deploy.where("", ""), ("mine", "eu-west-1"))
            self.assertEqual(deploy.where("", ""), ("mine", "eu-west-1"))  # there is no third answer
            self.assertEqual(deploy.where("other", "us-west-2"), ("other", "us-west-2"))
            self.assertEqual(deploy.where("", ""), ("mine", "eu-west-1"))

    def test_without_a_terminal_the_error_names_the_variable(self):
        with mock.patch.multiple("deploy.sys", stdin=io.StringIO()):
            with self.assertRaisesRegex(Problem, "make deploy STACK=tandem"):
                deploy.where("", "us-east-1")

    def test_names_that_aws_does_not_accept_are_refused(self):
        for name, region in (("Mine", "us-east-1"), ("a" * 41, "us-east-1"), ("mine", "east")):
            with self.subTest(name=name, region=region), self.assertRaises(Problem):
                deploy.where(name, region)

    def test_regions_of_all_partitions_are_accepted(self):
        for region in ("us-gov-west-1", "cn-northwest-1", "eusc-de-east-1", "us-isob-east-1", "ap-southeast-10"):
            with self.subTest(region=region):
                self.assertEqual(deploy.where("mine", region), ("mine", region))

    def test_arguments_after_two_dashes_go_to_sam(self):
        own, sam = deploy.split(["--arch", "arm64", "--", "--no-confirm-changeset"])
        self.assertEqual(own, ["--arch", "arm64"])
        with mock.patch("deploy.machine.program", lambda *_: "sam"):
            command = deploy.command("mine", "us-east-1", "arm64", ["Alarms=off"], sam)
        self.assertEqual(command[-4:], ["--parameter-overrides", "Architecture=arm64", "Alarms=off",
                                        "--no-confirm-changeset"])


    def test_an_empty_parameter_is_written_as_sam_accepts_it(self):
        with mock.patch("deploy.machine.program", lambda *_: "sam"):
            command = deploy.command("mine", "us-east-1", "arm64", ["AlarmEmail=", "RpoSeconds=60"], [])
        self.assertEqual(command[-2:], ['AlarmEmail=""', "RpoSeconds=60"])


class TheAccountsConcurrency(unittest.TestCase):
    def fitting(self, account, given=(), answer=None):
        stdin = mock.Mock(isatty=lambda: answer is not None)
        with (mock.patch.multiple("deploy.sys", stdin=stdin), mock.patch("builtins.input", lambda _: answer),
              contextlib.redirect_stdout(io.StringIO()) as said):
            return deploy.fitting(account, list(given)), said.getvalue()

    def test_parameters_that_fit_are_deployed_without_a_message(self):
        for account in ({"concurrency": 1000}, {"concurrency": 182}, {}):
            with self.subTest(account=account):
                self.assertEqual(self.fitting(account), ([], ""))

    def test_a_new_account_is_offered_the_minimum(self):
        parameters, said = self.fitting({"concurrency": 10}, answer="")
        self.assertEqual(parameters, ["LiveConcurrency=2", "BackfillConcurrency=2", "TransferConcurrency=2"])
        self.assertIn("182 concurrent executions, and the account has 10", said)
        self.assertIn('PARAMETERS="LiveConcurrency=2 BackfillConcurrency=2 TransferConcurrency=2"', said)

    def test_suggested_parameters_are_not_applied_without_a_yes(self):
        for answer in ("n", None):
            with self.subTest(answer=answer):
                parameters, said = self.fitting({"concurrency": 10}, answer=answer)
                self.assertEqual(parameters, [])
                self.assertIn("LiveConcurrency=2", said)

    def test_suggested_parameters_fit_any_concurrency_from_10(self):
        for concurrency in range(10, 182):
            parameters, _ = self.fitting({"concurrency": concurrency}, answer="y")
            shares = deploy.asked_shares({}, parameters)
            self.assertLessEqual(deploy.total(shares), concurrency)
            self.assertGreaterEqual(min(shares.values()), 2)
            self.assertEqual(self.fitting({"concurrency": concurrency}, parameters), ([], ""))

    def test_given_parameters_take_precedence_over_the_defaults(self):
        small = {"LiveConcurrency": "2", "BackfillConcurrency": "2", "TransferConcurrency": "2"}
        self.assertEqual(self.fitting({"concurrency": 10, "parameters": small}), ([], ""))
        _, said = self.fitting({"concurrency": 10, "parameters": small}, ["LiveConcurrency=9"])
        self.assertIn("24 concurrent executions", said)

    def test_suggested_parameters_replace_the_given_ones(self):
        given = ["LiveConcurrency=90", "Alarms=off"]
        parameters, _ = self.fitting({"concurrency": 10}, given, answer="y")
        self.assertEqual(deploy.replaced(given, parameters), ["Alarms=off", *parameters])
        self.assertEqual(deploy.replaced(given, []), given)

    def test_a_limit_that_is_not_a_number_is_named(self):
        with self.assertRaisesRegex(Problem, 'LiveConcurrency="many" is no number'):
            self.fitting({"concurrency": 10}, ["LiveConcurrency=many"])

    def test_a_deployment_continues_if_the_account_cannot_be_read(self):
        refused = mock.Mock(stdout="", stderr="Traceback\nUnable to locate credentials\n")
        with (mock.patch("deploy.ask_account", lambda *_: refused), contextlib.redirect_stderr(io.StringIO()) as said):
            self.assertEqual(self.fitting(deploy.facts("mine", "us-east-1")), ([], ""))
        self.assertIn("Unable to locate credentials", said.getvalue())


class TerminationProtection(unittest.TestCase):
    def protect(self, wanted, account, code=0):
        asked = []

        def ask(*arguments):
            asked.append(arguments)
            return mock.Mock(returncode=code, stderr="AccessDenied\n")

        with mock.patch("deploy.ask_account", ask), contextlib.redirect_stdout(io.StringIO()) as said:
            deploy.protect("mine", "us-east-1", wanted, account)
        return asked, said.getvalue()

    def test_it_is_set_to_the_given_value(self):
        for wanted in ("on", "off"):
            asked, _ = self.protect(wanted, {})
            self.assertEqual(asked, [("protect", "mine", "us-east-1", wanted)])

    def test_an_unprotected_stack_gets_a_hint(self):
        self.assertEqual(self.protect("", {"is_protected": True}), ([], ""))
        asked, said = self.protect("", {})
        self.assertEqual(asked, [])
        self.assertIn("make deploy STACK=mine REGION=us-east-1 PROTECT=on", said)

    def test_a_refusal_reports_that_the_stack_is_deployed(self):
        with self.assertRaisesRegex(Problem, "mine is deployed.*AccessDenied"):
            self.protect("on", {}, code=1)


class TheSizesOfTheFunctions(unittest.TestCase):
    def check(self, zip_mib):
        with (mock.patch("build.zipped_bytes", lambda _: int(zip_mib * build.MIB)),
              mock.patch("build.built", lambda *_: Path(os.devnull)),
              contextlib.redirect_stdout(io.StringIO()) as said):
            build.check_sizes("arm64", build.FUNCTIONS)
        return said.getvalue()

    def test_the_sizes_are_printed(self):
        self.assertIn("replicate-put", self.check(5.9))

    def test_a_function_that_is_too_large_fails_the_build(self):
        with self.assertRaisesRegex(Problem, "larger than 6 MiB: configure-rule"):
            self.check(6.1)


if __name__ == "__main__":
    unittest.main()
