//! Reads CloudFormation's requests for custom resources and builds the answers, without I/O.
//!
//! Source: CloudFormation user guide, "Custom resource reference": request and response objects.

use serde_json::{Map, Value, json};
use tandem_replication::names::RuleId;
use tandem_replication::refusal::Refusal;

use crate::declaration::{is_rule_id, rule_id};
use crate::request::invalid;

/// CloudFormation's limit on the body of an answer.
pub const ANSWER_BYTES_MAX: usize = 4_096;

/// A request of CloudFormation. Missing fields are read as empty, so that even an invalid request is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResourceEvent {
    /// The URL to which the answer is sent.
    pub response_url: String,
    /// `Create`, `Update`, `Delete`.
    pub request_type: String,
    /// The request's id. A repeated request has the same id.
    pub request_id: String,
    /// The stack's ARN. A stack with the same name that is created later has another ARN.
    pub stack_id: String,
    /// The resource's name in its template.
    pub logical_id: String,
    /// `Custom::` and the type of the resource.
    pub resource_type: String,
    /// The id that an earlier answer gave to the resource.
    pub physical_id: Option<String>,
    /// The properties in the template.
    pub properties: Map<String, Value>,
    /// The properties before an update.
    pub old_properties: Map<String, Value>,
}

/// The result of a successful request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// The value of `!Ref`.
    pub physical_id: String,
    /// The values of `!GetAtt`.
    pub attributes: Value,
}

impl ResourceEvent {
    /// Reads a request of CloudFormation. Returns `None` for any other request.
    pub fn recognise(payload: &Value) -> Option<Self> {
        let fields = payload.as_object()?;
        if !["RequestType", "ResponseURL", "StackId", "RequestId"]
            .iter()
            .all(|name| fields.contains_key(*name))
        {
            return None;
        }
        let text = |name: &str| fields.get(name).and_then(Value::as_str).map(str::to_owned);
        let object = |name: &str| {
            let object = fields.get(name).and_then(Value::as_object);
            object.cloned().unwrap_or_default()
        };
        Some(Self {
            response_url: text("ResponseURL")?,
            request_type: text("RequestType").unwrap_or_default(),
            request_id: text("RequestId").unwrap_or_default(),
            stack_id: text("StackId").unwrap_or_default(),
            logical_id: text("LogicalResourceId").unwrap_or_default(),
            resource_type: text("ResourceType").unwrap_or_default(),
            physical_id: text("PhysicalResourceId").filter(|id| !id.is_empty()),
            properties: object("ResourceProperties"),
            old_properties: object("OldResourceProperties"),
        })
    }

    /// Returns the id of this resource's rule with these properties. Another pair of buckets is another rule.
    pub fn rule_id(&self, properties: &Map<String, Value>) -> RuleId {
        let text = |name: &str| match properties.get(name) {
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
            None => String::new(),
        };
        rule_id(&[
            "cloudformation",
            &self.stack_id,
            &self.logical_id,
            &text("Source"),
            &text("Destination"),
        ])
    }

    /// Returns the rule of the resource. If the resource's id is not one of a rule, its creation was never answered,
    /// and the properties identify the rule.
    pub fn rule_meant(&self) -> RuleId {
        match &self.physical_id {
            Some(id) if is_rule_id(id) => RuleId::new(id.as_str()),
            _ => self.rule_id(&self.properties),
        }
    }

    /// Returns the name of the stack that contains the resource.
    pub fn stack_name(&self) -> &str {
        self.stack_id.split('/').nth(1).unwrap_or_default()
    }

    /// Returns the refusal of a request of an unknown type.
    pub fn unknown_type(&self) -> Refusal {
        let problem = "is not known; use Create, Update or Delete";
        invalid("RequestType", self.request_type.as_str(), problem)
    }

    /// Returns the answer. It has at most [`ANSWER_BYTES_MAX`] bytes, unless the fields that it repeats are longer.
    pub fn answer(&self, outcome: &Result<Resource, String>) -> Value {
        match outcome {
            Ok(resource) => {
                let mut answer = self.answer_of("SUCCESS", &resource.physical_id);
                answer["Data"] = resource.attributes.clone();
                answer
            }
            Err(reason) => {
                let physical_id = match &self.physical_id {
                    Some(id) => id.clone(),
                    None => self.rule_id(&self.properties).to_string(),
                };
                let mut answer = self.answer_of("FAILED", &physical_id);
                answer["Reason"] = json!("");
                let bytes_max = ANSWER_BYTES_MAX.saturating_sub(answer.to_string().len());
                answer["Reason"] = json!(cut(reason, bytes_max));
                answer
            }
        }
    }

