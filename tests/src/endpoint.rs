//! Checks that the flows run only against an address of this machine, so that they can never reach a real account.
//! No I/O except reading the environment.

use std::net::IpAddr;

use hyper::Uri;

/// The variable that directs AWS clients to another server than AWS.
const VARIABLE: &str = "AWS_ENDPOINT_URL";
/// The variable with the address of the second, stricter S3.
const STRICT_S3_VARIABLE: &str = "TANDEM_STRICT_S3_URL";

/// The local cloud's address, such as `http://127.0.0.1:4566`.
///
/// # Panics
/// If the environment has no such address, or one that may not be of this machine.
pub fn from_environment() -> String {
    checked(std::env::var(VARIABLE).ok())
}

/// The address of the stricter S3.
///
/// # Panics
/// As [`from_environment`] does.
pub fn strict_s3_from_environment() -> String {
    checked(std::env::var(STRICT_S3_VARIABLE).ok())
}

/// Returns the address if it is certainly of this machine.
///
/// # Panics
/// If it is not.
pub fn checked(url: Option<String>) -> String {
    match url {
        Some(url) if is_loopback(&url) => url,
        Some(url) => {
            panic!(
                "{VARIABLE} is {url:?}, which is not an address of this machine: run `make test`"
            )
        }
        None => {
            panic!(
                "{VARIABLE} is not set, so the tests could reach a real account: run `make test`"
            )
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
    fn only_addresses_of_this_machine_are_accepted() {
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
