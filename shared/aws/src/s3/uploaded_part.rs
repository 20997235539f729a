//! Converts S3's description of an uploaded part to the form that a completion needs, and computes the `ETag` of an
//! object of such parts. No I/O.

use aws_sdk_s3::operation::upload_part_copy::UploadPartCopyOutput;
use aws_sdk_s3::types::{ChecksumAlgorithm, ChecksumType, CompletedPart, Part as ListedPart};
use md5::{Digest, Md5};
use tandem_replication::names::Etag;
use tandem_replication::object::Checksum;

/// A part that has been uploaded.
#[derive(Debug, Clone)]
pub struct UploadedPart(pub(crate) CompletedPart);

impl UploadedPart {
    /// Its number.
    pub(crate) fn part_number(&self) -> u32 {
        let number = self.0.part_number().unwrap_or_default();
        u32::try_from(number).unwrap_or_default()
    }
}

pub(crate) fn copied(number: i32, answer: UploadPartCopyOutput) -> CompletedPart {
    let part = CompletedPart::builder().part_number(number);
    match answer.copy_part_result {
        Some(result) => part
            .set_e_tag(result.e_tag)
            .set_checksum_crc32(result.checksum_crc32)
            .set_checksum_crc32_c(result.checksum_crc32_c)
            .set_checksum_crc64_nvme(result.checksum_crc64_nvme)
            .set_checksum_sha1(result.checksum_sha1)
            .set_checksum_sha256(result.checksum_sha256)
            .build(),
        None => part.build(),
    }
}

pub(crate) fn listed(part: &ListedPart) -> CompletedPart {
    let owned = |text: Option<&str>| text.map(str::to_owned);
    CompletedPart::builder()
        .set_part_number(part.part_number())
        .set_e_tag(owned(part.e_tag()))
        .set_checksum_crc32(owned(part.checksum_crc32()))
        .set_checksum_crc32_c(owned(part.checksum_crc32_c()))
        .set_checksum_crc64_nvme(owned(part.checksum_crc64_nvme()))
        .set_checksum_sha1(owned(part.checksum_sha1()))
        .set_checksum_sha256(owned(part.checksum_sha256()))
        .build()
}

pub(crate) fn ordered_checksum(checksum: &Checksum) -> (ChecksumAlgorithm, ChecksumType) {
    let kind = if checksum.full_object {
        ChecksumType::FullObject
    } else {
        ChecksumType::Composite
    };
    (ChecksumAlgorithm::from(checksum.algorithm.as_str()), kind)
}

/// Returns the `ETag` that S3 gives to an object of these parts: the digest of their digests, and their number.
/// Returns `None` if their `ETag`s are not digests.
pub(crate) fn etag_of(parts: &[UploadedPart]) -> Option<Etag> {
    let mut digest = Md5::new();
    for part in parts {
        digest.update(digest_of(part.0.e_tag()?)?);
    }
    let hex = digest
        .finalize()
        .iter()
        .fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
    Some(Etag::new(&format!("{hex}-{}", parts.len())))
}

/// Returns the 16 bytes that the 32 hexadecimal digits of an `ETag` encode.
fn digest_of(etag: &str) -> Option<Vec<u8>> {
    let digits = etag.trim_matches('"');
    if digits.len() != 32 || !digits.is_ascii() {
        return None;
    }
    (0..32)
        .step_by(2)
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(etag: &str) -> UploadedPart {
        UploadedPart(CompletedPart::builder().e_tag(etag).build())
    }

    #[test]
    fn the_etag_of_parts_is_known_before_they_are_completed() {
        // The `ETag`s of "hello" and " world", each in its own part.
        let parts = [
            part("\"5d41402abc4b2a76b9719d911017c592\""),
            part("7e9f4e1b45b0cbf4b7a9fba14d5d9d6f"),
        ];
        let etag = etag_of(&parts).unwrap();
        assert_eq!(etag.parts(), Some(2));
        assert_eq!(etag_of(&[part("no digest")]), None);
        assert_eq!(etag_of(&[part(&"ü".repeat(16))]), None);
    }
}
