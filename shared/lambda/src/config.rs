//! The functions' configuration. The template sets it in the environment, and a function reads it once.

use std::time::Duration;

use tandem_aws::s3::notifications::LaneQueues;
use tandem_replication::boundary::{Boundary, BucketPrefix};
use tandem_replication::names::{AccountId, NameError};
use tandem_replication::part_plan::CopyLimits;
use tandem_replication::region::RegionGroups;

/// The default: 15 minutes for requests that take effect after their sender's end, and 5 for clocks that differ.
/// `docs/semantics.md` lists both as assumptions.
const IN_FLIGHT_MAX: Duration = Duration::from_mins(20);

/// The default for the time whose objects a page of a job with a rate limit reserves capacity for at once.
const RATE_PAGE: Duration = Duration::from_secs(20);

/// Other accounts that may own destinations, separated by commas; none if it is empty or missing.
const DESTINATION_ACCOUNTS: &str = "TANDEM_DESTINATION_ACCOUNTS";

/// The stack as its functions see it.
#[derive(Debug, Clone)]
pub struct Config {
    /// The stack's name.
    pub stack: String,
    /// The account that owns the buckets.
    pub account_id: String,
    /// Which accounts and buckets rules may name.
    pub boundary: Boundary,
    /// The end of AWS's host names in this partition.
    pub url_suffix: String,
    /// The table's name.
    pub rule_table: String,
    /// The groups of regions within which rules may replicate.
    pub region_groups: RegionGroups,
    /// The queues that S3 sends to.
    pub lane_queues: LaneQueues,
    /// The queue of notifications of puts.
    pub put_queue_url: String,
    /// The queue of notifications of deletes.
    pub delete_queue_url: String,
    /// The queue of work for `backfill-shard`.
    pub work_queue_url: String,
    /// The queue of part ranges for `copy-parts`.
    pub part_queue_url: String,
    /// The dead-letter queues.
    pub dead_queues: [DeadQueue; 4],
    /// How many shards of a job are processed at the same time, if the job sets no concurrency.
    pub backfill_concurrency: u32,
    /// The name of the `backfill` function.
    pub backfill_function: String,
    /// For how long after an invocation's end one of its requests may be in flight, including differences between
    /// clocks. A shard's lease lasts as long.
    pub in_flight_max: Duration,
    /// For how long a page of a job with a rate limit processes objects. The acceptance run on a local cloud uses a
    /// shorter time, so that a job is handed on many times within minutes.
    pub rate_page: Duration,
    /// After how many failed attempts a message is moved to the dead-letter queue.
    pub attempts_max: u32,
    /// After how many deliveries the queue itself moves a message to the dead-letter queue, whether or not a function
    /// received it.
    pub receives_max: u32,
    /// The part size for sources that were not uploaded in parts.
    pub part_bytes: u64,
    /// The largest object that a live function copies. Larger objects go to the work queue.
    pub live_bytes_max: u64,
    /// Objects in parts that are larger than this are copied by many invocations (a transfer).
    pub transfer_bytes_min: u64,
    /// About how many bytes of such an object one invocation copies.
    pub range_bytes: u64,
}

/// A dead-letter queue: the messages of a queue are moved to it after their last attempt.
#[derive(Debug, Clone)]
pub struct DeadQueue {
    /// The contract's name of the queue whose messages it receives.
    pub of: &'static str,
    /// That queue's URL.
    pub of_url: String,
    /// The dead-letter queue's URL.
    pub url: String,
}

/// An environment variable that is missing or invalid.
#[derive(Debug, thiserror::Error)]
#[error("environment variable {name} {problem}; the template sets it")]
pub struct ConfigError {
    name: &'static str,
    problem: String,
}

impl Config {
    /// Reads the environment.
    pub fn from_environment() -> Result<Self, ConfigError> {
        Self::from_lookup(|name| std::env::var(name).ok())
    }

