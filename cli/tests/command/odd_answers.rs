//! Rare answers of S3 that HTTP and XML allow: none of them stops `verify`.

use serde_json::Value;

use crate::server::{Request, Response, Server};
use crate::{exit, object, page, rule, stderr, stdout};

/// Starts a stack and both buckets; `head` answers a HEAD by its path, `list` a listing by its bucket.
fn stack(
    list: impl Fn(&str) -> Response + Send + Sync + 'static,
    head: impl Fn(&str) -> Response + Send + Sync + 'static,
) -> Server {
    Server::start(move |request: &Request| {
        if request.target.contains("configure-rule") {
            return Response::new(200, serde_json::json!({ "rule": rule() }).to_string());
        }
        let path = request.target.split('?').next().unwrap();
        if request.method == "HEAD" {
            return head(path);
        }
        list(path.trim_matches('/'))
    })
}

/// Three keys whose listings do not show whether they are equal.
fn with_other_etags(bucket: &str) -> Response {
    let etag = if bucket == "photos" {
        "source"
    } else {
        "replica"
    };
    page(&["a", "m", "z"].map(|key| object(key, 3, etag)), None)
}

fn marked() -> Response {
    Response::head(3, "replica").header("x-amz-meta-tandem-source-etag", "source")
}

fn found(output: &std::process::Output) -> Value {
    serde_json::from_str(&stdout(output)).unwrap_or_else(|_| panic!("{}", stderr(output)))
}

// Promise: A key is replicated and compared whatever bytes HTTP allows in its source's headers: a header that cannot be
// read counts as absent, and a key whose header cannot be sent fails alone, with a reason that names the header.
#[test]
fn headers_that_are_not_text_or_not_dates_do_not_stop_a_comparison() {
    let server = stack(with_other_etags, |path| match path {
        "/replica/m" => marked()
            .header(
                "Content-Disposition",
                b"attachment; filename=\"1 \xa9.jpg\"",
            )
            .header("Content-Disposition", "twice")
            .header("Expires", b"\xe9t\xe9")
            .header("Last-Modified", "yesterday")
            .header("x-amz-meta-artist", [0xff, 0xfe])
            .header("x-amz-mp-parts-count", "many"),
        _ => marked(),
    });
    let output = server.run("verify photos --output json");
    assert_eq!(exit(&output), 0, "{}", stderr(&output));
    assert_eq!(found(&output)["same"], 3);
}

// Promise: A command ends with exit code 0 only if all is done that it reports as done.
#[test]
fn a_key_that_may_not_be_read_is_not_compared_and_all_others_are() {
    for answer in [403, 400, 405] {
        let server = stack(with_other_etags, move |path| match path {
            "/replica/m" => Response::new(answer, ""),
            _ => marked(),
        });
        let output = server.run("verify photos --output json");
        assert_eq!(exit(&output), 1, "{}", stderr(&output));
        let found = found(&output);
        assert_eq!(
            (&found["same"], &found["equal"]),
            (&2.into(), &false.into())
        );
        assert_eq!(found["not_compared"], 1);
        let difference = &found["differences"][0];
        assert_eq!(difference["key"], "m");
        assert_eq!(difference["kind"], "not_compared");
        let problem = difference["problem"].as_str().unwrap();
        assert!(problem.contains(&format!("HTTP {answer}")), "{problem}");
        let output = server.run("verify photos");
        assert!(
            stdout(&output).contains("as far as they were compared"),
            "{}",
            stdout(&output)
        );
        assert!(
            stderr(&output).contains("could not be compared"),
            "{}",
            stderr(&output)
        );
    }
}

#[test]
fn objects_whose_etag_or_size_a_listing_does_not_show_are_compared_by_head() {
    let shown = |fields: &str| format!("<Contents><Key>a</Key>{fields}</Contents>");
    for fields in ["<Size>3</Size>", "<ETag>&quot;e&quot;</ETag>", ""] {
        for (replica, code) in [("e", 0), ("other", 1)] {
            let listing = shown(fields);
            let server = stack(
                move |_| page(std::slice::from_ref(&listing), None),
                move |path| match path {
                    "/photos/a" => Response::head(3, "e"),
                    _ => Response::head(3, replica),
                },
            );
            let output = server.run("verify photos");
            assert_eq!(
                exit(&output),
                code,
                "{fields} {replica}: {}",
                stderr(&output)
            );
        }
    }
}

// Promise: A replica whose metadata leave no room for the source's `ETag` is recognised by its size, its metadata and
// its time: it was written after its source.
#[test]
fn a_replica_whose_metadata_leave_no_room_for_the_mark_is_recognised() {
    let with_metadata = |bytes: usize, etag: &str, at: &str| {
        Response::head(3, etag)
            .header("x-amz-meta-m", "v".repeat(bytes - 1))
            .header("x-amz-server-side-encryption", "aws:kms")
            .header("Last-Modified", format!("Sun, 22 Nov 2026 21:00:{at} GMT"))
    };
    for (bytes, at, code) in [
        (2_043, "02", 0),
        // The replica is as old as its source.
        (2_043, "01", 1),
        // The replica has other metadata.
        (2_042, "02", 1),
    ] {
        let server = stack(with_other_etags, move |path| {
            match path.strip_prefix("/photos/") {
                Some(_) => with_metadata(2_043, "source", "01"),
                None => with_metadata(bytes, "replica", at),
            }
        });
        let output = server.run("verify photos");
        assert_eq!(exit(&output), code, "{bytes} {at}: {}", stdout(&output));
    }
}
