//! Which notifications a rule needs from its source bucket, and how they fit beside those that are
//! there already. No I/O.

use std::fmt;

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
    /// Keys have to begin so; empty for every key.
    pub prefix: String,
    /// Keys have to end so; empty for every key.
    pub suffix: String,
}

/// The entries that `rule` needs, each with its lane.
///
/// The scope's prefixes go into the entries' own filters, so that S3 does not even send what the rule
/// does not cover.
pub fn entries(rule: &Rule) -> Vec<(Lane, Entry)> {
    let prefixes = filter_prefixes(&rule.scope);
    let entry = |lane: Lane, at: usize, prefix: &String| {
        let entry = Entry {
            id: format!("{}{}-{at}", entry_id_start(&rule.id), lane.as_str()),
            events: lane
                .events(rule.policy, &rule.options)
                .into_iter()
                .map(str::to_owned)
                .collect(),
            prefix: prefix.clone(),
            suffix: String::new(),
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

/// The prefixes that S3 can filter by: the scope's, each cut before its first special character,
/// without those that another one then covers.
///
/// S3 wants special characters in a filter percent-encoded, and servers differ in how they compare; a
/// shorter filter only lets more through, and the functions check the exact scope.
/// Source: S3 user guide, "Configuring event notifications using object key name filtering".
fn filter_prefixes(scope: &Scope) -> Vec<String> {
    let Scope::Prefixes(prefixes) = scope else {
        return vec![String::new()];
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || "/-_.".contains(c);
    let mut cut: Vec<String> = prefixes
        .iter()
        .map(|prefix| prefix.chars().take_while(|&c| plain(c)).collect())
        .collect();
    cut.sort();
    let mut kept: Vec<String> = Vec::new();
    for prefix in cut {
        if !kept
            .last()
            .is_some_and(|shorter| prefix.starts_with(shorter.as_str()))
        {
            kept.push(prefix);
        }
    }
    kept
}

/// The entry among `theirs` that S3 would not accept beside `ours`, if there is one.
///
/// S3 refuses two entries that can both match one event: a common event type, and prefixes and
/// suffixes of which one contains the other.
pub fn conflict<'a>(ours: &[(Lane, Entry)], theirs: &'a [Entry]) -> Option<&'a Entry> {
    theirs
        .iter()
        .find(|their| ours.iter().any(|(_, our)| overlap(our, their)))
}

/// Events that a rule needs and that nothing sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// Where they should be sent to.
    pub lane: Lane,
    /// The events, as a notification configuration names them.
    pub event: String,
    /// Of keys that begin so; empty for every key.
    pub prefix: String,
}

/// What the rule `wants` and the entries that were `found`, each with the lane it sends to, do not send. Their names
/// do not matter: who rewrote the configuration and asks for the same has broken nothing.
pub fn gaps(wants: &[(Lane, Entry)], found: &[(Lane, Entry)]) -> Vec<Gap> {
    let sent = |lane: Lane, event: &str, prefix: &str| {
        found.iter().any(|(to, entry)| {
            *to == lane
                && entry.suffix.is_empty()
                && prefix.starts_with(&entry.prefix)
                && entry.events.iter().any(|sent| event_covers(sent, event))
        })
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
        match self.prefix.as_str() {
            "" => write!(f, "any key")?,
            prefix => write!(f, "keys that begin with {prefix:?}")?,
        }
        write!(f, " is not sent to the {} queue", self.lane.as_str())
    }
}

fn overlap(a: &Entry, b: &Entry) -> bool {
    let one_contains_other = |a: &str, b: &str| a.starts_with(b) || b.starts_with(a);
    let reversed = |text: &str| text.chars().rev().collect::<String>();
    a.events
        .iter()
        .any(|x| b.events.iter().any(|y| events_overlap(x, y)))
        && one_contains_other(&a.prefix, &b.prefix)
        && one_contains_other(&reversed(&a.suffix), &reversed(&b.suffix))
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
            prefix: prefix.into(),
            suffix: suffix.into(),
        }
    }

    #[test]
    fn prefixes_are_pushed_down_into_the_entries() {
        let entries = entries(&rule(scope(&["logs/", "img/"]), Policy::Full));
        let told: Vec<_> = entries
            .iter()
            .map(|(lane, entry)| (*lane, entry.prefix.as_str()))
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

    #[test]
    fn special_characters_shorten_a_filter_and_never_make_two_overlap() {
        assert_eq!(
            filter_prefixes(&scope(&["a b/", "a c/", "x+y"])),
            ["a", "x"]
        );
        assert_eq!(filter_prefixes(&scope(&["ü/", "plain/"])), [""]);
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
                conflict(&ours, std::slice::from_ref(&clash)).is_some(),
                "{clash:?}"
            );
        }
        for fits in [
            their("s3:ObjectCreated:*", "img/", ""),
            their("s3:ObjectRestore:Post", "", ""),
            their("s3:ObjectAcl:Put", "logs/", ""),
        ] {
            assert!(
                conflict(&ours, std::slice::from_ref(&fits)).is_none(),
                "{fits:?}"
            );
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
        let sends = |prefix: &str, suffix: &str| Entry {
            prefix: prefix.to_owned(),
            suffix: suffix.to_owned(),
            ..their("s3:*", "", "")
        };
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
