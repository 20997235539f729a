//! One batch of notifications, from message to acknowledgement:
//!
//! message -> notification -> object events, coalesced by key -> rule -> admitted? -> the function's own
//! step (`carry`) -> what became of the key -> every message of the key acknowledged, or kept.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use futures::{StreamExt, stream};
use lambda_runtime::{Diagnostic, LambdaEvent};
use serde_json::{Value, json};
use tandem_aws::clients::OBJECTS_AT_ONCE_MAX;
use tandem_aws::held::HeldKey;
use tandem_aws::queues::Queues;
use tandem_aws::s3_pair::S3Pair;
use tandem_aws::table::Table;
use tandem_aws::{Aws, AwsError};
use tandem_replication::Timestamp;
use tandem_replication::admit::{Admission, SkipReason, admit};
use tandem_replication::event::{Change, KeyChange, ObjectEvent, coalesce};
use tandem_replication::fault::{FailedObject, Fault, Reason};
use tandem_replication::names::RuleId;
use tandem_replication::overwrite::Overwrite;
use tandem_replication::replicator::{LABELS_SETTLE, Outcome, Replicator};
use tandem_replication::rule::{Rule, RuleState};
use tandem_replication::work::Work;

use crate::config::Config;
use crate::expectations::Expectations;
use crate::inbox::{ComesAgain, Envelope, Message, answer, open};
use crate::measure::{Tally, write_requests, write_tallies};
use crate::notification::parse;
use crate::postpone::postpone;
use crate::record::{Attempt, Recorder, Unsuccessful};
use crate::rule_cache::{Known, RuleCache};
use crate::runtime::{Deadline, Error, now};

/// What has to be left of an invocation to begin with a key, after waiting for its turn.
const CARRY_TIME: Duration = Duration::from_secs(30);

/// An older change may have been tried before by a function that died: its message comes again after the
/// queue's visibility timeout, which is longer than this. How often it was received does not tell everything: the
/// count begins anew when a message is moved out of a dead-letter queue.
const TRIED_AFTER: TimeDelta = TimeDelta::seconds(30);

/// One attempt at a batch.
#[derive(Debug)]
struct Attempted {
    id: String,
    deadline: Deadline,
}

/// A live function: everything it needs, built once.
#[derive(Debug)]
pub struct Live {
    function: &'static str,
    config: Config,
    aws: Aws,
    table: Table,
    recorder: Recorder,
    queues: Queues,
    rules: RuleCache,
    expectations: Expectations,
}

/// What became of a key.
#[derive(Debug)]
enum Fate {
    /// The protocol ended.
    Done(Outcome),
    /// Too large: it is on the work queue.
    HandedOver,
    /// Its rule is paused: the key is in the table.
    Held,
    /// There is nothing to do.
    Skipped(SkipReason),
    /// It failed, which is recorded; another attempt would not help.
    Parked(Fault),
    /// As `Parked`, and there was no record before: it comes again once. Another function may have had
    /// success with the key meanwhile, without knowing of the record that it had to clear.
    Doubted(Fault),
    /// It failed for the last time, which is recorded; its message goes to the dead-letter queue.
    GivenUp(Fault),
    /// It failed and has to come again.
    Failed(Fault),
}

/// A key's fate, with the rule under which it came.
struct Settled {
    change: KeyChange<usize>,
    rule: Option<Arc<Rule>>,
    fate: Fate,
}

impl Live {
    /// Reads the environment and builds the clients of the function of this name.
    pub async fn start(function: &'static str) -> Result<Self, Error> {
        let config = Config::from_environment()?;
        let aws = Aws::from_environment(config.account_id.clone()).await?;
        let table = Table::new(&aws, &config.rule_table);
        let queues = Queues::new(&aws);
        let rules = RuleCache::new(table.clone());
        Ok(Self {
            function,
            config,
            recorder: Recorder::new(&aws, table.clone()),
            aws,
            table,
            queues,
            rules,
            expectations: Expectations::default(),
        })
    }

