//! A function is proxied to as plain nginx would: the same bytes are sent to a `proxy_pass` with
//! the container's address and to the function's location, and the answers must be the same bytes,
//! with what the function saw in them.

use std::path::PathBuf;
use std::time::Duration;

use corefn_core::config::FunctionConfig;
use corefn_core::names::header;
use corefn_tests::{Home, probe};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::{sleep, timeout};

/// Between two pieces of a request, so that they arrive one by one.
const PAUSE: Duration = Duration::from_millis(50);

const PATIENCE: Duration = Duration::from_secs(30);

/// Requests, each in the pieces in which it is sent. The last one of each connection closes it.
fn exchanges() -> Vec<Vec<String>> {
    let one = |text: String| vec![text];
    let mut all = Vec::new();
    for method in [
        "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "PROPFIND", "MKCOL", "LOCK",
        "TRACE", "CONNECT", "PURGE", "M-SEARCH", "FOO_BAR", "get", "G@T",
    ] {
        all.push(one(request(method, "x?a=%2F&b=c%20d", "", "")));
        all.push(one(request(method, "x", "Content-Length: 5\r\n", "World")));
    }
    for target in [
        "", "a%2Fb", "a/../b", "a//b", "%41", "%", "a b", "?", "#x", "é",
    ] {
        all.push(one(request("GET", target, "", "")));
    }
    for (fields, body) in [
        ("Content-Length: 0\r\n", ""),
        ("Content-Length: 5\r\nContent-Length: 5\r\n", "World"),
        (
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            "0\r\n\r\n",
        ),
        ("Content-Length: x\r\n", "World"),
        ("Transfer-Encoding: chunked\r\n", "5\r\nWorld\r\n0\r\n\r\n"),
        (
            "Transfer-Encoding: chunked\r\n",
            "5;a=b\r\nWorld\r\n0\r\n\r\n",
        ),
        (
            "Transfer-Encoding: chunked\r\nTrailer: X-A\r\n",
            "5\r\nWorld\r\n0\r\nX-A: b\r\n\r\n",
        ),
        ("Transfer-Encoding: gzip\r\n", "World"),
        ("Expect: 100-continue\r\nContent-Length: 5\r\n", "World"),
        (
            "Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n",
            "5\r\nWorld\r\n0\r\n\r\n",
        ),
        ("Expect: the-unexpected\r\n", ""),
        ("Range: bytes=0-3\r\n", ""),
        (
            "If-None-Match: \"x\"\r\nIf-Modified-Since: Thu, 01 Jan 1970 00:00:00 GMT\r\n",
            "",
        ),
        ("Connection: X-Private\r\nX-Private: 1\r\n", ""),
        (
            "TE: trailers\r\nKeep-Alive: 5\r\nProxy-Connection: close\r\nProxy: evil\r\n",
            "",
        ),
        (
            "X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Proto: https\r\nForwarded: for=x\r\n",
            "",
        ),
        (
            "Cookie: a=b\r\nCookie: c=d\r\nX-Empty:\r\nX_Under: 1\r\n",
            "",
        ),
        ("Upgrade: h2c\r\nConnection: upgrade, close\r\n", ""),
        (
            "Authorization: Basic eDp5\r\nAccept-Encoding: gzip, br\r\n",
            "",
        ),
    ] {
        all.push(one(request("POST", "x", fields, body)));
        // Header and body apart.
        all.push(vec![request("POST", "x", fields, ""), body.to_owned()]);
    }
    for (count, length) in [(90, 10), (1, 7_000), (4, 7_000), (1, 40_000)] {
        let field = |number| format!("X-{number}: {}\r\n", "y".repeat(length));
        let fields: String = (0..count).map(field).collect();
        all.push(one(request("GET", "x", &fields, "")));
    }
    for path in [
        "status/200",
        "status/204",
        "status/304",
        "status/404",
        "status/500",
        "status/503",
        "stream/3/50",
        "trailers",
        "download/0",
        "download/300000",
        "break/100000",
        "header/X-Accel-Redirect/%2Fsecret",
        "header/Set-Cookie/a=b",
        "header/Server/other",
        "header/Connection/close",
        "header/Content-Encoding/gzip",
        &format!("header/{}/fake", header::ERROR),
    ] {
        all.push(one(request("GET", path, "", "")));
        // (What breaks off sends a part of its body after all. nginx has taken the answer for whole by then, and the next request
        // on that connection may find the rest: on either side, as chance has it.)
        if !path.starts_with("break/") {
            all.push(one(request("HEAD", path, "", "")));
        }
    }
    let long = "z".repeat(9_000);
    all.push(one(request(
        "GET",
        &format!("header/X-Long/{}", &long[..6000]),
        "",
        "",
    )));
    all.push(one(request("GET", &long, "", "")));
    for version in ["1.0", "1.1", "2.0", "0.9", "1.2"] {
        let host = "X-Request-Id: one\r\nHost: h\r\n";
        all.push(one(format!(
            "GET /demo/hello/x HTTP/{version}\r\n{host}Connection: close\r\n\r\n"
        )));
        all.push(one(format!(
            "GET /demo/hello/stream/3/50 HTTP/{version}\r\n{host}Connection: close\r\n\r\n"
        )));
    }
    all.push(one(
        "GET /demo/hello/x HTTP/1.0\r\nX-Request-Id: one\r\n\r\n".to_owned(),
    ));
    all.push(one(
        "GET /demo/hello/x HTTP/1.1\r\nConnection: close\r\n\r\n".to_owned(),
    ));
    all.push(one("GET /demo/hello/status/200\r\n".to_owned()));
    // Kept-alive and pipelined, with bodies that nobody reads between them.
    let kept = |path: &str, fields: &str, body: &str| {
        request("POST", path, fields, body).replace("Connection: close\r\n", "")
    };
    all.push(vec![
        kept("x", "Content-Length: 5\r\n", "World")
            + &kept("status/204", "Content-Length: 1\r\n", "x"),
        request("GET", "x", "", ""),
    ]);
    // An answer while the body is still to come.
    all.push(vec![
        request("POST", "early", "Content-Length: 100000\r\n", "first"),
        "second".to_owned(),
    ]);
    // Pieces of a body, one by one.
    let pieces = ["5\r\nfirst\r\n", "4\r\nnext\r\n", "0\r\n\r\n"].map(str::to_owned);
    let head = request("PUT", "upload/pieces", "Transfer-Encoding: chunked\r\n", "");
    all.push([vec![head], pieces.to_vec()].concat());
    let upgrade =
        "GET /demo/hello/ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n";
    all.push([upgrade, "one", "two"].map(str::to_owned).to_vec());
    all
}

