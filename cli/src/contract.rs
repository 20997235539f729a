//! The functions' contract (`docs/contract.md`) as this command uses it: its requests, and the parts
//! of the answers that it shows. Unknown fields of an answer are ignored. No I/O.

mod backfill;
mod options;
mod progress;

use std::fmt;

use chrono::{DateTime, Utc};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use self::backfill::{Backfill, JobName, Keys, Kind, Overwrite, Start};
pub use self::options::{
    AclChoice, EncryptionChoice, KeyChoice, LockChoice, NotificationChoice, OptionChanges, Options,
    Reconcile,
};
pub use self::progress::{Backlog, Job, Lag, Live, Progress, Transfer, Transfers};

/// A request to `configure-rule`.
#[derive(Debug, Serialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum ConfigureRule<'a> {
    Create {
        source: &'a str,
        destination: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        destination_region: Option<&'a str>,
        scope: Scope,
        policy: Policy,
        #[serde(skip_serializing_if = "Option::is_none")]
        options: Option<OptionChanges>,
        historical: bool,
        /// The same in every repetition of the request.
        token: &'a str,
    },
    Get {
        rule: &'a str,
    },
    List,
    Update {
        rule: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        scope: Option<Scope>,
        #[serde(skip_serializing_if = "Option::is_none")]
        policy: Option<Policy>,
        #[serde(skip_serializing_if = "Option::is_none")]
        options: Option<OptionChanges>,
        #[serde(skip_serializing_if = "Option::is_none")]
        historical: Option<bool>,
        /// Needed only for the backfill: any other change can be repeated safely.
        #[serde(skip_serializing_if = "Option::is_none")]
        token: Option<&'a str>,
    },
    Pause {
        rule: &'a str,
    },
    Resume {
        rule: &'a str,
    },
    Delete {
        rule: &'a str,
    },
    Progress {
        rule: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        window_mins: Option<u32>,
    },
    Destinations {
        source: &'a str,
    },
    Failures {
        #[serde(skip_serializing_if = "Option::is_none")]
        rule: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        key_prefix: Option<&'a str>,
        limit: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        after: Option<&'a Value>,
    },
    Failure {
        rule: &'a str,
        key: &'a str,
    },
    Retry {
        #[serde(skip_serializing_if = "Option::is_none")]
        rule: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        key_prefix: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        all: Option<bool>,
        #[serde(skip_serializing_if = "Option::is_none")]
        after: Option<&'a Value>,
    },
}

/// Which keys a rule covers. On the wire `"all"` or `{"prefixes": [...]}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    All,
    Prefixes(Vec<String>),
}

impl Scope {
    /// Returns the prefixes to list, in key order, to see every key of this scope that starts with
    /// `within`. Returns none if the two have no key in common.
    pub fn listing_prefixes(&self, within: &str) -> Vec<String> {
        let everything = [String::new()];
        let prefixes = match self {
            Self::All => &everything[..],
            Self::Prefixes(prefixes) => prefixes,
        };
        tandem_replication::shard::listing_prefixes(prefixes, within)
    }
}

/// What a rule replicates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// Add, change and delete
    Full,
    /// Add and change only: a replica stays when its source is deleted
    Write,
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "full",
            Self::Write => "write",
        })
    }
}

