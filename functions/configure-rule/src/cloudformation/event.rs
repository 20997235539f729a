//! What CloudFormation asks of a custom resource, and the answer it waits for. No I/O.
//!
//! Source: CloudFormation user guide, "Custom resource reference": request and response objects.

use serde_json::{Map, Value, json};
use tandem_replication::names::RuleId;
use tandem_replication::refusal::Refusal;

use crate::declaration::{is_rule_id, rule_id};
use crate::request::invalid;

/// CloudFormation's limit on the body of an answer.
pub const ANSWER_BYTES_MAX: usize = 4_096;

/// A request of CloudFormation's. What is missing in it reads as empty, so that even a request that makes no sense
/// is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResourceEvent {
    /// Where the answer is put.
    pub response_url: String,
    /// `Create`, `Update`, `Delete`.
    pub request_type: String,
    /// The same whenever this request is sent again.
    pub request_id: String,
    /// The stack's ARN; a stack of the same name that is made later has another.
    pub stack_id: String,
    /// The resource's name in its template.
    pub logical_id: String,
    /// `Custom::` and what it is.
    pub resource_type: String,
    /// What an earlier answer called it.
    pub physical_id: Option<String>,
    /// What the template says.
    pub properties: Map<String, Value>,
    /// What it said before.
    pub old_properties: Map<String, Value>,
}

/// What is told of a resource that is as it has to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// The value of `!Ref`.
    pub physical_id: String,
    /// The values of `!GetAtt`.
    pub attributes: Value,
}

impl ResourceEvent {
    /// Reads a request of CloudFormation's; none if this is something else.
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

    /// The id of the rule that this resource is with these properties: another pair of buckets is another rule.
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

    /// The rule that CloudFormation means by its resource. An id that is not of our making stands for a resource
    /// whose creation was never answered.
    pub fn rule_meant(&self) -> RuleId {
        match &self.physical_id {
            Some(id) if is_rule_id(id) => RuleId::new(id.as_str()),
            _ => self.rule_id(&self.properties),
        }
    }

    /// The name of the stack that the resource is in.
    pub fn stack_name(&self) -> &str {
        self.stack_id.split('/').nth(1).unwrap_or_default()
    }

    /// Refuses a request of a type that there is not.
    pub fn unknown_type(&self) -> Refusal {
        let problem = "is not known; it is Create, Update or Delete";
        invalid("RequestType", self.request_type.as_str(), problem)
    }

    /// The answer, of at most [`ANSWER_BYTES_MAX`] bytes unless what has to be repeated is longer.
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
                let room = ANSWER_BYTES_MAX.saturating_sub(answer.to_string().len());
                answer["Reason"] = json!(cut(reason, room));
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

/// What stands for the rest of a text.
const CUT: &str = " ...";

/// As much of a text as takes so many bytes within a JSON text.
fn cut(text: &str, room: usize) -> String {
    let bytes = |text: &str| json!(text).to_string().len() - 2;
    if bytes(text) <= room {
        return text.to_owned();
    }
    let mut left = room.saturating_sub(CUT.len());
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
    fn a_request_of_the_contract_is_none_of_cloudformations() {
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
    fn a_name_that_cloudformation_made_up_stands_for_the_rule_of_the_properties() {
        let mut event = event(&json!({"Source": "a", "Destination": "b"}));
        let of_properties = event.rule_id(&event.properties);
        event.physical_id = Some("photos-Rule-1ABCDEFGHIJKL".to_owned());
        assert_eq!(event.rule_meant(), of_properties);
        event.physical_id = Some("rule-0197f3c2a1b47c3e9d52".to_owned());
        assert_eq!(event.rule_meant().as_str(), "rule-0197f3c2a1b47c3e9d52");
    }

    #[test]
    fn a_long_reason_is_cut_to_what_cloudformation_takes() {
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
    fn an_answer_repeats_what_it_was_asked() {
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
