//! The beginning of a transfer: an object that is more than one invocation can copy is cut into ranges of
//! parts, which `copy-parts` copies. What is written here lasts: the upload in its log, the transfer in the
//! table, a message for every range; only then is the object's own message acknowledged.

use futures::{StreamExt, TryStreamExt, stream};
use tandem_aws::AwsError;
use tandem_aws::s3_pair::S3Pair;
use tandem_aws::transfers::{Transfer, Void};
use tandem_lambda::request::new_transfer_id;
use tandem_lambda::runtime::now;
use tandem_replication::Timestamp;
use tandem_replication::bucket_pair::{BucketPair, Side};
use tandem_replication::decide::{Decision, decide};
use tandem_replication::fault::{Fault, Reason};
use tandem_replication::names::ObjectKey;
use tandem_replication::object::ObjectState;
use tandem_replication::overwrite::Overwrite;
use tandem_replication::part_plan::{CopyLimits, CopyPlan, plan};
use tandem_replication::replicator::{Outcome, Replicator};
use tandem_replication::rule::Rule;
use tandem_replication::transfer::TransferSource;
use tandem_replication::work::PartWork;

use crate::worker::Worker;

/// How many messages are sent at once.
const SENT_AT_ONCE: usize = 16;
/// How often a beginning that meets another one is tried again.
const BEGINNINGS: usize = 4;

impl Worker {
    /// Makes one key's replica agree with its source, whatever its size. [`Outcome::TooLargeHere`] then
    /// says that a transfer does it. `closely` as [`Replicator::looking_closely`] says.
    pub(crate) async fn carry(
        &self,
        pair: &S3Pair,
        rule: &Rule,
        key: &ObjectKey,
        event_time: Option<Timestamp>,
        overwrite: Overwrite,
        closely: bool,
    ) -> Result<Outcome, Fault> {
        let replicator = self
            .replicator(pair, rule)
            .overwriting(overwrite)
            .looking_closely(closely);
        self.carry_with(&replicator, pair, rule, key, event_time, overwrite)
            .await
    }

    /// As [`Self::carry`], by this replicator.
    pub(crate) async fn carry_with(
        &self,
        replicator: &Replicator<'_, S3Pair>,
        pair: &S3Pair,
        rule: &Rule,
        key: &ObjectKey,
        event_time: Option<Timestamp>,
        overwrite: Overwrite,
    ) -> Result<Outcome, Fault> {
        match replicator.reconcile(key).await? {
            Outcome::TooLargeHere { .. } => {
                self.begin_transfer(pair, rule, key, event_time, overwrite)
                    .await
            }
            outcome => {
                self.end_what_is_over(pair, rule, key).await?;
                Ok(outcome)
            }
        }
    }

    /// Sees to the transfer of a key that seems to need none any more, if nobody else will: one that is void or
    /// has stood still is over. One without messages may have been held while its rule was paused, or is just
    /// being begun for a change that came since: it is over only if the replica is what it is for.
    pub(crate) async fn end_what_is_over(
        &self,
        pair: &S3Pair,
        rule: &Rule,
        key: &ObjectKey,
    ) -> Result<(), Fault> {
        let found = self.table.transfer(&rule.id, key).await;
        let Some(found) = found.map_err(AwsError::into_fault)? else {
            return Ok(());
        };
        let is_over = found.void.is_some() || found.stands_still(now());
        let seen_to = if is_over || (!found.sent && is_met(pair, rule, &found).await?) {
            self.end(pair, rule, &found).await
        } else if found.sent {
            Ok(())
        } else {
            self.help_on(rule, &found).await
        };
        seen_to.map_err(AwsError::into_fault)
    }

