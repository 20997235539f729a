//! Refuses to run the demo unless the address is of this machine, so that it can never reach a real
//! account. No I/O, except that it reads one environment variable.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::error::Error;

/// The variable that names another server than AWS for AWS tools.
const VARIABLE: &str = "AWS_ENDPOINT_URL";

/// The address of a local cloud, such as `http://127.0.0.1:4566`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalEndpoint(String);

impl LocalEndpoint {
    /// Reads the address from the environment, and nothing else: region and credentials are the demo's own.
    pub fn from_environment() -> Result<Self, Error> {
        match std::env::var(VARIABLE) {
            Ok(url) => Self::parse(&url).ok_or_else(|| refusal(&format!("is {url:?}"))),
            Err(_) => Err(refusal("is not set")),
        }
    }

    /// Returns `None` unless the host is certainly this machine.
    pub fn parse(url: &str) -> Option<Self> {
        let rest = url
            .strip_prefix("http://")
            .or_else(|| url.strip_prefix("https://"))?;
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = match authority.strip_prefix('[') {
            Some(bracketed) => {
                let (host, port) = bracketed.split_once(']')?;
                (
                    host,
                    port.strip_prefix(':').or((port.is_empty()).then_some("")),
                )
            }
            None => match authority.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (authority, Some("")),
            },
        };
        let port = port?;
        let port_is_fine = port.is_empty() || port.parse::<u16>().is_ok_and(|port| port > 0);
        (port_is_fine && is_loopback(host)).then(|| Self(url.to_owned()))
    }

    /// Returns the address as it was given.
    pub fn url(&self) -> &str {
        &self.0
    }
}

fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host
            .parse::<Ipv4Addr>()
            .map(IpAddr::from)
            .or_else(|_| host.parse::<Ipv6Addr>().map(IpAddr::from))
            .is_ok_and(|address| address.is_loopback())
}

fn refusal(problem: &str) -> Error {
    Error::Refused(format!(
        "cannot run the demo: {VARIABLE} {problem}; it must be an address of this machine, such as \
         http://127.0.0.1:4566, because the demo runs only in a local cloud, never against AWS.\n\
         Start a local cloud and the demo with: make demo"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_this_machine_are_accepted() {
        for url in [
            "http://127.0.0.1:4566",
            "http://127.0.0.1:4566/",
            "https://127.1.2.3",
            "http://localhost:1",
            "http://LOCALHOST",
            "http://[::1]:4566",
            "http://[::1]",
        ] {
            assert_eq!(LocalEndpoint::parse(url).unwrap().url(), url);
        }
    }

    #[test]
    fn any_other_address_is_refused() {
        for url in [
            "",
            "127.0.0.1:4566",
            "ftp://127.0.0.1",
            "https://s3.us-east-1.amazonaws.com",
            "http://127.0.0.1.example.com",
            "http://127.0.0.1@example.com",
            "http://127.0.0.1:4566@example.com",
            "http://127.0.0.1:0",
            "http://127.0.0.1:99999",
            "http://127.0.0.1/path",
            "http://127.0.0.1\\@example.com",
            "http://127.0.0.1#@example.com",
            "http://localhost.example.com:80",
            "http://0.0.0.0:4566",
            "http://10.0.0.1",
            "http://[::1].example.com",
            "http://[::2]",
            "http://",
            " http://127.0.0.1",
        ] {
            assert_eq!(LocalEndpoint::parse(url), None, "{url}");
        }
    }
}
