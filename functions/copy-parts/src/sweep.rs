//! The sweep of one rule's uploads, or of all rules'. The decisions are
//! [`tandem_replication::transfer::sweep`]'s.

use chrono::TimeDelta;
use serde::Serialize;
use tandem_aws::s3::s3_pair::S3Pair;
use tandem_lambda::runtime::{Deadline, now};
use tandem_replication::Timestamp;
use tandem_replication::fault::Fault;
use tandem_replication::names::RuleId;
use tandem_replication::rule::Rule;
use tandem_replication::transfer::sweep;

use crate::dispatch::{Unfinished, Worker};

/// How old an upload has to be by default: far older than the invocation that copies through it can be.
const LEFT_BEHIND: TimeDelta = TimeDelta::hours(1);

/// What a sweep did.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct Swept {
    /// Uploads that were aborted.
    aborted: usize,
    /// Transfers that had stalled and were helped on.
    helped_on: usize,
    /// Entries of the log that could not be processed; the next sweep tries them again.
    failed: usize,
}

impl Worker {
    /// Sweeps the log of one rule, or of all.
    pub(crate) async fn sweep(
        &self,
        only: Option<&RuleId>,
        older_than_secs: Option<u64>,
        deadline: Deadline,
    ) -> Result<Swept, Unfinished> {
        let asked =
            older_than_secs.and_then(|secs| TimeDelta::try_seconds(i64::try_from(secs).ok()?));
        let age = asked.unwrap_or(LEFT_BEHIND);
        let before = now()
            .checked_sub_signed(age)
            .unwrap_or(Timestamp::UNIX_EPOCH);
        let mut swept = Swept::default();
        let rules = self.table.rules().await?;
        let meant = rules
            .iter()
            .filter(|rule| only.is_none_or(|only| *only == rule.id));
        for rule in meant {
            match self.sweep_rule(rule, before, deadline).await {
                Ok(of_rule) => swept.add(rule, &of_rule),
                // What cannot be read of one rule keeps no other from being swept.
                Err(error) => {
                    tracing::error!(rule.id = rule.id.as_str(), %error, "the rule is not swept");
                    swept.failed += 1;
                }
            }
        }
        tracing::info!(?swept, "swept");
        Ok(swept)
    }

    async fn sweep_rule(
        &self,
        rule: &Rule,
        before: Timestamp,
        deadline: Deadline,
    ) -> Result<sweep::Swept, Fault> {
        let pair = S3Pair::of_rule(&self.aws, &self.table, rule);
        let ports = self.transfer_ports(&pair, rule, Some(deadline));
        ports.transferrer().sweep(before).await
    }
}

impl Swept {
    fn add(&mut self, rule: &Rule, of_rule: &sweep::Swept) {
        for (entry, error) in &of_rule.failed {
            tracing::warn!(rule.id = rule.id.as_str(), object.key = entry.key.as_str(), %error, "an upload is not aborted yet");
        }
        self.aborted += of_rule.aborted;
        self.helped_on += of_rule.helped_on.len();
        self.failed += of_rule.failed.len();
    }
}
