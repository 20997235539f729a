//! Kills the process at the other end of a connection in the middle of its work: a function of this run,
//! and nothing else. It finds processes by `/proc`; where there is none, nobody is killed.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use crate::deployment::ENDPOINT_VARIABLES;

/// Kills who is connected from `peer` to `proxy`. Answers whether there was one.
pub fn kill(peer: SocketAddr, proxy: SocketAddr) -> bool {
    let Some(socket) = socket(peer, proxy) else {
        return false;
    };
    let Some(process) = processes().find(|process| holds(process, &socket)) else {
        return false;
    };
    // Only the functions of this run are told to use this proxy.
    let told = format!("{}=http://{proxy}", ENDPOINT_VARIABLES[0]);
    if !is_function(&process, &told) {
        return false;
    }
    Command::new("kill")
        .args(["-KILL", &process])
        .status()
        .is_ok_and(|status| status.success())
}

/// The peer's end of the connection as the links of `/proc/<pid>/fd` name it.
fn socket(peer: SocketAddr, proxy: SocketAddr) -> Option<String> {
    let (from, to) = (
        format!(":{:04X}", peer.port()),
        format!(":{:04X}", proxy.port()),
    );
    let table = fs::read_to_string("/proc/net/tcp").ok()?;
    table.lines().find_map(|row| {
        let fields: Vec<&str> = row.split_whitespace().collect();
        let inode = fields.get(9)?;
        (fields[1].ends_with(&from) && fields[2].ends_with(&to))
            .then(|| format!("socket:[{inode}]"))
    })
}

fn processes() -> impl Iterator<Item = String> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Whether a process has this file open. Others' processes do not tell.
fn holds(process: &str, file: &str) -> bool {
    let files = fs::read_dir(format!("/proc/{process}/fd"));
    files
        .into_iter()
        .flatten()
        .flatten()
        .any(|entry| fs::read_link(entry.path()).is_ok_and(|target| target == Path::new(file)))
}

fn is_function(process: &str, told: &str) -> bool {
    let Ok(environment) = fs::read(format!("/proc/{process}/environ")) else {
        return false;
    };
    let mut variables = environment.split(|&byte| byte == 0);
    let is_told = variables
        .clone()
        .any(|variable| variable == told.as_bytes());
    is_told && variables.any(|variable| variable.starts_with(b"AWS_LAMBDA_FUNCTION_NAME="))
}
