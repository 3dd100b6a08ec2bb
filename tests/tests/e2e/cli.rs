//! `corefn`, as people and programs use it.

use std::time::Duration;

use corefn_core::config::{Export, FunctionConfig};
use corefn_core::names::HOST_FILE;
use corefn_tests::cli::{command, corefn, follow, ran};
use corefn_tests::push::Repository;
use corefn_tests::{Home, probe, wait_until};
use futures_util::future::join_all;

const SOON: Duration = Duration::from_secs(30);

#[tokio::test]
async fn what_is_deployed_and_what_runs() {
    let home = Home::start("cli").await;
    assert_eq!(
        corefn(&home, &["ls", "--json"]).await.json(),
        serde_json::json!([])
    );
    assert_eq!(
        corefn(&home, &["ps", "--json"]).await.json(),
        serde_json::json!([])
    );
    assert_eq!(
        corefn(&home, &["ls"]).await.succeeded(),
        "FUNCTION  REVISION  SIZE  INSTANCES  ROUTES\n"
    );

    let config = FunctionConfig {
        routes: vec!["api.example.com/v1".parse().unwrap()],
        ..probe::config()
    };
    home.deploy("demo/hello", config).await;
    let exports = FunctionConfig {
        exports: Some(vec![Export {
            name: "Now".to_owned(),
            ..Export::default()
        }]),
        ..probe::config()
    };
    home.deploy("abc/other", exports).await;
    assert_eq!(home.get("/demo/hello/env").await.status, 200);

    let listed = corefn(&home, &["ls", "--json"]).await.json();
    let [other, hello] = &listed.as_array().unwrap()[..] else {
        panic!("{listed}");
    };
    assert_eq!(other["function"], "abc/other");
    assert_eq!(other["exports"], serde_json::json!(["Now"]));
    assert_eq!(other["instances"], 0);
    assert_eq!(hello["function"], "demo/hello");
    assert_eq!(hello["revision"], "r1");
    assert_eq!(
        hello["image"],
        format!("{}/demo/hello:r1", home.namespace())
    );
    assert_eq!(hello["instances"], 1);
    assert_eq!(
        hello["routes"],
        serde_json::json!(["/demo/hello", "api.example.com/v1"])
    );
    assert_eq!(hello["exports"], serde_json::Value::Null);
    assert!(hello["size"].as_i64().unwrap() > 100_000, "{hello}");

    let table = corefn(&home, &["ls"]).await;
    let lines: Vec<_> = table.succeeded().lines().collect();
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert!(lines[1].starts_with("abc/other   r2 "), "{lines:?}");
    assert!(
        lines[2].ends_with("1          /demo/hello, api.example.com/v1"),
        "{lines:?}"
    );

    let described = corefn(&home, &["describe", "demo/hello", "--json"]).await;
    let described = described.json();
    assert_eq!(described["revision"], "r1");
    assert_eq!(described["previous"], serde_json::Value::Null);
    assert_eq!(described["routes"], hello["routes"]);
    assert_eq!(described["starts_from"], "image");
    assert_eq!(described["socket"], false);
    assert_eq!(described["limits"]["memory"], probe::config().limits.memory);
    assert_eq!(described["scale"]["max"], 1);
    assert_eq!(described["instances"].as_array().unwrap().len(), 1);
    let text = corefn(&home, &["describe", "demo/hello"]).await;
    for line in [
        "function     demo/hello",
        "routes       /demo/hello, api.example.com/v1",
        "exports      -",
        "serves on    a port",
        "instances    1, from 0 to 1",
        "network      outbound",
    ] {
        assert!(
            text.succeeded().lines().any(|it| it == line),
            "{line}: {text:?}"
        );
    }
    corefn(&home, &["describe", "demo/helo"]).await.failed(
        1,
        &["there is no function demo/helo (did you mean demo/hello?): corefn ls lists"],
    );

    let running = corefn(&home, &["--json", "ps"]).await.json();
    let [instance] = &running.as_array().unwrap()[..] else {
        panic!("{running}");
    };
    let access = &home.accesses(1).await[0];
    assert_eq!(instance["instance"], access.instance.as_str());
    assert_eq!(instance["function"], "demo/hello");
    assert_eq!(instance["revision"], "r1");
    assert_eq!(instance["state"], "ready");
    assert_eq!(instance["address"], access.upstream.as_str());
    assert_eq!(instance["from"], "image");
    assert!(instance["memory"].as_u64().unwrap() > 0, "{instance}");
    assert!(
        (1..=3000).contains(&instance["lease_ms"].as_u64().unwrap()),
        "{instance}"
    );
    assert_eq!(
        instance["container"],
        home.instances("demo/hello").await[0].id
    );
    let since: jiff::Timestamp = instance["since"].as_str().unwrap().parse().unwrap();
    assert!(
        jiff::Timestamp::now().duration_since(since).as_secs() < 60,
        "{since}"
    );
    let table = corefn(&home, &["ps"]).await;
    let row = table.succeeded().lines().nth(1).unwrap();
    assert!(
        row.starts_with(&access.instance) && row.contains("  ready  "),
        "{row}"
    );

    let running = &home.instances("demo/hello").await[0].id;
    home.docker.remove(running).await.unwrap();
    wait_until("the router forgets it", SOON, async || {
        corefn(&home, &["ps", "--json"]).await.json() == serde_json::json!([])
    })
    .await;
}

