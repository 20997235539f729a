//! Whether the flows may run at all: only against an address of this machine, so that they can never
//! reach a real account. No I/O but reading one variable of the environment.

use std::net::IpAddr;

use hyper::Uri;

/// Where AWS clients are told about another server than AWS.
const VARIABLE: &str = "AWS_ENDPOINT_URL";
/// Where the second, stricter S3 is.
const STRICT_S3_VARIABLE: &str = "TANDEM_STRICT_S3_URL";

/// The local cloud's address, such as `http://127.0.0.1:4566`.
///
/// # Panics
/// If the environment names none, or one that may not be this machine's.
pub fn from_environment() -> String {
    checked(std::env::var(VARIABLE).ok())
}

/// The stricter S3's address.
///
/// # Panics
/// As [`from_environment`] does.
pub fn strict_s3_from_environment() -> String {
    checked(std::env::var(STRICT_S3_VARIABLE).ok())
}

/// The address, if it is certainly this machine's.
///
/// # Panics
/// If it is not.
pub fn checked(url: Option<String>) -> String {
    match url {
        Some(url) if is_loopback(&url) => url,
        Some(url) => {
            panic!("{VARIABLE} is {url:?}, which is no address of this machine: run `make test`")
        }
        None => {
            panic!("{VARIABLE} is not set, so this could reach a real account: run `make test`")
        }
    }
}

fn is_loopback(url: &str) -> bool {
    let Ok(uri) = url.parse::<Uri>() else {
        return false;
    };
    let Some(authority) = uri.authority() else {
        return false;
    };
    uri.scheme_str() == Some("http")
        && !authority.as_str().contains('@')
        && (authority.host() == "localhost"
            || authority
                .host()
                .trim_matches(['[', ']'])
                .parse::<IpAddr>()
                .is_ok_and(|address| address.is_loopback()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_this_machine_are_taken() {
        for url in [
            "http://127.0.0.1:4566",
            "http://localhost:1",
            "http://[::1]:4566",
        ] {
            assert!(is_loopback(url), "{url}");
        }
        for url in [
            "",
            "127.0.0.1:4566",
            "https://s3.us-east-1.amazonaws.com",
            "http://127.0.0.1.example.com",
            "http://127.0.0.1@example.com",
            "http://example.com@127.0.0.1",
            "http://0.0.0.0:4566",
            "http://10.0.0.1",
        ] {
            assert!(!is_loopback(url), "{url}");
        }
    }

    #[test]
    #[should_panic(expected = "run `make test`")]
    fn without_a_local_cloud_nothing_runs() {
        checked(None);
    }

    #[test]
    #[should_panic(expected = "run `make test`")]
    fn against_aws_nothing_runs() {
        checked(Some("https://s3.us-east-1.amazonaws.com".to_owned()));
    }
}
