//! A simulated job of one rule, with its table, its queue and its two buckets, in every order in which they can be
//! used. The workers run the real session, the real page plan and the real replicator.

pub mod pages;
pub mod run;
pub mod search;
pub mod world;
