"""Tests that chains of events are counted as Lambda counts them."""

import unittest

import lineage

MINE = "arn:aws:lambda:us-east-1:000000000000:function:mine"
OTHER = "arn:aws:lambda:us-east-1:000000000000:function:other"


class Lineage(unittest.TestCase):
    def test_a_chain_counts_the_invocations_of_each_function(self):
        header = lineage.continued(None, MINE)
        self.assertRegex(header, r"^Root=1-[0-9a-f]{8}-[0-9a-f]{24};Parent=[0-9a-f]{16};Sampled=0;"
                                 r"Lineage=1:[0-9a-f]{8}:0$")
        self.assertEqual((lineage.invocations(header, MINE), lineage.invocations(header, OTHER)), (1, 0))
        for _ in range(3):
            header = lineage.continued(lineage.continued(header, OTHER), MINE)
        self.assertEqual((lineage.invocations(header, MINE), lineage.invocations(header, OTHER)), (4, 3))

    def test_a_chain_keeps_its_root_and_its_sampling(self):
        first = lineage.continued(None, MINE, sampled=True)
        second = lineage.continued(first, OTHER)
        for field in ("Root", "Sampled"):
            self.assertEqual(lineage.fields(first)[field], lineage.fields(second)[field])
        self.assertEqual(lineage.fields(second)["Sampled"], "1")

    def test_versions_and_aliases_are_the_same_function(self):
        header = lineage.continued(None, f"{MINE}:live")
        self.assertEqual(lineage.invocations(header, MINE), 1)
        self.assertEqual(lineage.invocations(header, MINE.replace("us-east-1", "us-west-2")), 0)

    def test_headers_of_aws_are_read(self):
        for written in ("a87bd80c:1|68fd508a:5|c512fbe3:2", "2:a87bd80c:1|68fd508a:5|c512fbe3:2"):
            header = f"Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1;Lineage={written}"
            self.assertEqual(lineage.counts(header), {"a87bd80c": 1, "68fd508a": 5, "c512fbe3": 2})

    def test_a_damaged_header_counts_as_none(self):
        damaged = ("Lineage", "Lineage=", "Lineage=1:a", "Lineage=a:b", "Lineage=a:-1", "Lineage=a:\u0663")
        for header in (None, "", *damaged):
            self.assertEqual(lineage.counts(header), {}, header)

    def test_a_batch_continues_all_its_chains(self):
        once = lineage.continued(None, MINE)
        thrice = lineage.continued(lineage.continued(lineage.continued(None, MINE), MINE), MINE)
        other = lineage.continued(None, OTHER)
        joined = lineage.joined([None, once, thrice, other])
        self.assertEqual((lineage.invocations(joined, MINE), lineage.invocations(joined, OTHER)), (3, 1))
        self.assertEqual(lineage.fields(joined)["Root"], lineage.fields(once)["Root"])
        self.assertIsNone(lineage.joined([None]))


if __name__ == "__main__":
    unittest.main()
