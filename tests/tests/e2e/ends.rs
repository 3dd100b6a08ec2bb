//! However a request ends, it gives its count back, and once.
//!
//! On each function a stream is held while requests end. A count given back twice would have its
//! instance stopped under the stream, one not given back would keep it for ever.

use std::time::{Duration, Instant};

use corefn_core::config::FunctionConfig;
use corefn_tests::client::Stream;
use corefn_tests::{Home, probe, wait_until};
use hyper::Method;
use tokio::task::JoinSet;

/// Far beyond the idle time and a cleaner's round.
const LONG: Duration = Duration::from_secs(6);

const PATIENCE: Duration = Duration::from_secs(30);

/// How often each kind of end comes.
const TIMES: usize = 3;

fn config() -> FunctionConfig {
    FunctionConfig {
        idle_ms: Some(2000),
        ..probe::config()
    }
}

/// Functions, each with a stream that keeps it busy.
struct Held<'a> {
    home: &'a Home,
    streams: Vec<(String, Stream)>,
}

impl<'a> Held<'a> {
    async fn deploy(home: &'a Home, names: &[&str]) -> Self {
        let mut streams = Vec::new();
        for name in names {
            home.deploy(&format!("demo/{name}"), config()).await;
            let path = format!("/demo/{name}/stream/1000/200");
            let stream = home.get(&path).open().await.unwrap();
            assert_eq!(stream.status, 200, "{name}");
            streams.push(((*name).to_owned(), stream));
        }
        Self { home, streams }
    }

    /// Sends the beginning of a request, and closes the connection when nginx works on it.
    async fn abort(&self, request: &str) {
        // The one before has ended.
        self.home.until_under_way(self.streams.len()).await;
        let mut connection = self.home.client().connect().await;
        connection.write(request).await;
        self.home.until_under_way(self.streams.len() + 1).await;
    }

    /// Checks that all are kept for as long as the streams are open, and no longer.
    async fn let_go(self) {
        let mut reading = JoinSet::new();
        for (name, mut stream) in self.streams {
            reading.spawn(async move {
                let begin = Instant::now();
                while begin.elapsed() < LONG {
                    let piece = stream.next().await.unwrap();
                    assert!(piece.is_some(), "{name} was stopped");
                }
                name
            });
        }
        let names = reading.join_all().await;
        for name in names {
            wait_until(&format!("{name} is stopped"), PATIENCE, async || {
                let left = self.home.instances(&format!("demo/{name}")).await;
                left.is_empty()
            })
            .await;
        }
    }
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n")
}

#[tokio::test]
async fn clients_go_away() {
    let mut home = Home::start("aborts").await;
    home.start_cleaner(Some(1));
    let names = ["before", "header", "body", "upload", "early", "pipeline"];
    let held = Held::deploy(&home, &names).await;
    let slow = FunctionConfig {
        env: [(probe::MODE.to_owned(), "slow-start:2000".to_owned())].into(),
        ..config()
    };
    home.deploy("demo/waiting", slow).await;
    for _ in 0..TIMES {
        held.abort(&get("/demo/waiting/x")).await;
        held.abort(&get("/demo/before/sleep/2000")).await;
        for path in ["/demo/header/stream/9/2000", "/demo/body/download/20000000"] {
            let mut stream = home.get(path).open().await.unwrap();
            assert!(stream.next().await.unwrap().is_some());
        }
        let upload =
            "POST /demo/upload/upload/a HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\nabc";
        held.abort(upload).await;
        // The answer is there before the body is: both sides end at once.
        let early = "POST /demo/early/break HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc";
        home.client().connect().await.write(early).await;
        let pipelined = get("/demo/pipeline/x") + &get("/demo/pipeline/sleep/2000");
        held.abort(&(pipelined + &get("/demo/pipeline/x"))).await;
    }
    held.let_go().await;
    wait_until("what nobody waited for is stopped", PATIENCE, async || {
        home.instances("demo/waiting").await.is_empty()
    })
    .await;
}

#[tokio::test]
async fn functions_break_off() {
    let mut home = Home::start("breaks").await;
    home.start_cleaner(Some(1));
    let held = Held::deploy(&home, &["none", "half", "during"]).await;
    for _ in 0..TIMES {
        assert_eq!(home.get("/demo/none/break").await.status, 502);
        assert!(home.get("/demo/half/break/100000").send().await.is_err());
        let (request, mut upload) = home
            .client()
            .request(Method::POST, "/demo/during/upload/a")
            .upload();
        let answer = tokio::spawn(request.send());
        upload.send("first").await.unwrap();
        answer.abort();
    }
    held.let_go().await;
}

