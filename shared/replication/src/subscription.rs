//! The notifications that a rule needs from its source bucket, and how they fit with those that exist already. No I/O.

use std::fmt;

use crate::key_filter::KeyFilter;
use crate::names::RuleId;
use crate::options::{AclChoice, Options};
use crate::rule::{Policy, Rule, Scope};

/// The queue of Tandem that an entry sends to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// Objects that were put, copied or completed, restored from an archive, or tagged.
    Put,
    /// Objects that were deleted, or hidden by a delete marker.
    Delete,
}

impl Lane {
    /// Returns the event types that a rule with this policy and these options needs in this queue, under the names of
    /// notification configurations.
    ///
    /// A rule with policy `write` asks for deletes of versions too. Deleting the current version by its id, or the
    /// delete marker that hides it, makes an older version the current one, and S3 sends no other event for that.
    /// A rule asks for these events whether or not its source has versions, because that can change later.
    ///
    /// Source: S3 user guide, "Event notification types and destinations".
    pub fn events(self, policy: Policy, options: &Options) -> Vec<&'static str> {
        let mut events = Vec::new();
        match self {
            Self::Put => {
                events.extend(["s3:ObjectCreated:*", "s3:ObjectRestore:Completed"]);
                if options.tags {
                    events.push("s3:ObjectTagging:*");
                }
                if options.acl == AclChoice::Keep {
                    events.push("s3:ObjectAcl:Put");
                }
            }
            Self::Delete if policy == Policy::Write => events.push("s3:ObjectRemoved:Delete"),
            Self::Delete => {
                events.push("s3:ObjectRemoved:*");
                if options.lifecycle_deletes {
                    events.push("s3:LifecycleExpiration:*");
                }
            }
        }
        events
    }

    /// Returns the queue's name, as the contract has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Delete => "delete",
        }
    }
}

/// One entry of a bucket's notification configuration: one that Tandem will write, or one that was found there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The entry's name.
    pub id: String,
    /// The event types it asks for.
    pub events: Vec<String>,
    /// How keys have to begin.
    pub prefix: KeyFilter,
    /// How keys have to end.
    pub suffix: KeyFilter,
}

impl Entry {
    /// Returns whether the entry sends every event of this type of every key that begins with `prefix`.
    fn sends_all(&self, event: &str, prefix: &KeyFilter) -> bool {
        let asks_for = |event: &str| self.events.iter().any(|sent| event_covers(sent, event));
        self.suffix.is_any()
            && !self.prefix.matches_nothing()
            && self.prefix.is_prefix_of(prefix)
            && (asks_for(event)
                || members(event).is_some_and(|all| all.iter().all(|e| asks_for(e))))
    }
}

/// Returns the entries that `rule` needs, each with its queue.
///
/// The entries filter by the scope's prefixes, so that S3 does not even send events that the rule does not cover.
pub fn entries(rule: &Rule) -> Vec<(Lane, Entry)> {
    let prefixes = filter_prefixes(&rule.scope);
    let entry = |lane: Lane, at: usize, prefix: &KeyFilter| {
        let entry = Entry {
            id: format!("{}{}-{at}", entry_id_start(&rule.id), lane.as_str()),
            events: lane
                .events(rule.policy, &rule.options)
                .into_iter()
                .map(str::to_owned)
                .collect(),
            prefix: prefix.clone(),
            suffix: KeyFilter::default(),
        };
        (lane, entry)
    };
    [Lane::Put, Lane::Delete]
        .into_iter()
        .flat_map(|lane| {
            prefixes
                .iter()
                .enumerate()
                .map(move |(at, prefix)| entry(lane, at, prefix))
        })
        .collect()
}

/// Returns the prefix of the names of all entries of a rule. No other user's entry has it.
pub fn entry_id_start(rule: &RuleId) -> String {
    format!("tandem-{rule}-")
}

/// Returns the rule for which the entry with this name was made, if it is an entry of Tandem.
pub fn rule_of_entry(id: &str) -> Option<RuleId> {
    let (rule, _) = id.strip_prefix("tandem-")?.rsplit_once('-')?;
    let (rule, _) = rule.rsplit_once('-')?;
    Some(RuleId::new(rule))
}

/// Returns the filters for the scope's prefixes, without those that another one covers: a filter may be shorter than
/// its prefix ([`KeyFilter::of_prefix`]). The functions check the exact scope.
fn filter_prefixes(scope: &Scope) -> Vec<KeyFilter> {
    let Scope::Prefixes(prefixes) = scope else {
        return vec![KeyFilter::default()];
    };
    let mut filters: Vec<KeyFilter> = prefixes.iter().map(|it| KeyFilter::of_prefix(it)).collect();
    filters.sort_by_key(KeyFilter::bytes);
    let mut kept: Vec<KeyFilter> = Vec::new();
    for filter in filters {
        if !kept.last().is_some_and(|last| last.is_prefix_of(&filter)) {
            kept.push(filter);
        }
    }
    kept
}

