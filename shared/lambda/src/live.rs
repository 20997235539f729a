//! One batch of notifications, from message to acknowledgement:
//!
//! message -> notification -> object events, coalesced by key -> rule -> admitted? -> the protocol (`carry`) -> what
//! became of the key -> every message of the key acknowledged, or kept.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use futures::{StreamExt, stream};
use lambda_runtime::{Diagnostic, LambdaEvent};
use serde_json::{Value, json};
use tandem_aws::clients::OBJECTS_AT_ONCE_MAX;
use tandem_aws::queues::Queues;
use tandem_aws::s3_pair::S3Pair;
use tandem_aws::table::Table;
use tandem_aws::{Aws, AwsError};
use tandem_replication::Timestamp;
use tandem_replication::event::{Change, KeyChange, ObjectEvent, coalesce};
use tandem_replication::failure_record::Redelivery;
use tandem_replication::fault::{FailedObject, Fault, Reason};
use tandem_replication::key_attempt::{Carried, Settled, Why, settle_change};
use tandem_replication::names::RuleId;
use tandem_replication::overwrite::Overwrite;
use tandem_replication::replicator::{LABELS_SETTLE, Outcome, Replicator};
use tandem_replication::rule::Rule;
use tandem_replication::work::Work;

use crate::attempts::{Attempts, Opened};
use crate::carry::carry;
use crate::config::Config;
use crate::expectations::Expectations;
use crate::inbox::{ComesAgain, Message};
use crate::key_store::{Deferrals, KeyStore, deferred_key};
use crate::measure::{Tally, write_requests, write_tallies};
use crate::notification::parse;
use crate::postpone::postpone;
use crate::record::Recorder;
use crate::rule_cache::RuleCache;
use crate::runtime::{Deadline, Error, now};

/// What has to be left of an invocation to begin with a key, after waiting for its turn.
const CARRY_TIME: Duration = Duration::from_secs(30);

/// An older change may have been tried before by a function that died: its message comes again after the
/// queue's visibility timeout, which is longer than this. How often it was received does not tell everything: the
/// count begins anew when a message is moved out of a dead-letter queue.
const TRIED_AFTER: TimeDelta = TimeDelta::seconds(30);

/// A live function: everything it needs, built once.
#[derive(Debug)]
pub struct Live {
    function: &'static str,
    config: Config,
    aws: Aws,
    table: Table,
    keys: KeyStore,
    queues: Queues,
    expectations: Expectations,
}

/// What became of a key, with the rule under which it came.
struct Handled {
    change: KeyChange<usize>,
    rule: Option<Arc<Rule>>,
    settled: Settled,
    /// Whether a failure that has to be tried again was the last.
    given_up: bool,
}

impl Live {
    /// Reads the environment and builds the clients of the function of this name.
    pub async fn start(function: &'static str) -> Result<Self, Error> {
        let config = Config::from_environment()?;
        let aws = Aws::from_environment(config.account_id.clone()).await?;
        let table = Table::new(&aws, &config.rule_table);
        let queues = Queues::new(&aws);
        let rules = RuleCache::new(table.clone());
        let deferrals = Deferrals::new(&table, &rules, &queues, &config);
        Ok(Self {
            function,
            config,
            keys: KeyStore::new(rules, deferrals, Recorder::new(&aws, table.clone())),
            aws,
            table,
            queues,
            expectations: Expectations::default(),
        })
    }

    /// Handles one invocation.
    pub async fn handle(&self, invocation: LambdaEvent<Value>) -> Result<Value, Diagnostic> {
        let deadline = Deadline::of(invocation.context.deadline());
        self.aws.begin(deadline);
        let attempts = Attempts {
            table: &self.table,
            queues: &self.queues,
            config: &self.config,
        };
        let opened = attempts.open(invocation.payload).await;
        let messages = &opened.messages;
        let mut failed: BTreeMap<usize, ComesAgain> = BTreeMap::new();
        let mut events = Vec::new();
        for (index, message) in messages.iter().enumerate() {
            match read(message) {
                Ok(read) => match Self::settles_in(&read, message) {
                    Some(again) => {
                        failed.insert(index, again);
                    }
                    None => events.extend(read.into_iter().map(|event| (event, index))),
                },
                Err(reason) => {
                    log_unreadable(message, &reason);
                    failed.insert(index, ComesAgain::UNREADABLE);
                }
            }
        }
        let handled: Vec<Handled> = stream::iter(coalesce(events))
            .map(|change| self.settle(change, deadline, messages))
            .buffer_unordered(OBJECTS_AT_ONCE_MAX)
            .collect()
            .await;
        for handled in &handled {
            for &index in &handled.change.received_with {
                let again = match &handled.settled {
                    Settled::TryAgain(fault) if handled.given_up => {
                        ComesAgain::for_the_last_time(fault)
                    }
                    Settled::TryAgain(fault) => {
                        ComesAgain::after_fault(fault, messages[index].attempt())
                    }
                    Settled::AttemptedOnceMore(_) => ComesAgain::SECOND_LOOK,
                    _ => continue,
                };
                let latest = failed.entry(index).or_insert(again);
                *latest = again.max(*latest);
            }
        }
        self.measure(&handled);
        self.put_off(messages, &failed).await;
        respond(&opened, &failed, &handled)
    }

