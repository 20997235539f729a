//! Recovery after a worker's death: verifies the keys of its in-flight pages in full. It counts nothing.

use tandem_aws::AwsError;
use tandem_replication::decide::KeepReason;
use tandem_replication::names::ObjectKey;
use tandem_replication::progress::{Counts, JobKind};
use tandem_replication::replicator::Outcome;
use tandem_replication::shard_session::{Recovered, SessionError};
use tokio::sync::{Mutex, OnceCell};

use crate::dispatch::PAGE_TIME;
use crate::listing_page::Listings;
use crate::manifest_lines::Lines;
use crate::manifest_page::{RECORDS, Todo, read};
use crate::page_object::PageContext;

impl PageContext<'_> {
    /// Verifies the keys of a listed shard that were in flight when a worker died.
    pub(crate) async fn recover_listed(
        &self,
        is_website: &OnceCell<bool>,
    ) -> Result<Recovered, SessionError<AwsError>> {
        let mut range = self.pair.session.shard().await.rest();
        let last = self.suspects.as_ref().map(|page| page.last.clone());
        range.until = match (range.until, last) {
            (Some(until), Some(last)) => Some(until.min(last)),
            (until, last) => until.or(last),
        };
        loop {
            let Listings { plan, seen } = self.list(&range).await?;
            let tasks = plan.recovery_tasks();
            let total = tasks.len();
            let begun = self.begin_all(tasks, None, is_website).await?;
            let whole = begun.len() == total;
            self.conclude_all(begun, &seen).await?;
            if whole && plan.complete {
                return Ok(Recovered::All);
            }
            if !whole || self.deadline.left() < PAGE_TIME {
                return Ok(Recovered::Part);
            }
            range.after.clone_from(&plan.until);
        }
    }

    /// Verifies the keys of a manifest's shard that were in flight when a worker died.
    pub(crate) async fn recover_manifest(
        &self,
        kept: &Mutex<Option<Lines>>,
    ) -> Result<Recovered, SessionError<AwsError>> {
        let shard = self.pair.session.shard().await;
        let (Some(part), Some(suspects)) = (&shard.manifest, &self.suspects) else {
            return Ok(Recovered::All);
        };
        let until = suspects.last.parse().ok();
        let mut lines = self.lines_at_checkpoint(&shard, part, kept).await?;
        loop {
            let (records, ended) = read(&mut lines, RECORDS, until).await?;
            let mut keys = Vec::new();
            for record in &records {
                match self.todo(record, &lines).await? {
                    Todo::Key(named) if self.is_suspect(&named.key) => keys.push(named),
                    Todo::Key(_) | Todo::Counted(_) => {}
                }
            }
            let found = self.looked_up(keys).await?;
            self.reconcile_all(found).await?;
            if ended {
                return Ok(Recovered::All);
            }
            if self.deadline.left() < PAGE_TIME {
                return Ok(Recovered::Part);
            }
        }
    }

    /// Reconciles a key that only the destination has and that a dead worker may have written. An object of another
    /// writer stays, unless a repair deletes it as an extra.
    pub(crate) async fn recover_leftover(&self, key: &ObjectKey) -> Result<Counts, AwsError> {
        let seen = self.seen_failure(key).await?;
        let ended = self.replicator(key).reconcile(key).await;
        let ended = self.beyond(key, ended).await;
        let is_extra = matches!(ended, Ok(Outcome::Kept(KeepReason::OtherWriter)));
        if is_extra && self.job.spec.kind == JobKind::Repair {
            return self.delete_extra(key).await;
        }
        // A failure is recorded as usual. The key is not counted, because the source's listing does not have it.
        self.conclude(key, None, seen, ended).await?;
        Ok(Counts::default())
    }
}
