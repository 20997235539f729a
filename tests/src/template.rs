//! `template.yaml`, as a document. I/O: reads the file.

use std::path::Path;

use yaml_rust2::{Yaml, YamlLoader};

/// The template. What a tag such as `!Sub` says is not kept, only what it is about.
pub fn read() -> Yaml {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../template.yaml");
    let text = std::fs::read_to_string(path).expect("the template");
    let mut documents = YamlLoader::load_from_str(&text).expect("a template that is YAML");
    documents.remove(0)
}

/// Its resources, loops not expanded.
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

/// The texts of something that is one or several.
pub fn texts(value: &Yaml) -> Vec<&str> {
    match value {
        Yaml::String(one) => vec![one],
        Yaml::Array(several) => several.iter().flat_map(texts).collect(),
        other => panic!("neither a text nor a list of texts: {other:?}"),
    }
}
