//! One range of a transfer, from its message to what is recorded of it. The decisions are
//! [`tandem_replication::transfer`]'s.

use tandem_aws::s3_pair::S3Pair;
use tandem_lambda::runtime::Deadline;
use tandem_lambda::transfers::RuleTransferPorts;
use tandem_replication::failure_record::FailureRecords;
use tandem_replication::names::RuleId;
use tandem_replication::transfer::copying::{RangeMessage, Received};

use crate::worker::{Look, Unfinished, Worker};

impl Worker {
    /// Copies one range. The message is acknowledged if the range is done, if the transfer is over, or if
    /// what has to be done instead is on its way.
    pub(crate) async fn copy_range(
        &self,
        rule_id: &RuleId,
        message: RangeMessage<'_>,
        (look, deadline): (Look, Deadline),
    ) -> Result<(), Unfinished> {
        // Read before the rule and the source: a success clears no record that is written later.
        let seen = self.recorder.failure_revision(rule_id, message.key).await?;
        let Some(rule) = self.table.rule(rule_id).await? else {
            return Ok(());
        };
        let pair = S3Pair::of_rule(&self.aws, &self.table, &rule);
        let ports = RuleTransferPorts {
            pair: &pair,
            table: &self.table,
            queues: &self.queues,
            config: &self.config,
            rule: &rule,
            deadline: Some(deadline),
        };
        let transferrer = ports.transferrer();
        let turn = self.aws.turns().take().await;
        let received = transferrer.receive_range(message).await?;
        drop(turn);
        match received {
            Received::Done => Ok(()),
            Received::Paused(transfer) => self.defer(&ports, &transfer).await,
            Received::NotCovered(transfer) => {
                // What the rule does not cover any more has not failed any more.
                if let Some(seen) = &seen {
                    self.table.clear_failure(rule_id, message.key, seen).await?;
                }
                transferrer.end(&transfer).await?;
                Ok(())
            }
            Received::Finished(transfer, outcome) => {
                self.finished(&ports, &transfer, seen, outcome).await
            }
            Received::Failed(transfer, fault) => self.failed(&ports, &transfer, fault, look).await,
            Received::NoTime => Err(Unfinished::NoTime),
            Received::Unreadable => Err(Unfinished::Unreadable(format!(
                "{} has no range {}",
                message.transfer_id, message.index
            ))),
        }
    }
}
