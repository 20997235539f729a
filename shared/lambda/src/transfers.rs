//! Implements the ports of one rule's transfers with the table, the queues and the invocation.

use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use tandem_aws::AwsError;
use tandem_aws::dynamodb::transfers::RuleTransfers;
use tandem_aws::s3::s3_pair::S3Pair;
use tandem_replication::Timestamp;
use tandem_replication::names::{ObjectKey, TransferId};
use tandem_replication::overwrite::Overwrite;
use tandem_replication::rule::Rule;
use tandem_replication::transfer::begin::Transferrer;
use tandem_replication::transfer::ports::{
    Answer, Invocation, TransferPorts, TransferQueue, Transfers,
};
use tandem_replication::transfer::{Invalidated, Transfer};
use tandem_replication::work::{PartWork, Work};

use crate::request::new_transfer_id;
use crate::runtime::{Deadline, now};
use crate::services::Services;

/// How many messages are sent at the same time.
const SENT_AT_ONCE: usize = 16;
/// How much time an invocation must have left to begin with more parts.
const PARTS_TIME: Duration = Duration::from_mins(3);
/// How much time an invocation must have left to continue a sweep.
const SWEEP_TIME: Duration = Duration::from_secs(30);

/// The ports of one rule's transfers.
#[derive(Debug, Clone, Copy)]
pub struct RuleTransferPorts<'a> {
    services: &'a Services,
    pair: &'a S3Pair,
    rule: &'a Rule,
    deadline: Option<Deadline>,
}

impl Services {
    /// Returns the ports of a rule's transfers. `deadline` is the invocation's deadline. It is `None` if the caller
    /// neither copies ranges nor sweeps.
    pub fn transfer_ports<'a>(
        &'a self,
        pair: &'a S3Pair,
        rule: &'a Rule,
        deadline: Option<Deadline>,
    ) -> RuleTransferPorts<'a> {
        RuleTransferPorts {
            services: self,
            pair,
            rule,
            deadline,
        }
    }
}

impl<'a> RuleTransferPorts<'a> {
    /// Returns the object that carries out the transfers.
    pub fn transferrer(&'a self) -> Transferrer<'a, Self> {
        let config = &self.services.config;
        Transferrer::new(self, self.rule, config.work_limits(), config.range_bytes)
    }

    fn of_rule(&self) -> RuleTransfers<'a> {
        RuleTransfers {
            table: &self.services.table,
            rule: &self.rule.id,
        }
    }

    fn has(&self, time: Duration) -> bool {
        self.deadline.is_none_or(|deadline| deadline.left() >= time)
    }
}

impl Transfers for RuleTransferPorts<'_> {
    async fn transfer(&self, key: &ObjectKey) -> Answer<Option<Transfer>> {
        self.of_rule().transfer(key).await
    }

    async fn transfers(&self) -> Answer<Vec<Transfer>> {
        self.of_rule().transfers().await
    }

    async fn store(&self, transfer: &Transfer) -> Answer<bool> {
        self.of_rule().store(transfer).await
    }

    async fn mark_sent(&self, transfer: &Transfer, sent: bool, at: Timestamp) -> Answer<bool> {
        self.of_rule().mark_sent(transfer, sent, at).await
    }

    async fn invalidate(&self, transfer: &Transfer, why: Invalidated) -> Answer<bool> {
        self.of_rule().invalidate(transfer, why).await
    }

    async fn range_done(
        &self,
        transfer: &Transfer,
        range: u32,
        at: Timestamp,
    ) -> Answer<Option<Transfer>> {
        self.of_rule().range_done(transfer, range, at).await
    }

    async fn remove(&self, transfer: &Transfer) -> Answer<bool> {
        self.of_rule().remove(transfer).await
    }
}

impl TransferQueue for RuleTransferPorts<'_> {
    async fn send_ranges(&self, transfer: &Transfer, ranges: Vec<u32>) -> Answer<()> {
        let sends = stream::iter(ranges).map(|range| async move {
            let work = PartWork::Range {
                rule_id: self.rule.id.clone(),
                key: transfer.key.clone(),
                transfer_id: transfer.id.clone(),
                range,
                overwrite: transfer.overwrite,
            };
            let queue_url = &self.services.config.part_queue_url;
            self.services.queues.send(queue_url, &work).await
        });
        let sent = sends.buffer_unordered(SENT_AT_ONCE).try_collect::<()>();
        sent.await.map_err(AwsError::into_fault)
    }

    async fn send_object(
        &self,
        key: &ObjectKey,
        changed_at: Timestamp,
        overwrite: Overwrite,
        hops: u32,
    ) -> Answer<()> {
        let work = Work::Object {
            own: None,
            rule_id: self.rule.id.clone(),
            key: key.clone(),
            event_time: changed_at,
            overwrite,
            hops,
        };
        let sent = self.services.send_work(&work).await;
        sent.map_err(AwsError::into_fault)
    }
}

impl Invocation for RuleTransferPorts<'_> {
    fn now(&self) -> Timestamp {
        now()
    }

    fn new_transfer_id(&self) -> TransferId {
        new_transfer_id()
    }

    fn has_time_for_parts(&self) -> bool {
        self.has(PARTS_TIME)
    }

    fn has_time_to_sweep(&self) -> bool {
        self.has(SWEEP_TIME)
    }
}

impl TransferPorts for RuleTransferPorts<'_> {
    type Pair = S3Pair;

    fn pair(&self) -> &S3Pair {
        self.pair
    }
}
