//! The edges to AWS, a module or folder for each service. Wire and table structs stay inside; the domain's types go in
//! and out.
//!
//! Read [`clients`] first (one client for each service and region, built once, requests counted), then [`s3`] and
//! [`dynamodb`]. `request_timeouts.rs` says how long a request may take, `fresh_connections.rs` drops connections that a
//! frozen process has kept, [`permits`] limits concurrency while S3 throttles, and `classify.rs` says what each of AWS's
//! errors means.

// A shard's item has more attributes than the default lets `json!` expand.
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
