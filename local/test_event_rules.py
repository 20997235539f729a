import unittest

from event_rules import rule_arn


class TheRuleOfARequest(unittest.TestCase):
    def arn(self, body: bytes) -> str | None:
        return rule_arn(body, "us-east-1", "000000000000")

    def test_a_rule_of_the_default_bus_is_named_without_the_bus(self):
        arn = "arn:aws:events:us-east-1:000000000000:rule/tandem-rule-1-put"
        for body in (b'{"Name": "tandem-rule-1-put"}', b'{"Rule": "tandem-rule-1-put", "Ids": ["put"]}',
                     b'{"Rule": "tandem-rule-1-put", "EventBusName": "default"}'):
            self.assertEqual(self.arn(body), arn)

    def test_other_requests_are_left_to_the_emulator(self):
        for body in (b"", b"{", b"[]", b"\xff", b'{"Entries": [], "Name": "x"}', b'{"Name": 1}',
                     b'{"Name": "x", "EventBusName": "other"}'):
            self.assertIsNone(self.arn(body))


if __name__ == "__main__":
    unittest.main()
