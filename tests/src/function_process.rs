//! One function's own binary, run by the test: it gets its invocations from the test's Runtime API, and its AWS
//! requests go to an address that the test chooses. The test can kill it at any moment.
//!
//! The interface is Lambda's "Runtime API" for custom runtimes, version 2018-06-01.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, oneshot};

use crate::cloud::{Cloud, EAST, FunctionError};
use crate::proxy::Proxy;

/// The trace header of every invocation. Lambda sends one even if tracing is off. It counts the invocations of a chain
/// of events (Lambda developer guide, "Use Lambda recursive loop detection to prevent infinite loops").
pub const TRACE: &str = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=0;Lineage=1:0123abcd:0";
/// The time limit of an invocation that is reported to the function.
const TIMEOUT: Duration = Duration::from_mins(10);
/// How long a test waits for an answer.
const PATIENCE: Duration = Duration::from_mins(2);

/// A running function.
#[derive(Debug)]
pub struct FunctionProcess {
    name: String,
    child: Mutex<Child>,
    runtime: Arc<RuntimeApi>,
    log: PathBuf,
    _folder: tempfile::TempDir,
}

/// How to start a function.
#[derive(Debug, Clone)]
pub struct Start {
    name: String,
    variables: BTreeMap<String, String>,
    binary: PathBuf,
}

/// The result of an invocation. The code is `Killed` if the process ended before its answer.
type Answer = Result<Value, FunctionError>;

#[derive(Debug)]
struct RuntimeApi {
    timeout: Duration,
    send: mpsc::UnboundedSender<(String, Value)>,
    next: tokio::sync::Mutex<mpsc::UnboundedReceiver<(String, Value)>>,
    waiting: Mutex<HashMap<String, oneshot::Sender<Answer>>>,
}

impl Start {
    /// Uses the environment that the template gives the deployed function, with the local cloud as its address of AWS.
    pub async fn of(cloud: &Cloud, name: &str) -> Self {
        let mut variables = cloud.variables(name).await;
        for (variable, value) in [
            ("AWS_ENDPOINT_URL", cloud.endpoint.as_str()),
            ("AWS_REGION", EAST),
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
            ("AWS_EC2_METADATA_DISABLED", "true"),
            ("AWS_CONFIG_FILE", "/nowhere"),
            ("AWS_SHARED_CREDENTIALS_FILE", "/nowhere"),
            ("AWS_LAMBDA_FUNCTION_NAME", name),
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256"),
            ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
            ("RUST_LOG", "debug,hyper=info,hyper_util=info,aws=info"),
        ] {
            variables.insert(variable.to_owned(), value.to_owned());
        }
        Self {
            name: name.to_owned(),
            variables,
            binary: deployed(name),
        }
    }

    /// Runs another file instead of the deployed one.
    #[must_use]
    pub fn running(self, binary: PathBuf) -> Self {
        Self { binary, ..self }
    }

    /// Sends every request to AWS through `proxy`.
    #[must_use]
    pub fn through(self, proxy: &Proxy) -> Self {
        self.variable("AWS_ENDPOINT_URL", proxy.url())
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn variable(mut self, name: &str, value: impl Into<String>) -> Self {
        self.variables.insert(name.to_owned(), value.into());
        self
    }

    /// Starts the function.
    pub async fn start(self) -> FunctionProcess {
        let (runtime, address) = RuntimeApi::start(TIMEOUT).await;
        let folder = tempfile::tempdir().expect("a folder");
        let log = folder.path().join("log");
        let file = std::fs::File::create(&log).expect("a log");
        let child = Command::new(&self.binary)
            .env_clear()
            .envs(&self.variables)
            .env("AWS_LAMBDA_RUNTIME_API", address.to_string())
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("a log"))
            .stderr(file)
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}; run `make test`", self.binary.display()));
        FunctionProcess {
            name: self.name,
            child: Mutex::new(child),
            runtime,
            log,
            _folder: folder,
        }
    }
}

/// The file that is deployed.
fn deployed(name: &str) -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target"),
        PathBuf::from,
    );
    target.join("lambda").join(name).join("bootstrap")
}