/// Returns the part of `wanted` that has to be attached. The entries in `forwarded` send to topics that deliver to
/// Tandem's queues. Either queue accepts every kind of event, so it does not matter which one.
pub fn not_forwarded(wanted: Vec<(Lane, Entry)>, forwarded: &[Entry]) -> Vec<(Lane, Entry)> {
    let mut left = wanted;
    for (_, entry) in &mut left {
        let Entry { events, prefix, .. } = entry;
        events.retain(|event| !forwarded.iter().any(|it| it.sends_all(event, prefix)));
    }
    left.retain(|(_, entry)| !entry.events.is_empty());
    left
}

/// Returns the entry among `theirs` that S3 would not accept beside `ours`, if there is one, with its destination.
///
/// S3 refuses two entries that can both match one event: they have a common event type, and of their prefixes and
/// suffixes one contains the other.
pub fn conflict<'a, T>(ours: &[(Lane, Entry)], theirs: &'a [(T, Entry)]) -> Option<&'a (T, Entry)> {
    theirs
        .iter()
        .find(|(_, their)| ours.iter().any(|(_, our)| overlap(our, their)))
}

/// Events that a rule needs and that no entry sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// The queue that they should be sent to.
    pub lane: Lane,
    /// The events, as a notification configuration names them.
    pub event: String,
    /// The prefix of their keys.
    pub prefix: KeyFilter,
}

/// Returns what the rule `wants` and the entries that were `found`, each with its queue, do not send. The names of
/// entries do not matter: if another writer rewrote the configuration and asks for the same events, nothing is broken.
pub fn gaps(wants: &[(Lane, Entry)], found: &[(Lane, Entry)]) -> Vec<Gap> {
    let sent = |lane: Lane, event: &str, prefix: &KeyFilter| {
        found
            .iter()
            .any(|(to, entry)| *to == lane && entry.sends_all(event, prefix))
    };
    let wanted = wants.iter().flat_map(|(lane, entry)| {
        entry.events.iter().map(|event| Gap {
            lane: *lane,
            event: event.clone(),
            prefix: entry.prefix.clone(),
        })
    });
    wanted
        .filter(|gap| !sent(gap.lane, &gap.event, &gap.prefix))
        .collect()
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of ", self.event)?;
        if self.prefix.is_any() {
            write!(f, "any key")?;
        } else {
            write!(f, "keys that begin with {:?}", self.prefix.to_string())?;
        }
        write!(f, " is not sent to the {} queue", self.lane.as_str())
    }
}

fn overlap(a: &Entry, b: &Entry) -> bool {
    a.events
        .iter()
        .any(|x| b.events.iter().any(|y| events_overlap(x, y)))
        && a.prefix.shares_prefix_with(&b.prefix)
        && a.suffix.shares_suffix_with(&b.suffix)
}

fn events_overlap(a: &str, b: &str) -> bool {
    event_covers(a, b) || event_covers(b, a)
}

/// Returns whether an entry of the event type `wide` sends every event of the type `narrow`.
fn event_covers(wide: &str, narrow: &str) -> bool {
    wide == narrow
        || wide
            .strip_suffix('*')
            .is_some_and(|start| narrow.starts_with(start))
}

/// Returns the types that a type with a wildcard stands for, if a rule may need it: entries may list them instead.
///
/// Source: S3 user guide, "Event notification types and destinations".
fn members(event: &str) -> Option<&'static [&'static str]> {
    match event {
        "s3:ObjectCreated:*" => Some(&[
            "s3:ObjectCreated:Put",
            "s3:ObjectCreated:Post",
            "s3:ObjectCreated:Copy",
            "s3:ObjectCreated:CompleteMultipartUpload",
        ]),
        "s3:ObjectRemoved:*" => Some(&[
            "s3:ObjectRemoved:Delete",
            "s3:ObjectRemoved:DeleteMarkerCreated",
        ]),
        "s3:ObjectTagging:*" => Some(&["s3:ObjectTagging:Put", "s3:ObjectTagging:Delete"]),
        "s3:LifecycleExpiration:*" => Some(&[
            "s3:LifecycleExpiration:Delete",
            "s3:LifecycleExpiration:DeleteMarkerCreated",
        ]),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
