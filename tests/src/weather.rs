//! Bad weather between functions and the cloud: a proxy that makes requests fail in every way in which a
//! network or a service fails. What happens to a request follows from the seed, the operation, bucket and
//! key, and how many such requests came before; so the same seed gives the same weather.
//!
//! Only what can happen does: a request that is said to have been lost never reaches the cloud, one whose
//! answer is lost or cut off was carried out, and one that is delayed arrives within [`LONGEST_DELAY`] or
//! never, even if its sender is dead by then.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fastrand::Rng;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use hyper::http::request::Parts;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};

use crate::journal::Journal;
use crate::proxy::{Body, Seen, Upstream, recognized, whole};
use crate::slow_copy::SlowCopy;
use crate::sooner::Sooner;

/// The longest time between a request's leaving its sender and its reaching the cloud.
pub const LONGEST_DELAY: Duration = Duration::from_secs(3);

/// How long a connection stays open on which no answer comes: longer than any function waits.
const SILENCE: Duration = Duration::from_secs(30);

/// What can happen to a request, and to how many of ten thousand it does.
const RATES: [(Fault, u32); 14] = [
    (Fault::InternalError, 100),
    (Fault::SlowDown, 150),
    (Fault::ErrorInside200, 150),
    (Fault::LostRequest, 60),
    (Fault::LostAnswer, 60),
    (Fault::CutOffAnswer, 60),
    (Fault::SilenceBefore, 3),
    (Fault::SilenceAfter, 3),
    (Fault::LateRequest, 150),
    (Fault::LateAnswer, 150),
    (Fault::SlowCopy, 500),
    (Fault::KilledBefore, 15),
    (Fault::KilledAfter, 15),
    (Fault::KilledLate, 10),
];

/// Requests of one kind in a row that a spell of bad weather meets: more than an SDK tries.
const SPELL: u64 = 6;
/// How many of ten thousand such rows are spells in which the service fails every time.
const SPELLS: u32 = 150;

/// One way to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// A 500; nothing was done.
    InternalError,
    /// A 503 `SlowDown`, or what the other services call it; nothing was done.
    SlowDown,
    /// A copy whose answer begins with 200 and turns out to be an error; nothing was done.
    ErrorInside200,
    /// The connection breaks; nothing was done.
    LostRequest,
    /// It is done, and the connection breaks before the answer.
    LostAnswer,
    /// It is done, and the answer breaks off in its middle.
    CutOffAnswer,
    /// No answer comes; nothing was done.
    SilenceBefore,
    /// No answer comes, but it is done.
    SilenceAfter,
    /// It reaches the cloud late.
    LateRequest,
    /// It is done at once, and its answer comes late.
    LateAnswer,
    /// A copy that reads the source at once and lands late.
    SlowCopy,
    /// Its sender is killed, and nothing was done.
    KilledBefore,
    /// It is done, and its sender is killed before the answer.
    KilledAfter,
    /// Its sender is killed, and the request reaches the cloud later.
    KilledLate,
}

/// Kills the process at the other end of a connection: its address there, and the proxy's here. Answers
/// whether there was one to kill.
pub type Killer = dyn Fn(SocketAddr, SocketAddr) -> bool + Send + Sync;

/// How a [`Weather`] is made.
pub struct Forecast {
    /// From which all that happens follows.
    pub seed: u64,
    /// What is meant by buckets whose names differ from run to run.
    pub buckets: BTreeMap<String, String>,
    /// What lets messages wait for a shorter time.
    pub sooner: Sooner,
    /// What lets copies land later than they read.
    pub slow_copy: SlowCopy,
    /// Who kills.
    pub killer: Box<Killer>,
    /// Where every request is noted.
    pub journal: Arc<Journal>,
}

/// What has happened so far.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// All requests that came.
    pub requests: u64,
    /// Processes that were killed.
    pub kills: u64,
    /// Requests that did not just pass, by what happened to them.
    pub by_kind: BTreeMap<&'static str, u64>,
    /// The same, by operation.
    pub by_operation: BTreeMap<String, u64>,
}

/// The proxy. It ends with the test's runtime.
#[derive(Clone)]
pub struct Weather {
    address: SocketAddr,
    state: Arc<State>,
}

struct State {
    forecast: Forecast,
    upstream: Upstream,
    fair: AtomicBool,
    before: Mutex<HashMap<String, u64>>,
    report: Mutex<Report>,
}

impl std::fmt::Debug for Weather {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "weather at {}", self.address)
    }
}

impl Weather {
    /// Starts the proxy before `upstream`. The weather is fair until it [`turns`](Self::turn).
    pub async fn start(upstream: &str, forecast: Forecast) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let weather = Self {
            address: listener.local_addr().expect("an address"),
            state: Arc::new(State {
                forecast,
                upstream: Upstream::new(upstream),
                fair: AtomicBool::new(true),
                before: Mutex::default(),
                report: Mutex::default(),
            }),
        };
        let state = weather.state.clone();
        tokio::spawn(async move {
            while let Ok((connection, peer)) = listener.accept().await {
                tokio::spawn(state.clone().attend(connection, peer));
            }
        });
        weather
    }

    /// Its address, as `AWS_ENDPOINT_URL_S3` wants it.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Makes the weather fair or bad from now on.
    pub fn turn(&self, fair: bool) {
        self.state.fair.store(fair, Ordering::Relaxed);
    }

    /// What has happened so far.
    pub fn report(&self) -> Report {
        lock(&self.state.report).clone()
    }
}

