"""Tests that the local cloud interprets filters and names as S3 does."""

import unittest

import s3_names


class Filters(unittest.TestCase):
    def test_filters_are_decoded(self):
        for prefix, key in [
            (None, "any"),
            ("", "any"),
            ("snap/schemaVersion%3D1/", "snap/schemaVersion=1/part"),
            ("snap/schemaVersion%3d1/", "snap/schemaVersion=1/part"),
            ("red+flower/", "red flower/a"),
            ("a%2Bb", "a+b"),
            ("%C3%BC", "\u00fc"),
            ("%C3", "\u00fc"),
            ("a(1)!", "a(1)!"),
        ]:
            self.assertTrue(s3_names.key_matches_filter(key, prefix, None), (prefix, key))
        for prefix, key in [
            ("snap/schemaVersion%3D1/", "snap/schemaVersion%3D1/part"),
            ("snap/schemaVersion%3D1/", "snap/schemaVersion=2/part"),
            ("a+b", "a+b"),
        ]:
            self.assertFalse(s3_names.key_matches_filter(key, prefix, None), (prefix, key))
        self.assertTrue(s3_names.key_matches_filter("a/b c.jpg", "a/", "+c.jpg"))
        self.assertFalse(s3_names.key_matches_filter("a/b c.jpg", "a/", ".png"))

    def test_a_special_character_that_is_not_encoded_matches_nothing(self):
        for written in ["snap/schemaVersion=1/", "red flower", "\u00fc", "100%"]:
            self.assertFalse(s3_names.key_matches_filter(written, written, None), written)
            self.assertFalse(s3_names.key_matches_filter(written, None, written), written)


class Names(unittest.TestCase):
    def test_names_from_before_2018_are_valid(self):
        for name in ["ABCD_Central_1", "a..b", "x" * 255]:
            self.assertTrue(s3_names.is_old_bucket_name(name), name)
        for name in ["", None, "ab", "a b", "a/b", "x" * 256]:
            self.assertFalse(s3_names.is_old_bucket_name(name), name)


if __name__ == "__main__":
    unittest.main()
