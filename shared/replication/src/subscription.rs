//! Which notifications a rule needs from its source bucket, and how they fit beside those that are
//! there already. No I/O.

use std::fmt;

use crate::key_filter::KeyFilter;
use crate::names::RuleId;
use crate::options::{AclChoice, Options};
use crate::rule::{Policy, Rule, Scope};

/// To which of our queues an entry sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// Objects that were put, copied or completed, restored from an archive, or tagged.
    Put,
    /// Objects that were deleted, or hidden by a delete marker.
    Delete,
}

impl Lane {
    /// Returns the event types of the lane that a rule of this policy and these options asks for, as a notification
    /// configuration names them.
    ///
    /// A rule of policy `write` asks for deletes of versions too. Deleting the current version by its id, or the
    /// delete marker that hides it, makes an older version the current one, and S3 sends no other event for that.
    /// A rule asks for them whether or not its source has versions, because that can change later.
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

    /// The lane's name, as the contract has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Delete => "delete",
        }
    }
}

/// One entry of a bucket's notification configuration: ours to write, or found there.
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
    /// Whether the entry sends every event of this type of every key that begins with `prefix`.
    fn sends_all(&self, event: &str, prefix: &KeyFilter) -> bool {
        let asks_for = |event: &str| self.events.iter().any(|sent| event_covers(sent, event));
        self.suffix.is_any()
            && !self.prefix.matches_nothing()
            && self.prefix.is_prefix_of(prefix)
            && (asks_for(event)
                || members(event).is_some_and(|all| all.iter().all(|e| asks_for(e))))
    }
}

/// The entries that `rule` needs, each with its lane.
///
/// The scope's prefixes go into the entries' own filters, so that S3 does not even send what the rule
/// does not cover.
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

/// How the names of all entries of a rule begin; no entry of anybody else does.
pub fn entry_id_start(rule: &RuleId) -> String {
    format!("tandem-{rule}-")
}

/// The rule for which an entry of this name was made, where it is one of ours.
pub fn rule_of_entry(id: &str) -> Option<RuleId> {
    let (rule, _) = id.strip_prefix("tandem-")?.rsplit_once('-')?;
    let (rule, _) = rule.rsplit_once('-')?;
    Some(RuleId::new(rule))
}

/// The filters for the scope's prefixes, without those that another one covers: a filter may be shorter than its
/// prefix ([`KeyFilter::of_prefix`]). The functions check the exact scope.
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

/// Returns what of `wanted` has to be attached, where the entries in `forwarded` send to topics that deliver to
/// Tandem's queues. Either queue takes every kind of event, so the lane does not matter.
pub fn not_forwarded(wanted: Vec<(Lane, Entry)>, forwarded: &[Entry]) -> Vec<(Lane, Entry)> {
    let mut left = wanted;
    for (_, entry) in &mut left {
        let Entry { events, prefix, .. } = entry;
        events.retain(|event| !forwarded.iter().any(|it| it.sends_all(event, prefix)));
    }
    left.retain(|(_, entry)| !entry.events.is_empty());
    left
}

/// The entry among `theirs` that S3 would not accept beside `ours`, if there is one, with where it sends to.
///
/// S3 refuses two entries that can both match one event: a common event type, and prefixes and
/// suffixes of which one contains the other.
pub fn conflict<'a, T>(ours: &[(Lane, Entry)], theirs: &'a [(T, Entry)]) -> Option<&'a (T, Entry)> {
    theirs
        .iter()
        .find(|(_, their)| ours.iter().any(|(_, our)| overlap(our, their)))
}

/// Events that a rule needs and that nothing sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// Where they should be sent to.
    pub lane: Lane,
    /// The events, as a notification configuration names them.
    pub event: String,
    /// Of keys that begin so.
    pub prefix: KeyFilter,
}

/// What the rule `wants` and the entries that were `found`, each with the lane it sends to, do not send. Their names
/// do not matter: another writer that rewrote the configuration and asks for the same has broken nothing.
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

/// Whether an entry of the event type `wide` sends every event of the type `narrow`.
fn event_covers(wide: &str, narrow: &str) -> bool {
    wide == narrow
        || wide
            .strip_suffix('*')
            .is_some_and(|start| narrow.starts_with(start))
}

