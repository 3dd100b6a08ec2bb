//! Functions behind HTTP/2: the same answers, and streams that are cancelled give their counts back.

use std::time::{Duration, Instant};

use bytes::Bytes;
use corefn_core::config::FunctionConfig;
use corefn_core::feed::EVENT_STREAM;
use corefn_tests::{Home, pattern, probe, wait_until};
use h2::client::SendRequest;
use h2::{Reason, RecvStream};
use hyper::{Method, Request};
use serde_json::Value;
use tokio::net::UnixStream;
use tokio::task::JoinSet;

const PATIENCE: Duration = Duration::from_secs(30);

/// Far beyond the idle time and a cleaner's round.
const LONG: Duration = Duration::from_secs(6);

/// A connection of HTTP/2. Dropping it closes the socket.
struct Connection {
    requests: SendRequest<Bytes>,
    _task: JoinSet<()>,
}

impl Connection {
    async fn open(home: &Home) -> Self {
        Self::open_with(home, &h2::client::Builder::new()).await
    }

    async fn open_with(home: &Home, builder: &h2::client::Builder) -> Self {
        let socket = UnixStream::connect(home.folder.file("run/h2"))
            .await
            .unwrap();
        let (requests, connection) = builder.handshake(socket).await.unwrap();
        let mut task = JoinSet::new();
        task.spawn(async move {
            // Its end shows in the requests.
            let _ = connection.await;
        });
        Self {
            requests: requests.ready().await.unwrap(),
            _task: task,
        }
    }

    /// Begins a request, whose body is still to come unless it `ends` here.
    fn begin(
        &mut self,
        method: Method,
        path: &str,
        ends: bool,
    ) -> (h2::client::ResponseFuture, h2::SendStream<Bytes>) {
        let uri = format!("http://localhost{path}");
        let request = Request::builder().method(method).uri(uri).body(()).unwrap();
        self.requests.send_request(request, ends).unwrap()
    }

    async fn get(&mut self, path: &str) -> (u16, Bytes) {
        let answer = self.begin(Method::GET, path, true).0.await.unwrap();
        let status = answer.status().as_u16();
        (status, whole(answer.into_body()).await)
    }
}

async fn whole(mut body: RecvStream) -> Bytes {
    let mut bytes = Vec::new();
    while let Some(piece) = body.data().await {
        let piece = piece.unwrap();
        body.flow_control().release_capacity(piece.len()).unwrap();
        bytes.extend_from_slice(&piece);
    }
    bytes.into()
}

async fn start(name: &str) -> Home {
    let mut home = Home::builder(name).without_nginx().start().await;
    let socket = home.folder.file("run/h2");
    home.conf.server = format!(
        "listen unix:{} http2; location = /corefn/status {{ corefn_status; }}",
        socket.display()
    );
    home.start_nginx().await;
    home.start_cleaner(Some(1));
    let config = FunctionConfig {
        idle_ms: Some(2000),
        ..probe::config()
    };
    home.deploy("demo/hello", config).await;
    home
}

#[tokio::test]
async fn answers_are_the_same() {
    let home = start("h2same").await;
    let mut connection = Connection::open(&home).await;
    // Cold, and then warm, many streams at once.
    let mut asked = Vec::new();
    for number in 0..20 {
        let path = format!("/demo/hello/n{number}?a=%2F");
        asked.push((number, connection.begin(Method::GET, &path, true).0));
    }
    for (number, answer) in asked {
        let body = whole(answer.await.unwrap().into_body()).await;
        let seen: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(seen["target"], format!("/n{number}?a=%2F"));
        assert_eq!(seen["version"], "HTTP/1.1");
        assert_eq!(seen["headers"]["host"][0], "localhost");
    }
    // A body that streams both ways.
    let (answer, mut body) = connection.begin(Method::POST, "/demo/hello/upload/two", false);
    body.send_data("first".into(), false).unwrap();
    wait_until("the function sees the first piece", PATIENCE, async || {
        home.get("/demo/hello/seen/two").await.json() == 5
    })
    .await;
    body.send_data(" and last".into(), true).unwrap();
    let seen = whole(answer.await.unwrap().into_body()).await;
    let seen: serde_json::Value = serde_json::from_slice(&seen).unwrap();
    assert_eq!(
        (&seen["length"], &seen["sum"]),
        (&14.into(), &pattern::sum(b"first and last").into())
    );
    let (status, bytes) = connection.get("/demo/hello/download/3000000").await;
    assert_eq!(
        (status, pattern::sum(&bytes)),
        (200, pattern::sum(&pattern::bytes(3_000_000)))
    );
    let answer = connection
        .begin(Method::HEAD, "/demo/hello/download/5000", true)
        .0;
    let answer = answer.await.unwrap();
    assert_eq!(answer.headers()["content-length"], "5000");
    assert!(whole(answer.into_body()).await.is_empty());
    assert_eq!(connection.get("/demo/none/x").await.0, 404);
}

