//! Bytes, `ETag`, headers, metadata, checksums.

use std::collections::HashMap;

use super::{CUTS, Dress, IN_PARTS, Kind, Pair, Server, WHOLE, strict};
use aws_sdk_s3::operation::head_object::HeadObjectOutput;
use aws_sdk_s3::types::{ChecksumAlgorithm, ChecksumType};
use tandem_replication::object::PROVENANCE_KEY;
use tandem_replication::options::Options;

// Promise: An object in parts is copied in the same parts, and so keeps its `ETag`; it becomes equal although a
// worker dies.
#[tokio::test]
async fn bytes_size_and_etag_whatever_the_parts() {
    let pair = strict().await;
    for (n, cut) in CUTS.into_iter().enumerate() {
        let key = format!("cut {n}");
        pair.write(&key, cut, &Dress::default()).await;
        let (source, replica) = pair.carry(&key).await;
        let sent = pair.proxy.take_counts();
        assert_eq!(source.e_tag(), replica.e_tag(), "{cut:?}: {sent:?}");
        assert_eq!(source.content_length(), replica.content_length(), "{cut:?}");
        assert_eq!(
            sent.get("UploadPartCopy").copied().unwrap_or_default(),
            cut.len()
        );
        let metadata = replica.metadata().expect("metadata");
        assert!(
            !metadata.contains_key(PROVENANCE_KEY),
            "{cut:?}: {metadata:?}"
        );
    }
    // Where S3 lists the parts, no HEAD of each part is sent.
    let listed = Dress {
        checksum: Some((ChecksumAlgorithm::Sha256, ChecksumType::Composite)),
        ..Dress::default()
    };
    pair.write("listed", IN_PARTS, &listed).await;
    let (source, replica) = pair.carry("listed").await;
    assert_eq!(source.e_tag(), replica.e_tag());
    let sent = pair.proxy.take_counts();
    assert_eq!(sent.get("GetObjectAttributes"), Some(&1), "{sent:?}");
}

#[tokio::test]
async fn content_headers() {
    let pair = strict().await;
    let dress = Dress {
        content_type: Some("text/plain; charset=utf-8".to_owned()),
        content_encoding: Some("gzip".to_owned()),
        content_language: Some("de, en-GB".to_owned()),
        content_disposition: Some("attachment; filename=\"a b.txt\"".to_owned()),
        cache_control: Some("max-age=60, no-transform".to_owned()),
        ..Dress::default()
    };
    for (key, cut) in [("whole", WHOLE), ("parts", IN_PARTS)] {
        pair.write(key, cut, &dress).await;
        let (source, replica) = pair.carry(key).await;
        let headers = |head: &HeadObjectOutput| {
            [
                head.content_type().map(str::to_owned),
                head.content_encoding().map(str::to_owned),
                head.content_language().map(str::to_owned),
                head.content_disposition().map(str::to_owned),
                head.cache_control().map(str::to_owned),
            ]
        };
        assert_eq!(headers(&replica), headers(&source), "{key}");
        assert_eq!(
            replica.content_type(),
            dress.content_type.as_deref(),
            "{key}"
        );
    }
}

#[tokio::test]
async fn expires() {
    // The stricter S3 loses this header in a copy.
    for (server, key, cut) in [
        (Server::Emulator, "whole", WHOLE),
        (Server::Strict, "parts", IN_PARTS),
    ] {
        let pair = Pair::new(server, Kind::Plain, Options::default()).await;
        let dress = Dress {
            expires: Some("Wed, 21 Oct 2026 07:28:00 GMT".to_owned()),
            ..Dress::default()
        };
        pair.write(key, cut, &dress).await;
        let (source, replica) = pair.carry(key).await;
        assert_eq!(source.expires_string(), dress.expires.as_deref(), "{key}");
        assert_eq!(replica.expires_string(), source.expires_string(), "{key}");
    }
}

#[tokio::test]
async fn user_metadata_including_unicode() {
    let pair = strict().await;
    let dress = Dress {
        metadata: vec![
            ("plain", "a=b; c+d %20"),
            ("empty", ""),
            // S3 returns what is not ASCII in this form: encoded by RFC 2047.
            ("unicode", "=?UTF-8?B?5pel5pys6KqeIMO8?="),
            ("x-with.odd_name-1", "1"),
        ],
        ..Dress::default()
    };
    for (key, cut) in [("whole", WHOLE), ("parts", IN_PARTS)] {
        pair.write(key, cut, &dress).await;
        let (source, replica) = pair.carry(key).await;
        assert_eq!(source.metadata().map(HashMap::len), Some(4), "{key}");
        assert_eq!(replica.metadata(), source.metadata(), "{key}");
    }
}

#[tokio::test]
async fn checksum_algorithms() {
    let pair = strict().await;
    for (n, checksum) in [
        (ChecksumAlgorithm::Sha256, ChecksumType::Composite),
        (ChecksumAlgorithm::Sha1, ChecksumType::Composite),
        (ChecksumAlgorithm::Crc32, ChecksumType::Composite),
        (ChecksumAlgorithm::Crc32C, ChecksumType::FullObject),
        (ChecksumAlgorithm::Crc64Nvme, ChecksumType::FullObject),
    ]
    .into_iter()
    .enumerate()
    {
        let dress = Dress {
            checksum: Some(checksum),
            ..Dress::default()
        };
        for (how, cut) in [("whole", WHOLE), ("parts", IN_PARTS)] {
            let key = format!("{how} {n}");
            pair.write(&key, cut, &dress).await;
            let (source, replica) = pair.carry(&key).await;
            let checksums = |head: &HeadObjectOutput| {
                [
                    head.checksum_sha256().map(str::to_owned),
                    head.checksum_sha1().map(str::to_owned),
                    head.checksum_crc32().map(str::to_owned),
                    head.checksum_crc32_c().map(str::to_owned),
                    head.checksum_crc64_nvme().map(str::to_owned),
                ]
            };
            let found = checksums(&source);
            assert!(found.iter().any(Option::is_some), "{key}: {source:?}");
            assert_eq!(checksums(&replica), found, "{key}");
            assert_eq!(replica.checksum_type(), source.checksum_type(), "{key}");
        }
    }
}

// Promise: A website redirect is carried over.
#[tokio::test]
async fn website_redirect() {
    let pair = strict().await;
    let dress = Dress {
        website: Some("/elsewhere.html".to_owned()),
        ..Dress::default()
    };
    for (key, cut) in [("whole", WHOLE), ("parts", IN_PARTS)] {
        pair.write(key, cut, &dress).await;
        let (_, replica) = pair.carry(key).await;
        assert_eq!(
            replica.website_redirect_location(),
            Some("/elsewhere.html"),
            "{key}"
        );
    }
}
