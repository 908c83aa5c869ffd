//! Malformed and unusual HTTP and TLS: each request has one defined response, and the next client is served.

use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::ServerName;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::rig::{NAME, Server, read_to_end, roomy, server, soon};

const GOOD: &str = "POST /mutate HTTP/1.1\r\nHost: rolegate.example\r\nContent-Type: application/json\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}";

/// A request of this path with these header lines, and what follows its head.
fn post(path: &str, headers: &str, rest: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: {NAME}\r\nContent-Type: application/json\r\n{headers}\r\n{rest}")
}

fn chunked(rest: &str) -> String {
    post("/mutate", "Transfer-Encoding: chunked\r\n", rest)
}

/// The status codes of all responses to these bytes and to the good request that follows them on the same connection.
async fn codes(server: &Server, bytes: &[u8]) -> Vec<u16> {
    let (mut reader, mut writer) = tokio::io::split(server.client().stream().await);
    let bytes = [bytes, GOOD.as_bytes()].concat();
    // The server can answer and close before it has received everything.
    let writing = async {
        if writer.write_all(&bytes).await.is_ok() {
            let _ = writer.flush().await;
        }
    };
    let (answers, ()) = tokio::join!(read_to_end(&mut reader), writing);
    let statuses = answers.split("HTTP/1.").skip(1);
    statuses.map(|status| status[2..5].parse().unwrap()).collect()
}

