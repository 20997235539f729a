//! A rule: which bucket is replicated where, which of its keys, and what happens to deletes. No I/O.

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};

use crate::Timestamp;
use crate::names::{BucketName, ObjectKey, Region, RuleId};
use crate::notified_by::NotifiedBy;
use crate::options::Options;

/// A replication rule, as it is stored and shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// Its id.
    pub id: RuleId,
    /// The bucket whose changes are replicated.
    pub source: Bucket,
    /// The bucket that they are replicated to.
    pub destination: Bucket,
    /// Which keys it covers.
    pub scope: Scope,
    /// Whether deletes are replicated.
    pub policy: Policy,
    /// Further options of its replicas.
    #[serde(default)]
    pub options: Options,
    /// Whether a backfill of historical objects was asked for.
    pub historical: bool,
    /// How the source's changes have reached Tandem since its notifications were last attached.
    #[serde(default)]
    pub notified_by: NotifiedBy,
    /// Since when they have reached Tandem in that way, if they came in another way before.
    #[serde(default)]
    pub notified_since: Option<Timestamp>,
    /// The rule's state.
    pub state: RuleState,
    /// Counts the writes of this rule; every write is conditional on the one before.
    pub revision: u64,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was last written.
    pub updated_at: Timestamp,
    /// Since when it has been paused, if it is.
    #[serde(default)]
    pub paused_at: Option<Timestamp>,
    /// The default encryption of the destination bucket when S3 was last asked; `None` if S3 did not say.
    #[serde(default)]
    pub destination_encryption: Option<BucketEncryption>,
}

/// How long a rule's old way of being notified stays active beside its new one. S3 and EventBridge may take minutes to
/// apply a change.
///
/// Source: S3 user guide, "Enabling Amazon EventBridge": "it takes around five minutes for the changes to take effect".
const WAYS_OVERLAP: TimeDelta = TimeDelta::minutes(10);

impl Rule {
    /// Returns whether the rule has been notified in its present way for so long that its earlier way may be removed.
    pub fn has_settled_in_its_way(&self, now: Timestamp) -> bool {
        let since = self.notified_since;
        since.is_some_and(|since| now - since > WAYS_OVERLAP)
    }

    /// Returns a rule that is being created: it replicates all objects, under policy `full` and the default options.
    pub fn new(id: RuleId, source: Bucket, destination: Bucket, at: Timestamp) -> Self {
        Self {
            id,
            source,
            destination,
            scope: Scope::All,
            policy: Policy::Full,
            options: Options::default(),
            historical: false,
            notified_by: NotifiedBy::Bucket,
            notified_since: None,
            state: RuleState::Enabling,
            revision: 1,
            created_at: at,
            updated_at: at,
            paused_at: None,
            destination_encryption: None,
        }
    }
}

/// How a bucket encrypts an object whose writer names no encryption.
///
/// Source: S3 API reference, `ServerSideEncryptionByDefault`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum BucketEncryption {
    /// With S3's own keys.
    #[serde(rename = "AES256")]
    Aes256,
    /// With a KMS key.
    #[serde(rename = "aws:kms")]
    Kms,
    /// With a KMS key, in two layers.
    #[serde(rename = "aws:kms:dsse")]
    KmsDsse,
}

impl BucketEncryption {
    /// Returns whether the `ETag` of an object with this encryption is not a digest of its bytes.
    ///
    /// Source: S3 API reference, "Object".
    pub fn hides_digest(self) -> bool {
        matches!(self, Self::Kms | Self::KmsDsse)
    }
}

/// A bucket and its region.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bucket {
    /// Its name.
    #[serde(rename = "bucket")]
    pub name: BucketName,
    /// Its region.
    pub region: Region,
}

/// What happens to deletes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Policy {
    /// Objects are added, changed and deleted.
    Full,
    /// Objects are added and changed only: a replica outlives its source.
    Write,
}

/// A rule's state: `enabling -> enabled (<-> paused) -> deleting -> gone`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RuleState {
    /// Both buckets are claimed; notifications are being attached.
    Enabling,
    /// Changes are replicated.
    Enabled,
    /// Changed keys are deferred, and replicated when the rule is resumed.
    Paused,
    /// Notifications are being detached; nothing is replicated any more.
    Deleting,
}

impl RuleState {
    /// Returns the word that is stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Enabling => "enabling",
            Self::Enabled => "enabled",
            Self::Paused => "paused",
            Self::Deleting => "deleting",
        }
    }
}

/// Which keys a rule covers. Only [`Scope::prefixes_of`] creates the second variant, so it always has one to five
/// prefixes, none of which lies inside another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", try_from = "Unchecked")]
pub enum Scope {
    /// Every key.
    All,
    /// Keys that begin with one of these.
    Prefixes(Vec<String>),
}

/// A scope as it is read from a request or the table. Its prefixes are not checked yet.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Unchecked {
    All,
    Prefixes(Vec<String>),
}

impl TryFrom<Unchecked> for Scope {
    type Error = ScopeError;

    fn try_from(read: Unchecked) -> Result<Self, ScopeError> {
        match read {
            Unchecked::All => Ok(Self::All),
            Unchecked::Prefixes(prefixes) => Self::prefixes_of(prefixes),
        }
    }
}

