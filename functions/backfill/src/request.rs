//! The requests, parsed. Fields are taken out first and read one by one, so that a refusal can name the one
//! that is wrong. No I/O.

use serde::Deserialize;
use serde_json::Value;
use tandem_lambda::request::{name, text};
use tandem_replication::draft::{Refusal, RefusalCode};
use tandem_replication::names::JobId;

/// One request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Start a backfill.
    Start {
        /// A rule's id, or the name of either of its buckets.
        rule: String,
        /// The job's id; the same id again carries the same job on.
        job_id: Option<JobId>,
    },
    /// Show a backfill.
    Status {
        /// A rule's id, or the name of either of its buckets.
        rule: String,
        /// Which job; the newest if not given.
        job_id: Option<JobId>,
    },
}

/// The fields, which are those of both actions.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    action: Value,
    rule: Value,
    job_id: Option<Value>,
}

impl Request {
    /// Reads one request.
    pub fn parse(payload: Value) -> Result<Self, Refusal> {
        let fields = fields(payload)?;
        let action = text("action", fields.action)?;
        let rule = name("rule", fields.rule)?;
        let job_id = fields.job_id.map(|id| name("job_id", id).map(JobId::new));
        let job_id = job_id.transpose()?;
        match action.as_str() {
            "start" => Ok(Self::Start { rule, job_id }),
            "status" => Ok(Self::Status { rule, job_id }),
            _ => Err(Refusal::new(
                RefusalCode::InvalidRequest,
                "action",
                action,
                "is not known; use \"start\" or \"status\"",
            )),
        }
    }
}

fn fields(payload: Value) -> Result<Fields, Refusal> {
    const FORM: &str = "send {\"action\": \"start\" or \"status\", \"rule\": \"...\"}";
    let shown = payload.to_string();
    let refused = |problem| Refusal::new(RefusalCode::InvalidRequest, "request", shown, problem);
    if !payload.is_object() {
        return Err(refused(format!("is no JSON object; {FORM}")));
    }
    serde_json::from_value(payload)
        .map_err(|error| refused(format!("is no request to backfill: {error}; {FORM}")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn requests_are_read_and_typing_errors_refused() {
        let start = Request::parse(json!({"action": "start", "rule": "photos"})).unwrap();
        assert_eq!(
            start,
            Request::Start {
                rule: "photos".into(),
                job_id: None
            }
        );
        for bad in [
            json!(null),
            json!({"action": "stop", "rule": "x"}),
            json!({"action": "start"}),
            json!({"action": "start", "rule": "x", "jobid": "y"}),
        ] {
            assert_eq!(
                Request::parse(bad).unwrap_err().code,
                RefusalCode::InvalidRequest
            );
        }
    }
}
