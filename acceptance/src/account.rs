//! The AWS account, or the local cloud, that a run uses: its clients and its address. I/O: asks AWS for the account.

use std::env;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_cloudformation::types::{Stack, StackStatus};
use aws_sdk_lambda::primitives::Blob;
use aws_sdk_s3::config::{Credentials, SharedCredentialsProvider, StalledStreamProtectionConfig};
use serde_json::Value;
use tandem_demo::cloud::{ACCESS_KEY, Bucket};
use tandem_demo::endpoint::LocalEndpoint;
use tandem_demo::error::Error;
use tandem_demo::tandem_command::Target;

use crate::args::Args;

/// Variables that lead the SDK to another address than AWS's.
const ENDPOINT: &str = "AWS_ENDPOINT_URL";

/// Where a run takes place.
#[derive(Debug, Clone)]
pub struct Account {
    config: SdkConfig,
    /// The target for the `tandem` command.
    pub target: Target,
    /// The account's number.
    pub id: String,
}

/// A function's error, as `docs/contract.md` has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// `errorType`.
    pub code: String,
    /// `errorMessage`.
    pub message: String,
}

impl Account {
    /// Finds out which account it is. Changes nothing.
    pub async fn connect(args: &Args) -> Result<Self, Error> {
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .region(Region::new(args.regions.source.clone()));
        let target = if args.local {
            let endpoint = LocalEndpoint::from_environment()?;
            let keys = Credentials::new(ACCESS_KEY, ACCESS_KEY, None, None, "dummies");
            loader = loader
                .endpoint_url(endpoint.url())
                .credentials_provider(SharedCredentialsProvider::new(keys));
            Target::Local(endpoint)
        } else {
            refuse_other_addresses()?;
            if let Some(profile) = &args.profile {
                loader = loader.profile_name(profile);
            }
            Target::Account(args.profile.clone())
        };
        let config = loader.load().await;
        let who = aws_sdk_sts::Client::new(&config)
            .get_caller_identity()
            .send()
            .await
            .map_err(|error| Error::aws("asking AWS which account this is", &error))?;
        Ok(Self {
            config,
            target,
            id: who.account.unwrap_or_default(),
        })
    }

    /// Returns whether this is a local cloud.
    pub fn is_local(&self) -> bool {
        matches!(self.target, Target::Local(_))
    }

    /// Returns the configuration for clients of a region.
    pub fn in_region(&self, region: &str) -> SdkConfig {
        let region = Region::new(region.to_owned());
        self.config.to_builder().region(region).build()
    }

    /// Returns a client for S3, without protection against stalled streams. During a server-side copy of gigabytes no
    /// byte of the answer arrives for minutes, and the SDK would end it after five seconds (aws-smithy-runtime,
    /// `defaults.rs`).
    pub fn s3(&self, region: &str) -> aws_sdk_s3::Client {
        let config = aws_sdk_s3::config::Builder::from(&self.in_region(region))
            .force_path_style(self.is_local())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .build();
        aws_sdk_s3::Client::from_conf(config)
    }

    /// Returns a bucket of a region.
    pub fn bucket(&self, region: &str, name: String) -> Bucket {
        Bucket::with_client(self.s3(region), region, name)
    }

    /// Returns a client for Lambda.
    pub fn lambda(&self, region: &str) -> aws_sdk_lambda::Client {
        aws_sdk_lambda::Client::new(&self.in_region(region))
    }

    /// Returns a client for CloudFormation.
    pub fn cloudformation(&self, region: &str) -> aws_sdk_cloudformation::Client {
        aws_sdk_cloudformation::Client::new(&self.in_region(region))
    }

    /// Returns a stack's status; `None` if there is no such stack, which CloudFormation reports as a validation error.
    pub async fn stack_status(
        &self,
        region: &str,
        name: &str,
    ) -> Result<Option<StackStatus>, Error> {
        let stack = self.stack(region, name).await?;
        Ok(stack.and_then(|stack| stack.stack_status))
    }

    /// Returns one of a stack's outputs.
    pub async fn stack_output(
        &self,
        region: &str,
        name: &str,
        output: &str,
    ) -> Result<String, Error> {
        let stack = self.stack(region, name).await?;
        let outputs = stack.and_then(|stack| stack.outputs).unwrap_or_default();
        let found = outputs
            .into_iter()
            .find(|found| found.output_key() == Some(output));
        found
            .and_then(|found| found.output_value)
            .ok_or_else(|| Error::Unexpected(format!("the stack {name} has no output {output}")))
    }

    async fn stack(&self, region: &str, name: &str) -> Result<Option<Stack>, Error> {
        let request = self
            .cloudformation(region)
            .describe_stacks()
            .stack_name(name);
        match request.send().await {
            Ok(answer) => Ok(answer.stacks.and_then(|mut stacks| stacks.pop())),
            Err(error) => {
                let error = Error::aws(format!("describing the stack {name}"), &error);
                if error.to_string().contains("does not exist") {
                    return Ok(None);
                }
                Err(error)
            }
        }
    }

    /// Sends a request to `configure-rule` of a stack, as `docs/contract.md` has it.
    pub async fn configure(
        &self,
        region: &str,
        stack: &str,
        request: &Value,
    ) -> Result<Result<Value, Refusal>, Error> {
        let function = format!("{stack}-configure-rule");
        let answer = self
            .lambda(region)
            .invoke()
            .function_name(&function)
            .payload(Blob::new(request.to_string()))
            .send()
            .await
            .map_err(|error| Error::aws(format!("invoking {function}"), &error))?;
        let document = answer.payload.map(Blob::into_inner).unwrap_or_default();
        let document: Value = serde_json::from_slice(&document).map_err(|error| {
            Error::Unexpected(format!("the answer of {function} cannot be read: {error}"))
        })?;
        if answer.function_error.is_none() {
            return Ok(Ok(document));
        }
        let text = |field: &str| document[field].as_str().unwrap_or_default().to_owned();
        Ok(Err(Refusal {
            code: text("errorType"),
            message: text("errorMessage"),
        }))
    }

    /// Returns the environment variables that a child process needs to reach the same account.
    pub fn variables(&self, region: &str) -> Vec<(&'static str, String)> {
        let mut variables = vec![
            ("AWS_REGION", region.to_owned()),
            ("AWS_DEFAULT_REGION", region.to_owned()),
        ];
        if let Target::Account(Some(profile)) = &self.target {
            variables.push(("AWS_PROFILE", profile.clone()));
        }
        variables
    }
}

/// Refuses settings that lead a real run to another address than AWS's: its report would be about that address.
fn refuse_other_addresses() -> Result<(), Error> {
    let Some((name, _)) =
        env::vars().find(|(name, value)| name.starts_with(ENDPOINT) && !value.is_empty())
    else {
        return Ok(());
    };
    Err(Error::Refused(format!(
        "cannot run on AWS: {name} names another server; unset it, or run on the local cloud with: make acceptance \
         LOCAL=1"
    )))
}
