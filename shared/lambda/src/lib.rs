//! The Lambda shell: what the functions share around the domain.
//!
//! Modules in reading order: [`runtime`] (start, logging), [`config`] (the environment), [`inbox`] (what a function was
//! invoked with), [`attempts`] (which attempt at a message this is, and the dead-letter queue), [`notification`] (what
//! S3 says), [`postpone`] (when a message is redelivered), [`rule_cache`], [`expectations`], [`record`] (failures),
//! [`key_store`] (one key's life), [`job_shards`] (a job's shards), [`transfers`] (the ports of large objects' copies),
//! [`carry`] (one change), [`live`] (one batch of notifications, from message to acknowledgement), [`measure`]
//! (metrics).

pub mod attempts;
pub mod carry;
pub mod config;
pub mod expectations;
pub mod inbox;
pub mod job_shards;
pub mod key_store;
pub mod live;
pub mod measure;
pub mod notification;
pub mod postpone;
pub mod record;
pub mod request;
pub mod rule_cache;
pub mod runtime;
pub mod transfers;
