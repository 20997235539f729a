//! Parses requests, without I/O. Fields are extracted first and read one by one, so that a refusal can name the invalid
//! field.

use serde::Deserialize;
use serde_json::Value;
use tandem_lambda::request::{name, text, token};
use tandem_replication::key_list::KeyEncoding;
use tandem_replication::names::JobId;
use tandem_replication::overwrite::Overwrite;
use tandem_replication::progress::{JobKind, JobSpec};
use tandem_replication::refusal::{Refusal, RefusalCode};
use tandem_replication::s3_uri::S3Uri;

/// S3's limit on a key, and so on a prefix, in bytes.
const KEY_BYTES_MAX: usize = 1_024;
/// Lambda's own default limit on an account's concurrent executions ("Lambda quotas").
const CONCURRENCY_MAX: u64 = 1_000;
/// How many objects a repair deletes at most by default.
pub const DELETES_MAX: u64 = 1_000;

const ACTIONS: &str =
    "\"start\", \"status\", \"list\", \"pause\", \"resume\", \"cancel\" or \"tend\"";

/// One request.
#[derive(Debug, Clone, PartialEq)]
pub enum Request {
    /// Start a job.
    Start {
        /// A rule's id, or the name of either of its buckets.
        rule: String,
        /// The job's id. A repeated request with the same id continues the same job.
        job_id: Option<JobId>,
        /// Used instead of an id: a request with the same token starts the same job.
        token: Option<String>,
        /// What it has to do.
        spec: JobSpec,
    },
    /// Show a job or change its state.
    Job {
        /// What to do.
        action: JobAction,
        /// A rule's id, or the name of either of its buckets.
        rule: String,
        /// Which job; the newest by default.
        job_id: Option<JobId>,
    },
    /// Show a rule's jobs.
    List {
        /// A rule's id, or the name of either of its buckets.
        rule: String,
    },
    /// Maintain all jobs. A schedule sends this request.
    Maintain,
}

/// What to do with a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobAction {
    /// Show it.
    Status,
    /// Pause it.
    Pause,
    /// Resume it. A failed job continues where its shards stopped.
    Resume,
    /// Cancel it.
    Cancel,
}

/// The fields of all actions.
#[derive(Deserialize)]
struct Fields {
    action: Value,
    rule: Option<Value>,
    job_id: Option<Value>,
    #[serde(flatten)]
    spec: SpecFields,
}

/// The fields that only `start` has.
#[derive(Default, Deserialize)]
struct SpecFields {
    token: Option<Value>,
    kind: Option<Value>,
    overwrite: Option<Value>,
    prefix: Option<Value>,
    manifest: Option<Value>,
    keys: Option<Value>,
    report: Option<Value>,
    objects_per_sec: Option<Value>,
    concurrency: Option<Value>,
    deletes_max: Option<Value>,
}

impl Request {
    /// Reads one request.
    pub fn parse(payload: Value) -> Result<Self, Refusal> {
        let fields = fields(payload)?;
        let action = text("action", fields.action)?;
        if action != "start" {
            fields.spec.refuse(&action)?;
        }
        if action == "tend" {
            for (field, value) in [("rule", &fields.rule), ("job_id", &fields.job_id)] {
                if let Some(value) = value {
                    return Err(not_with(field, value, &action));
                }
            }
            return Ok(Self::Maintain);
        }
        let is_known = ["start", "status", "list", "pause", "resume", "cancel"];
        if !is_known.contains(&action.as_str()) {
            let problem = format!("is not known; use {ACTIONS}");
            return Err(invalid("action", action, problem));
        }
        let Some(rule) = fields.rule else {
            let problem =
                format!("is missing; {action:?} needs a rule's id, or one of its buckets");
            return Err(invalid("rule", "", problem));
        };
        let rule = name("rule", rule)?;
        let job_id = fields.job_id.map(|id| name("job_id", id).map(JobId::new));
        let job_id = job_id.transpose()?;
        let action = match action.as_str() {
            "start" => {
                let mut spec = fields.spec;
                let token = token(spec.token.take().unwrap_or_default())?;
                if let (Some(token), Some(_)) = (&token, &job_id) {
                    let problem =
                        "cannot be combined with job_id, which already names the job; leave it out";
                    return Err(invalid("token", token.as_str(), problem));
                }
                return Ok(Self::Start {
                    rule,
                    job_id,
                    token,
                    spec: spec.read()?,
                });
            }
            "list" => {
                return match job_id {
                    Some(id) => Err(not_with("job_id", &Value::from(id.as_str()), "list")),
                    None => Ok(Self::List { rule }),
                };
            }
            "pause" => JobAction::Pause,
            "resume" => JobAction::Resume,
            "cancel" => JobAction::Cancel,
            _ => JobAction::Status,
        };
        Ok(Self::Job {
            action,
            rule,
            job_id,
        })
    }
}

