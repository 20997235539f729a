//! What one process does with a message, and what the administrator and the maintenance do. All of it is the real code.

use tandem_replication::deferral::{
    DeferredKey, REPLAY_STALLED_AFTER, Replayed, Rules, replay_page, resume, send_replays,
};
use tandem_replication::event::{Change, CreatedBy, ObjectEvent};
use tandem_replication::failure_record::Redelivery;
use tandem_replication::fault::Fault;
use tandem_replication::key_attempt::{Settled, settle_change, settle_deferred, settle_object};
use tandem_replication::names::BucketName;
use tandem_replication::rule::{Rule, RuleState};
use tandem_replication::work::deferred_partition;

use super::process::Process;
use super::run::{Ended, Op, SECOND_ATTEMPT_SECS};
use super::world::{Began, Object, Without, etag, key, rule_id, time};

fn ended(settled: &Settled) -> Ended {
    match settled {
        Settled::AttemptedOnceMore(_) => Ended::After(SECOND_ATTEMPT_SECS),
        settled if settled.is_final() => Ended::Acknowledged,
        _ => Ended::After(0),
    }
}

pub(super) async fn live(
    process: Process,
    object: Object,
    deferred: DeferredKey,
    began: Began,
) -> Ended {
    let change = match object {
        0 => Change::Removed,
        object => Change::Created {
            etag: Some(etag(object)),
            bytes: Some(1),
            version_id: None,
            by: CreatedBy::Put,
        },
    };
    let event = ObjectEvent {
        bucket: BucketName::parse("source").unwrap(),
        key: key(),
        change,
        event_time: time(0),
        sequencer: None,
        sent_for: None,
    };
    let carry = async |rule: &Rule, _why| process.carry(rule, began).await;
    let (_, settled) = settle_change(&process, &event, &deferred, Redelivery::Follows, carry).await;
    ended(&settled)
}

pub(super) async fn large(process: Process, object: DeferredKey, began: Began) -> Ended {
    let carry = async |rule: &Rule| process.carry(rule, began).await;
    let settled = settle_object(&process, &rule_id(), &object, Redelivery::Follows, carry).await;
    ended(&settled)
}

/// A key of a replay that is still deferred.
struct NotReplayed;

impl From<Fault> for NotReplayed {
    fn from(_: Fault) -> Self {
        Self
    }
}

pub(super) async fn replay(process: Process, began: Began) -> Ended {
    let carry = async |rule: &Rule, deferred: &DeferredKey| {
        let carry = async || process.carry(rule, began).await;
        let redelivery = Redelivery::Follows;
        let settled = settle_deferred(&process, rule, deferred, redelivery, carry).await;
        if settled.is_final() {
            Ok(())
        } else {
            Err(NotReplayed)
        }
    };
    let (id, partition) = (rule_id(), deferred_partition(&key()));
    let mut reached = None;
    let mut again = None;
    loop {
        match replay_page(&process, (&id, partition), reached.as_ref(), 1, &carry).await {
            Ok(Replayed::End) => break,
            Ok(Replayed::Stopped) => return Ended::Acknowledged,
            Ok(Replayed::Page {
                reached: here,
                failed,
            }) => {
                reached = Some(here);
                again = failed.into_iter().next().or(again);
            }
            Err(error) => {
                again = Some(error);
                break;
            }
        }
    }
    match again {
        None => Ended::Acknowledged,
        Some(NotReplayed) => Ended::After(0),
    }
}

/// One operation of the administrator, which is not repeated if it fails.
pub(super) async fn operate(process: Process, op: Op) -> Ended {
    let done = match op {
        Op::Pause => process.change_rule(Some(RuleState::Paused), None).await,
        Op::Policy(policy) => process.change_rule(None, Some(policy)).await,
        Op::Delete => process.delete_rule().await,
        Op::Resume => resumed(&process).await,
        Op::Deny(denied) => {
            process.world.lock().unwrap().denied = denied;
            Ok(())
        }
    };
    drop(done);
    Ended::Acknowledged
}

async fn resumed(process: &Process) -> Result<(), Fault> {
    let Some(rule) = process.read_rule(&rule_id()).await? else {
        return Ok(());
    };
    let without = process.world.lock().unwrap().without;
    if without == Without::RuleBeforeKeys {
        let enabled = Rule {
            state: RuleState::Enabled,
            ..rule.clone()
        };
        send_replays(process, &enabled, time(0), REPLAY_STALLED_AFTER).await?;
        return process.change_rule(Some(RuleState::Enabled), None).await;
    }
    let write = async |rule: &Rule| process.write_rule(rule).await;
    resume(process, rule, time(0), write).await.map(drop)
}

pub(super) async fn maintain(process: Process) -> Ended {
    let at = time(process.world.lock().unwrap().wall);
    if let Ok(Some(rule)) = process.read_rule(&rule_id()).await {
        drop(send_replays(&process, &rule, at, REPLAY_STALLED_AFTER).await);
    }
    Ended::Acknowledged
}
