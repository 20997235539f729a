//! The real functions with an S3 at its worst: conditions that fail, errors inside a 200, missing answers, changes
//! between any two requests. A replica is deleted only after a 404 of the source itself, and a message is acknowledged
//! only when its key agrees.

use tandem_replication::rule_memory::REMEMBERED_FOR;
use tandem_tests::bucket::{Object, tags};
use tandem_tests::buckets::Buckets;
use tandem_tests::eventually::SOON;
use tandem_tests::function_process::Start;
use tandem_tests::notification;
use tandem_tests::proxy::{Action, Seen};

use crate::stage::{Stage, copies};

fn count(story: &[String], request: &str) -> usize {
    story
        .iter()
        .filter(|told| told.starts_with(request))
        .count()
}

// ---- Copies that are refused, that fail, or that get no answer -----------------------------------

// Promise: A copy names the accounts that have to own its buckets, so that a bucket that has changed hands
// refuses it.
#[tokio::test]
async fn a_copy_is_pinned_to_the_etag_of_its_notification_and_guarded_against_other_owners() {
    let stage = Stage::new("replicate-put").await;
    let put = stage.put("a", "one").await;
    let etag = put["Records"][0]["s3"]["object"]["eTag"]
        .as_str()
        .expect("an ETag")
        .to_owned();
    assert!(stage.acknowledged(put).await);
    let seen = stage.proxy.take();
    let copy = seen.iter().find(|seen| copies(seen)).expect("a copy");
    assert_eq!(
        copy.headers["x-amz-copy-source-if-match"],
        format!("\"{etag}\"")
    );
    for owner in [
        "x-amz-expected-bucket-owner",
        "x-amz-source-expected-bucket-owner",
    ] {
        assert_eq!(copy.headers[owner], "000000000000");
    }
}

// Promise: Once a key stops changing at the source, and each of its notifications has been delivered at least
// once, its replica equals the source as the rule's options say; under policy `full` there is no replica where
// the source has no object.
#[tokio::test]
async fn a_pinned_copy_that_finds_another_object_or_none_is_not_a_success() {
    for refusal in [(412, "PreconditionFailed"), (404, "NoSuchKey")] {
        let stage = Stage::new("replicate-put").await;
        let put = stage.put("a", "one").await;
        stage
            .proxy
            .script(1, copies, Action::s3_error(refusal.0, refusal.1));
        assert!(stage.acknowledged(put).await, "{refusal:?}");
        let story = stage.proxy.take_story(&stage.buckets);
        assert_eq!(count(&story, "CopyObject"), 2, "{refusal:?}: {story:?}");
        stage.buckets.assert_equal("").await;
    }
}

// Promise: Once a key stops changing at the source, and each of its notifications has been delivered at least
// once, its replica equals the source as the rule's options say; under policy `full` there is no replica where
// the source has no object.
#[tokio::test]
async fn a_stale_replica_is_deleted_although_the_pinned_copy_found_no_object() {
    let stage = Stage::new("replicate-put").await;
    let put = stage.put("a", "one").await;
    stage.buckets.destination.put("a", "stale").await;
    stage.buckets.source.delete("a").await;
    assert!(stage.acknowledged(put).await);
    stage.buckets.assert_equal("").await;
}

#[tokio::test]
async fn an_error_inside_a_200_is_not_a_copy() {
    for code in ["InternalError", "SlowDown", "ServiceUnavailable"] {
        let stage = Stage::new("replicate-put").await;
        let put = stage.put("a", "one").await;
        stage.proxy.script(1, copies, Action::s3_error(200, code));
        let acknowledged = stage.acknowledged(put.clone()).await;
        if acknowledged {
            stage.buckets.assert_equal("").await;
        } else {
            assert!(
                stage.acknowledged(put.clone()).await,
                "{code}, second delivery"
            );
        }
        stage.buckets.assert_equal("").await;
        // A repeated error is never a reason to give up.
        stage.proxy.script(99, copies, Action::s3_error(200, code));
        let put = stage.put("a", "two").await;
        assert!(
            !stage.acknowledged(put).await,
            "{code} is given up; log:\n{}",
            stage.function.log()
        );
        assert_eq!(stage.failures().await, 0, "{code}");
    }
}

#[tokio::test]
async fn a_request_that_is_answered_slow_down_is_repeated_at_once() {
    let stage = Stage::new("replicate-put").await;
    let put = stage.put("a", "one").await;
    stage
        .proxy
        .script(1, copies, Action::s3_error(503, "SlowDown"));
    assert!(stage.acknowledged(put).await);
    let story = stage.proxy.take_story(&stage.buckets);
    assert_eq!(count(&story, "CopyObject"), 2, "{story:?}");
    stage.buckets.assert_equal("").await;
}

