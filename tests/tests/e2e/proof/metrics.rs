//! What is measured, read by Prometheus: the text, the alerts, and each panel of the dashboard.

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use corefn_tests::client::Client;
use corefn_tests::keeper::Keeper;
use corefn_tests::load::Load;
use corefn_tests::papers::quoted;
use corefn_tests::port::Port;
use corefn_tests::process::Process;
use corefn_tests::programs::workspace;
use corefn_tests::{Home, probe, wait_until};
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

const PATIENCE: Duration = Duration::from_secs(60);

/// Asks Prometheus: the values of a query.
async fn query(prometheus: Client, expression: &str) -> Vec<Value> {
    let form = expression.bytes().map(|byte| format!("%{byte:02x}"));
    let form = format!("query={}", form.collect::<String>());
    let request = prometheus.post("/api/v1/query", form);
    let answer = request
        .header("Content-Type", "application/x-www-form-urlencoded")
        .await;
    assert_eq!(answer.status, 200, "{expression}: {}", answer.text());
    let values = answer.json()["data"]["result"].as_array().cloned();
    values.unwrap_or_else(|| panic!("{expression}: {}", answer.text()))
}

/// What each panel asks for.
fn panels() -> Vec<(String, String)> {
    let text = fs::read_to_string(workspace().join("monitoring/dashboard.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().clone();
    let each = panels.iter().flat_map(|panel| {
        let targets = panel["targets"].as_array().unwrap().iter();
        targets.map(|target| {
            let asks = target["expr"].as_str().unwrap();
            let asks = asks
                .replace("$__rate_interval", "20s")
                .replace("$instance", ".*");
            (panel["title"].as_str().unwrap().to_owned(), asks)
        })
    });
    each.collect()
}

#[tokio::test]
async fn prometheus_reads_them() {
    let builder = Home::builder("prometheus").workers(2).without_nginx();
    let builder = builder.server("location = /corefn/status { corefn_status; }");
    let mut home = builder.gated().start().await;
    let _keeper = Keeper::start_with_nginx(&mut home, "floor = 1").await;
    home.deploy("demo/hello", probe::idle(60)).await;
    home.deploy("demo/bad", probe::misbehaving("exit")).await;
    assert_eq!(home.get("/demo/hello/x").await.status, 200);
    assert_eq!(home.get("/demo/bad/x").await.status, 502);

    let text = home.get("/corefn/status").await.text();
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    promtool
        .stdin
        .take()
        .unwrap()
        .write_all(text.as_bytes())
        .await
        .unwrap();
    assert!(promtool.wait().await.unwrap().success(), "{text}");
    for arguments in [
        ["check", "rules", "alerts.yml"],
        ["test", "rules", "alerts_test.yml"],
    ] {
        let mut promtool = Command::new("promtool");
        let run = promtool
            .args(arguments)
            .current_dir(workspace().join("monitoring"))
            .status()
            .await;
        assert!(run.unwrap().success());
    }

    let port = Port::reserve();
    // (As the page has it, but for where and how often.)
    let page = quoted("docs/metrics.md").into_iter();
    let [scrape] = &page.filter(|it| it.language == "yaml").collect::<Vec<_>>()[..] else {
        panic!("not one block of YAML");
    };
    let scrape = scrape
        .text
        .replace("127.0.0.1:80", &home.client().address().to_string());
    home.folder.write(
        "prometheus.yml",
        format!(
            "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\n\
             rule_files: ['{}/monitoring/alerts.yml']\n{scrape}",
            workspace().display()
        ),
    );
    let mut command = std::process::Command::new("prometheus");
    command
        .arg(format!(
            "--config.file={}",
            home.folder.file("prometheus.yml").display()
        ))
        .arg(format!(
            "--storage.tsdb.path={}",
            home.folder.file("prometheus").display()
        ))
        .arg(format!("--web.listen-address={}", port.address()));
    let prometheus = Process::spawn(&home.folder, "prometheus", &mut command);
    let asked = Client::new(port.address());
    wait_until("Prometheus has asked", PATIENCE, async || {
        match asked.get("/-/ready").send().await {
            Ok(answer) if answer.status == 200 => !query(asked, "up == 1").await.is_empty(),
            _ => false,
        }
    })
    .await;

    // With all kinds of things happening, each panel has something to show.
    let load = Load::start(home.client(), "/demo/hello/status/200", 2);
    wait_until("each panel shows something", PATIENCE, async || {
        home.deploy("demo/next", probe::config()).await;
        let _ = home.get("/demo/next/x").await;
        let _ = home.get("/demo/bad/x").await;
        let mut missing = Vec::new();
        for (title, asks) in panels() {
            if query(asked, &asks).await.is_empty() {
                missing.push(title);
            }
        }
        missing.is_empty()
    })
    .await;
    load.finish().await.assert_all_answered();
    let rules = asked.get("/api/v1/rules").await.json();
    let rules = rules["data"]["groups"][0]["rules"]
        .as_array()
        .unwrap()
        .clone();
    assert!(
        rules.len() >= 9 && rules.iter().all(|rule| rule["health"] == "ok"),
        "{rules:?}"
    );
    drop(prometheus);
}
