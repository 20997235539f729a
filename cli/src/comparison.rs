//! Walks both buckets of a rule side by side, and returns for each key how the two objects compare.
//! I/O: S3, and a spinner on stderr.

use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::error::SdkError;
use futures::stream::{StreamExt, TryStreamExt};
use indicatif::{ProgressBar, ProgressStyle};
use tandem_raw_head as raw_head;
use tandem_replication::head::Head;
use tandem_replication::names::Etag;
use tandem_replication::object::ObjectState;

use crate::client;
use crate::compare::{self, Field, Listed, Verdict};
use crate::contract::{Bucket, ConfigureRule, Rule, RuleAnswer, Scope};
use crate::error::Error;
use crate::human;
use crate::listing;
use crate::terminal;

/// Replicas that are read by HEAD at once.
const ASKED_AT_ONCE: usize = 32;

/// Keys between two updates of the spinner's text.
const KEYS_PER_MESSAGE: u64 = 500;

/// What is compared: a rule's scope, or a part of it.
pub struct Extent {
    pub rule: Rule,
    /// The prefixes to list, in key order; one empty prefix is the whole bucket.
    pub prefixes: Vec<String>,
}

impl Extent {
    /// Reads the rule, and refuses a prefix that it does not cover.
    pub async fn of(client: &client::Client, name: &str, prefix: &str) -> Result<Self, Error> {
        let request = ConfigureRule::Get { rule: name };
        let answer = client.configure_rule(&request).await?;
        let rule = answer.read::<RuleAnswer>()?.rule;
        let prefixes = rule.scope.listing_prefixes(prefix);
        if prefixes.is_empty() {
            return Err(outside_scope(&rule, prefix));
        }
        Ok(Self { rule, prefixes })
    }

    /// Passes every key's verdict to `each`, in key order. `each` returns how many keys differ so far.
    pub async fn walk(
        &self,
        client: &client::Client,
        mut each: impl FnMut(Verdict) -> Result<u64, Error>,
    ) -> Result<(), Error> {
        let rule = &self.rule;
        let source = client.s3(&rule.source.region);
        let destination = client.s3(&rule.destination.region);
        let spinner = spinner();
        let mut verdicts = std::pin::pin!(
            compare::merge(
                listing::list(source.clone(), &rule.source, self.prefixes.clone()),
                listing::list(
                    destination.clone(),
                    &rule.destination,
                    self.prefixes.clone()
                ),
            )
            .map_ok(|pair| settle((&source, &destination), rule, pair.judge()))
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

/// Reads the replica by HEAD, and its source if needed, if the listings do not show whether they are equal. A refused
/// HEAD fails only its own key.
async fn settle(
    clients: (&Client, &Client),
    rule: &Rule,
    verdict: Verdict,
) -> Result<Verdict, Error> {
    let Verdict::AskReplica {
        source,
        destination,
    } = verdict
    else {
        return Ok(verdict);
    };
    match look_closer(clients, rule, &source).await {
        Ok(Closer::Same) => Ok(Verdict::Same {
            source,
            destination,
        }),
        Ok(Closer::Different(by)) => Ok(Verdict::Different {
            source,
            destination,
            by,
        }),
        // The object was deleted after it was listed.
        Ok(Closer::NoReplica) => Ok(Verdict::Missing(source)),
        Ok(Closer::NoSource) => Ok(Verdict::Extra(destination)),
        Err(error @ Error::Aws { .. }) => Ok(Verdict::NotCompared {
            source,
            destination,
            problem: error.to_string(),
        }),
        Err(error) => Err(error),
    }
}

/// How two objects of one key compare after a HEAD of each.
enum Closer {
    Same,
    Different(Vec<Field>),
    NoReplica,
    NoSource,
}

async fn look_closer(
    (source, destination): (&Client, &Client),
    rule: &Rule,
    listed: &Listed,
) -> Result<Closer, Error> {
    let (key, etag) = (listed.key.as_str(), Etag::new(&listed.etag));
    let Some(replica) = head(destination, &rule.destination.bucket, key).await? else {
        return Ok(Closer::NoReplica);
    };
    if etag.is_known() && replica.metadata().names(&etag) {
        return Ok(Closer::Same);
    }
    let Some(source) = head(source, &rule.source.bucket, key).await? else {
        return Ok(Closer::NoSource);
    };
    let source = state(&rule.source, key, &source)?;
    let replica = state(&rule.destination, key, &replica)?;
    Ok(if source.bytes != replica.bytes {
        Closer::Different(vec![Field::Size, Field::Etag])
    } else if replica.is_copy_of(&source) {
        Closer::Same
    } else {
        Closer::Different(vec![Field::Etag])
    })
}

fn state(bucket: &Bucket, key: &str, head: &Head) -> Result<ObjectState, Error> {
    head.state(terminal::now())
        .map_err(|unreadable| Error::Aws {
            doing: format!(
                "reading the metadata of {}/{}",
                bucket.bucket,
                human::key(key)
            ),
            code: "HTTP 200".to_owned(),
            message: unreadable.to_string(),
        })
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

/// Reads an object by HEAD; returns `None` if there is no such object.
async fn head(client: &Client, bucket: &str, key: &str) -> Result<Option<Head>, Error> {
    match raw_head::head(client.head_object().bucket(bucket).key(key)).await {
        Ok(head) => Ok(Some(head)),
        Err(SdkError::ServiceError(answer)) if answer.err().is_not_found() => Ok(None),
        Err(error) => {
            let doing = format!("reading the metadata of {bucket}/{}", human::key(key));
            Err(Error::aws(doing, &error))
        }
    }
}
