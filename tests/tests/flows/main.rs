//! Whole flows: the real functions, deployed from the real template, on a local AWS.

mod backfill;
mod events;
mod live;
mod protocol_faults;
mod requests;
mod rules;