/// If the copy were repeated at once, it could be verified before the first one lands with old content.
// Promise: A write that is not answered, or answered with a 5xx other than `SlowDown` or with an error inside a
// 200, may have been carried out: its attempt does not repeat it, and its message is redelivered after the
// visibility timeout.
#[tokio::test]
async fn a_copy_that_failed_with_a_5xx_or_inside_a_200_is_left_to_the_visibility_timeout() {
    for (status, code) in [
        (500, "InternalError"),
        (503, "ServiceUnavailable"),
        (200, "InternalError"),
    ] {
        for action in [
            Action::s3_error(status, code),
            Action::done_but(status, code),
        ] {
            let stage = Stage::new("replicate-put").await;
            let put = stage.put("a", "one").await;
            stage.proxy.script(1, copies, action.clone());
            assert!(!stage.acknowledged(put.clone()).await, "{action:?}");
            let story = stage.proxy.take_story(&stage.buckets);
            assert_eq!(count(&story, "CopyObject"), 1, "{action:?}: {story:?}");
            let sooner = count(&story, "SQS.ChangeMessageVisibility");
            assert_eq!(sooner, 0, "{action:?}: {story:?}");
            assert!(stage.acknowledged_again(put).await, "{action:?}");
            stage.buckets.assert_equal("").await;
        }
    }
}

// Promise: A write that is not answered, or answered with a 5xx other than `SlowDown` or with an error inside a
// 200, may have been carried out: its attempt does not repeat it, and its message is redelivered after the
// visibility timeout.
#[tokio::test]
async fn a_delete_that_failed_with_a_5xx_is_left_to_the_visibility_timeout() {
    for action in [
        Action::s3_error(500, "InternalError"),
        Action::done_but(500, "InternalError"),
    ] {
        let stage = Stage::new("replicate-delete").await;
        let delete = stage.deleted("a").await;
        let deletes = |seen: &Seen| seen.is("DeleteObject");
        stage.proxy.script(1, deletes, action.clone());
        assert!(!stage.acknowledged(delete.clone()).await, "{action:?}");
        let story = stage.proxy.take_story(&stage.buckets);
        assert_eq!(count(&story, "DeleteObject"), 1, "{action:?}: {story:?}");
        let sooner = count(&story, "SQS.ChangeMessageVisibility");
        assert_eq!(sooner, 0, "{action:?}: {story:?}");
        assert!(stage.acknowledged_again(delete).await, "{action:?}");
        stage.buckets.assert_equal("").await;
    }
}

// Promise: A write that is not answered, or answered with a 5xx other than `SlowDown` or with an error inside a
// 200, may have been carried out: its attempt does not repeat it, and its message is redelivered after the
// visibility timeout.
#[tokio::test]
async fn tags_whose_write_failed_with_a_5xx_are_left_to_the_visibility_timeout() {
    let stage = Stage::new("replicate-put").await;
    let put = stage.put("a", "one").await;
    assert!(stage.acknowledged(put).await);
    assert!(stage.buckets.source.retag("a", "red").await);
    let retagged = notification::settled(&stage.buckets.source, "ObjectTagging:Put", "a");
    stage.proxy.take();
    let puts_tags = |seen: &Seen| seen.is("PutObjectTagging");
    stage
        .proxy
        .script(1, puts_tags, Action::done_but(500, "InternalError"));
    assert!(!stage.acknowledged(retagged.clone()).await);
    let story = stage.proxy.take_story(&stage.buckets);
    assert_eq!(count(&story, "PutObjectTagging"), 1, "{story:?}");
    let sooner = count(&story, "SQS.ChangeMessageVisibility");
    assert_eq!(sooner, 0, "{story:?}");
    assert!(stage.acknowledged_again(retagged).await);
    assert_eq!(
        stage.buckets.destination.tags("a").await,
        tags(&[("tag", "red")])
    );
}

#[tokio::test]
async fn a_read_that_failed_with_a_5xx_is_repeated_at_once() {
    let stage = Stage::new("replicate-put").await;
    let put = stage.put("a", "one").await;
    stage.proxy.script(
        1,
        stage.heads_of_the_source(),
        Action::Answer(500, String::new()),
    );
    assert!(stage.acknowledged(put).await);
    stage.buckets.assert_equal("").await;
}

