"""Tests that the local cloud cannot reach a real AWS account, whatever the user's environment contains."""

import json
import os
import subprocess
import sys
import unittest
from contextlib import suppress
from pathlib import Path
from unittest import mock

import emulator
import environment
import function_fixture
import machine
import stack
import strict_s3
from paths import SCRIPTS, Cloud

# Variables that a user with real accounts may have set.
USERS = {
    "AWS_ACCESS_KEY_ID": "AKIAUSERSOWNKEY",
    "AWS_SECRET_ACCESS_KEY": "users-own-secret",
    "AWS_SESSION_TOKEN": "users-own-token",
    "AWS_PROFILE": "users-own-profile",
    "AWS_REGION": "users-own-region-1",
    "AWS_ENDPOINT_URL": "https://users-own-endpoint.example",
    "AWS_ENDPOINT_URL_S3": "https://users-own-endpoint.example",
    "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true",
    "AWS_CONFIG_FILE": "/users-own/config",
    "AWS_SHARED_CREDENTIALS_FILE": "/users-own/credentials",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://users-own-endpoint.example",
    "AWS_WEB_IDENTITY_TOKEN_FILE": "/users-own/token",
    "HTTPS_PROXY": "http://users-own-proxy.example",
    "http_proxy": "http://users-own-proxy.example",
    "TANDEM_STACK_NAME": "users-own-stack",
    "BIND_HOST": "0.0.0.0",
    "GATEWAY_PORT": "1",
    "GATEWAY_LISTEN": "0.0.0.0:1",
    "FILESYSTEM_ROOT": "/elsewhere",
    "OUTBOUND_HTTP_PROXY": "http://users-own-proxy.example",
    "TANDEM_STRICT_S3_URL": "https://users-own-endpoint.example",
}


class TheLocalCloud(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cloud = Cloud.named("isolation-test")
        emulator.stop(cls.cloud, quiet=True)
        cls.addClassCleanup(emulator.stop, cls.cloud, quiet=True)
        machine.install("emulator", "sam", strict_s3.NAME)  # before the proxies below are set
        with mock.patch.dict(os.environ, USERS):
            emulator.start(cls.cloud, port=None, iam=False)  # the test sends unsigned requests
            strict_s3.start(cls.cloud)
            strict_s3.await_healthy(cls.cloud)
            cls.client = stack.client_environment(cls.cloud)
            cls.exports = stack.shell_exports(cls.cloud)
        cls.endpoint = environment.endpoint(cls.cloud.read_state()["port"])
        cls.strict_s3 = environment.endpoint(cls.cloud.read_state()["strict-s3"]["port"])

    def check(self, variables, endpoint=None):
        """Checks the variables that decide which endpoint and which credentials an AWS client uses."""
        self.assertEqual(variables["AWS_ENDPOINT_URL"], endpoint or self.endpoint)
        self.assertIn(variables["AWS_ACCESS_KEY_ID"], ("test", "000000000000"))
        self.assertEqual(variables["AWS_SECRET_ACCESS_KEY"], "test")
        self.assertEqual(variables["AWS_EC2_METADATA_DISABLED"], "true")
        for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
            self.assertEqual(variables[name], os.devnull)
        self.assertFalse([name for name, value in variables.items() if "users-own" in value.lower()])

    def test_its_functions_see_only_the_emulator_and_dummy_credentials(self):
        self.check(self.invoke("answer = dict(os.environ)"))

    def test_commands_run_against_it_see_only_the_emulator_and_dummy_credentials(self):
        self.check(self.client)
        self.assertEqual(self.client["TANDEM_STACK_NAME"], stack.STACK)
        self.assertEqual(self.client["TANDEM_STRICT_S3_URL"], self.strict_s3)

    def test_a_shell_pointed_at_it_sees_only_the_emulator_and_dummy_credentials(self):
        script = f'{self.exports}\nexec "{sys.executable}" -c "import json, os; print(json.dumps(dict(os.environ)))"'
        answer = subprocess.run(["sh", "-c", script], env=os.environ | USERS | {"BIND_HOST": ""},
                                capture_output=True, text=True, check=True)
        self.check(json.loads(answer.stdout))

    @unittest.skipUnless(Path("/proc/self/environ").exists(), "needs /proc")
    def test_the_strict_s3_sees_only_itself_and_dummy_credentials(self):
        pid = self.cloud.read_state()["strict-s3"]["pid"]
        pairs = Path(f"/proc/{pid}/environ").read_text().split("\0")
        variables = dict(pair.split("=", 1) for pair in pairs if pair)
        self.check(variables, self.strict_s3)
        self.assertTrue(variables["FILESYSTEM_ROOT"].startswith(str(self.cloud.folder)))

    @unittest.skipUnless(Path("/proc/net/tcp").exists(), "needs /proc")
    def test_it_listens_on_the_loopback_only(self):
        for name in ("emulator", "strict-s3"):
            with self.subTest(name):
                self.assertEqual(self.addresses(self.cloud.read_state()[name]["pid"]), {"0100007F"})  # 127.0.0.1

    def addresses(self, group):
        sockets = {target for process in self.members(group) for target in self.open_files(process)}
        addresses = set()
        for table in ("tcp", "tcp6"):
            for row in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
                fields = row.split()
                if fields[3] == "0A" and f"socket:[{fields[9]}]" in sockets:
                    addresses.add(fields[1].partition(":")[0])
        return addresses

    @staticmethod
    def members(group):
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(FileNotFoundError, ProcessLookupError):  # other processes start and end meanwhile
                if int((process / "stat").read_text().rpartition(")")[2].split()[2]) == group:
                    yield process

    @staticmethod
    def open_files(process):
        with suppress(FileNotFoundError, ProcessLookupError):
            for handle in (process / "fd").iterdir():
                with suppress(FileNotFoundError):
                    yield os.readlink(handle)

    def invoke(self, body):
        function_fixture.make_function(self.endpoint, "environment", body)
        path = "/2015-03-31/functions/environment/invocations"
        status, answer = function_fixture.call(self.endpoint, "POST", path, {})
        self.assertEqual(status, 200, answer)
        return json.loads(answer)


if __name__ == "__main__":
    unittest.main()
