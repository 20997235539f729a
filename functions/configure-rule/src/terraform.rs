//! Rules as resources of Terraform. `aws_lambda_invocation` with `lifecycle_scope = "CRUD"` adds `tf` to its input,
//! which says whether the resource is created, updated or deleted. This file only parses; `Stack` does all I/O.

use serde_json::{Map, Value, json};
use tandem_lambda::request::{RequestError, text};
use tandem_replication::names::RuleId;
use tandem_replication::refusal::Refusal;

use crate::declaration::{Backfills, Declaration, rule_id};
use crate::request::{draft_of, invalid};
use crate::stack::Stack;

/// The field that Terraform adds: the default of its `terraform_key`.
const KEY: &str = "tf";

/// A request of Terraform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TerraformRequest {
    /// Create or update the rule.
    Ensure(Box<Declaration>),
    /// Delete the rule.
    Remove(RuleId),
}

impl TerraformRequest {
    /// Reads a request of Terraform. Returns `None` for any other request.
    pub fn recognise(payload: &Value) -> Option<Result<Self, Refusal>> {
        let fields = payload.as_object()?;
        fields.contains_key(KEY).then(|| Self::read(fields.clone()))
    }

    fn read(mut input: Map<String, Value>) -> Result<Self, Refusal> {
        let tf = input.remove(KEY).unwrap_or_default();
        let Value::Object(mut tf) = tf else {
            let problem = "is not an object; Terraform adds it if lifecycle_scope is \"CRUD\"";
            return Err(invalid(KEY, tf.to_string(), problem));
        };
        if input.contains_key("action") {
            let problem = "is set by Terraform; leave action out of the input";
            return Err(invalid("action", input["action"].to_string(), problem));
        }
        let action = text("tf.action", tf.remove("action").unwrap_or_default())?;
        let before = match tf.remove("prev_input") {
            Some(Value::Object(mut before)) => {
                before.remove(KEY);
                before
            }
            _ => Map::new(),
        };
        match action.as_str() {
            "create" => ensure(input, &Map::new()),
            "update" => {
                same_buckets(&input, &before)?;
                ensure(input, &before)
            }
            "delete" => Ok(Self::Remove(id_of(if has_buckets(&input) {
                &input
            } else {
                &before
            }))),
            _ => {
                let problem = "is not known; use create, update or delete";
                Err(invalid("tf.action", action, problem))
            }
        }
    }
}

impl Stack {
    /// Carries out a request of Terraform.
    pub(crate) async fn answer_terraform(
        &self,
        request: TerraformRequest,
    ) -> Result<Value, RequestError> {
        match request {
            TerraformRequest::Ensure(wanted) => Ok(json!(self.ensure(&wanted).await?)),
            TerraformRequest::Remove(id) => Ok(json!({"rule": self.remove(&id).await?})),
        }
    }
}

fn ensure(
    input: Map<String, Value>,
    before: &Map<String, Value>,
) -> Result<TerraformRequest, Refusal> {
    let id = id_of(&input);
    let draft = draft_of(input)?;
    Ok(TerraformRequest::Ensure(Box::new(Declaration {
        backfills: if before.get("historical") == Some(&json!(true)) {
            Backfills::No
        } else {
            Backfills::Now
        },
        request: format!("terraform {id}"),
        id,
        draft,
    })))
}

/// Returns the id of the rule. Terraform does not send the resource's name, so the pair of buckets identifies the rule.
fn id_of(input: &Map<String, Value>) -> RuleId {
    let bucket = |name: &str| match input.get(name) {
        Some(Value::String(name)) => name.clone(),
        Some(other) => other.to_string(),
        None => String::new(),
    };
    rule_id(&["terraform", &bucket("source"), &bucket("destination")])
}

fn has_buckets(input: &Map<String, Value>) -> bool {
    input.contains_key("source") && input.contains_key("destination")
}

/// Refuses other buckets. They would be another rule, and Terraform cannot express that an update replaces a resource.
fn same_buckets(input: &Map<String, Value>, before: &Map<String, Value>) -> Result<(), Refusal> {
    for field in ["source", "destination"] {
        let (now, then) = (input.get(field), before.get(field));
        if let (Some(now), Some(then)) = (now, then)
            && now != then
        {
            let problem = format!(
                "was {then} before, and a rule's buckets cannot be changed; replace the resource: name the buckets in \
                 replace_triggered_by, as the example does, or use terraform apply -replace"
            );
            let value = now.as_str().map_or_else(|| now.to_string(), str::to_owned);
            return Err(invalid(field, value, problem));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(payload: &Value) -> Result<TerraformRequest, String> {
        TerraformRequest::recognise(payload)
            .unwrap()
            .map_err(|refusal| refusal.to_string())
    }

    fn request(action: &str, before: &Value) -> Value {
        json!({"source": "photos", "destination": "photos-replica", "historical": true,
            "tf": {"action": action, "prev_input": before}})
    }

    #[test]
    fn a_request_without_tf_is_not_taken_for_one_of_terraform() {
        assert_eq!(
            TerraformRequest::recognise(&json!({"action": "list"})),
            None
        );
        assert_eq!(TerraformRequest::recognise(&json!("tf")), None);
    }

    #[test]
    fn a_pair_of_buckets_is_one_rule_from_creation_to_deletion() {
        let Ok(TerraformRequest::Ensure(created)) = read(&request("create", &json!(null))) else {
            panic!("not created")
        };
        assert_eq!(created.backfills, Backfills::Now);
        let before =
            json!({"source": "photos", "destination": "photos-replica", "historical": true});
        let Ok(TerraformRequest::Ensure(updated)) = read(&request("update", &before)) else {
            panic!("not updated")
        };
        assert_eq!(
            (&updated.id, updated.backfills),
            (&created.id, Backfills::No)
        );
        let removed = TerraformRequest::Remove(created.id);
        assert_eq!(read(&request("delete", &before)), Ok(removed.clone()));
        let only_before = json!({"tf": {"action": "delete", "prev_input": before}});
        assert_eq!(read(&only_before), Ok(removed));
    }

    #[test]
    fn a_refusal_says_what_to_do() {
        let renamed = json!({"source": "photos", "destination": "other-replica"});
        for (payload, said) in [
            (
                request("update", &renamed),
                "destination = \"photos-replica\": was \"other-replica\" before",
            ),
            (
                request("destroy", &json!(null)),
                "tf.action = \"destroy\": is not known",
            ),
            (
                json!({"tf": "create"}),
                "tf = \"\\\"create\\\"\": is not an object",
            ),
            (
                json!({"tf": {}}),
                "tf.action = \"null\": is null; give a text",
            ),
            (
                json!({"action": "create", "tf": {"action": "create"}}),
                "leave action out of the input",
            ),
            (
                json!({"source": "photos", "tf": {"action": "create"}}),
                "missing field `destination`",
            ),
            (
                json!({"source": "photos", "destination": "b", "tf": {"action": "create"}}),
                "destination = \"b\"",
            ),
        ] {
            let refusal = read(&payload).unwrap_err();
            assert!(refusal.contains(said), "{said}: {refusal}");
        }
    }
}
