//! Paths that are no plain ones.

use corefn_tests::{Home, probe};

/// What a path gets.
enum Gets {
    /// The function answers, and has seen this.
    Target(&'static str),
    /// An error of the platform.
    Error(u16, &'static str),
    /// An error of nginx's own.
    Nginx(u16),
}
use Gets::{Error, Nginx, Target};

const PATHS: &[(&str, Gets)] = &[
    // Dots that leave the prefix lead to where they lead.
    ("/demo/hello/../other", Error(404, "unknown-function")),
    (
        "/demo/hello/../../etc/passwd",
        Error(404, "unknown-function"),
    ),
    ("/demo/hello/..", Error(404, "unknown-function")),
    ("/../../etc/passwd", Nginx(400)),
    ("/demo/hello/../../../x", Nginx(400)),
    ("/demo/hello/%2e%2e/other", Error(404, "unknown-function")),
    ("/demo/hello/%2e%2e%2fother", Error(404, "unknown-function")),
    ("/demo/hello/..%2f..%2f..%2fx", Nginx(400)),
    // Dots within it are the function's to read.
    ("/demo/hello/a/../b", Target("/a/../b")),
    ("/demo/hello/./a", Target("/./a")),
    ("/demo/hello/%2e/a", Target("/%2e/a")),
    ("/demo/hello/a/%2e%2e/b", Target("/a/%2e%2e/b")),
    // The prefix is spelled plainly or not at all.
    ("/demo/x/../hello/a", Error(400, "bad-path")),
    ("/demo/./hello/a", Error(400, "bad-path")),
    ("//demo/hello", Error(400, "bad-path")),
    ("/demo//hello", Error(400, "bad-path")),
    ("/demo/%68ello", Error(400, "bad-path")),
    ("/%64emo/hello/a", Error(400, "bad-path")),
    ("/demo%2Fhello/a", Error(400, "bad-path")),
    ("/demo/hello%2Fa", Error(400, "bad-path")),
    // NUL and broken escapes are nginx's to refuse.
    ("/demo/hello/%00", Nginx(400)),
    ("/demo/hello%00/x", Nginx(400)),
    ("/demo/hello/%", Nginx(400)),
    ("/demo/hello/%zz", Nginx(400)),
    ("/demo/hello/%2", Nginx(400)),
    // A fragment doesn't belong in a request; nginx cuts it off.
    ("/demo/hello/a?b#c", Target("/a?b#c")),
    // The whole URL, as to a proxy.
    ("http://localhost/demo/hello/a%2Fb?c", Target("/a%2Fb?c")),
];

#[tokio::test]
async fn odd_paths() {
    let home = Home::start("odd").await;
    home.deploy("demo/hello", probe::config()).await;
    let mut wrong = Vec::new();
    for (path, gets) in PATHS {
        let answer = home.client().raw_get(path).await;
        let got = (answer.status, answer.error());
        let right = match gets {
            Target(target) => got == (200, None) && answer.json()["target"] == *target,
            Error(status, code) => got == (*status, Some(code)),
            Nginx(status) => got == (*status, None),
        };
        if !right {
            wrong.push(format!("{path}: {got:?} {}", answer.text()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn long_paths() {
    let home = Home::start("long").await;
    home.deploy("demo/hello", probe::config()).await;
    // nginx's buffer for the request line has 8 KB.
    let long = "x".repeat(8000);
    let answer = home.client().raw_get(format!("/demo/hello/{long}")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.json()["target"], format!("/{long}"));
    let deep = "/a".repeat(4000);
    let answer = home.client().raw_get(format!("/demo/hello{deep}")).await;
    assert_eq!(answer.json()["target"], deep);
    let answer = home
        .client()
        .raw_get(format!("/demo/hello/{}", "x".repeat(9 << 10)))
        .await;
    assert_eq!((answer.status, answer.error()), (414, None));
    let answer = home
        .client()
        .raw_get(format!("/{}", "x/".repeat(4000)))
        .await;
    assert_eq!(
        (answer.status, answer.error()),
        (404, Some("unknown-function"))
    );
}

#[tokio::test]
async fn bytes_that_are_no_text() {
    let home = Home::start("bytes").await;
    home.deploy("demo/hello", probe::config()).await;
    for path in [&b"/demo/\xff\xfe"[..], b"/\x80/\x81", b"/demo/hello\xff"] {
        let answer = home.client().raw_get(path).await;
        assert_eq!(
            (answer.status, answer.error()),
            (404, Some("unknown-function")),
            "{path:?}"
        );
    }
    let answer = home.client().raw_get(b"/demo/hello/\xff\xfe?\xc3").await;
    assert_eq!(answer.json()["target"], "/\u{ff}\u{fe}?\u{c3}");
}
