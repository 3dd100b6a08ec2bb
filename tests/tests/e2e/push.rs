//! From `git push` to an answer.

use std::collections::HashMap;
use std::io::Read;
use std::time::Duration;

use corefn_core::names::{image, label};
use corefn_tests::push::{Pushed, Repository, builds, keep_stack};
use corefn_tests::{Home, wait_until};
use futures_util::TryStreamExt;

use crate::sandbox_sockets::{only, path};
use crate::sandbox_starts::{kept, started_from, with_router};

/// How soon the routers know of a deployment on a busy machine.
const SETTLE: Duration = Duration::from_secs(30);

/// The most that the image of `examples/hello` may have, in bytes.
pub const HELLO_SIZE: i64 = 3_000_000;

/// The same where nothing is optimized.
const HELLO_PLAIN_SIZE: i64 = 15_000_000;

/// Its own profile holds, with which it is compiled in half the time. The proof leaves that to the stack.
#[tokio::test]
async fn library_becomes_a_function() {
    a_library_becomes_a_function("[profile.release]\nopt-level = 0\n", HELLO_PLAIN_SIZE).await;
}

/// Pushes the example with these lines at the end of its `Cargo.toml`; its image is to be smaller than `most` bytes.
pub async fn a_library_becomes_a_function(profile: &str, most: i64) {
    let (home, _keeper) = with_router("push", "floor = 1").await;
    keep_stack(&home, "rust").await;
    let hello = Repository::create(&home, "demo/hello").await;
    hello.example("hello").await;
    let manifest = hello.read("Cargo.toml");
    hello.write("Cargo.toml", &format!("{manifest}\n{profile}"));
    let first = hello.commit("Its profile").await;

    the_log_streams(&home, &hello).await;
    assert_eq!(hello.head("main").await.as_deref(), Some(first.as_str()));
    assert!(builds(&home.docker).await.is_empty(), "containers are left");
    the_exports_answer(&home).await;
    unknown_exports_start_nothing(&home).await;
    the_image_holds_the_executable_alone(&home, &first, most).await;

    // One that doesn't compile changes nothing.
    hello.replace(
        "src/lib.rs",
        "format!(\"Hello, {name}!\")",
        "format!(\"Good day, {nam}.\")",
    );
    hello.commit("Broken").await;
    let tags = tags(&home).await;
    hello.push().await.rejected(&[
        "error[E0425]: cannot find value `nam` in this scope",
        "src/lib.rs:",
        "the build failed with status 101; its own message is above",
        "main -> main (not deployed)",
    ]);
    assert_eq!(hello.head("main").await.as_deref(), Some(first.as_str()));
    assert_eq!(self::tags(&home).await, tags, "images are left, or lost");
    assert!(builds(&home.docker).await.is_empty(), "containers are left");
    says(&home, "Hello, Brendan!").await;

    // The next good one replaces the first.
    hello.replace("src/lib.rs", "{nam}", "{name}");
    let last = hello.commit("Mended").await;
    hello.push().await.accepted().says(&["deployed demo/hello"]);
    assert_eq!(hello.head("main").await.as_deref(), Some(last.as_str()));
    says(&home, "Good day, Brendan.").await;
    the_next_start_is_from_a_sandbox(&home).await;
}

async fn the_log_streams(home: &Home, hello: &Repository) {
    let mut push = hello.begin_push("main");
    push.until("==> demo/hello, revision ").await;
    push.until("==> compiling").await;
    push.until("Compiling ").await;
    assert!(push.is_running());
    // (Others come and go meanwhile, in which the cache is measured.)
    let builds = builds(&home.docker).await;
    let compiler = builds.iter().min_by_key(|container| container.created);
    assert!(
        compiler.is_some_and(|compiler| compiler.running),
        "the compiler's lines came after its end: {builds:?}"
    );
    let pushed = push.end().await.accepted().says(&[
        "Exports: Add, HelloWorld, Multiply, Now, SayHello",
        "==> starting its first instance, to see that it answers",
        "==> deployed demo/hello, revision ",
        "curl -d World http://localhost/demo/hello/SayHello",
        // What the type reads, found by asking it.
        r#"-d '{"A":1,"B":1}' http://localhost/demo/hello/Add"#,
    ]);
    home.knows("demo/hello", &pushed.revision()).await;
}

pub async fn the_exports_answer(home: &Home) {
    the_exports_answer_below(home, "/demo/hello/").await;
}

