//! The Lambda shell: the code around the domain that the functions share.
//!
//! Modules in reading order: [`runtime`] (start, logging), [`config`] (the environment), [`services`] (what a function
//! works with, built once), [`sqs_batch`] (one loop for every function that consumes messages), `attempts` (counts
//! the attempts at a message), [`notification`] (reads what S3 reports), [`live`] (one batch of notifications),
//! [`key_lifecycle`] (one key, from its task to its failure record), [`rule_cache`], [`put_hints`], [`transfers`] (large
//! objects), [`job_shards`] (a job's shards), [`metrics`], [`request`] (what the functions that answer requests share).

mod attempts;
pub mod config;
pub mod job_shards;
pub mod key_lifecycle;
pub mod live;
pub mod metrics;
pub mod notification;
pub mod put_hints;
pub mod request;
pub mod rule_cache;
pub mod runtime;
pub mod services;
pub mod sqs_batch;
pub mod transfers;
