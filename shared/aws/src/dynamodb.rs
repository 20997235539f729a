//! The table. [`table`] describes its items. Every other module reads and writes one kind of item.

pub mod attempts;
pub mod deferred_keys;
pub mod failures;
pub mod job_limits;
pub mod jobs;
pub mod request_tokens;
pub mod rules;
pub mod shards;
pub mod table;
pub mod transfers;
pub mod upload_log;
pub mod watermark;

#[cfg(test)]
mod hostile_items;
