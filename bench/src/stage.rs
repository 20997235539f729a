//! The setup in which the functions are measured: the local cloud with its table and queues, the S3 in memory instead
//! of the cloud's own, and the functions' processes.

use futures::future::join_all;
use serde_json::json;
use tandem_memory_s3::MemoryS3;
use tandem_tests::cloud::{Cloud, EAST, WEST};
use tandem_tests::function_process::{FunctionProcess, Start};

use crate::args::{Sizes, Which};
use crate::binaries::Binaries;
use crate::fixtures::{Pair, Regions};
use crate::usage::Usage;

/// The stage.
#[derive(Debug)]
pub struct Stage {
    pub cloud: Cloud,
    pub server: MemoryS3,
    pub binaries: Binaries,
}

/// The regions for rules.
pub const TWO_REGIONS: Regions = (EAST, WEST);

impl Stage {
    pub async fn set_up(which: &Which, sizes: &Sizes) -> Self {
        let stage = Self {
            cloud: Cloud::connect().await,
            server: MemoryS3::start().await.expect("a port"),
            binaries: Binaries::find(which.binaries.as_deref()),
        };
        let variables = stage.cloud.variables("configure-rule").await;
        stage.server.set_account(&variables["TANDEM_ACCOUNT_ID"]);
        stage.server.set_latency_of_all(sizes.latency());
        stage
    }

    /// Returns how a function is started: as it is deployed, except that its S3 is the one in memory.
    pub async fn function(&self, name: &str) -> Start {
        Start::of(&self.cloud, name)
            .await
            .running(self.binaries.path(name))
            .variable("AWS_ENDPOINT_URL_S3", self.server.url())
            .variable("RUST_LOG", "info")
    }

    /// Starts `count` processes of a function, with their work in this queue.
    pub async fn start_all(&self, name: &str, count: usize, queue: &str) -> Vec<FunctionProcess> {
        let one = async || {
            let start = self.function(name).await;
            start.variable("TANDEM_WORK_QUEUE_URL", queue).start().await
        };
        join_all((0..count).map(|_| one())).await
    }

    /// Creates a rule for the pair, by the function that creates rules, and returns its id.
    pub async fn make_rule(&self, pair: Pair) -> String {
        let configure = self.function("configure-rule").await.start().await;
        let request =
            json!({"action": "create", "source": pair.source, "destination": pair.destination});
        let made = configure.invoke(request).await.expect("a rule");
        made["rule"]["id"].as_str().expect("an id").to_owned()
    }
}

/// Returns what these processes have used together.
pub fn usage(processes: &[FunctionProcess]) -> Usage {
    let each = processes.iter().map(|process| Usage::of(process.id()));
    each.reduce(Usage::and).unwrap_or_default()
}