    /// Reads variables through `lookup`.
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let text = |name| {
            lookup(name)
                .filter(|value| !value.is_empty())
                .ok_or(ConfigError {
                    name,
                    problem: "is not set".to_owned(),
                })
        };
        let number = |name| {
            let value = text(name)?;
            value.parse::<u64>().map_err(|_| ConfigError {
                name,
                problem: format!("is {value:?}, which is not a whole number"),
            })
        };
        let list = |name| -> Vec<String> {
            let value = lookup(name).unwrap_or_default();
            let entries = value.split(',').map(|entry| entry.trim().to_owned());
            entries.filter(|entry| !entry.is_empty()).collect()
        };
        let groups = "TANDEM_REGION_GROUPS";
        let account_id = text("TANDEM_ACCOUNT_ID")?;
        Ok(Self {
            stack: text("TANDEM_STACK")?,
            boundary: Boundary {
                own_account: account_id.clone(),
                other_accounts: account_ids(list(DESTINATION_ACCOUNTS))?,
                read_only: text("TANDEM_READ_ONLY_SOURCES").ok().map(BucketPrefix::new),
            },
            account_id,
            // While a deployment replaces a function, its code may be newer than its environment.
            url_suffix: text("TANDEM_URL_SUFFIX").unwrap_or_else(|_| "amazonaws.com".to_owned()),
            rule_table: text("TANDEM_RULE_TABLE")?,
            region_groups: RegionGroups::parse(&text(groups)?).map_err(|error| ConfigError {
                name: groups,
                problem: format!("is wrong: {error}"),
            })?,
            lane_queues: LaneQueues {
                put_arn: text("TANDEM_PUT_QUEUE_ARN")?,
                delete_arn: text("TANDEM_DELETE_QUEUE_ARN")?,
                topic_arns: list("TANDEM_NOTIFICATION_TOPICS"),
            },
            put_queue_url: text("TANDEM_PUT_QUEUE_URL")?,
            delete_queue_url: text("TANDEM_DELETE_QUEUE_URL")?,
            work_queue_url: text("TANDEM_WORK_QUEUE_URL")?,
            part_queue_url: text("TANDEM_PART_QUEUE_URL")?,
            dead_queues: [
                DeadQueue {
                    of: "put",
                    of_url: text("TANDEM_PUT_QUEUE_URL")?,
                    url: text("TANDEM_PUT_DEAD_QUEUE_URL")?,
                },
                DeadQueue {
                    of: "delete",
                    of_url: text("TANDEM_DELETE_QUEUE_URL")?,
                    url: text("TANDEM_DELETE_DEAD_QUEUE_URL")?,
                },
                DeadQueue {
                    of: "work",
                    of_url: text("TANDEM_WORK_QUEUE_URL")?,
                    url: text("TANDEM_WORK_DEAD_QUEUE_URL")?,
                },
                DeadQueue {
                    of: "part",
                    of_url: text("TANDEM_PART_QUEUE_URL")?,
                    url: text("TANDEM_PART_DEAD_QUEUE_URL")?,
                },
            ],
            backfill_concurrency: u32::try_from(number("TANDEM_BACKFILL_CONCURRENCY")?)
                .unwrap_or(u32::MAX),
            backfill_function: text("TANDEM_BACKFILL_FUNCTION")?,
            in_flight_max: match lookup("TANDEM_IN_FLIGHT_SECS") {
                // While a deployment replaces a function, its code may be newer than its environment.
                None => IN_FLIGHT_MAX,
                Some(_) => Duration::from_secs(number("TANDEM_IN_FLIGHT_SECS")?),
            },
            rate_page: match lookup("TANDEM_RATE_PAGE_SECS") {
                None => RATE_PAGE,
                Some(_) => Duration::from_secs(number("TANDEM_RATE_PAGE_SECS")?.max(1)),
            },
            attempts_max: u32::try_from(number("TANDEM_ATTEMPTS_MAX")?).unwrap_or(u32::MAX),
            receives_max: u32::try_from(number("TANDEM_RECEIVES_MAX")?).unwrap_or(u32::MAX),
            part_bytes: number("TANDEM_PART_BYTES")?,
            live_bytes_max: number("TANDEM_LIVE_BYTES_MAX")?,
            transfer_bytes_min: number("TANDEM_TRANSFER_BYTES_MIN")?,
            range_bytes: number("TANDEM_RANGE_BYTES")?,
        })
    }

    /// Returns what a function with a short timeout copies.
    pub fn live_limits(&self) -> CopyLimits {
        CopyLimits {
            part_bytes: self.part_bytes,
            in_parts_bytes_max: self.live_bytes_max,
            whole_bytes_max: self.live_bytes_max,
        }
    }

    /// Returns what a function with a timeout of 15 minutes copies.
    pub fn work_limits(&self) -> CopyLimits {
        CopyLimits {
            part_bytes: self.part_bytes,
            in_parts_bytes_max: self.transfer_bytes_min,
            whole_bytes_max: u64::MAX,
        }
    }

    /// Returns the URL of one of the stack's queues, from its ARN.
    pub fn queue_url(&self, queue_arn: &str) -> Option<&str> {
        let name = queue_arn.rsplit(':').next()?;
        [
            &self.put_queue_url,
            &self.delete_queue_url,
            &self.work_queue_url,
            &self.part_queue_url,
        ]
        .into_iter()
        .map(String::as_str)
        .find(|url| url.rsplit('/').next() == Some(name))
    }

    /// Returns the dead-letter queue of one of the stack's queues.
    pub fn dead_queue(&self, queue_arn: &str) -> Option<&DeadQueue> {
        let url = self.queue_url(queue_arn)?;
        self.dead_queues.iter().find(|dead| dead.of_url == url)
    }
}

