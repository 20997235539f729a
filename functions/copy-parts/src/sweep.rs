//! The sweep: uploads that were left behind by functions that died are aborted, and transfers that stand
//! still are helped on. Only what the log names is touched; other uploads are somebody else's.

use std::collections::HashSet;
use std::time::Duration;

use chrono::TimeDelta;
use serde::Serialize;
use tandem_aws::s3_pair::S3Pair;
use tandem_lambda::runtime::{Deadline, now};
use tandem_replication::Timestamp;
use tandem_replication::names::RuleId;
use tandem_replication::rule::{Rule, RuleState};

use crate::worker::{Unfinished, Worker};

/// How old an upload has to be if nobody says: far longer than an invocation can last that copies it.
const LEFT_BEHIND: TimeDelta = TimeDelta::hours(1);
/// What has to be left of an invocation to go on sweeping.
const SWEEP_TIME: Duration = Duration::from_secs(30);

/// What a sweep did.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct Swept {
    /// Uploads that were aborted.
    aborted: usize,
    /// Transfers that stood still and were helped on.
    helped_on: usize,
    /// Entries of the log that could not be dealt with; the next sweep comes to them again.
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
            // What cannot be read of one rule keeps no other from being swept.
            if let Err(error) = self.sweep_rule(rule, before, deadline, &mut swept).await {
                tracing::error!(rule.id = rule.id.as_str(), %error, "the rule is not swept");
                swept.failed += 1;
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
        swept: &mut Swept,
    ) -> Result<(), Unfinished> {
        let pair = S3Pair::of_rule(&self.aws, &self.table, rule);
        // The log first: an upload is in it before a transfer has it.
        let entries = self.table.logged_uploads(&rule.id).await?;
        let transfers = self.table.transfers(&rule.id).await?;
        let in_use: HashSet<&str> = transfers
            .iter()
            .map(|transfer| transfer.upload.id.as_str())
            .collect();
        for entry in entries {
            if entry.began_at > before || in_use.contains(entry.id.as_str()) {
                continue;
            }
            if deadline.left() < SWEEP_TIME {
                return Ok(());
            }
            match pair.abort_left_behind(&entry).await {
                Ok(aborted) => swept.aborted += aborted,
                Err(error) => {
                    tracing::warn!(rule.id = rule.id.as_str(), object.key = entry.key.as_str(), %error, "an upload is left behind");
                    swept.failed += 1;
                }
            }
        }
        let stuck = transfers
            .iter()
            .filter(|transfer| transfer.stands_still(now()) && rule.state == RuleState::Enabled);
        for transfer in stuck {
            let event_time = transfer.event_time.unwrap_or(transfer.started_at);
            self.send_object(&rule.id, &transfer.key, event_time, transfer.overwrite)
                .await?;
            swept.helped_on += 1;
        }
        Ok(())
    }
}
