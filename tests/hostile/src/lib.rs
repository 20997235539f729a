//! Input that nobody meant to send, for the tests of whatever parses: any JSON at all, and real documents
//! with something wrong at a random place. Reads the files in `events/`; no other I/O.
//!
//! Modules in reading order: [`json`] (any value, odd values), [`damage`] (what can be wrong with a
//! document), [`documents`] (the real ones).

#![allow(
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "a test that cannot go on says why"
)]

pub mod json;

pub mod damage;
pub mod documents;
