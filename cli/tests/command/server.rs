//! A server on loopback that answers as a test says, in place of AWS. I/O: one thread per connection.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::thread;

/// A request that the command sent.
pub struct Request {
    pub method: String,
    /// Path and query, as sent.
    pub target: String,
    /// The headers' lines, as sent.
    pub headers: String,
    pub body: String,
}

/// The server's answer.
pub struct Response {
    status: u16,
    headers: Vec<u8>,
    body: String,
}

impl Response {
    pub fn new(status: u16, body: impl Into<String>) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: body.into(),
        }
    }

    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        let parts = [name.as_bytes(), b": ", value.as_ref(), b"\r\n"];
        self.headers.extend(parts.concat());
        self
    }

    /// Returns S3's answer to a HEAD of an object of this many bytes. It has no body.
    pub fn head(bytes: u64, etag: &str) -> Self {
        let length = bytes.to_string();
        Self::new(200, "")
            .header("Content-Length", length)
            .header("ETag", format!("\"{etag}\""))
    }

    /// Closes the connection without an answer.
    pub fn broken_off() -> Self {
        Self::new(0, "")
    }

    /// A Lambda function error.
    pub fn function_error(code: &str, message: &str) -> Self {
        let body = serde_json::json!({"errorType": code, "errorMessage": message});
        Self::new(200, body.to_string()).header("X-Amz-Function-Error", "Unhandled")
    }
}

/// The server's address, and functions that run the command against it.
pub struct Server {
    url: String,
}

impl Server {
    /// Starts the server, which runs until the test's process ends.
    pub fn start(answer: impl Fn(&Request) -> Response + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let answer = Arc::new(answer);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let answer = Arc::clone(&answer);
                thread::spawn(move || serve(&stream.unwrap(), &*answer));
            }
        });
        Self { url }
    }

    pub fn run(&self, line: &str) -> Output {
        self.command(line).output().unwrap()
    }

    pub fn command(&self, line: &str) -> Command {
        let mut command = tandem(line);
        command
            .env("AWS_ENDPOINT_URL", &self.url)
            .env("AWS_REGION", "us-east-1")
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test");
        command
    }
}

/// The command, without this machine's own AWS configuration.
pub fn tandem(line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tandem"));
    command
        .args(line.split_whitespace())
        .env_clear()
        .env("AWS_CONFIG_FILE", "/dev/null")
        .env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn serve(stream: &TcpStream, answer: &dyn Fn(&Request) -> Response) {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    if reader.read_line(&mut head).unwrap_or(0) == 0 {
        return;
    }
    let mut words = head.split(' ').map(str::to_owned);
    let (method, target) = (words.next().unwrap(), words.next().unwrap());
    let mut length = 0;
    let mut headers = String::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        if line.trim().is_empty() {
            break;
        }
        headers.push_str(&line);
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let request = Request {
        method,
        target,
        headers,
        body: String::from_utf8(body).unwrap(),
    };
    let response = answer(&request);
    if response.status == 0 {
        return;
    }
    let mut sent = format!(
        "HTTP/1.1 {} Answer\r\nConnection: close\r\n",
        response.status
    )
    .into_bytes();
    sent.extend(&response.headers);
    if request.method == "HEAD" {
        sent.extend(b"\r\n");
    } else {
        let length = response.body.len();
        sent.extend(format!("Content-Length: {length}\r\n\r\n{}", response.body).into_bytes());
    }
    // Sending fails if the test has ended the command.
    let _ = (&*stream).write_all(&sent);
}