impl SpecFields {
    /// Refuses fields that only `start` has.
    fn refuse(&self, action: &str) -> Result<(), Refusal> {
        for (field, value) in [
            ("token", &self.token),
            ("kind", &self.kind),
            ("overwrite", &self.overwrite),
            ("prefix", &self.prefix),
            ("manifest", &self.manifest),
            ("keys", &self.keys),
            ("report", &self.report),
            ("objects_per_sec", &self.objects_per_sec),
            ("concurrency", &self.concurrency),
            ("deletes_max", &self.deletes_max),
        ] {
            if let Some(value) = value {
                return Err(not_with(field, value, action));
            }
        }
        Ok(())
    }

    fn read(self) -> Result<JobSpec, Refusal> {
        let kind = self.kind.map_or(Ok(JobKind::Backfill), kind)?;
        let overwrite = self.overwrite.map(overwrite).transpose()?;
        let deletes_max = self.deletes_max.as_ref().map(deletes_max).transpose()?;
        let manifest = self.manifest.map(manifest).transpose()?;
        let keys = self.keys.map(keys).transpose()?;
        let spec = JobSpec {
            kind,
            overwrite: overwrite.unwrap_or_default(),
            prefix: self.prefix.map(prefix).transpose()?,
            keys: manifest.is_some().then(|| keys.unwrap_or_default()),
            manifest,
            report: self.report.map(report).transpose()?,
            objects_per_sec: self
                .objects_per_sec
                .as_ref()
                .map(objects_per_sec)
                .transpose()?,
            concurrency: self.concurrency.as_ref().map(concurrency).transpose()?,
            deletes_max: match kind {
                JobKind::Repair => Some(deletes_max.unwrap_or(DELETES_MAX)),
                JobKind::Backfill | JobKind::Verify => deletes_max,
            },
            scheduled: false,
        };
        let of_backfills = kind == JobKind::Backfill;
        let misplaced = [
            (
                "overwrite",
                overwrite.map(|mode| mode.as_str().to_owned()),
                of_backfills,
            ),
            ("manifest", spec.manifest.clone(), of_backfills),
            ("report", spec.report.clone(), !of_backfills),
            (
                "deletes_max",
                spec.deletes_max.map(|max| max.to_string()),
                kind == JobKind::Repair,
            ),
        ];
        for (field, value, fits) in misplaced {
            if let (Some(value), false) = (value, fits) {
                let problem = format!(
                    "cannot be combined with the kind {:?}; leave it out",
                    kind.as_str()
                );
                return Err(invalid(field, value, problem));
            }
        }
        if let (Some(keys), None) = (keys, &spec.manifest) {
            let problem =
                "is allowed only with a manifest, because it describes its keys; leave it out";
            return Err(invalid("keys", keys.as_str(), problem));
        }
        if let (Some(prefix), Some(_)) = (&spec.prefix, &spec.manifest) {
            let problem =
                "cannot be combined with a manifest, which already names the keys; leave it out";
            return Err(invalid("prefix", prefix.as_str(), problem));
        }
        Ok(spec)
    }
}

