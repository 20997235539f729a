//! Moves messages from the dead-letter queues back to the queues that they came from, so that operators do not have to
//! copy them. Messages that cannot be read stay where they are, and are shown.

use std::collections::BTreeMap;
use std::future::ready;
use std::time::Duration;

use futures::{StreamExt, stream};
use serde::Serialize;
use serde_json::{Value, json};
use tandem_aws::dynamodb::failures::FailureFilter;
use tandem_aws::sqs::Received;
use tandem_lambda::config::DeadQueue;
use tandem_lambda::notification::parse;
use tandem_lambda::request::RequestError;
use tandem_lambda::runtime::Deadline;
use tandem_replication::names::{ObjectKey, RuleId};
use tandem_replication::rule::Rule;
use tandem_replication::work::{PartWork, Work};

use crate::request::{FailureChoice, Place};
use crate::stack::{ENOUGH_TIME, Stack};

/// How many messages that cannot be read are shown.
const UNREADABLE_SHOWN: usize = 20;
/// How many bytes of such a message, and of its problem, are shown.
const TEXT_BYTES_SHOWN: usize = 256;
/// How many messages are made visible at the same time.
const SHOWN_AT_ONCE: usize = 32;
/// How much time of an invocation is reserved for the answer.
const ANSWER_TIME: Duration = Duration::from_secs(5);

/// The result of moving dead letters.
#[derive(Debug, Default)]
pub(crate) struct DeadLetters {
    moved: BTreeMap<&'static str, u64>,
    unreadable: Vec<Unreadable>,
    unreadable_count: u64,
    /// Whether there was no time to receive all of them.
    unseen: bool,
}

/// A message that cannot be read.
#[derive(Debug, Serialize)]
struct Unreadable {
    queue: &'static str,
    message_id: String,
    problem: String,
    body: String,
}

/// The rule of a message, and its key if it is about one key.
type Subject = (RuleId, Option<ObjectKey>);

impl DeadLetters {
    /// Returns the answer to the request.
    pub(crate) fn told(&self, retried: usize, next: Option<&Place>) -> Value {
        let moved = |queue| self.moved.get(queue).copied().unwrap_or_default();
        json!({
            "retried": retried,
            "moved": {"put": moved("put"), "delete": moved("delete"), "work": moved("work"), "part": moved("part")},
            "unreadable": {"count": self.unreadable_count, "messages": self.unreadable},
            "unseen": self.unseen,
            "next": next,
        })
    }

    fn moved_any(&self) -> bool {
        self.moved.values().any(|&moved| moved > 0)
    }

    fn keep(&mut self, queue: &'static str, message: &Received, problem: &str) {
        self.unreadable_count += 1;
        if self.unreadable.len() < UNREADABLE_SHOWN {
            let beginning =
                |text: &str| text[..text.floor_char_boundary(TEXT_BYTES_SHOWN)].to_owned();
            self.unreadable.push(Unreadable {
                queue,
                message_id: message.message_id.clone(),
                problem: beginning(problem),
                body: beginning(&message.body),
            });
        }
    }
}

impl Stack {
    /// Moves every chosen message back. Returns where to continue if there was no time for all.
    pub(crate) async fn move_dead_letters(
        &self,
        choice: &FailureChoice,
        letters: &mut DeadLetters,
        deadline: Deadline,
    ) -> Result<Option<Place>, RequestError> {
        let rules = self.table.rules().await?;
        let only = match &choice.rule {
            Some(name) => Some(self.find(name).await?.id),
            None => None,
        };
        for dead in &self.config.dead_queues {
            // Messages that stay are made visible only after all have been received.
            let mut stay = Vec::new();
            loop {
                if deadline.left() < ENOUGH_TIME {
                    // All failures have been processed, so a continued request comes here at once, while the messages
                    // that stay are still hidden. If no message was moved, the answer has no `next`, so that a caller
                    // does not continue for ever.
                    letters.unseen = true;
                    let last = rules.iter().map(|rule| &rule.id).max();
                    return Ok(letters.moved_any().then(|| Place {
                        rule_id: last.cloned().unwrap_or_else(|| RuleId::new("none")),
                        key: None,
                    }));
                }
                let messages = self.queues.receive(&dead.url).await?;
                if messages.is_empty() {
                    break;
                }
                for message in messages {
                    let is_chosen = match subjects(dead, &message.body, &rules) {
                        Ok(subjects) => self.is_chosen(choice, only.as_ref(), &subjects).await?,
                        Err(problem) => {
                            letters.keep(dead.of, &message, &problem);
                            false
                        }
                    };
                    if is_chosen {
                        self.queues
                            .move_back(&message, &dead.url, &dead.of_url)
                            .await?;
                        *letters.moved.entry(dead.of).or_default() += 1;
                    } else {
                        stay.push(message.receipt_handle);
                    }
                }
            }
            self.show_again(dead, stay, deadline).await;
        }
        Ok(None)
    }

    /// Makes messages visible again at once. If there is no time or a request fails, a message becomes visible after
    /// its visibility timeout.
    async fn show_again(&self, dead: &DeadQueue, receipt_handles: Vec<String>, deadline: Deadline) {
        stream::iter(receipt_handles)
            .take_while(|_| ready(deadline.left() > ANSWER_TIME))
            .for_each_concurrent(SHOWN_AT_ONCE, async |receipt_handle| {
                if let Err(error) = self
                    .queues
                    .change_visibility(&dead.url, &receipt_handle, Duration::ZERO)
                    .await
                {
                    tracing::warn!(%error, "cannot make a dead letter visible; it stays hidden for some minutes");
                }
            })
            .await;
    }

    /// Whether a message is about a rule or key that was chosen.
    async fn is_chosen(
        &self,
        choice: &FailureChoice,
        only: Option<&RuleId>,
        subjects: &[Subject],
    ) -> Result<bool, RequestError> {
        let filter = &choice.filter;
        let any_key = *filter == FailureFilter::default();
        if only.is_none() && any_key {
            return Ok(true);
        }
        for (rule_id, key) in subjects {
            if only.is_some_and(|only| only != rule_id) {
                continue;
            }
            let is_chosen = match key {
                None => any_key,
                Some(key) if filter.reason.is_none() => filter.covers(key),
                Some(key) => {
                    let failure = self.table.failure(rule_id, key).await?;
                    failure.is_some_and(|failure| filter.means(&failure))
                }
            };
            if is_chosen {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Returns what a message is about, or why it cannot be read.
fn subjects(dead: &DeadQueue, body: &str, rules: &[Rule]) -> Result<Vec<Subject>, String> {
    let json: Value =
        serde_json::from_str(body).map_err(|error| format!("the body is not JSON: {error}"))?;
    if dead.of == "part" {
        let work = serde_json::from_value(json).map_err(|error| error.to_string())?;
        return Ok(match work {
            PartWork::Range { rule_id, key, .. } => vec![(rule_id, Some(key))],
            PartWork::Sweep { .. } => Vec::new(),
        });
    }
    if dead.of == "work" {
        let work = serde_json::from_value(json).map_err(|error| error.to_string())?;
        return Ok(vec![match work {
            Work::Shard { rule_id, .. } | Work::Deferred { rule_id, .. } => (rule_id, None),
            Work::Object { rule_id, key, .. } => (rule_id, Some(key)),
        }]);
    }
    let events = parse(json).map_err(|error| error.to_string())?;
    Ok(events
        .into_iter()
        .filter_map(|event| {
            let rule = rules.iter().find(|rule| rule.source.name == event.bucket)?;
            Some((rule.id.clone(), Some(event.key)))
        })
        .collect())
}
