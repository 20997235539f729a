//! An S3 for the tests and the bench: in memory, in the process that uses it, strongly consistent, and strict where
//! emulators are not. It enforces the conditions on the destination (`If-Match`, `If-None-Match: *`) of `PutObject`,
//! `CopyObject` and `CompleteMultipartUpload`, and `If-Match` of `DeleteObject`; it knows the parts of multipart
//! objects; and it counts its requests.
//!
//! It answers operations, parameters and headers that it does not implement with 501 `NotImplemented`; it never
//! guesses. It has no versions, ACLs and locks, and sends no notifications; a test that needs notifications follows the
//! [`Change`]s and makes them. Of encryption with KMS keys it has what clients see: an `ETag` that is not a digest of
//! the bytes, the key's name, a bucket's default, and a policy that requires writers to name an encryption.
//! It checks neither signatures nor checksums other than `Content-MD5`, and stores no checksums.
//!
//! Modules in reading order: [`server`] (HTTP, latency, counts), `operation` (which request is which), `request`,
//! `chunked`, `answer`, `refusal`, `xml`; then the state: `content`, `object`, `changes`, `store`; then the operations:
//! `buckets`, `listing`, `objects`, `condition`, `copies`, `uploads`, `tags`.

mod answer;
mod buckets;
mod changes;
mod chunked;
mod condition;
mod content;
mod copies;
mod listing;
mod object;
mod objects;
mod operation;
mod refusal;
mod request;
pub mod server;
mod store;
mod tags;
mod uploads;
mod xml;

pub use changes::{Change, ChangeKind};
pub use hyper::header::HeaderValue;
pub use object::{Attributes, Object};
pub use operation::Operation;
pub use server::{MemoryS3, Seen};
