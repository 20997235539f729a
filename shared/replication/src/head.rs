//! An object as the headers of a HEAD show it, read from their raw bytes. No I/O.
//!
//! HTTP allows more than an SDK's parser accepts: values that are not UTF-8, dates in three forms or in none, a header
//! that occurs twice. A header that cannot be read counts as absent. Only the `ETag`, the size and the date of a lock
//! have to be readable; otherwise the error names the header.

use std::collections::BTreeMap;

use crate::Timestamp;
use crate::header_value::HeaderValue;
use crate::names::{Etag, StorageClass, VersionId};
use crate::object::{Checksum, Lock, Metadata, ObjectState, Retention, WRITTEN_AT_UNKNOWN};

/// The prefix of the headers of user metadata.
const USER_METADATA: &str = "x-amz-meta-";

/// The headers of an answer, with their values byte for byte.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Head {
    /// The values by the headers' names in lower case.
    headers: BTreeMap<String, HeaderValue>,
}

/// A header that a HEAD's answer needs, and that is missing or cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the answer's header {header} {problem}")]
pub struct UnreadableHead {
    /// The header's name.
    pub header: &'static str,
    /// What is wrong with it.
    pub problem: &'static str,
}

impl Head {
    /// Reads the headers of an answer. The values of a header that occurs more than once form one list (RFC 9110,
    /// section 5.3).
    pub fn new<'a>(headers: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Self {
        let mut found: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        for (name, value) in headers {
            found
                .entry(name.to_ascii_lowercase())
                .and_modify(|all| {
                    all.extend_from_slice(b", ");
                    all.extend_from_slice(value);
                })
                .or_insert_with(|| value.to_vec());
        }
        let headers = found.into_iter();
        Self {
            headers: headers
                .map(|(name, value)| (name, HeaderValue::new(value)))
                .collect(),
        }
    }

    /// Returns a header's value if it exists and is text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(HeaderValue::as_str)
    }

    /// Returns the object's `ETag`.
    pub fn etag(&self) -> Result<Etag, UnreadableHead> {
        match self.text("etag").map(Etag::new) {
            Some(etag) if etag.is_known() => Ok(etag),
            _ => Err(missing("ETag")),
        }
    }

    /// Returns the object's size, or the part's size after a HEAD of one part.
    pub fn bytes(&self) -> Result<u64, UnreadableHead> {
        let length = self.text("content-length").map(str::trim);
        let length = length.ok_or(missing("Content-Length"))?;
        length.parse().map_err(|_| UnreadableHead {
            header: "Content-Length",
            problem: "is not a number of bytes",
        })
    }

    /// Returns how many parts the object was uploaded in, if the server says so.
    pub fn parts_count(&self) -> Option<u32> {
        self.text("x-amz-mp-parts-count")?.trim().parse().ok()
    }

    /// Returns the object that the answer describes. A retention that has expired by `now` is left out.
    pub fn state(&self, now: Timestamp) -> Result<ObjectState, UnreadableHead> {
        let said = |name: &str, wanted: &str| self.text(name) == Some(wanted);
        let hidden = said("x-amz-server-side-encryption", "aws:kms")
            || said("x-amz-server-side-encryption", "aws:kms:dsse")
            || self
                .headers
                .contains_key("x-amz-server-side-encryption-customer-algorithm");
        let written_at = self.text("last-modified").and_then(http_date);
        let version = self.text("x-amz-version-id").and_then(version);
        let class = self.text("x-amz-storage-class").map(StorageClass::new);
        let tag_count = self.text("x-amz-tagging-count");
        Ok(ObjectState {
            etag: self.etag()?,
            etag_is_digest: !hidden,
            bytes: self.bytes()?,
            last_modified: written_at.unwrap_or(WRITTEN_AT_UNKNOWN),
            version_id: version,
            metadata: self.metadata(),
            storage_class: class.unwrap_or_else(StorageClass::standard),
            checksum: self.checksum(),
            lock: self.lock(now)?,
            tag_count: tag_count
                .and_then(|n| n.trim().parse().ok())
                .unwrap_or_default(),
        })
    }

    /// Returns the object's metadata.
    pub fn metadata(&self) -> Metadata {
        let value = |name: &str| self.headers.get(name).cloned();
        let user = self.headers.iter().filter_map(|(name, value)| {
            let name = name.strip_prefix(USER_METADATA)?;
            Some((name.to_owned(), value.clone()))
        });
        Metadata {
            content_type: value("content-type"),
            content_encoding: value("content-encoding"),
            content_language: value("content-language"),
            content_disposition: value("content-disposition"),
            cache_control: value("cache-control"),
            expires: value("expires"),
            website_redirect: value("x-amz-website-redirect-location"),
            user: user.collect(),
            unshown: value("x-amz-missing-meta").filter(|count| *count != *"0"),
        }
    }

    fn checksum(&self) -> Option<Checksum> {
        let algorithms = ["CRC64NVME", "CRC32C", "CRC32", "SHA256", "SHA1"];
        let algorithm = algorithms.into_iter().find(|algorithm| {
            let name = format!("x-amz-checksum-{}", algorithm.to_ascii_lowercase());
            self.headers.contains_key(&name)
        })?;
        Some(Checksum {
            algorithm: algorithm.to_owned(),
            full_object: self.text("x-amz-checksum-type") == Some("FULL_OBJECT"),
        })
    }

    /// Returns the object's lock. An expired retention is left out: S3 still shows it, but refuses to set it on a copy.
    fn lock(&self, now: Timestamp) -> Result<Lock, UnreadableHead> {
        const UNTIL: &str = "x-amz-object-lock-retain-until-date";
        let legal_hold = self.text("x-amz-object-lock-legal-hold") == Some("ON");
        let Some(mode) = self.headers.get("x-amz-object-lock-mode") else {
            return Ok(Lock {
                retention: None,
                legal_hold,
            });
        };
        let until = self.text(UNTIL).map(str::trim);
        let until = until.and_then(|text| chrono::DateTime::parse_from_rfc3339(text).ok());
        let until = until.ok_or(UnreadableHead {
            header: UNTIL,
            problem: "is not a date, so that the object's lock is not known",
        })?;
        let until = until.to_utc();
        Ok(Lock {
            retention: (until > now).then(|| Retention {
                compliance: *mode == *"COMPLIANCE",
                until,
            }),
            legal_hold,
        })
    }
}

