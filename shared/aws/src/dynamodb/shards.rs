//! Stores the shards of jobs in the table. Every write is conditional on a [`Guard`]. It names only the attributes that
//! it changes, and so keeps those that a newer version has added. A split writes both shards in one transaction, so
//! that every key belongs to exactly one shard.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::types::{AttributeValue, Put, TransactWriteItem, Update};
use tandem_replication::shard_state::{Guard, Shard};

use crate::AwsError;
use crate::dynamodb::jobs::Job;
use crate::dynamodb::table::{Item, Table, conditional, item, key, text};

fn shards_of(job: &Job, plan_id: &str) -> String {
    format!("shard#{}#{plan_id}", job.id)
}

fn number(index: u32) -> String {
    format!("{index:06}")
}

/// An update expression with its condition, and the names and values that both use. Every name is a placeholder,
/// because DynamoDB reserves many words.
#[derive(Debug, Default, PartialEq)]
struct Expression {
    update: String,
    condition: String,
    names: BTreeMap<String, String>,
    values: BTreeMap<String, AttributeValue>,
}

impl Expression {
    /// Returns the update from `seen` to `next` if `guard` holds, or `None` if they are equal.
    fn of(guard: Guard<'_>, seen: &Item, next: &Item) -> Option<Self> {
        let mut expression = Self::default();
        let changed: BTreeMap<&String, &AttributeValue> = next
            .iter()
            .filter(|(name, value)| seen.get(*name) != Some(value))
            .collect();
        let mut sets = Vec::new();
        for (at, (name, value)) in changed.into_iter().enumerate() {
            expression.names.insert(format!("#n{at}"), name.clone());
            expression.values.insert(format!(":v{at}"), value.clone());
            sets.push(format!("#n{at} = :v{at}"));
        }
        if sets.is_empty() {
            return None;
        }
        expression.update = format!("SET {}", sets.join(", "));
        expression.guard(guard);
        Some(expression)
    }

    fn guard(&mut self, guard: Guard<'_>) {
        let condition = match guard {
            Guard::Epoch(epoch) => self.epoch(epoch),
            Guard::Unsent(epoch) => {
                let unsent = format!(
                    "({sent} = {no} OR attribute_not_exists({sent}))",
                    sent = self.name("sent"),
                    no = self.value("no", AttributeValue::Bool(false)),
                );
                format!("{} AND {unsent}", self.epoch(epoch))
            }
            Guard::Free { holder, epoch, at } => {
                let lease = self.name("lease");
                let free = format!(
                    "(attribute_not_exists({lease}) OR attribute_type({lease}, {null}) OR {lease}.{until} <= {at} OR \
                     {held})",
                    null = self.value("null", text("NULL")),
                    until = self.name("until"),
                    at = self.value("at", AttributeValue::N(at.timestamp_millis().to_string())),
                    held = self.held(holder),
                );
                format!("{} AND {free}", self.epoch(epoch))
            }
            Guard::HeldBy(holder) => self.held(holder),
            Guard::HeldAt(holder, epoch) => {
                format!("{} AND {}", self.held(holder), self.epoch(epoch))
            }
            Guard::Failed => {
                let error = self.name("error");
                format!("attribute_type({error}, {})", self.value("text", text("S")))
            }
        };
        let pk = self.name("pk");
        self.condition = format!("attribute_exists({pk}) AND {condition}");
    }

    /// Returns the condition on the epoch. An item of an older version has no epoch, which counts as 0.
    fn epoch(&mut self, epoch: u64) -> String {
        let name = self.name("epoch");
        let value = self.value("epoch", AttributeValue::N(epoch.to_string()));
        if epoch == 0 {
            format!("({name} = {value} OR attribute_not_exists({name}))")
        } else {
            format!("{name} = {value}")
        }
    }

    fn held(&mut self, holder: &str) -> String {
        let (lease, of) = (self.name("lease"), self.name("holder"));
        format!("{lease}.{of} = {}", self.value("holder", text(holder)))
    }

    fn name(&mut self, name: &str) -> String {
        let placeholder = format!("#{name}");
        self.names.insert(placeholder.clone(), name.to_owned());
        placeholder
    }

    fn value(&mut self, name: &str, value: AttributeValue) -> String {
        let placeholder = format!(":{name}");
        self.values.insert(placeholder.clone(), value);
        placeholder
    }
}

impl Table {
    /// Stores a planned shard. No worker processes it before [`Self::start_job`] has chosen its plan.
    pub async fn put_shard(&self, job: &Job, plan_id: &str, shard: &Shard) -> Result<(), AwsError> {
        self.put(&shards_of(job, plan_id), &number(shard.index), shard)
            .await
    }

    /// Returns the shards of a job that has a plan, by their numbers. A shard precedes those that were split off from
    /// it. Otherwise a read during a split could miss the child shard, and the job could seem to be over.
    pub async fn shards(&self, job: &Job) -> Result<Vec<Shard>, AwsError> {
        match &job.plan_id {
            Some(plan_id) => self.all(&shards_of(job, plan_id)).await,
            None => Ok(Vec::new()),
        }
    }

    /// Returns one shard of a job.
    pub async fn shard(&self, job: &Job, index: u32) -> Result<Option<Shard>, AwsError> {
        match &job.plan_id {
            Some(plan_id) => self.get(&shards_of(job, plan_id), &number(index)).await,
            None => Ok(None),
        }
    }

