//! Detaches all rules when the stack is deleted, so that no source bucket continues to notify deleted queues.

use futures::{StreamExt, stream};
use tandem_lambda::request::RequestError;
use tandem_lambda::runtime::Deadline;
use tandem_replication::rule::Rule;

use crate::stack::{ENOUGH_TIME, Stack};

/// How many rules are detached at the same time.
const AT_ONCE: usize = 8;
/// How many rules that failed to detach are named in the error.
const NAMED_MAX: usize = 5;

impl Stack {
    /// Removes what every rule has configured in its buckets: detaches notifications and aborts unfinished uploads.
    /// CloudFormation deletes the table with the stack. Idempotent.
    pub(crate) async fn detach_all(&self, deadline: Deadline) -> Result<(), String> {
        let rules = self
            .table
            .rules()
            .await
            .map_err(|error| error.to_string())?;
        let count = rules.len();
        let released: Vec<(String, Result<Rule, RequestError>)> = stream::iter(rules)
            .map(|rule| async {
                let name = format!("{} of {}", rule.id, rule.source.name);
                (name, self.release(rule).await)
            })
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        let mut rules = Vec::new();
        let mut left = Vec::new();
        for (name, released) in released {
            match released {
                Ok(rule) => rules.push(rule),
                Err(error) => left.push(format!("{name}: {error}")),
            }
        }
        self.abort_all(&rules, deadline).await;
        if left.is_empty() {
            return Ok(());
        }
        let all = left.len();
        left.truncate(NAMED_MAX);
        Err(format!(
            "{all} of {count} rules still have notifications attached: {}. Delete the stack again, or delete those \
             rules first with the action \"delete\"; to keep the notifications, retain this resource",
            left.join("; ")
        ))
    }

    /// Aborts the uploads of these rules. An upload that is not aborted stays invisible and costs storage, until a
    /// lifecycle rule of the bucket aborts it.
    async fn abort_all(&self, rules: &[Rule], deadline: Deadline) {
        for rule in rules {
            if deadline.left() < ENOUGH_TIME + ENOUGH_TIME / 2 {
                tracing::warn!("not enough time to abort every unfinished upload");
                return;
            }
            if let Err(error) = self.abort_uploads(rule).await {
                tracing::warn!(rule.id = rule.id.as_str(), %error, "cannot abort the unfinished uploads of a rule");
            }
        }
    }
}