#[tokio::test]
async fn what_functions_use() {
    let home = Home::start("top").await;
    for name in ["demo/idle", "demo/busy"] {
        home.deploy(name, probe::config()).await;
        assert_eq!(home.get(&format!("/{name}/env")).await.status, 200);
    }
    let once = ["top", "--json", "-n", "1", "--interval", "500ms"];
    let nobody = corefn(&home, &once).await.json();
    assert_eq!(nobody.as_array().unwrap().len(), 3);
    assert!(nobody[0]["cpus"].as_f64().unwrap() < 0.5, "{nobody}");
    let client = home.client();
    let busy = tokio::spawn(async move {
        loop {
            client.get("/demo/busy/env").await;
        }
    });
    let rows = corefn(&home, &once).await.json();
    let [all, first, second] = &rows.as_array().unwrap()[..] else {
        panic!("{rows}");
    };
    assert_eq!(all["function"], serde_json::Value::Null);
    assert_eq!(all["instances"], 2);
    assert_eq!(first["function"], "demo/busy");
    assert_eq!(second["function"], "demo/idle");
    assert!(first["cpus"].as_f64() > second["cpus"].as_f64(), "{rows}");
    let memory = |row: &serde_json::Value| row["memory"].as_u64().unwrap();
    assert!(memory(first) > 0 && memory(all) == memory(first) + memory(second));
    let twice = corefn(&home, &["top", "-n", "2", "--interval", "100ms"]).await;
    let tables: Vec<_> = twice.succeeded().split("\n\n").collect();
    assert_eq!(tables.len(), 2, "{tables:?}");
    assert!(
        tables[1].starts_with("FUNCTION   INSTANCES  FROZEN  CPUS"),
        "{tables:?}"
    );
    assert!(
        tables[1].contains("\n(all)      2          0       "),
        "{tables:?}"
    );
    busy.abort();
}

#[tokio::test]
async fn functions_are_asked() {
    let home = Home::start("invoke").await;
    let settings = home.folder.read(HOST_FILE);
    let address = format!("http://{}", home.client().address());
    home.folder
        .write(HOST_FILE, settings.replace("http://localhost", &address));
    home.deploy("demo/hello", probe::config()).await;
    let asked = corefn(
        &home,
        &["invoke", "demo/hello/echo?x=1", "--data", "[1, 2]"],
    )
    .await;
    assert!(asked.succeeded().contains("[1, 2]"), "{asked:?}");
    assert!(
        asked.errors.starts_with("200  connected after 0."),
        "{asked:?}"
    );
    let unknown = corefn(&home, &["invoke", "demo/none/x"]).await;
    assert!(unknown.output.contains("unknown-function"), "{unknown:?}");
    unknown.failed(1, &["404 unknown-function connected after 0."]);
    corefn(&home, &["invoke", "demo"])
        .await
        .failed(1, &["has not exactly one slash"]);
    let mut watched = follow(&home, &["invoke", "demo/hello/x", "--watch"]);
    for _ in 0..2 {
        let line = watched.error_line().await;
        assert!(line.starts_with("200 "), "{line}");
    }
}

