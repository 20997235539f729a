//! The domain of Tandem: rules, changes, and the protocol that makes one key's replica agree with its source.
//!
//! Nothing here does I/O, reads a clock or the environment, or knows AWS's SDK. Asynchronous modules such as
//! [`replicator`] reach the outside through ports such as [`bucket_pair::BucketPair`]. Tests can therefore drive the
//! same code that runs in the functions, with a simulated pair of buckets.
//!
//! Modules in reading order:
//!
//! - the vocabulary: [`names`], [`rule`], [`options`], [`header_value`], [`object`], [`head`], [`event`];
//! - the checks of a rule: [`new_rule`], [`claims`], [`refusal`], [`option_checks`], [`boundary`], [`region`],
//!   [`key_filter`], [`subscription`], [`notified_by`], [`event_pattern`];
//! - one key: [`admit`], [`decide`], [`bucket_pair`], [`put_hint`], [`overwrite`], [`replicator`], [`part_layout`],
//!   [`part_plan`], [`transfer`], [`fault`];
//! - a key's life: [`age`], [`rule_memory`], [`failure_record`], [`deferral`], [`key_attempt`];
//! - many keys: [`keyspace`], [`shard`], [`diff`], [`in_flight`], [`key_list`], [`page_plan`], [`shard_state`],
//!   [`shard_session`], [`progress`], [`s3_uri`], [`work`], [`window`].

pub mod event;
pub mod head;
pub mod header_value;
pub mod names;
pub mod object;
pub mod options;
pub mod rule;

pub mod boundary;
pub mod claims;
pub mod event_pattern;
pub mod key_filter;
pub mod new_rule;
pub mod notified_by;
pub mod option_checks;
pub mod refusal;
pub mod region;
pub mod subscription;

pub mod age;
pub mod deferral;
pub mod failure_record;
pub mod key_attempt;
pub mod rule_memory;

pub mod admit;
pub mod bucket_pair;
pub mod decide;
pub mod fault;
pub mod overwrite;
pub mod part_layout;
pub mod part_plan;
pub mod put_hint;
pub mod replicator;
pub mod transfer;

pub mod by_name;
pub mod diff;
pub mod in_flight;
pub mod key_list;
pub mod keyspace;
pub mod page_plan;
pub mod progress;
pub mod s3_uri;
pub mod shard;
pub mod shard_session;
pub mod shard_state;
pub mod window;
pub mod work;

/// An instant, always UTC. Times are passed in; nothing in this crate reads a clock.
pub type Timestamp = chrono::DateTime<chrono::Utc>;
