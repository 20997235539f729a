//! The requests, parsed. No I/O.

use serde::Deserialize;
use serde_json::Value;
use tandem_replication::draft::{Refusal, RefusalCode};
use tandem_replication::names::JobId;

/// One request.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "action", rename_all = "lowercase", deny_unknown_fields)]
pub enum Request {
    /// Start a backfill.
    Start {
        /// A rule's id, or the name of either of its buckets.
        rule: String,
        /// The job's id; the same id again carries the same job on.
        #[serde(default)]
        job_id: Option<JobId>,
    },
    /// Show a backfill.
    Status {
        /// A rule's id, or the name of either of its buckets.
        rule: String,
        /// Which job; the newest if not given.
        #[serde(default)]
        job_id: Option<JobId>,
    },
}

impl Request {
    /// Reads one request.
    pub fn parse(payload: Value) -> Result<Self, Refusal> {
        let shown = payload.to_string();
        serde_json::from_value(payload).map_err(|error| {
            let problem = format!(
                "is no request to backfill: {error}; send {{\"action\": \"start\" or \"status\", \"rule\": \
                 \"...\"}}"
            );
            Refusal::new(RefusalCode::InvalidRequest, "request", shown, problem)
        })
    }
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