#[derive(Debug, Clone, Deserialize)]
pub struct Bucket {
    pub bucket: String,
    pub region: String,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Rule {
    pub id: String,
    pub source: Bucket,
    pub destination: Bucket,
    pub scope: Scope,
    pub policy: Policy,
    #[serde(default)]
    pub options: Options,
    pub historical: bool,
    /// `bucket` or `eventbridge`; the command only shows it. Functions of an older version do not send it.
    pub notified_by: Option<String>,
    /// `enabling`, `enabled`, `paused` or `deleting`; the command only shows it.
    pub state: String,
    pub revision: Option<u64>,
    pub created_at: Option<DateTime<Utc>>,
    pub updated_at: Option<DateTime<Utc>>,
    pub paused_at: Option<DateTime<Utc>>,
}

#[derive(Debug, Deserialize)]
pub struct RuleAnswer {
    pub rule: Rule,
    pub job_id: Option<String>,
    /// Sentences that the user should read.
    #[serde(default)]
    pub remarks: Vec<String>,
}

#[derive(Debug, Deserialize)]
pub struct RulesAnswer {
    pub rules: Vec<Rule>,
}

#[derive(Debug, Deserialize)]
pub struct JobAnswer {
    pub job: Job,
}

#[derive(Debug, Deserialize)]
pub struct JobsAnswer {
    pub jobs: Vec<Job>,
}

#[derive(Debug, Deserialize)]
pub struct Destinations {
    pub source: String,
    pub source_region: String,
    pub regions: Vec<String>,
    pub buckets: Vec<Candidate>,
}

/// A bucket that might become a destination.
#[derive(Debug, Deserialize)]
pub struct Candidate {
    pub bucket: String,
    pub region: Option<String>,
    pub available: bool,
    pub reason: Option<String>,
}

/// An object that failed and has not succeeded since.
#[derive(Debug, Clone, Deserialize)]
pub struct Failure {
    pub rule_id: String,
    pub key: String,
    pub version_id: Option<String>,
    pub etag: Option<String>,
    pub bytes: Option<u64>,
    pub reason: String,
    pub message: String,
    pub first_at: DateTime<Utc>,
    pub last_at: DateTime<Utc>,
    pub attempts: u64,
}

#[derive(Debug, Deserialize)]
pub struct FailuresAnswer {
    pub failures: Vec<Failure>,
    /// Passed back in the next request, to get the rest.
    pub next: Option<Value>,
}

#[derive(Debug, Deserialize)]
pub struct FailureAnswer {
    pub failure: Failure,
}

/// The result of a retry; `next` is passed back as long as there is one.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct RetryAnswer {
    pub retried: u64,
    pub moved: Moved,
    pub unreadable: Unreadable,
    /// Whether time ran out before all dead letters were received.
    #[serde(default)]
    pub unseen: bool,
    pub next: Option<Value>,
}

/// Messages moved out of dead-letter queues, by the queue they are in now.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Moved {
    pub put: u64,
    pub delete: u64,
    pub work: u64,
    #[serde(default)]
    pub part: u64,
}

impl Moved {
    pub fn total(&self) -> u64 {
        self.put + self.delete + self.work + self.part
    }
}

/// Messages that cannot be read.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Unreadable {
    pub count: u64,
    /// Some of them.
    pub messages: Vec<UnreadableMessage>,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct UnreadableMessage {
    pub queue: String,
    pub message_id: String,
    pub problem: String,
    pub body: String,
}

impl RetryAnswer {
    /// Adds the numbers of the next answer.
    pub fn add(&mut self, next: Self) {
        self.retried += next.retried;
        self.moved.put += next.moved.put;
        self.moved.delete += next.moved.delete;
        self.moved.work += next.moved.work;
        self.moved.part += next.moved.part;
        self.unreadable.count += next.unreadable.count;
        self.unreadable.messages.extend(next.unreadable.messages);
        self.unseen = next.unseen;
        self.next = next.next;
    }
}

/// The payload of a function error.
#[derive(Debug, Deserialize)]
pub struct FunctionError {
    #[serde(rename = "errorType", default)]
    pub code: String,
    #[serde(rename = "errorMessage", default)]
    pub message: String,
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tandem_replication::fault::Reason;

    use super::*;

    fn wire(request: impl Serialize) -> Value {
        serde_json::to_value(request).unwrap()
    }

