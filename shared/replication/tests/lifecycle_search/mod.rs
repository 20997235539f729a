//! Runs the real code of one key's life under every schedule: admission, deferral, replay, resume and failure
//! records. Every request to the table, the queue and the buckets is a step, and between any two steps anything else
//! may happen.
//!
//! The interface to the other search (`every_schedule.rs`): there, one attempt at a key under one rule is shown to make
//! the replica what the source is. Here such an attempt reads the source, writes the replica, and begins again until
//! the source is what it wrote.

mod activities;
pub mod process;
pub mod run;
pub mod search;
pub mod world;