#[tokio::test]
async fn each_request_has_one_answer_and_the_next_client_is_served() {
    let server = server(roomy()).await;
    let padding = |bytes| format!("Content-Length: 2\r\nX-Padding: {}\r\n", "x".repeat(bytes));
    let many: String = (0..2_000).map(|number| format!("X-{number}: x\r\n")).collect();
    let trailers: String = (0..10_000).map(|number| format!("X-{number}: x\r\n")).collect();
    let good = post("/mutate", "Content-Length: 2\r\n", "{}");
    let smuggled = "POST /nothing HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n";
    let length = smuggled.len() + 5;
    // The last 200 is that of the good request on the same connection; without it, the server has closed the connection.
    let table: Vec<(&str, String, &[u16])> = vec![
        ("a head of 31 KB", post("/mutate", &padding(30_000), "{}"), &[200, 200]),
        ("a head over 32 KiB", post("/mutate", &padding(40_000), "{}"), &[431]),
        ("a head of 1 MB", post("/mutate", &padding(1_000_000), "{}"), &[431]),
        ("2,000 headers", post("/mutate", &many, ""), &[431]),
        (
            "a path of 70 KB",
            post(
                &format!("/mutate/{}", "x".repeat(70_000)),
                "Content-Length: 2\r\n",
                "{}",
            ),
            &[431],
        ),
        (
            "Content-Length and Transfer-Encoding: the latter counts, and the connection ends",
            post(
                "/mutate",
                "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n",
                "2\r\n{}\r\n0\r\n\r\n",
            ),
            &[200],
        ),
        (
            "Transfer-Encoding and Content-Length",
            post(
                "/mutate",
                "Transfer-Encoding: chunked\r\nContent-Length: 2\r\n",
                "2\r\n{}\r\n0\r\n\r\n",
            ),
            &[200],
        ),
        (
            "a request in the part of the body that only Content-Length counts",
            post(
                "/mutate",
                &format!("Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n"),
                &format!("0\r\n\r\n{smuggled}"),
            ),
            &[200],
        ),
        (
            "two lengths",
            post("/mutate", "Content-Length: 2\r\nContent-Length: 3\r\n", "{} "),
            &[400],
        ),
        (
            "a list of lengths",
            post("/mutate", "Content-Length: 2, 3\r\n", "{} "),
            &[400],
        ),
        (
            "a negative length",
            post("/mutate", "Content-Length: -1\r\n", ""),
            &[400],
        ),
        (
            "a length over 64 bits",
            post("/mutate", "Content-Length: 18446744073709551616\r\n", ""),
            &[400],
        ),
        (
            "an unknown transfer coding",
            post("/mutate", "Transfer-Encoding: xchunked\r\n", "{}"),
            &[400],
        ),
        (
            "a transfer coding after chunked",
            post("/mutate", "Transfer-Encoding: chunked, gzip\r\n", "{}"),
            &[400],
        ),
        (
            "pipelined requests are answered in order",
            format!("{good}{}{good}", post("/nothing", "Content-Length: 2\r\n", "{}")),
            &[200, 404, 200, 200],
        ),
        ("HTTP/1.0", GOOD.replace("HTTP/1.1", "HTTP/1.0"), &[200]),
        ("HTTP/1.2", GOOD.replace("HTTP/1.1", "HTTP/1.2"), &[400]),
        ("HTTP/2.0 as a version", GOOD.replace("HTTP/1.1", "HTTP/2.0"), &[400]),
        (
            "the preface of HTTP/2",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(),
            &[],
        ),
        (
            "an upgrade to h2c",
            post(
                "/mutate",
                "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\nContent-Length: 2\r\n",
                "{}",
            ),
            &[200, 200],
        ),
        (
            "an upgrade to a websocket",
            post(
                "/mutate",
                "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nContent-Length: 2\r\n",
                "{}",
            ),
            &[200, 200],
        ),
        ("lines that end with LF only", good.replace("\r\n", "\n"), &[200, 200]),
        (
            "a folded header",
            post("/mutate", "X-A: a\r\n b\r\nContent-Length: 2\r\n", "{}"),
            &[400],
        ),
        (
            "a blank before a colon",
            post("/mutate", "Content-Length : 2\r\n", "{}"),
            &[400],
        ),
        (
            "NUL in a header",
            post("/mutate", "X-A: a\0b\r\nContent-Length: 2\r\n", "{}"),
            &[400],
        ),
        (
            "CR in a header",
            post("/mutate", "X-A: a\rb\r\nContent-Length: 2\r\n", "{}"),
            &[400],
        ),
        (
            "a chunk size over 64 bits",
            chunked("fffffffffffffffff\r\n{}\r\n0\r\n\r\n"),
            &[400],
        ),
        ("a negative chunk size", chunked("-2\r\n{}\r\n0\r\n\r\n"), &[400]),
        ("a chunk size with 0x", chunked("0x2\r\n{}\r\n0\r\n\r\n"), &[400]),
        ("an empty chunk size", chunked("\r\n{}\r\n0\r\n\r\n"), &[400]),
        (
            "a chunk that is longer than its size",
            chunked("1\r\n{}\r\n0\r\n\r\n"),
            &[400],
        ),
        ("chunk extensions", chunked("2;a=b\r\n{}\r\n0\r\n\r\n"), &[200, 200]),
        (
            "30 KB of chunk extensions",
            chunked(&format!("2;{}\r\n{{}}\r\n0\r\n\r\n", "x".repeat(30_000))),
            &[400],
        ),
        (
            "trailers, also those that a head could have",
            chunked("2\r\n{}\r\n0\r\nContent-Length: 9\r\nX-Checksum: 1\r\n\r\n"),
            &[200, 200],
        ),
        (
            "10,000 trailers",
            chunked(&format!("2\r\n{{}}\r\n0\r\n{trailers}\r\n")),
            &[400],
        ),
        (
            "CONNECT",
            format!("CONNECT {NAME}:443 HTTP/1.1\r\nHost: {NAME}\r\n\r\n"),
            &[404, 200],
        ),
        (
            "CONNECT to a path",
            format!("CONNECT /mutate HTTP/1.1\r\nHost: {NAME}\r\n\r\n"),
            &[405, 200],
        ),
        ("TRACE", post("/mutate", "", "").replace("POST", "TRACE"), &[405, 200]),
        (
            "a method of 3,000 letters",
            post("/mutate", "", "").replace("POST", &"A".repeat(3_000)),
            &[405, 200],
        ),
        (
            "a path that begins with two slashes",
            post("//mutate", "Content-Length: 2\r\n", "{}"),
            &[404, 200],
        ),
        (
            "an encoded letter",
            post("/%6dutate", "Content-Length: 2\r\n", "{}"),
            &[404, 200],
        ),
        (
            "segments that go up",
            post("/validate/../mutate", "Content-Length: 2\r\n", "{}"),
            &[404, 200],
        ),
        (
            "encoded segments that go up",
            post("/validate/%2e%2e/mutate", "Content-Length: 2\r\n", "{}"),
            &[404, 200],
        ),
        (
            "the absolute form",
            post("http://other.example/mutate", "Content-Length: 2\r\n", "{}"),
            &[200, 200],
        ),
        (
            "the absolute form of another path",
            post("http://other.example/no", "Content-Length: 2\r\n", "{}"),
            &[404, 200],
        ),
        ("an asterisk", post("*", "Content-Length: 2\r\n", "{}"), &[404, 200]),
        ("no path", post("", "Content-Length: 2\r\n", "{}"), &[400]),
        ("not HTTP", "\x16\x03\x01\x00\x05hello\r\n\r\n".to_owned(), &[400]),
    ];
    let mut wrong = Vec::new();
    for (what, bytes, expected) in table {
        let found = codes(&server, bytes.as_bytes()).await;
        if found != expected {
            wrong.push(format!("{what}: {found:?} instead of {expected:?}"));
        }
        assert!(server.client().is_served().await, "after {what}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    server.until_open(0).await;
}

/// A ClientHello of this version, with the cipher suites of TLS 1.1 and 1.2 that servers accept.
fn client_hello(version: [u8; 2]) -> Vec<u8> {
    let suites = [0xc0, 0x2b, 0xc0, 0x2f, 0xc0, 0x09, 0xc0, 0x13, 0xc0, 0x0a, 0xc0, 0x14];
    let groups = [0x00, 0x0a, 0x00, 0x04, 0x00, 0x02, 0x00, 0x17];
    let points = [0x00, 0x0b, 0x00, 0x02, 0x01, 0x00];
    let signatures = [0x00, 0x0d, 0x00, 0x06, 0x00, 0x04, 0x04, 0x03, 0x02, 0x03];
    let extended_master_secret = [0x00, 0x17, 0x00, 0x00];
    let extensions = [&groups[..], &points, &signatures, &extended_master_secret].concat();
    let length = |bytes: &[u8]| u16::try_from(bytes.len()).unwrap().to_be_bytes();
    let mut hello = [&version[..], &[7; 32], &[0], &length(&suites), &suites, &[1, 0]].concat();
    hello.extend([&length(&extensions)[..], &extensions].concat());
    let mut handshake = vec![0x01, 0x00];
    handshake.extend([&length(&hello)[..], &hello].concat());
    [&[0x16, 0x03, 0x01][..], &length(&handshake), &handshake].concat()
}

/// The type of the record that answers this ClientHello: 0x15 is an alert, 0x16 a ServerHello.
async fn answer_to(server: &Server, version: [u8; 2]) -> u8 {
    use tokio::io::AsyncReadExt as _;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(&client_hello(version)).await.unwrap();
    soon(stream.read_u8()).await.unwrap()
}

#[tokio::test]
async fn tls_1_0_and_1_1_are_refused() {
    let server = server(roomy()).await;
    assert_eq!(
        answer_to(&server, [3, 3]).await,
        0x16,
        "TLS 1.2, with the same ClientHello"
    );
    assert_eq!(answer_to(&server, [3, 2]).await, 0x15, "TLS 1.1");
    assert_eq!(answer_to(&server, [3, 1]).await, 0x15, "TLS 1.0");
    assert!(server.client().is_served().await);
}

#[tokio::test]
async fn alpn_selects_http_1_1_only() {
    let server = server(roomy()).await;
    let mut roots = RootCertStore::empty();
    roots.add(server.certificate.der()).unwrap();
    for (offered, selected) in [
        (&["h2", "http/1.1"][..], Some("http/1.1")),
        (&["http/1.1"], Some("http/1.1")),
        (&["h2"], None),
    ] {
        let mut config =
            rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_root_certificates(roots.clone())
                .with_no_client_auth();
        config.alpn_protocols = offered.iter().map(|name| name.as_bytes().to_vec()).collect();
        let stream = TcpStream::connect(server.address).await.unwrap();
        let name = ServerName::try_from(NAME).unwrap();
        let connected = soon(TlsConnector::from(Arc::new(config)).connect(name, stream)).await;
        let found = connected
            .ok()
            .and_then(|stream| stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec));
        assert_eq!(found.as_deref(), selected.map(str::as_bytes), "{offered:?}");
    }
    assert!(server.client().is_served().await);
}
