//! The connection to AWS: invokes the stack's two functions and makes an S3 client for a region. I/O.

use std::env;

use aws_config::default_provider::region::DefaultRegionChain;
use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_lambda::config::http::HttpResponse;
use aws_sdk_lambda::error::SdkError;
use aws_sdk_lambda::operation::invoke::InvokeError;
use aws_sdk_lambda::primitives::Blob;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::args::{self, Global};
use crate::contract::{Backfill, ConfigureRule, FunctionError};
use crate::error::Error;
use tandem_raw_head::OnlyReadHeaders;

/// The environment variables that can name another server than AWS.
const ENDPOINTS: [&str; 3] = [
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_LAMBDA",
    "AWS_ENDPOINT_URL_S3",
];

/// Access to the deployed stack.
pub struct Client {
    config: SdkConfig,
    lambda: aws_sdk_lambda::Client,
    stack: String,
    region: String,
}

impl Client {
    /// Loads profile, region and endpoint as every AWS tool does. Sends no request yet.
    pub async fn connect(global: &Global) -> Result<Self, Error> {
        if global.endpoint_url.is_none() {
            check_endpoints()?;
        }
        let mut loader = aws_config::defaults(BehaviorVersion::latest());
        if let Some(profile) = &global.profile {
            let credentials = credentials_of(profile, global.region.as_deref()).await;
            loader = loader
                .profile_name(profile)
                .credentials_provider(credentials);
        }
        if let Some(region) = &global.region {
            loader = loader.region(Region::new(region.clone()));
        }
        if let Some(url) = &global.endpoint_url {
            loader = loader.endpoint_url(url);
        }
        let config = loader.load().await;
        let region = config.region().ok_or(Error::NoRegion)?.to_string();
        Ok(Self {
            lambda: aws_sdk_lambda::Client::new(&config),
            config,
            stack: global.stack_name.clone(),
            region,
        })
    }

    pub async fn configure_rule(&self, request: &ConfigureRule<'_>) -> Result<Answer, Error> {
        self.invoke("configure-rule", request).await
    }

    pub async fn backfill(&self, request: &Backfill<'_>) -> Result<Answer, Error> {
        self.invoke("backfill", request).await
    }

    /// An S3 client for the buckets of one region.
    pub fn s3(&self, region: &str) -> aws_sdk_s3::Client {
        let elsewhere =
            self.config.endpoint_url().is_some() || env::var_os("AWS_ENDPOINT_URL_S3").is_some();
        let config = aws_sdk_s3::config::Builder::from(&self.config)
            .region(Region::new(region.to_owned()))
            // A server with a single address has no `bucket.address`.
            .force_path_style(elsewhere)
            .interceptor(OnlyReadHeaders)
            .build();
        aws_sdk_s3::Client::from_conf(config)
    }

    /// Returns a bucket's region. S3 reports it even if it refuses the request.
    pub async fn bucket_region(&self, bucket: &str) -> Result<String, Error> {
        const REGION: &str = "x-amz-bucket-region";
        let response = self
            .s3(&self.region)
            .head_bucket()
            .bucket(bucket)
            .send()
            .await;
        let reported = match &response {
            Ok(found) => found.bucket_region().map(str::to_owned),
            Err(SdkError::ServiceError(answer)) => {
                answer.raw().headers().get(REGION).map(str::to_owned)
            }
            Err(_) => None,
        };
        match (reported, response) {
            (Some(region), _) => Ok(region),
            // The server has no regions.
            (None, Ok(_)) => Ok(self.region.clone()),
            (None, Err(error)) => Err(Error::aws(format!("finding bucket {bucket}"), &error)),
        }
    }

    async fn invoke(&self, name: &str, request: &impl Serialize) -> Result<Answer, Error> {
        let function = format!("{}-{name}", self.stack);
        let unexpected = |error: serde_json::Error| Error::UnexpectedAnswer {
            from: function.clone(),
            detail: error.to_string(),
        };
        let payload = serde_json::to_vec(request).map_err(unexpected)?;
        let answer = self
            .lambda
            .invoke()
            .function_name(&function)
            .payload(Blob::new(payload))
            .send()
            .await
            .map_err(|error| self.invoke_error(&function, &error))?;
        let payload = answer.payload.unwrap_or_else(|| Blob::new("null"));
        if answer.function_error.is_some() {
            let error: FunctionError =
                serde_json::from_slice(payload.as_ref()).map_err(unexpected)?;
            return Err(Error::function(&function, &error.code, &error.message));
        }
        let json = serde_json::from_slice(payload.as_ref()).map_err(unexpected)?;
        Ok(Answer { json, function })
    }

    fn invoke_error(&self, function: &str, error: &SdkError<InvokeError, HttpResponse>) -> Error {
        if error
            .as_service_error()
            .is_some_and(InvokeError::is_resource_not_found_exception)
        {
            return Error::NoFunction {
                function: function.to_owned(),
                region: self.region.clone(),
            };
        }
        Error::aws(format!("invoking {function}"), error)
    }
}

/// Returns the credentials of a profile that was given as an option. Like the AWS CLI, it ignores the environment's access
/// key then.
async fn credentials_of(profile: &str, region: Option<&str>) -> ProfileFileCredentialsProvider {
    let region = if let Some(region) = region {
        Some(Region::new(region.to_owned()))
    } else {
        let chain = DefaultRegionChain::builder().profile_name(profile);
        chain.build().region().await
    };
    // Profiles that assume a role send requests to STS in this region.
    let config = ProviderConfig::without_region().with_region(region);
    ProfileFileCredentialsProvider::builder()
        .configure(&config)
        .profile_name(profile)
        .build()
}

/// Refuses an endpoint that is set but unusable: a user who sets one does not want to reach AWS itself.
fn check_endpoints() -> Result<(), Error> {
    for name in ENDPOINTS {
        if let Some(url) = env::var_os(name) {
            args::endpoint_url(&url.to_string_lossy()).map_err(|reason| {
                Error::Usage(format!("{name} is '{}': {reason}", url.display()))
            })?;
        }
    }
    Ok(())
}

/// A function's answer: unchanged in `json`, to print; typed through `read`, to show.
pub struct Answer {
    pub json: Value,
    function: String,
}

impl Answer {
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, Error> {
        T::deserialize(&self.json).map_err(|error| Error::UnexpectedAnswer {
            from: self.function.clone(),
            detail: error.to_string(),
        })
    }
}
