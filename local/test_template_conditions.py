"""Tests that the local cloud evaluates conditions of templates as CloudFormation does."""

import unittest

import template_conditions

TOPICS = {"Ref": "Topics"}
PATTERN = {"Ref": "Pattern"}


def beginning(separator):
    return {"Fn::Select": [0, {"Fn::Split": [separator, PATTERN]}]}


class Conditions(unittest.TestCase):
    def resolved(self, value, topics="", pattern="prod-*"):
        return template_conditions.resolved(value, {"Topics": {"Value": topics}, "Pattern": {"Value": pattern}})

    def test_a_list_is_joined(self):
        for topics, expected in (("", ""), ("a", "a"), ("a,b", "a-b")):
            self.assertEqual(self.resolved({"Fn::Join": ["-", TOPICS]}, topics), expected)
        self.assertEqual(self.resolved({"Fn::Join": ["", [PATTERN, "x"]]}), "prod-*x")

    def test_a_text_is_split_and_an_element_selected(self):
        for pattern, expected in (("prod-*", "prod-"), ("prod", "prod"), ("*", ""), ("a*b", "a")):
            self.assertEqual(self.resolved(beginning("*"), pattern=pattern), expected)

    def test_a_nested_function_is_resolved_too(self):
        joined = {"Fn::Join": ["", [beginning("*"), "*"]]}
        condition = {"Fn::Or": [{"Fn::Equals": [joined, PATTERN]}, {"Condition": "Other"}]}
        self.assertEqual(self.resolved(condition), {"Fn::Or": [{"Fn::Equals": ["prod-*", PATTERN]}, {"Condition": "Other"}]})

    def test_the_emulator_evaluates_the_remaining_functions(self):
        evaluate = template_conditions.evaluating_all(lambda template, parameters: (template, parameters))
        parameters = {"Topics": {"Value": "a,b"}}
        template = {"Resources": {}, "Conditions": {"Any": {"Fn::Not": [{"Fn::Equals": [{"Fn::Join": ["", TOPICS]}, ""]}]}}}
        expected = {"Resources": {}, "Conditions": {"Any": {"Fn::Not": [{"Fn::Equals": ["ab", ""]}]}}}
        self.assertEqual(evaluate(template, parameters), (expected, parameters))
        self.assertEqual(evaluate({}, {}), ({"Conditions": {}}, {}))


if __name__ == "__main__":
    unittest.main()
