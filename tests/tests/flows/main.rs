//! Whole flows: the real functions, deployed from the real template, on a local AWS.

#![allow(clippy::expect_used, reason = "a test that cannot go on says why")]

mod backfill;
mod events;
mod failures;
mod hostile;
mod live;
mod protocol_faults;
mod requests;
mod rules;
mod stage;