fn fields(payload: Value) -> Result<Fields, Refusal> {
    const FORM: &str = "send {\"action\": \"start\" or another, \"rule\": \"...\"}";
    const KNOWN: [&str; 13] = [
        "action",
        "rule",
        "job_id",
        "token",
        "kind",
        "overwrite",
        "prefix",
        "manifest",
        "keys",
        "report",
        "objects_per_sec",
        "concurrency",
        "deletes_max",
    ];
    let shown = payload.to_string();
    let refused = |problem| invalid("request", shown.as_str(), problem);
    let Some(object) = payload.as_object() else {
        return Err(refused(format!("is not a JSON object; {FORM}")));
    };
    if let Some(unknown) = object.keys().find(|name| !KNOWN.contains(&name.as_str())) {
        return Err(refused(format!(
            "is not a request to backfill: unknown field `{unknown}`, expected one of `{}`",
            KNOWN.join("`, `")
        )));
    }
    serde_json::from_value(payload)
        .map_err(|error| refused(format!("is not a request to backfill: {error}; {FORM}")))
}

fn kind(value: Value) -> Result<JobKind, Refusal> {
    let word = text("kind", value)?;
    [JobKind::Backfill, JobKind::Verify, JobKind::Repair]
        .into_iter()
        .find(|kind| kind.as_str() == word)
        .ok_or_else(|| {
            let problem = "is not known; use \"backfill\", \"verify\" or \"repair\"";
            invalid("kind", word, problem)
        })
}

fn overwrite(value: Value) -> Result<Overwrite, Refusal> {
    let word = text("overwrite", value)?;
    Overwrite::parse(&word).ok_or_else(|| {
        let problem = "is not known; use \"always\", \"if-older\" or \"never\"";
        invalid("overwrite", word, problem)
    })
}

fn prefix(value: Value) -> Result<String, Refusal> {
    let prefix = text("prefix", value)?;
    if (1..=KEY_BYTES_MAX).contains(&prefix.len()) {
        return Ok(prefix);
    }
    let problem = format!(
        "has {} bytes; give a prefix of 1 to {KEY_BYTES_MAX} bytes, or leave it out for all keys",
        prefix.len()
    );
    Err(invalid("prefix", prefix, problem))
}

fn manifest(value: Value) -> Result<String, Refusal> {
    let uri = text("manifest", value)?;
    match S3Uri::parse(&uri) {
        Err(problem) => Err(invalid("manifest", uri, problem)),
        Ok(S3Uri { key, .. }) if key.is_empty() || key.ends_with('/') => {
            let problem = "names no object; give s3://BUCKET/KEY of a CSV of keys, or of an S3 Inventory's manifest.json";
            Err(invalid("manifest", uri, problem))
        }
        Ok(_) => Ok(uri),
    }
}

fn keys(value: Value) -> Result<KeyEncoding, Refusal> {
    let word = text("keys", value)?;
    KeyEncoding::parse(&word).ok_or_else(|| {
        let problem =
            "is not known; use \"encoded\" if the list's keys are URL-encoded, or \"plain\"";
        invalid("keys", word, problem)
    })
}

fn report(value: Value) -> Result<String, Refusal> {
    let uri = text("report", value)?;
    match S3Uri::parse(&uri) {
        Err(problem) => Err(invalid("report", uri, problem)),
        Ok(_) => Ok(uri),
    }
}

fn objects_per_sec(value: &Value) -> Result<f64, Refusal> {
    let rate = value.as_f64().filter(|rate| *rate > 0.0 && *rate <= 1e6);
    rate.ok_or_else(|| {
        let problem =
            "is not a valid rate; give a number above 0, up to 1000000, or leave it out for no limit";
        invalid("objects_per_sec", shown(value), problem)
    })
}

fn concurrency(value: &Value) -> Result<u32, Refusal> {
    let count = value.as_u64().filter(|n| (1..=CONCURRENCY_MAX).contains(n));
    count
        .and_then(|count| u32::try_from(count).ok())
        .ok_or_else(|| {
            let problem = format!("is not a valid concurrency; give 1 to {CONCURRENCY_MAX}");
            invalid("concurrency", shown(value), problem)
        })
}

fn deletes_max(value: &Value) -> Result<u64, Refusal> {
    value.as_u64().ok_or_else(|| {
        let problem =
            "is not a valid number; give how many objects may be deleted at most, 0 or more";
        invalid("deletes_max", shown(value), problem)
    })
}