    fn answer_of(&self, status: &str, physical_id: &str) -> Value {
        json!({
            "Status": status,
            "PhysicalResourceId": physical_id,
            "StackId": self.stack_id,
            "RequestId": self.request_id,
            "LogicalResourceId": self.logical_id,
        })
    }
}

/// Replaces the rest of a text that is cut.
const CUT: &str = " ...";

/// Cuts a text so that it takes at most `bytes_max` bytes inside a JSON text.
fn cut(text: &str, bytes_max: usize) -> String {
    let bytes = |text: &str| json!(text).to_string().len() - 2;
    if bytes(text) <= bytes_max {
        return text.to_owned();
    }
    let mut left = bytes_max.saturating_sub(CUT.len());
    let mut kept = String::new();
    for character in text.chars() {
        let bytes = bytes(character.encode_utf8(&mut [0; 4]));
        if bytes > left {
            break;
        }
        left -= bytes;
        kept.push(character);
    }
    kept + CUT
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(properties: &Value) -> ResourceEvent {
        ResourceEvent::recognise(&json!({
            "RequestType": "Create", "ResponseURL": "https://answers/", "RequestId": "request-1",
            "StackId": "arn:aws:cloudformation:us-east-1:111122223333:stack/photos/0197", "LogicalResourceId": "Rule",
            "ResourceType": "Custom::ReplicationRule", "ResourceProperties": properties,
        }))
        .unwrap()
    }

    #[test]
    fn a_request_of_the_contract_is_not_taken_for_one_of_cloudformation() {
        for payload in [
            json!({"action": "list"}),
            json!([1]),
            json!({"RequestType": "Create"}),
            json!({"RequestType": "Create", "ResponseURL": 1, "StackId": "s", "RequestId": "r"}),
        ] {
            assert_eq!(ResourceEvent::recognise(&payload), None, "{payload}");
        }
    }

    #[test]
    fn a_resource_is_the_same_rule_until_a_bucket_changes() {
        let id = |properties: Value| {
            let event = event(&properties);
            event.rule_id(&event.properties)
        };
        let first = id(json!({"Source": "a", "Destination": "b", "Policy": "full"}));
        assert_eq!(first, id(json!({"Source": "a", "Destination": "b"})));
        assert_ne!(first, id(json!({"Source": "a", "Destination": "c"})));
        assert_ne!(first, id(json!({"Source": ["a"], "Destination": "b"})));
    }

    #[test]
    fn an_id_generated_by_cloudformation_means_the_rule_of_the_properties() {
        let mut event = event(&json!({"Source": "a", "Destination": "b"}));
        let of_properties = event.rule_id(&event.properties);
        event.physical_id = Some("photos-Rule-1ABCDEFGHIJKL".to_owned());
        assert_eq!(event.rule_meant(), of_properties);
        event.physical_id = Some("rule-0197f3c2a1b47c3e9d52".to_owned());
        assert_eq!(event.rule_meant().as_str(), "rule-0197f3c2a1b47c3e9d52");
    }

    #[test]
    fn a_long_reason_is_cut_to_the_limit_of_cloudformation() {
        for reason in [
            "x".repeat(9_000),
            "\"".repeat(9_000),
            "ü\n\u{1}".repeat(3_000),
        ] {
            let answer = event(&json!({})).answer(&Err(reason.clone())).to_string();
            assert!(answer.len() <= ANSWER_BYTES_MAX, "{} bytes", answer.len());
            assert!(
                answer.len() > ANSWER_BYTES_MAX - 8,
                "{} bytes",
                answer.len()
            );
            let answer: Value = serde_json::from_str(&answer).unwrap();
            assert!(answer["Reason"].as_str().unwrap().ends_with(" ..."));
        }
        let short = event(&json!({})).answer(&Err("no such bucket".to_owned()));
        assert_eq!(short["Reason"], "no such bucket");
    }

    #[test]
    fn an_answer_repeats_the_fields_of_its_request() {
        let answer = event(&json!({})).answer(&Ok(Resource {
            physical_id: "rule-1".to_owned(),
            attributes: json!({"RuleId": "rule-1"}),
        }));
        assert_eq!(
            answer,
            json!({
                "Status": "SUCCESS", "PhysicalResourceId": "rule-1", "RequestId": "request-1",
                "StackId": "arn:aws:cloudformation:us-east-1:111122223333:stack/photos/0197",
                "LogicalResourceId": "Rule", "Data": {"RuleId": "rule-1"},
            })
        );
        assert_eq!(event(&json!({})).stack_name(), "photos");
    }
}
