//! The two buckets of a rule, and the other buckets that a job reads and writes.
//!
//! [`s3_pair`] implements the domain's port for S3. It copies large objects with [`source_parts`], [`multipart`] and
//! [`uploaded_part`]. `attributes.rs` reads and writes tags, ACLs and locks, `metadata_headers.rs` sends metadata as
//! bytes, `object_state.rs` reads a HEAD, and `denial.rs` determines which side denied a request. [`listing`] lists a
//! range of keys. [`bucket_lookup`], [`notifications`] and [`rules_elsewhere`] are about buckets as a whole.
//! [`job_files`] reads lists of keys and writes reports.

mod attributes;
pub mod bucket_lookup;
pub mod denial;
pub mod job_files;
pub mod listing;
mod metadata_headers;
pub mod multipart;
pub mod notifications;
mod object_state;
pub mod rules_elsewhere;
pub mod s3_pair;
pub mod source_parts;
pub mod uploaded_part;