#[tokio::test]
async fn repeated_throttling_keeps_the_message_and_delays_its_redelivery() {
    let stage = Stage::new("replicate-put").await;
    let put = stage.put("a", "one").await;
    stage
        .proxy
        .script(99, copies, Action::s3_error(503, "SlowDown"));
    assert!(!stage.acknowledged(put).await);
    let story = stage.proxy.take_story(&stage.buckets);
    assert_eq!(count(&story, "SQS.ChangeMessageVisibility"), 1, "{story:?}");
    assert_eq!(stage.failures().await, 0, "the message stays in the queue");
}

/// If the copy were repeated at once, it could be verified before the first one lands with old content.
// Promise: A write that is not answered, or answered with a 5xx other than `SlowDown` or with an error inside a
// 200, may have been carried out: its attempt does not repeat it, and its message is redelivered after the
// visibility timeout.
#[tokio::test]
async fn a_copy_that_is_not_answered_is_left_to_the_visibility_timeout() {
    for action in [
        Action::BreakBefore,
        Action::BreakAfter,
        Action::BreakInAnswer,
    ] {
        let stage = Stage::new("replicate-put").await;
        let put = stage.put("a", "one").await;
        stage.proxy.script(1, copies, action.clone());
        assert!(!stage.acknowledged(put.clone()).await, "{action:?}");
        let story = stage.proxy.take_story(&stage.buckets);
        assert_eq!(count(&story, "CopyObject"), 1, "{action:?}: {story:?}");
        assert_eq!(
            count(&story, "SQS.ChangeMessageVisibility"),
            0,
            "{action:?}: {story:?}"
        );
        assert!(stage.acknowledged(put).await, "the redelivery");
        stage.buckets.assert_equal("").await;
    }
}

#[tokio::test]
async fn a_message_with_one_unanswered_copy_waits_whatever_its_other_records() {
    for unanswered in ["a", "b"] {
        let stage = Stage::new("replicate-put").await;
        let mut message = stage.put("a", "one").await;
        let other = stage.put("b", "two").await;
        message["Records"]
            .as_array_mut()
            .expect("records")
            .push(other["Records"][0].clone());
        let breaks = move |seen: &Seen| copies(seen) && seen.key == unanswered;
        stage.proxy.script(1, breaks, Action::BreakBefore);
        stage
            .proxy
            .script(99, copies, Action::s3_error(503, "SlowDown"));
        assert!(!stage.acknowledged(message).await);
        let story = stage.proxy.take_story(&stage.buckets);
        assert_eq!(
            count(&story, "SQS.ChangeMessageVisibility"),
            0,
            "{unanswered}: {story:?}"
        );
    }
}

// Promise: A success clears the record of its key, but only the record that it saw before it read the source.
#[tokio::test]
async fn a_denied_object_is_recorded_and_its_next_success_clears_the_record() {
    let stage = Stage::new("replicate-put").await;
    let put = stage.put("a", "one").await;
    stage
        .proxy
        .script(2, copies, Action::s3_error(403, "AccessDenied"));
    assert!(
        !stage.acknowledged(put.clone()).await,
        "the key gets another attempt"
    );
    assert_eq!(stage.failures().await, 1);
    assert!(
        stage.acknowledged_again(put.clone()).await,
        "another attempt would not help"
    );
    assert_eq!(stage.failures().await, 1);
    let record = stage.cloud.items_with("DstPutObjectNotPermitted").await;
    assert!(
        record
            .iter()
            .any(|item| format!("{item:?}").contains(&stage.rule)),
        "{record:?}"
    );
    // For some seconds the cache still says that the rule has no failure. A function that starts now reads the failure.
    let function = Start::of(&stage.cloud, "replicate-put").await.start().await;
    let answer = function
        .invoke(stage.batch(&[put]))
        .await
        .expect("an answer");
    assert!(notification::kept(&answer).is_empty());
    assert_eq!(stage.failures().await, 0);
    stage.buckets.assert_equal("").await;
}

// Promise: No failure stays recorded of a key that is in sync: a change that fails for good, and of which there
// was no record, is attempted once more.
#[tokio::test]
async fn a_second_attempt_clears_a_record_that_a_success_did_not_know() {
    let stage = Stage::new("replicate-put").await;
    // This function has just read that the rule has no failures.
    let other = Start::of(&stage.cloud, "replicate-put").await.start().await;
    let before = stage.put("before", "as it were").await;
    let acknowledged = other.invoke(stage.batch(&[before])).await;
    assert!(notification::kept(&acknowledged.expect("an answer")).is_empty());
    let put = stage.put("a", "one").await;
    stage
        .proxy
        .script(1, copies, Action::s3_error(403, "AccessDenied"));
    assert!(!stage.acknowledged(put.clone()).await);
    assert_eq!(stage.failures().await, 1);
    let copied = other.invoke(stage.batch(std::slice::from_ref(&put))).await;
    assert!(notification::kept(&copied.expect("an answer")).is_empty());
    // The message is redelivered when no function remembers the rule any more.
    tokio::time::sleep(REMEMBERED_FOR).await;
    assert!(stage.acknowledged_again(put).await);
    assert_eq!(stage.failures().await, 0);
}