/// Returns the version that S3 names, or `None` for `null`. S3 writes `null` for an object that was put while the
/// bucket had no versions. Such an object can be overwritten in place, so it counts as an object without a version.
pub fn version(text: &str) -> Option<VersionId> {
    (text != "null").then(|| VersionId::new(text))
}

const fn missing(header: &'static str) -> UnreadableHead {
    UnreadableHead {
        header,
        problem: "is missing, or is not text",
    }
}

/// Reads a date in one of the three forms that a recipient has to accept (RFC 9110, section 5.6.7), in whole seconds.
fn http_date(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    if let Ok(date) = chrono::DateTime::parse_from_rfc2822(text) {
        return Timestamp::from_timestamp(date.timestamp(), 0);
    }
    let forms = ["%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"];
    forms
        .iter()
        .find_map(|form| chrono::NaiveDateTime::parse_from_str(text, form).ok())
        .map(|date| date.and_utc())
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use proptest::prelude::*;

    use super::*;

    const NEEDED: [(&str, &[u8]); 2] = [("ETag", b"\"e\""), ("Content-Length", b"3")];

    fn state<'a>(
        headers: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    ) -> Result<ObjectState, UnreadableHead> {
        Head::new(NEEDED.into_iter().chain(headers)).state(Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn a_head_is_read_as_s3_writes_it() {
        let state = state([
            ("Last-Modified", &b"Wed, 21 Oct 2015 07:28:00 GMT"[..]),
            ("x-amz-version-id", b"v1"),
            ("Content-Type", b"text/plain"),
            (
                "Content-Disposition",
                b"attachment; filename=\"1 \xa9.jpg\"",
            ),
            ("Expires", b"in a while"),
            ("x-amz-meta-Artist", b"a  b"),
            ("x-amz-meta-empty", b""),
            ("x-amz-storage-class", b"STANDARD_IA"),
            ("x-amz-checksum-crc32c", b"AAAAAA=="),
            ("x-amz-checksum-type", b"FULL_OBJECT"),
            ("x-amz-tagging-count", b"2"),
        ])
        .unwrap();
        assert_eq!((state.etag, state.bytes), (Etag::new("e"), 3));
        assert_eq!(state.last_modified.timestamp(), 1_445_412_480);
        assert_eq!(state.version_id, Some(VersionId::new("v1")));
        let metadata = state.metadata;
        let disposition = metadata.content_disposition.unwrap();
        assert_eq!(
            disposition.as_bytes(),
            b"attachment; filename=\"1 \xa9.jpg\""
        );
        assert_eq!(metadata.expires, Some("in a while".into()));
        assert_eq!(metadata.user["artist"], *"a  b");
        assert_eq!(metadata.user["empty"], *"");
        assert_eq!(state.storage_class, StorageClass::new("STANDARD_IA"));
        let checksum = state.checksum.unwrap();
        assert_eq!(
            (checksum.algorithm.as_str(), checksum.full_object),
            ("CRC32C", true)
        );
        assert_eq!((state.tag_count, state.etag_is_digest), (2, true));
    }

    #[test]
    fn a_header_that_cannot_be_read_counts_as_absent() {
        let odd = state([
            ("Last-Modified", &b"yesterday"[..]),
            ("x-amz-tagging-count", b"many"),
            ("x-amz-version-id", b"null"),
            ("x-amz-missing-meta", b"0"),
            ("x-amz-storage-class", b"\xff"),
        ])
        .unwrap();
        assert_eq!(odd.last_modified, WRITTEN_AT_UNKNOWN);
        assert_eq!((odd.tag_count, odd.version_id), (0, None));
        assert_eq!(odd.metadata, Metadata::default());
        assert_eq!(odd.storage_class, StorageClass::standard());
    }

    #[test]
    fn an_object_without_etag_or_size_is_an_error_that_names_the_header() {
        for (headers, header) in [
            (vec![("content-length", &b"3"[..])], "ETag"),
            (vec![("content-length", b"3"), ("etag", b"\"\"")], "ETag"),
            (vec![("content-length", b"3"), ("etag", b"\xff")], "ETag"),
            (vec![("etag", b"e")], "Content-Length"),
            (
                vec![("etag", b"e"), ("content-length", b"3, 3")],
                "Content-Length",
            ),
            (
                vec![("etag", b"e"), ("content-length", b"-1")],
                "Content-Length",
            ),
        ] {
            let error = Head::new(headers).state(Timestamp::UNIX_EPOCH).unwrap_err();
            assert_eq!(error.header, header);
        }
    }

    #[test]
    fn each_form_of_an_http_date_is_read() {
        for text in [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
        ] {
            let at = http_date(text).map(|at| at.timestamp());
            assert_eq!(at, Some(784_111_777), "{text}");
        }
        for text in ["", "0", "-1", "Sun, 06 Nov", "9999999999"] {
            assert_eq!(http_date(text), None, "{text}");
        }
    }

    #[test]
    fn an_expired_retention_is_left_out_and_one_without_a_date_is_an_error() {
        let retained = |until: &[u8]| {
            let headers = [
                ("x-amz-object-lock-mode", &b"COMPLIANCE"[..]),
                ("x-amz-object-lock-retain-until-date", until),
                ("x-amz-object-lock-legal-hold", b"ON"),
            ];
            state(headers).map(|state| state.lock)
        };
        let lock = retained(b"1970-01-02T00:00:00Z").unwrap();
        let retention = lock.retention.unwrap();
        assert!(retention.compliance && lock.legal_hold);
        assert_eq!(retention.until, Timestamp::UNIX_EPOCH + TimeDelta::days(1));
        assert_eq!(retained(b"1969-12-31T00:00:00Z").unwrap().retention, None);
        assert!(retained(b"tomorrow").is_err());
    }

    #[test]
    fn a_header_that_occurs_twice_is_one_list() {
        let twice = state([
            ("cache-control", &b"no-store"[..]),
            ("Cache-Control", b"private"),
        ]);
        let control = twice.unwrap().metadata.cache_control;
        assert_eq!(control, Some("no-store, private".into()));
    }

    #[test]
    fn encryption_with_kms_or_customer_keys_hides_the_digest() {
        for (name, value) in [
            ("x-amz-server-side-encryption", &b"aws:kms"[..]),
            ("x-amz-server-side-encryption", b"aws:kms:dsse"),
            ("x-amz-server-side-encryption-customer-algorithm", b"AES256"),
        ] {
            assert!(!state([(name, value)]).unwrap().etag_is_digest, "{name}");
        }
        let managed = state([("x-amz-server-side-encryption", &b"AES256"[..])]);
        assert!(managed.unwrap().etag_is_digest);
    }

    /// The headers that S3 sends with an object, and others.
    fn names() -> impl Strategy<Value = String> {
        prop_oneof![
            proptest::sample::select(vec![
                "content-type",
                "content-encoding",
                "content-language",
                "content-disposition",
                "cache-control",
                "expires",
                "last-modified",
                "x-amz-website-redirect-location",
                "x-amz-storage-class",
                "x-amz-version-id",
                "x-amz-missing-meta",
                "x-amz-tagging-count",
                "x-amz-mp-parts-count",
                "x-amz-checksum-type",
                "x-amz-checksum-sha1",
                "x-amz-server-side-encryption",
            ])
            .prop_map(str::to_owned),
            "x-amz-meta-[a-z0-9-]{0,4}",
            "[a-z-]{1,8}",
        ]
    }

    proptest! {
        // Promise: A key is replicated and compared whatever bytes HTTP allows in its source's headers: a header that
        // cannot be read counts as absent, and a key whose header cannot be sent fails alone, with a reason that names
        // the header.
        #[test]
        fn an_object_is_read_whatever_bytes_its_headers_have(
            headers in proptest::collection::btree_map(names(), any::<Vec<u8>>(), 0..12),
        ) {
            let sent = headers.iter().map(|(name, value)| (name.as_str(), value.as_slice()));
            let read = state(sent).unwrap();
            let value = |name: &str| headers.get(name).cloned().map(HeaderValue::new);
            prop_assert_eq!(&read.metadata.content_disposition, &value("content-disposition"));
            prop_assert_eq!(&read.metadata.expires, &value("expires"));
            for (name, sent) in &headers {
                if let Some(name) = name.strip_prefix(USER_METADATA) {
                    prop_assert_eq!(read.metadata.user[name].as_bytes(), sent.as_slice());
                }
            }
            let unsendable = headers.iter().any(|(name, value)| {
                let is_text = std::str::from_utf8(value).is_ok();
                match name.as_str() {
                    "x-amz-missing-meta" => value != b"0",
                    "x-amz-website-redirect-location" => !is_text,
                    name => name.starts_with(USER_METADATA) && !is_text,
                }
            });
            prop_assert_eq!(read.metadata.unsendable().is_some(), unsendable);
        }

        #[test]
        fn headers_of_any_bytes_are_read_or_refused_by_name(
            headers in proptest::collection::vec((names(), any::<Vec<u8>>()), 0..12),
            etag: Vec<u8>,
            length: Vec<u8>,
            until: Vec<u8>,
        ) {
            let needed = [
                ("etag", etag.as_slice()),
                ("content-length", &length),
                ("x-amz-object-lock-mode", b"GOVERNANCE"),
                ("x-amz-object-lock-retain-until-date", &until),
            ];
            let others = headers.iter().map(|(name, value)| (name.as_str(), value.as_slice()));
            let _ = Head::new(needed.into_iter().chain(others)).state(Timestamp::UNIX_EPOCH);
        }
    }

    proptest! {
        #[test]
        fn parsing_any_text_as_a_date_never_panics(text: String) {
            let _ = http_date(&text);
        }
    }
}
