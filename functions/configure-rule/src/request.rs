//! Parses requests, without I/O. Unknown fields are refused, so that a typing error never silently changes a rule.
//! Fields are extracted first and read one by one, so that a refusal can name the invalid field.

mod options;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tandem_aws::dynamodb::failures::FailureFilter;
use tandem_lambda::request::{flag, name, text, token};
use tandem_replication::fault::{Reason, UnknownReason};
use tandem_replication::names::{BucketName, ObjectKey, Region, RuleId};
use tandem_replication::new_rule::NewRule;
use tandem_replication::options::Options;
use tandem_replication::refusal::{Refusal, RefusalCode};
use tandem_replication::rule::{Policy, Scope};

pub use self::options::OptionChanges;

/// One request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Create a rule. A repeated request with the same token returns the same rule.
    Create(NewRule, Option<String>),
    /// Show a rule.
    Get(RuleName),
    /// Show all rules.
    List,
    /// Change a rule.
    Update(RuleName, Changes),
    /// Pause a rule: defer its changes.
    Pause(RuleName),
    /// Resume a paused rule: replicate its deferred changes.
    Resume(RuleName),
    /// Delete a rule.
    Delete(RuleName),
    /// Show a rule's progress.
    Progress(RuleName, u32),
    /// Show to which buckets a bucket can be replicated.
    Destinations(BucketName),
    /// Show failures, at most this many.
    Failures(FailureChoice, usize),
    /// Show the failure of one object.
    Failure(RuleName, ObjectKey),
    /// Retry failed objects and dead letters.
    Retry(FailureChoice),
    /// Check whether a rule, or every rule, still works.
    Check(Option<RuleName>),
}

/// Which failures are chosen, and after which of them to continue.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FailureChoice {
    /// Chooses failures of one rule.
    pub rule: Option<RuleName>,
    /// Chooses failures that the filter matches.
    pub filter: FailureFilter,
    /// Where an earlier answer stopped.
    pub after: Option<Place>,
}

/// Where an answer stopped. A caller passes it back to get the rest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// The rule whose failures were read last.
    pub rule_id: RuleId,
    /// The last key that was read; `None` if all failures of the rule were read.
    pub key: Option<ObjectKey>,
}

/// A rule's id, or the name of either of its buckets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleName(pub String);

/// The changes of an update.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Another scope.
    pub scope: Option<Scope>,
    /// Another policy.
    pub policy: Option<Policy>,
    /// Other options.
    pub options: OptionChanges,
    /// Whether to backfill now.
    pub historical: bool,
    /// A repeated request with the same token refers to the same backfill.
    pub token: Option<String>,
}

const ACTIONS: &str = "create, get, list, update, pause, resume, delete, progress, destinations, \
                       failures, failure, retry, check";
