//! Writes the findings of a verification or a repair as JSON lines to S3, one object for each page with findings.

use serde::Serialize;
use tandem_aws::AwsError;
use tandem_aws::s3::job_files::Place;
use tandem_replication::diff::{Finding, Listed};
use tandem_replication::progress::Counts;
use tandem_replication::s3_uri::S3Uri;
use tandem_replication::shard_session::SessionError;
use tandem_replication::shard_state::Shard;

use crate::page_object::PageContext;

/// One line of a report.
#[derive(Debug, Serialize)]
pub(crate) struct Line<'a> {
    key: &'a str,
    /// `missing`, `different` or `extra`.
    kind: &'static str,
    /// What was done: `nothing`, `copied`, `deleted`, `failed`, `transfer`, or `gone`.
    done: &'static str,
    source: Option<Side<'a>>,
    destination: Option<Side<'a>>,
}

#[derive(Debug, Serialize)]
struct Side<'a> {
    bytes: u64,
    etag: &'a str,
    last_modified: tandem_replication::Timestamp,
}

impl<'a> Side<'a> {
    fn of(listed: &'a Listed) -> Self {
        Self {
            bytes: listed.bytes,
            etag: listed.etag.as_str(),
            last_modified: listed.last_modified,
        }
    }
}

impl<'a> Line<'a> {
    /// Returns the line of a finding, or `None` if both sides are equal.
    pub(crate) fn of(finding: &Finding<'a>, counts: &Counts) -> Option<Self> {
        let done = match counts {
            Counts { equal: 1, .. } => return None,
            // The source has the object now.
            counts if *counts == Counts::default() => return None,
            Counts { copied: 1, .. } => "copied",
            Counts { deleted: 1, .. } => "deleted",
            Counts { failed: 1, .. }
            | Counts {
                extra_failed: 1, ..
            } => "failed",
            Counts { transfers: 1, .. } => "transfer",
            Counts { gone: 1, .. } => "gone",
            _ => "nothing",
        };
        let (kind, source, destination) = match finding {
            Finding::Extra(replica) => ("extra", None, Some(*replica)),
            Finding::Source {
                source,
                replica: None,
                ..
            } => ("missing", Some(*source), None),
            Finding::Source {
                source, replica, ..
            } => ("different", Some(*source), *replica),
        };
        Some(Self {
            key: finding.key(),
            kind,
            done,
            source: source.map(Side::of),
            destination: destination.map(Side::of),
        })
    }
}

impl PageContext<'_> {
    /// Writes a page's lines. This happens before the page is counted. If a worker dies between the two, another
    /// attempt writes its own lines. So a finding may be reported twice, but none is lost.
    pub(crate) async fn write_report(
        &self,
        shard: &Shard,
        lines: Vec<Line<'_>>,
    ) -> Result<(), SessionError<AwsError>> {
        let Some(uri) = &self.job.spec.report else {
            return Ok(());
        };
        if lines.is_empty() {
            return Ok(());
        }
        let unexpected = |error: String| AwsError::unexpected(format!("writing to {uri}"), error);
        let place = S3Uri::parse(uri).map_err(unexpected)?;
        let place = Place::find(&self.worker.aws, &place)
            .await?
            .ok_or_else(|| {
                let problem = "its bucket no longer exists; create it again, then resume the job";
                SessionError::Final(unexpected(problem.to_owned()))
            })?;
        let mut body = Vec::new();
        for line in &lines {
            serde_json::to_writer(&mut body, line)
                .map_err(|error| unexpected(error.to_string()))?;
            body.push(b'\n');
        }
        let attempt = match self.receives {
            1 => String::new(),
            receives => format!("-{receives}"),
        };
        let name = format!(
            "{}/{:06}-{:06}{attempt}.jsonl",
            self.job.id, shard.index, shard.pages
        );
        Ok(place.write(&name, body).await?)
    }
}