/// The types that a type with a wildcard stands for, where a rule may need it: entries may list them instead.
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
mod tests {
    use super::*;
    use crate::Timestamp;
    use crate::names::{BucketName, Region};
    use crate::rule::{Bucket, RuleState};

    fn rule(scope: Scope, policy: Policy) -> Rule {
        let bucket = |name: &str| Bucket {
            name: BucketName::parse(name).unwrap(),
            region: Region::new("us-east-1"),
        };
        Rule {
            id: RuleId::new("rule-1"),
            source: bucket("source"),
            destination: bucket("replica"),
            scope,
            policy,
            options: Options::default(),
            historical: false,
            state: RuleState::Enabled,
            revision: 1,
            created_at: Timestamp::UNIX_EPOCH,
            updated_at: Timestamp::UNIX_EPOCH,
            paused_at: None,
        }
    }

    fn scope(prefixes: &[&str]) -> Scope {
        Scope::prefixes_of(prefixes.iter().map(|&p| p.to_owned()).collect()).unwrap()
    }

    fn their(events: &str, prefix: &str, suffix: &str) -> Entry {
        Entry {
            id: "theirs".into(),
            events: vec![events.into()],
            prefix: KeyFilter::read(prefix),
            suffix: KeyFilter::read(suffix),
        }
    }

    #[test]
    fn prefixes_are_pushed_down_into_the_entries() {
        let entries = entries(&rule(scope(&["logs/", "img/"]), Policy::Full));
        let told: Vec<_> = entries
            .iter()
            .map(|(lane, entry)| (*lane, entry.prefix.as_written()))
            .collect();
        let wanted = [
            (Lane::Put, "img/"),
            (Lane::Put, "logs/"),
            (Lane::Delete, "img/"),
            (Lane::Delete, "logs/"),
        ];
        assert_eq!(told, wanted);
    }

    // Promise: If the current version of a source object is deleted by its id, the version that becomes current
    // is carried over, under either policy.
    #[test]
    fn a_write_rule_asks_for_deletes_of_versions_and_not_for_delete_markers() {
        let entries = entries(&rule(Scope::All, Policy::Write));
        let lanes: Vec<Lane> = entries.iter().map(|(lane, _)| *lane).collect();
        assert_eq!(lanes, [Lane::Put, Lane::Delete]);
        assert_eq!(entries[1].1.events, ["s3:ObjectRemoved:Delete"]);
    }

    #[test]
    fn a_write_rule_from_before_it_asked_for_deletes_has_a_gap() {
        let wanted = entries(&rule(Scope::All, Policy::Write));
        let found: Vec<_> = wanted
            .iter()
            .filter(|(lane, _)| *lane == Lane::Put)
            .cloned()
            .collect();
        let gaps = gaps(&wanted, &found);
        assert_eq!(gaps.len(), 1);
        assert_eq!(
            gaps[0].to_string(),
            "s3:ObjectRemoved:Delete of any key is not sent to the delete queue"
        );
    }

    #[test]
    fn what_a_full_rule_asks_for_is_enough_for_a_write_rule_and_not_the_other_way_round() {
        let full = entries(&rule(Scope::All, Policy::Full));
        let write = entries(&rule(Scope::All, Policy::Write));
        assert_eq!(gaps(&write, &full), []);
        assert_eq!(gaps(&full, &write).len(), 1);
    }

    #[test]
    fn options_ask_for_more_and_fewer_events() {
        let options = Options {
            tags: false,
            acl: AclChoice::Keep,
            lifecycle_deletes: true,
            ..Options::default()
        };
        let put = [
            "s3:ObjectCreated:*",
            "s3:ObjectRestore:Completed",
            "s3:ObjectAcl:Put",
        ];
        assert_eq!(Lane::Put.events(Policy::Full, &options), put);
        assert_eq!(Lane::Put.events(Policy::Write, &options), put);
        let delete = ["s3:ObjectRemoved:*", "s3:LifecycleExpiration:*"];
        assert_eq!(Lane::Delete.events(Policy::Full, &options), delete);
        assert_eq!(
            Lane::Delete.events(Policy::Full, &Options::default()),
            ["s3:ObjectRemoved:*"]
        );
    }

    fn filters(prefixes: &[&str]) -> Vec<String> {
        let filters = filter_prefixes(&scope(prefixes)).into_iter();
        filters.map(|it| it.as_written().to_owned()).collect()
    }

