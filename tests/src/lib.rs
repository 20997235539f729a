//! What the whole flows need: a local cloud with Tandem deployed in it, pairs of buckets, the functions'
//! own binaries run by hand, and a proxy that counts requests and makes them fail.
//!
//! Modules in reading order: [`endpoint`] (nothing here reaches a real account), [`cloud`], [`bucket`],
//! [`buckets`] (pairs, and whether they agree), [`eventually`], [`notification`], [`proxy`],
//! [`function_process`], [`answers`] (in CloudFormation's place); for chaos [`weather`] (a proxy that makes everything
//! fail), [`slow_copy`], [`sooner`], [`journal`]; and [`template`].

#![allow(
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "a test that cannot go on says why"
)]

pub mod endpoint;

pub mod answers;
pub mod bucket;
pub mod buckets;
pub mod cloud;
pub mod eventually;
pub mod function_process;
pub mod journal;
pub mod notification;
pub mod proxy;
pub mod slow_copy;
pub mod sooner;
pub mod template;
pub mod weather;