    /// Handles one invocation. `carry` is what the function does with a change that its rule admits.
    pub async fn handle<C>(
        &self,
        invocation: LambdaEvent<Value>,
        carry: C,
    ) -> Result<Value, Diagnostic>
    where
        C: AsyncFn(&Replicator<'_, S3Pair>, &ObjectEvent) -> Result<Outcome, Fault>,
    {
        let attempt = Attempted {
            deadline: Deadline::of(invocation.context.deadline()),
            id: invocation.context.request_id,
        };
        let messages = open(invocation.payload);
        let mut failed: BTreeMap<usize, ComesAgain> = BTreeMap::new();
        let mut events = Vec::new();
        for (index, message) in messages.iter().enumerate() {
            match read(message) {
                Ok(read) => match self.settles_in(&read, message) {
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
        let settled: Vec<Settled> = stream::iter(coalesce(events))
            .map(|change| self.settle(change, &attempt, &messages, &carry))
            .buffer_unordered(OBJECTS_AT_ONCE_MAX)
            .collect()
            .await;
        for settled in &settled {
            for &index in &settled.change.received_with {
                let again = match &settled.fate {
                    Fate::Failed(fault) => {
                        ComesAgain::after_fault(fault, messages[index].receives())
                    }
                    Fate::Doubted(_) => ComesAgain::SECOND_LOOK,
                    Fate::GivenUp(fault) => ComesAgain::for_the_last_time(fault),
                    _ => continue,
                };
                let latest = failed.entry(index).or_insert(again);
                *latest = again.max(*latest);
            }
        }
        self.measure(&settled);
        self.put_off(&messages, &failed).await;
        respond(&messages, &failed, &settled)
    }

    /// Finds the key's rule and does what it says.
    async fn settle<C>(
        &self,
        change: KeyChange<usize>,
        attempt: &Attempted,
        messages: &[Message],
        carry: &C,
    ) -> Settled
    where
        C: AsyncFn(&Replicator<'_, S3Pair>, &ObjectEvent) -> Result<Outcome, Fault>,
    {
        let event = &change.newest;
        let (known, admission) = match self.admission(event).await {
            Ok(found) => found,
            Err(error) => {
                let fate = Fate::Failed(error.into_fault());
                log_fate(event, None, &fate);
                return Settled {
                    change,
                    rule: None,
                    fate,
                };
            }
        };
        let receives = |of: &usize| messages[*of].receives();
        let receives = change.received_with.iter().map(receives).max();
        let fate = match (&known.rule, admission) {
            (_, Admission::Skip(reason)) => Ok(Fate::Skipped(reason)),
            (Some(rule), Admission::Hold) => self.hold(rule, event, attempt, carry).await,
            (Some(rule), Admission::Replicate) => {
                let tried = receives > Some(1) || now() - event.event_time > TRIED_AFTER;
                self.replicate(rule, event, attempt.deadline, tried, carry)
                    .await
            }
            (None, _) => Ok(Fate::Skipped(SkipReason::NoRule)),
        };
        let last_chance = receives >= Some(self.config.receives_max);
        let by_hand = |of: &usize| messages[*of].envelope.is_none();
        let comes_again = !last_chance && !change.received_with.iter().any(by_hand);
        let fate = match (&known.rule, fate) {
            (_, Ok(fate @ (Fate::Skipped(_) | Fate::Held | Fate::HandedOver))) => fate,
            (None, fate) => fate.unwrap_or_else(Fate::Failed),
            (Some(rule), fate) => {
                let attempt = Attempt {
                    ended: fate.map_err(|fault| named(fault, event)),
                    may_have_failed: self.may_have_failed(event).await,
                    last_chance,
                    overwrite: Overwrite::Always,
                };
                match self.recorder.keep(rule, &event.key, attempt).await {
                    Ok(fate) => fate,
                    Err(Unsuccessful::Parked {
                        fault,
                        is_news: true,
                    }) if comes_again => Fate::Doubted(fault),
                    Err(Unsuccessful::Parked { fault, .. }) => Fate::Parked(fault),
                    Err(Unsuccessful::TryAgain(fault)) if last_chance => Fate::GivenUp(fault),
                    Err(Unsuccessful::TryAgain(fault)) => Fate::Failed(fault),
                }
            }
        };
        log_fate(event, known.rule.as_deref(), &fate);
        Settled {
            change,
            rule: known.rule,
            fate,
        }
    }

    /// Whether there may be a failure to clear, as was known a few seconds ago at most.
    async fn may_have_failed(&self, event: &ObjectEvent) -> bool {
        let known = self.rules.recent(&event.bucket).await;
        known.map_or(true, |known| known.has_failures)
    }

    /// What the key's rule says. Only a rule read just now can let a change be passed over or held: a rule
    /// that was made, resumed or widened a moment ago must not lose what it is the first to send.
    async fn admission(&self, event: &ObjectEvent) -> Result<(Known, Admission), AwsError> {
        let known = self.rules.recent(&event.bucket).await?;
        let sent_for_it = match (&event.sent_for, &known.rule) {
            (Some(sent_for), Some(rule)) => *sent_for == rule.id,
            _ => true,
        };
        let admission = admit(known.rule.as_deref(), event);
        if admission == Admission::Replicate && sent_for_it {
            return Ok((known, admission));
        }
        let known = self.rules.fresh(&event.bucket).await?;
        let admission = admit(known.rule.as_deref(), event);
        Ok((known, admission))
    }

    /// Carries a change over; `closely` as [`Replicator::looking_closely`] says.
    async fn replicate<C>(
        &self,
        rule: &Rule,
        event: &ObjectEvent,
        deadline: Deadline,
        closely: bool,
        carry: &C,
    ) -> Result<Fate, Fault>
    where
        C: AsyncFn(&Replicator<'_, S3Pair>, &ObjectEvent) -> Result<Outcome, Fault>,
    {
        let turn = self.aws.turns().take().await;
        if turn.waited && deadline.left() < CARRY_TIME {
            let waited = format!("no turn in time for {:?}", event.key.as_str());
            return Err(Fault::because(Reason::Throttled, waited));
        }
        let pair = S3Pair::of_rule(&self.aws, &self.table, rule);
        let limits = self.config.live_limits();
        let expectation = self.expectations.of(&rule.id);
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
                };
                self.queues
                    .send(&self.config.work_queue_url, &work)
                    .await
                    .map_err(AwsError::into_fault)?;
                Ok(Fate::HandedOver)
            }
            outcome => Ok(Fate::Done(outcome)),
        }
    }

    /// Keeps the key of a paused rule. If the rule is not paused any more once the key is kept, whoever
    /// resumed it may have missed the key: then it is replicated now.
    async fn hold<C>(
        &self,
        rule: &Rule,
        event: &ObjectEvent,
        attempt: &Attempted,
        carry: &C,
    ) -> Result<Fate, Fault>
    where
        C: AsyncFn(&Replicator<'_, S3Pair>, &ObjectEvent) -> Result<Outcome, Fault>,
    {
        let held = HeldKey {
            key: event.key.clone(),
            changed_at: event.event_time,
            token: attempt.id.clone(),
            overwrite: Overwrite::Always,
        };
        self.table
            .hold(&rule.id, &held)
            .await
            .map_err(AwsError::into_fault)?;
        match self
            .table
            .rule(&rule.id)
            .await
            .map_err(AwsError::into_fault)?
        {
            Some(rule) if rule.state == RuleState::Paused => Ok(Fate::Held),
            Some(rule) => {
                // What else changed about the key may be held by the same item, and is let go with it.
                let closely = true;
                let fate = self
                    .replicate(&rule, event, attempt.deadline, closely, carry)
                    .await?;
                self.table
                    .release(&rule.id, &held)
                    .await
                    .map_err(AwsError::into_fault)?;
                Ok(fate)
            }
            None => {
                self.table
                    .release(&rule.id, &held)
                    .await
                    .map_err(AwsError::into_fault)?;
                Ok(Fate::Skipped(SkipReason::NoRule))
            }
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
    fn settles_in(&self, events: &[ObjectEvent], message: &Message) -> Option<ComesAgain> {
        if message.envelope.is_none() || message.receives() >= self.config.receives_max {
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

    fn measure(&self, settled: &[Settled]) {
        let at = now();
        let mut tallies: BTreeMap<RuleId, Tally> = BTreeMap::new();
        for Settled { change, rule, fate } in settled {
            let Some(rule) = rule else { continue };
            let tally = tallies.entry(rule.id.clone()).or_default();
            let lag_ms = lag_ms(&change.newest, at);
            match fate {
                Fate::Done(Outcome::Replicated { bytes }) => {
                    tally.replicated += 1;
                    tally.bytes += bytes;
                    tally.lag_ms.push(lag_ms);
                }
                Fate::Done(Outcome::Adjusted) => {
                    tally.replicated += 1;
                    tally.lag_ms.push(lag_ms);
                }
                Fate::Done(Outcome::Deleted) => {
                    tally.deleted += 1;
                    tally.lag_ms.push(lag_ms);
                }
                Fate::Parked(_) | Fate::GivenUp(_) => tally.failed += 1,
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

fn log_fate(event: &ObjectEvent, rule: Option<&Rule>, fate: &Fate) {
    let rule_id = rule.map(|rule| rule.id.as_str());
    let key = event.key.as_str();
    let lag_ms = lag_ms(event, now());
    match fate {
        Fate::Done(outcome) => tracing::debug!(
            rule.id = rule_id,
            object.key = key,
            lag_ms,
            ?outcome,
            "replicated"
        ),
        Fate::HandedOver => tracing::info!(
            rule.id = rule_id,
            object.key = key,
            "handed to the work queue"
        ),
        Fate::Held => tracing::debug!(
            rule.id = rule_id,
            object.key = key,
            "held: the rule is paused"
        ),
        Fate::Skipped(reason) => {
            tracing::debug!(
                rule.id = rule_id,
                object.key = key,
                reason = reason.as_str(),
                "skipped"
            );
        }
        Fate::Parked(fault) | Fate::Doubted(fault) | Fate::GivenUp(fault) => {
            tracing::error!(rule.id = rule_id, object.key = key, lag_ms, %fault, "parked");
        }
        Fate::Failed(fault) => {
            tracing::warn!(rule.id = rule_id, object.key = key, lag_ms, %fault, "failed");
        }
    }
}

/// For SQS, which messages to keep; by hand, what became of every key, or an error if any has to come again.
fn respond(
    messages: &[Message],
    failed: &BTreeMap<usize, ComesAgain>,
    settled: &[Settled],
) -> Result<Value, Diagnostic> {
    let keep: BTreeSet<usize> = failed.keys().copied().collect();
    let envelopes: Vec<&Envelope> = keep
        .iter()
        .filter_map(|&index| messages[index].envelope.as_ref())
        .collect();
    if messages.iter().any(|message| message.envelope.is_some()) {
        return Ok(json!(answer(envelopes)));
    }
    if let Some(message) = keep.first().map(|&index| &messages[index]) {
        let failures = settled.iter().filter_map(|settled| match &settled.fate {
            Fate::Failed(fault) | Fate::GivenUp(fault) => Some(fault.to_string()),
            _ => None,
        });
        let reasons: Vec<String> = read(message).err().into_iter().chain(failures).collect();
        return Err(Diagnostic {
            error_type: "NotReplicated".into(),
            error_message: reasons.join("; "),
        });
    }
    let objects: Vec<Value> = settled
        .iter()
        .map(|settled| json!({"key": settled.change.newest.key.as_str(), "outcome": told(&settled.fate)}))
        .collect();
    Ok(json!({"objects": objects}))
}

fn told(fate: &Fate) -> String {
    match fate {
        Fate::Done(Outcome::Replicated { .. }) => "Replicated".to_owned(),
        Fate::Done(Outcome::Adjusted) => "Adjusted".to_owned(),
        Fate::Done(Outcome::Deleted) => "Deleted".to_owned(),
        Fate::Done(Outcome::InSync) => "InSync".to_owned(),
        Fate::Done(Outcome::BothAbsent) => "BothAbsent".to_owned(),
        Fate::Done(Outcome::Kept(_)) => "Kept(PolicyKeepsDeletes)".to_owned(),
        Fate::Done(Outcome::TooLargeHere { .. }) | Fate::HandedOver => "HandedOver".to_owned(),
        Fate::Held => "Held".to_owned(),
        Fate::Skipped(reason) => format!("Skipped({})", reason.as_str()),
        Fate::Parked(fault) | Fate::Doubted(fault) | Fate::GivenUp(fault) | Fate::Failed(fault) => {
            format!("Parked({fault})")
        }
    }
}
