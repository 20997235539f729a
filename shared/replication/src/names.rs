//! Names, keys, ids and the like, parsed once where they are read. No I/O.

use std::fmt;

use serde::{Deserialize, Serialize};

/// S3's limit on a key, in bytes of UTF-8 (S3 user guide, "Naming Amazon S3 objects").
pub const KEY_BYTES_MAX: usize = 1_024;
/// S3's limits on the length of a bucket's name (S3 user guide, "Bucket naming rules").
const BUCKET_NAME_LEN: std::ops::RangeInclusive<usize> = 3..=63;
/// The same limits before March 2018 in us-east-1 (S3 user guide, "General purpose bucket naming rules").
const OLD_BUCKET_NAME_LEN: std::ops::RangeInclusive<usize> = 3..=255;

/// Today's naming rule for buckets, for error messages.
pub const BUCKET_NAME_RULE: &str = "use 3 to 63 lowercase letters, digits, dots and hyphens, beginning and ending with a letter or digit";

/// Why a text is not a valid name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Not a bucket name.
    #[error("{0:?} is not a bucket name: {BUCKET_NAME_RULE}")]
    Bucket(String),
    /// Not an object key.
    #[error("an object key has 1 to {KEY_BYTES_MAX} bytes of UTF-8, this one has {0}")]
    Key(usize),
    /// Not an account's id.
    #[error("{0:?} is not the id of an AWS account: use its 12 digits")]
    Account(String),
    /// Not the ARN of a key.
    #[error(
        "{0:?} is not the ARN of a KMS key: use the whole ARN, such as \
         \"arn:aws:kms:us-west-2:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab\""
    )]
    KmsKey(String),
}

