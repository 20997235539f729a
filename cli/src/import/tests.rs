//! Configuration files as services write them, and damaged ones.

use proptest::prelude::*;

use super::*;
use crate::contract::KeyChoice;

fn file(name: &str) -> String {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/import");
    std::fs::read_to_string(format!("{folder}/{name}")).unwrap()
}

fn plan(text: &str, destination: Option<&str>) -> Result<Plan, ImportError> {
    super::plan(text.as_bytes(), "photos", destination)
}

fn planned(name: &str) -> Plan {
    plan(&file(name), None).unwrap()
}

/// Returns whether the plan has a note that contains `said`, about an element whose path ends with `element`.
fn is_noted(plan: &Plan, element: &str, said: &str) -> bool {
    let found = |note: &Note| note.element.ends_with(element) && note.note.contains(said);
    plan.notes.iter().any(found)
}

fn prefixes(list: &[&str]) -> Scope {
    Scope::Prefixes(list.iter().map(|&prefix| prefix.to_owned()).collect())
}

#[test]
fn a_rule_of_the_first_version_covers_all_objects_and_replicates_deletes() {
    let plan = planned("s3-v1.json");
    let rule = plan.rule.as_ref().unwrap();
    assert_eq!(
        (rule.source.as_str(), rule.destination.as_str()),
        ("photos", "photos-replica")
    );
    assert_eq!(
        (&rule.scope, rule.policy, rule.historical),
        (&Scope::All, Policy::Full, false)
    );
    assert_eq!(rule.options.storage_class.as_deref(), Some("STANDARD_IA"));
    assert!(
        is_noted(&plan, ".Role", "is not needed") && plan.notes.len() == 1,
        "{:?}",
        plan.notes
    );
}

#[test]
fn rules_of_the_second_version_to_one_bucket_become_one_rule_and_the_rest_is_noted() {
    let plan = planned("s3-v2.json");
    let rule = plan.rule.as_ref().unwrap();
    assert_eq!(rule.destination, "archive-444455556666");
    assert_eq!(rule.scope, prefixes(&["invoices/", "receipts/"]));
    assert!(rule.historical && rule.policy == Policy::Write);
    assert_eq!(rule.options.storage_class.as_deref(), Some("GLACIER_IR"));
    assert_eq!(
        rule.options.destination_account.as_deref(),
        Some("444455556666")
    );
    assert!(matches!(&rule.options.kms_key, Some(KeyChoice::Arn(arn)) if arn.ends_with("90ab")));
    for (element, said) in [
        (".Rule[1].SourceSelectionCriteria", "one direction"),
        (".Rule[1].Destination.ReplicationTime", "promises a time"),
        (".Rule[1].Destination.Metrics", "measures every rule"),
        (".Rule[2].Destination.Account", "account owns them"),
        (
            ".Rule[2]",
            "other options for its replicas than ReplicationConfiguration.Rule[1]",
        ),
        (".Rule[2]", "differ about deletes"),
        (".Rule[2]", "differ about existing objects"),
        (".Rule[3].Filter.And.Tag", "by their tags"),
        (".Rule[4]", "is disabled"),
    ] {
        assert!(
            is_noted(&plan, element, said),
            "{element} {said}: {:#?}",
            plan.notes
        );
    }
}

#[test]
fn xml_is_read_by_priority_and_overlaps_and_other_destinations_are_noted() {
    let plan = planned("s3-v2.xml");
    let rule = plan.rule.as_ref().unwrap();
    assert_eq!(
        (rule.destination.as_str(), rule.policy),
        ("photos-replica", Policy::Full)
    );
    assert_eq!(rule.scope, prefixes(&["logs/"]));
    for (element, said) in [
        (
            ".Rule[1].Destination.StorageClass",
            "\"OUTPOSTS\", a class in which Tandem cannot write",
        ),
        (".Rule[2]", "\"logs/today/\", which \"logs/\" covers too"),
        (".Rule[3].Filter.Tag", "by their tags"),
        (
            ".Rule[4]",
            "goes to photos-third, and a bucket has one destination",
        ),
    ] {
        assert!(
            is_noted(&plan, element, said),
            "{element} {said}: {:#?}",
            plan.notes
        );
    }
}

