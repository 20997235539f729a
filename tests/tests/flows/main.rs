//! Whole flows: the real functions, deployed from the real template, on a local AWS.

#![allow(clippy::expect_used, reason = "a test that cannot go on says why")]

mod attempts;
mod attributes;
mod backfill;
mod check;
mod eventbridge;
mod events;
mod failures;
mod fidelity;
mod field;
mod hostile;
mod jobs;
mod limits;
mod live;
mod log_queries;
mod options;
mod protocol_faults;
mod requests;
mod rules;
mod rules_as_code;
mod stage;
mod topics;
mod transfer_modes;
mod transfers;