// ---- Deletes ------------------------------------------------------------------------------------

// Promise: A replica is deleted only under policy `full`, and only when the source itself answers 404 for the
// key: a 403, an error, a missing answer or a listing is never taken for absence.
#[tokio::test]
async fn only_a_404_of_the_source_itself_deletes_a_replica() {
    for (action, parked) in [
        (Action::s3_error(403, "AccessDenied"), true),
        (Action::s3_error(400, "BadRequest"), true),
        (Action::s3_error(500, "InternalError"), false),
        (Action::s3_error(503, "SlowDown"), false),
        (Action::BreakBefore, false),
    ] {
        let stage = Stage::new("replicate-delete").await;
        let delete = stage.deleted("a").await;
        stage
            .proxy
            .script(99, stage.heads_of_the_source(), action.clone());
        assert!(!stage.acknowledged(delete.clone()).await, "{action:?}");
        let again = stage.acknowledged_again(delete).await;
        assert_eq!(again, parked, "{action:?}");
        let story = stage.proxy.take_story(&stage.buckets);
        assert_eq!(count(&story, "DeleteObject"), 0, "{action:?}: {story:?}");
        assert!(
            stage.buckets.destination.head("a").await.is_some(),
            "{action:?}"
        );
        assert_eq!(stage.failures().await, u64::from(parked), "{action:?}");
    }
}

// Promise: A replica is deleted on the condition that it is the one that was seen.
#[tokio::test]
async fn a_replica_is_deleted_only_if_it_is_the_one_that_was_seen() {
    let stage = Stage::new("replicate-delete").await;
    let delete = stage.deleted("a").await;
    let etag = stage
        .buckets
        .destination
        .head("a")
        .await
        .expect("a replica")
        .e_tag
        .expect("an ETag");
    stage.proxy.script(
        1,
        |seen| seen.is("DeleteObject"),
        Action::s3_error(412, "PreconditionFailed"),
    );
    assert!(stage.acknowledged(delete).await);
    let seen = stage.proxy.take();
    let deletions: Vec<&Seen> = seen.iter().filter(|seen| seen.is("DeleteObject")).collect();
    assert_eq!(
        deletions.len(),
        2,
        "the first was refused; after new HEADs there is a second"
    );
    assert!(
        deletions
            .iter()
            .all(|deletion| deletion.headers["if-match"] == etag)
    );
    stage.buckets.assert_equal("").await;
}

#[tokio::test]
async fn a_server_without_conditional_deletes_deletes_without_a_condition() {
    let stage = Stage::new("replicate-delete").await;
    let delete = stage.deleted("a").await;
    let conditional =
        |seen: &Seen| seen.is("DeleteObject") && seen.headers.contains_key("if-match");
    stage
        .proxy
        .script(99, conditional, Action::s3_error(501, "NotImplemented"));
    assert!(stage.acknowledged(delete).await);
    stage.buckets.assert_equal("").await;
}

// Promise: A write that is not answered, or answered with a 5xx other than `SlowDown` or with an error inside a
// 200, may have been carried out: its attempt does not repeat it, and its message is redelivered after the
// visibility timeout.
#[tokio::test]
async fn a_delete_that_is_not_answered_is_left_to_the_visibility_timeout() {
    let stage = Stage::new("replicate-delete").await;
    let delete = stage.deleted("a").await;
    stage
        .proxy
        .script(1, |seen| seen.is("DeleteObject"), Action::BreakAfter);
    assert!(!stage.acknowledged(delete.clone()).await);
    let story = stage.proxy.take_story(&stage.buckets);
    assert_eq!(count(&story, "DeleteObject"), 1, "{story:?}");
    assert_eq!(count(&story, "SQS.ChangeMessageVisibility"), 0, "{story:?}");
    assert!(stage.acknowledged(delete).await, "the redelivery");
    stage.buckets.assert_equal("").await;
}

// ---- Changes between two requests ----------------------------------------------------------------

