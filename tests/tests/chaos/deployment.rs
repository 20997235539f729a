//! The deployed stack, changed for the run and restored after it: the functions send their requests to AWS through
//! the fault proxy, and time out sooner, so that no message has to wait for minutes.

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_lambda::types::Environment;
use aws_sdk_sqs::types::QueueAttributeName;
use tandem_tests::cloud::Cloud;
use tandem_tests::fault_proxy::LONGEST_DELAY;

use crate::duplicates::poll_all;

/// The variables from which a function's clients read the address of each service. The emulator keeps
/// `AWS_ENDPOINT_URL` for itself.
pub const ENDPOINT_VARIABLES: [&str; 3] = [
    "AWS_ENDPOINT_URL_S3",
    "AWS_ENDPOINT_URL_DYNAMODB",
    "AWS_ENDPOINT_URL_SQS",
];

/// The limit over which objects are handed to the work queue.
pub const LIVE_BYTES_MAX: usize = 16 << 10;
/// The limit from which objects in parts become transfers.
pub const TRANSFER_BYTES_MIN: usize = 24 << 10;
/// The size of a range, so that each is one part. All three are far below what the template allows, so that these
/// paths are used often.
const RANGE_BYTES: usize = 1;

/// The longest backoff of a message, where the product doubles the time with each attempt.
pub const BACKOFF_MAX: Duration = Duration::from_secs(40);

const LIVE_TIMEOUT: Duration = Duration::from_secs(12);
/// `backfill-shard` begins no object in its last minute.
const WORK_TIMEOUT: Duration = Duration::from_secs(66);
/// The longest time for which a request of a dead function is in flight. It includes the difference of clocks.
const IN_FLIGHT: Duration = LONGEST_DELAY.saturating_add(BUSY);
/// The longest start of a process on a busy machine.
const START: Duration = Duration::from_secs(10);
/// The longest time that the cloud takes for a request on a busy machine.
const BUSY: Duration = Duration::from_secs(10);

/// The functions, with the timeout that the run sets.
const FUNCTIONS: [(&str, Option<Duration>); 6] = [
    ("configure-rule", None),
    ("backfill", None),
    ("replicate-put", Some(LIVE_TIMEOUT)),
    ("replicate-delete", Some(LIVE_TIMEOUT)),
    ("backfill-shard", Some(WORK_TIMEOUT)),
    ("copy-parts", Some(WORK_TIMEOUT)),
];

/// The queues, with the timeout of their function.
const QUEUES: [(&str, Duration); 4] = [
    ("put", LIVE_TIMEOUT),
    ("delete", LIVE_TIMEOUT),
    ("work", WORK_TIMEOUT),
    ("part", WORK_TIMEOUT),
];

/// The attributes of a queue that the run changes.
const QUEUE_ATTRIBUTES: [QueueAttributeName; 1] = [QueueAttributeName::VisibilityTimeout];
/// How many attempts a message gets before it goes to the dead-letter queue: few enough that some messages do.
const ATTEMPTS_MAX: u32 = 3;

/// The state of the stack before the run.
pub struct Deployment {
    functions: Vec<Function>,
    queues: Vec<Queue>,
}

struct Function {
    name: String,
    timeout_secs: i32,
    variables: HashMap<String, String>,
}

struct Queue {
    url: String,
    attributes: HashMap<QueueAttributeName, String>,
}

/// How long a message is invisible: until a dead attempt has nothing in flight.
pub fn visibility(timeout: Duration) -> Duration {
    START + timeout + LONGEST_DELAY + BUSY
}

/// How long a message of this queue is invisible.
pub fn visibility_of(queue: &str) -> Duration {
    let known = QUEUES.iter().find(|(name, _)| *name == queue);
    let (_, timeout) = known.expect("a queue of the stack");
    visibility(*timeout)
}

/// The time after which a copy without an answer is attempted again. In the product this is 15 minutes.
pub fn second_attempt() -> Duration {
    visibility(WORK_TIMEOUT)
}

