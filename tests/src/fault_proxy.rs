//! A proxy between functions and the cloud that makes requests fail in every way in which a network or a service
//! fails, according to a [`FaultPlan`].
//!
//! It simulates only what can happen: a lost request never reaches the cloud; a request whose answer is lost or cut
//! off was carried out; a delayed request arrives within [`LONGEST_DELAY`] or never, even if its sender is dead by
//! then. The clock of every bucket's S3 differs from ours.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::{Bytes, Incoming};
use hyper::http::request::Parts;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use crate::clock_skew::skewed;
use crate::fault_answers::{cut_off, refusal, silence};
use crate::fault_plan::{Fault, FaultPlan};
use crate::journal::Journal;
use crate::proxy::{Body, Seen, Upstream, recognized, whole};
use crate::shorter_waits::ShorterWaits;
use crate::slow_copy::SlowCopy;

/// The longest time from the moment a request leaves its sender until it reaches the cloud.
pub const LONGEST_DELAY: Duration = Duration::from_secs(3);

/// The shortest and the longest time for which a process is frozen. A function drops connections that are idle for
/// longer than 4 seconds.
const FREEZE_SECS: (f64, f64) = (2.0, 6.0);

/// A connection to the proxy: the sender's address, and the proxy's.
#[derive(Debug, Clone, Copy)]
pub struct Connection {
    /// The sender's address.
    pub peer: SocketAddr,
    /// The proxy's address.
    pub proxy: SocketAddr,
}

/// The processes that send requests.
pub trait Senders: Send + Sync {
    /// Kills the process at the other end of a connection. Returns whether it found one.
    fn kill(&self, connection: Connection) -> bool;

    /// Stops the process at the other end of a connection until the returned value is dropped. Returns `None` if it
    /// found no process.
    fn freeze(&self, connection: Connection) -> Option<Box<dyn FrozenProcess>>;
}

/// A process that is stopped. It continues when this is dropped.
pub trait FrozenProcess: Send {
    /// The ports of its connections to the proxy.
    fn ports(&self) -> Vec<u16>;
}

/// The configuration of a [`FaultProxy`].
pub struct Setup {
    /// The plan of the faults.
    pub plan: FaultPlan,
    /// The address of the S3 of a bucket, for buckets that are not in the cloud.
    pub elsewhere: BTreeMap<String, String>,
    /// Shortens the waits of messages.
    pub shorter_waits: ShorterWaits,
    /// Makes copies land later than they read.
    pub slow_copy: SlowCopy,
    /// The processes that can be killed and frozen.
    pub senders: Arc<dyn Senders>,
    /// The journal, which records every request.
    pub journal: Arc<Journal>,
}

/// Counts of what has happened so far.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// The number of all requests.
    pub requests: u64,
    /// How often each fault happened.
    pub faults: BTreeMap<Fault, u64>,
    /// The number of faults by operation.
    pub by_operation: BTreeMap<String, u64>,
    /// How many answers had the time of a clock that differs from ours, by the seconds that it is ahead.
    pub skewed: BTreeMap<i64, u64>,
}

/// The proxy. It ends with the test's runtime.
#[derive(Clone)]
pub struct FaultProxy {
    address: SocketAddr,
    state: Arc<State>,
}

struct State {
    setup: Setup,
    cloud: Upstream,
    elsewhere: HashMap<String, Upstream>,
    is_active: AtomicBool,
    connections: Mutex<HashMap<u16, Arc<Notify>>>,
    report: Mutex<Report>,
}

impl std::fmt::Debug for FaultProxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "fault proxy at {}", self.address)
    }
}

impl FaultProxy {
    /// Starts the proxy before `cloud`. No faults happen until they are [activated](Self::activate).
    pub async fn start(cloud: &str, setup: Setup) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let elsewhere = setup.elsewhere.iter();
        let proxy = Self {
            address: listener.local_addr().expect("an address"),
            state: Arc::new(State {
                cloud: Upstream::new(cloud),
                elsewhere: elsewhere
                    .map(|(bucket, url)| (bucket.clone(), Upstream::new(url)))
                    .collect(),
                setup,
                is_active: AtomicBool::new(false),
                connections: Mutex::default(),
                report: Mutex::default(),
            }),
        };
        let state = proxy.state.clone();
        tokio::spawn(async move {
            while let Ok((connection, peer)) = listener.accept().await {
                tokio::spawn(state.clone().attend(connection, peer));
            }
        });
        proxy
    }

    /// The proxy's address, as `AWS_ENDPOINT_URL_S3` requires it.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Makes faults happen from now on.
    pub fn activate(&self) {
        self.state.is_active.store(true, Ordering::Relaxed);
    }

    /// Stops all faults from now on. Clocks still differ.
    pub fn deactivate(&self) {
        self.state.is_active.store(false, Ordering::Relaxed);
    }

    /// Returns what has happened so far.
    pub fn report(&self) -> Report {
        lock(&self.state.report).clone()
    }

    /// Returns the faults that have not happened yet. Without `/proc`, processes cannot be found; their faults are then
    /// not expected.
    pub fn missing_faults(&self) -> Vec<Fault> {
        let report = lock(&self.state.report);
        let can_find_processes = cfg!(target_os = "linux");
        Fault::all()
            .filter(|fault| can_find_processes || !fault.is_of_process())
            .filter(|fault| !report.faults.contains_key(fault))
            .collect()
    }
}

