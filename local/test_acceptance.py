"""Tests the command line that deploys the stacks of an acceptance run."""

import unittest
from pathlib import Path
from unittest import mock

import acceptance
import stack


class Deploying(unittest.TestCase):
    def command(self, *words):
        with mock.patch.object(stack.machine, "program", return_value=Path("/bin/sam")):
            return acceptance.command(acceptance.parse_arguments(["deploy", *words]))

    def test_a_deployment_asks_nothing_and_uses_no_bucket_of_sams(self):
        command = self.command("--stack", "tandem-acceptance-1", "--region", "eu-west-1", "--bucket", "artifacts",
                               "--architecture", "arm64", "--run", "1", "Alarms=off")
        self.assertEqual(command[:2], ["/bin/sam", "deploy"])
        self.assertIn("--no-confirm-changeset", command)
        self.assertNotIn("--resolve-s3", command)
        self.assertEqual(command[command.index("--s3-bucket") + 1], "artifacts")
        self.assertEqual(command[command.index("--config-env") + 1], "local")

    def test_parameters_end_where_the_tags_begin(self):
        command = self.command("--stack", "s", "--region", "r", "--bucket", "b", "--architecture", "x86_64", "--run", "7",
                               "Alarms=off", "Dashboard=off")
        at = command.index("--parameter-overrides")
        self.assertEqual(command[at + 1:], ["Architecture=x86_64", "Alarms=off", "Dashboard=off", "--tags",
                                            "tandem-acceptance=7"])

    def test_the_local_stack_is_deployed_by_the_same_command(self):
        with mock.patch.object(stack.machine, "program", return_value=Path("/bin/sam")):
            command = stack.sam_deploy("tandem", "us-east-1", "bucket", "arm64", ["A=1"])
        self.assertEqual(command[-3:], ["--parameter-overrides", "Architecture=arm64", "A=1"])


if __name__ == "__main__":
    unittest.main()
