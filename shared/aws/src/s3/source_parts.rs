//! Determines the parts of a source object. S3 lists the parts of objects that were uploaded with checksums. For all
//! other objects it returns the size of one part at a time.

use aws_sdk_s3::types::ObjectAttributes;
use futures::{StreamExt, TryStreamExt, stream};
use tandem_replication::bucket_pair::Side;
use tandem_replication::fault::Fault;
use tandem_replication::names::{Etag, ObjectKey};
use tandem_replication::object::ObjectState;
use tandem_replication::part_layout::PartLayout;

use crate::classify::Doing;
use crate::error::{Refused, fault};
use crate::s3::s3_pair::S3Pair;
use tandem_raw_head::head;

/// How many HEAD requests for parts are sent at the same time.
const LOOKS_AT_ONCE: usize = 16;

impl S3Pair {
    /// Returns the layout of a source that was uploaded in parts, or `None` if the server does not show it, or if the
    /// object has been replaced.
    ///
    /// Sends one request if S3 lists the parts or there is one part. Sends two if `every_part` is false and the first
    /// and the last part show that all parts have the same size. Otherwise it sends one request for each part.
    pub async fn source_parts(
        &self,
        key: &ObjectKey,
        source: &ObjectState,
        every_part: bool,
    ) -> Result<Option<PartLayout>, Fault> {
        let Some(count) = source.etag.parts() else {
            return Ok(None);
        };
        let fits =
            |layout: &PartLayout| layout.count() == count && layout.is_possible_for(source.bytes);
        if let Some(layout) = self.listed_parts(key, &source.etag).await?.filter(fits) {
            return Ok(Some(layout));
        }
        let Some(first) = self.part_bytes(key, &source.etag, 1).await? else {
            return Ok(None);
        };
        if first == 0 {
            return Ok(None);
        }
        let even = PartLayout::even(source.bytes, first);
        if fits(&even) {
            if count <= 2 {
                return Ok(Some(even));
            }
            let last = even.parts().last().map(|part| part.bytes());
            if !every_part && self.part_bytes(key, &source.etag, count).await? == last {
                return Ok(Some(even));
            }
        }
        let sizes: Option<Vec<u64>> = stream::iter(1..=count)
            .map(|number| self.part_bytes(key, &source.etag, number))
            .buffered(LOOKS_AT_ONCE)
            .try_collect::<Vec<_>>()
            .await?
            .into_iter()
            .collect();
        Ok(sizes.map(PartLayout::of_sizes).filter(fits))
    }

    /// Returns all parts, if S3 lists them.
    async fn listed_parts(
        &self,
        key: &ObjectKey,
        etag: &Etag,
    ) -> Result<Option<PartLayout>, Fault> {
        let mut sizes = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let answer = self
                .source
                .client
                .get_object_attributes()
                .bucket(self.source.name.as_str())
                .key(key.as_str())
                .object_attributes(ObjectAttributes::Etag)
                .object_attributes(ObjectAttributes::ObjectParts)
                .set_part_number_marker(after.clone())
                .expected_bucket_owner(&self.source.owner)
                .send()
                .await;
            let answer = match answer {
                Ok(answer) => answer,
                // If something else is wrong, the HEAD requests for single parts report it.
                Err(error) if Refused::of(&error).status.is_some() => return Ok(None),
                Err(error) => return Err(fault(Doing::Head(Side::Source), key, error)),
            };
            let same = answer.e_tag().is_none_or(|found| Etag::new(found) == *etag);
            let Some(parts) = answer.object_parts().filter(|_| same) else {
                return Ok(None);
            };
            let before = sizes.len();
            sizes.extend(
                parts
                    .parts()
                    .iter()
                    .filter_map(|part| u64::try_from(part.size()?).ok()),
            );
            after = parts.next_part_number_marker().map(str::to_owned);
            let more = parts.is_truncated().unwrap_or_default() && sizes.len() > before;
            if !more || after.is_none() {
                return Ok((!sizes.is_empty()).then(|| PartLayout::of_sizes(sizes)));
            }
        }
    }

    /// Returns the size of one part, if the server shows it.
    async fn part_bytes(
        &self,
        key: &ObjectKey,
        etag: &Etag,
        number: u32,
    ) -> Result<Option<u64>, Fault> {
        let request = self
            .source
            .client
            .head_object()
            .bucket(self.source.name.as_str())
            .key(key.as_str())
            .part_number(i32::try_from(number).unwrap_or(i32::MAX))
            .if_match(etag.quoted())
            .expected_bucket_owner(&self.source.owner);
        match head(request).await {
            // A server without support for parts answers for the whole object, without a count of parts.
            Ok(head) => Ok(head.parts_count().and_then(|_| head.bytes().ok())),
            // The copy is pinned to the same `ETag`, so it detects the change.
            Err(error) if matches!(Refused::of(&error).status, Some(404 | 412 | 416)) => Ok(None),
            Err(error) => Err(fault(Doing::Head(Side::Source), key, error)),
        }
    }
}
