//! The requests, parsed. Unknown fields are refused, so that a typing error never silently changes a rule.
//! No I/O.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tandem_aws::failures::FailureFilter;
use tandem_replication::draft::{Refusal, RefusalCode, RuleDraft};
use tandem_replication::fault::{Reason, UnknownReason};
use tandem_replication::names::{BucketName, ObjectKey, Region, RuleId};
use tandem_replication::rule::{Policy, Scope};

/// One request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Make a rule.
    Create(RuleDraft),
    /// Show a rule.
    Get(RuleName),
    /// Show all rules.
    List,
    /// Change a rule.
    Update(RuleName, Changes),
    /// Keep a rule's changes for later.
    Pause(RuleName),
    /// Replicate a paused rule's changes.
    Resume(RuleName),
    /// End a rule.
    Delete(RuleName),
    /// Show how far a rule has come.
    Progress(RuleName, u32),
    /// Show where a bucket can be replicated to.
    Destinations(BucketName),
    /// Show some failures, so many at most.
    Failures(FailureChoice, usize),
    /// Show the failure of one object.
    Failure(RuleName, ObjectKey),
    /// Try failed objects again, and messages that were given up.
    Retry(FailureChoice),
}

/// Which failures are meant, and after which of them to go on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FailureChoice {
    /// Those of one rule.
    pub rule: Option<RuleName>,
    /// Those that the filter means.
    pub filter: FailureFilter,
    /// Where an earlier answer stopped.
    pub after: Option<Place>,
}

/// Where an answer stopped; whoever wants the rest passes it back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// The rule whose failures were looked at last.
    pub rule_id: RuleId,
    /// The last key that was looked at; none if that was all of the rule's.
    pub key: Option<ObjectKey>,
}

/// A rule's id, or the name of either of its buckets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleName(pub String);

/// What is to be changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changes {
    /// Another scope.
    pub scope: Option<Scope>,
    /// Another policy.
    pub policy: Option<Policy>,
    /// Whether to backfill now.
    pub historical: bool,
}

const ACTIONS: &str = "create, get, list, update, pause, resume, delete, progress, destinations, \
                       failures, failure, retry";
