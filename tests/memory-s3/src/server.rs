//! The server: HTTP on a local port, latency, counts, and its interface for tests and the bench, which needs no HTTP.
//! It ends with the runtime that it was started on.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use chrono::{DateTime, Utc};
use futures::stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::header::{DATE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::answer::{Answer, Handled};
use crate::changes::Change;
use crate::object::{Object, http_date};
use crate::operation::Operation;
use crate::refusal::Refusal;
use crate::request::S3Request;
use crate::store::{Bucket, Store};
use crate::{buckets, copies, listing, objects, tags, uploads};

/// The default owner of buckets. It is the account of the local cloud too.
pub const ACCOUNT_ID: &str = "000000000000";
/// S3's limit: the minimum size of every part but the last.
const PART_BYTES_MIN: u64 = 5 << 20;

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// Requests by bucket and operation.
pub type Counts = BTreeMap<(String, Operation), u64>;

/// The server. Clones are the same server.
#[derive(Debug, Clone)]
pub struct MemoryS3 {
    address: SocketAddr,
    shared: Arc<Shared>,
}

/// A request as the journal records it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The operation.
    pub operation: Operation,
    /// The bucket; for a copy, the destination. Empty if the request names none.
    pub bucket: String,
    /// The key; empty if the request names none.
    pub key: String,
    /// The status of the answer.
    pub status: u16,
}

#[derive(Debug, Default)]
struct Shared {
    store: Mutex<Store>,
    settings: Mutex<Settings>,
    watched: Mutex<Watched>,
}

#[derive(Debug, Clone)]
struct Settings {
    account_id: String,
    part_bytes_min: u64,
    latency_of_all: Duration,
    latency: BTreeMap<Operation, Duration>,
    body_delay: BTreeMap<Operation, Duration>,
}

#[derive(Debug, Default)]
struct Watched {
    counts: Counts,
    /// The journal, if it is enabled.
    journal: Option<Vec<Seen>>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            account_id: ACCOUNT_ID.to_owned(),
            part_bytes_min: PART_BYTES_MIN,
            latency_of_all: Duration::ZERO,
            latency: BTreeMap::new(),
            body_delay: BTreeMap::new(),
        }
    }
}

/// Construction and settings.
impl MemoryS3 {
    /// Starts a server on a free port.
    pub async fn start() -> std::io::Result<Self> {
        Self::start_on(SocketAddr::from(([127, 0, 0, 1], 0))).await
    }

    /// Starts a server on this address.
    pub async fn start_on(address: SocketAddr) -> std::io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let server = Self {
            address: listener.local_addr()?,
            shared: Arc::default(),
        };
        tokio::spawn(serve(listener, server.shared.clone()));
        Ok(server)
    }

    /// The server's address, as `AWS_ENDPOINT_URL_S3` requires it. The path of a request contains the bucket.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Sets the account that owns the buckets that are created from now on.
    pub fn set_account(&self, account_id: &str) {
        account_id.clone_into(&mut self.shared.settings().account_id);
    }

    /// Sets the latency of every operation that has none of its own. It passes before anything is read or written.
    pub fn set_latency_of_all(&self, latency: Duration) {
        self.shared.settings().latency_of_all = latency;
    }

    /// Sets the latency of this operation.
    pub fn set_latency(&self, operation: Operation, latency: Duration) {
        self.shared.settings().latency.insert(operation, latency);
    }

    /// Delays the body of this operation's successful answers after their headers. S3 sends the headers of
    /// `CopyObject`, `UploadPartCopy` and `CompleteMultipartUpload` at once, and the body when the work is done. Here
    /// the work is done before the headers are sent.
    pub fn set_body_delay(&self, operation: Operation, delay: Duration) {
        self.shared.settings().body_delay.insert(operation, delay);
    }

    /// Sets the minimum size of parts, which is 5 MiB as in S3 by default. The same limit applies to sources of which a
    /// range is copied.
    pub fn set_part_bytes_min(&self, bytes: u64) {
        self.shared.settings().part_bytes_min = bytes;
    }

    /// Returns the number of requests since the last call.
    pub fn take_counts(&self) -> Counts {
        std::mem::take(&mut self.shared.watched().counts)
    }

    /// Returns every change of an object that a request makes from now on, in the order of the changes. Changes that
    /// fixtures make are not included.
    pub fn follow_changes(&self) -> UnboundedReceiver<Change> {
        self.shared.store().feed.follow()
    }

    /// Records every request from now on.
    pub fn keep_journal(&self) {
        self.shared.watched().journal = Some(Vec::new());
    }

    /// Returns the requests recorded since the last call, in the order in which they were answered.
    pub fn take_journal(&self) -> Vec<Seen> {
        let mut watched = self.shared.watched();
        watched
            .journal
            .as_mut()
            .map(std::mem::take)
            .unwrap_or_default()
    }
}

