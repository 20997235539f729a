//! Estimates of known and of arbitrary loads.

use proptest::prelude::*;

use super::time::PLAN_SECS;
use super::*;
use crate::prices::TABLE;

fn prices() -> Prices {
    Prices::parse(TABLE).unwrap()
}

fn load(class: &str, load: ClassLoad) -> Load {
    Load {
        classes: [(class.to_owned(), load)].into(),
    }
}

fn whole(objects: u64, bytes: u64) -> ClassLoad {
    ClassLoad {
        objects,
        bytes,
        billed_bytes: bytes.max(objects * (128 << 10)),
        ..ClassLoad::default()
    }
}

fn work(load: Load) -> Work {
    let objects = load.total().objects;
    Work {
        source_region: "us-east-1".into(),
        destination_region: "us-west-2".into(),
        source_keys: objects,
        destination_keys: 0,
        prefixes: 1,
        pages_with_copies: objects.div_ceil(PAGE_KEYS),
        different: 0,
        load,
        storage_class: None,
        reads_per_copy: 0,
        concurrency: 16,
        objects_per_sec: None,
    }
}

fn line<'a>(estimate: &'a Estimate, what: &str) -> &'a Line {
    let found = estimate.lines.iter().find(|line| line.what == what);
    found.unwrap_or_else(|| panic!("no {what} in {estimate:?}"))
}

fn near(left: f64, right: f64) -> bool {
    (left - right).abs() < 1e-9 * right.abs().max(1.0)
}

#[test]
fn a_million_small_objects_cost_one_copy_each_and_three_lists_per_thousand() {
    let estimate = estimate(
        &work(load("STANDARD", whole(1_000_000, 10 << 30))),
        &prices(),
    );
    assert!(near(line(&estimate, "S3 COPY STANDARD").quantity, 1e6));
    assert!(near(line(&estimate, "S3 COPY STANDARD").usd, 5.0));
    assert!(near(line(&estimate, "S3 LIST").quantity, 3060.0));
    assert!(near(line(&estimate, "S3 LIST").usd, 0.0153));
    let transfer = line(&estimate, "transfer us-east-1 -> us-west-2");
    assert!(near(transfer.quantity, 10.0) && near(transfer.usd, 0.2));
    assert!(near(estimate.storage_usd_per_month, 0.23));
    assert!(estimate.notes.is_empty(), "{:?}", estimate.notes);
    // 6,250 s of copies, 600 s of lists, 16 at once; S3's limit of writes per second matters less.
    assert!((400.0..500.0).contains(&estimate.secs), "{}", estimate.secs);
}

#[test]
fn an_object_in_parts_costs_its_parts_and_ten_requests() {
    let parts = ClassLoad {
        in_parts: 1,
        parts: 100,
        ..whole(1, 1 << 30)
    };
    let estimate = estimate(&work(load("STANDARD", parts)), &prices());
    assert!(near(line(&estimate, "S3 COPY STANDARD").quantity, 102.0));
    assert!(near(line(&estimate, "S3 HEAD STANDARD").quantity, 8.0));
}

#[test]
fn the_replicas_class_decides_what_requests_and_storage_cost() {
    let mut archive = work(load("STANDARD", whole(1000, 1000)));
    archive.storage_class = Some("DEEP_ARCHIVE".into());
    let parts = ClassLoad {
        in_parts: 1,
        parts: 9,
        ..whole(1, 1 << 30)
    };
    archive.load.classes.insert("STANDARD_IA".into(), parts);
    let estimate = estimate(&archive, &prices());
    let copies = line(&estimate, "S3 COPY DEEP_ARCHIVE");
    assert!(near(copies.quantity, 1001.0) && near(copies.usd, 0.05005));
    // The parts, and the request that creates the upload.
    assert!(near(line(&estimate, "S3 COPY STANDARD").quantity, 10.0));
    assert!(near(line(&estimate, "S3 retrieval STANDARD_IA").usd, 0.01));
}

#[test]
fn small_objects_are_billed_at_the_minimum_size_of_their_class() {
    let stored = |class| {
        let mut work = work(load("STANDARD", whole(8192, 8192)));
        work.storage_class = Some(class);
        estimate(&work, &prices()).storage_usd_per_month
    };
    assert!(near(stored("STANDARD_IA".to_owned()), 0.0125));
    assert!(stored("STANDARD".to_owned()) < 1e-6);
}