impl FunctionProcess {
    /// Invokes the function and waits for the answer.
    pub async fn invoke(&self, payload: Value) -> Answer {
        let answer = tokio::time::timeout(PATIENCE, self.begin(payload)).await;
        answer.unwrap_or_else(|_| {
            panic!(
                "{} did not answer within {PATIENCE:?}; its log:\n{}",
                self.name,
                self.log()
            )
        })
    }

    /// Invokes the function now. The caller can wait for the answer later.
    pub fn begin(&self, payload: Value) -> impl Future<Output = Answer> + use<> {
        let answer = self.runtime.push(payload);
        async move {
            answer.await.unwrap_or_else(|_| {
                Err(FunctionError {
                    code: "Killed".to_owned(),
                    message: String::new(),
                })
            })
        }
    }

    /// Invokes the function with an empty batch. Every function answers it, if only with a refusal, without requests.
    pub async fn wake(&self) {
        let _ = self.invoke(json!({"Records": []})).await;
    }

    /// The process's id.
    pub fn id(&self) -> u32 {
        let child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        child.id().expect("a process that has not been waited for")
    }

    /// Ends the process at once, whatever it is doing.
    pub fn kill(&self) {
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        child.start_kill().expect("a process that can be killed");
        self.runtime.waiting().clear();
    }

    /// The log so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl RuntimeApi {
    async fn start(timeout: Duration) -> (Arc<Self>, SocketAddr) {
        let (send, next) = mpsc::unbounded_channel();
        let runtime = Arc::new(Self {
            timeout,
            send,
            next: tokio::sync::Mutex::new(next),
            waiting: Mutex::default(),
        });
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let served = runtime.clone();
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                connection.set_nodelay(true).expect("TCP_NODELAY");
                let runtime = served.clone();
                tokio::spawn(async move {
                    let service = service_fn(|request| runtime.serve(request));
                    // The result is an error if the process is killed.
                    let _ = http1::Builder::new()
                        .serve_connection(TokioIo::new(connection), service)
                        .await;
                });
            }
        });
        (runtime, address)
    }

    fn push(&self, payload: Value) -> oneshot::Receiver<Answer> {
        let (send, answer) = oneshot::channel();
        let id = crate::cloud::unique("request");
        self.waiting().insert(id.clone(), send);
        self.send
            .send((id, payload))
            .expect("the runtime API answers");
        answer
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, HashMap<String, oneshot::Sender<Answer>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn serve(
        &self,
        request: Request<Incoming>,
    ) -> Result<Response<Full<Bytes>>, hyper::Error> {
        let path = request.uri().path().to_owned();
        let body = request.into_body().collect().await?.to_bytes();
        let document = || serde_json::from_slice(&body).unwrap_or(Value::Null);
        let mut rest = path.rsplit('/');
        let (last, id) = (
            rest.next().unwrap_or_default(),
            rest.next().unwrap_or_default(),
        );
        match last {
            "next" => return Ok(self.next_invocation().await),
            "response" => self.answer(id, Ok(document())),
            "error" => self.answer(id, Err(FunctionError::read(&document()))),
            _ => {}
        }
        let mut accepted = Response::new(Full::from("{}"));
        *accepted.status_mut() = StatusCode::ACCEPTED;
        Ok(accepted)
    }

    async fn next_invocation(&self) -> Response<Full<Bytes>> {
        let Some((id, payload)) = self.next.lock().await.recv().await else {
            // All senders are gone, because the test has ended.
            return std::future::pending().await;
        };
        let deadline = (SystemTime::now() + self.timeout)
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        Response::builder()
            .header("Lambda-Runtime-Aws-Request-Id", id)
            .header(
                "Lambda-Runtime-Deadline-Ms",
                deadline.as_millis().to_string(),
            )
            .header(
                "Lambda-Runtime-Invoked-Function-Arn",
                "arn:aws:lambda:us-east-1:000000000000:function:test",
            )
            .header("Lambda-Runtime-Trace-Id", TRACE)
            .header("Content-Type", "application/json")
            .body(Full::from(payload.to_string()))
            .expect("an invocation")
    }

    fn answer(&self, id: &str, answer: Answer) {
        if let Some(waiting) = self.waiting().remove(id) {
            // The test may have stopped waiting.
            let _ = waiting.send(answer);
        }
    }
}
