//! Code for functions that are invoked with requests: reads a request's fields, converts its errors, and creates ids.

use lambda_runtime::Diagnostic;
use serde_json::Value;
use tandem_aws::AwsError;
use tandem_aws::dynamodb::rules::WriteError;
use tandem_aws::dynamodb::table::Table;
use tandem_replication::names::{JobId, RuleId, TransferId};
use tandem_replication::refusal::{Refusal, RefusalCode};
use tandem_replication::rule::Rule;
use uuid::Uuid;

/// Why a request was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The request is invalid or not possible.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// AWS failed or refused.
    #[error(transparent)]
    Aws(#[from] AwsError),
}

impl From<WriteError> for RequestError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Aws(error) => Self::Aws(error),
            WriteError::Conflict(rule) => Self::Refused(Refusal::new(
                RefusalCode::RuleStateConflict,
                "rule",
                rule.as_str(),
                "was changed by another request at the same time; read it again, then repeat your request",
            )),
        }
    }
}

impl From<RequestError> for Diagnostic {
    fn from(error: RequestError) -> Self {
        let error_type = match &error {
            RequestError::Refused(refusal) => refusal.code.as_str(),
            RequestError::Aws(_) => "Internal",
        };
        Self {
            error_type: error_type.to_owned(),
            error_message: error.to_string(),
        }
    }
}

/// Returns the value of a field that contains a text.
pub fn text(field: &'static str, value: Value) -> Result<String, Refusal> {
    match value {
        Value::String(text) => Ok(text),
        other => Err(not_of_type(field, &other, "a text")),
    }
}

/// Returns the value of a field that is a key in the table.
pub fn name(field: &'static str, value: Value) -> Result<String, Refusal> {
    /// DynamoDB's limit on a sort key, in bytes ("Constraints in Amazon DynamoDB").
    const NAME_BYTES_MAX: usize = 1_024;
    let name = text(field, value)?;
    if (1..=NAME_BYTES_MAX).contains(&name.len()) {
        return Ok(name);
    }
    let problem = format!(
        "has {} bytes; give a name or an id of 1 to {NAME_BYTES_MAX} bytes",
        name.len()
    );
    Err(Refusal::new(
        RefusalCode::InvalidRequest,
        field,
        name,
        problem,
    ))
}

/// Returns the value of the field `token`. A client that repeats a request sends the same token again. `null` means
/// that there is none.
pub fn token(value: Value) -> Result<Option<String>, Refusal> {
    const TOKEN_BYTES_MAX: usize = 128;
    if value.is_null() {
        return Ok(None);
    }
    let token = text("token", value)?;
    if (1..=TOKEN_BYTES_MAX).contains(&token.len()) {
        return Ok(Some(token));
    }
    let problem = format!(
        "has {} bytes; give a text of 1 to {TOKEN_BYTES_MAX} bytes that no other request has, or leave it out",
        token.len()
    );
    Err(Refusal::new(
        RefusalCode::InvalidRequest,
        "token",
        token,
        problem,
    ))
}

/// Returns the value of a field that contains `true` or `false`.
pub fn flag(field: &'static str, value: &Value) -> Result<bool, Refusal> {
    value
        .as_bool()
        .ok_or_else(|| not_of_type(field, value, "true or false"))
}

fn not_of_type(field: &'static str, value: &Value, wanted: &str) -> Refusal {
    let found = match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    };
    let problem = format!("is {found}; give {wanted}");
    Refusal::new(
        RefusalCode::InvalidRequest,
        field,
        value.to_string(),
        problem,
    )
}

/// Returns the rule with this id, or the rule that has this bucket as its source or destination. Refuses the request if
/// there is none.
pub async fn find_rule(table: &Table, id_or_bucket: &str) -> Result<Rule, RequestError> {
    table.rule_named(id_or_bucket).await?.ok_or_else(|| {
        let problem = "is neither a rule's id nor one of its buckets; configure-rule's action \"list\" shows all rules";
        Refusal::new(RefusalCode::RuleNotFound, "rule", id_or_bucket, problem).into()
    })
}

/// Returns the id of a new rule. Ids sort by the time of their creation.
pub fn new_rule_id() -> RuleId {
    RuleId::new(format!("rule-{}", sortable_digits()))
}

/// Returns the id of a new job. Ids sort by the time of their creation.
pub fn new_job_id() -> JobId {
    JobId::new(format!("job-{}", sortable_digits()))
}

/// Returns the id of a new transfer.
pub fn new_transfer_id() -> TransferId {
    TransferId::new(format!("transfer-{}", sortable_digits()))
}

/// Returns the first 20 digits of a UUID version 7: milliseconds, then 26 random bits.
fn sortable_digits() -> String {
    let mut digits = Uuid::now_v7().simple().to_string();
    digits.truncate(20);
    digits
}
