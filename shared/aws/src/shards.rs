//! The shards of jobs, in the table. Every step of a shard is one conditional write, so that a message that
//! comes twice, or a worker that dies, counts nothing twice; and a shard gives part of itself away in one
//! transaction, so that no key belongs to two shards or to none.

use aws_sdk_dynamodb::types::{AttributeValue, Put, TransactWriteItem};
use tandem_replication::Timestamp;
use tandem_replication::shard::Hint;

use crate::AwsError;
use crate::jobs::Job;
use crate::shard::{Shard, Step};
use crate::table::{Table, conditional, item, key, text};

fn shards_of(job: &Job, plan_id: &str) -> String {
    format!("shard#{}#{plan_id}", job.id)
}

fn number(index: u32) -> String {
    format!("{index:06}")
}

/// That the shard is still where it was seen.
const UNMOVED: &str = "pages = :pages AND (splits = :splits OR attribute_not_exists(splits)) \
                       AND attribute_type(ended_at, :null)";

fn as_seen(shard: &Shard) -> [(&'static str, AttributeValue); 3] {
    [
        (":pages", AttributeValue::N(shard.pages.to_string())),
        (":splits", AttributeValue::N(shard.splits.to_string())),
        (":null", text("NULL")),
    ]
}

impl Table {
    /// Stores a planned shard. Nothing works on it before [`Self::start_job`] has chosen its plan.
    pub async fn put_shard(&self, job: &Job, plan_id: &str, shard: &Shard) -> Result<(), AwsError> {
        self.put(&shards_of(job, plan_id), &number(shard.index), shard)
            .await
    }

    /// The shards of a job that has a plan, by their numbers. A shard is seen before those that it gave away
    /// parts to, so that a job never seems to be over while one is.
    pub async fn shards(&self, job: &Job) -> Result<Vec<Shard>, AwsError> {
        match &job.plan_id {
            Some(plan_id) => self.all(&shards_of(job, plan_id)).await,
            None => Ok(Vec::new()),
        }
    }

    /// One shard of a job.
    pub async fn shard(&self, job: &Job, index: u32) -> Result<Option<Shard>, AwsError> {
        match &job.plan_id {
            Some(plan_id) => self.get(&shards_of(job, plan_id), &number(index)).await,
            None => Ok(None),
        }
    }

    /// Accounts for one page: the counts and the checkpoint move in one write, if the shard is still
    /// where `shard` says. Answers the shard as it is then; `None` if another worker was faster.
    pub async fn step_shard(
        &self,
        job: &Job,
        shard: &Shard,
        step: &Step,
        at: Timestamp,
    ) -> Result<Option<Shard>, AwsError> {
        let next = shard.after(step, at);
        Ok(self.move_shard(job, shard, &next).await?.then_some(next))
    }

    /// Keeps what a search for a place to cut has cost and found out, if the shard is still there.
    pub async fn note_search(
        &self,
        job: &Job,
        shard: &Shard,
        probes: u64,
        hint: Hint,
    ) -> Result<Option<Shard>, AwsError> {
        let next = Shard {
            probes: shard.probes + probes,
            known: hint.known,
            empty_above: hint.empty_above,
            ..shard.clone()
        };
        Ok(self.move_shard(job, shard, &next).await?.then_some(next))
    }

    /// Writes what a shard has become, if it is still where `seen` says. Answers whether it was.
    async fn move_shard(&self, job: &Job, seen: &Shard, next: &Shard) -> Result<bool, AwsError> {
        let Some(plan_id) = &job.plan_id else {
            return Ok(false);
        };
        let (pk, sk) = (shards_of(job, plan_id), number(seen.index));
        let mut write = self
            .client
            .put_item()
            .table_name(&self.name)
            .set_item(Some(item(&pk, &sk, next)?))
            .condition_expression(UNMOVED);
        for (name, value) in as_seen(seen) {
            write = write.expression_attribute_values(name, value);
        }
        let doing = format!("writing shard {} of {}", seen.index, job.id);
        conditional(doing, write.send().await)
    }

    /// Lets a shard give part of itself away: both shards are written, or neither, and only if the shard is
    /// still where `seen` says. Answers whether it was.
    pub async fn split_shard(
        &self,
        job: &Job,
        seen: &Shard,
        kept: &Shard,
        given: &Shard,
    ) -> Result<bool, AwsError> {
        let Some(plan_id) = &job.plan_id else {
            return Ok(false);
        };
        let pk = shards_of(job, plan_id);
        let doing = format!("splitting shard {} of {}", seen.index, job.id);
        let put = |shard: &Shard| -> Result<_, AwsError> {
            Ok(Put::builder().table_name(&self.name).set_item(Some(item(
                &pk,
                &number(shard.index),
                shard,
            )?)))
        };
        let mut kept = put(kept)?.condition_expression(UNMOVED);
        for (name, value) in as_seen(seen) {
            kept = kept.expression_attribute_values(name, value);
        }
        let given = put(given)?.condition_expression("attribute_not_exists(pk)");
        let written = [kept, given]
            .into_iter()
            .map(|put| {
                let put = put
                    .build()
                    .map_err(|error| AwsError::unexpected(doing.clone(), error))?;
                Ok(TransactWriteItem::builder().put(put).build())
            })
            .collect::<Result<Vec<_>, AwsError>>()?;
        let written = self
            .client
            .transact_write_items()
            .set_transact_items(Some(written))
            .send()
            .await;
        conditional(doing, written)
    }

    /// Notes that a shard has a message.
    pub async fn mark_shard_sent(&self, job: &Job, index: u32) -> Result<(), AwsError> {
        let Some(plan_id) = &job.plan_id else {
            return Ok(());
        };
        let written = self
            .client
            .update_item()
            .table_name(&self.name)
            .set_key(Some(key(&shards_of(job, plan_id), &number(index))))
            .update_expression("SET sent = :yes")
            .condition_expression("attribute_exists(pk)")
            .expression_attribute_values(":yes", AttributeValue::Bool(true))
            .send()
            .await;
        conditional(format!("marking shard {index} of {}", job.id), written).map(|_| ())
    }

    /// Lets a shard that ended before its end go on from where it was.
    pub async fn reopen_shard(
        &self,
        job: &Job,
        shard: &Shard,
        at: Timestamp,
    ) -> Result<(), AwsError> {
        let Some(plan_id) = &job.plan_id else {
            return Ok(());
        };
        let open = Shard {
            ended_at: None,
            error: None,
            sent: false,
            progressed_at: Some(at),
            ..shard.clone()
        };
        let written = self
            .client
            .put_item()
            .table_name(&self.name)
            .set_item(Some(item(
                &shards_of(job, plan_id),
                &number(shard.index),
                &open,
            )?))
            .condition_expression("attribute_type(#error, :text)")
            .expression_attribute_names("#error", "error")
            .expression_attribute_values(":text", text("S"))
            .send()
            .await;
        let doing = format!("reopening shard {} of {}", shard.index, job.id);
        conditional(doing, written).map(|_| ())
    }

    /// Forgets the shards of a job.
    pub(crate) async fn remove_shards(&self, job: &Job) -> Result<(), AwsError> {
        match &job.plan_id {
            Some(plan_id) => self.remove_all(&shards_of(job, plan_id)).await,
            None => Ok(()),
        }
    }
}
