//! Deploys the run's own stacks with SAM, and prepares them for a local cloud. I/O: starts `local/acceptance.py`.

use std::collections::HashMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use aws_sdk_lambda::types::Environment;
use tandem_demo::error::Error;
use tokio::process::Command;

use crate::account::Account;
use crate::args::Architecture;
use crate::names::Names;
use crate::scale::Scale;

/// Lines of a log that a message shows.
const LINES_SHOWN: usize = 25;

/// One deployment.
#[derive(Debug)]
pub struct Deployment<'a> {
    /// The account.
    pub account: &'a Account,
    /// The run.
    pub names: &'a Names,
    /// The sizes for which its parameters are chosen.
    pub scale: &'a Scale,
    /// The processor for which the functions were built.
    pub architecture: Architecture,
    /// The folder of its log.
    pub folder: &'a Path,
}

/// Returns the repository from which this program was built.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

impl Deployment<'_> {
    /// Deploys a stack. Its artifacts go to `bucket`, in the same region.
    pub async fn deploy(&self, stack: &str, region: &str, bucket: &str) -> Result<(), Error> {
        let mut words = vec![
            "deploy".to_owned(),
            "--stack".to_owned(),
            stack.to_owned(),
            "--region".to_owned(),
            region.to_owned(),
            "--bucket".to_owned(),
            bucket.to_owned(),
            "--architecture".to_owned(),
            self.architecture.name().to_owned(),
            "--run".to_owned(),
            self.names.id.clone(),
        ];
        words.extend(parameters(self.names, self.scale));
        self.script(stack, region, &words).await?;
        if self.account.is_local() {
            self.script(stack, region, &["correct".to_owned()]).await?;
        }
        self.shorten_pages(stack, region).await
    }

    async fn script(&self, stack: &str, region: &str, words: &[String]) -> Result<(), Error> {
        let unexpected = |what: String| move |error| Error::Unexpected(format!("{what}: {error}"));
        let log = self.folder.join(format!("deploy-{stack}.log"));
        let file = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .map_err(unexpected(format!("writing {}", log.display())))?;
        let second = file
            .try_clone()
            .map_err(unexpected(format!("writing {}", log.display())))?;
        let python = std::env::var("PYTHON").unwrap_or_else(|_| "python3".to_owned());
        let status = Command::new(&python)
            .arg(repository().join("local/acceptance.py"))
            .args(words)
            .envs(self.account.variables(region))
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(second)
            // The script must not receive the terminal's Ctrl-C; this program handles it.
            .process_group(0)
            .kill_on_drop(true)
            .status()
            .await
            .map_err(unexpected(format!("starting {python}")))?;
        if status.success() {
            return Ok(());
        }
        let said = fs::read_to_string(&log).unwrap_or_default();
        let lines: Vec<&str> = said.lines().collect();
        let last = lines[lines.len().saturating_sub(LINES_SHOWN)..].join("\n      ");
        Err(Error::Unexpected(format!(
            "deploying the stack {stack} to {region} failed ({status}); {} ends with:\n      {last}",
            log.display()
        )))
    }

    /// On a local cloud: makes `backfill-shard` hand on a job with a rate limit after seconds.
    async fn shorten_pages(&self, stack: &str, region: &str) -> Result<(), Error> {
        let Some(secs) = self.scale.rate_page_secs else {
            return Ok(());
        };
        let function = format!("{stack}-backfill-shard");
        let lambda = self.account.lambda(region);
        let known = lambda
            .get_function_configuration()
            .function_name(&function)
            .send()
            .await
            .map_err(|error| {
                Error::aws(format!("reading the configuration of {function}"), &error)
            })?;
        let variables = known.environment.and_then(|known| known.variables);
        let mut variables: HashMap<String, String> = variables.unwrap_or_default();
        variables.insert("TANDEM_RATE_PAGE_SECS".to_owned(), secs.to_string());
        let environment = Environment::builder().set_variables(Some(variables));
        lambda
            .update_function_configuration()
            .function_name(&function)
            .environment(environment.build())
            .send()
            .await
            .map_err(|error| {
                Error::aws(format!("changing the configuration of {function}"), &error)
            })?;
        Ok(())
    }
}

/// Returns the template's parameters. They exclude everything that outlives the stack or costs anything while it is
/// idle, and allow only the run's own buckets.
fn parameters(names: &Names, scale: &Scale) -> Vec<String> {
    let buckets = names.bucket_pattern();
    let sizes = scale.thresholds;
    vec![
        "DeletionProtection=off".to_owned(),
        "Alarms=off".to_owned(),
        "Dashboard=off".to_owned(),
        "LogRetentionDays=1".to_owned(),
        "RegionGroups=*".to_owned(),
        "LiveConcurrency=8".to_owned(),
        "BackfillConcurrency=4".to_owned(),
        "TransferConcurrency=4".to_owned(),
        format!("SourceBucketPattern={buckets}"),
        format!("DestinationBucketPattern={buckets}"),
        format!("JobBucketPattern={buckets}"),
        format!("LiveBytesMax={}", sizes.live_max),
        format!("TransferBytesMin={}", sizes.transfer_min),
        format!("RangeBytes={}", sizes.range),
        format!("PartBytes={}", sizes.part),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_parameter_is_one_of_the_templates() {
        let template = fs::read_to_string(repository().join("template.yaml")).unwrap();
        let given = parameters(&Names::new(), &Scale::of_aws());
        for parameter in &given {
            let (name, value) = parameter.split_once('=').unwrap();
            assert!(
                template.contains(&format!("\n  {name}:\n    Type:")),
                "{name}"
            );
            assert!(
                !value.is_empty() && !value.contains(char::is_whitespace),
                "{parameter}"
            );
        }
        assert!(given.contains(&"DeletionProtection=off".to_owned()));
    }
}
