//! Begins and aborts uploads, whether or not they belong to a transfer, and copies one large object through an upload
//! within one invocation.

use std::collections::HashSet;

use chrono::TimeDelta;

use crate::Timestamp;
use crate::bucket_pair::{CopyOutcome, Onto};
use crate::fault::{Fault, Reason};
use crate::names::{Etag, ObjectKey, UploadId};
use crate::object::{ObjectState, Tags};
use crate::part_layout::PartLayout;
use crate::transfer::LoggedUpload;
use crate::transfer::ports::{Answer, Completed, CompletionOrder, Filled, OpenUpload, Uploads};

/// How long before or after its entry an upload without a known id may have been created: the clocks of the
/// service and of the functions differ.
const CREATED_BEFORE_ENTRY_MAX: TimeDelta = TimeDelta::seconds(5);
const CREATED_AFTER_ENTRY_MAX: TimeDelta = TimeDelta::seconds(120);

/// For how long an upload may still be created for an entry without an id: longer than an invocation lasts
/// (15 minutes is Lambda's limit).
const CREATION_IN_FLIGHT_MAX: TimeDelta = TimeDelta::minutes(20);

/// An upload that was begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upload {
    /// The upload's entry in the log.
    pub entry: LoggedUpload,
    /// S3's id.
    pub id: UploadId,
    /// Whether the object will name its source's `ETag`.
    pub records_etag: bool,
}

/// Whether aborting found something to abort.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aborted {
    /// This many uploads were aborted. Nothing has landed through them.
    Uploads(usize),
    /// There was no upload: it was completed or aborted before. Its completion may have landed a moment ago.
    NoUpload,
}

impl Aborted {
    /// Returns how many uploads were aborted.
    pub fn count(self) -> usize {
        match self {
            Self::Uploads(count) => count,
            Self::NoUpload => 0,
        }
    }
}

/// Logs an upload for an object that looks like `source`, then creates it. The object will name the source's `ETag` if
/// `record_etag` asks for that, or if the destination's encryption turns out to hide digests.
pub async fn begin_upload<U: Uploads>(
    uploads: &U,
    key: &ObjectKey,
    source: &ObjectState,
    record_etag: bool,
) -> Answer<Upload> {
    if record_etag {
        source.check_recognisable(key)?;
    }
    let tags: Tags = uploads.source_tags(key).await?;
    // If this function dies after the creation, the sweep finds the upload by this entry.
    let mut entry = uploads.log(key).await?;
    let mut created = uploads.create(key, source, &tags, record_etag).await?;
    let mut names_source = record_etag;
    if !created.makes_digest && !record_etag {
        uploads.abort(key, &created.id).await?;
        source.check_recognisable(key)?;
        names_source = true;
        created = uploads.create(key, source, &tags, true).await?;
    }
    entry.upload_id = Some(created.id.clone());
    uploads.note_id(&entry).await?;
    Ok(Upload {
        entry,
        id: created.id,
        records_etag: names_source,
    })
}

/// Aborts a logged upload. Repeat-safe.
///
/// The entry is removed from the log only when nothing was left to abort: parts that were in flight may land in an
/// upload that is just being aborted (API reference, "`AbortMultipartUpload`"). An entry without an id stays while its
/// upload may still be created.
pub async fn abort_logged<U: Uploads>(
    uploads: &U,
    entry: &LoggedUpload,
    now: Timestamp,
) -> Answer<Aborted> {
    let ids = match &entry.upload_id {
        Some(id) => vec![id.clone()],
        None => created_for(uploads, entry).await?,
    };
    let mut aborted = 0;
    for id in ids {
        aborted += usize::from(uploads.abort(&entry.key, &id).await?);
    }
    if aborted > 0 {
        return Ok(Aborted::Uploads(aborted));
    }
    if entry.upload_id.is_some() || now - entry.began_at > CREATION_IN_FLIGHT_MAX {
        uploads.forget(entry).await?;
    }
    Ok(Aborted::NoUpload)
}

/// Aborts an upload that will not be completed. A failure is left to the sweep.
pub async fn abandon<U: Uploads>(uploads: &U, entry: &LoggedUpload) {
    // The time does not matter: the entry has an id.
    if let Err(fault) = abort_logged(uploads, entry, entry.began_at).await {
        uploads.left_to_sweep(entry, &fault);
    }
}

/// Returns the uploads that must have been created for an entry whose upload id was never logged: they are for that
/// very key, were created when the entry was made, and belong to no other entry. All other uploads to the destination
/// are another writer's.
async fn created_for<U: Uploads>(uploads: &U, entry: &LoggedUpload) -> Answer<Vec<UploadId>> {
    let logged = uploads.logged().await?;
    let of_others: HashSet<&UploadId> = logged
        .iter()
        .filter_map(|entry| entry.upload_id.as_ref())
        .collect();
    let was_created_then = |upload: &OpenUpload| {
        let after_entry = upload.created_at - entry.began_at;
        (-CREATED_BEFORE_ENTRY_MAX..=CREATED_AFTER_ENTRY_MAX).contains(&after_entry)
    };
    let open = uploads.open_uploads(&entry.key).await?;
    Ok(open
        .into_iter()
        .filter(|upload| was_created_then(upload) && !of_others.contains(&upload.id))
        .map(|upload| upload.id)
        .collect())
}

/// Copies `source` in these parts, each pinned to its `ETag`. Returns the `ETag` that landed, or why nothing
/// did. An upload that does not end in an object is aborted.
pub async fn copy_in_parts<U: Uploads>(
    uploads: &U,
    key: &ObjectKey,
    source: &ObjectState,
    layout: &PartLayout,
    record_etag: bool,
    onto: Onto<'_>,
) -> Answer<Result<Etag, CopyOutcome>> {
    let mut record_etag = record_etag;
    loop {
        let upload = begin_upload(uploads, key, source, record_etag).await?;
        let filled = fill_and_complete(uploads, key, source, layout, &upload, onto).await;
        if let Ok(Ok(Completed::Landed(etag))) = filled {
            if let Err(fault) = uploads.forget(&upload.entry).await {
                uploads.left_to_sweep(&upload.entry, &fault);
            }
            return Ok(Ok(etag));
        }
        abandon(uploads, &upload.entry).await;
        match filled? {
            Ok(Completed::OtherEtag) if !upload.records_etag => record_etag = true,
            Ok(Completed::Overtaken) => return Ok(Err(CopyOutcome::Overtaken)),
            Ok(_) => {
                return Err(Fault::because(
                    Reason::ServiceFailed,
                    format!("cannot copy {:?}: its upload was aborted", key.as_str()),
                ));
            }
            Err(outcome) => return Ok(Err(outcome)),
        }
    }
}

async fn fill_and_complete<U: Uploads>(
    uploads: &U,
    key: &ObjectKey,
    source: &ObjectState,
    layout: &PartLayout,
    upload: &Upload,
    onto: Onto<'_>,
) -> Answer<Result<Completed, CopyOutcome>> {
    let parts = layout.parts().collect();
    let parts = match uploads
        .copy_parts(key, &source.etag, &upload.id, parts)
        .await?
    {
        Filled::Whole(parts) => parts,
        Filled::SourceChanged(outcome) => return Ok(Err(outcome)),
        Filled::NoUpload => return Ok(Ok(Completed::NoUpload)),
    };
    let order = CompletionOrder {
        parts,
        checksum: source.checksum.as_ref(),
        wanted: (!upload.records_etag).then_some(&source.etag),
        onto,
    };
    uploads.complete(key, &upload.id, order).await.map(Ok)
}
