//! The promise of the protocol, shown on the code that runs in the functions: whatever the order of
//! notifications, duplicates, crashes and interleavings, in the end the replica is what the source is.
//!
//! Each case is searched whole: every state that it can reach is visited, and no state is left unvisited. A search
//! that stops before that fails. [`removed_rules`] shows that the search can fail: without each of the protocol's
//! rules it finds what goes wrong.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod cases;
mod jobs;
mod model;
mod notifications;
mod program;
mod removed_rules;
mod search;
mod world;
