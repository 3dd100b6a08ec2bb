//! Examples of each language with a runtime, started where that waits.

use corefn_tests::push::{Repository, keep_stack};
use corefn_tests::wait_until;

use crate::push::the_exports_answer_below;
use crate::sandbox_runtimes::{FROM_SANDBOX, SEEN, SETTINGS, archive, push, seen, until_prepared};
use crate::sandbox_sockets::{only, path};
use crate::sandbox_starts::{end_instance, kept, started_from, with_router};
use crate::sandboxes::{PATIENCE, until_waiting};

#[tokio::test]
async fn runtimes_wait_for_functions() {
    let (home, keeper) = with_router("runtimes", SETTINGS).await;
    let stacks = [("python", ""), ("node", ""), ("csharp", "Hello.")];
    for (number, (stack, class)) in (1..).zip(stacks) {
        keep_stack(&home, stack).await;
        let function = format!("demo/{stack}");
        let repository = Repository::create(&home, &function).await;
        repository.example(stack).await;
        let pushed = repository.push().await.accepted().says(&[FROM_SANDBOX]);
        home.knows(&function, &pushed.revision()).await;
        until_prepared(&home, &function, number).await;
        end_instance(&home, &function).await;
        the_exports_answer_below(&home, &format!("/{function}/{class}")).await;
        assert_eq!(started_from(&home, "a sandbox"), number, "{stack}");
        let instance = only(&home, &function).await;
        let serves_at_port = instance.address.port().is_some();
        // (Mono takes no socket of another process.)
        assert_eq!(serves_at_port, stack == "csharp", "{stack}: {instance:?}");
    }
    // A server of one's own is what Node can't wait for.
    let server = Repository::create(&home, "demo/server").await;
    server.write(
        "package.json",
        r#"{ "scripts": { "start": "node main.js" } }"#,
    );
    server.write(
        "main.js",
        "require('http').createServer((_, r) => r.end('served')).listen(process.env.PORT);\n",
    );
    server.commit("A server").await;
    let pushed = server.push().await.accepted();
    assert!(!pushed.output.contains(FROM_SANDBOX), "{}", pushed.output);
    home.knows("demo/server", &pushed.revision()).await;
    end_instance(&home, "demo/server").await;
    assert_eq!(home.get("/demo/server/").await.text(), "served");
    assert_eq!(started_from(&home, "a sandbox"), stacks.len());
    keeper.end().await;
}

#[tokio::test]
async fn executables_serve_on_sockets() {
    let (home, keeper) = with_router("executables", SETTINGS).await;
    for (number, stack) in (1..).zip(["go", "c"]) {
        keep_stack(&home, stack).await;
        let function = format!("demo/{stack}");
        let repository = Repository::create(&home, &function).await;
        repository.example(stack).await;
        let pushed = repository.push().await.accepted();
        home.knows(&function, &pushed.revision()).await;
        let deployments = home.store.deployments().await.unwrap();
        let deployed = deployments
            .iter()
            .find(|it| it.function.as_str() == function);
        let executable = kept(
            &home,
            deployed.unwrap().config.executable.as_deref().unwrap(),
        );
        wait_until("it is kept", PATIENCE, async || executable.exists()).await;
        until_waiting(&home, 2).await;
        end_instance(&home, &function).await;
        the_exports_answer_below(&home, &format!("/{function}/")).await;
        assert_eq!(started_from(&home, "a sandbox"), number, "{stack}");
        path(&only(&home, &function).await);
    }
    keeper.end().await;
}

/// Where modules of its own stand for those that wait, the interpreter begins anew in the sandbox; and what is read when an
/// interpreter begins, or is too much, is not handed over at all.
#[tokio::test]
async fn what_can_not_be_imported_begins_anew() {
    let (home, keeper) = with_router("pyanew", SETTINGS).await;
    keep_stack(&home, "python").await;
    let own = "The interpreter starts with the function, as it has its own sitecustomize";
    let files = [
        ("main.py", include_str!("own.py")),
        // (An interpreter looks for it when it begins.)
        ("sitecustomize.py", "import os\nos.customized = 'mine'\n"),
    ];
    push(&home, "demo/own", &files, &[own, FROM_SANDBOX]).await;
    let want = "mine /function/app []";
    assert_eq!(home.get("/demo/own/Own").await.text(), want);
    until_prepared(&home, "demo/own", 1).await;
    end_instance(&home, "demo/own").await;
    assert_eq!(home.get("/demo/own/Own").await.text(), want);
    assert_eq!(started_from(&home, "a sandbox"), 1);

    let large = "x".repeat(17 << 20);
    for (function, (file, text), why) in [
        (
            "demo/set",
            (
                "corefn.toml",
                "[function]\nenv = { PYTHONHASHSEED = '1' }\n",
            ),
            "it sets PYTHONHASHSEED, which is read when a program begins",
        ),
        (
            "demo/small",
            ("corefn.toml", "[function]\nlimits = { memory = '48M' }\n"),
            "its files are more than an eighth of limits.memory, 6.3 MB",
        ),
        (
            "demo/large",
            ("large.txt", &*large),
            "its files are more than 16.8 MB or 4096",
        ),
    ] {
        let says = format!("    starts   from its image: {why}");
        let files = [
            ("main.py", SEEN),
            (file, text),
            ("data.txt", &large[..7 << 20]),
        ];
        push(&home, function, &files, &[&says]).await;
        assert_eq!(archive(&home, function).await, None);
    }
    end_instance(&home, "demo/set").await;
    assert_eq!(
        seen(&home, "demo/set").await["variables"]["PYTHONHASHSEED"],
        "1"
    );
    assert_eq!(started_from(&home, "its image"), 1);
    keeper.end().await;
}