    /// Finds the key's rule and does what it says.
    async fn settle(
        &self,
        change: KeyChange<usize>,
        deadline: Deadline,
        messages: &[Message],
    ) -> Handled {
        let event = &change.newest;
        let redelivery = Self::redelivery(&change, messages);
        let mut received = change.received_with.iter().map(|&index| &messages[index]);
        let tried = received.any(Message::is_redelivery) || now() - event.event_time > TRIED_AFTER;
        let deferred = deferred_key(&event.key, event.event_time, Overwrite::Always);
        let carry = async |rule: &Rule, why: Why| {
            let closely = tried || why == Why::DeferredChanges;
            let carried = self.replicate(rule, event, deadline, closely).await;
            carried.map_err(|fault| named(fault, event))
        };
        let (rule, settled) = settle_change(&self.keys, event, &deferred, redelivery, carry).await;
        let given_up = redelivery == Redelivery::WasTheLast && rule.is_some();
        log_settled(event, rule.as_deref(), &settled, given_up);
        Handled {
            change,
            rule,
            settled,
            given_up,
        }
    }

    /// Whether the messages of a key are delivered again if they are not acknowledged.
    fn redelivery(change: &KeyChange<usize>, messages: &[Message]) -> Redelivery {
        let mut of_key = change.received_with.iter().map(|&index| &messages[index]);
        if of_key.clone().any(|message| message.envelope.is_none()) {
            Redelivery::ByHand
        } else if of_key.any(Message::is_last) {
            Redelivery::WasTheLast
        } else {
            Redelivery::Follows
        }
    }

    /// Carries a change over; `closely` as [`Replicator::looking_closely`] says.
    async fn replicate(
        &self,
        rule: &Rule,
        event: &ObjectEvent,
        deadline: Deadline,
        closely: bool,
    ) -> Result<Carried, Fault> {
        let turn = self.aws.turns().take().await;
        if turn.waited && deadline.left() < CARRY_TIME {
            let waited = format!("no turn in time for {:?}", event.key.as_str());
            return Err(Fault::because(Reason::Throttled, waited));
        }
        let pair = S3Pair::of_rule(&self.aws, &self.table, rule);
        let limits = self.config.live_limits();
        let expectation = self.expectations.of(rule);
        let replicator = Replicator::new(&pair, rule.policy, &rule.options, limits)
            .expecting(&expectation)
            .looking_closely(closely);
        match carry(&replicator, event).await? {
            Outcome::TooLargeHere { .. } => {
                let work = Work::Object {
                    own: None,
                    rule_id: rule.id.clone(),
                    key: event.key.clone(),
                    event_time: event.event_time,
                    overwrite: Overwrite::Always,
                    hops: 0,
                };
                self.queues
                    .send(&self.config.work_queue_url, &work)
                    .await
                    .map_err(AwsError::into_fault)?;
                Ok(Carried::HandedOver)
            }
            outcome => Ok(Carried::Settled(outcome)),
        }
    }

    /// Lets failed messages come again sooner than after the visibility timeout, which is for crashes.
    async fn put_off(&self, messages: &[Message], failed: &BTreeMap<usize, ComesAgain>) {
        for (&index, &again) in failed {
            if let Some(envelope) = &messages[index].envelope {
                postpone(&self.queues, &self.config, envelope, again).await;
            }
        }
    }

    /// When to look at a message that tells of changed tags or ACLs, if that is later: a copy that read them
    /// before may still be under way (see [`LABELS_SETTLE`]). Who invoked the function by hand does not wait,
    /// and neither does a message that would not come again.
    fn settles_in(events: &[ObjectEvent], message: &Message) -> Option<ComesAgain> {
        if message.envelope.is_none() || message.is_last() {
            return None;
        }
        let labels = events.iter().filter(|event| event.change == Change::Labels);
        let at = now();
        let left_ms = labels
            .map(|event| (event.event_time - at + LABELS_SETTLE).num_milliseconds())
            .max()
            // A clock that is far ahead must not hide a message for long.
            .map(|left_ms| left_ms.min(LABELS_SETTLE.num_milliseconds()))
            .filter(|left_ms| *left_ms > 0)?;
        Some(ComesAgain::After(i32::try_from(left_ms / 1_000 + 1).ok()?))
    }

    fn measure(&self, handled: &[Handled]) {
        let at = now();
        let mut tallies: BTreeMap<RuleId, Tally> = BTreeMap::new();
        for it in handled {
            let Handled { change, rule, .. } = it;
            let Some(rule) = rule else { continue };
            let tally = tallies.entry(rule.id.clone()).or_default();
            let lag_ms = lag_ms(&change.newest, at);
            match &it.settled {
                Settled::Carried(Outcome::Replicated { bytes }) => {
                    tally.replicated += 1;
                    tally.bytes += bytes;
                    tally.lag_ms.push(lag_ms);
                }
                Settled::Carried(Outcome::Adjusted) => {
                    tally.replicated += 1;
                    tally.lag_ms.push(lag_ms);
                }
                Settled::Carried(Outcome::Deleted) => {
                    tally.deleted += 1;
                    tally.lag_ms.push(lag_ms);
                }
                Settled::Parked(_) => tally.failed += 1,
                Settled::TryAgain(_) if it.given_up => tally.failed += 1,
                _ => {}
            }
        }
        tallies.retain(|_, tally| *tally != Tally::default());
        write_tallies(&self.config.stack, &tallies, at);
        write_requests(self.function, &self.aws.take_request_counts(), at);
    }
}