#[tokio::test]
async fn cancelled_streams_give_their_counts_back() {
    let home = start("h2cancel").await;
    let slow = FunctionConfig {
        env: [(probe::MODE.to_owned(), "slow-start:2000".to_owned())].into(),
        idle_ms: Some(2000),
        ..probe::config()
    };
    home.deploy("demo/waiting", slow).await;
    let mut held = home
        .get("/demo/hello/stream/1000/200")
        .open()
        .await
        .unwrap();
    let mut connection = Connection::open(&home).await;
    for _ in 0..3 {
        // While it waits for an instance, for the answer, and within the answer.
        let (_, mut waiting) = connection.begin(Method::GET, "/demo/waiting/x", true);
        let (_, mut before) = connection.begin(Method::GET, "/demo/hello/sleep/3000", true);
        let (answer, mut within) = connection.begin(Method::GET, "/demo/hello/stream/9/3000", true);
        let mut body = answer.await.unwrap().into_body();
        body.data().await.unwrap().unwrap();
        // With the request's body half sent, and as an error.
        let (_, mut upload) = connection.begin(Method::POST, "/demo/hello/upload/a", false);
        upload.send_data("half".into(), false).unwrap();
        wait_until("the function sees the half", PATIENCE, async || {
            home.get("/demo/hello/seen/a").await.json() == 4
        })
        .await;
        for stream in [&mut waiting, &mut before, &mut within, &mut upload] {
            stream.send_reset(Reason::CANCEL);
        }
        // The connection itself goes, with streams on it.
        let mut other = Connection::open(&home).await;
        let (answer, _) = other.begin(Method::GET, "/demo/hello/stream/9/3000", true);
        let (_, _half) = other.begin(Method::POST, "/demo/hello/upload/b", false);
        answer.await.unwrap();
        drop(other);
        assert_eq!(connection.get("/demo/hello/status/200").await.0, 200);
    }
    let begin = Instant::now();
    while begin.elapsed() < LONG {
        assert!(held.next().await.unwrap().is_some(), "it was stopped");
    }
    drop(held);
    for function in ["demo/hello", "demo/waiting"] {
        wait_until(&format!("{function} is stopped"), PATIENCE, async || {
            home.instances(function).await.is_empty()
        })
        .await;
    }
}

#[tokio::test]
async fn streams_outlive_a_reload() {
    let mut home = start("h2reload").await;
    let mut connection = Connection::open(&home).await;
    // nginx says GOAWAY, and finishes what was begun.
    let (answer, _) = connection.begin(Method::GET, "/demo/hello/stream/30/200", true);
    let answer = answer.await.unwrap();
    home.reload().await;
    let lines = whole(answer.into_body()).await;
    assert_eq!(lines.split(|&byte| byte == b'\n').count() - 1, 30);
    wait_until("it is stopped", PATIENCE, async || {
        home.instances("demo/hello").await.is_empty()
    })
    .await;
}

/// A page whose client takes little at a time gets whole messages, and is let go of when it cancels.
#[tokio::test]
async fn page_is_told_in_whole_messages() {
    let home = start("h2page").await;
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(500);
    let mut connection = Connection::open_with(&home, &builder).await;
    let request = Request::builder()
        .uri("http://localhost/corefn/status")
        .header("Accept", EVENT_STREAM)
        .body(())
        .unwrap();
    let (answer, _) = connection.requests.send_request(request, true).unwrap();
    let answer = answer.await.unwrap();
    assert_eq!(answer.status(), 200);
    let mut body = answer.into_body();
    let (mut text, mut told) = (String::new(), Vec::new());
    while told.len() < 4 {
        let piece = body.data().await.unwrap().unwrap();
        assert!(piece.len() <= 500);
        text += str::from_utf8(&piece).unwrap();
        body.flow_control().release_capacity(piece.len()).unwrap();
        while let Some((event, rest)) = text.split_once("\n\n") {
            let json = event.strip_prefix("data: ").unwrap();
            told.push(serde_json::from_str::<Value>(json).unwrap());
            text = rest.to_owned();
        }
    }
    let times = told.iter().map(|it| it["time"].as_u64().unwrap());
    assert!(times.is_sorted());
    // While it waits for room, it is cancelled.
    body.data().await.unwrap().unwrap();
    drop(body);
    home.until_under_way(0).await;
    let (status, _) = connection.get("/demo/hello/status/200").await;
    assert_eq!(status, 200);
    assert_eq!(home.error_log().matches("[alert]").count(), 0);
}
