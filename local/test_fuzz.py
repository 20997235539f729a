"""Tests which tests are fuzzed, and how a failure is recognised."""

import unittest

import fuzz
from paths import REPOSITORY

SOURCE = """
#[test]
fn an_ordinary_test() {}

mod tests {
    proptest! {
        #![proptest_config(ProptestConfig::with_cases(9))]

        /// What it shows.
        #[test]
        fn one(
            keys in any::<u8>(),
        ) {
            if true {
            }
        }

        #[test]
        fn two(x in 0..3) {}
    }

    #[test]
    fn another_ordinary_test() {}
}
"""


class PropertyTests(unittest.TestCase):
    def test_only_tests_inside_a_block_are_found(self):
        self.assertEqual(fuzz.property_tests(SOURCE), ["one", "two"])

    def test_every_block_of_the_repository_is_parsed(self):
        for folder in ("shared", "functions", "cli"):
            for path in (REPOSITORY / folder).rglob("*.rs"):
                source = path.read_text()
                blocks = sum(line.strip() == "proptest! {" for line in source.splitlines())
                if blocks:
                    self.assertGreaterEqual(len(fuzz.property_tests(source)), blocks, path)

    def test_a_failure_is_named(self):
        printed = "running 2 tests\ntest a::b ... FAILED\ntest c ... ok\n"
        self.assertEqual(fuzz.failures(printed), ["a::b"])


if __name__ == "__main__":
    unittest.main()
