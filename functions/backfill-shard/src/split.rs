//! Splits off part of a listed shard that proves to be large, so that another worker can process it.

use tandem_replication::page_plan::PagePlan;
use tandem_replication::shard::{CutSearch, probes_allowed};
use tandem_replication::shard_session::ShardPorts;

use crate::page_object::PageContext;
use crate::shard_loop::{Done, ShardPages};

impl ShardPages<'_> {
    /// Splits off part of the rest of the shard, if the rest is large and the job's concurrency allows another worker.
    pub(crate) async fn split_off(&self, context: &PageContext<'_>, plan: &PagePlan) -> Done<()> {
        let session = context.pair.session;
        let shard = session.shard().await;
        let keys = &plan.source.objects;
        let (Some(first), Some(last), false) = (keys.first(), keys.last(), plan.source.last) else {
            return Ok(());
        };
        let copies = shard.counts.copied + context.copies_in(plan);
        let Some(probes_max) = probes_allowed(copies, 2 * (shard.pages + 1), shard.probes) else {
            return Ok(());
        };
        let shards = self.shards.shards().await?;
        let open = shards.iter().filter(|shard| !shard.has_ended());
        if open.count() >= self.shards.concurrency() {
            return Ok(());
        }
        let (first, last) = (&first.key, &last.key);
        let mut search = CutSearch::new(shard.rest(), first, last, shard.hint(), probes_max);
        let mut probes = 0;
        while let Some(range) = search.next_probe() {
            probes += 1;
            search.saw(context.pair.s3.first_key(&range).await?);
        }
        match search.end() {
            (None, hint) => session.note_search(probes, hint).await,
            (Some(cut), hint) => session.split(&cut, hint, probes).await,
        }
    }
}
