//! `template.yaml`, as a document. I/O: reads the file.

use std::path::Path;

use yaml_rust2::{Yaml, YamlLoader};

/// The template. Tags such as `!Sub` are dropped; their values stay.
pub fn read() -> Yaml {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../template.yaml");
    let text = std::fs::read_to_string(path).expect("the template");
    let mut documents = YamlLoader::load_from_str(&text).expect("a template that is YAML");
    documents.remove(0)
}

/// The template's resources, without expanding loops.
pub fn resources(template: &Yaml) -> &Yaml {
    &template["Resources"]
}

/// The resources of a type, each with its logical id.
pub fn of_type<'a>(
    template: &'a Yaml,
    wanted: &'static str,
) -> impl Iterator<Item = (&'a str, &'a Yaml)> {
    let all = resources(template).as_hash().expect("resources");
    all.iter()
        .filter(move |(_, resource)| resource["Type"].as_str() == Some(wanted))
        .map(|(id, resource)| (id.as_str().expect("a logical id"), resource))
}

/// The value of `!If [Condition, something, !Ref AWS::NoValue]` if the condition holds.
pub fn if_there(value: &Yaml) -> &Yaml {
    match value.as_vec().map(Vec::as_slice) {
        Some([Yaml::String(_), there, Yaml::String(nothing)]) if nothing == "AWS::NoValue" => there,
        _ => value,
    }
}

/// A function's role.
pub fn role<'a>(template: &'a Yaml, logical_id: &str) -> &'a Yaml {
    let role = &resources(template)[format!("{logical_id}Role").as_str()];
    assert_eq!(
        role["Type"].as_str(),
        Some("AWS::IAM::Role"),
        "{logical_id}"
    );
    &role["Properties"]
}

/// The statements of a function's role if all conditions of the template hold.
pub fn statements<'a>(template: &'a Yaml, logical_id: &str) -> Vec<&'a Yaml> {
    let role = role(template, logical_id);
    let own = role["Policies"].as_vec().into_iter().flatten();
    let own = own.map(|policy| &policy["PolicyDocument"]);
    let shared = role["ManagedPolicyArns"].as_vec().into_iter().flatten();
    // Only policies of the template: the policies of AWS allow more than any function needs.
    let shared = shared.map(|policy| {
        let policy = if_there(policy).as_str().expect("a policy of the template");
        &resources(template)[policy]["Properties"]["PolicyDocument"]
    });
    own.chain(shared)
        .flat_map(|document| document["Statement"].as_vec().expect("statements"))
        .map(if_there)
        .collect()
}

/// The queue that invokes a function, if there is one.
pub fn queue<'a>(template: &'a Yaml, logical_id: &str) -> Option<&'a str> {
    let events = &resources(template)[logical_id]["Properties"]["Events"];
    events
        .as_hash()?
        .values()
        .find_map(|event| event["Properties"]["Queue"].as_str())
}

/// The strings of a value that is one string or a list.
pub fn texts(value: &Yaml) -> Vec<&str> {
    match value {
        Yaml::String(one) => vec![one],
        Yaml::Array(several) => several.iter().flat_map(texts).collect(),
        other => panic!("neither a string nor a list of strings: {other:?}"),
    }
}