fn account_ids(ids: Vec<String>) -> Result<Vec<AccountId>, ConfigError> {
    let parsed: Result<_, NameError> = ids.into_iter().map(AccountId::parse).collect();
    parsed.map_err(|error| ConfigError {
        name: DESTINATION_ACCOUNTS,
        problem: format!("is wrong: {error}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::unnecessary_wraps, reason = "the form of a look-up")]
    fn environment(name: &str) -> Option<String> {
        let value = match name {
            "TANDEM_REGION_GROUPS" => "*",
            "TANDEM_PART_BYTES"
            | "TANDEM_LIVE_BYTES_MAX"
            | "TANDEM_TRANSFER_BYTES_MIN"
            | "TANDEM_RANGE_BYTES"
            | "TANDEM_BACKFILL_CONCURRENCY"
            | "TANDEM_IN_FLIGHT_SECS"
            | "TANDEM_RATE_PAGE_SECS"
            | "TANDEM_ATTEMPTS_MAX"
            | "TANDEM_RECEIVES_MAX" => "8",
            "TANDEM_PUT_QUEUE_URL" => "http://sqs/0/stack-put",
            "TANDEM_DESTINATION_ACCOUNTS" => "444455556666, 777788889999",
            _ => "text",
        };
        Some(value.to_owned())
    }

    #[test]
    fn an_error_names_the_missing_or_invalid_variable() {
        assert!(Config::from_lookup(environment).is_ok());
        let missing =
            Config::from_lookup(|name| environment(name).filter(|_| name != "TANDEM_RULE_TABLE"));
        assert!(
            missing
                .unwrap_err()
                .to_string()
                .contains("TANDEM_RULE_TABLE is not set")
        );
        let wrong = Config::from_lookup(|name| {
            if name == "TANDEM_PART_BYTES" {
                Some("64 MiB".into())
            } else {
                environment(name)
            }
        });
        assert!(
            wrong
                .unwrap_err()
                .to_string()
                .contains("TANDEM_PART_BYTES is \"64 MiB\"")
        );
    }

    #[test]
    fn topics_are_optional_and_separated_by_commas() {
        let topics = |value: Option<&str>| {
            let lookup = |name: &str| match name {
                "TANDEM_NOTIFICATION_TOPICS" => value.map(str::to_owned),
                _ => environment(name),
            };
            Config::from_lookup(lookup).unwrap().lane_queues.topic_arns
        };
        assert_eq!(topics(None), Vec::<String>::new());
        assert_eq!(topics(Some("")), Vec::<String>::new());
        assert_eq!(topics(Some("arn:a, arn:b")), ["arn:a", "arn:b"]);
    }

    #[test]
    fn a_stack_may_use_the_accounts_that_it_lists_and_no_other() {
        let with = |accounts: Option<&str>| {
            Config::from_lookup(|name| match name {
                DESTINATION_ACCOUNTS => accounts.map(str::to_owned),
                _ => environment(name),
            })
        };
        let listed = |accounts| with(accounts).unwrap().boundary.other_accounts;
        assert_eq!(listed(None), []);
        assert_eq!(listed(Some("")), []);
        let two = ["444455556666", "777788889999"].map(|id| AccountId::parse(id).unwrap());
        assert_eq!(listed(Some("444455556666, 777788889999")), two);
        let error = with(Some("4444")).unwrap_err().to_string();
        assert!(
            error.contains("TANDEM_DESTINATION_ACCOUNTS is wrong: \"4444\""),
            "{error}"
        );
    }

    #[test]
    fn sources_are_read_only_if_the_environment_says_so() {
        let read_only = |pattern: &str| {
            let config = Config::from_lookup(|name| match name {
                "TANDEM_READ_ONLY_SOURCES" => Some(pattern.to_owned()),
                _ => environment(name),
            });
            config.unwrap().boundary.read_only
        };
        assert_eq!(read_only(""), None);
        assert_eq!(read_only("prod-*"), Some(BucketPrefix::new("prod-*")));
    }

    #[test]
    fn a_queues_url_is_found_by_its_arn() {
        let config = Config::from_lookup(environment).unwrap();
        assert_eq!(
            config.queue_url("arn:aws:sqs:us-east-1:0:stack-put"),
            Some("http://sqs/0/stack-put")
        );
        assert_eq!(config.queue_url("arn:aws:sqs:us-east-1:0:other"), None);
    }
}
