//! How transfers end: completed and looked at again, begun anew, or given up. Each step may be repeated by
//! whoever comes next, so that a worker may die between any two of them.

use std::collections::BTreeMap;

use tandem_aws::multipart::Completed;
use tandem_aws::transfers::Void;
use tandem_aws::uploaded_part::UploadedPart;
use tandem_lambda::measure::{Tally, write_tallies};
use tandem_lambda::record::{Attempt, Redelivery};
use tandem_lambda::runtime::now;
use tandem_replication::Timestamp;
use tandem_replication::bucket_pair::{BucketPair, Side};
use tandem_replication::failure_record::FailureRevision;
use tandem_replication::fault::{Fault, Reason};
use tandem_replication::names::{ObjectKey, RuleId, UploadId};
use tandem_replication::overwrite::Overwrite;
use tandem_replication::replicator::{Outcome, Replicator};
use tandem_replication::rule::Rule;
use tandem_replication::transfer::TransferSource;
use tandem_replication::work::Work;

use crate::errand::{Attempted, Errand};
use crate::worker::{Unfinished, Worker};

impl Worker {
    /// Makes the parts an object, if nobody has yet, and looks at the source again.
    pub(crate) async fn complete(
        &self,
        errand: &Errand<'_>,
        upload_id: &UploadId,
    ) -> Result<Attempted, Unfinished> {
        let Errand { pair, transfer, .. } = errand;
        let (key, count) = (&transfer.key, transfer.layout.count());
        let replica = if transfer.overwrite.is_always() {
            None
        } else {
            pair.head(Side::Replica, key).await?
        };
        let seen = replica
            .as_ref()
            .map(|replica| (&replica.etag, replica.last_modified));
        let onto = match transfer.overwrite.onto(transfer.source.last_modified, seen) {
            Ok(onto) => onto,
            Err(reason) => return Ok(Attempted::Ended(Outcome::Kept(reason))),
        };
        let Some(parts) = pair.uploaded_parts(key, upload_id, 1, count).await? else {
            return self.look_again(errand).await;
        };
        let numbers = parts.iter().map(UploadedPart::number);
        if !numbers.eq(1..=count) {
            return Err(Unfinished::Object(Fault::because(
                Reason::ServiceFailed,
                format!(
                    "the upload to {:?} does not list all its parts",
                    key.as_str()
                ),
            )));
        }
        let wanted = (!transfer.records_etag).then_some(&transfer.source.etag);
        let completed = pair
            .complete(
                key,
                upload_id,
                parts,
                transfer.checksum.as_ref(),
                wanted,
                onto,
            )
            .await?;
        match completed {
            Completed::OtherEtag => Ok(Attempted::Void(Void::OtherEtag)),
            Completed::NoUpload => self.look_again(errand).await,
            // The message comes again, and finds what came between.
            Completed::Overtaken => Err(Unfinished::Object(Fault::because(
                Reason::KeptChanging,
                format!(
                    "the destination's {:?} changed while its transfer was completed",
                    key.as_str()
                ),
            ))),
            Completed::Landed(_) => match self.look_again(errand).await? {
                // Copied again in the same way it would differ again.
                Attempted::Void(_) if self.is_still_the_source(errand).await? => {
                    Ok(Attempted::Void(Void::OtherEtag))
                }
                attempted => Ok(attempted),
            },
        }
    }

    /// After something landed, or may have: the source's present state decides.
    pub(crate) async fn look_again(&self, errand: &Errand<'_>) -> Result<Attempted, Unfinished> {
        let Errand {
            rule,
            pair,
            transfer,
        } = errand;
        let limits = self.config.work_limits();
        let replicator = Replicator::new(*pair, rule.policy, &rule.options, limits);
        match replicator.reconcile_labels(&transfer.key).await? {
            Outcome::TooLargeHere { .. } => Ok(Attempted::Void(Void::Overtaken)),
            outcome => Ok(Attempted::Ended(outcome)),
        }
    }