    #[test]
    fn requests_have_the_fields_of_the_contract_and_no_others() {
        let create = ConfigureRule::Create {
            source: "a",
            destination: "b",
            destination_region: None,
            scope: Scope::All,
            policy: Policy::Write,
            options: None,
            historical: true,
            token: "t",
        };
        assert_eq!(
            wire(create),
            json!({"action": "create", "source": "a", "destination": "b", "scope": "all",
                   "policy": "write", "historical": true, "token": "t"})
        );
        let update = ConfigureRule::Update {
            rule: "a",
            scope: Some(Scope::Prefixes(vec!["x/".into()])),
            policy: None,
            options: Some(OptionChanges {
                kms_key: Some(KeyChoice::OfTheBucket),
                tags: Some(false),
                ..OptionChanges::default()
            }),
            historical: None,
            token: None,
        };
        assert_eq!(
            wire(update),
            json!({"action": "update", "rule": "a", "scope": {"prefixes": ["x/"]},
                   "options": {"kms_key": null, "tags": false}})
        );
        assert_eq!(wire(ConfigureRule::List), json!({"action": "list"}));
        let status = Backfill::Status(JobName {
            rule: "a",
            job_id: None,
        });
        assert_eq!(wire(status), json!({"action": "status", "rule": "a"}));
        let plain = Start {
            rule: "a",
            ..Start::default()
        };
        assert_eq!(
            wire(Backfill::Start(plain)),
            json!({"action": "start", "rule": "a"})
        );
        let repair = Start {
            rule: "a",
            kind: Some(Kind::Repair),
            overwrite: Some(Overwrite::IfOlder),
            prefix: Some("x/"),
            manifest: Some("s3://b/k"),
            keys: Some(backfill::Keys::Plain),
            objects_per_sec: Some(1.5),
            concurrency: Some(4),
            deletes_max: Some(0),
            report: Some("s3://b/r/"),
            token: Some("t"),
        };
        assert_eq!(
            wire(Backfill::Start(repair)),
            json!({"action": "start", "rule": "a", "token": "t", "kind": "repair", "overwrite": "if-older",
                   "prefix": "x/", "manifest": "s3://b/k", "keys": "plain", "objects_per_sec": 1.5,
                   "concurrency": 4, "deletes_max": 0, "report": "s3://b/r/"})
        );
        assert_eq!(
            wire(Backfill::List { rule: "a" }),
            json!({"action": "list", "rule": "a"})
        );
        let job = JobName {
            rule: "a",
            job_id: Some("job-1"),
        };
        assert_eq!(
            wire(Backfill::Cancel(job)),
            json!({"action": "cancel", "rule": "a", "job_id": "job-1"})
        );
    }

    /// The examples of `docs/contract.md`, fields and all.
    #[test]
    fn the_examples_of_the_contract_are_understood() {
        let contract = include_str!("../../docs/contract.md");
        let examples: Vec<&str> = contract
            .split("```json")
            .skip(1)
            .filter_map(|rest| rest.split("```").next())
            .collect();
        let [rule, progress, failure, job] = examples[..] else {
            panic!("the contract has other examples than RULE, PROGRESS, FAILURE and JOB");
        };
        let parsed: Failure = serde_json::from_str(failure).unwrap();
        assert!(parsed.reason.parse::<Reason>().is_ok(), "{failure}");
        let parsed: Rule = serde_json::from_str(rule).unwrap();
        assert_eq!(
            parsed.scope,
            Scope::Prefixes(vec!["2025/".into(), "2026/".into()])
        );
        assert_eq!(parsed.options.storage_class, "GLACIER_IR");
        let parsed: Job = serde_json::from_str(job).unwrap();
        let left = parsed.kept + parsed.missing + parsed.different;
        assert_eq!(
            parsed.listed,
            parsed.copied + parsed.equal + parsed.gone + parsed.failed + parsed.transfers + left
        );
        assert!(parsed.transfers > 0);
        for historical in ["null", job] {
            let progress = progress
                .replace("RULE", rule)
                .replace("JOB | null", historical);
            let parsed: Progress = serde_json::from_str(&progress).unwrap();
            assert_eq!(parsed.live.replicated, Some(1203));
            assert_eq!(parsed.transfers.count, parsed.transfers.shown.len() as u64);
        }
    }

    #[test]
    fn unknown_numbers_and_new_fields_are_understood() {
        let live: Live = serde_json::from_value(json!({
            "watermark": null, "backlog": null, "window_mins": 60, "replicated": null,
            "deleted": null, "failed": null, "bytes": null,
            "lag_ms": {"p50": null, "p99": null, "max": null}, "news": [1, 2]
        }))
        .unwrap();
        assert!(live.replicated.is_none());
        let scope: Scope = serde_json::from_value(json!("all")).unwrap();
        assert_eq!(scope, Scope::All);
    }

    #[test]
    fn a_narrowed_scope_lists_only_what_both_cover_in_key_order() {
        let scope = Scope::Prefixes(vec!["b/".into(), "a/1/".into(), "a/2/".into()]);
        assert_eq!(scope.listing_prefixes(""), ["a/1/", "a/2/", "b/"]);
        assert_eq!(scope.listing_prefixes("a/"), ["a/1/", "a/2/"]);
        assert_eq!(scope.listing_prefixes("b/x/"), ["b/x/"]);
        assert!(scope.listing_prefixes("c/").is_empty());
        assert_eq!(Scope::All.listing_prefixes("c/"), ["c/"]);
        assert_eq!(Scope::All.listing_prefixes(""), [""]);
    }
}
