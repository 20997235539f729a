//! The edges to AWS. Wire and table structs stay in here; the domain's types go in and out.
//!
//! Modules in reading order: [`clients`] (one client for each service and region, built once, requests counted),
//! `request_timeouts.rs` (how long a request may take), [`clock`] (both clocks), [`turns`] (fewer at once when S3 asks
//! for it), the buckets ([`s3_pair`], [`source_parts`], [`multipart`], [`uploaded_part`], [`listing`],
//! [`bucket_lookup`], [`notifications`], [`rules_elsewhere`], [`places`]), the table ([`table`], [`attempts`],
//! [`rules`], [`jobs`], [`shards`], [`limits`], [`deferred_keys`], [`failures`], [`transfers`], [`uploads`],
//! [`watermark`], [`requests`]), and the rest ([`queues`], [`event_bus`], [`event_rules`], [`functions`], [`measures`],
//! [`stacks`], [`callback`]). `classify.rs` and `denied.rs` say what AWS's refusals mean.

// A shard's item has more attributes than the default lets `json!` expand.
#![cfg_attr(test, recursion_limit = "256")]

pub mod clients;
pub mod clock;
pub mod error;
mod fresh_connections;
mod request_timeouts;

pub mod turns;

mod classify;
mod denied;

pub mod bucket_lookup;
mod labels;
pub mod listing;
mod metadata_headers;
pub mod multipart;
pub mod notifications;
mod object_state;
pub mod places;
pub mod s3_pair;
pub mod source_parts;
pub mod uploaded_part;

pub mod attempts;
pub mod deferred_keys;
pub mod failures;
pub mod jobs;
pub mod limits;
pub mod requests;
pub mod rules;
pub mod shards;
pub mod table;
pub mod transfers;
pub mod uploads;
pub mod watermark;

#[cfg(test)]
mod hostile_items;

pub mod callback;
pub mod event_bus;
pub mod event_rules;
pub mod functions;
pub mod measures;
pub mod queues;
pub mod rules_elsewhere;
pub mod stacks;

pub use clients::Aws;
pub use error::AwsError;