/// A change of the source between two requests of the function.
#[derive(Debug, Clone, Copy)]
enum Meanwhile {
    Overwritten,
    Redressed,
    Deleted,
    DeletedAndPutAgain,
}

impl Meanwhile {
    const ALL: [Self; 4] = [
        Self::Overwritten,
        Self::Redressed,
        Self::Deleted,
        Self::DeletedAndPutAgain,
    ];

    async fn happen(self, buckets: &Buckets) {
        match self {
            Self::Overwritten => {
                buckets.source.put("a", "two").await;
            }
            Self::Redressed => {
                buckets
                    .source
                    .put_object("a", &Object::of("one").dressed("meanwhile"))
                    .await;
            }
            Self::Deleted => buckets.source.delete("a").await,
            Self::DeletedAndPutAgain => {
                buckets.source.delete("a").await;
                buckets
                    .source
                    .put_object("a", &Object::of("one").dressed("again"))
                    .await;
            }
        }
    }
}

// Promise: Once a key stops changing at the source, and each of its notifications has been delivered at least
// once, its replica equals the source as the rule's options say; under policy `full` there is no replica where
// the source has no object.
#[tokio::test]
async fn the_head_after_a_copy_finds_every_change_since_it_landed() {
    for meanwhile in Meanwhile::ALL {
        let stage = Stage::new("replicate-put").await;
        let put = stage.put("a", "one").await;
        let gate = stage.proxy.hold_after(copies);
        let answer = stage.function.begin(stage.batch(&[put]));
        gate.arrived().await;
        stage.buckets.arrive("a", SOON).await;
        meanwhile.happen(&stage.buckets).await;
        gate.open();
        let answer = answer.await.expect("an answer");
        assert!(notification::kept(&answer).is_empty(), "{meanwhile:?}");
        stage.buckets.assert_equal("").await;
    }
}

#[tokio::test]
async fn a_change_before_a_copy_lands_is_replicated() {
    for meanwhile in Meanwhile::ALL {
        let stage = Stage::new("replicate-put").await;
        let put = stage.put("a", "one").await;
        let gate = stage.proxy.hold_before(copies);
        let answer = stage.function.begin(stage.batch(&[put]));
        gate.arrived().await;
        meanwhile.happen(&stage.buckets).await;
        gate.open();
        let answer = answer.await.expect("an answer");
        assert!(notification::kept(&answer).is_empty(), "{meanwhile:?}");
        stage.buckets.assert_equal("").await;
    }
}

// Promise: Once a key stops changing at the source, and each of its notifications has been delivered at least
// once, its replica equals the source as the rule's options say; under policy `full` there is no replica where
// the source has no object.
#[tokio::test]
async fn a_put_during_a_delete_survives_it() {
    for before in [true, false] {
        let stage = Stage::new("replicate-delete").await;
        let delete = stage.deleted("a").await;
        let deletes = |seen: &Seen| seen.is("DeleteObject");
        let gate = if before {
            stage.proxy.hold_before(deletes)
        } else {
            stage.proxy.hold_after(deletes)
        };
        let answer = stage.function.begin(stage.batch(&[delete]));
        gate.arrived().await;
        stage.buckets.source.put("a", "put meanwhile").await;
        gate.open();
        let answer = answer.await.expect("an answer");
        assert!(notification::kept(&answer).is_empty());
        stage.buckets.assert_equal("").await;
    }
}

// ---- Processes that die --------------------------------------------------------------------------

// Promise: A worker may die at any step, and S3 may send a notification twice: the replica becomes equal all
// the same.
#[tokio::test]
async fn a_redelivery_completes_the_work_of_a_function_killed_between_any_two_requests() {
    for at in ["CopyObject", "HeadObject"] {
        for after in [false, true] {
            let stage = Stage::new("replicate-put").await;
            let put = stage.put("a", "one").await;
            let there = move |seen: &Seen| seen.is(at);
            let gate = if after {
                stage.proxy.hold_after(there)
            } else {
                stage.proxy.hold_before(there)
            };
            let answer = stage
                .function
                .begin(stage.batch(std::slice::from_ref(&put)));
            gate.arrived().await;
            stage.function.kill();
            assert_eq!(answer.await.expect_err("no answer").code, "Killed");
            stage.buckets.source.put("a", "two").await;
            let function = Start::of(&stage.cloud, "replicate-put").await.start().await;
            let answer = function
                .invoke(stage.batch(&[put]))
                .await
                .expect("an answer");
            assert!(notification::kept(&answer).is_empty(), "{at} {after}");
            stage.buckets.assert_equal("").await;
        }
    }
}
