//! A proxy in front of the local cloud: it records every request, and on demand answers in the cloud's place, breaks
//! the connection, or delays a request until the test lets it pass.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::header::{HeaderMap, HeaderName};
use hyper::http::request::Parts;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use percent_encoding::percent_decode_str;
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::buckets::Buckets;
use crate::fault_answers::late;

pub(crate) type Body = BoxBody<Bytes, std::io::Error>;

/// The connection from a proxy to the cloud.
#[derive(Debug, Clone)]
pub(crate) struct Upstream {
    address: String,
    client: Client<HttpConnector, Full<Bytes>>,
}

/// The proxy. It ends with the test's runtime.
#[derive(Debug, Clone)]
pub struct Proxy {
    address: SocketAddr,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    upstream: Upstream,
    seen: Mutex<Vec<Seen>>,
    scripts: Mutex<Vec<Script>>,
    capacity: Mutex<Option<Capacity>>,
    tests_pass_too: AtomicBool,
}

/// How many requests of a kind the cloud accepts at once.
struct Capacity {
    matches: Matcher,
    room: Arc<Semaphore>,
}

/// The minimum duration of a request of a kind whose capacity is limited.
const SERVICE_TIME: Duration = Duration::from_millis(10);

impl std::fmt::Debug for Capacity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "room for {}", self.room.available_permits())
    }
}

/// A request, as far as tests distinguish requests.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Such as `CopyObject`. For services other than S3 it contains the service's name: `DynamoDB.GetItem`.
    pub operation: String,
    /// The bucket, or an empty string.
    pub bucket: String,
    /// The key, decoded, or an empty string.
    pub key: String,
    /// The headers.
    pub headers: HeaderMap,
}

/// What happens to a request instead of passing.
#[derive(Debug, Clone)]
pub enum Action {
    /// The proxy answers this. The request does not reach the cloud.
    Answer(u16, String),
    /// The connection breaks. The request does not reach the cloud.
    BreakBefore,
    /// The cloud carries the request out, but the connection breaks before its answer.
    BreakAfter,
    /// The cloud carries the request out, but the proxy answers this.
    DoneBut(u16, String),
    /// The cloud carries the request out. Its answer begins with the status 200 and breaks off.
    BreakInAnswer,
    /// The cloud carries the request out. The headers of its answer arrive at once, and the body this much later.
    DelayBody(Duration),
    /// The request waits at the gate before it passes.
    HoldBefore(Gate),
    /// The cloud carries the request out, but its answer waits at the gate.
    HoldAfter(Gate),
}

/// A place where a request waits for the test.
#[derive(Debug, Clone)]
pub struct Gate {
    arrived: Arc<watch::Sender<bool>>,
    open: Arc<watch::Sender<bool>>,
}

type Matcher = Box<dyn Fn(&Seen) -> bool + Send + Sync>;

struct Script {
    times: usize,
    matches: Matcher,
    action: Action,
}

impl std::fmt::Debug for Script {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} x {:?}", self.times, self.action)
    }
}

impl Action {
    /// One of S3's errors.
    pub fn s3_error(status: u16, code: &str) -> Self {
        Self::Answer(status, error_body(code))
    }

    /// One of S3's errors, for a request that the cloud carries out.
    pub fn done_but(status: u16, code: &str) -> Self {
        Self::DoneBut(status, error_body(code))
    }
}

impl Gate {
    fn new() -> Self {
        Self {
            arrived: Arc::new(watch::Sender::new(false)),
            open: Arc::new(watch::Sender::new(false)),
        }
    }

    /// Waits until a request is at the gate.
    pub async fn arrived(&self) {
        let mut arrived = self.arrived.subscribe();
        arrived
            .wait_for(|arrived| *arrived)
            .await
            .expect("the gate exists");
    }

    /// Lets all requests pass.
    pub fn open(&self) {
        self.open.send_replace(true);
    }

    async fn pass(&self) {
        self.arrived.send_replace(true);
        let mut open = self.open.subscribe();
        open.wait_for(|open| *open).await.expect("the gate exists");
    }
}

impl Seen {
    /// Whether it is this operation.
    pub fn is(&self, operation: &str) -> bool {
        self.operation == operation
    }