#[test]
fn a_rule_of_oss_is_read_and_elements_without_a_counterpart_are_noted() {
    let plan = plan(&file("oss.xml"), Some("photos-replica")).unwrap();
    let rule = plan.rule.as_ref().unwrap();
    assert_eq!(rule.destination, "photos-replica");
    assert_eq!(rule.scope, prefixes(&["source_image", "video"]));
    assert_eq!((rule.policy, rule.historical), (Policy::Write, false));
    for (element, said) in [
        (".Rule.RTC", "promises a time"),
        (".Rule.SyncRole", "is not needed"),
        (
            ".Rule.Destination.Location",
            "an S3 bucket in another region",
        ),
        (".Rule.Destination.TransferType", "no counterpart"),
        (".Rule.EncryptionConfiguration", "a key of OSS"),
    ] {
        assert!(
            is_noted(&plan, element, said),
            "{element} {said}: {:#?}",
            plan.notes
        );
    }
}

#[test]
fn oss_replicates_deletes_and_historical_objects_unless_a_rule_disables_them() {
    let plan = planned("oss-all.xml");
    let rule = plan.rule.as_ref().unwrap();
    assert_eq!(
        (&rule.scope, rule.policy, rule.historical),
        (&Scope::All, Policy::Full, true)
    );
    assert_eq!(rule.destination, "photos-beijing");
    assert!(
        is_noted(&plan, ".Rule[2]", "being closed"),
        "{:?}",
        plan.notes
    );
}

#[test]
fn more_prefixes_than_a_rule_may_have_make_no_rule() {
    let prefixes =
        ["a", "b", "c", "d", "e", "f"].map(|name| ["<Prefix>", name, "/</Prefix>"].concat());
    let text = file("oss.xml").replace("<Prefix>video</Prefix>", &prefixes.concat());
    let plan = plan(&text, None).unwrap();
    assert_eq!(plan.rule, None);
    assert!(
        is_noted(&plan, ".Rule", "have 7 prefixes, more than the 5 of a rule"),
        "{:?}",
        plan.notes
    );
}

#[test]
fn the_error_for_a_bad_file_names_the_element() {
    let json = file("s3-v1.json");
    let xml = file("s3-v2.xml");
    let oss = file("oss.xml");
    for (text, said) in [
        ("{}".to_owned(), "ReplicationConfiguration.Rule is missing"),
        (
            "<CORSConfiguration/>".to_owned(),
            "CORSConfiguration is not a ReplicationConfiguration",
        ),
        (
            json.replace("arn:aws:s3:::photos-replica", "photos-replica"),
            "ReplicationConfiguration.Rule.Destination.Bucket is \"photos-replica\", which is not the ARN of a bucket",
        ),
        (
            json.replace(
                "arn:aws:s3:::photos-replica",
                "arn:minio:replication:us-east-1:c5be6b16-769d-432a-9ef1-4567081f3566:photos-replica",
            ),
            "3566:photos-replica\", which is not the ARN of a bucket",
        ),
        (
            json.replace("\"Enabled\"", "\"On\""),
            "Rule.Status is \"on\"; it must be Enabled or Disabled",
        ),
        (json.replace("\"Prefix\": \"\",", ""), ""),
        (
            json.replace("\"Prefix\": \"\"", "\"Prefix\": [\"a/\", \"b/\"]"),
            "Rule.Prefix contains elements instead of text",
        ),
        (
            json.replace("\"Prefix\"", "\"Filter\": {}, \"Prefix\""),
            "Rule.Prefix is used together with Filter",
        ),
        (
            json.replace("\"Prefix\": \"\"", "\"Filter\": {\"Suffix\": \"x\"}"),
            "Filter.Suffix is not a known filter",
        ),
        (
            xml.replace("<Priority>5<", "<Priority>high<"),
            "Rule[2].Priority is \"high\", which is not a whole number",
        ),
        (
            xml.replace(
                "<Status>Enabled</Status>\n    <Filter><Tag>",
                "<Filter><Tag>",
            ),
            "Rule[3].Status is missing",
        ),
        (
            oss.replace(">PUT<", ">MOVE<"),
            "Rule.Action is \"MOVE\"; it must be ALL",
        ),
        (
            oss.replace("<Bucket>photos-beijing</Bucket>", ""),
            "Rule.Destination.Bucket is missing",
        ),
        (oss.replace("</Rule>", ""), "the file is not valid XML"),
    ] {
        match plan(&text, None) {
            Ok(plan) => assert!(said.is_empty(), "{said}: {plan:?}"),
            Err(error) => assert!(
                !said.is_empty() && error.to_string().contains(said),
                "{said}: {error}"
            ),
        }
    }
}

