//! Messages that were given up after all their attempts: each is moved back to the queue it came from, so
//! that nobody has to copy one by hand. One that cannot be read stays where it is, and is shown.

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
/// How much of such a message, and of what is wrong with it, is shown.
const TEXT_BYTES_SHOWN: usize = 256;
/// How many messages are shown again at once.
const SHOWN_AT_ONCE: usize = 32;
/// What has to be left of an invocation to answer.
const ANSWER_TIME: Duration = Duration::from_secs(5);

/// What became of the messages that were given up.
#[derive(Debug, Default)]
pub(crate) struct DeadLetters {
    moved: BTreeMap<&'static str, u64>,
    unreadable: Vec<Unreadable>,
    unreadable_count: u64,
    /// Whether there was no time to look at all of them.
    unseen: bool,
}

/// A message that nobody can read.
#[derive(Debug, Serialize)]
struct Unreadable {
    queue: &'static str,
    message_id: String,
    problem: String,
    body: String,
}

/// What a message is about: the key, if it is about one.
type Subject = (RuleId, Option<ObjectKey>);

impl DeadLetters {
    /// The answer to the request.
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
    /// Moves every chosen message back; answers where to go on if there was not time for all.
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
            // Those that stay come again only when all have been seen.
            let mut stay = Vec::new();
            loop {
                if deadline.left() < ENOUGH_TIME {
                    // All failures are done with: whoever goes on comes here at once, while those that stay
                    // are still hidden. If nothing of all that was seen moves, nobody goes on for ever.
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

    /// Lets messages be received again at once. Those for which there is no time, or which cannot be, come
    /// again by themselves.
    async fn show_again(&self, dead: &DeadQueue, receipt_handles: Vec<String>, deadline: Deadline) {
        stream::iter(receipt_handles)
            .take_while(|_| ready(deadline.left() > ANSWER_TIME))
            .for_each_concurrent(SHOWN_AT_ONCE, async |receipt_handle| {
                if let Err(error) = self
                    .queues
                    .change_visibility(&dead.url, &receipt_handle, Duration::ZERO)
                    .await
                {
                    tracing::warn!(%error, "a dead letter is hidden for some minutes");
                }
            })
            .await;
    }

    /// Whether a message is about anything that was chosen.
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

/// What a message is about, or why that cannot be told.
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
