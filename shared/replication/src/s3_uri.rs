//! Places in S3 as people write them: `s3://bucket/key`. No I/O.

use crate::names::{BucketName, NameError};

/// A bucket, and a key or a prefix of keys in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Uri {
    /// The bucket.
    pub bucket: BucketName,
    /// The key or prefix; may be empty.
    pub key: String,
}

impl S3Uri {
    /// Reads `s3://bucket`, or `s3://bucket/key`. The error says what is wrong. The bucket's name has to follow today's
    /// rules, because the stack's parameter `JobBucketPattern` accepts no other names.
    pub fn parse(text: &str) -> Result<Self, String> {
        let rest = text
            .strip_prefix("s3://")
            .ok_or_else(|| "does not begin with s3://; give s3://BUCKET/KEY".to_owned())?;
        let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
        let name = match BucketName::parse(bucket) {
            Ok(name) if name.is_old() => Err(NameError::Bucket(bucket.to_owned())),
            parsed => parsed,
        };
        Ok(Self {
            bucket: name.map_err(|error| format!("names a bucket that {error}"))?,
            key: key.to_owned(),
        })
    }

    /// Returns the key of `name` within this place.
    pub fn within(&self, name: &str) -> String {
        match self.key.as_str() {
            "" => name.to_owned(),
            key if key.ends_with('/') => format!("{key}{name}"),
            key => format!("{key}/{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_are_read_and_other_texts_refused() {
        let uri = S3Uri::parse("s3://lists/a/keys.csv").unwrap();
        assert_eq!(
            (uri.bucket.as_str(), uri.key.as_str()),
            ("lists", "a/keys.csv")
        );
        assert_eq!(S3Uri::parse("s3://lists").unwrap().key, "");
        for wrong in ["lists/keys.csv", "s3://", "s3://Lists/a", "S3://lists/a"] {
            assert!(S3Uri::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_name_is_appended_after_a_slash() {
        for (place, name) in [
            ("s3://reports", "job"),
            ("s3://reports/a", "a/job"),
            ("s3://reports/a/", "a/job"),
        ] {
            assert_eq!(S3Uri::parse(place).unwrap().within("job"), name);
        }
    }
}
