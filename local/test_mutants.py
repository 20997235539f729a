"""Tests which mutants a shard tries."""

import argparse
import unittest
from unittest import mock

import mutants
from paths import REPOSITORY


class Shards(unittest.TestCase):
    def test_a_shard_is_a_number_and_a_count(self):
        self.assertEqual(mutants.shard("1/4"), (1, 4))
        for text in ("0/4", "5/4", "1", "a/b", "1/", "-1/4"):
            with self.assertRaises(argparse.ArgumentTypeError, msg=text):
                mutants.shard(text)

    def test_all_shards_together_try_every_mutant_once(self):
        answer = mock.Mock(returncode=0, stdout="[1, 2, 3, 4, 5, 6, 7]")
        with mock.patch.object(mutants.subprocess, "run", return_value=answer):
            tried = [one for number in range(1, 5) for one in mutants.found([], (number, 4))]
        self.assertEqual(sorted(tried), [1, 2, 3, 4, 5, 6, 7])


class Suites(unittest.TestCase):
    def test_each_suite_has_existing_files(self):
        for name in ("domain", "process"):
            files = mutants.Suite(name, []).files
            self.assertGreater(len(files), 1)
            for pattern in files:
                self.assertTrue(any(REPOSITORY.glob(pattern)), pattern)


if __name__ == "__main__":
    unittest.main()
