//! Objects of any size: those that one invocation cannot copy become transfers, which `copy-parts` carries out.
//! The decisions are [`tandem_replication::transfer`]'s.

use tandem_aws::s3_pair::S3Pair;
use tandem_lambda::transfers::RuleTransferPorts;
use tandem_replication::Timestamp;
use tandem_replication::fault::Fault;
use tandem_replication::in_flight::OwnWrites;
use tandem_replication::names::ObjectKey;
use tandem_replication::overwrite::Overwrite;
use tandem_replication::replicator::Outcome;
use tandem_replication::rule::Rule;
use tandem_replication::transfer::begin::{KeyChange, Origin, Seen};

use crate::worker::Worker;

impl Worker {
    /// Makes one key's replica agree with its source, whatever its size. [`Outcome::TooLargeHere`] then
    /// says that a transfer does it. `closely` as
    /// [`looking_closely`](tandem_replication::replicator::Replicator::looking_closely) says.
    pub(crate) async fn carry(
        &self,
        pair: &S3Pair,
        rule: &Rule,
        (key, event_time): (&ObjectKey, Option<Timestamp>),
        (overwrite, own): (Overwrite, Option<OwnWrites>),
        (closely, hops): (bool, u32),
    ) -> Result<Outcome, Fault> {
        let origin = own.map_or(Origin::Live, |own| Origin::Job { own });
        let change = KeyChange {
            closely,
            hops,
            origin,
            ..change(key, event_time, overwrite)
        };
        let ports = self.transfer_ports(pair, rule);
        ports.transferrer().carry(&change).await
    }

    /// Ends the transfer of a key that needs none, if no worker will do that. Returns whether its upload may have
    /// landed meanwhile, so that the key has to be reconciled again.
    pub(crate) async fn end_what_is_over(
        &self,
        pair: &S3Pair,
        rule: &Rule,
        key: &ObjectKey,
    ) -> Result<Seen, Fault> {
        let ports = self.transfer_ports(pair, rule);
        ports.transferrer().end_if_unneeded(key).await
    }

    /// Begins the transfer of an object that is too large for one invocation, or joins the one that goes on.
    pub(crate) async fn begin_transfer(
        &self,
        pair: &S3Pair,
        rule: &Rule,
        key: &ObjectKey,
        event_time: Option<Timestamp>,
        overwrite: Overwrite,
    ) -> Result<Outcome, Fault> {
        let change = change(key, event_time, overwrite);
        let ports = self.transfer_ports(pair, rule);
        ports.transferrer().begin(&change).await
    }

    fn transfer_ports<'a>(&'a self, pair: &'a S3Pair, rule: &'a Rule) -> RuleTransferPorts<'a> {
        RuleTransferPorts {
            pair,
            table: &self.table,
            queues: &self.queues,
            config: &self.config,
            rule,
            deadline: None,
        }
    }
}

/// A key that is to be carried over: without the time of a change, a job's.
fn change(key: &ObjectKey, event_time: Option<Timestamp>, overwrite: Overwrite) -> KeyChange<'_> {
    KeyChange {
        key,
        event_time,
        overwrite,
        closely: false,
        hops: 0,
        origin: match event_time {
            Some(_) => Origin::Live,
            None => Origin::Job {
                own: OwnWrites::default(),
            },
        },
    }
}