fn shown(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

fn not_with(field: &'static str, value: &Value, action: &str) -> Refusal {
    let problem = format!("cannot be combined with the action {action:?}; leave it out");
    invalid(field, shown(value), problem)
}

fn invalid(field: &'static str, value: impl Into<String>, problem: impl Into<String>) -> Refusal {
    Refusal::new(RefusalCode::InvalidRequest, field, value, problem)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn valid_requests_are_read_and_typing_errors_are_refused() {
        let start = Request::parse(json!({"action": "start", "rule": "photos"})).unwrap();
        assert_eq!(
            start,
            Request::Start {
                rule: "photos".into(),
                job_id: None,
                token: None,
                spec: JobSpec::default(),
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

    #[test]
    fn every_field_of_a_start_request_is_read() {
        let request = json!({"action": "start", "rule": "photos", "kind": "repair", "prefix": "a/",
            "report": "s3://reports/x/", "objects_per_sec": 10, "concurrency": 4});
        let Request::Start { spec, .. } = Request::parse(request).unwrap() else {
            panic!("another request");
        };
        let wanted = JobSpec {
            kind: JobKind::Repair,
            prefix: Some("a/".into()),
            report: Some("s3://reports/x/".into()),
            objects_per_sec: Some(10.0),
            concurrency: Some(4),
            deletes_max: Some(DELETES_MAX),
            ..JobSpec::default()
        };
        assert_eq!(spec, wanted);
    }

    #[test]
    fn the_keys_of_a_manifest_are_encoded_by_default() {
        for (fields, keys) in [
            (
                json!({"manifest": "s3://lists/a"}),
                Some(KeyEncoding::Encoded),
            ),
            (
                json!({"manifest": "s3://lists/a", "keys": "encoded"}),
                Some(KeyEncoding::Encoded),
            ),
            (
                json!({"manifest": "s3://lists/a", "keys": "plain"}),
                Some(KeyEncoding::Plain),
            ),
            (json!({}), None),
        ] {
            let mut request = json!({"action": "start", "rule": "photos"});
            let all = request.as_object_mut().unwrap();
            all.extend(fields.as_object().unwrap().clone());
            let Request::Start { spec, .. } = Request::parse(request).unwrap() else {
                panic!("another request");
            };
            assert_eq!(spec.keys, keys, "{fields}");
        }
    }

    #[test]
    fn a_refusal_names_the_field_and_what_to_do() {
        for (fields, field, said) in [
            (json!({"kind": "sync"}), "kind", "use \"backfill\""),
            (json!({"overwrite": "maybe"}), "overwrite", "if-older"),
            (
                json!({"kind": "verify", "overwrite": "never"}),
                "overwrite",
                "leave it out",
            ),
            (json!({"deletes_max": 3}), "deletes_max", "leave it out"),
            (json!({"report": "s3://reports/"}), "report", "leave it out"),
            (json!({"prefix": ""}), "prefix", "for all keys"),
            (json!({"manifest": "keys.csv"}), "manifest", "s3://"),
            (
                json!({"manifest": "s3://lists/"}),
                "manifest",
                "names no object",
            ),
            (
                json!({"manifest": "s3://lists/a", "prefix": "b"}),
                "prefix",
                "manifest",
            ),
            (
                json!({"manifest": "s3://lists/a", "keys": "report"}),
                "keys",
                "\"plain\"",
            ),
            (json!({"keys": "plain"}), "keys", "only with a manifest"),
            (json!({"objects_per_sec": 0}), "objects_per_sec", "above 0"),
            (json!({"concurrency": 1.5}), "concurrency", "give 1 to"),
        ] {
            let mut request = json!({"action": "start", "rule": "photos"});
            request
                .as_object_mut()
                .unwrap()
                .extend(fields.as_object().unwrap().clone());
            let refusal = Request::parse(request.clone()).unwrap_err();
            assert_eq!(refusal.field, field, "{request}: {refusal}");
            assert!(refusal.to_string().contains(said), "{request}: {refusal}");
        }
        let odd = json!({"action": "status", "rule": "photos", "overwrite": "never"});
        assert_eq!(Request::parse(odd).unwrap_err().field, "overwrite");
    }
}