/// CloudWatch keeps values of one minute for 15 days.
const WINDOW_MINS_MAX: u32 = 15 * 24 * 60;
/// How many failures are shown if nobody says how many.
const FAILURES_SHOWN: usize = 100;
/// Lambda's limit on an answer is 6 MB; a failure has at most 3 kB.
const FAILURES_SHOWN_MAX: usize = 1000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CreateFields {
    source: String,
    destination: String,
    destination_region: Option<String>,
    scope: Option<Value>,
    policy: Option<String>,
    historical: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleFields {
    rule: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UpdateFields {
    rule: String,
    scope: Option<Value>,
    policy: Option<String>,
    historical: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProgressFields {
    rule: String,
    window_mins: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DestinationsFields {
    source: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FailuresFields {
    rule: Option<String>,
    reason: Option<String>,
    key_prefix: Option<String>,
    limit: Option<usize>,
    after: Option<Place>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FailureFields {
    rule: String,
    key: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RetryFields {
    rule: Option<String>,
    reason: Option<String>,
    key_prefix: Option<String>,
    all: Option<bool>,
    after: Option<Place>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NoFields {}

impl Request {
    /// Reads one request.
    pub fn parse(payload: Value) -> Result<Self, Refusal> {
        let Value::Object(mut fields) = payload else {
            return Err(invalid(
                "request",
                payload.to_string(),
                "send a JSON object with the field \"action\"",
            ));
        };
        let action = match fields.remove("action") {
            Some(Value::String(action)) => action,
            Some(other) => {
                return Err(invalid(
                    "action",
                    other.to_string(),
                    format!("is no text; use one of {ACTIONS}"),
                ));
            }
            None => {
                return Err(invalid(
                    "action",
                    "",
                    format!("is missing; use one of {ACTIONS}"),
                ));
            }
        };
        match action.as_str() {
            "create" => draft(read(&action, fields)?).map(Self::Create),
            "get" => rule(&action, fields).map(Self::Get),
            "list" => read::<NoFields>(&action, fields).map(|NoFields {}| Self::List),
            "update" => update(read(&action, fields)?),
            "pause" => rule(&action, fields).map(Self::Pause),
            "resume" => rule(&action, fields).map(Self::Resume),
            "delete" => rule(&action, fields).map(Self::Delete),
            "progress" => progress(read(&action, fields)?),
            "destinations" => {
                let DestinationsFields { source } = read(&action, fields)?;
                bucket("source", &source).map(Self::Destinations)
            }
            "failures" => failures(read(&action, fields)?),
            "failure" => failure(read(&action, fields)?),
            "retry" => retry(read(&action, fields)?),
            _ => Err(invalid(
                "action",
                action,
                format!("is not known; use one of {ACTIONS}"),
            )),
        }
    }
}

fn read<T: DeserializeOwned>(action: &str, fields: Map<String, Value>) -> Result<T, Refusal> {
    let shown = Value::Object(fields.clone()).to_string();
    serde_json::from_value(Value::Object(fields)).map_err(|error| {
        invalid(
            "request",
            shown,
            format!("does not fit the action {action:?}: {error}"),
        )
    })
}

fn rule(action: &str, fields: Map<String, Value>) -> Result<RuleName, Refusal> {
    let RuleFields { rule } = read(action, fields)?;
    rule_name(rule)
}

fn rule_name(text: String) -> Result<RuleName, Refusal> {
    if text.is_empty() {
        return Err(invalid(
            "rule",
            text,
            "is empty; give a rule's id or the name of one of its buckets",
        ));
    }
    Ok(RuleName(text))
}

fn draft(fields: CreateFields) -> Result<RuleDraft, Refusal> {
    Ok(RuleDraft {
        source: bucket("source", &fields.source)?,
        destination: bucket("destination", &fields.destination)?,
        destination_region: fields.destination_region.map(Region::new),
        scope: fields.scope.map_or(Ok(Scope::All), scope)?,
        policy: fields.policy.map_or(Ok(Policy::Full), policy)?,
        historical: fields.historical.unwrap_or_default(),
    })
}

fn update(fields: UpdateFields) -> Result<Request, Refusal> {
    let changes = Changes {
        scope: fields.scope.map(scope).transpose()?,
        policy: fields.policy.map(policy).transpose()?,
        historical: fields.historical.unwrap_or_default(),
    };
    if changes
        == (Changes {
            scope: None,
            policy: None,
            historical: false,
        })
    {
        return Err(invalid(
            "request",
            fields.rule,
            "changes nothing; give scope, policy, or historical = true",
        ));
    }
    Ok(Request::Update(rule_name(fields.rule)?, changes))
}

fn progress(fields: ProgressFields) -> Result<Request, Refusal> {
    let window_mins = fields.window_mins.unwrap_or(60);
    if !(1..=WINDOW_MINS_MAX).contains(&window_mins) {
        let problem = format!("is out of range; use 1 to {WINDOW_MINS_MAX} minutes");
        return Err(invalid("window_mins", window_mins.to_string(), problem));
    }
    Ok(Request::Progress(rule_name(fields.rule)?, window_mins))
}

fn failures(fields: FailuresFields) -> Result<Request, Refusal> {
    let limit = fields.limit.unwrap_or(FAILURES_SHOWN);
    if !(1..=FAILURES_SHOWN_MAX).contains(&limit) {
        let problem = format!("is out of range; use 1 to {FAILURES_SHOWN_MAX}");
        return Err(invalid("limit", limit.to_string(), problem));
    }
    let choice = choice(fields.rule, fields.reason, fields.key_prefix, fields.after)?;
    Ok(Request::Failures(choice, limit))
}

fn failure(fields: FailureFields) -> Result<Request, Refusal> {
    let key = ObjectKey::parse(fields.key.clone())
        .map_err(|error| invalid("key", fields.key, error.to_string()))?;
    Ok(Request::Failure(rule_name(fields.rule)?, key))
}

fn retry(fields: RetryFields) -> Result<Request, Refusal> {
    let all = fields.all.unwrap_or_default();
    let choice = choice(fields.rule, fields.reason, fields.key_prefix, fields.after)?;
    let chosen = choice.rule.is_some() || choice.filter != FailureFilter::default();
    match (all, chosen) {
        (true, true) => Err(invalid(
            "all",
            "true",
            "goes alone; leave it out to retry what rule, reason and key_prefix choose",
        )),
        (false, false) => Err(invalid(
            "request",
            "",
            "chooses nothing; give rule, reason or key_prefix, or all = true",
        )),
        _ => Ok(Request::Retry(choice)),
    }
}

fn choice(
    rule: Option<String>,
    reason: Option<String>,
    key_prefix: Option<String>,
    after: Option<Place>,
) -> Result<FailureChoice, Refusal> {
    let reason = reason
        .map(|word| match word.parse::<Reason>() {
            Ok(_) => Ok(word),
            Err(unknown @ UnknownReason) => Err(invalid("reason", word, unknown.to_string())),
        })
        .transpose()?;
    Ok(FailureChoice {
        rule: rule.map(rule_name).transpose()?,
        filter: FailureFilter { key_prefix, reason },
        after,
    })
}

fn bucket(field: &'static str, name: &str) -> Result<BucketName, Refusal> {
    BucketName::parse(name).map_err(|error| {
        let problem = error.to_string();
        Refusal::new(RefusalCode::InvalidBucketName, field, name, problem)
    })
}

fn policy(text: String) -> Result<Policy, Refusal> {
    match text.as_str() {
        "full" => Ok(Policy::Full),
        "write" => Ok(Policy::Write),
        _ => Err(invalid(
            "policy",
            text,
            "is not known; use \"full\" (add, change, delete) or \"write\" (add, change)",
        )),
    }
}

fn scope(value: Value) -> Result<Scope, Refusal> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Prefixes {
        prefixes: Vec<String>,
    }
    let shown = value.to_string();
    if value == "all" {
        return Ok(Scope::All);
    }
    let prefixes = serde_json::from_value::<Prefixes>(value).map_err(|error| {
        invalid(
            "scope",
            shown.clone(),
            format!("is neither \"all\" nor {{\"prefixes\": [...]}}: {error}"),
        )
    })?;
    Scope::prefixes_of(prefixes.prefixes).map_err(|error| {
        Refusal::new(
            RefusalCode::InvalidScope,
            "scope.prefixes",
            shown,
            error.to_string(),
        )
    })
}

fn invalid(field: &'static str, value: impl Into<String>, problem: impl Into<String>) -> Refusal {
    Refusal::new(RefusalCode::InvalidRequest, field, value, problem)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn code(request: Value) -> RefusalCode {
        Request::parse(request).unwrap_err().code
    }

    #[test]
    fn a_rule_has_defaults() {
        let Request::Create(draft) =
            Request::parse(json!({"action": "create", "source": "aaa", "destination": "bbb"}))
                .unwrap()
        else {
            panic!("not a create")
        };
        assert_eq!(
            (draft.scope, draft.policy, draft.historical),
            (Scope::All, Policy::Full, false)
        );
    }

    #[test]
    fn bad_requests_are_refused_and_name_the_field() {
        for (request, wanted) in [
            (json!(3), RefusalCode::InvalidRequest),
            (json!({}), RefusalCode::InvalidRequest),
            (json!({"action": 3}), RefusalCode::InvalidRequest),
            (json!({"action": "destroy"}), RefusalCode::InvalidRequest),
            (json!({"action": "get"}), RefusalCode::InvalidRequest),
            (
                json!({"action": "get", "rule": ""}),
                RefusalCode::InvalidRequest,
            ),
            (
                json!({"action": "list", "rule": "x"}),
                RefusalCode::InvalidRequest,
            ),
            (
                json!({"action": "update", "rule": "x"}),
                RefusalCode::InvalidRequest,
            ),
            (
                json!({"action": "progress", "rule": "x", "window_mins": 0}),
                RefusalCode::InvalidRequest,
            ),
            (
                json!({"action": "create", "source": "A", "destination": "bbb"}),
                RefusalCode::InvalidBucketName,
            ),
            (
                json!({"action": "create", "source": "aaa", "destination": "bbb", "polcy": "full"}),
                RefusalCode::InvalidRequest,
            ),
            (
                json!({"action": "create", "source": "aaa", "destination": "bbb", "policy": "ful"}),
                RefusalCode::InvalidRequest,
            ),
            (
                json!({"action": "create", "source": "aaa", "destination": "bbb", "scope": {"prefixes": []}}),
                RefusalCode::InvalidScope,
            ),
            (
                json!({"action": "create", "source": "aaa", "destination": "bbb", "scope": "some"}),
                RefusalCode::InvalidRequest,
            ),
        ] {
            assert_eq!(code(request.clone()), wanted, "{request}");
        }
        let said = Request::parse(
            json!({"action": "create", "source": "aaa", "destination": "bbb", "polcy": "full"}),
        );
        assert!(
            said.unwrap_err()
                .to_string()
                .contains("unknown field `polcy`")
        );
    }

    proptest! {
        #[test]
        fn no_request_makes_the_parser_panic(
            action in "(create|get|list|update|pause|resume|delete|progress|destinations|.{0,8})",
            field in "(rule|source|destination|scope|policy|historical|window_mins|.{0,8})",
            value in prop_oneof![
                any::<i64>().prop_map(|n| json!(n)),
                ".{0,20}".prop_map(|text| json!(text)),
                proptest::collection::vec(".{0,4}", 0..7).prop_map(|list| json!({"prefixes": list})),
                Just(json!(null)),
            ],
        ) {
            let _ = Request::parse(json!({"action": action, "source": "aaa", "destination": "bbb", field.as_str(): value}));
            let _ = Request::parse(json!({"action": action, field.as_str(): value}));
        }
    }
}
