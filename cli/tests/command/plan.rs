//! `tandem backfill plan`: what it shows, without writing anything.

use serde_json::Value;
use tempfile::TempDir;

use crate::server::{Response, Server, tandem};
use crate::{buckets, exit, functions, page, stderr, stdout};

/// One object of a listing, with its class and the second in which it was written.
fn object(key: &str, size: u64, etag: &str, class: &str, second: u8) -> String {
    format!(
        "<Contents><Key>{key}</Key><Size>{size}</Size><ETag>&quot;{etag}&quot;</ETag>\
         <LastModified>2026-11-22T21:00:{second:02}.000Z</LastModified>\
         <StorageClass>{class}</StorageClass></Contents>"
    )
}

fn a_server() -> Server {
    buckets("full", |bucket, _| {
        let plain = |key: &str, etag: &str, second| object(key, 1000, etag, "STANDARD", second);
        let objects = match bucket {
            "photos" => vec![
                object("a%2Cb", 6 << 30, "x-100", "STANDARD_IA", 1),
                object("cold", 5, "x", "DEEP_ARCHIVE", 1),
                plain("equal", "1", 1),
                plain("newer%0Athere", "1", 1),
                plain("older-there", "1", 5),
            ],
            _ => vec![
                plain("equal", "1", 9),
                plain("extra", "1", 9),
                plain("newer%0Athere", "2", 9),
                plain("older-there", "2", 2),
            ],
        };
        page(&objects, None)
    })
}

fn document(line: &str) -> Value {
    let output = a_server().run(&format!("{line} --output json"));
    assert_eq!(exit(&output), 0, "{}", stderr(&output));
    serde_json::from_str(&stdout(&output)).unwrap()
}

#[test]
fn a_plan_shows_what_a_backfill_would_copy_replace_and_cost() {
    let plan = document("backfill plan photos");
    assert_eq!(plan["at_source"]["objects"], 5);
    assert_eq!(plan["equal"]["objects"], 1);
    assert_eq!(plan["extra"]["objects"], 1);
    assert_eq!(plan["archived"]["bytes"], 5);
    assert_eq!(plan["copy"]["objects"], 3);
    assert_eq!(plan["copy"]["parts"], 100);
    assert_eq!(
        (&plan["different"], &plan["replaced"]),
        (&2.into(), &2.into())
    );
    let examples = plan["examples"].as_array().unwrap();
    assert_eq!(examples[0]["key"], "newer\nthere");
    assert_eq!(examples[0]["newer"], "destination");
    assert_eq!(examples[1]["newer"], "source");
    let usd = plan["estimate"]["usd"].as_f64().unwrap();
    // 6 GiB at 0.02 for the transfer between regions, and at 0.01 for the retrieval from infrequent access.
    assert!((0.18..0.19).contains(&usd), "{usd}");
}

#[test]
fn each_overwrite_mode_copies_what_it_should() {
    for (way, copies, replaced) in [("always", 3, 2), ("if-older", 2, 1), ("never", 1, 0)] {
        let plan = document(&format!("backfill plan photos --overwrite {way}"));
        assert_eq!(plan["copy"]["objects"], copies, "{way}");
        assert_eq!(plan["replaced"], replaced, "{way}");
    }
}

#[test]
fn a_plan_as_tables_shows_examples_and_assumptions() {
    let output = a_server().run("backfill plan photos --examples 1 --concurrency 3");
    assert_eq!(exit(&output), 0, "{}", stderr(&output));
    let shown = stdout(&output);
    for part in [
        "newer\\nthere",
        "and 1 more",
        "if-older",
        "S3 COPY STANDARD_IA",
        "transfer us-east-1 -> us-west-2",
        "3 shards at once",
        "1 object archived",
    ] {
        assert!(shown.contains(part), "{part} in\n{shown}");
    }
}

#[test]
fn the_price_table_is_printed_without_an_account_and_can_be_edited() {
    let printed = tandem("backfill prices").output().unwrap();
    assert_eq!(exit(&printed), 0, "{}", stderr(&printed));
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("prices.json");
    let table = stdout(&printed);
    std::fs::write(
        &file,
        table.replace("\"us-east-1\": {\"*\": 0.02", "\"us-east-1\": {\"*\": 2"),
    )
    .unwrap();
    let line = format!("backfill plan photos --prices {}", file.display());
    let usd = document(&line)["estimate"]["usd"].as_f64().unwrap();
    assert!((12.0..12.1).contains(&usd), "{usd}");

    std::fs::write(&file, table.replace("0.0036", "\"cheap\"")).unwrap();
    let nothing = functions(|_, _| -> Response { panic!("nothing is asked for") });
    let output = nothing.run(&line);
    assert_eq!(exit(&output), 2);
    let said = stderr(&output);
    let field = "regions.us-east-1.classes.GLACIER.storage_per_gb_month";
    assert!(said.contains(field), "{said}");
    let output = nothing.run("backfill plan photos --prices /no/such/file.json");
    assert_eq!(exit(&output), 2, "{}", stderr(&output));
}
