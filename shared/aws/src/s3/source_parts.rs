//! How a source object is cut into parts. S3 lists the parts of objects that were uploaded with checksums;
//! of all others it tells one part's size at a time.

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

/// How many parts are looked at at once.
const LOOKS_AT_ONCE: usize = 16;

impl S3Pair {
    /// The layout of a source that was uploaded in parts; `None` if the server does not tell, or if it is
    /// another object by now.
    ///
    /// One request where S3 lists the parts, or where there is one part; two where the first and the last
    /// part show that all are alike, and `every_part` is not asked for; else one a part.
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

    /// All parts in one list, if S3 has it.
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
                // Whatever else may be wrong, the looks at single parts will say.
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

    /// One part's size, if the server tells.
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
            // A server that does not know parts answers for the whole object, without a count of parts.
            Ok(head) => Ok(head.parts_count().and_then(|_| head.bytes().ok())),
            // The copy is pinned too and will find out what changed.
            Err(error) if matches!(Refused::of(&error).status, Some(404 | 412 | 416)) => Ok(None),
            Err(error) => Err(fault(Doing::Head(Side::Source), key, error)),
        }
    }
}