/// A file with a piece cut out, doubled or replaced.
fn damaged() -> impl Strategy<Value = String> {
    let files = [
        "s3-v1.json",
        "s3-v2.json",
        "s3-v2.xml",
        "oss.xml",
        "oss-all.xml",
    ]
    .map(file);
    let piece = (
        any::<prop::sample::Index>(),
        0..60_usize,
        ".{0,6}",
        any::<bool>(),
    );
    (prop::sample::select(files.to_vec()), piece).prop_map(
        |(text, (at, length, other, doubled))| {
            let text: Vec<char> = text.chars().collect();
            let from = at.index(text.len());
            let to = (from + length).min(text.len());
            let piece: String = if doubled {
                text[from..to].iter().collect::<String>().repeat(2)
            } else {
                other
            };
            text[..from].iter().collect::<String>()
                + &piece
                + &text[to..].iter().collect::<String>()
        },
    )
}

/// Files with one prefix, written as given: of S3's first and second version, the second also with `And`, and of OSS.
fn files_with_prefix(written: &str) -> [String; 4] {
    let file = |rule: &str| {
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ReplicationConfiguration>\n <Role>r</Role>\n <Rule>\n  \
             <Status>Enabled</Status>\n  {rule}\n </Rule>\n</ReplicationConfiguration>\n"
        )
    };
    let to_s3 = "<Destination>\n <Bucket> arn:aws:s3:::replica-a\n </Bucket></Destination>";
    let prefix = format!("<Prefix>{written}</Prefix>");
    [
        file(&format!("{prefix}{to_s3}")),
        file(&format!("<Filter>\n {prefix}\n</Filter>{to_s3}")),
        file(&format!("<Filter><And>\n {prefix}\n</And></Filter>{to_s3}")),
        file(&format!(
            "<PrefixSet>\n {prefix}\n</PrefixSet><Action>ALL</Action>\
             <Destination><Bucket>replica-a</Bucket><Location>oss-cn-beijing</Location></Destination>"
        ))
        .replace("<Role>r</Role>", ""),
    ]
}

// Promise: `rule import` takes the prefixes of a file literally, white space included.
#[test]
fn a_prefix_is_taken_literally() {
    for (written, wanted) in [
        (" leading space/", " leading space/"),
        ("trailing/ ", "trailing/ "),
        (" ", " "),
        ("\n\t", "\n\t"),
        ("a  b/", "a  b/"),
        ("&#13;&#10;x", "\r\nx"),
        ("a&amp;b&lt;c/", "a&b<c/"),
        ("<![CDATA[<x> ]]>", "<x> "),
        ("a<!-- no -->b", "ab"),
        ("\u{a0}x", "\u{a0}x"),
        ("x%3D1+2/", "x%3D1+2/"),
    ] {
        for text in files_with_prefix(written) {
            let plan = plan(&text, None).unwrap();
            let rule = plan.rule.as_ref().unwrap();
            assert_eq!(rule.scope, prefixes(&[wanted]), "{text}");
            assert_eq!(rule.destination, "replica-a");
            let is_noted = is_noted(&plan, ".Rule", "white space included");
            assert_eq!(is_noted, wanted.trim() != wanted, "{:?}", plan.notes);
        }
    }
}

#[test]
fn an_empty_prefix_filter_or_set_is_every_key() {
    for text in files_with_prefix("") {
        assert_eq!(plan(&text, None).unwrap().rule.unwrap().scope, Scope::All);
    }
    for (from, to) in [
        ("<Prefix></Prefix>", "<Prefix/>"),
        ("<Prefix></Prefix>", ""),
        ("<Filter>\n <Prefix></Prefix>\n</Filter>", "<Filter/>"),
        (
            "<Filter>\n <Prefix></Prefix>\n</Filter>",
            "<Filter>\n</Filter>",
        ),
    ] {
        for text in files_with_prefix("").map(|text| text.replace(from, to)) {
            assert_eq!(
                plan(&text, None).unwrap().rule.unwrap().scope,
                Scope::All,
                "{text}"
            );
        }
    }
}