#[tokio::test]
async fn what_a_function_wrote() {
    let home = Home::start("logs").await;
    home.deploy("demo/hello", probe::config()).await;
    let before = corefn(&home, &["logs", "demo/hello"]).await;
    assert_eq!(before.succeeded(), "");
    assert!(
        before.errors.contains("demo/hello has no instance now"),
        "{before:?}"
    );

    home.get("/demo/hello/env").await;
    let want = "the probe listens on 0.0.0.0:8080\n";
    wait_until("the log has the line", SOON, async || {
        corefn(&home, &["logs", "demo/hello"]).await.succeeded() == want
    })
    .await;
    let one = corefn(&home, &["logs", "--json", "demo/hello"])
        .await
        .json();
    assert_eq!(one["line"], want.trim_end());
    assert_eq!(one["stream"], "stdout");
    assert_eq!(one["instance"], home.accesses(1).await[0].instance);
    assert_eq!(
        corefn(&home, &["logs", "-n", "0", "demo/hello"])
            .await
            .succeeded(),
        ""
    );

    for (words, lines) in [
        (&["--grep", "listens"][..], 1),
        (&["--grep", "sleeps"], 0),
        (&["--since", "1h"], 1),
        (&["--revision", "r1"], 1),
        (&["--revision", "r2"], 0),
    ] {
        let ran = corefn(&home, &[&["logs", "demo/hello"], words].concat()).await;
        assert_eq!(ran.succeeded().lines().count(), lines, "{words:?}: {ran:?}");
    }

    // --follow goes on with those that start later.
    let first = home.accesses(1).await[0].instance.clone();
    let mut followed = follow(&home, &["logs", "-f", "demo/hello"]);
    assert_eq!(
        followed.line().await,
        format!("{first}  {}", want.trim_end())
    );
    // (It ends without an answer, and the request is not what this is about.)
    let _ = home.client().post("/demo/hello/exit", "").send().await;
    let exits = format!("{first}  the probe exits because it was asked to");
    assert_eq!(followed.line().await, exits);
    wait_until("another answers", SOON, async || {
        home.get("/demo/hello/env")
            .send()
            .await
            .is_ok_and(|it| it.status == 200)
    })
    .await;
    let line = followed.line().await;
    assert!(
        line.ends_with(want.trim_end()) && !line.contains(&first),
        "{line}"
    );
    corefn(&home, &["logs", "demo/other"]).await.failed(
        1,
        &["error: there is no function demo/other: corefn ls lists those there are"],
    );
}

#[tokio::test]
async fn removing_a_function_leaves_nothing_of_it() {
    let home = Home::start("rm").await;
    let config = FunctionConfig {
        routes: vec!["/short".parse().unwrap()],
        ..probe::config()
    };
    home.deploy("demo/hello", config.clone()).await;
    home.deploy("demo/hello", config).await;
    home.deploy("demo/stays", probe::config()).await;
    for path in ["/demo/hello/x", "/demo/stays/x", "/short/x"] {
        assert_eq!(home.get(path).await.status, 200, "{path}");
    }
    let repository = Repository::create(&home, "demo/hello").await;

    corefn(&home, &["rm", "demo/hello"]).await.failed(
        1,
        &["this would remove demo/hello", "say --yes if it shall"],
    );
    assert_eq!(home.get("/demo/hello/x").await.status, 200);
    let removed = corefn(&home, &["rm", "--yes", "--json", "demo/hello"]).await;
    assert!(
        removed.errors.contains("a push to it deploys again"),
        "{removed:?}"
    );
    let removed = removed.json();
    assert_eq!(removed["function"], "demo/hello");
    assert_eq!(removed["instances"], 1);
    assert_eq!(removed["images"], 2);
    assert!(repository.bare().exists());

    assert_eq!(home.instances("demo/hello").await.len(), 0);
    let images = home.docker.images().await.unwrap();
    assert_eq!(images.len(), 1, "{images:?}");
    wait_until("the routers forget it", SOON, async || {
        home.get("/demo/hello/x").await.error() == Some("unknown-function")
    })
    .await;
    assert_eq!(home.get("/short/x").await.error(), Some("unknown-function"));
    assert_eq!(home.get("/demo/stays/x").await.status, 200);
    let listed = corefn(&home, &["ls", "--json"]).await.json();
    assert_eq!(listed.as_array().unwrap().len(), 1, "{listed}");

    corefn(&home, &["rm", "--yes", "demo/hello"]).await.failed(
        1,
        &["error: there is no function demo/hello: corefn ls lists"],
    );
    corefn(&home, &["rm", "--yes", "--repository", "demo/hello"])
        .await
        .succeeded();
    assert!(!repository.bare().exists());
    let text = corefn(&home, &["rm", "--yes", "demo/stays"]).await;
    assert_eq!(
        text.succeeded(),
        "removed demo/stays (instances: 1, images: 1)\n"
    );
}