    /// Whether the request names the owner of every bucket that it concerns, so that S3 refuses it if a bucket has
    /// changed hands.
    pub fn names_owners(&self) -> bool {
        let names = |header: &str| self.headers.contains_key(header);
        let of_source = !names("x-amz-copy-source") || names("x-amz-source-expected-bucket-owner");
        names("x-amz-expected-bucket-owner") && of_source
    }

    /// Whether the request is for S3 and concerns a bucket. A HEAD of a bucket may name no owner: it finds out whether
    /// the owner is the reason for a refusal.
    fn has_to_name_owners(&self) -> bool {
        !self.operation.contains('.')
            && !["ListBuckets", "HeadBucket"].contains(&self.operation.as_str())
    }
}

impl Proxy {
    /// Starts a proxy before `upstream`.
    pub async fn start(upstream: &str) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let proxy = Self {
            address: listener.local_addr().expect("an address"),
            state: Arc::new(State {
                upstream: Upstream::new(upstream),
                seen: Mutex::default(),
                scripts: Mutex::default(),
                capacity: Mutex::default(),
                tests_pass_too: AtomicBool::default(),
            }),
        };
        let state = proxy.state.clone();
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                // Without this, every answer takes 40 ms.
                connection.set_nodelay(true).expect("TCP_NODELAY");
                let state = state.clone();
                tokio::spawn(async move {
                    let service = service_fn(|request| state.serve(request));
                    // The result is an error if a script breaks the connection.
                    let _ = http1::Builder::new()
                        .serve_connection(TokioIo::new(connection), service)
                        .await;
                });
            }
        });
        proxy
    }

    /// Allows requests without owners, because the test's own requests pass this proxy too.
    #[must_use]
    pub fn for_tests_too(self) -> Self {
        self.state.tests_pass_too.store(true, Ordering::Relaxed);
        self
    }

    /// The proxy's address, as `AWS_ENDPOINT_URL` requires it.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The next `times` requests that match do not pass, but meet `action`. If several scripts match, the oldest one
    /// applies.
    pub fn script(
        &self,
        times: usize,
        matches: impl Fn(&Seen) -> bool + Send + Sync + 'static,
        action: Action,
    ) {
        self.state.scripts().push(Script {
            times,
            matches: Box::new(matches),
            action,
        });
    }

    /// From now on, a request that matches while `at_once` of them are under way is answered `SlowDown`.
    pub fn limit(&self, at_once: usize, matches: impl Fn(&Seen) -> bool + Send + Sync + 'static) {
        *self.state.capacity() = Some(Capacity {
            matches: Box::new(matches),
            room: Arc::new(Semaphore::new(at_once)),
        });
    }

    /// Makes the next request that matches wait at the gate before it passes.
    pub fn hold_before(&self, matches: impl Fn(&Seen) -> bool + Send + Sync + 'static) -> Gate {
        let gate = Gate::new();
        self.script(1, matches, Action::HoldBefore(gate.clone()));
        gate
    }

    /// Makes the answer of the next request that matches wait at the gate.
    pub fn hold_after(&self, matches: impl Fn(&Seen) -> bool + Send + Sync + 'static) -> Gate {
        let gate = Gate::new();
        self.script(1, matches, Action::HoldAfter(gate.clone()));
        gate
    }

    /// Returns the requests since the last call, in the order in which they arrived.
    ///
    /// # Panics
    /// If one of them does not name the owner of its bucket, so that a bucket that has changed hands would grant it.
    pub fn take(&self) -> Vec<Seen> {
        let seen = std::mem::take(
            &mut *self
                .state
                .seen
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
        let of_functions = !self.state.tests_pass_too.load(Ordering::Relaxed);
        for request in seen.iter().filter(|request| request.has_to_name_owners()) {
            assert!(
                !of_functions || request.names_owners(),
                "names no owner: {request:?}"
            );
        }
        seen
    }

    /// Returns the same requests as text, each with its operation and its side: `HeadObject source`.
    pub fn take_story(&self, buckets: &Buckets) -> Vec<String> {
        let side = |seen: &Seen| {
            if seen.bucket == buckets.source.name {
                " source"
            } else if seen.bucket == buckets.destination.name {
                " replica"
            } else {
                ""
            }
        };
        let text = |seen: Seen| format!("{}{}", seen.operation, side(&seen));
        self.take().into_iter().map(text).collect()
    }

    /// Returns the number of the same requests by operation.
    pub fn take_counts(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for seen in self.take() {
            *counts.entry(seen.operation).or_default() += 1;
        }
        counts
    }
}