impl Deployment {
    /// Records the state of the stack.
    ///
    /// # Panics
    /// If an earlier run was killed before it could restore the stack.
    pub async fn remember(cloud: &Cloud) -> Self {
        let mut functions = Vec::new();
        for (name, _) in FUNCTIONS {
            let name = format!("{}-{name}", cloud.stack);
            let request = cloud.lambda.get_function_configuration();
            let known = request.function_name(&name).send().await;
            let known = known.expect("the function's configuration");
            let variables = known
                .environment
                .and_then(|environment| environment.variables);
            let variables = variables.unwrap_or_default();
            assert!(
                !variables.contains_key(ENDPOINT_VARIABLES[0]),
                "an earlier run was killed before it restored {name}; deploy again"
            );
            functions.push(Function {
                name,
                timeout_secs: known.timeout.unwrap_or_default(),
                variables,
            });
        }
        let mut queues = Vec::new();
        for (queue, _) in QUEUES {
            let url = cloud.queue_url(queue).await;
            let request = cloud.sqs.get_queue_attributes().queue_url(&url);
            let known = request.set_attribute_names(Some(QUEUE_ATTRIBUTES.into()));
            let known = known.send().await.expect("the queue's attributes");
            let mut attributes = known.attributes.expect("attributes");
            attributes.retain(|name, _| QUEUE_ATTRIBUTES.contains(name));
            queues.push(Queue { url, attributes });
        }
        Self { functions, queues }
    }

    /// Shortens the visibility timeouts. This has to happen before the first message: a message that is received
    /// earlier, by a function that ends with its old configuration, is invisible for the old time.
    pub async fn quicken(&self, cloud: &Cloud) {
        for (queue, (_, timeout)) in self.queues.iter().zip(QUEUES) {
            let invisible = visibility(timeout).as_secs().to_string();
            let attributes = [(QueueAttributeName::VisibilityTimeout, invisible)];
            set_attributes(cloud, &queue.url, attributes.into()).await;
        }
    }

    /// Sends the functions' requests through the proxy at `url`, and shortens their timeouts.
    pub async fn expose(&self, cloud: &Cloud, url: &str) {
        for (function, (_, timeout)) in self.functions.iter().zip(FUNCTIONS) {
            let mut variables = function.variables.clone();
            for variable in ENDPOINT_VARIABLES {
                variables.insert(variable.to_owned(), url.to_owned());
            }
            for (variable, value) in [
                ("TANDEM_LIVE_BYTES_MAX", LIVE_BYTES_MAX.to_string()),
                ("TANDEM_TRANSFER_BYTES_MIN", TRANSFER_BYTES_MIN.to_string()),
                ("TANDEM_RANGE_BYTES", RANGE_BYTES.to_string()),
                ("TANDEM_ATTEMPTS_MAX", ATTEMPTS_MAX.to_string()),
                ("TANDEM_IN_FLIGHT_SECS", IN_FLIGHT.as_secs().to_string()),
            ] {
                variables.insert(variable.to_owned(), value);
            }
            let timeout_secs = timeout.and_then(|timeout| i32::try_from(timeout.as_secs()).ok());
            let timeout_secs = timeout_secs.unwrap_or(function.timeout_secs);
            configure(cloud, &function.name, variables, timeout_secs).await;
        }
    }

    /// Restores the stack. This ends the processes that use the proxy.
    pub async fn restore(&self, cloud: &Cloud) {
        poll_all(cloud).await;
        for function in &self.functions {
            let variables = function.variables.clone();
            configure(cloud, &function.name, variables, function.timeout_secs).await;
        }
        for queue in &self.queues {
            set_attributes(cloud, &queue.url, queue.attributes.clone()).await;
        }
    }
}

async fn configure(
    cloud: &Cloud,
    function: &str,
    variables: HashMap<String, String>,
    timeout_secs: i32,
) {
    let environment = Environment::builder().set_variables(Some(variables));
    let request = cloud.lambda.update_function_configuration();
    request
        .function_name(function)
        .environment(environment.build())
        .timeout(timeout_secs)
        .send()
        .await
        .expect("the function takes another configuration");
}

async fn set_attributes(
    cloud: &Cloud,
    queue_url: &str,
    attributes: HashMap<QueueAttributeName, String>,
) {
    let request = cloud.sqs.set_queue_attributes().queue_url(queue_url);
    let request = request.set_attributes(Some(attributes));
    request
        .send()
        .await
        .expect("the queue takes other attributes");
}
