//! Malformed input for the tests of every parser: arbitrary JSON, and real documents with faults at random places.
//! Reads the files in `events/`; no other I/O.
//!
//! Modules in reading order: [`json`] (arbitrary and odd values), [`damage`] (faults in documents), [`documents`] (the
//! real documents).

#![allow(
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "a test that cannot go on says why"
)]

pub mod json;

pub mod damage;
pub mod documents;
