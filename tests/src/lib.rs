//! The means of the flow tests: a local cloud in which Tandem is deployed, pairs of buckets, the functions' own
//! binaries run by the test, and a proxy that counts requests and makes them fail.
//!
//! Modules in reading order: [`endpoint`] (ensures that no test reaches a real account), [`cloud`], [`bucket`],
//! [`buckets`] (pairs, and whether they agree), [`eventually`], [`notification`], [`proxy`], [`limits`],
//! [`function_process`], [`answers`] (receives the answers for CloudFormation); for chaos [`fault_proxy`] (makes
//! requests fail according to a [`fault_plan`], and shows other clocks: [`clock_skew`]), [`slow_copy`],
//! [`shorter_waits`], [`journal`]; [`memory_pair`] (needs no local cloud); and [`template`].

#![allow(
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "a test that cannot go on says why"
)]

pub mod endpoint;

pub mod answers;
pub mod bucket;
pub mod buckets;
pub mod clock_skew;
pub mod cloud;
pub mod eventually;
mod fault_answers;
pub mod fault_plan;
pub mod fault_proxy;
pub mod function_process;
pub mod journal;
pub mod limits;
pub mod memory_pair;
pub mod notification;
pub mod proxy;
pub mod shorter_waits;
pub mod slow_copy;
pub mod template;