impl State {
    async fn attend(self: Arc<Self>, stream: TcpStream, peer: SocketAddr) {
        let Ok(proxy) = stream.local_addr() else {
            return;
        };
        // Without this, every answer takes 40 ms.
        if stream.set_nodelay(true).is_err() {
            return;
        }
        let connection = Connection { peer, proxy };
        let end = Arc::new(Notify::new());
        lock(&self.connections).insert(peer.port(), end.clone());
        let service = service_fn(|request| self.clone().serve(request, connection));
        let serving = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        let mut serving = std::pin::pin!(serving);
        // The result is an error if the connection breaks.
        tokio::select! {
            _ = serving.as_mut() => {}
            () = end.notified() => {
                serving.as_mut().graceful_shutdown();
                let _ = serving.await;
            }
        }
        lock(&self.connections).remove(&peer.port());
    }

    async fn serve(
        self: Arc<Self>,
        request: Request<Incoming>,
        connection: Connection,
    ) -> Result<Response<Body>, &'static str> {
        let (head, body) = request.into_parts();
        let body = body
            .collect()
            .await
            .map_err(|_| "the client closed the connection")?;
        let seen = recognized(&head);
        let body = body.to_bytes();
        let is_active = self.is_active.load(Ordering::Relaxed);
        let fault = is_active.then(|| self.setup.plan.next(&seen)).flatten();
        self.note(&seen, fault);
        let Some(fault) = fault else {
            let answer = self.pass(seen, head, body, Duration::ZERO).await;
            return Ok(answer?.map(whole));
        };
        self.fail(fault, &seen, head, body, connection).await
    }

    /// Makes a request fail.
    async fn fail(
        self: &Arc<Self>,
        fault: Fault,
        seen: &Seen,
        head: Parts,
        body: Bytes,
        connection: Connection,
    ) -> Result<Response<Body>, &'static str> {
        let pass = |after| self.pass(seen.clone(), head, body, after);
        let late = LONGEST_DELAY.mul_f64(self.setup.plan.dice(seen, "late").f64());
        let now = Duration::ZERO;
        if !fault.is_of_process() && fault != Fault::SlowCopy {
            self.happened(fault, seen);
        }
        match fault {
            Fault::InternalError | Fault::SlowDown | Fault::ErrorInside200 => {
                Ok(refusal(seen, fault))
            }
            Fault::InternalErrorDone | Fault::ErrorInside200Done => {
                pass(now).await?;
                Ok(refusal(seen, fault))
            }
            Fault::InternalErrorLate | Fault::ErrorInside200Late => {
                // The request arrives although its answer is not awaited.
                drop(pass(late));
                Ok(refusal(seen, fault))
            }
            Fault::LostRequest => Err("the request is lost"),
            Fault::LostAnswer => {
                pass(now).await?;
                Err("the answer is lost")
            }
            Fault::CutOffAnswer => cut_off(pass(now).await?),
            Fault::SilenceBefore => silence().await,
            Fault::SilenceAfter => {
                pass(now).await?;
                silence().await
            }
            Fault::LateRequest => Ok(pass(late).await?.map(whole)),
            Fault::LateAnswer => {
                let answer = pass(now).await?;
                tokio::time::sleep(late).await;
                Ok(answer.map(whole))
            }
            Fault::SlowCopy => match self.slowly(seen.clone(), late).await {
                Some(answer) => {
                    self.happened(fault, seen);
                    Ok(answer.map(whole))
                }
                None => Ok(pass(now).await?.map(whole)),
            },
            Fault::KilledBefore => self.killed(fault, seen, connection).await,
            Fault::KilledAfter => {
                pass(now).await?;
                self.killed(fault, seen, connection).await
            }
            Fault::KilledLate => {
                let killed = self.killed(fault, seen, connection);
                let (killed, _) = futures::join!(killed, pass(late));
                killed
            }
            Fault::Frozen => {
                let (answer, ()) = futures::join!(pass(now), self.frozen(seen, connection));
                Ok(answer?.map(whole))
            }
        }
    }

    /// Passes a request on after a delay, in its own task: a request that has left its process arrives although the
    /// process dies.
    fn pass(
        self: &Arc<Self>,
        seen: Seen,
        head: Parts,
        body: Bytes,
        after: Duration,
    ) -> impl Future<Output = Result<Response<Bytes>, &'static str>> + use<> {
        let state = self.clone();
        let passing = tokio::spawn(async move {
            tokio::time::sleep(after).await;
            let upstream = state.elsewhere.get(&seen.bucket).unwrap_or(&state.cloud);
            let answer = match state.setup.shorter_waits.instead_of(&seen, &body) {
                Some(wait) => wait.ask().await,
                None => upstream.pass(head, body).await,
            };
            let status = answer.as_ref().map_or(0, |answer| answer.status().as_u16());
            let line = format!("  {status} <- {}", state.setup.plan.kind(&seen));
            state.setup.journal.note(&line);
            answer.map(|answer| state.skewed(answer, &seen))
        });
        async move { passing.await.map_err(|_| "the test has ended")? }
    }

    /// Copies slowly, and completes the copy although the sender dies.
    async fn slowly(self: &Arc<Self>, seen: Seen, after: Duration) -> Option<Response<Bytes>> {
        let state = self.clone();
        let copying = tokio::spawn(async move {
            let answer = state.setup.slow_copy.make(&seen, after).await;
            let line = format!("  slow copy <- {}", state.setup.plan.kind(&seen));
            state.setup.journal.note(&line);
            answer.map(|answer| state.skewed(answer, &seen))
        });
        copying.await.ok().flatten()
    }

    /// Changes the times in the answer to those of the clock of its bucket.
    fn skewed(&self, answer: Response<Bytes>, seen: &Seen) -> Response<Bytes> {
        let secs = self.setup.plan.clock_offset_secs(&seen.bucket);
        *lock(&self.report).skewed.entry(secs).or_default() += 1;
        skewed(answer, seen, secs, std::time::SystemTime::now().into())
    }

    async fn killed(
        self: &Arc<Self>,
        fault: Fault,
        seen: &Seen,
        connection: Connection,
    ) -> Result<Response<Body>, &'static str> {
        let (state, seen) = (self.clone(), seen.clone());
        // Runs to its end, although this request ends as soon as its sender is dead.
        let killing = tokio::task::spawn_blocking(move || {
            if state.setup.senders.kill(connection) {
                state.happened(fault, &seen);
            }
        });
        killing.await.map_err(|_| "the test has ended")?;
        Err("its sender is dead")
    }

    /// Freezes the sender for a while and closes its idle connections meanwhile, as a service closes the connections
    /// of a function that Lambda has frozen.
    async fn frozen(self: &Arc<Self>, seen: &Seen, connection: Connection) {
        let (least, most) = FREEZE_SECS;
        let for_secs = least + (most - least) * self.setup.plan.dice(seen, "freeze").f64();
        let (state, seen) = (self.clone(), seen.clone());
        // In its own thread, so that the process continues whatever happens to the request.
        let freezing = tokio::task::spawn_blocking(move || {
            let Some(frozen) = state.setup.senders.freeze(connection) else {
                return;
            };
            state.happened(Fault::Frozen, &seen);
            let mut idle = frozen.ports();
            idle.retain(|port| *port != connection.peer.port());
            for port in idle {
                if let Some(end) = lock(&state.connections).get(&port) {
                    end.notify_one();
                }
            }
            std::thread::sleep(Duration::from_secs_f64(for_secs));
        });
        // It panics only if the test ends.
        let _ = freezing.await;
    }

    fn note(&self, seen: &Seen, fault: Option<Fault>) {
        let happens = fault.map(|fault| format!(": {}", fault.name()));
        let kind = self.setup.plan.kind(seen);
        let line = format!("  -> {kind}{}", happens.unwrap_or_default());
        self.setup.journal.note(&line);
        lock(&self.report).requests += 1;
    }

    fn happened(&self, fault: Fault, seen: &Seen) {
        let mut report = lock(&self.report);
        *report.faults.entry(fault).or_default() += 1;
        let operation = seen.operation.clone();
        *report.by_operation.entry(operation).or_default() += 1;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