impl State {
    fn scripts(&self) -> std::sync::MutexGuard<'_, Vec<Script>> {
        self.scripts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn capacity(&self) -> std::sync::MutexGuard<'_, Option<Capacity>> {
        self.capacity.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the permit that a request needs, or the answer if there is none.
    fn room_for(&self, seen: &Seen) -> Result<Option<OwnedSemaphorePermit>, Action> {
        match &*self.capacity() {
            Some(capacity) if (capacity.matches)(seen) => capacity
                .room
                .clone()
                .try_acquire_owned()
                .map(Some)
                .map_err(|_| Action::s3_error(503, "SlowDown")),
            _ => Ok(None),
        }
    }

    async fn serve(&self, request: Request<Incoming>) -> Result<Response<Body>, &'static str> {
        let (head, body) = request.into_parts();
        let body = body
            .collect()
            .await
            .map_err(|_| "the client closed the connection")?
            .to_bytes();
        let seen = recognized(&head);
        let (room, action) = match self.room_for(&seen) {
            Ok(room) => (room, self.action_for(&seen)),
            Err(busy) => (None, Some(busy)),
        };
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(seen);
        if room.is_some() {
            tokio::time::sleep(SERVICE_TIME).await;
        }
        match action {
            None => Ok(self.upstream.pass(head, body).await?.map(whole)),
            Some(Action::Answer(status, body)) => Ok(answered(status, body)),
            Some(Action::DoneBut(status, answer)) => {
                self.upstream.pass(head, body).await?;
                Ok(answered(status, answer))
            }
            Some(Action::BreakBefore) => Err("broken by the test"),
            Some(Action::BreakAfter) => {
                self.upstream.pass(head, body).await?;
                Err("broken by the test")
            }
            Some(Action::BreakInAnswer) => {
                self.upstream.pass(head, body).await?;
                Ok(Response::new(broken()))
            }
            Some(Action::DelayBody(delay)) => {
                let answer = self.upstream.pass(head, body).await?;
                Ok(answer.map(|body| late(body, delay)))
            }
            Some(Action::HoldBefore(gate)) => {
                gate.pass().await;
                Ok(self.upstream.pass(head, body).await?.map(whole))
            }
            Some(Action::HoldAfter(gate)) => {
                let answer = self.upstream.pass(head, body).await;
                gate.pass().await;
                Ok(answer?.map(whole))
            }
        }
    }

    fn action_for(&self, seen: &Seen) -> Option<Action> {
        let mut scripts = self.scripts();
        let at = scripts
            .iter()
            .position(|script| script.times > 0 && (script.matches)(seen))?;
        scripts[at].times -= 1;
        Some(scripts[at].action.clone())
    }
}

impl Upstream {
    pub(crate) fn new(address: &str) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        Self {
            address: address.trim_end_matches('/').to_owned(),
            client: Client::builder(TokioExecutor::new()).build(connector),
        }
    }

    /// Passes a request on and returns the cloud's answer.
    pub(crate) async fn pass(
        &self,
        head: Parts,
        body: Bytes,
    ) -> Result<Response<Bytes>, &'static str> {
        let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
        let uri: Uri = format!("{}{path}", self.address)
            .parse()
            .map_err(|_| "no address")?;
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = head.method;
        *request.uri_mut() = uri;
        *request.headers_mut() = head.headers;
        hop_by_hop(request.headers_mut());
        let answer = self
            .client
            .request(request)
            .await
            .map_err(|_| "the cloud does not accept the connection")?;
        let (mut head, body) = answer.into_parts();
        let body = body
            .collect()
            .await
            .map_err(|_| "the cloud broke the connection")?
            .to_bytes();
        // The answer to a HEAD has the length of the object, but no body.
        let length = head.headers.get("content-length").cloned();
        hop_by_hop(&mut head.headers);
        if let Some(length) = length {
            head.headers.insert("content-length", length);
        }
        Ok(Response::from_parts(head, body))
    }
}

pub(crate) fn whole(body: Bytes) -> Body {
    Full::new(body).map_err(|never| match never {}).boxed()
}

fn error_body(code: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>as the test wants it</Message></Error>"
    )
}

