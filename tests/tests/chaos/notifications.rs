//! The notifications of the S3 in memory: changes at the source of a live pair are sent to the stack's queues as S3
//! would send them, late, in another order, and sometimes twice.

use std::time::Duration;

use chrono::TimeDelta;
use fastrand::Rng;
use tandem_memory_s3::{Change, ChangeKind};
use tandem_tests::fault_plan::FaultPlan;
use tandem_tests::notification;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinSet;

use crate::ledger::Ledger;
use crate::stage::{Home, Pair, Stage};

/// The ledger's heading for these notifications.
pub const NOTIFICATIONS: &str = "notifications sent by the test";

/// The maximum delay of a notification.
const LATENESS_MAX: Duration = Duration::from_millis(1_500);
/// One in this many notifications is sent twice.
const TWICE_EVERY: u64 = 8;

/// Sends the notifications of these changes until the writers `have_stopped`, and then the remaining ones.
pub async fn notify(
    stage: &Stage,
    plan: &FaultPlan,
    mut dice: Rng,
    mut changes: UnboundedReceiver<Change>,
    ledger: &Ledger,
    have_stopped: impl Fn() -> bool,
) {
    const PAUSE: Duration = Duration::from_millis(200);
    let put_queue = stage.cloud.queue_url("put").await;
    let delete_queue = stage.cloud.queue_url("delete").await;
    let mut sending = JoinSet::new();
    // A writer publishes its changes before it stops, so none is missed.
    while !(have_stopped() && changes.is_empty()) {
        if let Ok(Some(change)) = tokio::time::timeout(PAUSE, changes.recv()).await
            && let Some(pair) = notified(stage, &change)
        {
            ledger.count(NOTIFICATIONS, change.kind.event_name());
            let offset = TimeDelta::seconds(plan.clock_offset_secs(&change.bucket));
            let body = body(pair, &change, offset);
            let times = if dice.u64(0..TWICE_EVERY) == 0 { 2 } else { 1 };
            for _ in 0..times {
                let after = LATENESS_MAX.mul_f64(dice.f64());
                let queue = match change.kind {
                    ChangeKind::Removed => delete_queue.clone(),
                    _ => put_queue.clone(),
                };
                let (cloud, body) = (stage.cloud.clone(), body.clone());
                sending.spawn(async move {
                    tokio::time::sleep(after).await;
                    cloud.send(&queue, &body).await;
                });
            }
        }
    }
    while let Some(sent) = sending.join_next().await {
        sent.expect("a notification is sent");
    }
}

/// The pair whose source has changed, if the test sends notifications of its changes.
fn notified<'a>(stage: &'a Stage, change: &Change) -> Option<&'a Pair> {
    stage.pairs.iter().find(|pair| {
        pair.home == Home::Memory
            && pair.promise.is_live()
            && pair.buckets.source.name == change.bucket
    })
}

fn body(pair: &Pair, change: &Change, clock_offset: TimeDelta) -> String {
    let event = notification::event(
        &pair.buckets.source,
        change.kind.event_name(),
        &change.key,
        change.at + clock_offset,
    );
    let object = &change.object;
    let event = match change.kind {
        ChangeKind::Put | ChangeKind::Copy | ChangeKind::Complete => {
            notification::of_object(event, object.etag(), object.size())
        }
        ChangeKind::Tagged | ChangeKind::Untagged => notification::without_sequencer(event),
        ChangeKind::Removed => event,
    };
    event.to_string()
}
