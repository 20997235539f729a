//! The adapters to AWS, one module or folder for each service. Wire and table structs stay inside this crate. Its
//! functions accept and return the domain's types.
//!
//! Read [`clients`] first: it builds one client for each service and region, and counts requests. Then read [`s3`] and
//! [`dynamodb`]. `request_timeouts.rs` limits the time of a request. `fresh_connections.rs` drops idle connections
//! after a freeze. [`permits`] limits concurrency while S3 throttles. `classify.rs` defines what each AWS error means.

// A shard's item has more attributes than `json!` can expand under the default limit.
#![cfg_attr(test, recursion_limit = "256")]

pub mod clients;
pub mod clock;
pub mod error;
pub mod permits;

mod classify;
mod fresh_connections;
mod request_timeouts;

pub mod cloudformation;
pub mod cloudwatch;
pub mod dynamodb;
pub mod eventbridge;
pub mod lambda;
pub mod s3;
pub mod sqs;

pub use clients::Aws;
pub use error::AwsError;
