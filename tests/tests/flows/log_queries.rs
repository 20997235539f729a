//! The queries of docs/runbook.md for CloudWatch Logs Insights, run against what a function really logs.

use std::collections::BTreeMap;
use std::path::Path;

use tandem_tests::proxy::Action;

use crate::stage::{Stage, copies};

/// One line of a query, as far as the runbook's queries need it.
#[derive(Debug)]
enum Command {
    /// `filter @message like 'a' or @message like 'b'`
    Filter(Vec<String>),
    /// `parse @message 'before*after' as name`
    Parse {
        before: String,
        after: String,
        name: String,
    },
    /// `fields`, `sort`, `limit` and `stats` do not change which lines are found.
    Other,
}

fn commands(query: &str) -> Vec<Command> {
    let lines = query.lines().map(|line| line.trim_start_matches("| "));
    lines.map(command).collect()
}

fn command(line: &str) -> Command {
    let quoted: Vec<String> = line
        .split('\'')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect();
    match line.split_whitespace().next().expect("a command") {
        "filter" => {
            assert!(!quoted.is_empty(), "{line}");
            Command::Filter(quoted)
        }
        "parse" => {
            let (before, after) = quoted[0].split_once('*').expect("a glob with one *");
            let name = line.rsplit(" as ").next().expect("a name");
            Command::Parse {
                before: before.to_owned(),
                after: after.to_owned(),
                name: name.to_owned(),
            }
        }
        "fields" | "sort" | "limit" | "stats" => Command::Other,
        unknown => panic!("the test does not know the command {unknown:?}: {line}"),
    }
}

/// What a query finds in these lines: the fields that it parses of every line that passes its filters.
fn run(query: &str, lines: &[String]) -> Vec<BTreeMap<String, String>> {
    let commands = commands(query);
    let mut found = Vec::new();
    'lines: for line in lines {
        let mut fields = BTreeMap::new();
        for command in &commands {
            match command {
                Command::Filter(texts) => {
                    if !texts.iter().any(|text| line.contains(text)) {
                        continue 'lines;
                    }
                }
                Command::Parse {
                    before,
                    after,
                    name,
                } => {
                    let rest = line.split_once(before.as_str()).map(|(_, rest)| rest);
                    if let Some((value, _)) = rest.and_then(|rest| rest.split_once(after.as_str()))
                    {
                        fields.insert(name.clone(), value.to_owned());
                    }
                }
                Command::Other => {}
            }
        }
        found.push(fields);
    }
    found
}

/// The queries of the runbook.
fn queries() -> Vec<String> {
    let runbook = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/runbook.md");
    let text = std::fs::read_to_string(runbook).expect("the runbook");
    let blocks = text.split("```insights\n").skip(1);
    blocks
        .map(|block| {
            block
                .split("```")
                .next()
                .expect("its end")
                .trim()
                .to_owned()
        })
        .collect()
}

/// The value of a field of a line.
fn value<'a>(line: &'a str, field: &str) -> Option<&'a str> {
    let (_, rest) = line.split_once(&format!("\"{field}\":\""))?;
    rest.split_once('"').map(|(value, _)| value)
}

#[tokio::test]
async fn every_query_of_the_runbook_finds_what_a_function_logs() {
    let stage = Stage::new("replicate-put").await;
    let denied = || Action::s3_error(403, "AccessDenied");
    stage.proxy.script(1, copies, denied());
    let put = stage.put("photos/a.jpg", "one").await;
    stage.acknowledged(put).await;
    let log = stage.function.log();
    let lines: Vec<String> = log.lines().map(str::to_owned).collect();
    let failed = lines.iter().find(|line| line.contains("\"fault\":"));
    let invocation = value(failed.expect("a failure"), "invocation.id").expect("an invocation");
    let queries = queries();
    assert_eq!(queries.len(), 4, "the runbook's queries");
    for query in queries {
        let query = query
            .replace("RULE", &stage.rule)
            .replace("KEY", "photos/a.jpg")
            .replace("INVOCATION", invocation);
        let found = run(&query, &lines);
        assert!(!found.is_empty(), "finds nothing:\n{query}\n{log}");
        for command in commands(&query) {
            if let Command::Parse { name, .. } = command {
                let is_found = found.iter().any(|fields| fields.contains_key(&name));
                assert!(is_found, "{name} is not found:\n{query}\n{log}");
            }
        }
    }
}