/// The limit on the number of a rule's prefixes.
pub const PREFIXES_MAX: usize = 5;

/// Why a list of prefixes is not a scope.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScopeError {
    /// No prefix at all.
    #[error("no prefix given; name one to {PREFIXES_MAX}, or use the scope \"all\"")]
    None,
    /// More than five.
    #[error(
        "{0} prefixes; a rule takes at most {PREFIXES_MAX}: choose shorter ones, or the scope \"all\""
    )]
    TooMany(usize),
    /// An empty prefix covers everything.
    #[error("an empty prefix covers every key; use the scope \"all\" instead")]
    Empty,
    /// Longer than any key.
    #[error("the prefix {0:?}... has {1} bytes; keys have at most 1,024: shorten it")]
    TooLong(String, usize),
    /// The same prefix twice.
    #[error("the prefix {0:?} is given twice; name it once")]
    Duplicate(String),
    /// One prefix inside another.
    #[error("the prefix {inner:?} lies inside {outer:?}; leave one of them out")]
    Nested {
        /// The longer one.
        inner: String,
        /// The shorter one, which covers it.
        outer: String,
    },
}

impl Scope {
    /// Creates a scope of one to five prefixes. None may be empty, given twice, or inside another.
    pub fn prefixes_of(prefixes: Vec<String>) -> Result<Self, ScopeError> {
        match prefixes.len() {
            0 => return Err(ScopeError::None),
            n if n > PREFIXES_MAX => return Err(ScopeError::TooMany(n)),
            _ => {}
        }
        for (i, prefix) in prefixes.iter().enumerate() {
            if prefix.is_empty() {
                return Err(ScopeError::Empty);
            }
            if prefix.len() > crate::names::KEY_BYTES_MAX {
                return Err(ScopeError::TooLong(
                    prefix.chars().take(32).collect(),
                    prefix.len(),
                ));
            }
            for other in &prefixes[..i] {
                if prefix == other {
                    return Err(ScopeError::Duplicate(prefix.clone()));
                }
                let (outer, inner) = if prefix.len() < other.len() {
                    (prefix, other)
                } else {
                    (other, prefix)
                };
                if inner.starts_with(outer.as_str()) {
                    return Err(ScopeError::Nested {
                        inner: inner.clone(),
                        outer: outer.clone(),
                    });
                }
            }
        }
        Ok(Self::Prefixes(prefixes))
    }

    /// Returns whether the scope covers `key`.
    pub fn covers(&self, key: &ObjectKey) -> bool {
        match self {
            Self::All => true,
            Self::Prefixes(prefixes) => prefixes
                .iter()
                .any(|prefix| key.as_str().starts_with(prefix.as_str())),
        }
    }

    /// Returns the prefixes to list, in the order of the keys; the empty one for every key.
    pub fn listing_prefixes(&self) -> Vec<String> {
        match self {
            Self::All => vec![String::new()],
            Self::Prefixes(prefixes) => {
                let mut sorted = prefixes.clone();
                sorted.sort();
                sorted
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefixes(list: &[&str]) -> Result<Scope, ScopeError> {
        Scope::prefixes_of(list.iter().map(|&p| p.to_owned()).collect())
    }

    #[test]
    fn a_scope_has_one_to_five_prefixes() {
        assert_eq!(prefixes(&[]), Err(ScopeError::None));
        assert!(prefixes(&["a", "b", "c", "d", "e"]).is_ok());
        assert_eq!(
            prefixes(&["a", "b", "c", "d", "e", "f"]),
            Err(ScopeError::TooMany(6))
        );
    }

    #[test]
    fn empty_duplicate_nested_and_overlong_prefixes_are_refused() {
        assert_eq!(prefixes(&["a", ""]), Err(ScopeError::Empty));
        assert_eq!(
            prefixes(&["a", "b", "a"]),
            Err(ScopeError::Duplicate("a".into()))
        );
        for nested in [["a/", "a/b"], ["a/b", "a/"]] {
            let refused = ScopeError::Nested {
                inner: "a/b".into(),
                outer: "a/".into(),
            };
            assert_eq!(prefixes(&nested), Err(refused));
        }
        assert!(prefixes(&[&"x".repeat(1024)]).is_ok());
        assert!(matches!(
            prefixes(&[&"x".repeat(1025)]),
            Err(ScopeError::TooLong(_, 1025))
        ));
        // A thousand characters that are more than a thousand bytes.
        assert!(matches!(
            prefixes(&[&"ü".repeat(1000)]),
            Err(ScopeError::TooLong(_, 2000))
        ));
    }

    #[test]
    fn a_scope_covers_keys_by_their_prefixes() {
        let scope = prefixes(&["logs/", "img"]).unwrap();
        let key = |text: &str| ObjectKey::parse(text).unwrap();
        assert!(scope.covers(&key("logs/1")));
        assert!(scope.covers(&key("img1")));
        assert!(!scope.covers(&key("log")));
        assert!(Scope::All.covers(&key("anything")));
    }

    #[test]
    fn a_scope_is_written_as_the_contract_says() {
        let json = |scope: &Scope| serde_json::to_string(scope).unwrap();
        assert_eq!(json(&Scope::All), r#""all""#);
        assert_eq!(json(&prefixes(&["a/"]).unwrap()), r#"{"prefixes":["a/"]}"#);
    }
}