#[test]
fn xml_and_json_with_the_same_prefix_make_the_same_plan() {
    for prefix in [" leading space/", " ", "a/", "ü\t"] {
        let json = serde_json::json!({"Rules": [{"ID": "sp", "Priority": 1, "Status": "Enabled",
            "Filter": {"Prefix": prefix}, "Destination": {"Bucket": "arn:aws:s3:::replica-a"}}]});
        let from_json = plan(&json.to_string(), None).unwrap().rule.unwrap();
        let [_, xml, ..] = files_with_prefix(prefix);
        assert_eq!(plan(&xml, None).unwrap().rule.unwrap(), from_json);
    }
}

/// Uses a file of OSS with every element that its API reference names.
#[test]
fn every_element_of_oss_is_carried_over_or_noted() {
    let plan = planned("oss-full.xml");
    let rule = plan.rule.as_ref().unwrap();
    assert_eq!(rule.scope, prefixes(&["logs/", "source image/"]));
    assert_eq!((rule.policy, rule.historical), (Policy::Full, true));
    for (element, said) in [
        (".RTC", "promises a time"),
        (".Action", "names ABORT"),
        (".Location", "an S3 bucket"),
        (".TransferType", "no counterpart"),
        (".SyncRole", "is not needed"),
        (".SourceSelectionCriteria", "leaves out objects"),
        (".EncryptionConfiguration", "a key of OSS"),
    ] {
        assert!(
            is_noted(&plan, element, said),
            "{element} {said}: {:#?}",
            plan.notes
        );
    }
    let is_unknown = |note: &Note| note.note.contains("is not known");
    assert!(!plan.notes.iter().any(is_unknown), "{:#?}", plan.notes);
}

/// A file in which some bytes are replaced, so that it need not be text.
fn damaged_bytes() -> impl Strategy<Value = Vec<u8>> {
    let files = [
        "s3-v1.json",
        "s3-v2.json",
        "s3-v2.xml",
        "oss.xml",
        "oss-full.xml",
    ]
    .map(file);
    let places = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4);
    (prop::sample::select(files.to_vec()), places).prop_map(|(text, places)| {
        let mut bytes = text.into_bytes();
        for (at, byte) in places {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes
    })
}

proptest! {
    #[test]
    fn any_bytes_give_a_plan_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = super::plan(&bytes, "photos", None);
    }

    #[test]
    fn a_file_with_other_bytes_gives_a_plan_or_an_error_with_a_message(bytes in damaged_bytes()) {
        if let Err(error) = super::plan(&bytes, "photos", None) {
            prop_assert!(error.to_string().len() > 10, "{}", error);
        }
    }

    /// Every prefix that XML can hold arrives unchanged.
    #[test]
    fn any_prefix_of_a_file_is_taken_literally(prefix in "[ \t\n!-~\u{a0}-\u{d7ff}\u{10000}-\u{10ffff}]{1,20}") {
        let written = prefix.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        for text in files_with_prefix(&written) {
            let rule = plan(&text, None).unwrap().rule.unwrap();
            prop_assert_eq!(rule.scope, prefixes(&[&prefix]));
        }
    }

    #[test]
    fn a_damaged_file_gives_a_plan_or_an_error_with_a_message(text in damaged()) {
        match plan(&text, None) {
            Ok(plan) => {
                if let Some(Planned { scope: Scope::Prefixes(prefixes), .. }) = &plan.rule {
                    prop_assert!((1..=5).contains(&prefixes.len()));
                }
                prop_assert!(plan.notes.iter().all(|note| !note.element.is_empty()));
            }
            Err(error) => prop_assert!(error.to_string().len() > 10, "{}", error),
        }
    }

    #[test]
    fn any_text_gives_a_plan_or_an_error(text in ".{0,200}") {
        let _ = plan(&text, None);
    }
}
