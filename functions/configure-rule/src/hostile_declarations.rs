//! Sends hostile requests in the forms of CloudFormation and Terraform. Each must be read or refused without a panic.
//! If a request has an address for the answer, the answer must be one that CloudFormation accepts.

use proptest::prelude::*;
use serde_json::{Map, Value, json};
use tandem_hostile::damage::damaged;
use tandem_hostile::documents::events;
use tandem_hostile::json::{any_value, odd_value};
use tandem_replication::refusal::{Refusal, RefusalCode};

use crate::cloudformation::event::{ANSWER_BYTES_MAX, ResourceEvent};
use crate::cloudformation::properties::{draft, historical, told};
use crate::declaration::is_rule_id;
use crate::terraform::TerraformRequest;

const CASES: u32 = 4_000;

const PROPERTIES: &[&str] = &[
    "Source",
    "Destination",
    "DestinationRegion",
    "Scope",
    "Prefixes",
    "Policy",
    "Options",
    "Historical",
];

/// Returns how many bytes of the request an answer has to repeat.
fn repeated_bytes(event: &ResourceEvent) -> usize {
    event.answer(&Err(String::new())).to_string().len()
}

/// Reads properties. Asserts that a refusal names one of them, with the names of the template.
fn read(properties: &Map<String, Value>) -> Option<Refusal> {
    let refusal = draft(properties).err()?;
    let said = told(&refusal);
    let about = said.split([' ', '.']).next().unwrap_or_default();
    let known = PROPERTIES.contains(&about) || about == "ResourceProperties";
    assert!(known, "{properties:?}: {said}");
    assert!(
        said.ends_with(&format!("({})", refusal.code.as_str())),
        "{said}"
    );
    Some(refusal)
}

/// Recognises and answers a payload, as the function does.
fn answered(payload: &Value) {
    let Some(event) = ResourceEvent::recognise(payload) else {
        return;
    };
    let refusal = read(&event.properties);
    assert!(is_rule_id(event.rule_id(&event.properties).as_str()));
    assert!(is_rule_id(event.rule_meant().as_str()));
    let _ = historical(&event.old_properties);
    let reason = refusal.map_or_else(|| "x".repeat(5_000), |refusal| told(&refusal));
    let answer = event.answer(&Err(reason));
    assert_eq!(answer["Status"], "FAILED");
    assert!(
        answer["PhysicalResourceId"] != "" && answer["Reason"] != "",
        "{answer}"
    );
    let bytes = answer.to_string().len();
    assert!(
        bytes <= ANSWER_BYTES_MAX.max(repeated_bytes(&event) + 4),
        "{bytes} bytes"
    );
}

#[test]
fn every_file_of_cloudformation_is_recognised_and_its_properties_are_read() {
    for event in events("cloudformation") {
        let event = ResourceEvent::recognise(&event).unwrap();
        if event.resource_type == "Custom::ReplicationRule" {
            assert_eq!(read(&event.properties), None, "{event:?}");
        }
    }
}

#[test]
fn every_file_of_terraform_is_read() {
    for event in events("terraform") {
        assert!(
            matches!(TerraformRequest::recognise(&event), Some(Ok(_))),
            "{event}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(CASES))]

    #[test]
    fn any_payload_is_handled_without_a_panic(payload in any_value()) {
        answered(&payload);
        let _ = TerraformRequest::recognise(&payload);
        let _ = TerraformRequest::recognise(&json!({"tf": payload}));
    }

    #[test]
    fn a_damaged_event_is_answered(payload in damaged(events("cloudformation"))) {
        answered(&payload);
    }

    #[test]
    fn a_property_of_another_type_is_read_or_named(
        event in prop::sample::select(events("cloudformation")),
        name in prop::sample::select(PROPERTIES),
        value in prop_oneof![odd_value(), any_value()],
    ) {
        let mut event = event;
        event["ResourceProperties"][name] = value;
        answered(&event);
    }

    #[test]
    fn a_damaged_request_of_terraform_is_read_or_refused(payload in damaged(events("terraform"))) {
        if let Some(Err(refusal)) = TerraformRequest::recognise(&payload) {
            let codes = [
                RefusalCode::InvalidRequest,
                RefusalCode::InvalidBucketName,
                RefusalCode::InvalidScope,
            ];
            prop_assert!(codes.contains(&refusal.code), "{}: {}", payload, refusal);
        }
    }
}
