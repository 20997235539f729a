"""Shows what a deployment learns about an account, even if the account refuses some requests."""

import contextlib
import importlib
import io
import json
import sys
import types
import unittest
from unittest import mock


class ClientError(Exception):
    """As botocore's, which is installed with SAM only."""


def load():
    """Loads the script, with stand-ins for modules that this Python may lack."""
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

    def test_a_stack_that_is_there(self):
        self.stacks.describe_stacks.return_value = {"Stacks": [{
            "EnableTerminationProtection": True,
            "Parameters": [{"ParameterKey": "LiveConcurrency", "ParameterValue": "8"}]}]}
        self.assertEqual(self.facts(), {"concurrency": 10, "parameters": {"LiveConcurrency": "8"}, "is_protected": True,
                                        "unknown": []})

    def test_a_stack_that_is_not_there_yet(self):
        self.stacks.describe_stacks.side_effect = ClientError("Stack with id tandem does not exist")
        self.assertEqual(self.facts(), {"concurrency": 10, "unknown": []})

    def test_what_is_denied_is_said_and_the_rest_is_read(self):
        self.functions.get_account_settings.side_effect = ClientError("AccessDenied: settings")
        self.stacks.describe_stacks.return_value = {"Stacks": [{}]}
        self.assertEqual(self.facts(), {"parameters": {}, "is_protected": False, "unknown": ["AccessDenied: settings"]})

    def test_protection_is_set_as_asked(self):
        for wanted in ("on", "off"):
            self.assertEqual(self.run_script("protect", "tandem", "us-east-1", wanted), (0, "", ""))
            self.stacks.update_termination_protection.assert_called_with(
                StackName="tandem", EnableTerminationProtection=wanted == "on")

    def test_a_refusal_is_a_failure(self):
        self.stacks.update_termination_protection.side_effect = ClientError("AccessDenied")
        self.assertEqual(self.run_script("protect", "tandem", "us-east-1", "on"), (1, "", "AccessDenied\n"))


if __name__ == "__main__":
    unittest.main()