fn request(method: &str, path: &str, fields: &str, body: &str) -> String {
    format!(
        "{method} /demo/hello/{path} HTTP/1.1\r\nHost: Some.Host:81\r\nX-Request-Id: one\r\n\
         {fields}Connection: close\r\n\r\n{body}"
    )
}

/// Sends the pieces, closes the sending half, and returns all that comes.
async fn exchange(socket: &PathBuf, pieces: &[String]) -> Vec<u8> {
    let (mut reader, mut writer) = UnixStream::connect(socket).await.unwrap().into_split();
    let reading = tokio::spawn(async move {
        let mut bytes = Vec::new();
        // A reset is an end too.
        let _ = reader.read_to_end(&mut bytes).await;
        bytes
    });
    for piece in pieces {
        // Who has answered already may not read on.
        let _ = writer.write_all(piece.as_bytes()).await;
        sleep(PAUSE).await;
    }
    // A client that closes its half is gone, to nginx: so only an upgraded connection is.
    if pieces[0].contains("Upgrade: echo") {
        writer.shutdown().await.unwrap();
    }
    timeout(PATIENCE, reading)
        .await
        .unwrap_or_else(|_| panic!("no end of {pieces:?} at {}", socket.display()))
        .unwrap()
}

/// The answers of a connection, each without what differs from one second to the next, and without the borders of
/// chunks: they are how much nginx had read at the time.
fn normalized(bytes: &[u8]) -> String {
    // No function's answer has these words in its body.
    const BEGIN: &str = "HTTP/1.1 ";
    let text: String = bytes.iter().map(|&byte| char::from(byte)).collect();
    let answers: Vec<_> = text.split(BEGIN).map(normalized_answer).collect();
    answers.join(BEGIN)
}