#[test]
fn a_transfer_costs_its_ranges() {
    let large = ClassLoad {
        in_parts: 1,
        parts: 10_000,
        transfers: 1,
        transfer_bytes: 40 << 30,
        ..whole(1, 40 << 30)
    };
    let work = work(load("STANDARD", large));
    assert_eq!(work.ranges(), 10);
    let estimate = estimate(&work, &prices());
    // 10 ranges, each copying 16 parts at once at 50 MiB/s.
    assert!(
        (estimate.secs - PLAN_SECS - 5.12).abs() < 0.01,
        "{}",
        estimate.secs
    );
}

#[test]
fn a_rate_limit_makes_a_backfill_take_longer() {
    let mut limited = work(load("STANDARD", whole(1000, 1000)));
    limited.objects_per_sec = Some(10.0);
    let estimate = estimate(&limited, &prices());
    assert!(near(estimate.secs, PLAN_SECS + 100.0));
    assert!(line(&estimate, "Lambda arm64").quantity >= 100.0 * 16.0 * SHARD_GB - 1e-6);
    assert!(assumptions(&limited).contains("10 objects per second"));
}

#[test]
fn regions_that_the_price_table_does_not_know_are_noted() {
    let mut work = work(load("STANDARD", whole(1, 1)));
    work.source_region = "mars-1".into();
    let notes = estimate(&work, &prices()).notes.join("\n");
    assert!(notes.contains("does not know mars-1"), "{notes}");
    assert!(notes.contains("from mars-1 to us-west-2"), "{notes}");
}

fn any_load() -> impl Strategy<Value = Load> {
    let class = (0_u64..1 << 30, 0_u64..1 << 40, 0_u64..1000, 1_u64..10_000).prop_map(
        |(objects, bytes, in_parts, parts)| {
            let in_parts = in_parts.min(objects);
            ClassLoad {
                in_parts,
                parts: in_parts * parts,
                transfers: in_parts / 2,
                transfer_bytes: if in_parts > 1 { bytes / 2 } else { 0 },
                ..whole(objects, bytes)
            }
        },
    );
    proptest::collection::btree_map("STANDARD|STANDARD_IA|GLACIER_IR|ODD", class, 0..4)
        .prop_map(|classes| Load { classes })
}

proptest! {
    #[test]
    fn an_estimate_is_the_finite_sum_of_its_lines(load in any_load(), concurrency in 1_u64..1000) {
        let work = Work { concurrency, ..work(load) };
        let estimate = estimate(&work, &prices());
        let sum: f64 = estimate.lines.iter().map(|line| line.usd).sum();
        prop_assert!(near(sum, estimate.usd));
        for number in [estimate.usd, estimate.secs, estimate.storage_usd_per_month] {
            prop_assert!(number.is_finite() && number >= 0.0, "{number}");
        }
    }

    #[test]
    fn more_to_do_never_costs_or_takes_less(load in any_load(), objects in 1_u64..1 << 20, bytes in 0_u64..1 << 40) {
        let less = estimate(&work(load.clone()), &prices());
        let mut more = load;
        *more.classes.entry(STANDARD.to_owned()).or_default() += whole(objects, bytes);
        let more = estimate(&work(more), &prices());
        prop_assert!(more.usd >= less.usd && more.secs >= less.secs);
        prop_assert!(more.storage_usd_per_month >= less.storage_usd_per_month);
    }

    #[test]
    fn more_shards_at_once_never_take_longer(load in any_load(), few in 1_u64..500, more in 0_u64..500) {
        let secs = |concurrency| {
            estimate(&Work { concurrency, ..work(load.clone()) }, &prices()).secs
        };
        prop_assert!(secs(few + more) <= secs(few));
    }

    #[test]
    fn a_backfill_that_copies_nothing_costs_no_copy_and_no_transfer(keys in 0_u64..1 << 40) {
        let mut idle = work(Load::default());
        (idle.source_keys, idle.destination_keys) = (keys, keys);
        let estimate = estimate(&idle, &prices());
        prop_assert!(!estimate.lines.iter().any(|line| line.what.contains("COPY") || line.unit == "GB"));
        prop_assert!(estimate.storage_usd_per_month.abs() < f64::EPSILON);
    }
}

#[test]
fn an_edited_price_table_replaces_the_built_in_prices() {
    let dear = TABLE.replace("\"write_per_1000\": 0.005", "\"write_per_1000\": 50");
    let dear = Prices::parse(&dear).unwrap();
    let work = work(load("STANDARD", whole(1000, 0)));
    let copies = |prices| line(&estimate(&work, prices), "S3 COPY STANDARD").usd;
    assert!(near(copies(&dear), 50.0) && near(copies(&prices()), 0.005));
}
