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
fn every_test_that_a_document_names_exists() {
    let mut named = 0;
    let documents = ["docs/semantics.md", "docs/cost.md", "docs/runbook.md"].map(read);
    for text in documents.iter().flat_map(|document| quoted(document)) {
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

/// Every row of the table names its test, and every test its row.
#[test]
fn every_row_of_fidelity_has_its_tests() {
    let folder = root().join("tests/tests/flows/fidelity");
    let files = std::fs::read_dir(folder).unwrap();
    let code: String = files
        .map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap())
        .collect();
    let document = read("docs/fidelity.md");
    let table = document.split("## What S3").next().unwrap();
    let rows = table.lines().filter(|line| line.starts_with("| ")).skip(1);
    let mut named = Vec::new();
    for row in rows {
        let tests = row.rsplit('|').nth(1).map(quoted).unwrap_or_default();
        assert!(!tests.is_empty(), "no test for: {row}");
        for test in tests {
            assert!(
                code.contains(&format!("async fn {test}()")),
                "no test {test}"
            );
            named.push(test);
        }
    }
    for test in code.split("#[tokio::test]\nasync fn ").skip(1) {
        let test = test.split('(').next().unwrap_or_default();
        assert!(named.iter().any(|name| name == test), "no row for {test}");
    }
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
        "docs/benchmarks.md",
        "docs/contract.md",
        "docs/cost.md",
        "docs/failures.md",
        "docs/fidelity.md",
        "docs/rules-as-code.md",
        "docs/runbook.md",
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
                "examples/",
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
