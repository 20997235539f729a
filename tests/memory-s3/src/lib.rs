//! An S3 of the tests' and the bench's own: in memory, in the process that uses it, strongly consistent, and
//! strict where emulators are not. It enforces the conditions of the destination (`If-Match`,
//! `If-None-Match: *`) on `PutObject`, `CopyObject` and `CompleteMultipartUpload`, and `If-Match` on
//! `DeleteObject`; it knows the parts of multipart objects; and it counts what it is asked.
//!
//! What it does not implement it answers with 501 `NotImplemented`, be it an operation, a parameter or a header:
//! it never guesses. There are no versions, ACLs and locks, and no notifications are sent; a test that needs some
//! follows the [`Change`]s and makes them. Of encryption with KMS keys there is what clients see: an `ETag` that is no
//! digest of the bytes, the key's name, a bucket's default, and a policy that requires writers to name an encryption.
//! Signatures are not checked, and neither are checksums other than `Content-MD5`; none is kept.
//!
//! Modules in reading order: [`server`] (HTTP, latency, counts), `operation` (which request is which), `request`,
//! `chunked`, `answer`, `refusal`, `xml`; then what is kept: `content`, `object`, `changes`, `store`; then what is done:
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