/// Fixtures: direct access to the buckets, without HTTP.
impl MemoryS3 {
    /// Creates a bucket, or replaces it by an empty one.
    pub fn make_bucket(&self, name: &str, region: &str) {
        let owner = self.shared.settings().account_id.clone();
        let mut store = self.shared.store();
        let feed = store.feed.clone();
        let bucket = Bucket::new(name, region.to_owned(), owner, now(), feed);
        store.buckets.insert(name.to_owned(), bucket);
    }

    /// Sets a bucket's default encryption: with this KMS key, or with S3's own keys.
    ///
    /// # Panics
    /// If there is no such bucket.
    pub fn set_default_encryption(&self, bucket: &str, kms_key: Option<&str>) {
        self.with_bucket(bucket, |bucket| {
            bucket.default_kms_key = kms_key.map(str::to_owned);
        });
    }

    /// Makes a bucket refuse objects whose writer does not name this encryption, as a bucket policy would.
    ///
    /// # Panics
    /// If there is no such bucket.
    pub fn require_encryption(&self, bucket: &str, encryption: &str) {
        self.with_bucket(bucket, |bucket| {
            bucket.required_encryption = Some(encryption.to_owned());
        });
    }

    /// Puts objects, which keys and buckets may share.
    ///
    /// # Panics
    /// If there is no such bucket.
    pub fn put_all(&self, bucket: &str, objects: impl IntoIterator<Item = (String, Arc<Object>)>) {
        self.with_bucket(bucket, |bucket| bucket.objects.extend(objects));
    }

    /// Puts one object.
    ///
    /// # Panics
    /// If there is no such bucket.
    pub fn put(&self, bucket: &str, key: &str, object: Object) {
        self.put_all(bucket, [(key.to_owned(), Arc::new(object))]);
    }

    /// Deletes an object. Returns whether there was one.
    ///
    /// # Panics
    /// If there is no such bucket.
    pub fn remove(&self, bucket: &str, key: &str) -> bool {
        self.with_bucket(bucket, |bucket| bucket.objects.remove(key).is_some())
    }

    /// Returns an object, if it exists.
    ///
    /// # Panics
    /// If there is no such bucket.
    pub fn object(&self, bucket: &str, key: &str) -> Option<Arc<Object>> {
        self.with_bucket(bucket, |bucket| bucket.objects.get(key).cloned())
    }

    /// Returns all objects of a bucket.
    ///
    /// # Panics
    /// If there is no such bucket.
    pub fn objects(&self, bucket: &str) -> BTreeMap<String, Arc<Object>> {
        self.with_bucket(bucket, |bucket| bucket.objects.clone())
    }

    fn with_bucket<T>(&self, name: &str, act: impl FnOnce(&mut Bucket) -> T) -> T {
        let mut store = self.shared.store();
        let bucket = store.buckets.get_mut(name);
        act(bucket.unwrap_or_else(|| panic!("there is no bucket {name:?}")))
    }
}

fn now() -> DateTime<Utc> {
    SystemTime::now().into()
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((connection, _)) = listener.accept().await {
        // Without this, every answer takes 40 ms. If the connection is closed already, serving it fails below.
        let _ = connection.set_nodelay(true);
        let shared = shared.clone();
        tokio::spawn(async move {
            let service = service_fn(|request| shared.respond(request));
            // The result is an error if the client closes the connection.
            let _ = http1::Builder::new()
                .serve_connection(TokioIo::new(connection), service)
                .await;
        });
    }
}

