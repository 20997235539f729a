//! Violations of a run, at any moment or at its end.

use tandem_replication::shard_session::Gate;

use super::super::pages::KEYS;
use super::super::world::{FOREIGN, Object};
use super::{Change, RECEIVES_MAX, Run};

impl Run<'_> {
    /// The violation of an invariant that holds at any moment, if there is one.
    pub fn violated(&self) -> Option<String> {
        let world = self.world.lock().unwrap();
        if world.is_complete() && !world.copying.is_empty() {
            return Some(format!(
                "the job is complete while {:?} is in flight",
                world.copying
            ));
        }
        let worn_out = world
            .messages
            .iter()
            .find(|message| message.receives > RECEIVES_MAX);
        worn_out.map(|message| format!("{message:?} is never acknowledged"))
    }

    /// The violation when nothing more can happen, if there is one.
    pub fn wrong(&self) -> Option<String> {
        let world = self.world.lock().unwrap();
        let shown = |object: &Object| (object.etag, object.metadata);
        let runs = world.gate == Gate::Open;
        for key in KEYS {
            let source = world.source.get(key).map(shown);
            let replica = world.replica.get(key).map(shown);
            let put_foreign = self.scenario.changes.contains(&Change::Foreign(key));
            let foreign = put_foreign && replica.is_some_and(|(etag, _)| etag == FOREIGN);
            let right = match (source, replica) {
                (None, Some(_)) => foreign,
                (None, None) => !put_foreign || world.excused.contains(key),
                // A stopped job copies nothing more.
                (Some(_), None) => !runs,
                (Some(source), Some(replica)) => source == replica,
            };
            if !right {
                return Some(format!(
                    "{key}: the source holds {source:?}, the replica {replica:?}"
                ));
            }
        }
        if runs && !world.is_complete() {
            return Some(format!("the job is not complete: {:#?}", world.shards));
        }
        if world.shards.values().any(|shard| shard.in_flight.is_some()) {
            return Some("a page stays recorded as in flight for ever".to_owned());
        }
        let counts = world.counts();
        let changes_source =
            |change: &Change| matches!(change, Change::Put(..) | Change::Delete(_));
        let expected = self.scenario.keys.len() as u64;
        let quiet = !self.scenario.changes.iter().any(changes_source);
        if !counts.add_up() || (quiet && runs && counts.listed != expected) {
            return Some(format!("the counts are wrong: {counts:?}"));
        }
        None
    }
}
