//! A server at the address that CloudFormation sends with a request. It records the answers that functions put there.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpListener;

/// The server. It ends with the test's runtime.
#[derive(Debug, Clone)]
pub struct Answers {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    refusals: Vec<u16>,
    put: Vec<Put>,
}

/// An answer that was put.
#[derive(Debug, Clone)]
pub struct Put {
    /// The path and the query.
    pub target: String,
    /// `Content-Type`, if the request has it.
    pub content_type: Option<String>,
    /// The length of the body.
    pub bytes: usize,
    /// The body.
    pub document: Value,
}

impl Answers {
    /// Starts a server.
    pub async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let answers = Self {
            address: listener.local_addr().expect("an address"),
            state: Arc::default(),
        };
        let served = answers.clone();
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                let answers = served.clone();
                tokio::spawn(async move {
                    let service = service_fn(|request| answers.serve(request));
                    // The result is an error if the client closes the connection.
                    let _ = http1::Builder::new()
                        .serve_connection(TokioIo::new(connection), service)
                        .await;
                });
            }
        });
        answers
    }

    /// An address as CloudFormation sends it, with a signature.
    pub fn url(&self) -> String {
        format!(
            "http://{}/arn%3Aaws%3Acloudformation/stack%7CRule?X-Amz-Signature=1%2F2",
            self.address
        )
    }

    /// Answers the next requests with these statuses.
    pub fn refuse(&self, statuses: &[u16]) {
        self.state().refusals.extend(statuses);
    }

    /// The answers that were put, in the order in which they arrived.
    pub fn put(&self) -> Vec<Put> {
        self.state().put.clone()
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn serve(
        &self,
        request: Request<Incoming>,
    ) -> Result<Response<Full<Bytes>>, hyper::Error> {
        assert_eq!(request.method(), "PUT");
        let target = request.uri().to_string();
        let content_type = request.headers().get("content-type");
        let content_type = content_type.map(|value| value.to_str().expect("text").to_owned());
        let body = request.into_body().collect().await?.to_bytes();
        let mut answer = Response::new(Full::default());
        let mut state = self.state();
        if state.refusals.is_empty() {
            state.put.push(Put {
                target,
                content_type,
                bytes: body.len(),
                document: serde_json::from_slice(&body).expect("JSON"),
            });
        } else {
            *answer.status_mut() = state.refusals.remove(0).try_into().expect("a status");
        }
        Ok(answer)
    }
}
