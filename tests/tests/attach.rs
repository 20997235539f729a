//! The real adapter attaches notifications as soon as S3 can send to the stack's queues. No local cloud.

#![allow(clippy::expect_used, reason = "a test that cannot go on says why")]

use std::time::Duration;

use aws_sdk_s3::types::{Event, NotificationConfiguration, QueueConfiguration};
use tandem_aws::s3::notifications::{
    AttachError, Destinations, LaneQueues, SETTLING, Unusable, attach, attach_patiently,
};
use tandem_replication::options::Options;
use tandem_replication::rule::Scope;
use tandem_tests::memory_pair::MemoryPair;
use tandem_tests::proxy::Action;

const THEIRS: &str = "arn:aws:sqs:us-east-1:000000000000:theirs";
/// As many pauses as in the function, but of zero length.
const PAUSES: [Duration; SETTLING.len()] = [Duration::ZERO; SETTLING.len()];

fn queues() -> LaneQueues {
    let arn = |queue: &str| format!("arn:aws:sqs:us-east-1:000000000000:tandem-{queue}");
    LaneQueues {
        put_arn: arn("put"),
        delete_arn: arn("delete"),
        topic_arns: Vec::new(),
    }
}

/// A pair whose source has another writer's notification, for other keys.
async fn pair() -> MemoryPair {
    let mut pair = MemoryPair::new(Options::default()).await;
    pair.rule.scope = Scope::Prefixes(vec!["ours/".to_owned()]);
    let theirs = QueueConfiguration::builder()
        .id("theirs")
        .queue_arn(THEIRS)
        .events(Event::from("s3:ObjectAcl:Put"))
        .build();
    let configuration = NotificationConfiguration::builder();
    let configuration = configuration.queue_configurations(theirs.expect("an entry"));
    let put = pair.aws.s3(&pair.rule.source.region);
    let put = put
        .put_bucket_notification_configuration()
        .bucket("source")
        .notification_configuration(configuration.build());
    put.send().await.expect("their notification");
    pair.proxy.take();
    pair
}

/// Makes S3 refuse notifications to this queue this many times.
fn refuse(pair: &MemoryPair, times: usize, queue: &str) {
    // As S3 answers (aws-cli issue 8162).
    let body = format!(
        "<Error><Code>InvalidArgument</Code><Message>Unable to validate the following destination \
         configurations</Message><ArgumentName>{queue}, null</ArgumentName><ArgumentValue>Permissions on the \
         destination queue do not allow S3 to publish notifications from this bucket</ArgumentValue></Error>"
    );
    pair.proxy.script(
        times,
        |seen| seen.is("PutBucketNotificationConfiguration"),
        Action::Answer(400, body),
    );
}

fn writes(pair: &MemoryPair) -> usize {
    let seen = pair.proxy.take().into_iter();
    seen.filter(|seen| seen.is("PutBucketNotificationConfiguration"))
        .count()
}

// Promise: A rule is made seconds after a deployment, when S3 cannot send to the new queues yet.
#[tokio::test]
async fn attaching_waits_for_the_queues_of_a_new_stack() {
    let pair = pair().await;
    refuse(&pair, 3, &queues().put_arn);
    attach_patiently(&pair.aws, &queues(), &pair.rule, &PAUSES)
        .await
        .expect("attached");
    assert_eq!(writes(&pair), 4);
    let found = pair.aws.s3(&pair.rule.source.region);
    let found = found.get_bucket_notification_configuration();
    let found = found.bucket("source").send().await.expect("notifications");
    let arns = found.queue_configurations().iter();
    let arns: Vec<&str> = arns.map(QueueConfiguration::queue_arn).collect();
    assert!(arns.contains(&THEIRS), "{arns:?}");
    assert!(arns.contains(&queues().put_arn.as_str()), "{arns:?}");
}

#[tokio::test]
async fn attaching_fails_after_half_a_minute_if_the_queues_stay_closed() {
    let pair = pair().await;
    refuse(&pair, usize::MAX, &queues().delete_arn);
    let refused = attach_patiently(&pair.aws, &queues(), &pair.rule, &PAUSES).await;
    let invalid = matches!(
        &refused,
        Err(AttachError::Invalid {
            at: Unusable::Ours,
            ..
        })
    );
    assert!(invalid, "{refused:?}");
    assert_eq!(writes(&pair), PAUSES.len() + 1);
    assert_eq!(
        SETTLING.iter().sum::<Duration>(),
        Duration::from_secs(30),
        "the function has a minute"
    );
}

#[tokio::test]
async fn attaching_does_not_wait_for_another_writers_queue() {
    let pair = pair().await;
    refuse(&pair, 1, THEIRS);
    let refused = attach_patiently(&pair.aws, &queues(), &pair.rule, &PAUSES).await;
    let invalid = matches!(
        &refused,
        Err(AttachError::Invalid {
            at: Unusable::Another,
            ..
        })
    );
    assert!(invalid, "{refused:?}");
    assert_eq!(writes(&pair), 1);
    let untried = Destinations::NotTriedOut;
    attach(&pair.aws, &queues(), &pair.rule, untried)
        .await
        .expect("attached");
}