impl State {
    async fn attend(self: Arc<Self>, connection: TcpStream, peer: SocketAddr) {
        let Ok(proxy) = connection.local_addr() else {
            return;
        };
        // Or every answer takes 40 ms.
        if connection.set_nodelay(true).is_err() {
            return;
        }
        let service = service_fn(|request| self.clone().serve(request, peer, proxy));
        // A connection that breaks ends in an error.
        let _ = http1::Builder::new()
            .serve_connection(TokioIo::new(connection), service)
            .await;
    }

    async fn serve(
        self: Arc<Self>,
        request: Request<Incoming>,
        peer: SocketAddr,
        proxy: SocketAddr,
    ) -> Result<Response<Body>, &'static str> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.map_err(|_| "the client went away")?;
        let seen = recognized(&head);
        let body = body.to_bytes();
        let fault = self.fault(&seen);
        self.note(&seen, fault);
        let pass = async |after| self.pass(seen.clone(), head, body, after).await;
        let late = || LONGEST_DELAY.mul_f64(self.dice(&seen, "late").f64());
        let now = Duration::ZERO;
        match fault {
            None => Ok(pass(now).await?.map(whole)),
            Some(Fault::InternalError | Fault::SlowDown | Fault::ErrorInside200) => {
                Ok(refusal(&seen, fault))
            }
            Some(Fault::LostRequest) => Err("the request is lost"),
            Some(Fault::LostAnswer) => {
                pass(now).await?;
                Err("the answer is lost")
            }
            Some(Fault::CutOffAnswer) => cut_off(pass(now).await?),
            Some(Fault::SilenceBefore) => silence().await,
            Some(Fault::SilenceAfter) => {
                pass(now).await?;
                silence().await
            }
            Some(Fault::LateRequest) => Ok(pass(late()).await?.map(whole)),
            Some(Fault::LateAnswer) => {
                let answer = pass(now).await?;
                tokio::time::sleep(late()).await;
                Ok(answer.map(whole))
            }
            Some(Fault::SlowCopy) => match self.slowly(seen.clone(), late()).await {
                Some(answer) => Ok(answer.map(whole)),
                None => Ok(pass(now).await?.map(whole)),
            },
            Some(Fault::KilledBefore) => self.killed(peer, proxy).await,
            Some(Fault::KilledAfter) => {
                pass(now).await?;
                self.killed(peer, proxy).await
            }
            Some(Fault::KilledLate) => {
                let killed = self.killed(peer, proxy);
                let (killed, _) = futures::join!(killed, pass(late()));
                killed
            }
        }
    }

    /// Passes a request on after a while, in a task of its own: what has left a process arrives though
    /// that one dies.
    async fn pass(
        self: &Arc<Self>,
        seen: Seen,
        head: Parts,
        body: Bytes,
        after: Duration,
    ) -> Result<Response<Bytes>, &'static str> {
        let state = self.clone();
        let passing = tokio::spawn(async move {
            tokio::time::sleep(after).await;
            let answer = match state.forecast.sooner.instead_of(&seen, &body) {
                Some(wait) => wait.ask().await,
                None => state.upstream.pass(head, body).await,
            };
            let status = answer.as_ref().map_or(0, |answer| answer.status().as_u16());
            let line = format!("  {status} <- {}", state.kind(&seen));
            state.forecast.journal.note(&line);
            answer
        });
        passing.await.map_err(|_| "the test ends")?
    }

    /// Copies slowly, and to the end though the sender dies.
    async fn slowly(self: &Arc<Self>, seen: Seen, after: Duration) -> Option<Response<Bytes>> {
        let state = self.clone();
        let copying = tokio::spawn(async move {
            let answer = state.forecast.slow_copy.make(&seen, after).await;
            let line = format!("  slow copy <- {}", state.kind(&seen));
            state.forecast.journal.note(&line);
            answer
        });
        copying.await.ok().flatten()
    }

    /// What the forecast has for this request.
    fn fault(&self, seen: &Seen) -> Option<Fault> {
        if self.fair.load(Ordering::Relaxed) {
            return None;
        }
        let nth = {
            let mut before = lock(&self.before);
            let nth = before.entry(self.kind(seen)).or_default();
            *nth += 1;
            *nth
        };
        let mut spell = self.dice(seen, &format!("spell {}", nth / SPELL));
        if spell.u32(0..10_000) < SPELLS {
            return Some(if spell.bool() {
                Fault::InternalError
            } else {
                Fault::SlowDown
            });
        }
        let mut roll = self.dice(seen, &format!("request {nth}")).u32(0..10_000);
        for (fault, rate) in RATES {
            if roll < rate {
                return fault.can_happen_to(seen).then_some(fault);
            }
            roll -= rate;
        }
        None
    }

    /// Dice for one kind of request and one question.
    fn dice(&self, seen: &Seen, question: &str) -> Rng {
        let text = format!("{} {} {question}", self.forecast.seed, self.kind(seen));
        // FNV-1a, so that every version of Rust agrees.
        let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        Rng::with_seed(hash)
    }

    fn kind(&self, seen: &Seen) -> String {
        let bucket = self.forecast.buckets.get(&seen.bucket);
        let bucket = bucket.unwrap_or(&seen.bucket);
        format!("{} {bucket} {}", seen.operation, seen.key)
    }

    async fn killed(
        self: &Arc<Self>,
        peer: SocketAddr,
        proxy: SocketAddr,
    ) -> Result<Response<Body>, &'static str> {
        let state = self.clone();
        // To its end, though this request is gone as soon as its sender is.
        let killing = tokio::task::spawn_blocking(move || {
            if (state.forecast.killer)(peer, proxy) {
                lock(&state.report).kills += 1;
            }
        });
        killing.await.map_err(|_| "the test ends")?;
        Err("its sender is dead")
    }

    fn note(&self, seen: &Seen, fault: Option<Fault>) {
        let happens = fault.map(|fault| format!(": {}", fault.name()));
        let line = format!("  -> {}{}", self.kind(seen), happens.unwrap_or_default());
        self.forecast.journal.note(&line);
        let mut report = lock(&self.report);
        report.requests += 1;
        if let Some(fault) = fault {
            *report.by_kind.entry(fault.name()).or_default() += 1;
            let operation = seen.operation.clone();
            *report.by_operation.entry(operation).or_default() += 1;
        }
    }
}