    pub(crate) async fn begin_transfer(
        &self,
        pair: &S3Pair,
        rule: &Rule,
        key: &ObjectKey,
        event_time: Option<Timestamp>,
        overwrite: Overwrite,
    ) -> Result<Outcome, Fault> {
        for _ in 0..BEGINNINGS {
            let Some(source) = pair.head(Side::Source, key).await? else {
                let replicator = self.replicator(pair, rule).overwriting(overwrite);
                return replicator.reconcile(key).await;
            };
            let found = self
                .table
                .transfer(&rule.id, key)
                .await
                .map_err(AwsError::into_fault)?;
            let mut record_etag = rule.options.kms_key.is_some();
            if let Some(found) = found {
                let same_source = found.source == TransferSource::of(&source);
                // A live change does not go along with a copy that might be kept from landing.
                let lands = found.overwrite.is_always() || found.overwrite == overwrite;
                if same_source && found.void.is_none() && lands {
                    self.help_on(rule, &found)
                        .await
                        .map_err(AwsError::into_fault)?;
                    return Ok(Outcome::TooLargeHere {
                        bytes: source.bytes,
                    });
                }
                record_etag |= same_source && found.void == Some(Void::OtherEtag);
                self.end(pair, rule, &found)
                    .await
                    .map_err(AwsError::into_fault)?;
            }
            let planned = self.planned(pair, key, &source, record_etag).await;
            let planned = match planned {
                Err(fault) => return Err(pair.explained(key, fault.of(&source)).await),
                Ok(planned) => planned,
            };
            let Some(transfer) = planned else {
                // One request copies it whole: its parts are not known.
                let unlimited = CopyLimits {
                    part_bytes: self.config.part_bytes,
                    ..CopyLimits::default()
                };
                let replicator = Replicator::new(pair, rule.policy, &rule.options, unlimited);
                return replicator.overwriting(overwrite).reconcile(key).await;
            };
            let transfer = Transfer {
                event_time,
                overwrite,
                ..transfer
            };
            let first = self
                .table
                .begin_transfer(&rule.id, &transfer)
                .await
                .map_err(AwsError::into_fault)?;
            if first {
                self.send_open_ranges(rule, &transfer)
                    .await
                    .map_err(AwsError::into_fault)?;
                return Ok(Outcome::TooLargeHere {
                    bytes: source.bytes,
                });
            }
            // Somebody else was faster.
            pair.abandon(&transfer.upload).await;
        }
        Err(Fault::because(
            Reason::KeptChanging,
            format!(
                "the transfer of {:?} kept being begun by others",
                key.as_str()
            ),
        ))
    }

    /// A transfer with an upload of its own; `None` if the object is copied whole.
    async fn planned(
        &self,
        pair: &S3Pair,
        key: &ObjectKey,
        source: &ObjectState,
        record_etag: bool,
    ) -> Result<Option<Transfer>, Fault> {
        // A wrong guess at the parts would cost the copy of all of them.
        let layout = pair.source_parts(key, source, true).await?;
        let CopyPlan { parts, keeps_etag } = plan(source, layout, self.config.work_limits())
            .map_err(|error| {
                Fault::new(
                    Reason::TooLarge,
                    format!("cannot copy {:?}", key.as_str()),
                    error,
                )
            })?;
        let Some(layout) = parts else {
            return Ok(None);
        };
        let upload = pair
            .begin_upload(key, source, record_etag || !keeps_etag)
            .await?;
        let at = now();
        Ok(Some(Transfer {
            id: new_transfer_id(),
            key: key.clone(),
            source: TransferSource::of(source),
            layout,
            range_bytes: self.config.range_bytes,
            records_etag: upload.records_etag,
            upload: upload.entry,
            checksum: source.checksum.clone(),
            started_at: at,
            progressed_at: at,
            sent: false,
            event_time: None,
            overwrite: Overwrite::Always,
            void: None,
            done: std::collections::BTreeSet::new(),
        }))
    }

    /// Sees to it that a transfer which is under way comes to its end.
    async fn help_on(&self, rule: &Rule, transfer: &Transfer) -> Result<(), AwsError> {
        if transfer.sent && !transfer.stands_still(now()) {
            return Ok(());
        }
        self.send_open_ranges(rule, transfer).await
    }

    /// Sends a message for every range that is not done; if all are, for the last one, so that somebody
    /// completes the upload.
    async fn send_open_ranges(&self, rule: &Rule, transfer: &Transfer) -> Result<(), AwsError> {
        let ranges = transfer.ranges();
        let last = ranges.last().copied();
        let mut open: Vec<_> = ranges
            .into_iter()
            .filter(|range| !transfer.done.contains(&range.index))
            .collect();
        if open.is_empty() {
            open.extend(last);
        }
        stream::iter(open)
            .map(|range| async move {
                let work = PartWork::Range {
                    rule_id: rule.id.clone(),
                    key: transfer.key.clone(),
                    transfer_id: transfer.id.clone(),
                    range: range.index,
                    overwrite: transfer.overwrite,
                };
                self.queues.send(&self.config.part_queue_url, &work).await
            })
            .buffer_unordered(SENT_AT_ONCE)
            .try_collect::<()>()
            .await?;
        self.table
            .mark_sent(&rule.id, transfer, true, now())
            .await?;
        Ok(())
    }

    /// Ends a transfer of what is not there any more.
    async fn end(&self, pair: &S3Pair, rule: &Rule, transfer: &Transfer) -> Result<(), AwsError> {
        self.table.end_transfer(&rule.id, transfer).await?;
        pair.abandon(&transfer.upload).await;
        Ok(())
    }
}

/// Whether the replica is already what a transfer is to make it.
async fn is_met(pair: &S3Pair, rule: &Rule, transfer: &Transfer) -> Result<bool, Fault> {
    let source = pair.head(Side::Source, &transfer.key).await?;
    let replica = pair.head(Side::Replica, &transfer.key).await?;
    let is_its_source = source
        .as_ref()
        .is_some_and(|source| TransferSource::of(source) == transfer.source);
    let decision = decide(
        rule.policy,
        &rule.options,
        source.as_ref(),
        replica.as_ref(),
    );
    Ok(is_its_source && decision == Decision::InSync)
}
