//! The event patterns of the EventBridge rules that serve a rule of Tandem. No I/O.

use serde_json::{Value, json};

use crate::names::KEY_BYTES_MAX;
use crate::options::{AclChoice, Options};
use crate::rule::{Policy, Rule, Scope};
use crate::subscription::Lane;

/// EventBridge's limit on the length of a pattern, in characters (EventBridge user guide, "Amazon EventBridge quotas":
/// "Event pattern size"). This module counts bytes, which are never fewer.
pub const PATTERN_CHARS_MAX: usize = 2_048;

/// The reason that S3 names for a delete by a lifecycle rule (S3 user guide, "EventBridge event message structure").
pub const LIFECYCLE_EXPIRATION: &str = "Lifecycle Expiration";

impl Lane {
    /// Returns the types of S3's events that a rule with these options needs in this queue, under EventBridge's names.
    /// They are those of [`Lane::events`].
    ///
    /// Source: S3 user guide, "Using EventBridge".
    fn detail_types(self, options: &Options) -> Vec<&'static str> {
        match self {
            Self::Put => {
                let mut types = vec!["Object Created", "Object Restore Completed"];
                if options.tags {
                    types.extend(["Object Tags Added", "Object Tags Deleted"]);
                }
                if options.acl == AclChoice::Keep {
                    types.push("Object ACL Updated");
                }
                types
            }
            Self::Delete => vec!["Object Deleted"],
        }
    }
}

/// Returns the pattern of the EventBridge rule that sends the source's events to one queue.
///
/// EventBridge compares keys as they are, without an encoding. If the scope's prefixes make the pattern too long, each
/// prefix is cut to as many bytes as fit, down to none. A shorter prefix only lets more events through, and the
/// functions check the exact scope.
pub fn pattern(rule: &Rule, lane: Lane) -> String {
    let fits = |pattern: &String| pattern.len() <= PATTERN_CHARS_MAX;
    let whole = pattern_with(rule, lane, KEY_BYTES_MAX);
    if fits(&whole) {
        return whole;
    }
    (1..KEY_BYTES_MAX)
        .rev()
        .map(|bytes| pattern_with(rule, lane, bytes))
        .find(fits)
        .unwrap_or_else(|| pattern_with(rule, lane, 0))
}

/// Returns the pattern with prefixes of at most `prefix_bytes_max` bytes.
fn pattern_with(rule: &Rule, lane: Lane, prefix_bytes_max: usize) -> String {
    let mut detail = json!({"bucket": {"name": [rule.source.name]}});
    let prefixes = cut(&rule.scope, prefix_bytes_max);
    if !prefixes.is_empty() {
        let prefixes = prefixes.iter().map(|prefix| json!({"prefix": prefix}));
        detail["object"] = json!({"key": prefixes.collect::<Vec<Value>>()});
    }
    if lane == Lane::Delete {
        if rule.policy == Policy::Write {
            // A delete marker makes no older version the current one; every other delete may.
            detail["deletion-type"] = json!([{"anything-but": "Delete Marker Created"}]);
        }
        if !rule.options.lifecycle_deletes {
            detail["reason"] = json!([{"anything-but": LIFECYCLE_EXPIRATION}]);
        }
    }
    json!({
        "source": ["aws.s3"],
        "detail-type": lane.detail_types(&rule.options),
        "detail": detail,
    })
    .to_string()
}

/// Returns the scope's prefixes, cut to `bytes_max`, without those that another one covers. Returns none if the pattern
/// lets every key through.
fn cut(scope: &Scope, bytes_max: usize) -> Vec<&str> {
    let Scope::Prefixes(prefixes) = scope else {
        return Vec::new();
    };
    let mut cut: Vec<&str> = prefixes
        .iter()
        .map(|prefix| &prefix[..prefix.floor_char_boundary(bytes_max)])
        .collect();
    cut.sort_unstable();
    // In sorted order, a prefix follows the one that covers it, with only other covered ones between them.
    cut.dedup_by(|later, kept| later.starts_with(*kept));
    if cut.first().is_some_and(|first| first.is_empty()) {
        cut.clear();
    }
    cut
}

#[cfg(test)]
mod tests;