impl Shared {
    fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn settings(&self) -> MutexGuard<'_, Settings> {
        self.settings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn watched(&self) -> MutexGuard<'_, Watched> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn respond(&self, request: Request<Incoming>) -> hyper::Result<Response<Body>> {
        let request = S3Request::read(request).await?;
        let (latency, body_delay) = {
            let settings = self.settings();
            let own = settings.latency.get(&request.operation);
            let body_delay = settings.body_delay.get(&request.operation);
            (
                own.copied().unwrap_or(settings.latency_of_all),
                body_delay.copied(),
            )
        };
        if !latency.is_zero() {
            tokio::time::sleep(latency).await;
        }
        let at = now();
        let resource = format!("/{}/{}", request.bucket, request.key);
        let answer = self
            .handle(&request, at)
            .unwrap_or_else(|refusal| refusal.into_answer(&resource));
        self.watched().note(&request, answer.status.as_u16());
        let body_delay = body_delay.filter(|_| answer.status.is_success());
        Ok(answer.into_response(now()).map(|body| match body_delay {
            None => Full::new(body).boxed_unsync(),
            Some(delay) => late(body, delay),
        }))
    }

    /// Carries out a request. Each arm shows what is read before the buckets are locked, and what is done meanwhile.
    fn handle(&self, request: &S3Request, at: DateTime<Utc>) -> Handled {
        request.check()?;
        let store = || self.store();
        match request.operation {
            Operation::ListBuckets => {
                let account_id = self.settings().account_id.clone();
                buckets::list(&store(), request, &account_id)
            }
            Operation::CreateBucket => {
                let account_id = self.settings().account_id.clone();
                buckets::create(&mut store(), request, &account_id, at)
            }
            Operation::DeleteBucket => buckets::delete(&mut store(), request),
            Operation::HeadBucket => buckets::head(&mut store(), request),
            Operation::GetBucketEncryption => buckets::encryption(&mut store(), request),
            Operation::GetBucketLocation => buckets::location(&mut store(), request),
            Operation::GetBucketVersioning => buckets::versioning(&mut store(), request),
            Operation::GetBucketWebsite => buckets::website(&mut store(), request),
            Operation::GetBucketNotificationConfiguration => {
                buckets::notifications(&mut store(), request)
            }
            Operation::PutBucketNotificationConfiguration => {
                buckets::put_notifications(&mut store(), request)
            }
            Operation::ListObjectsV2 => {
                let page = listing::page(store().bucket_of(request)?, request)?;
                page.answer(request)
            }
            Operation::PutObject => {
                let kms_key = store().kms_key_for(request)?;
                let object = objects::read_put(request, kms_key, at)?;
                objects::put(&mut store(), request, object)
            }
            Operation::GetObject => {
                let object = objects::find(&mut store(), request)?;
                objects::read(&object, request, true)
            }
            Operation::HeadObject => {
                let object = objects::find(&mut store(), request)?;
                objects::read(&object, request, false)
            }
            Operation::GetObjectAttributes => {
                let object = objects::find(&mut store(), request)?;
                objects::attributes(&object, request)
            }
            Operation::DeleteObject => objects::delete(&mut store(), request),
            Operation::DeleteObjects => objects::delete_many(&mut store(), request),
            Operation::CopyObject => {
                let source = copies::source(&mut store(), request)?;
                let kms_key = store().kms_key_for(request)?;
                let copy = copies::copy(request, &source, kms_key, at)?;
                copies::land(&mut store(), request, source, copy)
            }
            Operation::GetObjectTagging => tags::get(&mut store(), request),
            Operation::PutObjectTagging => tags::put(&mut store(), request),
            Operation::DeleteObjectTagging => tags::delete(&mut store(), request),
            _ => self.handle_upload(request, at),
        }
    }

    fn handle_upload(&self, request: &S3Request, at: DateTime<Utc>) -> Handled {
        let part_bytes_min = self.settings().part_bytes_min;
        let store = || self.store();
        match request.operation {
            Operation::CreateMultipartUpload => uploads::create(&mut store(), request, at),
            Operation::UploadPart => {
                let content = objects::checked_body(request)?;
                let digest = content.md5();
                let etag = uploads::put_part(&mut store(), request, content, digest, at)?;
                Ok(uploads::uploaded(&etag))
            }
            Operation::UploadPartCopy => {
                let source = copies::source(&mut store(), request)?;
                let content = copies::part(request, &source, part_bytes_min)?;
                let digest = content.md5();
                let etag = uploads::put_part(&mut store(), request, content, digest, at)?;
                Ok(uploads::copied(&etag, at))
            }
            Operation::CompleteMultipartUpload => {
                uploads::complete(&mut store(), request, part_bytes_min, at)
            }
            Operation::AbortMultipartUpload => uploads::abort(&mut store(), request),
            Operation::ListParts => uploads::list_parts(&mut store(), request),
            Operation::ListMultipartUploads => uploads::list(&mut store(), request),
            other => Err(Refusal::not_implemented(other)),
        }
    }
}

impl Watched {
    fn note(&mut self, request: &S3Request, status: u16) {
        let counted = (request.bucket.clone(), request.operation);
        *self.counts.entry(counted).or_default() += 1;
        if let Some(journal) = &mut self.journal {
            journal.push(Seen {
                operation: request.operation,
                bucket: request.bucket.clone(),
                key: request.key.clone(),
                status,
            });
        }
    }
}

impl Answer {
    /// Adds the `Date` of the answer, by the same clock that dates objects.
    fn into_response(self, now: DateTime<Utc>) -> Response<Bytes> {
        let mut response = Response::new(self.body);
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        if let Ok(date) = HeaderValue::from_str(&http_date(now)) {
            response.headers_mut().insert(DATE, date);
        }
        response
    }
}

fn late(body: Bytes, delay: Duration) -> Body {
    let sent = async move {
        tokio::time::sleep(delay).await;
        Ok(Frame::data(body))
    };
    StreamBody::new(stream::once(sent)).boxed_unsync()
}
