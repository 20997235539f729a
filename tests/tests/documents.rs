//! Checks the documents: the tests that they name exist, tests quote their promises, and the files that they point to
//! exist.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test that cannot go on says why"
)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use tandem_replication::fault::REASONS;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The strings between backticks, however the lines are broken.
fn quoted(document: &str) -> Vec<String> {
    let texts = document.split('`').skip(1).step_by(2);
    texts.map(folded).collect()
}

#[test]
fn every_test_that_a_document_names_exists() {
    let mut named = 0;
    let documents = ["docs/cost.md", "docs/runbook.md"].map(read);
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
    assert!(named > 0, "the documents name no test");
}

/// The text on one line.
fn folded(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The promises of a document: its list items, each with its continuation lines.
fn promises(document: &str) -> Vec<String> {
    let mut promises: Vec<String> = Vec::new();
    let mut in_item = false;
    for line in document.lines() {
        if let Some(item) = line.strip_prefix("- ") {
            promises.push(item.to_owned());
            in_item = true;
            continue;
        }
        in_item = in_item && line.starts_with("  ");
        if let Some(promise) = promises.last_mut().filter(|_| in_item) {
            promise.push_str(line);
        }
    }
    promises.iter().map(|promise| folded(promise)).collect()
}

/// A promise that a comment quotes.
#[derive(Debug, PartialEq, Eq)]
struct Quote {
    promise: String,
    /// Whether the comment is directly above a test.
    proves: bool,
}

/// The promises that the comments of a file quote.
fn quotes(code: &str) -> Vec<Quote> {
    let mut quotes = Vec::new();
    let mut open: Vec<String> = Vec::new();
    for line in code.lines().map(str::trim_start).chain([""]) {
        if let Some(promise) = line.strip_prefix("// Promise: ") {
            open.push(promise.to_owned());
        } else if let (Some(promise), Some(more)) = (open.last_mut(), line.strip_prefix("// ")) {
            promise.push(' ');
            promise.push_str(more);
        } else {
            let proves = line.starts_with("#[test]") || line.starts_with("#[tokio::test");
            quotes.extend(open.drain(..).map(|promise| Quote {
                promise: folded(&promise),
                proves,
            }));
        }
    }
    quotes
}

/// All Rust files in a folder and below, except cargo's build output.
fn code_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in
        std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
    {
        let path = entry.unwrap_or_else(|error| panic!("{error}")).path();
        if path.is_dir() {
            if !path.ends_with("target") {
                found.extend(code_below(&path));
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

#[test]
fn tests_quote_every_promise_and_nothing_else() {
    let promises: BTreeSet<String> = promises(&read("docs/semantics.md")).into_iter().collect();
    let mut quoted = BTreeSet::new();
    let mut wrong = Vec::new();
    let folders = ["shared", "functions", "cli", "tests"];
    for path in folders
        .map(|folder| code_below(&root().join(folder)))
        .concat()
    {
        let code = std::fs::read_to_string(&path).unwrap();
        for Quote { promise, proves } in quotes(&code) {
            let file = path.display();
            if !proves {
                wrong.push(format!("{file}: no test follows the quote of: {promise}"));
            }
            if !promises.contains(&promise) {
                wrong.push(format!(
                    "{file}: docs/semantics.md does not promise: {promise}"
                ));
            }
            quoted.insert(promise);
        }
    }
    let unproven = promises.difference(&quoted);
    wrong.extend(unproven.map(|promise| format!("no test quotes: {promise}")));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(promises.len() > 50, "only {} promises", promises.len());
}

#[test]
fn a_promise_is_a_list_item_with_the_lines_that_continue_it() {
    let document = "# A\n\n- One\n  thing.\n- Two.\n\nThat is - not one.\n  Nor that.\n";
    assert_eq!(promises(document), ["One thing.", "Two."]);
}

#[test]
fn a_quote_counts_only_directly_above_a_test() {
    let quote = |promise: &str, proves| Quote {
        promise: promise.to_owned(),
        proves,
    };
    let above =
        "// Promise: One\n// thing.\n    // Promise: Two.\n    #[tokio::test(flavor = \"x\")]\n";
    let both = [quote("One thing.", true), quote("Two.", true)];
    assert_eq!(quotes(above), both);
    for follower in ["fn helper() {}", "", "/// Explained.\n#[test]"] {
        let code = format!("// Promise: One.\n{follower}");
        assert_eq!(quotes(&code), [quote("One.", false)], "{follower}");
    }
    assert_eq!(quotes("// Promise: One."), [quote("One.", false)]);
}

/// Every row of the table names its tests, and every test is in a row.
#[test]
fn every_row_of_fidelity_has_its_tests() {
    let folder = root().join("tests/tests/flows/fidelity");
    let files =
        std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
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
fn every_reason_is_in_the_document_with_its_meaning_and_remedy() {
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
    for document in documents() {
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
                    "{document} names {text}, which does not exist"
                );
            }
        }
    }
}

/// The documents of the repository: those of its root, of `docs/` and its folders, of `events/` and `examples/`.
fn documents() -> Vec<String> {
    let mut folders = vec![
        PathBuf::new(),
        "docs".into(),
        "events".into(),
        "examples".into(),
    ];
    let mut documents = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(root().join(&folder)).unwrap() {
            let path = folder.join(entry.unwrap().file_name());
            if path.starts_with("docs") && root().join(&path).is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                documents.push(path.to_str().expect("text").to_owned());
            }
        }
    }
    assert!(documents.len() > 40, "{documents:?}");
    documents.sort();
    documents
}