/// A location in which functions are served, beside what `lines` say.
fn functions(location: &str, lines: &str) -> String {
    format!(
        "location {location} {{ {lines} corefn on; proxy_pass http://functions$corefn_uri; \
         include corefn/proxy.conf; }}\n"
    )
}

#[tokio::test]
async fn requests_are_redirected_within_nginx() {
    let server = [
        functions("@function", ""),
        functions("@other", "rewrite ^ /demo/other/x break;"),
        "location /demo/tried/ { try_files /none @function; }\n".to_owned(),
        functions("/demo/twice/", "try_files /none @function;"),
        "location /rewritten/ { rewrite ^/rewritten/(.*)$ /demo/rewritten/$1 last; }\n".to_owned(),
        functions(
            "/demo/failing/",
            "proxy_intercept_errors on; error_page 503 = @other;",
        ),
        functions(
            "/demo/refusing/",
            "proxy_intercept_errors on; error_page 503 =200 /demo/page/x;",
        ),
        "location /missing/ { root /nonexistent; error_page 404 =200 /demo/missing/x; }\n"
            .to_owned(),
        // A page that nginx itself has.
        functions(
            "/demo/static/",
            "proxy_intercept_errors on; error_page 503 =200 @static;",
        ),
        "location @static { return 200 static; }\n".to_owned(),
    ];
    let mut home = Home::builder("redirects")
        .server(&server.concat())
        .start()
        .await;
    home.start_cleaner(Some(1));
    let names = [
        "tried",
        "twice",
        "rewritten",
        "failing",
        "other",
        "refusing",
        "page",
        "missing",
        "static",
    ];
    let held = Held::deploy(&home, &names).await;
    for _ in 0..TIMES {
        for (path, want) in [
            ("/demo/tried/x", "/x"),
            ("/demo/twice/x", "/x"),
            ("/rewritten/x", "/x"),
            ("/demo/failing/status/503", "/x"),
            ("/demo/refusing/status/503", "/x"),
            ("/missing/x", "/x"),
        ] {
            let answer = home.get(path).await;
            assert_eq!(answer.status, 200, "{path}: {}", answer.text());
            assert_eq!(answer.json()["target"], want, "{path}");
        }
        let answer = home.get("/demo/static/status/503").await;
        assert_eq!((answer.status, &*answer.text()), (200, "static"));
        // The client goes away while the second of the two works.
        held.abort(&get("/demo/tried/sleep/1000")).await;
        held.abort(&get("/demo/twice/sleep/1000")).await;
    }
    held.let_go().await;
}

#[tokio::test]
async fn functions_are_asked_by_subrequests() {
    let server = [
        functions("/demo/guarded/", "auth_request /demo/auth/status/204;"),
        functions("/demo/barred/", "auth_request /demo/auth/status/403;"),
        functions("/demo/mirrored/", "mirror /demo/mirror/x;"),
        functions(
            "/demo/added/",
            "add_before_body /demo/part/status/200; add_after_body /demo/part/status/201; \
             addition_types *;",
        ),
        "location /page.html { root html; ssi on; }\n".to_owned(),
    ];
    let mut home = Home::builder("subrequests")
        .server(&server.concat())
        .start()
        .await;
    let include = |path: &str| format!("<!--#include virtual=\"{path}\" -->");
    std::fs::create_dir(home.folder.file("html")).unwrap();
    home.folder.write(
        "html/page.html",
        include("/demo/part/status/200") + &include("/demo/part/sleep/100") + "end\n",
    );
    home.start_cleaner(Some(1));
    // Those that are asked come first: streams of the others ask them too.
    let names = ["auth", "mirror", "part", "guarded", "mirrored", "added"];
    home.deploy("demo/barred", config()).await;
    let held = Held::deploy(&home, &names).await;
    for _ in 0..TIMES {
        let answer = home.get("/demo/guarded/status/200").await;
        assert_eq!((answer.status, &*answer.text()), (200, "status 200\n"));
        assert_eq!(home.get("/demo/barred/x").await.status, 403);
        assert_eq!(home.get("/demo/mirrored/x").await.json()["target"], "/x");
        let answer = home.get("/demo/added/status/200").await;
        assert_eq!(answer.text(), "status 200\nstatus 200\nstatus 201\n");
        let answer = home.get("/page.html").await;
        assert_eq!(answer.text(), "status 200\nslept\nend\n");
        held.abort(&get("/page.html")).await;
        held.abort(&get("/demo/added/sleep/1000")).await;
    }
    held.let_go().await;
}
