//! Tests of parsing and refusing requests.

use serde_json::json;

use super::*;

fn code(request: Value) -> RefusalCode {
    Request::parse(request).unwrap_err().code
}

#[test]
fn missing_fields_of_a_rule_have_their_defaults() {
    let Request::Create(draft, None) =
        Request::parse(json!({"action": "create", "source": "aaa", "destination": "bbb"})).unwrap()
    else {
        panic!("not a create")
    };
    assert_eq!(
        (draft.scope, draft.policy, draft.historical),
        (Scope::All, Policy::Full, false)
    );
}

#[test]
fn bad_requests_are_refused_and_name_the_field() {
    for (request, wanted) in [
        (json!(3), RefusalCode::InvalidRequest),
        (json!({}), RefusalCode::InvalidRequest),
        (json!({"action": 3}), RefusalCode::InvalidRequest),
        (json!({"action": "destroy"}), RefusalCode::InvalidRequest),
        (json!({"action": "get"}), RefusalCode::InvalidRequest),
        (
            json!({"action": "get", "rule": ""}),
            RefusalCode::InvalidRequest,
        ),
        (
            json!({"action": "list", "rule": "x"}),
            RefusalCode::InvalidRequest,
        ),
        (
            json!({"action": "update", "rule": "x"}),
            RefusalCode::InvalidRequest,
        ),
        (
            json!({"action": "progress", "rule": "x", "window_mins": 0}),
            RefusalCode::InvalidRequest,
        ),
        (
            json!({"action": "create", "source": "A", "destination": "bbb"}),
            RefusalCode::InvalidBucketName,
        ),
        (
            json!({"action": "create", "source": "aaa", "destination": "bbb", "polcy": "full"}),
            RefusalCode::InvalidRequest,
        ),
        (
            json!({"action": "create", "source": "aaa", "destination": "bbb", "policy": "ful"}),
            RefusalCode::InvalidRequest,
        ),
        (
            json!({"action": "create", "source": "aaa", "destination": "bbb", "scope": {"prefixes": []}}),
            RefusalCode::InvalidScope,
        ),
        (
            json!({"action": "create", "source": "aaa", "destination": "bbb", "scope": "some"}),
            RefusalCode::InvalidRequest,
        ),
        (
            json!({"action": "create", "source": "aaa", "destination": "bbb", "scope": [["a/"]]}),
            RefusalCode::InvalidRequest,
        ),
    ] {
        assert_eq!(code(request.clone()), wanted, "{request}");
    }
    let said = Request::parse(
        json!({"action": "create", "source": "aaa", "destination": "bbb", "polcy": "full"}),
    );
    assert!(
        said.unwrap_err()
            .to_string()
            .contains("unknown field `polcy`")
    );
}
