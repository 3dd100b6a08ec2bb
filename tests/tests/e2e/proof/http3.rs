//! Functions behind HTTP/3, where nginx has it: `scripts/proof` runs this with an nginx that does.

use std::process::Stdio;

use corefn_core::names::header;
use corefn_tests::programs::workspace;
use corefn_tests::{Home, probe};
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

/// Sends requests at once over one connection, and says what was answered.
async fn send(home: &Home, [method, path]: [&str; 2], count: usize, body: &[u8]) -> Vec<Value> {
    let port = home.client().address().port().to_string();
    let mut client = Command::new("python3")
        .arg(workspace().join("tests/http3.py"))
        .args([&port, method, path, &count.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    client.stdin.take().unwrap().write_all(body).await.unwrap();
    let output = client.wait_with_output().await.unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    lines.collect()
}

#[tokio::test]
async fn functions_answer_over_http3() {
    let mut home = Home::builder("http3").without_nginx().start().await;
    let made = Command::new("openssl")
        .args("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost -keyout tls.key -out tls.pem".split(' '))
        .current_dir(home.folder.path())
        .stderr(Stdio::null())
        .status()
        .await;
    assert!(made.unwrap().success());
    let [key, certificate] =
        ["tls.key", "tls.pem"].map(|name| home.folder.file(name).display().to_string());
    home.conf.server = format!(
        "listen {} quic; ssl_certificate {certificate}; ssl_certificate_key {key};",
        home.client().address()
    );
    home.start_nginx().await;
    home.deploy("demo/hello", probe::config()).await;

    // Cold, and many at once.
    let answers = send(&home, ["GET", "/demo/hello/a%2Fb?c=d"], 20, b"").await;
    assert_eq!(answers.len(), 20);
    for answer in &answers {
        assert_eq!(answer["status"], 200, "{answer}");
        let seen: Value = serde_json::from_str(answer["body"].as_str().unwrap()).unwrap();
        assert_eq!(seen["target"], "/a%2Fb?c=d", "{seen}");
        assert_eq!(seen["headers"]["x-forwarded-proto"][0], "https", "{seen}");
        let port = home.client().address().port();
        assert_eq!(
            seen["headers"]["x-forwarded-host"][0],
            format!("localhost:{port}"),
            "{seen}"
        );
    }
    // With bodies, which stream both ways.
    let body = vec![b'x'; 1_000_000];
    let answers = send(&home, ["POST", "/demo/hello/x"], 3, &body).await;
    for answer in &answers {
        let seen: Value = serde_json::from_str(answer["body"].as_str().unwrap()).unwrap();
        assert_eq!(seen["length"], body.len(), "{seen}");
    }
    let answers = send(&home, ["GET", "/demo/hello/download/3000000"], 2, b"").await;
    for answer in &answers {
        assert_eq!(answer["length"], 3_000_000);
    }
    // The platform's errors.
    let answers = send(&home, ["GET", "/demo/other/x"], 1, b"").await;
    assert_eq!(answers[0]["status"], 404);
    let named = &answers[0]["header"][header::ERROR.to_lowercase()];
    assert_eq!(named, "unknown-function", "{answers:?}");
    let log = home.error_log();
    assert!(!log.contains("[alert]"), "{log}");
}
