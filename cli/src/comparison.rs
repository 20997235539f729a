//! Walks both buckets of a rule side by side, key by key, and says of each how the two compare.
//! I/O: S3, and a spinner on stderr.

use std::time::Duration;

use aws_sdk_s3::error::SdkError;
use futures::stream::{StreamExt, TryStreamExt};
use indicatif::{ProgressBar, ProgressStyle};

use crate::client::Client;
use crate::compare::{self, Field, Verdict};
use crate::contract::{ConfigureRule, Rule, RuleAnswer, Scope};
use crate::error::Error;
use crate::human;
use crate::listing;

/// User metadata of a replica that could not keep its source's `ETag`: that one, without quotes.
const SOURCE_ETAG: &str = "tandem-source-etag";

/// Replicas that are asked about at once.
const ASKED_AT_ONCE: usize = 32;

/// Keys between two changes of the spinner's text.
const KEYS_PER_MESSAGE: u64 = 500;

/// What is compared: a rule's scope, or a part of it.
pub struct Extent {
    pub rule: Rule,
    /// What is listed, in key order; one empty prefix is the whole bucket.
    pub prefixes: Vec<String>,
}

impl Extent {
    /// Asks for the rule, and refuses a prefix that it does not cover.
    pub async fn of(client: &Client, name: &str, prefix: &str) -> Result<Self, Error> {
        let request = ConfigureRule::Get { rule: name };
        let answer = client.configure_rule(&request).await?;
        let rule = answer.read::<RuleAnswer>()?.rule;
        let prefixes = rule.scope.listing_prefixes(prefix);
        if prefixes.is_empty() {
            return Err(outside_scope(&rule, prefix));
        }
        Ok(Self { rule, prefixes })
    }

    /// Hands every key's verdict to `each`, in key order. `each` answers how many differ so far.
    pub async fn walk(
        &self,
        client: &Client,
        mut each: impl FnMut(Verdict) -> Result<u64, Error>,
    ) -> Result<(), Error> {
        let rule = &self.rule;
        let source = client.s3(&rule.source.region);
        let destination = client.s3(&rule.destination.region);
        let bucket = rule.destination.bucket.as_str();
        let spinner = spinner();
        let mut verdicts = std::pin::pin!(
            compare::merge(
                listing::list(source, &rule.source, self.prefixes.clone()),
                listing::list(
                    destination.clone(),
                    &rule.destination,
                    self.prefixes.clone()
                ),
            )
            .map_ok(|pair| settle(&destination, bucket, pair.judge()))
            .try_buffered(ASKED_AT_ONCE)
        );
        let mut keys: u64 = 0;
        while let Some(verdict) = verdicts.next().await {
            let differ = each(verdict?)?;
            keys += 1;
            if keys.is_multiple_of(KEYS_PER_MESSAGE) {
                spinner.set_message(format!(
                    "{} compared, {} differ",
                    human::objects(keys),
                    human::count(differ)
                ));
            }
        }
        Ok(())
    }
}

/// Asks the replica where its listing left the question open.
async fn settle(
    destination: &aws_sdk_s3::Client,
    bucket: &str,
    verdict: Verdict,
) -> Result<Verdict, Error> {
    let Verdict::AskReplica {
        source,
        destination: replica,
    } = verdict
    else {
        return Ok(verdict);
    };
    let head = destination
        .head_object()
        .bucket(bucket)
        .key(&replica.key)
        .send()
        .await;
    match head {
        Ok(head) => {
            let marked = head
                .metadata
                .as_ref()
                .and_then(|metadata| metadata.get(SOURCE_ETAG));
            Ok(if marked == Some(&source.etag) {
                Verdict::Same {
                    source,
                    destination: replica,
                }
            } else {
                Verdict::Different {
                    source,
                    destination: replica,
                    by: vec![Field::Etag],
                }
            })
        }
        // Deleted since it was listed.
        Err(SdkError::ServiceError(answer)) if answer.err().is_not_found() => {
            Ok(Verdict::Missing(source))
        }
        Err(error) => {
            let doing = format!(
                "reading the metadata of {bucket}/{}",
                human::key(&replica.key)
            );
            Err(Error::aws(doing, &error))
        }
    }
}

fn outside_scope(rule: &Rule, prefix: &str) -> Error {
    let covered = match &rule.scope {
        Scope::All => "every key".to_owned(),
        Scope::Prefixes(prefixes) => prefixes
            .iter()
            .map(|prefix| human::key(prefix))
            .collect::<Vec<_>>()
            .join(", "),
    };
    Error::Usage(format!(
        "--prefix {} is outside the scope of {}, which covers {covered}",
        human::key(prefix),
        rule.id
    ))
}

fn spinner() -> ProgressBar {
    let spinner = ProgressBar::new_spinner().with_message("listing both buckets");
    spinner.set_style(
        ProgressStyle::with_template("{spinner} {msg} [{elapsed}]")
            .unwrap_or_else(|_| ProgressStyle::default_spinner()),
    );
    spinner.enable_steady_tick(Duration::from_millis(120));
    spinner
}