#[tokio::test]
async fn repositories() {
    let home = Home::builder("repos").without_nginx().start().await;
    let path = home.folder.file("projects/demo/hello.git");
    for created in [true, false] {
        let made = corefn(&home, &["repo", "create", "demo/hello", "--json"])
            .await
            .json();
        assert_eq!(made["created"], created);
        assert_eq!(made["path"], path.to_str().unwrap());
    }
    assert!(path.join("hooks/proc-receive").exists());
    // As several pushes at the same time do, to a new one and to one that is there.
    for name in ["demo/new", "demo/hello"] {
        let words = ["repo", "create", name, "--json"];
        let all = (0..8).map(|_| corefn(&home, &words));
        let made: Vec<_> = join_all(all).await.iter().map(|ran| ran.json()).collect();
        let new = made.iter().filter(|made| made["created"] == true).count();
        assert_eq!(new, usize::from(name == "demo/new"), "{made:?}");
    }
    for bad in ["Demo/hello", "demo/", "a/b/c", "../x", ""] {
        corefn(&home, &["repo", "create", bad])
            .await
            .failed(2, &["error: invalid value"]);
    }
}

#[tokio::test]
async fn wrong_usage_and_a_missing_home() {
    let home = Home::builder("usage").without_nginx().start().await;
    let version = concat!("corefn ", env!("CARGO_PKG_VERSION"), "\n");
    for word in ["version", "--version"] {
        let printed = ran(command().arg(word).current_dir("/")).await;
        assert_eq!(printed.succeeded(), version, "{word}");
    }
    let printed = ran(command().args(["version", "--json"])).await.json();
    assert_eq!(printed["version"], env!("CARGO_PKG_VERSION"));
    let help = ran(command().arg("--help")).await;
    let script = ran(command().args(["completion", "bash"])).await;
    assert!(script.succeeded().contains("complete -F _corefn"));
    for word in ["ls", "ps", "logs", "rm", "version", "repo", "--json"] {
        assert!(help.succeeded().contains(word), "{word}: {}", help.output);
    }

    for (words, says) in [
        (&["lss"][..], "unrecognized subcommand 'lss'"),
        (&[], "Usage: corefn"),
        (&["rm"], "<FUNCTION>"),
        (&["rm", "hello"], "\"hello\" has not exactly one slash"),
        (&["logs", "demo/hello", "--tail", "x"], "invalid value 'x'"),
        (&["ls", "--colour"], "unexpected argument '--colour'"),
    ] {
        ran(command().args(words)).await.failed(2, &[says]);
    }

    let variable = corefn_core::names::env::HOME;
    let unset = format!("error: no home: set {variable} to the directory");
    for (words, says) in [
        (&["ls"][..], &*unset),
        (&["--home", "/nowhere", "ls"], "error: /nowhere: "),
    ] {
        ran(command().args(words).current_dir("/"))
            .await
            .failed(1, &[says, HOST_FILE]);
    }
    let named = ran(command().arg("ls").env(variable, home.folder.path())).await;
    named.succeeded();
    let settings = home.folder.read(HOST_FILE);
    home.folder.write(HOST_FILE, settings + "colour = 'red'\n");
    corefn(&home, &["ls"])
        .await
        .failed(1, &[HOST_FILE, "colour"]);
}

#[tokio::test]
async fn without_redis_or_docker() {
    let mut home = Home::builder("cli-away").without_nginx().start().await;
    let settings = home.folder.read(HOST_FILE);
    let gone = settings.replace("/var/run/docker.sock", "/nowhere/docker.sock");
    home.folder.write(HOST_FILE, gone);
    let docker = [
        "error: Docker at unix:///nowhere/docker.sock can't be reached",
        "start it, or correct the docker setting",
    ];
    for words in [
        &["ls"][..],
        &["ps"],
        &["logs", "demo/hello"],
        &["rm", "--yes", "demo/hello"],
    ] {
        corefn(&home, words).await.failed(1, &docker);
    }
    home.folder.write(HOST_FILE, settings);
    home.redis.stop().await;
    let redis = format!("error: Redis at {} can't be used", home.redis.shown());
    for words in [
        &["ls"][..],
        &["ps"],
        &["logs", "demo/hello"],
        &["rm", "--yes", "demo/hello"],
    ] {
        let remedy = "start it, or correct the redis setting";
        corefn(&home, words).await.failed(1, &[&redis, remedy]);
    }
}