macro_rules! text_type {
    ($(#[$attribute:meta])* $name:ident) => {
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        $(#[$attribute])*
        pub struct $name(String);

        impl $name {
            /// The text itself.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

macro_rules! free_text {
    ($($name:ident),*) => {$(
        impl $name {
            /// Takes any text.
            pub fn new(text: impl Into<String>) -> Self {
                Self(text.into())
            }
        }
    )*};
}

text_type! {
    /// A bucket's name. It is checked whenever it is read.
    #[serde(try_from = "String")]
    BucketName
}
text_type! {
    /// An object's key, decoded: only the parser of notifications handles form-encoded keys. It is checked whenever it
    /// is read.
    #[serde(try_from = "String")]
    ObjectKey
}
text_type! {
    /// A rule's id, which is made when the rule is created.
    #[serde(transparent)]
    RuleId
}
text_type! {
    /// The id of one backfill run.
    #[serde(transparent)]
    JobId
}
text_type! {
    /// A region, such as `us-east-1`.
    #[serde(transparent)]
    Region
}
text_type! {
    /// A version of an object in a versioned bucket.
    #[serde(transparent)]
    VersionId
}
text_type! {
    /// An `ETag` without its quotes.
    #[serde(transparent)]
    Etag
}

text_type! {
    /// The id of one transfer of a large object.
    #[serde(transparent)]
    TransferId
}
text_type! {
    /// The id that S3 gives to an upload in parts.
    #[serde(transparent)]
    UploadId
}
text_type! {
    /// A storage class, under S3's own name.
    #[serde(transparent)]
    StorageClass
}
text_type! {
    /// An AWS account's id. It is checked whenever it is read.
    #[serde(try_from = "String")]
    AccountId
}
text_type! {
    /// The ARN of a KMS key or alias. It is checked whenever it is read.
    #[serde(try_from = "String")]
    KmsKeyArn
}

free_text!(
    RuleId,
    JobId,
    Region,
    VersionId,
    TransferId,
    UploadId,
    StorageClass
);

impl BucketName {
    /// Checks `text` against the naming rules of general purpose buckets: today's, and those that us-east-1 had
    /// before March 2018. Buckets that were made then still exist under their names.
    ///
    /// Source: S3 user guide, "General purpose bucket naming rules".
    pub fn parse(text: &str) -> Result<Self, NameError> {
        if is_name_of_today(text) || is_old_name(text) {
            Ok(Self(text.to_owned()))
        } else {
            Err(NameError::Bucket(text.to_owned()))
        }
    }

    /// Returns whether only a bucket of us-east-1 can have the name, because today's rules do not allow it.
    pub fn is_old(&self) -> bool {
        !is_name_of_today(&self.0)
    }
}

fn is_name_of_today(text: &str) -> bool {
    let edge =
        |byte: Option<u8>| byte.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let bytes = text.as_bytes();
    BUCKET_NAME_LEN.contains(&bytes.len())
        && edge(bytes.first().copied())
        && edge(bytes.last().copied())
        && bytes
            .iter()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-'))
        && !text.contains("..")
}

fn is_old_name(text: &str) -> bool {
    let is_allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    OLD_BUCKET_NAME_LEN.contains(&text.len()) && text.bytes().all(is_allowed)
}

impl ObjectKey {
    /// Checks the length; S3 allows any UTF-8 text.
    pub fn parse(text: impl Into<String>) -> Result<Self, NameError> {
        let text = text.into();
        if (1..=KEY_BYTES_MAX).contains(&text.len()) {
            Ok(Self(text))
        } else {
            Err(NameError::Key(text.len()))
        }
    }
}

impl StorageClass {
    /// Returns the class of an object for which S3 names no class.
    pub fn standard() -> Self {
        Self::new("STANDARD")
    }

    /// Returns whether objects of this class have to be restored before they can be read.
    ///
    /// Source: S3 user guide, "Understanding and managing Amazon S3 storage classes".
    pub fn is_archive(&self) -> bool {
        matches!(self.as_str(), "GLACIER" | "DEEP_ARCHIVE")
    }
}

impl AccountId {
    /// Checks that the text is twelve digits.
    pub fn parse(text: impl Into<String>) -> Result<Self, NameError> {
        let text = text.into();
        if text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit()) {
            Ok(Self(text))
        } else {
            Err(NameError::Account(text))
        }
    }
}

impl KmsKeyArn {
    /// Checks that the text is `arn:partition:kms:region:account:key/id`, or has `alias/name` in place of `key/id`.
    pub fn parse(text: impl Into<String>) -> Result<Self, NameError> {
        let text = text.into();
        let fields: Vec<&str> = text.splitn(6, ':').collect();
        let well_formed = match fields[..] {
            ["arn", partition, "kms", region, account, key] => {
                !partition.is_empty()
                    && !region.is_empty()
                    && AccountId::parse(account).is_ok()
                    && (key.len() > 4 && key.starts_with("key/")
                        || key.len() > 6 && key.starts_with("alias/"))
            }
            _ => false,
        };
        if well_formed {
            Ok(Self(text))
        } else {
            Err(NameError::KmsKey(text))
        }
    }

    /// Returns the region that the key is in.
    pub fn region(&self) -> Region {
        Region::new(self.0.split(':').nth(3).unwrap_or_default())
    }

    /// Returns the account that the key belongs to.
    pub fn account(&self) -> &str {
        self.0.split(':').nth(4).unwrap_or_default()
    }
}

impl TryFrom<String> for AccountId {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        Self::parse(text)
    }
}

impl TryFrom<String> for KmsKeyArn {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        Self::parse(text)
    }
}

impl TryFrom<String> for BucketName {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        Self::parse(&text)
    }
}

impl TryFrom<String> for ObjectKey {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        Self::parse(text)
    }
}

impl Etag {
    /// Takes an `ETag` as S3 writes it anywhere: quoted in headers and listings, bare in notifications.
    pub fn new(text: &str) -> Self {
        Self(text.trim_matches('"').to_owned())
    }

    /// Returns whether a server has named an `ETag` at all.
    pub fn is_known(&self) -> bool {
        !self.0.is_empty()
    }

    /// Returns the `ETag` in quotes, as condition headers require it.
    pub fn quoted(&self) -> String {
        format!("\"{}\"", self.0)
    }

    /// Returns in how many parts the object was uploaded, if the `ETag` says so (`...-17`).
    ///
    /// Such an `ETag` depends on the part boundaries, so a copy in one piece gets another one.
    pub fn parts(&self) -> Option<u32> {
        let (_, count) = self.0.rsplit_once('-')?;
        count.parse().ok().filter(|&count| count > 0)
    }
}

/// The order of two notifications about the same key: hexadecimal text of uneven length.
///
/// S3 documents the comparison: pad the shorter one with zeros on the right, then compare as text.
/// Sequencers of different keys say nothing about each other.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Sequencer(String);

impl Sequencer {
    /// Takes the text of a notification; trailing zeros are only padding.
    pub fn new(text: &str) -> Self {
        Self(text.trim_end_matches('0').to_ascii_uppercase())
    }
}