/// The five exports of the examples, at paths that begin as `base` says.
pub async fn the_exports_answer_below(home: &Home, base: &str) {
    for (export, body, want) in [
        ("HelloWorld", "", "Hello world!"),
        ("SayHello", "Brendan", "Hello, Brendan!"),
        ("Add", r#"{"A":1,"B":2}"#, r#"{"Result":3}"#),
        ("Multiply", r#"{"A":6,"B":7}"#, r#"{"Result":42}"#),
    ] {
        let path = format!("{base}{export}");
        let answer = home.client().post(&path, body).await;
        assert_eq!(answer.status, 200, "{export}: {}", answer.text());
        assert_eq!(answer.text(), want, "{export}");
    }
    let answer = home.get(&format!("{base}HelloWorld")).await;
    assert_eq!((answer.status, &*answer.text()), (200, "Hello world!"));
    let now = home.get(&format!("{base}Now")).await;
    let time: jiff::Timestamp = now.text().parse().unwrap();
    let age = jiff::Timestamp::now().duration_since(time);
    assert!(age.as_secs().abs() < 60, "{time}");
}

async fn unknown_exports_start_nothing(home: &Home) {
    // Without an instance, a request for an export would have to start one.
    for instance in home.instances("demo/hello").await {
        home.docker.remove(&instance.id).await.unwrap();
    }
    let events = home.events().await;
    for path in ["/demo/hello/Other", "/demo/hello/sayhello", "/demo/hello/"] {
        let answer = home.get(path).await;
        let got = (answer.status, answer.error());
        assert_eq!(got, (404, Some("unknown-export")), "{path}");
    }
    assert_eq!(events.created("demo/hello").await, 0);
}

async fn the_next_start_is_from_a_sandbox(home: &Home) {
    let deployed = home.store.deployments().await.unwrap();
    let executable = deployed[0].config.executable.as_deref().unwrap();
    wait_until("its executable is on the host", SETTLE, async || {
        kept(home, executable).exists()
    })
    .await;
    let before = started_from(home, "a sandbox");
    let current = &deployed[0].revision.0;
    for instance in home.instances("demo/hello").await {
        home.docker.remove(&instance.id).await.unwrap();
        if instance.has(label::REVISION, current) {
            home.until_withdrawn(&instance.labels[label::INSTANCE])
                .await;
        }
    }
    says(home, "Good day, Brendan.").await;
    assert_eq!(started_from(home, "a sandbox"), before + 1);
    path(&only(home, "demo/hello").await);
}

async fn the_image_holds_the_executable_alone(home: &Home, commit: &str, most: i64) {
    let images = home.docker.images().await.unwrap();
    let [found] = &images[..] else {
        panic!("{images:?}");
    };
    assert!(found.current, "{found:?}");
    assert!(found.size < most, "{} bytes", found.size);
    let deployment = &found.deployment;
    let exports = deployment.config.exports.as_ref().unwrap();
    let names: Vec<_> = exports.iter().map(|export| export.name.as_str()).collect();
    assert_eq!(names, ["Add", "HelloWorld", "Multiply", "Now", "SayHello"]);

    let client = home.docker.client().await.unwrap();
    let details = client.inspect_image(&found.id).await.unwrap();
    let labels = details.config.unwrap().labels.unwrap();
    for (name, value) in [
        (label::NAMESPACE, home.namespace()),
        (label::FUNCTION, "demo/hello"),
        (label::REVISION, &deployment.revision.0),
        (label::REPOSITORY, "demo/hello"),
        (label::COMMIT, commit),
    ] {
        assert_eq!(labels[name], value, "{name}");
    }
    let config: serde_json::Value = serde_json::from_str(&labels[label::CONFIG]).unwrap();
    assert!(config.is_object(), "{config}");

    let pieces: Vec<_> = client.export_image(&found.id).try_collect().await.unwrap();
    let layers = layers(&pieces.concat());
    let [layer] = &layers[..] else {
        panic!("{} layers", layers.len());
    };
    let mut archive = tar::Archive::new(&layer[..]);
    let files: Vec<_> = archive
        .entries()
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let mode = entry.header().mode().unwrap();
            (entry.path().unwrap().display().to_string(), mode)
        })
        .collect();
    assert_eq!(files, [("function".to_owned(), 0o755)]);
}

/// The layers of an image, as `docker save` writes it.
pub fn layers(saved: &[u8]) -> Vec<Vec<u8>> {
    let mut files = HashMap::new();
    for entry in tar::Archive::new(saved).entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().display().to_string();
        let mut contents = Vec::new();
        entry.read_to_end(&mut contents).unwrap();
        files.insert(path, contents);
    }
    let manifest: serde_json::Value = serde_json::from_slice(&files["manifest.json"]).unwrap();
    let names = manifest[0]["Layers"].as_array().unwrap();
    let names = names.iter().map(|name| name.as_str().unwrap());
    names.map(|name| files[name].clone()).collect()
}

/// Waits until `SayHello` answers what it should.
async fn says(home: &Home, want: &str) {
    wait_until(want, SETTLE, async || {
        let answer = home.client().post("/demo/hello/SayHello", "Brendan").await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.text() == want
    })
    .await;
}

