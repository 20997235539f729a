//! One range of a transfer: the parts that its upload does not have yet are copied, each pinned to the
//! source's `ETag`. Any range may be done twice; whoever does the last one completes the upload.

use std::collections::HashSet;
use std::time::Duration;

use tandem_aws::multipart::Filled;
use tandem_aws::s3_pair::S3Pair;
use tandem_aws::transfers::{Transfer, Void};
use tandem_aws::uploaded_part::UploadedPart;
use tandem_lambda::key_store::{Deferrals, deferred_key};
use tandem_lambda::record::{Attempt, Redelivery, Unsuccessful};
use tandem_lambda::rule_cache::RuleCache;
use tandem_lambda::runtime::{Deadline, now};
use tandem_replication::deferral::{Deferred, DeferredKeys, defer};
use tandem_replication::failure_record::FailureRecords;
use tandem_replication::fault::{FailedObject, Fault};
use tandem_replication::names::{ObjectKey, RuleId, TransferId, UploadId};
use tandem_replication::overwrite::Overwrite;
use tandem_replication::part_layout::Part;
use tandem_replication::replicator::Outcome;
use tandem_replication::rule::RuleState;
use tandem_replication::transfer::PartRange;

use crate::ending::count_failure;
use crate::errand::{Attempted, Errand};
use crate::worker::{Look, Unfinished, Worker};

/// What has to be left of an invocation to begin with more parts.
const PARTS_TIME: Duration = Duration::from_mins(3);
/// How many parts are begun before the time is looked at again.
const PARTS_AT_A_TIME: usize = 32;

impl Worker {
    /// Copies one range. The message is acknowledged if the range is done, if the transfer is over, or if
    /// what has to be done instead is on its way.
    pub(crate) async fn copy_range(
        &self,
        rule_id: &RuleId,
        key: &ObjectKey,
        transfer_id: &TransferId,
        index: u32,
        overwrite: Overwrite,
        (look, deadline): (Look, Deadline),
    ) -> Result<(), Unfinished> {
        let found = self.table.transfer(rule_id, key).await?;
        let Some(transfer) = found.filter(|transfer| transfer.id == *transfer_id) else {
            // Whoever had the message before may have died while it completed the upload: if that landed on
            // top of what came later, somebody has to look.
            if look.is_another {
                self.send_object(rule_id, key, now(), overwrite).await?;
            }
            return Ok(());
        };
        let mut ranges = transfer.ranges().into_iter();
        let Some(range) = ranges.find(|range| range.index == index) else {
            return Err(Unfinished::Unreadable(format!(
                "{transfer_id} has no range {index}"
            )));
        };
        // Read before the rule and the source: a success clears no record that is written later.
        let seen = self.recorder.failure_revision(rule_id, key).await?;
        let Some(rule) = self.table.rule(rule_id).await? else {
            return Ok(());
        };
        let pair = S3Pair::of_rule(&self.aws, &self.table, &rule);
        let errand = Errand {
            rule: &rule,
            pair: &pair,
            transfer,
        };
        match rule.state {
            RuleState::Deleting => return Ok(()),
            RuleState::Paused => return self.hold(&errand).await,
            RuleState::Enabled | RuleState::Enabling => {}
        }
        if !rule.scope.covers(key) {
            // What the rule does not cover any more has not failed any more.
            if let Some(seen) = &seen {
                self.table.clear_failure(rule_id, key, seen).await?;
            }
            return self.abandon(&errand).await;
        }
        let turn = self.aws.turns().take().await;
        let attempted = self.attempt(&errand, range, deadline).await;
        drop(turn);
        match attempted {
            Ok(Attempted::Open | Attempted::Over) => Ok(()),
            Ok(Attempted::Ended(outcome)) => self.ended(&errand, seen, outcome).await,
            Ok(Attempted::Void(void)) => self.begin_anew(&errand, void).await,
            Err(Unfinished::Object(fault)) => {
                let fault = pair.explained(key, fault).await;
                self.failed(&errand, fault, look).await
            }
            Err(unfinished) => Err(unfinished),
        }
    }

