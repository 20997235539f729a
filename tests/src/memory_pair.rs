//! Two buckets in memory and a rule between them, reached through a proxy, for tests of the adapters that need no
//! local cloud.

use std::time::SystemTime;

use aws_config::{BehaviorVersion, Region as SdkRegion};
use aws_sdk_s3::config::Credentials;
use tandem_aws::Aws;
use tandem_memory_s3::MemoryS3;
use tandem_memory_s3::server::ACCOUNT_ID;
use tandem_replication::names::{BucketName, Region, RuleId};
use tandem_replication::options::Options;
use tandem_replication::rule::{Bucket, Rule, RuleState};

use crate::proxy::{Action, Proxy};

/// The buckets, the proxy before them, and the rule.
#[derive(Debug)]
pub struct MemoryPair {
    /// The server of the buckets `source` and `replica`.
    pub memory: MemoryS3,
    /// The proxy for all requests of `aws`. It answers DynamoDB requests with an empty success.
    pub proxy: Proxy,
    /// The clients that the functions use.
    pub aws: Aws,
    /// The rule.
    pub rule: Rule,
}

impl MemoryPair {
    /// Creates two empty buckets, and a rule with these options.
    pub async fn new(options: Options) -> Self {
        let memory = MemoryS3::start().await.expect("an S3 in memory");
        memory.make_bucket("source", "us-east-1");
        memory.make_bucket("replica", "us-west-2");
        let proxy = Proxy::start(&memory.url()).await.for_tests_too();
        proxy.script(
            usize::MAX,
            |seen| seen.operation.starts_with("DynamoDB."),
            Action::Answer(200, "{}".to_owned()),
        );
        Self {
            aws: clients_at(&proxy.url()).await,
            rule: rule(options),
            memory,
            proxy,
        }
    }
}

/// Creates clients of all services at this address.
pub async fn clients_at(url: &str) -> Aws {
    let config = aws_config::defaults(BehaviorVersion::latest())
        .region(SdkRegion::new("us-east-1"))
        .endpoint_url(url)
        .credentials_provider(Credentials::new("test", "test", None, None, "a test"))
        .load()
        .await;
    Aws::new(config, ACCOUNT_ID.to_owned()).expect("clients")
}

fn rule(options: Options) -> Rule {
    let bucket = |name: &str, region: &str| Bucket {
        name: BucketName::parse(name).expect("a name"),
        region: Region::new(region),
    };
    let now = SystemTime::now().into();
    Rule {
        options,
        state: RuleState::Enabled,
        ..Rule::new(
            RuleId::new("rule-1"),
            bucket("source", "us-east-1"),
            bucket("replica", "us-west-2"),
            now,
        )
    }
}