    /// Writes the differences between `seen` and `next`, if `guard` holds. Returns whether it did so.
    pub async fn update_shard(
        &self,
        job: &Job,
        guard: Guard<'_>,
        seen: &Shard,
        next: &Shard,
    ) -> Result<bool, AwsError> {
        let Some(plan_id) = &job.plan_id else {
            return Ok(false);
        };
        let (pk, sk) = (shards_of(job, plan_id), number(seen.index));
        let (before, after) = (item(&pk, &sk, seen)?, item(&pk, &sk, next)?);
        let Some(expression) = Expression::of(guard, &before, &after) else {
            return Ok(true);
        };
        let written = self
            .client
            .update_item()
            .table_name(&self.name)
            .set_key(Some(key(&pk, &sk)))
            .update_expression(expression.update)
            .condition_expression(expression.condition)
            .set_expression_attribute_names(Some(expression.names.into_iter().collect()))
            .set_expression_attribute_values(Some(expression.values.into_iter().collect()))
            .send()
            .await;
        conditional(
            format!("writing shard {} of {}", seen.index, job.id),
            written,
        )
    }

    /// Updates a shard as [`Self::update_shard`] does, and stores the child shard in the same transaction. Returns
    /// whether it did so.
    pub async fn split_shard(
        &self,
        job: &Job,
        guard: Guard<'_>,
        seen: &Shard,
        kept: &Shard,
        child: &Shard,
    ) -> Result<bool, AwsError> {
        let Some(plan_id) = &job.plan_id else {
            return Ok(false);
        };
        let (pk, sk) = (shards_of(job, plan_id), number(seen.index));
        let doing = format!("splitting shard {} of {}", seen.index, job.id);
        let (before, after) = (item(&pk, &sk, seen)?, item(&pk, &sk, kept)?);
        let Some(expression) = Expression::of(guard, &before, &after) else {
            return Ok(false);
        };
        let kept = Update::builder()
            .table_name(&self.name)
            .set_key(Some(key(&pk, &sk)))
            .update_expression(expression.update)
            .condition_expression(expression.condition)
            .set_expression_attribute_names(Some(expression.names.into_iter().collect()))
            .set_expression_attribute_values(Some(expression.values.into_iter().collect()))
            .build()
            .map_err(|error| AwsError::unexpected(doing.clone(), error))?;
        let child = Put::builder()
            .table_name(&self.name)
            .set_item(Some(item(&pk, &number(child.index), child)?))
            .condition_expression("attribute_not_exists(pk)")
            .build()
            .map_err(|error| AwsError::unexpected(doing.clone(), error))?;
        let written = self
            .client
            .transact_write_items()
            .transact_items(TransactWriteItem::builder().update(kept).build())
            .transact_items(TransactWriteItem::builder().put(child).build())
            .send()
            .await;
        conditional(doing, written)
    }

    /// Removes the shards of a job.
    pub(crate) async fn remove_shards(&self, job: &Job) -> Result<(), AwsError> {
        match &job.plan_id {
            Some(plan_id) => self.remove_all(&shards_of(job, plan_id)).await,
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use tandem_replication::Timestamp;
    use tandem_replication::shard::ShardRange;

    use super::*;

    fn items() -> (Item, Item) {
        let range = ShardRange::of_prefix("k/");
        let shard = Shard::new(0, range, 1.0, Timestamp::UNIX_EPOCH, None);
        let raised = shard.raised("message", Timestamp::UNIX_EPOCH);
        let of = |shard: &Shard| item("pk", "sk", shard).unwrap();
        (of(&shard), of(&raised))
    }

    #[test]
    fn a_write_names_only_what_it_changes() {
        let (seen, next) = items();
        let expression = Expression::of(Guard::Epoch(0), &seen, &next).unwrap();
        let names: Vec<&str> = expression
            .names
            .iter()
            .filter(|(placeholder, _)| placeholder.starts_with("#n"))
            .map(|(_, name)| name.as_str())
            .collect();
        assert_eq!(names, ["epoch", "sent", "sent_by"]);
        assert_eq!(
            expression.condition,
            "attribute_exists(#pk) AND (#epoch = :epoch OR attribute_not_exists(#epoch))"
        );
        assert_eq!(Expression::of(Guard::Epoch(0), &seen, &seen), None);
    }

    #[test]
    fn every_guard_uses_all_its_names_and_values() {
        let (seen, next) = items();
        for guard in [
            Guard::Epoch(0),
            Guard::Epoch(3),
            Guard::Unsent(0),
            Guard::Free {
                holder: "me",
                epoch: 1,
                at: Timestamp::UNIX_EPOCH,
            },
            Guard::HeldBy("me"),
            Guard::HeldAt("me", 2),
            Guard::Failed,
        ] {
            let Expression {
                update,
                condition,
                names,
                values,
            } = Expression::of(guard, &seen, &next).unwrap();
            let used = format!("{update} {condition} ");
            for placeholder in names.keys().chain(values.keys()) {
                let is_used = used.split(placeholder.as_str()).skip(1).any(|rest| {
                    rest.chars()
                        .next()
                        .is_none_or(|c| !c.is_ascii_alphanumeric())
                });
                assert!(is_used, "{guard:?}: {placeholder} in {used}");
            }
        }
    }
}
