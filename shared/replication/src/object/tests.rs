//! Tests of how a replica is recognised, and of the metadata that S3 accepts.

use super::*;

/// Returns an object of three bytes without metadata, tags or lock.
pub(crate) fn object(etag: &str) -> ObjectState {
    ObjectState {
        etag: Etag::new(etag),
        etag_is_digest: true,
        bytes: 3,
        last_modified: Timestamp::UNIX_EPOCH,
        version_id: None,
        metadata: Metadata::default(),
        storage_class: StorageClass::standard(),
        checksum: None,
        lock: Lock::default(),
        tag_count: 0,
    }
}

#[test]
fn a_recorded_source_etag_stands_for_the_etag_itself() {
    let mut replica = object("single");
    replica.metadata = replica.metadata.marked(&Etag::new("multi-2"));
    assert!(replica.stands_for(&Etag::new("multi-2")));
    assert!(!replica.stands_for(&Etag::new("newer-2")));
    assert_eq!(replica.metadata.visible(), Metadata::default());
}

/// Returns a copy of `source` in a bucket whose encryption gives it this `ETag`.
fn encrypted_copy(source: &ObjectState, etag: &str) -> ObjectState {
    ObjectState {
        etag: Etag::new(etag),
        etag_is_digest: false,
        metadata: source.marked_metadata().unwrap(),
        ..source.clone()
    }
}

// Promise: Where rules form a circle, an object of one writer goes round once: its source is known to be a copy of
// its replica, also where encryption gives every copy another `ETag`.
#[test]
fn a_ring_under_kms_closes_after_one_round() {
    let encrypted = |etag| ObjectState {
        etag_is_digest: false,
        ..object(etag)
    };
    for first in [object("a"), encrypted("a")] {
        let second = encrypted_copy(&first, "b");
        let third = encrypted_copy(&second, "c");
        assert!(second.is_copy_of(&first) && third.is_copy_of(&second));
        assert!(first.is_copy_of(&third), "the third is a copy of the first");
        assert!(first.is_copy_of(&second), "two buckets are a ring, too");
    }
}

#[test]
fn a_mark_is_ignored_if_the_etags_show_that_the_bytes_differ() {
    let replica = object("old");
    let mut source = object("new");
    // A user read the replica, changed its bytes, and put it with the metadata that it had.
    source.metadata = source.metadata.marked(&Etag::new("old"));
    assert!(!replica.is_copy_of(&source));
    assert_eq!(source.origin(), Etag::new("new"), "the mark is ignored");
    let mut marked = object("older");
    marked.metadata = source.metadata.clone();
    assert!(!marked.is_copy_of(&source), "the same mark, other bytes");
}

/// Returns an object with this many bytes of user metadata.
fn with_metadata(etag: &str, bytes: usize) -> ObjectState {
    let mut object = object(etag);
    let value = "v".repeat(bytes - 1);
    object.metadata.user.insert("m".to_owned(), value.into());
    object
}

#[test]
fn the_mark_is_left_out_if_s3_would_refuse_the_metadata() {
    let etag = Etag::new(&"e".repeat(32));
    let mark_bytes = PROVENANCE_KEY.len() + 32;
    let fits = |bytes| with_metadata("e", bytes).metadata.can_be_marked(&etag);
    assert!(fits(USER_METADATA_BYTES_MAX - mark_bytes));
    assert!(!fits(USER_METADATA_BYTES_MAX - mark_bytes + 1));
}

#[test]
fn metadata_that_cannot_be_sent_are_reported_with_their_header() {
    let bytes = || HeaderValue::new(*b"1 \xa9");
    let named = |metadata: Metadata| metadata.unsendable().map(|found| found.header);
    let disposition = Metadata {
        content_disposition: Some(bytes()),
        ..Metadata::default()
    };
    assert_eq!(named(disposition), None);
    let user = Metadata {
        user: [("artist".to_owned(), bytes())].into(),
        ..Metadata::default()
    };
    assert_eq!(named(user).as_deref(), Some("x-amz-meta-artist"));
    let redirect = Metadata {
        website_redirect: Some(bytes()),
        ..Metadata::default()
    };
    let redirect = named(redirect);
    assert_eq!(redirect.as_deref(), Some("x-amz-website-redirect-location"));
    let unshown = Metadata {
        unshown: Some("1".into()),
        ..Metadata::default()
    };
    assert_eq!(named(unshown).as_deref(), Some("x-amz-missing-meta"));
}

// Promise: A replica whose metadata leave no room for the source's `ETag` is recognised by its size, its metadata
// and its time: it was written after its source.
#[test]
fn an_unmarked_copy_is_known_by_size_metadata_and_time() {
    let at = |secs| Timestamp::UNIX_EPOCH + chrono::TimeDelta::seconds(secs);
    let source = ObjectState {
        last_modified: at(10),
        ..with_metadata("source", 2_043)
    };
    let copy = ObjectState {
        last_modified: at(11),
        etag_is_digest: false,
        ..with_metadata("encrypted", 2_043)
    };
    assert!(copy.is_copy_of(&source) && !copy.is_too_early_for(&source));
    let early = ObjectState {
        last_modified: at(10),
        ..copy.clone()
    };
    assert!(!early.is_copy_of(&source) && early.is_too_early_for(&source));
    let others = [
        ObjectState {
            bytes: 4,
            ..copy.clone()
        },
        ObjectState {
            metadata: with_metadata("", 2_044).metadata,
            ..copy.clone()
        },
        // Its ETag would be the source's.
        ObjectState {
            etag_is_digest: true,
            ..copy.clone()
        },
        // It names another source.
        ObjectState {
            metadata: copy.metadata.marked(&Etag::new("older")),
            ..copy.clone()
        },
        ObjectState {
            last_modified: WRITTEN_AT_UNKNOWN,
            ..copy.clone()
        },
    ];
    for other in others {
        assert!(!other.is_copy_of(&source), "{other:?}");
    }
    let in_parts = |etag: &str, secs| ObjectState {
        last_modified: at(secs),
        etag: Etag::new(etag),
        ..source.clone()
    };
    let begun_early = in_parts("b-2", 1);
    assert!(
        !in_parts("a-2", 12).is_copy_of(&begun_early),
        "the time of an object in parts is when its upload began"
    );
    let key = ObjectKey::parse("a").unwrap();
    assert!(begun_early.check_recognisable(&key).is_err());
    assert!(source.check_recognisable(&key).is_ok());
    let small = ObjectState {
        last_modified: at(10),
        ..with_metadata("source", 100)
    };
    let unmarked = ObjectState {
        metadata: small.metadata.clone(),
        ..copy
    };
    assert!(!unmarked.is_copy_of(&small), "its copy would be marked");
}

#[test]
fn a_lock_is_within_one_that_protects_as_strictly_and_as_long() {
    let lock = |compliance, days| Lock {
        retention: Some(Retention {
            compliance,
            until: Timestamp::UNIX_EPOCH + chrono::TimeDelta::days(days),
        }),
        legal_hold: false,
    };
    assert!(Lock::default().is_within(&lock(true, 1)));
    assert!(lock(false, 1).is_within(&lock(false, 1)));
    assert!(lock(false, 1).is_within(&lock(true, 2)));
    assert!(!lock(true, 1).is_within(&lock(false, 2)));
    assert!(!lock(false, 2).is_within(&lock(false, 1)));
    let held = Lock {
        legal_hold: true,
        ..Lock::default()
    };
    assert!(!held.is_within(&Lock::default()));
    assert!(Lock::default().is_within(&held));
}
