"""Tests which facts a deployment reads from an account, also if the account refuses some requests."""

import contextlib
import importlib
import io
import json
import sys
import types
import unittest
from unittest import mock


class ClientError(Exception):
    """Stands in for botocore's class, which is installed only with SAM."""


def load():
    """Loads the script with stand-ins for modules that this Python may lack."""
    exceptions = types.SimpleNamespace(BotoCoreError=ClientError, ClientError=ClientError)
    modules = {"boto3": mock.MagicMock(), "botocore": mock.MagicMock(), "botocore.config": mock.MagicMock(),
               "botocore.exceptions": exceptions}
    with mock.patch.dict(sys.modules, modules):
        sys.modules.pop("account", None)
        return importlib.import_module("account")


class AnAccount(unittest.TestCase):
    def setUp(self):
        self.account = load()
        self.functions, self.stacks = mock.Mock(), mock.Mock()
        self.functions.get_account_settings.return_value = {"AccountLimit": {"UnreservedConcurrentExecutions": 10}}
        clients = {"lambda": self.functions, "cloudformation": self.stacks}
        self.session = mock.Mock(client=lambda name, config: clients[name])
        self.account.boto3.Session = lambda region_name: self.session

    def run_script(self, *arguments):
        with contextlib.redirect_stdout(io.StringIO()) as said, contextlib.redirect_stderr(io.StringIO()) as error:
            code = self.account.main(list(arguments))
        return code, said.getvalue(), error.getvalue()

    def facts(self):
        code, said, _ = self.run_script("facts", "tandem", "us-east-1")
        self.assertEqual(code, 0)
        return json.loads(said)

    def test_the_facts_of_an_existing_stack(self):
        self.stacks.describe_stacks.return_value = {"Stacks": [{
            "EnableTerminationProtection": True,
            "Parameters": [{"ParameterKey": "LiveConcurrency", "ParameterValue": "8"}]}]}
        self.assertEqual(self.facts(), {"concurrency": 10, "parameters": {"LiveConcurrency": "8"}, "is_protected": True,
                                        "unknown": []})

    def test_the_facts_of_a_stack_that_does_not_exist_yet(self):
        self.stacks.describe_stacks.side_effect = ClientError("Stack with id tandem does not exist")
        self.assertEqual(self.facts(), {"concurrency": 10, "unknown": []})

    def test_a_denied_request_is_reported_and_the_other_facts_are_read(self):
        self.functions.get_account_settings.side_effect = ClientError("AccessDenied: settings")
        self.stacks.describe_stacks.return_value = {"Stacks": [{}]}
        self.assertEqual(self.facts(), {"parameters": {}, "is_protected": False, "unknown": ["AccessDenied: settings"]})

    def test_protection_is_set_to_the_given_value(self):
        for wanted in ("on", "off"):
            self.assertEqual(self.run_script("protect", "tandem", "us-east-1", wanted), (0, "", ""))
            self.stacks.update_termination_protection.assert_called_with(
                StackName="tandem", EnableTerminationProtection=wanted == "on")

    def test_a_refused_request_ends_with_exit_code_1(self):
        self.stacks.update_termination_protection.side_effect = ClientError("AccessDenied")
        self.assertEqual(self.run_script("protect", "tandem", "us-east-1", "on"), (1, "", "AccessDenied\n"))


if __name__ == "__main__":
    unittest.main()
