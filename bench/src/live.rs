//! Live puts: batches of notifications, handed to several processes at once, as Lambda would.

use std::sync::Mutex;
use std::time::Instant;

use futures::future::join_all;
use tandem_tests::bucket::Bucket;
use tandem_tests::cloud::EAST;
use tandem_tests::function_process::FunctionProcess;
use tandem_tests::notification;

use crate::args::Sizes;
use crate::fixtures;
use crate::measured::Measured;
use crate::stage::{Stage, TWO_REGIONS, usage};

/// Messages in a batch, as in the template.
const BATCH: usize = 10;

pub async fn puts(stage: &Stage, sizes: &Sizes) -> Measured {
    let pair = fixtures::live(&stage.server, sizes, TWO_REGIONS);
    stage.make_rule(pair).await;
    let variables = stage.cloud.variables("replicate-put").await;
    let queue_arn = &variables["TANDEM_PUT_QUEUE_ARN"];
    let queue = &variables["TANDEM_WORK_QUEUE_URL"];
    let functions = stage.start_all("replicate-put", sizes.workers, queue).await;
    join_all(functions.iter().map(FunctionProcess::wake)).await;
    let batches = Mutex::new(batches(stage, pair, sizes).into_iter());

    stage.server.take_counts();
    let before = usage(&functions);
    let began = Instant::now();
    join_all(
        functions
            .iter()
            .map(|function| hand_over(function, queue_arn, &batches)),
    )
    .await;
    let elapsed = began.elapsed();
    let used = usage(&functions).since(before);
    let counts = stage.server.take_counts();

    assert!(fixtures::agree(&stage.server, pair), "the buckets differ");
    let what = format!("live puts of {} B", sizes.object_bytes);
    let by = format!("{} x replicate-put", sizes.workers);
    Measured::new(&what, &by, sizes.puts(), elapsed, used, counts)
}

/// Returns the notifications that S3 would have sent for the objects of the source, in batches.
fn batches(stage: &Stage, pair: fixtures::Pair, sizes: &Sizes) -> Vec<Vec<String>> {
    let source = Bucket {
        client: stage.cloud.s3(EAST),
        name: pair.source.to_owned(),
        region: EAST,
    };
    let objects = stage.server.objects(pair.source);
    let bodies: Vec<String> = objects
        .iter()
        .map(|(key, object)| {
            notification::put(&source, key, object.etag(), sizes.object_bytes).to_string()
        })
        .collect();
    bodies.chunks(BATCH).map(<[String]>::to_vec).collect()
}

async fn hand_over(
    function: &FunctionProcess,
    queue_arn: &str,
    batches: &Mutex<std::vec::IntoIter<Vec<String>>>,
) {
    let next = || batches.lock().expect("no holder panicked").next();
    while let Some(bodies) = next() {
        let batch = notification::batch(queue_arn, &bodies);
        let answer = function.begin(batch).await.expect("an answer");
        let kept = notification::kept(&answer);
        assert!(kept.is_empty(), "messages {kept:?}: {}", function.log());
    }
}
