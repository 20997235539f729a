//! Every schedule of transfers: the real `Transferrer` and `Replicator` on a simulated table, queue and pair of
//! buckets.
//!
//! Its interface to the other searches: an object that is copied in one request lands at once here, since
//! `every_schedule` explores copies in flight; a deferred key is replayed by one message.

pub mod ports;
pub mod run;
pub mod search;
pub mod world;