impl Fault {
    fn name(self) -> &'static str {
        match self {
            Self::InternalError => "500 InternalError",
            Self::SlowDown => "503 SlowDown",
            Self::ErrorInside200 => "error inside a 200",
            Self::LostRequest => "lost request",
            Self::LostAnswer => "lost answer",
            Self::CutOffAnswer => "cut-off answer",
            Self::SilenceBefore => "silence, nothing done",
            Self::SilenceAfter => "silence, done",
            Self::LateRequest => "late request",
            Self::LateAnswer => "late answer",
            Self::SlowCopy => "slow copy",
            Self::KilledBefore => "kill before a request",
            Self::KilledAfter => "kill after a request",
            Self::KilledLate => "kill, request arrives later",
        }
    }

    fn can_happen_to(self, seen: &Seen) -> bool {
        match self {
            Self::ErrorInside200 => ["CopyObject", "UploadPartCopy", "CompleteMultipartUpload"]
                .iter()
                .any(|copy| seen.is(copy)),
            Self::SlowCopy => SlowCopy::can_make(seen),
            _ => true,
        }
    }
}

/// An error as the request's service words it.
fn refusal(seen: &Seen, fault: Option<Fault>) -> Response<Body> {
    let slow_down = fault == Some(Fault::SlowDown);
    let (status, content_type, said) = match seen.operation.split_once('.') {
        Some(("DynamoDB", _)) => {
            let (status, code) = if slow_down {
                (400, "ProvisionedThroughputExceededException")
            } else {
                (500, "InternalServerError")
            };
            let code = format!("com.amazonaws.dynamodb.v20120810#{code}");
            (status, "application/x-amz-json-1.0", json_error(&code))
        }
        Some(_) => {
            let (status, code) = if slow_down {
                (400, "com.amazonaws.sqs#RequestThrottled")
            } else {
                (500, "com.amazonaws.sqs#InternalFailure")
            };
            (status, "application/x-amz-json-1.0", json_error(code))
        }
        None => {
            let (status, code) = match fault {
                Some(Fault::SlowDown) => (503, "SlowDown"),
                Some(Fault::ErrorInside200) => (200, "InternalError"),
                _ => (500, "InternalError"),
            };
            let said = format!(
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>bad weather</Message></Error>"
            );
            (status, "application/xml", said)
        }
    };
    let mut answer = Response::new(whole(said.into()));
    *answer.status_mut() = StatusCode::from_u16(status).expect("a status");
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}

fn json_error(code: &str) -> String {
    json!({"__type": code, "message": "bad weather"}).to_string()
}

/// The first half of an answer, after which the connection breaks. An answer without a body is lost.
fn cut_off(answer: Response<Bytes>) -> Result<Response<Body>, &'static str> {
    let (mut head, body) = answer.into_parts();
    if body.len() < 2 {
        return Err("the answer is lost");
    }
    head.headers.insert(CONTENT_LENGTH, body.len().into());
    let begins = Ok(Frame::data(body.slice(..body.len() / 2)));
    let breaks = Err(std::io::Error::other("cut off"));
    let body = StreamBody::new(futures::stream::iter([begins, breaks]));
    Ok(Response::from_parts(head, BodyExt::boxed(body)))
}

async fn silence() -> Result<Response<Body>, &'static str> {
    tokio::time::sleep(SILENCE).await;
    Err("nothing was answered")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