fn answered(status: u16, body: String) -> Response<Body> {
    let mut answer = Response::new(whole(body.into()));
    *answer.status_mut() = StatusCode::from_u16(status).expect("a status");
    let id = hyper::http::HeaderValue::from_static("4442587FB7D0A2F9");
    answer.headers_mut().insert("x-amz-request-id", id);
    answer
}

fn broken() -> Body {
    let begins = Ok(Frame::data(Bytes::from_static(b"<?xml version=")));
    let breaks = Err(std::io::Error::other("broken by the test"));
    StreamBody::new(futures::stream::iter([begins, breaks])).boxed()
}

/// Removes the headers that concern only one connection.
fn hop_by_hop(headers: &mut HeaderMap) {
    for name in [
        "connection",
        "keep-alive",
        "transfer-encoding",
        "content-length",
    ] {
        headers.remove(HeaderName::from_static(name));
    }
}

pub(crate) fn recognized(head: &Parts) -> Seen {
    let path = head.uri.path().trim_start_matches('/');
    let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
    let seen = |operation: String, bucket: &str, key: &str| Seen {
        operation,
        bucket: bucket.to_owned(),
        key: percent_decode_str(key).decode_utf8_lossy().into_owned(),
        headers: head.headers.clone(),
    };
    if let Some(target) = head
        .headers
        .get("x-amz-target")
        .and_then(|value| value.to_str().ok())
    {
        let (service, operation) = target.split_once('.').unwrap_or(("", target));
        let service = service.split('_').next().unwrap_or_default();
        return seen(
            format!("{}.{operation}", service.trim_start_matches("Amazon")),
            "",
            "",
        );
    }
    if bucket == "service" {
        let operation = path.rsplit('/').next().unwrap_or_default();
        return seen(format!("CloudWatch.{operation}"), "", "");
    }
    if path.starts_with("2015-03-31/functions/") {
        return seen("Lambda.Invoke".to_owned(), "", "");
    }
    seen(s3_operation(head, key).to_owned(), bucket, key)
}

fn s3_operation(head: &Parts, key: &str) -> &'static str {
    let query = head.uri.query().unwrap_or_default();
    let asks = |name: &str| {
        query
            .split('&')
            .any(|pair| pair.split('=').next() == Some(name))
    };
    let copies = head.headers.contains_key("x-amz-copy-source");
    let of_object = !key.is_empty();
    match (&head.method, of_object) {
        (&Method::PUT, true) if copies && asks("uploadId") => "UploadPartCopy",
        (&Method::PUT, true) if copies => "CopyObject",
        (&Method::PUT, true) if asks("tagging") => "PutObjectTagging",
        (&Method::PUT, true) if asks("acl") => "PutObjectAcl",
        (&Method::PUT, true) if asks("retention") => "PutObjectRetention",
        (&Method::PUT, true) if asks("legal-hold") => "PutObjectLegalHold",
        (&Method::PUT, true) => "PutObject",
        (&Method::PUT, false) if asks("notification") => "PutBucketNotificationConfiguration",
        (&Method::GET, true) if asks("tagging") => "GetObjectTagging",
        (&Method::GET, true) if asks("acl") => "GetObjectAcl",
        (&Method::GET, true) if asks("attributes") => "GetObjectAttributes",
        (&Method::GET, true) if asks("uploadId") => "ListParts",
        (&Method::GET, true) => "GetObject",
        (&Method::GET, false) if asks("notification") => "GetBucketNotificationConfiguration",
        (&Method::GET, false) if asks("list-type") => "ListObjectsV2",
        (&Method::GET, false) if asks("uploads") => "ListMultipartUploads",
        (&Method::GET, false) if asks("object-lock") => "GetObjectLockConfiguration",
        (&Method::GET, false) if asks("encryption") => "GetBucketEncryption",
        (&Method::GET, false) if asks("ownershipControls") => "GetBucketOwnershipControls",
        (&Method::GET, false) => "ListBuckets",
        (&Method::HEAD, true) => "HeadObject",
        (&Method::HEAD, false) => "HeadBucket",
        (&Method::DELETE, true) if asks("uploadId") => "AbortMultipartUpload",
        (&Method::DELETE, true) if asks("tagging") => "DeleteObjectTagging",
        (&Method::DELETE, true) => "DeleteObject",
        (&Method::POST, true) if asks("uploads") => "CreateMultipartUpload",
        (&Method::POST, true) => "CompleteMultipartUpload",
        _ => "Other",
    }
}