fn normalized_answer(text: &str) -> String {
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return text.to_owned();
    };
    let lines = head.split("\r\n");
    let lines: Vec<&str> = lines.filter(|line| !line.starts_with("Date: ")).collect();
    let head = lines.join("\n");
    let body = if head.contains("\nTransfer-Encoding: chunked") {
        joined(body)
    } else {
        body.to_owned()
    };
    format!("{head}\n\n{body}")
}

/// The data of chunks in one piece, and behind it, as it is, whatever is not a chunk: after the last there is nothing.
fn joined(chunks: &str) -> String {
    let (mut data, mut rest) = (String::new(), chunks);
    loop {
        let chunk = rest.split_once("\r\n").and_then(|(size, behind)| {
            let size = usize::from_str_radix(size, 16).ok()?;
            let end = behind.get(size..)?.strip_prefix("\r\n")?;
            Some((&behind[..size], end))
        });
        match chunk {
            Some(("", end)) => return data + end,
            Some((piece, end)) => {
                data += piece;
                rest = end;
            }
            None => return format!("{data}\n(no whole chunk) {rest}"),
        }
    }
}

#[test]
fn chunks_are_joined() {
    let of = |body: &str| {
        normalized(format!("H\r\nTransfer-Encoding: chunked\r\n\r\n{body}").as_bytes())
    };
    let whole = "H\nTransfer-Encoding: chunked\n\nab\ncd\n";
    assert_eq!(of("3\r\nab\n\r\n3\r\ncd\n\r\n0\r\n\r\n"), whole);
    assert_eq!(of("6\r\nab\ncd\n\r\n0\r\n\r\n"), whole);
    assert_ne!(of("3\r\nab\n\r\n3\r\ncd\n\r\n"), whole);
    assert_ne!(of("6\r\nab\ncd\n\r\n0\r\n\r\nx"), whole);
    assert_ne!(of("6\r\nab\ncd"), whole);
}

/// A second may pass between the answers of the two sides, to whichever request on the connection.
#[test]
fn dates_are_left_out() {
    let of = |second: &str| {
        let answer = format!("HTTP/1.1 200 OK\r\nDate: {second}\r\nX: y\r\n\r\nbody");
        normalized(format!("HTTP/1.1 100 Continue\r\n\r\n{answer}{answer}").as_bytes())
    };
    assert_eq!(of("36"), of("37"));
    assert_eq!(of("").matches("X: y\n\nbody").count(), 2);
    assert_eq!(of("").matches("HTTP/1.1 ").count(), 3);
}

#[tokio::test]
async fn answers_are_those_of_plain_nginx() {
    let mut home = Home::builder("same").workers(1).start().await;
    let config = FunctionConfig {
        idle_ms: Some(600_000),
        ..probe::config()
    };
    home.deploy("demo/hello", config).await;
    assert_eq!(home.get("/demo/hello/x").await.status, 200);
    let instances = home.store.instances().await.unwrap();
    let address = &instances[0].instance.address;
    let functions = home.folder.file("run/functions");
    let plain = home.folder.file("run/plain");
    home.conf.server = format!("listen unix:{};", functions.display());
    home.conf.http = format!(
        "upstream plain {{ server {address}; keepalive 64; }}
         map $request_uri $plain_uri {{ ~^/demo/hello(/.*)$ $1; }}
         server {{
             listen unix:{};
             server_name localhost;
             client_max_body_size 64m;
             location /demo/hello/ {{
                 proxy_pass http://plain$plain_uri;
                 include corefn/proxy.conf;
                 proxy_set_header X-Forwarded-Prefix /demo/hello;
             }}
         }}",
        plain.display()
    );
    home.reload().await;
    let mut different = Vec::new();
    for pieces in exchanges() {
        let (want, got) = tokio::join!(exchange(&plain, &pieces), exchange(&functions, &pieces));
        let (want, got) = (normalized(&want), normalized(&got));
        if want != got {
            let request: String = pieces.concat().chars().take(300).collect();
            different.push(format!("{request}\nplain nginx:\n{want}\nfunction:\n{got}"));
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n======\n"));
}
