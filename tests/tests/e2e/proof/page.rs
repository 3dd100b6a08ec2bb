//! The page in a real browser: what can be seen and done, by everybody, and that it stays smooth.
//!
//! `tests/browser/look.mjs` looks; `scripts/proof` puts it and what it needs of npm's registry into `target/browser`.

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;

use corefn_core::config::FunctionConfig;
use corefn_tests::keeper::Keeper;
use corefn_tests::programs::workspace;
use corefn_tests::push::Repository;
use corefn_tests::{Home, probe};
use tokio::process::Command;

use super::scale::{deploy, deployment};

const STATUS: &str = "location = /corefn/status { corefn_status; }";

/// How many functions there are at the first view.
const SOME: usize = 200;

/// With how many it stays smooth.
const MANY: usize = 10_000;

/// Has the browser look, at pages of which pictures go there.
async fn look(home: &Home, mode: &str) {
    let folder = pictures();
    fs::create_dir_all(&folder).unwrap();
    let mut command = Command::new("node");
    command.arg("look.mjs").arg(mode);
    command.arg(format!("http://{}/corefn/status", home.nginx.address()));
    command.arg(folder).kill_on_drop(true).stdin(Stdio::null());
    command.current_dir(workspace().join("target/browser"));
    assert!(command.status().await.unwrap().success());
}

fn pictures() -> PathBuf {
    workspace().join("target/proof/page")
}

async fn with_functions(name: &str, count: usize) -> (Home, Keeper) {
    let builder = Home::builder(name).without_nginx().gated();
    let mut home = builder.workers(2).server(STATUS).start().await;
    let keeper = Keeper::start_with_nginx(&mut home, "floor = 2").await;
    let all: Vec<_> = (0..count).map(|number| deployment(number, 1)).collect();
    deploy(&home, &all).await;
    home.deploy("demo/hello", probe::idle(600)).await;
    (home, keeper)
}

#[tokio::test]
async fn everybody_can_read_it() {
    let (home, _keeper) = with_functions("browser", SOME).await;
    home.deploy("demo/bad", probe::misbehaving("exit")).await;
    let frozen = FunctionConfig {
        freeze_ms: Some(2000),
        ..probe::idle(600)
    };
    home.deploy("demo/frozen", frozen).await;
    let pushed = Repository::create(&home, "demo/pushed").await;
    pushed.probe("");
    pushed.commit("First").await;
    pushed.push().await.accepted();
    // (What is told of it must not become a part of the page.)
    pushed.probe("['<img src=x onerror=alert(1)>']\n");
    pushed.commit("Second").await;
    pushed.push().await.rejected(&["<img src=x"]);
    look(&home, "read").await;
}

#[tokio::test]
async fn it_is_smooth_with_ten_thousand_functions() {
    let (home, _keeper) = with_functions("browsermany", MANY).await;
    look(&home, "many").await;
}