    async fn is_still_the_source(&self, errand: &Errand<'_>) -> Result<bool, Unfinished> {
        let Errand { pair, transfer, .. } = errand;
        let source = pair.head(Side::Source, &transfer.key).await?;
        Ok(source.is_some_and(|source| TransferSource::of(&source) == transfer.source))
    }

    /// Forgets a transfer that came to its end, and counts it once.
    pub(crate) async fn ended(
        &self,
        errand: &Errand<'_>,
        seen: Option<FailureRevision>,
        outcome: Outcome,
    ) -> Result<(), Unfinished> {
        let Errand { rule, transfer, .. } = errand;
        let attempt = Attempt {
            ended: Ok(outcome),
            seen,
            redelivery: Redelivery::Follows,
            overwrite: transfer.overwrite,
        };
        if let Err(unsuccessful) = self.recorder.keep(rule, &transfer.key, attempt).await {
            return Err(unsuccessful.into_fault().into());
        }
        let was_ours = self.table.end_transfer(&rule.id, transfer).await?;
        errand.pair.abandon(&errand.transfer.upload).await;
        let carried = matches!(
            outcome,
            Outcome::InSync | Outcome::Adjusted | Outcome::Replicated { .. }
        );
        if was_ours && carried {
            let since_event = transfer.event_time.map(|event_time| now() - event_time);
            let lag_ms = since_event.map(|lag| lag.num_milliseconds().max(0));
            let tally = Tally {
                replicated: 1,
                bytes: transfer.source.bytes,
                lag_ms: lag_ms.into_iter().collect(),
                ..Tally::default()
            };
            let tallies = BTreeMap::from([(rule.id.clone(), tally)]);
            write_tallies(&self.config.stack, &tallies, now());
        }
        Ok(())
    }

    /// Lets the object be reconciled from the beginning. The transfer is void before that is sent, so that
    /// whoever receives it does not take it for one that goes on.
    pub(crate) async fn begin_anew(
        &self,
        errand: &Errand<'_>,
        void: Void,
    ) -> Result<(), Unfinished> {
        let Errand { rule, transfer, .. } = errand;
        let was_ours = self.table.mark_void(&rule.id, transfer, void).await?;
        // Even if another one has taken its place: what was completed here may have landed on top of it.
        self.send_object_of(errand).await?;
        // The one that follows has to know of the other ETag.
        if was_ours && void == Void::Overtaken {
            self.table.end_transfer(&rule.id, transfer).await?;
        }
        errand.pair.abandon(&transfer.upload).await;
        Ok(())
    }

    /// Ends a transfer of which nothing is to come.
    pub(crate) async fn abandon(&self, errand: &Errand<'_>) -> Result<(), Unfinished> {
        self.table
            .end_transfer(&errand.rule.id, &errand.transfer)
            .await?;
        errand.pair.abandon(&errand.transfer.upload).await;
        Ok(())
    }

    /// Lets the object of a transfer be reconciled.
    pub(crate) async fn send_object_of(&self, errand: &Errand<'_>) -> Result<(), Unfinished> {
        let Errand { rule, transfer, .. } = errand;
        let event_time = transfer.event_time.unwrap_or(transfer.started_at);
        self.send_object(&rule.id, &transfer.key, event_time, transfer.overwrite)
            .await
    }

    pub(crate) async fn send_object(
        &self,
        rule_id: &RuleId,
        key: &ObjectKey,
        event_time: Timestamp,
        overwrite: Overwrite,
    ) -> Result<(), Unfinished> {
        let work = Work::Object {
            rule_id: rule_id.clone(),
            key: key.clone(),
            event_time,
            overwrite,
        };
        Ok(self.queues.send(&self.config.work_queue_url, &work).await?)
    }
}

/// Counts an object that failed for good.
pub(crate) fn count_failure(stack: &str, rule: &Rule) {
    let tally = Tally {
        failed: 1,
        ..Tally::default()
    };
    write_tallies(stack, &BTreeMap::from([(rule.id.clone(), tally)]), now());
}
