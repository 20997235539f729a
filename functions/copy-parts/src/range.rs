//! Handles one range of a transfer, from its message to the record of its outcome. [`tandem_replication::transfer`]
//! makes the decisions.

use tandem_aws::s3::s3_pair::S3Pair;
use tandem_lambda::runtime::Deadline;
use tandem_lambda::sqs_batch::Delivery;
use tandem_replication::failure_record::FailureRecords;
use tandem_replication::names::RuleId;
use tandem_replication::transfer::copying::{RangeMessage, Received};
use tracing::{Instrument, info_span};

use crate::completion::Finished;
use crate::dispatch::{Unfinished, Worker};

impl Worker {
    /// Copies one range. `Ok` acknowledges the message: the range is done, the transfer is over, or the follow-up has
    /// been stored or sent.
    pub(crate) async fn copy_range(
        &self,
        rule_id: &RuleId,
        message: RangeMessage<'_>,
        (delivery, deadline): (&Delivery, Deadline),
    ) -> Result<(), Unfinished> {
        // Read before the rule and the source, so that a success does not clear a record that is written later.
        let seen = self.failure_revision(rule_id, message.key).await?;
        let Some(rule) = self.table.rule(rule_id).await? else {
            return Ok(());
        };
        let pair = S3Pair::of_rule(&self.aws, &self.table, &rule);
        let ports = self.transfer_ports(&pair, &rule, Some(deadline));
        let transferrer = ports.transferrer();
        let permit = self.aws.permits().take().await;
        let span = info_span!(
            "range",
            rule.id = rule_id.as_str(),
            object.key = message.key.as_str(),
            transfer.id = message.transfer_id.as_str(),
            range = message.index
        );
        let received = transferrer.receive_range(message).instrument(span).await?;
        drop(permit);
        match received {
            Received::Done => Ok(()),
            Received::Paused(transfer) => self.defer(&ports, &rule.id, &transfer).await,
            Received::NotCovered(transfer) => {
                // The rule no longer covers the key, so its failure record is obsolete.
                if let Some(seen) = &seen {
                    self.table.clear_failure(rule_id, message.key, seen).await?;
                }
                transferrer.end(&transfer).await?;
                Ok(())
            }
            Received::Finished(transfer, outcome) => {
                let ended = Finished {
                    ports: &ports,
                    rule: &rule,
                    transfer: &transfer,
                };
                self.finished(ended, seen, outcome).await
            }
            Received::Failed(transfer, fault) => {
                let ended = Finished {
                    ports: &ports,
                    rule: &rule,
                    transfer: &transfer,
                };
                self.failed(ended, fault, delivery.redelivery()).await
            }
            Received::NoTime => Err(Unfinished::NoTime),
            Received::Unreadable => Err(Unfinished::Unreadable(format!(
                "{} has no range {}",
                message.transfer_id, message.index
            ))),
        }
    }
}