/// The longest window: CloudWatch keeps values of one minute for 15 days.
const WINDOW_MINS_MAX: u32 = 15 * 24 * 60;
/// How many failures are shown by default.
const FAILURES_SHOWN: usize = 100;
/// How many failures are shown at most. Lambda limits an answer to 6 MB, and a failure whose key has only control
/// characters has 9 kB.
const FAILURES_SHOWN_MAX: usize = 500;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CreateFields {
    source: Value,
    destination: Value,
    destination_region: Option<Value>,
    scope: Option<Value>,
    policy: Option<Value>,
    options: Option<Value>,
    historical: Option<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleFields {
    rule: Value,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UpdateFields {
    rule: Value,
    scope: Option<Value>,
    policy: Option<Value>,
    options: Option<Value>,
    historical: Option<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProgressFields {
    rule: Value,
    window_mins: Option<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DestinationsFields {
    source: Value,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FailuresFields {
    rule: Option<Value>,
    reason: Option<Value>,
    key_prefix: Option<Value>,
    limit: Option<Value>,
    after: Option<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FailureFields {
    rule: Value,
    key: Value,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RetryFields {
    rule: Option<Value>,
    reason: Option<Value>,
    key_prefix: Option<Value>,
    all: Option<Value>,
    after: Option<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CheckFields {
    rule: Option<Value>,
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
        let Some(action) = fields.remove("action") else {
            return Err(invalid(
                "action",
                "",
                format!("is missing; use one of {ACTIONS}"),
            ));
        };
        let action = text("action", action)?;
        let token = match action.as_str() {
            // Read here, because declarations, which use the same parser of fields, have no token.
            "create" | "update" => token(fields.remove("token").unwrap_or_default())?,
            _ => None,
        };
        match action.as_str() {
            "create" => Ok(Self::Create(draft(read(&action, fields)?)?, token)),
            "get" => rule(&action, fields).map(Self::Get),
            "list" => read::<NoFields>(&action, fields).map(|NoFields {}| Self::List),
            "update" => update(read(&action, fields)?, token),
            "pause" => rule(&action, fields).map(Self::Pause),
            "resume" => rule(&action, fields).map(Self::Resume),
            "delete" => rule(&action, fields).map(Self::Delete),
            "progress" => progress(read(&action, fields)?),
            "destinations" => {
                let DestinationsFields { source } = read(&action, fields)?;
                bucket("source", source).map(Self::Destinations)
            }
            "failures" => failures(read(&action, fields)?),
            "failure" => failure(read(&action, fields)?),
            "retry" => retry(read(&action, fields)?),
            "check" => {
                let CheckFields { rule } = read(&action, fields)?;
                let rule = rule.map(|rule| name("rule", rule)).transpose()?;
                Ok(Self::Check(rule.map(RuleName)))
            }
            _ => Err(invalid(
                "action",
                action,
                format!("is not known; use one of {ACTIONS}"),
            )),
        }
    }
}

/// Reads the fields of `create`, without the action.
pub fn draft_of(fields: Map<String, Value>) -> Result<NewRule, Refusal> {
    draft(read("create", fields)?)
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
    name("rule", rule).map(RuleName)
}

fn draft(fields: CreateFields) -> Result<NewRule, Refusal> {
    let expected = fields.destination_region;
    Ok(NewRule {
        source: bucket("source", fields.source)?,
        destination: bucket("destination", fields.destination)?,
        destination_region: expected
            .map(|region| text("destination_region", region).map(Region::new))
            .transpose()?,
        scope: fields.scope.map_or(Ok(Scope::All), scope)?,
        policy: fields.policy.map_or(Ok(Policy::Full), policy)?,
        options: options(fields.options)?.of(Options::default()),
        historical: historical(fields.historical)?,
    })
}

fn update(fields: UpdateFields, token: Option<String>) -> Result<Request, Refusal> {
    let rule = name("rule", fields.rule)?;
    let changes = Changes {
        scope: fields.scope.map(scope).transpose()?,
        policy: fields.policy.map(policy).transpose()?,
        options: options(fields.options)?,
        historical: historical(fields.historical)?,
        token: None,
    };
    if changes == Changes::default() {
        return Err(invalid(
            "request",
            rule,
            "changes nothing; give scope, policy, options, or historical = true",
        ));
    }
    Ok(Request::Update(
        RuleName(rule),
        Changes { token, ..changes },
    ))
}

fn progress(fields: ProgressFields) -> Result<Request, Refusal> {
    let rule = name("rule", fields.rule)?;
    let window_mins = fields.window_mins.map_or(Ok(60), |mins| window(&mins))?;
    Ok(Request::Progress(RuleName(rule), window_mins))
}

fn failures(fields: FailuresFields) -> Result<Request, Refusal> {
    let limit = fields
        .limit
        .map_or(Ok(FAILURES_SHOWN), |limit| shown(&limit))?;
    choice(fields.rule, fields.reason, fields.key_prefix, fields.after)
        .map(|choice| Request::Failures(choice, limit))
}

fn shown(value: &Value) -> Result<usize, Refusal> {
    let limit = value.as_u64().and_then(|limit| usize::try_from(limit).ok());
    limit
        .filter(|limit| (1..=FAILURES_SHOWN_MAX).contains(limit))
        .ok_or_else(|| {
            let problem = format!("is out of range; use 1 to {FAILURES_SHOWN_MAX}");
            invalid("limit", value.to_string(), problem)
        })
}

fn failure(fields: FailureFields) -> Result<Request, Refusal> {
    let rule = name("rule", fields.rule).map(RuleName)?;
    let key = text("key", fields.key)?;
    ObjectKey::parse(key.clone())
        .map(|key| Request::Failure(rule, key))
        .map_err(|error| invalid("key", key, error.to_string()))
}

fn retry(fields: RetryFields) -> Result<Request, Refusal> {
    let all = fields.all.map_or(Ok(false), |all| flag("all", &all))?;
    let choice = choice(fields.rule, fields.reason, fields.key_prefix, fields.after)?;
    let chosen = choice.rule.is_some() || choice.filter != FailureFilter::default();
    match (all, chosen) {
        (true, true) => Err(invalid(
            "all",
            "true",
            "cannot be combined with rule, reason or key_prefix; leave it out to retry what those choose",
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
    rule: Option<Value>,
    reason: Option<Value>,
    key_prefix: Option<Value>,
    after: Option<Value>,
) -> Result<FailureChoice, Refusal> {
    // An empty prefix does not restrict the choice.
    let key_prefix = key_prefix.filter(|prefix| prefix != "");
    let filter = FailureFilter {
        key_prefix: key_prefix
            .map(|prefix| name("key_prefix", prefix))
            .transpose()?,
        reason: reason.map(known_reason).transpose()?,
    };
    let after = match after {
        None | Some(Value::Null) => None,
        Some(place) => Some(serde_json::from_value(place.clone()).map_err(|error| {
            let problem = format!("is not the \"next\" of an earlier answer: {error}");
            invalid("after", place.to_string(), problem)
        })?),
    };
    Ok(FailureChoice {
        rule: rule
            .map(|rule| name("rule", rule).map(RuleName))
            .transpose()?,
        filter,
        after,
    })
}

fn known_reason(value: Value) -> Result<String, Refusal> {
    let word = text("reason", value)?;
    match word.parse::<Reason>() {
        Ok(_) => Ok(word),
        Err(unknown @ UnknownReason) => Err(invalid("reason", word, unknown.to_string())),
    }
}

fn window(value: &Value) -> Result<u32, Refusal> {
    let mins = value.as_u64().and_then(|mins| u32::try_from(mins).ok());
    mins.filter(|mins| (1..=WINDOW_MINS_MAX).contains(mins))
        .ok_or_else(|| {
            let problem = format!("is out of range; use 1 to {WINDOW_MINS_MAX} minutes");
            invalid("window_mins", value.to_string(), problem)
        })
}

fn bucket(field: &'static str, value: Value) -> Result<BucketName, Refusal> {
    let name = text(field, value)?;
    BucketName::parse(&name).map_err(|error| {
        let problem = error.to_string();
        Refusal::new(RefusalCode::InvalidBucketName, field, name, problem)
    })
}

fn historical(value: Option<Value>) -> Result<bool, Refusal> {
    value.map_or(Ok(false), |value| flag("historical", &value))
}

fn options(value: Option<Value>) -> Result<OptionChanges, Refusal> {
    value.map_or_else(|| Ok(OptionChanges::default()), OptionChanges::read)
}

fn policy(value: Value) -> Result<Policy, Refusal> {
    let policy = text("policy", value)?;
    match policy.as_str() {
        "full" => Ok(Policy::Full),
        "write" => Ok(Policy::Write),
        _ => Err(invalid(
            "policy",
            policy,
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
    // Serde would read a list as the fields in their order.
    let prefixes = if value.is_object() {
        serde_json::from_value::<Prefixes>(value).map_err(|error| format!(": {error}"))
    } else {
        Err(String::new())
    };
    let prefixes = prefixes.map_err(|error| {
        let problem = format!("is neither \"all\" nor {{\"prefixes\": [...]}}{error}");
        invalid("scope", shown.clone(), problem)
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

/// Returns the refusal of a request that the contract does not allow.
pub fn invalid(
    field: &'static str,
    value: impl Into<String>,
    problem: impl Into<String>,
) -> Refusal {
    Refusal::new(RefusalCode::InvalidRequest, field, value, problem)
}

#[cfg(test)]
mod tests;
