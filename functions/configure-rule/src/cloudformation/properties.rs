//! Reads the properties of a template as a rule, without I/O. Properties are the contract's fields with names in
//! CloudFormation's style. The contract's own parser reads them, and its refusals are converted to the template's
//! names. CloudFormation passes numbers and booleans as texts.

use serde_json::{Map, Value, json};
use tandem_replication::new_rule::NewRule;
use tandem_replication::refusal::Refusal;

use crate::request::{draft_of, invalid};

/// Properties of the resource itself, which do not describe the rule.
const OF_CLOUDFORMATION: [&str; 2] = ["ServiceToken", "ServiceTimeout"];

/// Properties whose names differ from the contract's only in style.
const SIMPLE: [&str; 6] = [
    "Source",
    "Destination",
    "DestinationRegion",
    "Policy",
    "Historical",
    "Options",
];
const NAMES: &str =
    "Source, Destination, DestinationRegion, Scope, Prefixes, Policy, Options, Historical";

/// Returns the rule that the properties declare.
pub fn draft(properties: &Map<String, Value>) -> Result<NewRule, Refusal> {
    let mut fields = Map::new();
    let (mut scope, mut prefixes) = (None, None);
    for (name, value) in properties {
        // A condition or an empty parameter leaves this property out.
        if value.is_null() || value == "" || OF_CLOUDFORMATION.contains(&name.as_str()) {
            continue;
        }
        match name.as_str() {
            "Scope" => scope = Some(value),
            "Prefixes" => prefixes = Some(value),
            "Options" => _ = fields.insert("options".to_owned(), options(value)?),
            name if SIMPLE.contains(&name) => _ = fields.insert(snake(name), unquoted(value)),
            _ => {
                let problem = format!("is not a property of a rule; use any of {NAMES}");
                return Err(invalid("ResourceProperties", name.as_str(), problem));
            }
        }
    }
    for required in ["Source", "Destination"] {
        if !fields.contains_key(&snake(required)) {
            let problem = "is missing; name a bucket";
            return Err(invalid("ResourceProperties", required, problem));
        }
    }
    match (scope, prefixes) {
        (Some(all), None) if all == "all" => {}
        (None, None) => {}
        (None, Some(prefixes)) => {
            fields.insert("scope".to_owned(), json!({"prefixes": prefixes}));
        }
        (Some(scope), _) => {
            let problem = "may only be \"all\", without Prefixes; to replicate some keys, give Prefixes and no Scope";
            return Err(invalid("Scope", scope.to_string(), problem));
        }
    }
    draft_of(fields)
}

/// Whether the properties request the replication of historical objects.
pub fn historical(properties: &Map<String, Value>) -> bool {
    properties
        .get("Historical")
        .is_some_and(|value| unquoted(value) == true)
}

/// Returns a refusal with the names of the template.
pub fn told(refusal: &Refusal) -> String {
    let said = refusal.to_string();
    let value = said
        .strip_prefix(refusal.field)
        .and_then(|rest| rest.strip_suffix(refusal.problem.as_str()))
        .unwrap_or(" ");
    let field: Vec<String> = refusal.field.split('.').map(pascal).collect();
    let field = match refusal.field {
        "scope" | "scope.prefixes" => "Prefixes".to_owned(),
        _ => field.join("."),
    };
    let is_of_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = refusal.problem.split_inclusive(|c: char| !is_of_name(c));
    let problem: String = words
        .map(|word| {
            let name = word.trim_end_matches(|c: char| !is_of_name(c));
            if name == "options" && word.ends_with('.') {
                "Options.".to_owned()
            } else if IN_ADVICE.contains(&name) {
                pascal(name) + &word[name.len()..]
            } else {
                word.to_owned()
            }
        })
        .collect();
    format!("{field}{value}{problem} ({})", refusal.code.as_str())
}

/// Fields that a refusal may advise to change, and whose names are not ordinary words.
const IN_ADVICE: [&str; 8] = [
    "destination_region",
    "storage_class",
    "kms_key",
    "object_lock",
    "lifecycle_deletes",
    "destination_account",
    "rpo_secs",
    "enable_eventbridge",
];

/// Returns options with the contract's names.
fn options(value: &Value) -> Result<Value, Refusal> {
    let Value::Object(options) = value else {
        let problem = "is not a map; give any of StorageClass, Encryption, KmsKey, Tags, Acl, ObjectLock and so on";
        return Err(invalid("Options", value.to_string(), problem));
    };
    let mut fields = Map::new();
    for (name, value) in options {
        if name.starts_with(|first: char| !first.is_ascii_uppercase())
            || pascal(&snake(name)) != *name
        {
            let problem = "is not the name of an option; write it in the style of StorageClass";
            return Err(invalid("Options", name.as_str(), problem));
        }
        let value = match value.as_str() {
            Some("") => Value::Null,
            // The only option that is a number; an account's id has to stay a text.
            Some(text) if name == "RpoSecs" => {
                text.parse().map_or_else(|_| json!(text), Value::Number)
            }
            _ => unquoted(value),
        };
        fields.insert(snake(name), value);
    }
    Ok(Value::Object(fields))
}

