//! What the whole flows need: a local cloud with Tandem deployed in it, pairs of buckets, the functions'
//! own binaries run by hand, and a proxy that counts requests and makes them fail.
//!
//! Modules in reading order: [`endpoint`] (nothing here reaches a real account), [`cloud`], [`bucket`],
//! [`buckets`] (pairs, and whether they agree), [`eventually`], [`notification`], [`proxy`], [`limits`],
//! [`function_process`], [`answers`] (in CloudFormation's place); for chaos [`fault_proxy`] (it makes requests
//! fail as a [`fault_plan`] says, and shows other clocks: [`clock_skew`]), [`slow_copy`], [`shorter_waits`],
//! [`journal`]; [`memory_pair`] (without a local cloud); and [`template`].

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
