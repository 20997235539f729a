//! Kills and freezes the process at the other end of a connection, if it is a function of this run. Finds processes
//! through `/proc`; without it, finds none.

use std::fs;
use std::path::Path;
use std::process::Command;

use tandem_tests::fault_proxy::{Connection, FrozenProcess, Senders};

use crate::deployment::ENDPOINT_VARIABLES;

/// The functions of this run.
pub struct Functions;

impl Senders for Functions {
    fn kill(&self, connection: Connection) -> bool {
        find(connection).is_some_and(|process| signal("-KILL", &process))
    }

    fn freeze(&self, connection: Connection) -> Option<Box<dyn FrozenProcess>> {
        let process = find(connection).filter(|process| signal("-STOP", process))?;
        let proxy = connection.proxy.port();
        Some(Box::new(Stopped { process, proxy }))
    }
}

/// A function that is stopped.
struct Stopped {
    process: String,
    /// The proxy's port.
    proxy: u16,
}

impl FrozenProcess for Stopped {
    fn ports(&self) -> Vec<u16> {
        let sockets = sockets();
        let of_proxy = sockets.iter().filter(|socket| socket.to == self.proxy);
        of_proxy
            .filter(|socket| holds(&self.process, &socket.file))
            .map(|socket| socket.from)
            .collect()
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        // The function may have been killed meanwhile.
        signal("-CONT", &self.process);
    }
}

/// A connection on this machine.
struct Socket {
    from: u16,
    to: u16,
    /// The name of the connection in the links of `/proc/<pid>/fd`.
    file: String,
}

/// The id of the function's process that has this connection to the proxy.
fn find(Connection { peer, proxy }: Connection) -> Option<String> {
    let ends = (peer.port(), proxy.port());
    let sockets = sockets();
    let socket = sockets
        .iter()
        .find(|socket| (socket.from, socket.to) == ends)?;
    let process = processes().find(|process| holds(process, &socket.file))?;
    // Only the functions of this run use this proxy.
    let endpoint = format!("{}=http://{proxy}", ENDPOINT_VARIABLES[0]);
    is_function(&process, &endpoint).then_some(process)
}

fn signal(name: &str, process: &str) -> bool {
    Command::new("kill")
        .args([name, process])
        .status()
        .is_ok_and(|status| status.success())
}

fn sockets() -> Vec<Socket> {
    let table = fs::read_to_string("/proc/net/tcp").unwrap_or_default();
    let port = |address: &str| u16::from_str_radix(address.split_once(':')?.1, 16).ok();
    let rows = table.lines().filter_map(|row| {
        let fields: Vec<&str> = row.split_whitespace().collect();
        Some(Socket {
            from: port(fields.get(1)?)?,
            to: port(fields.get(2)?)?,
            file: format!("socket:[{}]", fields.get(9)?),
        })
    });
    rows.collect()
}

fn processes() -> impl Iterator<Item = String> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Whether a process has this file open. Other users' processes do not show it.
fn holds(process: &str, file: &str) -> bool {
    let files = fs::read_dir(format!("/proc/{process}/fd"));
    files
        .into_iter()
        .flatten()
        .flatten()
        .any(|entry| fs::read_link(entry.path()).is_ok_and(|target| target == Path::new(file)))
}

fn is_function(process: &str, endpoint: &str) -> bool {
    let Ok(environment) = fs::read(format!("/proc/{process}/environ")) else {
        return false;
    };
    let mut variables = environment.split(|&byte| byte == 0);
    let uses_proxy = variables
        .clone()
        .any(|variable| variable == endpoint.as_bytes());
    uses_proxy && variables.any(|variable| variable.starts_with(b"AWS_LAMBDA_FUNCTION_NAME="))
}
