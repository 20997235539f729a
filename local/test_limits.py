"""Tests how the limits of the local cloud are changed."""

import unittest

import limits
from limits import AWS, Limits


class TheLimits(unittest.TestCase):
    def test_the_defaults_are_the_limits_of_aws(self):
        self.assertEqual(Limits().get("part_bytes", "any"), 5 * 1024 * 1024)
        mine = Limits({"part_bytes": 1})
        self.assertEqual((mine.get("part_bytes"), mine.get("metadata_bytes")), (1, 2_048))
        mine.set("part_bytes", None)
        self.assertEqual(mine.get("part_bytes"), AWS["part_bytes"])

    def test_an_account_can_have_its_own_limit(self):
        mine = Limits()
        mine.set("account_concurrency", 10, "111111111111")
        mine.set("account_concurrency", 3, "111111111111:us-west-2")
        self.assertEqual(mine.get("account_concurrency", "111111111111:us-west-2", "111111111111"), 3)
        self.assertEqual(mine.get("account_concurrency", "111111111111:us-east-1", "111111111111"), 10)
        self.assertEqual(mine.get("account_concurrency", "222222222222:us-east-1", "222222222222"), 1_000)
        mine.set("account_concurrency", None, "111111111111")
        self.assertEqual(mine.get("account_concurrency", "111111111111:us-east-1", "111111111111"), 1_000)

    def test_a_request_changes_one_limit(self):
        mine = Limits()
        status, document = mine.answer("PUT", b'{"limit": "in_flight_messages", "of": "mine", "value": 2}')
        self.assertEqual((status, document), (200, mine.answer("GET", b"")[1]))
        self.assertEqual(document["in_flight_messages"], {"value": 120_000, "of": {"mine": 2}})

    def test_bad_requests_are_refused_with_a_reason(self):
        mine = Limits()
        for body, reason in [
            (b"", "Expecting value"),
            (b"[]", "send"),
            (b'{"value": 1}', "send"),
            (b'{"limit": "part_bytes", "valeu": 1}', "send"),
            (b'{"limit": "parts", "value": 1}', "there is no limit 'parts'; there are: account_concurrency"),
            (b'{"limit": ["parts"], "value": 1}', "there is no limit"),
            (b'{"limit": "part_bytes", "value": -1}', "part_bytes cannot be -1"),
            (b'{"limit": "part_bytes", "value": true}', "part_bytes cannot be True"),
            (b'{"limit": "part_bytes", "value": "1"}', "part_bytes cannot be '1'"),
            (b'{"limit": "part_bytes", "value": 1, "of": 7}', '"of" cannot be 7'),
        ]:
            status, document = mine.answer("PUT", body)
            self.assertEqual(status, 400, body)
            self.assertIn(reason, document["message"])
        self.assertEqual(mine.answer("POST", b"")[0], 405)
        self.assertEqual(mine.describe(), Limits().describe())

    def test_the_command_line_accepts_limits(self):
        self.assertEqual(limits.parse("account_concurrency=10"), ("account_concurrency", 10))
        for text in ("account_concurrency", "account_concurrency=", "account_concurrency=ten", "accounts=10"):
            with self.assertRaises(ValueError, msg=text):
                limits.parse(text)


if __name__ == "__main__":
    unittest.main()
