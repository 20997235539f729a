//! Runs the real code of one key's life under every schedule: admission, deferral, replay, resume and failure
//! records. Every request to the table, the queue and the buckets is a step. Anything else may happen between any two
//! steps.
//!
//! The interface to the other search (`every_schedule`): that search shows that one attempt at a key under one rule
//! makes the replica what the source is. Here such an attempt reads the source, writes the replica, and starts again
//! until the source is what it wrote.

mod activities;
pub mod process;
pub mod run;
pub mod search;
pub mod world;