/// The targets of a document's links, without those in code.
fn links(document: &str) -> Vec<String> {
    let mut links = Vec::new();
    let mut in_code = false;
    for line in document.lines() {
        if line.starts_with("```") {
            in_code = !in_code;
        }
        if in_code || line.starts_with("    ") {
            continue;
        }
        let text: String = line.split('`').step_by(2).collect::<Vec<_>>().join("`");
        for (at, _) in text.match_indices("](") {
            if let Some((target, _)) = text[at + 2..].split_once(')') {
                links.push(target.to_owned());
            }
        }
    }
    links
}

/// The anchors of a document's headings, as GitHub makes them.
fn anchors(document: &str) -> BTreeSet<String> {
    let headings = document.lines().filter(|line| line.starts_with('#'));
    headings
        .map(|heading| {
            let text = heading.trim_start_matches('#').trim().to_lowercase();
            let kept = text
                .chars()
                .filter(|it| it.is_alphanumeric() || matches!(it, ' ' | '-' | '_'));
            kept.map(|it| if it == ' ' { '-' } else { it }).collect()
        })
        .collect()
}

#[test]
fn every_link_of_a_document_leads_somewhere() {
    let mut checked = 0;
    for document in documents() {
        for link in links(&read(&document)) {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            let (path, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let folder = Path::new(&document).parent().expect("a folder");
            let target = match path {
                "" => PathBuf::from(&document),
                _ => folder.join(path),
            };
            assert!(
                root().join(&target).exists(),
                "{document} links to {link}, which does not exist"
            );
            let target = target.to_str().expect("text");
            let is_known = anchor.is_empty() || anchors(&read(target)).contains(anchor);
            assert!(
                is_known,
                "{document} links to {link}: there is no such heading"
            );
            checked += 1;
        }
    }
    assert!(checked > 100, "{checked} links were checked");
}

#[test]
fn every_document_can_be_reached_from_the_readme() {
    let mut reached = BTreeSet::from(["README.md".to_owned()]);
    let mut to_read = vec!["README.md".to_owned()];
    while let Some(document) = to_read.pop() {
        let folder = Path::new(&document).parent().expect("a folder").to_owned();
        for link in links(&read(&document)) {
            let path = link.split('#').next().unwrap_or_default();
            if link.contains("://") || Path::new(path).extension().is_none_or(|it| it != "md") {
                continue;
            }
            let target = std::fs::canonicalize(root().join(folder.join(path))).expect("a document");
            let top = std::fs::canonicalize(root()).expect("the repository");
            let target = target.strip_prefix(top).expect("a path of the repository");
            let target = target.to_str().expect("text").to_owned();
            if reached.insert(target.clone()) {
                to_read.push(target);
            }
        }
    }
    let lost: Vec<String> = documents()
        .into_iter()
        .filter(|it| !reached.contains(it))
        .collect();
    assert_eq!(lost, Vec::<String>::new(), "no link leads to these");
}