fn read(message: &Message) -> Result<Vec<ObjectEvent>, String> {
    let body = message.body.clone()?;
    parse(body).map_err(|error| error.to_string())
}

/// The failure, of the object that its notification told of, unless a look at the source told more.
fn named(fault: Fault, event: &ObjectEvent) -> Fault {
    match &event.change {
        Change::Created {
            etag: Some(etag),
            bytes: Some(bytes),
            version_id,
            ..
        } => fault.of(FailedObject {
            version_id: version_id.clone(),
            etag: etag.clone(),
            bytes: *bytes,
        }),
        _ => fault,
    }
}

fn lag_ms(event: &ObjectEvent, at: Timestamp) -> i64 {
    (at - event.event_time).num_milliseconds().max(0)
}

fn log_unreadable(message: &Message, reason: &str) {
    let message_id = message
        .envelope
        .as_ref()
        .map(|envelope| envelope.message_id.as_str());
    tracing::error!(message_id, reason, "a message that cannot be read");
}

fn log_settled(event: &ObjectEvent, rule: Option<&Rule>, settled: &Settled, given_up: bool) {
    let rule_id = rule.map(|rule| rule.id.as_str());
    let key = event.key.as_str();
    let lag_ms = lag_ms(event, now());
    match settled {
        Settled::Carried(outcome) => tracing::debug!(
            rule.id = rule_id,
            object.key = key,
            lag_ms,
            ?outcome,
            "replicated"
        ),
        Settled::HandedOver => tracing::info!(
            rule.id = rule_id,
            object.key = key,
            "handed to the work queue"
        ),
        Settled::Deferred => tracing::debug!(
            rule.id = rule_id,
            object.key = key,
            "deferred: the rule is paused"
        ),
        Settled::Skipped(reason) => {
            tracing::debug!(
                rule.id = rule_id,
                object.key = key,
                reason = reason.as_str(),
                "skipped"
            );
        }
        Settled::TryAgain(fault) if !given_up => {
            tracing::warn!(rule.id = rule_id, object.key = key, lag_ms, %fault, "failed");
        }
        Settled::Parked(fault) | Settled::AttemptedOnceMore(fault) | Settled::TryAgain(fault) => {
            tracing::error!(rule.id = rule_id, object.key = key, lag_ms, %fault, "parked");
        }
    }
}

/// For SQS, which messages to keep; by hand, what became of every key, or an error if any has to come again.
fn respond(
    opened: &Opened,
    failed: &BTreeMap<usize, ComesAgain>,
    handled: &[Handled],
) -> Result<Value, Diagnostic> {
    let messages = &opened.messages;
    let by_hand = messages.iter().any(|message| message.envelope.is_none());
    let mut kept = failed.keys().map(|&index| &messages[index]);
    if !by_hand {
        return Ok(json!(opened.answer(kept)));
    }
    if let Some(message) = kept.next() {
        let failures = handled.iter().filter_map(|it| match &it.settled {
            Settled::TryAgain(fault) => Some(fault.to_string()),
            _ => None,
        });
        let reasons: Vec<String> = read(message).err().into_iter().chain(failures).collect();
        return Err(Diagnostic {
            error_type: "NotReplicated".into(),
            error_message: reasons.join("; "),
        });
    }
    let objects: Vec<Value> = handled
        .iter()
        .map(|it| json!({"key": it.change.newest.key.as_str(), "outcome": shown(&it.settled)}))
        .collect();
    Ok(json!({"objects": objects}))
}

fn shown(settled: &Settled) -> String {
    match settled {
        Settled::Carried(Outcome::Replicated { .. }) => "Replicated".to_owned(),
        Settled::Carried(Outcome::Adjusted) => "Adjusted".to_owned(),
        Settled::Carried(Outcome::Deleted) => "Deleted".to_owned(),
        Settled::Carried(Outcome::InSync) => "InSync".to_owned(),
        Settled::Carried(Outcome::BothAbsent) => "BothAbsent".to_owned(),
        Settled::Carried(Outcome::Kept(_)) => "Kept(PolicyKeepsDeletes)".to_owned(),
        Settled::Carried(Outcome::TooLargeHere { .. }) | Settled::HandedOver => {
            "HandedOver".to_owned()
        }
        Settled::Deferred => "Held".to_owned(),
        Settled::Skipped(reason) => format!("Skipped({})", reason.as_str()),
        Settled::Parked(fault) | Settled::AttemptedOnceMore(fault) | Settled::TryAgain(fault) => {
            format!("Parked({fault})")
        }
    }
}