impl PartialOrd for Sequencer {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Sequencer {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        // Not `format!("{:0<width$}")`, which panics if the width is over 65,535.
        let width = self.0.len().max(other.0.len());
        let mine = self.0.bytes().chain(std::iter::repeat(b'0')).take(width);
        let theirs = other.0.bytes().chain(std::iter::repeat(b'0')).take(width);
        mine.cmp(theirs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bucket_names_follow_s3s_rules() {
        for good in ["abc", "a.b-c", "0123", &"x".repeat(63)] {
            assert!(BucketName::parse(good).is_ok(), "{good}");
        }
        for good in ["abc", "a.b-c", "0123", &"x".repeat(63)] {
            assert!(!BucketName::parse(good).unwrap().is_old(), "{good}");
        }
        for bad in [
            "",
            "ab",
            "a b",
            "ü12",
            "a/b",
            "arn:aws:s3:::abc",
            "a\n\n",
            &"x".repeat(256),
        ] {
            assert!(BucketName::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_from_before_2018_are_recognised_as_old() {
        for old in [
            "ABCD_Central_1",
            "Abc",
            "a_b",
            "-ab",
            "ab-",
            ".ab",
            "a..b",
            "___",
            &"x".repeat(64),
            &"X".repeat(255),
        ] {
            assert!(BucketName::parse(old).unwrap().is_old(), "{old}");
        }
    }

    #[test]
    fn keys_have_1_to_1024_bytes() {
        assert!(ObjectKey::parse("").is_err());
        assert!(ObjectKey::parse("ü".repeat(512)).is_ok());
        assert!(ObjectKey::parse("ü".repeat(513)).is_err());
    }

    #[test]
    fn etags_lose_their_quotes_and_show_the_number_of_parts() {
        assert_eq!(Etag::new("\"abc\""), Etag::new("abc"));
        assert_eq!(Etag::new("\"abc-17\"").parts(), Some(17));
        assert_eq!(Etag::new("abc").parts(), None);
        assert_eq!(Etag::new("abc-x").parts(), None);
    }

    #[test]
    fn the_shorter_sequencer_is_padded_before_it_is_compared() {
        assert!(Sequencer::new("0055AED6DCD90281E5") > Sequencer::new("0055AED6"));
        assert!(Sequencer::new("1") > Sequencer::new("0FFFFFFF"));
        assert_eq!(Sequencer::new("00AB"), Sequencer::new("00ab0000"));
    }

    #[test]
    fn a_sequencer_of_any_length_is_compared() {
        let long = Sequencer::new(&"1".repeat(70_000));
        assert!(long > Sequencer::new("1") && long < Sequencer::new("2"));
    }

    #[test]
    fn an_invalid_name_cannot_be_deserialized() {
        let long = format!("{:?}", "k".repeat(1_025));
        assert!(serde_json::from_str::<ObjectKey>(&long).is_err());
        assert!(serde_json::from_str::<ObjectKey>(r#""""#).is_err());
        assert!(serde_json::from_str::<BucketName>(r#""Pho tos""#).is_err());
        let key = ObjectKey::parse("a b").unwrap();
        assert_eq!(serde_json::to_string(&key).unwrap(), r#""a b""#);
        assert_eq!(serde_json::from_str::<ObjectKey>(r#""a b""#).unwrap(), key);
    }

    #[test]
    fn account_ids_and_key_arns_are_checked() {
        assert!(AccountId::parse("123456789012").is_ok());
        for wrong in ["", "12345678901", "12345678901x", "1234567890123"] {
            assert!(AccountId::parse(wrong).is_err(), "{wrong}");
        }
        let key = KmsKeyArn::parse("arn:aws-cn:kms:cn-north-1:123456789012:key/1-2").unwrap();
        assert_eq!(key.region(), Region::new("cn-north-1"));
        assert!(KmsKeyArn::parse("arn:aws:kms:us-east-1:123456789012:alias/mine").is_ok());
        for wrong in [
            "1234abcd-12ab-34cd-56ef-1234567890ab",
            "alias/mine",
            "arn:aws:kms:us-east-1:123456789012:key/",
            "arn:aws:s3:us-east-1:123456789012:key/1",
            "arn:aws:kms::123456789012:key/1",
        ] {
            assert!(KmsKeyArn::parse(wrong).is_err(), "{wrong}");
        }
    }
}
