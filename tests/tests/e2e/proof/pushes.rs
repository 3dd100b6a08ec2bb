//! Pushes that compile.

use corefn_tests::push::{Repository, builds, keep_stack};
use corefn_tests::{Home, wait_until};

use crate::push_interrupted::{Leave, SOON};

#[tokio::test]
async fn compilation_ends_with_its_pusher() {
    let home = Home::builder("ctrl-c").without_nginx().start().await;
    keep_stack(&home, "rust").await;
    let hello = Repository::create(&home, "demo/hello").await;
    hello.example("hello").await;
    for leave in [Leave::Interrupt, Leave::Kill] {
        let mut push = hello.begin_push("main");
        push.until("Compiling ").await;
        assert_eq!(builds(&home.docker).await.len(), 1);
        match leave {
            Leave::Interrupt => push.interrupt(),
            Leave::Kill => push.kill().await,
        }
        let what = format!("the build is gone after {leave:?}");
        wait_until(&what, SOON, async || builds(&home.docker).await.is_empty()).await;
        assert_eq!(hello.head("main").await, None);
        assert!(home.docker.images().await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn program_becomes_a_function() {
    let home = Home::start("program").await;
    keep_stack(&home, "rust").await;
    let server = Repository::create(&home, "demo/server").await;
    server.example("server").await;
    let pushed = server.push().await.accepted();
    let pushed = pushed.says(&["stack rust", "try      curl http://localhost/demo/server/"]);
    home.knows("demo/server", &pushed.revision()).await;
    // All paths are its own: what it serves is not known.
    for (path, body, want) in [
        (
            "/demo/server/a%2Fb?c=d",
            "12345",
            "POST /a%2Fb?c=d, 5 bytes\n",
        ),
        ("/demo/server", "", "POST /, 0 bytes\n"),
    ] {
        let answer = home.client().post(path, body).await;
        assert_eq!((answer.status, &*answer.text()), (200, want), "{path}");
    }
}