    #[test]
    fn special_characters_are_encoded_and_shorten_no_filter() {
        assert_eq!(
            filters(&["a b/", "a c/", "x+y", "ü/"]),
            ["a+b/", "a+c/", "x%2By", "%C3%BC/"]
        );
    }

    #[test]
    fn filters_that_have_to_be_shortened_never_overlap() {
        assert_eq!(filters(&["a(1)/", "a(2)/", "b"]), ["a", "b"]);
        assert_eq!(filters(&["(1)/", "plain/"]), [""]);
        assert_eq!(filters(&["é", "z"]), ["z", "%C3%A9"]);
    }

    /// What a notification for `filter` and a rule for `prefix` have to do with each other.
    fn conflicts(prefix: &str, filter: &str, suffix: &str) -> bool {
        let ours = entries(&rule(scope(&[prefix]), Policy::Full));
        let theirs = [((), their("s3:ObjectCreated:*", filter, suffix))];
        conflict(&ours, &theirs).is_some()
    }

    // Promise: Filters are compared by the keys that they mean to S3: notifications for other keys are no conflict.
    #[test]
    fn filters_are_compared_by_the_keys_they_mean() {
        for (prefix, filter) in [
            ("snap/schemaVersion=2/", "snap/schemaVersion%3D1/"),
            ("snap/schemaVersion=2/", "snap/schemaVersion%3d1/"),
            ("dt=2026-11-28/hour=01/", "dt%3D2026-11-28/hour%3D02/"),
            ("red flower/", "red+tree/"),
            ("a+b/", "a+b/"),
            ("ü/", "%C3%A4/"),
            ("100%/", "100%2F/"),
        ] {
            assert!(!conflicts(prefix, filter, ""), "{prefix} and {filter}");
        }
        for (prefix, filter) in [
            ("snap/schemaVersion=1/", "snap/schemaVersion%3D1/"),
            ("snap/schemaVersion=1/", "snap/schemaVersion%3d"),
            ("red flower/", "red+flower/today/"),
            ("red flower/", "red%20flower/"),
            ("a+b/", "a%2Bb/"),
            ("ü/", "%C3"),
            ("x(1)/", "x(2)/"),
        ] {
            assert!(conflicts(prefix, filter, ""), "{prefix} and {filter}");
        }
        assert!(conflicts("a", "a", "%2Ejpg"));
    }

    // Promise: Events that a bucket sends to a topic in `NotificationTopics` are not attached a second time.
    #[test]
    fn what_a_topic_forwards_is_not_attached_again() {
        let wanted = || entries(&rule(scope(&["logs/", "img/"]), Policy::Full));
        let events_left = |forwarded: &[Entry]| {
            let left = not_forwarded(wanted(), forwarded).into_iter();
            left.map(|(_, entry)| (entry.prefix.to_string(), entry.events))
                .collect::<Vec<_>>()
        };
        assert_eq!(not_forwarded(wanted(), &[]), wanted());
        let all = [
            "s3:ObjectCreated:*",
            "s3:ObjectRestore:*",
            "s3:ObjectTagging:*",
            "s3:ObjectRemoved:*",
        ];
        let all = Entry {
            events: all.map(str::to_owned).into(),
            ..their("", "", "")
        };
        assert_eq!(events_left(std::slice::from_ref(&all)), []);
        // Only of one prefix; only some events.
        let logs = Entry {
            prefix: KeyFilter::read("logs/"),
            ..all.clone()
        };
        assert_eq!(events_left(&[logs]).len(), 2);
        let created = their("s3:ObjectCreated:*", "", "");
        let left = events_left(&[created]);
        assert_eq!(
            left[0].1,
            ["s3:ObjectRestore:Completed", "s3:ObjectTagging:*"]
        );
        assert_eq!(left.len(), 4);
        // A suffix, or a part of the keys or of the events, is not enough.
        for part in [
            their("s3:ObjectCreated:*", "", ".jpg"),
            their("s3:ObjectCreated:*", "logs/2026/", ""),
            their("s3:ObjectCreated:Put", "", ""),
        ] {
            assert_eq!(
                not_forwarded(wanted(), std::slice::from_ref(&part)),
                wanted()
            );
            assert!(conflict(&wanted(), &[((), part)]).is_some());
        }
    }