/// The tags of all images of functions.
async fn tags(home: &Home) -> Vec<String> {
    let images = home.docker.images().await.unwrap();
    let mut tags: Vec<_> = images.into_iter().flat_map(|image| image.tags).collect();
    tags.sort();
    tags
}

/// What a runtime's stack makes: the function's files alone, on an image that all functions share.
/// (The gate's other tests push Python, too.)
pub async fn python_files_become_functions() {
    let home = Home::start("python").await;
    keep_stack(&home, "python").await;
    let hello = Repository::create(&home, "demo/hello").await;
    hello.example("python").await;
    let first = hello.push().await.accepted().says(&[
        "stack python",
        "Exports: Add, HelloWorld, Multiply, Now, SayHello",
        "curl -d World http://localhost/demo/hello/SayHello",
        r#"-d '{"A":1,"B":1}' http://localhost/demo/hello/Add"#,
    ]);
    home.knows("demo/hello", &first.revision()).await;
    the_exports_answer(&home).await;
    let add = async |body: &str| {
        let answer = home.client().post("/demo/hello/Add", body.to_owned()).await;
        (answer.status, answer.text())
    };
    let (status, text) = add(r#"{"A":1}"#).await;
    assert_eq!(status, 400, "{text}");
    assert!(text.contains("B is missing; there is A, B"), "{text}");
    unknown_exports_start_nothing(&home).await;

    // The same files are the same layer, and all below it is the runtime's.
    hello.git("commit -q --allow-empty -m Again").await;
    let second = hello.push().await.accepted();
    let of = async |pushed: &Pushed| image_layers(&home, &pushed.revision()).await;
    let (one, other) = (of(&first).await, of(&second).await);
    assert_eq!(one, other);
    hello.replace("main.py", "Hello, {name}!", "Good day, {name}.");
    hello.commit("Politer").await;
    let third = hello.push().await.accepted();
    let changed = of(&third).await;
    assert_eq!(changed[..changed.len() - 1], one[..one.len() - 1]);
    assert_ne!(changed.last(), one.last());
    says(&home, "Good day, Brendan.").await;

    // What can't be served is rejected, and says why.
    for (text, reasons) in [
        ("def hello(:\n", &["main.py", "a file is no Python"][..]),
        (
            "import nowhere\n",
            &["No module named 'nowhere'", "can't be imported"],
        ),
        ("x = 1\n", &["there is nothing to serve in main"]),
        (
            "from corefn import function\n@function\ndef f(a, b): pass\n",
            &["f takes 2 arguments"],
        ),
    ] {
        hello.write("main.py", text);
        hello.commit("Wrong").await;
        hello.push().await.rejected(reasons);
    }
    says(&home, "Good day, Brendan.").await;
}

/// The layers of a revision's image, the lowest first.
async fn image_layers(home: &Home, revision: &str) -> Vec<String> {
    let function = "demo/hello".parse().unwrap();
    let tag = format!("{}:{revision}", image(home.namespace(), &function));
    let client = home.docker.client().await.unwrap();
    let details = client.inspect_image(&tag).await.unwrap();
    details.root_fs.unwrap().layers.unwrap()
}

#[tokio::test]
async fn dockerfiles_become_functions() {
    let home = Home::start("dockerfiles").await;
    let perl = Repository::create(&home, "demo/perl").await;
    perl.example("dockerfile").await;
    let pushed = perl.push().await.accepted();
    let pushed = pushed.says(&["stack dockerfile", "Successfully built"]);
    home.knows("demo/perl", &pushed.revision()).await;
    // All paths are its own: what it serves is not known.
    let answer = home.client().post("/demo/perl/a%2Fb?c=d", "12345").await;
    let want = "POST /a%2Fb?c=d, 5 bytes, from Perl\n";
    assert_eq!((answer.status, &*answer.text()), (200, want));
    for instance in home.docker.containers().await.unwrap() {
        assert!(
            instance.labels.contains_key(label::INSTANCE),
            "{instance:?}"
        );
    }

    // The repository of an account alone takes the name from the manifest.
    let alone = Repository::create(&home, "other").await;
    alone.example("dockerfile").await;
    alone.write(
        "corefn.toml",
        "[function]\nname = 'perl'\nroutes = ['/short']\n",
    );
    alone.commit("A name and a route").await;
    let pushed = alone.push().await.accepted();
    let pushed = pushed.says(&["deployed other/perl", "/short"]);
    home.knows("other/perl", &pushed.revision()).await;
    for path in ["/other/perl/x", "/short/x"] {
        let answer = home.get(path).await;
        assert_eq!(answer.text(), "GET /x, 0 bytes, from Perl\n", "{path}");
    }
    let tag = image(home.namespace(), &"other/perl".parse().unwrap());
    assert!(tags(&home).await.contains(&format!("{tag}:current")));
}