/// Returns a boolean that CloudFormation has converted to a text.
fn unquoted(value: &Value) -> Value {
    match value.as_str() {
        Some("true") => json!(true),
        Some("false") => json!(false),
        _ => value.clone(),
    }
}

fn snake(name: &str) -> String {
    let mut snake = String::new();
    for (at, character) in name.char_indices() {
        if character.is_ascii_uppercase() && at > 0 {
            snake.push('_');
        }
        snake.push(character.to_ascii_lowercase());
    }
    snake
}

fn pascal(name: &str) -> String {
    let words = name.split('_').map(|word| {
        let (first, rest) = word.split_at_checked(1).unwrap_or((word, ""));
        first.to_ascii_uppercase() + rest
    });
    words.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tandem_replication::rule::{Policy, Scope};

    fn read(properties: &Value) -> Result<NewRule, String> {
        draft(properties.as_object().unwrap()).map_err(|refusal| told(&refusal))
    }

    #[test]
    fn properties_are_read_as_a_rule_and_booleans_may_be_texts() {
        let draft = read(&json!({
            "ServiceToken": "arn:...", "ServiceTimeout": "120", "Source": "photos", "Destination": "photos-replica",
            "DestinationRegion": "us-west-2", "Prefixes": ["2025/", "2026/"], "Policy": "full", "Historical": "true",
            "Options": {"StorageClass": "GLACIER_IR", "KmsKey": "", "Tags": "false", "LifecycleDeletes": true, "RpoSecs": "60",
                        "Notifications": "eventbridge", "EnableEventbridge": "true"},
        }))
        .unwrap();
        assert_eq!(
            draft.scope,
            Scope::Prefixes(vec!["2025/".into(), "2026/".into()])
        );
        assert!(draft.historical && !draft.options.tags && draft.options.lifecycle_deletes);
        assert_eq!(
            (&draft.options.kms_key, draft.options.rpo_secs),
            (&None, 60)
        );
        let options = serde_json::to_value(&draft.options).unwrap();
        for (name, value) in [
            ("storage_class", json!("GLACIER_IR")),
            ("notifications", json!("eventbridge")),
            ("enable_eventbridge", json!(true)),
        ] {
            assert_eq!(options[name], value, "{name}");
        }
    }

    #[test]
    fn missing_properties_have_their_defaults() {
        for scope in [json!(null), json!("all"), json!("")] {
            let draft =
                read(&json!({"Source": "aaa", "Destination": "bbb", "Scope": scope, "Policy": ""}))
                    .unwrap();
            assert_eq!(
                (draft.scope, draft.policy, draft.historical),
                (Scope::All, Policy::Full, false)
            );
        }
    }

    #[test]
    fn a_refusal_names_the_property_its_value_and_what_to_do() {
        let with = |name: &str, value: Value| {
            let mut properties = json!({"Source": "aaa", "Destination": "bbb"});
            properties[name] = value;
            read(&properties).unwrap_err()
        };
        for (name, value, said) in [
            (
                "Polcy",
                json!("full"),
                "ResourceProperties = \"Polcy\": is not a property of a rule; use any of Source",
            ),
            (
                "Source",
                json!(""),
                "ResourceProperties = \"Source\": is missing; name a bucket (InvalidRequest)",
            ),
            ("Source", json!("A"), "Source = \"A\": "),
            (
                "Policy",
                json!("ful"),
                "Policy = \"ful\": is not known; use \"full\"",
            ),
            (
                "Historical",
                json!("yes"),
                "Historical = \"\\\"yes\\\"\": is a text; give true or false",
            ),
            (
                "Prefixes",
                json!([]),
                "Prefixes = {\"prefixes\":[]}: no prefix given",
            ),
            (
                "Prefixes",
                json!("a/"),
                "Prefixes = {\"prefixes\":\"a/\"}: is neither",
            ),
            (
                "Scope",
                json!("some"),
                "Scope = \"\\\"some\\\"\": may only be \"all\"",
            ),
            (
                "Options",
                json!("keep"),
                "Options = \"\\\"keep\\\"\": is not a map",
            ),
            (
                "Options",
                json!({"storage_class": "keep"}),
                "Options = \"storage_class\": is not the name of an option",
            ),
            (
                "Options",
                json!({"Storage": "keep"}),
                "use any of StorageClass, encryption, KmsKey",
            ),
            (
                "Options",
                json!({"StorageClass": "COLD"}),
                "Options.StorageClass = \"COLD\": is not a storage class",
            ),
            (
                "Options",
                json!({"Tags": "no"}),
                "Options.Tags = \"\\\"no\\\"\": is a text; give true or false",
            ),
        ] {
            let refusal = with(name, value);
            assert!(refusal.contains(said), "{said}: {refusal}");
        }
    }

    #[test]
    fn names_are_converted_in_both_directions() {
        for (template, contract) in [
            ("Source", "source"),
            ("LifecycleDeletes", "lifecycle_deletes"),
        ] {
            assert_eq!(
                (snake(template).as_str(), pascal(contract).as_str()),
                (contract, template)
            );
        }
    }
}
