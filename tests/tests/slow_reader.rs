//! A list of keys is read to its end, however long its reader pauses between two reads. Like S3, the server resets a
//! connection whose client does not read.

#![allow(clippy::expect_used, reason = "a test that cannot go on says why")]

use std::sync::Arc;
use std::time::Duration;

use tandem_aws::s3::job_files::Place;
use tandem_replication::names::{BucketName, Region};
use tandem_replication::s3_uri::S3Uri;
use tandem_tests::memory_pair::clients_at;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// How long the server waits for its client to read.
const PATIENCE: Duration = Duration::from_millis(500);
/// More than the buffers of a connection hold.
const LIST_BYTES: usize = 24 << 20;

/// Starts a server that answers every GET with the requested range of `list`.
async fn serve(list: Arc<Vec<u8>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            tokio::spawn(answer_all(connection, list.clone()));
        }
    });
    format!("http://{address}")
}

async fn answer_all(mut connection: TcpStream, list: Arc<Vec<u8>>) {
    while let Some(head) = read_head(&mut connection).await {
        let range = asked_range(&head);
        let (status, first, end) = match range {
            (None, _) => ("200 OK", 0, list.len()),
            (Some(first), None) => ("206 Partial Content", first, list.len()),
            (Some(first), Some(until)) => ("206 Partial Content", first, list.len().min(until + 1)),
        };
        if first >= list.len() {
            let refusal = "HTTP/1.1 416 Range Not Satisfiable\r\ncontent-length: 0\r\n\r\n";
            if connection.write_all(refusal.as_bytes()).await.is_err() {
                return;
            }
            continue;
        }
        let head = format!(
            "HTTP/1.1 {status}\r\netag: \"e\"\r\ncontent-length: {}\r\ncontent-range: bytes {first}-{}/{}\r\n\r\n",
            end - first,
            end - 1,
            list.len()
        );
        if connection.write_all(head.as_bytes()).await.is_err() {
            return;
        }
        for piece in list[first..end].chunks(64 << 10) {
            // Dropping the connection resets it while the client is still reading.
            match timeout(PATIENCE, connection.write_all(piece)).await {
                Ok(Ok(())) => {}
                _ => return,
            }
        }
    }
}

/// A request up to its empty line; `None` if there are no more requests.
async fn read_head(connection: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(connection.read_u8().await.ok()?);
    }
    String::from_utf8(head).ok()
}

/// The first and the last byte of the requested range, if they are named.
fn asked_range(head: &str) -> (Option<usize>, Option<usize>) {
    let range = head.lines().find_map(|line| {
        let line = line.to_ascii_lowercase();
        line.strip_prefix("range: bytes=").map(str::to_owned)
    });
    let Some((first, last)) = range.as_deref().and_then(|range| range.split_once('-')) else {
        return (None, None);
    };
    (first.parse().ok(), last.parse().ok())
}

async fn place(url: &str) -> Place {
    let uri = S3Uri {
        bucket: BucketName::parse("lists").expect("a name"),
        key: "keys.csv".to_owned(),
    };
    Place::of(&clients_at(url).await, uri, Region::new("us-east-1"))
}

// Promise: A list of keys is read to its end, however long its pages take.
#[tokio::test]
async fn a_reader_may_pause_between_two_reads() {
    let list: Vec<u8> = (0..=250).cycle().take(LIST_BYTES).collect();
    let list = Arc::new(list);
    let place = place(&serve(list.clone()).await).await;
    let from = 7;
    let mut body = place.read("e", from).await.expect("the list");
    let mut read = Vec::new();
    let mut reads = 0;
    while let Some(bytes) = body.next().await.expect("the next bytes") {
        if reads < 3 {
            tokio::time::sleep(3 * PATIENCE).await;
        }
        reads += 1;
        read.extend_from_slice(bytes.as_ref());
    }
    let from = usize::try_from(from).expect("a place");
    assert!(read == list[from..], "{} bytes", read.len());
}

#[tokio::test]
async fn only_a_little_more_than_the_requested_part_of_a_list_is_read() {
    let list = Arc::new(vec![b'x'; 2 << 20]);
    let place = place(&serve(list).await).await;
    let mut body = place
        .read_until("e", 10, Some(1_010))
        .await
        .expect("the list");
    let lengths = [
        body.next()
            .await
            .expect("the part")
            .map(|bytes| bytes.len()),
        body.next().await.expect("beyond").map(|bytes| bytes.len()),
    ];
    assert_eq!(lengths, [Some(1_000), Some(64 << 10)]);
}

#[tokio::test]
async fn a_list_ends_after_its_last_byte_and_an_empty_list_at_once() {
    let list = Arc::new(b"a\nb\n".to_vec());
    let place_of = async |list| place(&serve(list).await).await;
    let place = place_of(list).await;
    for (from, rest) in [(0, &b"a\nb\n"[..]), (3, b"\n"), (4, b"")] {
        let body = place.read("e", from).await.expect("the list");
        assert_eq!(body.all().await.expect("the rest"), rest, "{from}");
    }
    let empty = place_of(Arc::default()).await;
    assert_eq!(empty.read_head("e", 10).await.expect("nothing"), b"");
    let body = empty.read("e", 0).await.expect("the list");
    assert!(body.all().await.expect("nothing").is_empty());
}
