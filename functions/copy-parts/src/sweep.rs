//! Sweeps the uploads of one rule or of all rules. [`tandem_replication::transfer::sweep`] makes the decisions.

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

/// How old an upload has to be by default: much older than the longest invocation.
const LEFT_BEHIND: TimeDelta = TimeDelta::hours(1);

/// The result of a sweep.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct Swept {
    /// Uploads that were aborted.
    aborted: usize,
    /// Stalled transfers for which the sweep sent a new message.
    helped_on: usize,
    /// Log entries that the sweep failed to process, and rules that it failed to sweep. The next sweep retries them.
    failed: usize,
}

impl Worker {
    /// Sweeps the log of one rule, or of all rules.
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
                // A failure of one rule must not prevent the sweep of the others.
                Err(error) => {
                    tracing::error!(rule.id = rule.id.as_str(), %error, "cannot sweep a rule");
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
            tracing::warn!(
                rule.id = rule.id.as_str(),
                object.key = entry.key.as_str(),
                %error,
                "cannot abort an upload yet"
            );
        }
        self.aborted += of_rule.aborted;
        self.helped_on += of_rule.helped_on.len();
        self.failed += of_rule.failed.len();
    }
}
