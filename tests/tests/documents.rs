//! What the documents say is so: tests that they name exist, and so do the files that they point to.

use std::path::{Path, PathBuf};

use tandem_replication::fault::REASONS;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The texts between backticks, however the lines are broken.
fn quoted(document: &str) -> Vec<String> {
    let texts = document.split('`').skip(1).step_by(2);
    texts
        .map(|text| text.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect()
}

#[test]
fn every_test_that_semantics_names_exists() {
    let mut named = 0;
    for text in quoted(&read("docs/semantics.md")) {
        let Some((file, test)) = text.split_once(".rs: ") else {
            continue;
        };
        let file = format!("{file}.rs");
        let code = read(&file);
        assert!(
            code.contains(&format!("fn {test}(")),
            "{file} has no test {test}"
        );
        named += 1;
    }
    assert!(named > 20, "only {named} tests are named");
}

#[test]
fn every_reason_is_in_the_document_with_its_meaning_and_what_helps() {
    let document = read("docs/failures.md");
    for entry in &REASONS {
        let disposition = format!("{:?}", entry.disposition).to_lowercase();
        let row = format!(
            "| `{}` | {disposition} | {} | {} |",
            entry.word, entry.meaning, entry.remedy
        );
        assert!(document.contains(&row), "docs/failures.md lacks: {row}");
    }
}

#[test]
fn every_source_file_that_a_document_names_exists() {
    let decisions = std::fs::read_dir(root().join("docs/decisions")).unwrap();
    let decisions =
        decisions.map(|entry| format!("docs/decisions/{}", entry.unwrap().file_name().display()));
    let documents = [
        "README.md",
        "ARCHITECTURE.md",
        "docs/contract.md",
        "docs/failures.md",
        "docs/semantics.md",
    ]
    .map(str::to_owned);
    for document in documents.into_iter().chain(decisions) {
        for text in quoted(&read(&document)) {
            let is_path = text.contains('/') && !text.contains([' ', '<', '*', ':', '$', ';']);
            let of_ours = [
                "shared/",
                "functions/",
                "tests/",
                "docs/",
                "local/",
                "events/",
            ];
            if is_path && of_ours.iter().any(|room| text.starts_with(room)) {
                assert!(
                    root().join(&text).exists(),
                    "{document} names {text}, which is not there"
                );
            }
        }
    }
}