    #[test]
    fn all_types_of_a_family_are_the_family() {
        let listed = Entry {
            events: ["Put", "Post", "Copy", "CompleteMultipartUpload"]
                .map(|kind| format!("s3:ObjectCreated:{kind}"))
                .into(),
            ..their("", "", "")
        };
        let wanted = entries(&rule(Scope::All, Policy::Full));
        let left = not_forwarded(wanted.clone(), std::slice::from_ref(&listed));
        assert!(!left[0].1.events.contains(&"s3:ObjectCreated:*".to_owned()));
        let fewer = Entry {
            events: listed.events[1..].to_vec(),
            ..listed
        };
        assert_eq!(not_forwarded(wanted.clone(), &[fewer]), wanted);
    }

    #[test]
    fn a_filter_that_matches_nothing_leaves_a_gap() {
        let wanted = entries(&rule(scope(&["dt=1/"]), Policy::Full));
        assert_eq!(gaps(&wanted, &wanted), []);
        let plain = |(lane, entry): &(Lane, Entry)| {
            let prefix = KeyFilter::read("dt=1/");
            (
                *lane,
                Entry {
                    prefix,
                    ..entry.clone()
                },
            )
        };
        let rewritten: Vec<_> = wanted.iter().map(plain).collect();
        assert_eq!(gaps(&wanted, &rewritten).len(), 4);
    }

    #[test]
    fn an_entrys_name_tells_its_rule() {
        for (_, entry) in entries(&rule(scope(&["a", "b"]), Policy::Full)) {
            assert_eq!(rule_of_entry(&entry.id), Some(RuleId::new("rule-1")));
        }
        assert_eq!(rule_of_entry("someone-elses"), None);
        assert_eq!(rule_of_entry("tandem-x"), None);
    }

    #[test]
    fn overlapping_entries_of_others_are_found() {
        let ours = entries(&rule(scope(&["logs/"]), Policy::Full));
        for clash in [
            their("s3:ObjectCreated:*", "", ""),
            their("s3:ObjectCreated:Put", "logs/2026/", ""),
            their("s3:ObjectRemoved:Delete", "lo", ".gz"),
            their("s3:ObjectTagging:Put", "logs/", ""),
        ] {
            assert!(
                conflict(&ours, &[((), clash.clone())]).is_some(),
                "{clash:?}"
            );
        }
        for fits in [
            their("s3:ObjectCreated:*", "img/", ""),
            their("s3:ObjectRestore:Post", "", ""),
            their("s3:ObjectAcl:Put", "logs/", ""),
        ] {
            assert!(conflict(&ours, &[((), fits.clone())]).is_none(), "{fits:?}");
        }
    }
    #[test]
    fn what_nothing_sends_is_a_gap() {
        let wanted = entries(&rule(scope(&["logs/"]), Policy::Full));
        assert_eq!(gaps(&wanted, &wanted), []);
        let told = |found: &[(Lane, Entry)]| {
            let gaps = gaps(&wanted, found);
            gaps.iter().map(Gap::to_string).collect::<Vec<_>>()
        };
        assert_eq!(told(&[]).len(), 4);
        let only_puts: Vec<_> = wanted
            .iter()
            .filter(|(lane, _)| *lane == Lane::Put)
            .cloned()
            .collect();
        assert_eq!(
            told(&only_puts),
            [
                "s3:ObjectRemoved:* of keys that begin with \"logs/\" is not sent to the delete queue"
            ]
        );
    }

    #[test]
    fn entries_of_any_name_that_send_as_much_leave_no_gap() {
        let wanted: Vec<_> = entries(&rule(scope(&["logs/"]), Policy::Write))
            .into_iter()
            .filter(|(lane, _)| *lane == Lane::Put)
            .collect();
        let sends = |prefix: &str, suffix: &str| their("s3:*", prefix, suffix);
        for (lane, entry, leaves_gaps) in [
            (Lane::Put, sends("", ""), false),
            (Lane::Put, sends("lo", ""), false),
            (Lane::Put, sends("logs/2026/", ""), true),
            (Lane::Put, sends("", ".gz"), true),
            (Lane::Delete, sends("", ""), true),
        ] {
            let found = [(lane, entry)];
            assert_eq!(!gaps(&wanted, &found).is_empty(), leaves_gaps, "{found:?}");
        }
    }
}