    async fn attempt(
        &self,
        errand: &Errand<'_>,
        range: PartRange,
        deadline: Deadline,
    ) -> Result<Attempted, Unfinished> {
        let Errand {
            rule,
            pair,
            transfer,
        } = errand;
        if let Some(void) = transfer.void {
            return Ok(Attempted::Void(void));
        }
        let Some(upload_id) = &transfer.upload.upload_id else {
            return Ok(Attempted::Void(Void::Overtaken));
        };
        if !transfer.done.contains(&range.index) {
            match self
                .fill(pair, transfer, upload_id, range, deadline)
                .await?
            {
                Filled::Whole(_) => {}
                Filled::Ended(_) => return Ok(Attempted::Void(Void::Overtaken)),
                // Whoever completed it may have died before anybody looked at the source again.
                Filled::NoUpload => return self.look_again(errand).await,
            }
        }
        let noted = self
            .table
            .range_done(&rule.id, transfer, range.index, now())
            .await?;
        match noted {
            None => Ok(Attempted::Over),
            Some(transfer) if transfer.is_filled() => self.complete(errand, upload_id).await,
            Some(_) => Ok(Attempted::Open),
        }
    }

    /// Copies the parts of the range that the upload does not have.
    async fn fill(
        &self,
        pair: &S3Pair,
        transfer: &Transfer,
        upload_id: &UploadId,
        range: PartRange,
        deadline: Deadline,
    ) -> Result<Filled, Unfinished> {
        let there = pair
            .uploaded_parts(&transfer.key, upload_id, range.first_part, range.last_part)
            .await?;
        let Some(there) = there else {
            return Ok(Filled::NoUpload);
        };
        let there: HashSet<u32> = there.iter().map(UploadedPart::number).collect();
        let missing: Vec<Part> = transfer
            .layout
            .parts()
            .filter(|part| range.covers(part.number) && !there.contains(&part.number))
            .collect();
        for (at, parts) in missing.chunks(PARTS_AT_A_TIME).enumerate() {
            if at > 0 && deadline.left() < PARTS_TIME {
                return Err(Unfinished::NoTime);
            }
            let filled = pair
                .copy_parts(
                    &transfer.key,
                    &transfer.source.etag,
                    upload_id,
                    parts.iter().copied(),
                )
                .await?;
            if !matches!(filled, Filled::Whole(_)) {
                return Ok(filled);
            }
        }
        Ok(Filled::Whole(Vec::new()))
    }

    /// While the rule is paused, the key is kept; whoever resumes the rule finds the transfer again, with
    /// the parts that it has.
    async fn hold(&self, errand: &Errand<'_>) -> Result<(), Unfinished> {
        let Errand { rule, transfer, .. } = errand;
        self.table
            .mark_sent(&rule.id, transfer, false, now())
            .await?;
        let changed_at = transfer.event_time.unwrap_or(transfer.started_at);
        let key = deferred_key(&transfer.key, changed_at, transfer.overwrite);
        let rules = RuleCache::new(self.table.clone());
        let store = Deferrals::new(&self.table, &rules, &self.queues, &self.config);
        match defer(&store, &rule.id, &key).await? {
            Deferred::Kept | Deferred::Nothing(_) => Ok(()),
            Deferred::ReplicateNow(rule) => {
                self.send_object_of(errand).await?;
                Ok(store.remove_deferred(&rule.id, &key).await?)
            }
        }
    }

    /// A failure is recorded. With one that will not go away by itself the transfer ends, and nothing of it is
    /// left.
    async fn failed(
        &self,
        errand: &Errand<'_>,
        fault: Fault,
        look: Look,
    ) -> Result<(), Unfinished> {
        let Errand { rule, transfer, .. } = errand;
        let attempt = Attempt {
            ended: Err::<Outcome, Fault>(fault.of(FailedObject {
                version_id: None,
                etag: transfer.source.etag.clone(),
                bytes: transfer.source.bytes,
            })),
            seen: None,
            redelivery: if look.last_chance {
                Redelivery::WasTheLast
            } else {
                Redelivery::Follows
            },
            overwrite: transfer.overwrite,
        };
        match self.recorder.keep(rule, &transfer.key, attempt).await {
            Ok(_) => Ok(()),
            Err(Unsuccessful::TryAgain(fault)) if look.last_chance => {
                // The parts stay: a retry, or the sweep, carries the transfer on.
                count_failure(&self.config.stack, rule);
                self.table
                    .mark_sent(&rule.id, transfer, false, now())
                    .await?;
                Err(fault.into())
            }
            Err(Unsuccessful::TryAgain(fault)) => Err(fault.into()),
            Err(Unsuccessful::Parked { fault, .. }) => {
                tracing::error!(rule.id = rule.id.as_str(), object.key = transfer.key.as_str(), %fault, "parked");
                count_failure(&self.config.stack, rule);
                self.abandon(errand).await
            }
        }
    }
}
