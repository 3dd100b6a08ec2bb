//! The examples of nginx's configuration, as they are but for ports and paths: what they refuse wakes nothing.

use std::fs;
use std::process::Command;
use std::time::Duration;

use corefn_tests::client::Client;
use corefn_tests::port::Port;
use corefn_tests::programs::workspace;
use corefn_tests::{Home, probe, wait_until};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(20);

/// An installation with an example, as it is or changed, its port, and a function.
async fn start(name: &str, change: impl Fn(String) -> String) -> (Home, Client, Port) {
    let port = Port::reserve();
    let path = workspace().join(format!("nginx-conf/examples/{name}.conf"));
    let text = fs::read_to_string(&path).unwrap();
    let mut home = Home::builder(&format!("example{name}").replace('-', ""))
        .workers(1)
        .without_nginx()
        .start()
        .await;
    let folder = home.folder.path().display().to_string();
    let text = ["/etc/nginx/tls", "/var/cache/nginx", "/var/log/nginx"]
        .iter()
        .fold(text, |text, path| text.replace(path, &folder));
    let address = port.address().to_string();
    let text = text
        .replace("listen 80;", &format!("listen {address};"))
        .replace("listen 443 ssl;", &format!("listen {address} ssl;"));
    assert!(text.contains(&address), "{text}");
    home.conf.http = change(text);
    if name == "mtls" {
        certify(&home);
    }
    home.start_nginx().await;
    home.deploy("intern/hello", probe::idle(60)).await;
    let client = Client::new(port.address());
    (home, client, port)
}

fn as_it_is(text: String) -> String {
    text
}

/// A certificate of the server, one of a client, and the authority of both.
fn certify(home: &Home) {
    let key = "openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    let script = format!(
        "{key} -x509 -days 2 -subj /CN=authority -keyout authority.key -out clients.pem
         {key} -x509 -days 2 -subj /CN=localhost -keyout server.key -out server.pem
         {key} -subj /CN=alice -keyout alice.key -out alice.csr
         openssl x509 -req -days 2 -in alice.csr -CA clients.pem -CAkey authority.key -CAcreateserial -out alice.pem"
    );
    let made = Command::new("sh")
        .args(["-ec", &script])
        .current_dir(home.folder.path())
        .output()
        .unwrap();
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
}

#[tokio::test]
async fn networks_are_let_in() {
    let (_home, client, _port) = start("allow", as_it_is).await;
    assert_eq!(client.get("/intern/hello/x").await.status, 200);
    // As from elsewhere.
    let elsewhere = |text: String| text.replace("allow 127.0.0.1;", "");
    let (home, client, _port) = start("allow", elsewhere).await;
    let events = home.events().await;
    assert_eq!(client.get("/intern/hello/x").await.said(), (403, None));
    assert_eq!(events.created("intern/hello").await, 0);
}

#[tokio::test]
async fn clients_are_limited() {
    let (home, client, _port) = start("limit", as_it_is).await;
    assert_eq!(client.get("/intern/hello/x").await.status, 200);
    let mut refused = 0;
    for _ in 0..100 {
        let answer = client.get("/intern/hello/status/200").await;
        refused += usize::from(answer.status == 429 && answer.error().is_none());
    }
    assert!(refused > 0, "{}", home.error_log());
}

#[tokio::test]
async fn somebody_else_says_who_may() {
    let service = Port::reserve();
    let address = service.address().to_string();
    let with_service = |text: String| {
        let text = text.replace("127.0.0.1:9000", &address);
        format!(
            "{text} server {{ listen {address}; location /check {{ \
             if ($http_x_key != good) {{ return 403; }} add_header X-User alice; return 204; }} }}"
        )
    };
    let (home, client, _port) = start("auth", with_service).await;
    let events = home.events().await;
    assert_eq!(client.get("/intern/hello/x").await.said(), (403, None));
    assert_eq!(events.created("intern/hello").await, 0);
    let answer = client
        .get("/intern/hello/x")
        .header("X-Key", "good")
        .header("X-User", "eve")
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(
        answer.json()["headers"]["x-user"],
        serde_json::json!(["alice"])
    );
    // What a location of functions has of headers it has still.
    assert_eq!(
        answer.json()["headers"]["x-forwarded-prefix"][0],
        "/intern/hello"
    );
}

#[tokio::test]
async fn clients_have_certificates() {
    let (home, client, _port) = start("mtls", as_it_is).await;
    let events = home.events().await;
    let ask = |more: &str| {
        let script = format!(
            "curl -sk {more} -w '\n%{{http_code}}' https://{}/intern/hello/x",
            client.address()
        );
        let asked = Command::new("sh")
            .args(["-c", &script])
            .current_dir(home.folder.path())
            .output()
            .unwrap();
        String::from_utf8(asked.stdout).unwrap()
    };
    assert!(ask("").ends_with("\n400"));
    assert_eq!(events.created("intern/hello").await, 0);
    let said = ask("--cert alice.pem --key alice.key");
    assert!(
        said.ends_with("\n200") && said.contains("\"x-client\":[\"CN=alice\"]"),
        "{said}"
    );
}

#[tokio::test]
async fn answers_are_kept() {
    let (_home, client, _port) = start("cache", as_it_is).await;
    for wanted in ["MISS", "HIT", "HIT"] {
        let answer = client.get("/intern/hello/x").await;
        assert_eq!(
            (answer.status, answer.header("x-cache")),
            (200, Some(wanted))
        );
    }
}

#[tokio::test]
async fn log_has_json() {
    let (home, client, _port) = start("json-log", as_it_is).await;
    let traced = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let answer = client
        .get("/intern/hello/x?q=%22")
        .header("traceparent", traced)
        .await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json()["headers"]["traceparent"][0], traced);
    assert_eq!(client.get("/no/function").await.status, 404);
    let lines = async || -> Vec<Value> {
        let text = fs::read_to_string(home.folder.file("corefn.json")).unwrap_or_default();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    };
    wait_until("both are logged", PATIENCE, async || {
        lines().await.len() == 2
    })
    .await;
    let logged = lines().await;
    assert_eq!(logged[0]["function"], "intern/hello");
    assert_eq!(
        (&logged[0]["start"], &logged[0]["status"]),
        (&"cold".into(), &200.into())
    );
    assert_eq!(logged[0]["traceparent"], traced);
    assert_eq!(
        (&logged[1]["function"], &logged[1]["status"]),
        (&"".into(), &404.into())
    );
}
