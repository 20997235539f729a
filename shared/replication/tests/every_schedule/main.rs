//! Shows, on the code that the functions run, that the protocol converges: whatever the order of notifications,
//! duplicates, crashes and interleavings, in the end the replica is what the source is.
//!
//! The search of a case visits every state that the case can reach; a search that stops earlier fails.
//! [`removed_rules`] shows that the search can fail: without any one of the protocol's rules, it finds a violation.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod cases;
mod jobs;
mod model;
mod notifications;
mod program;
mod removed_rules;
mod search;
mod world;
