//! What the README tells a newcomer to type.

use std::fs;
use std::time::Duration;

use corefn_core::names::env;
use corefn_tests::dispatcher::Dispatcher;
use corefn_tests::git_host::GitHost;
use corefn_tests::papers::blocks;
use corefn_tests::push::keep_stack;
use corefn_tests::{Home, wait_until};

const PATIENCE: Duration = Duration::from_secs(30);

/// Each language's commands, word for word but for where the installation is.
#[tokio::test]
async fn function_of_your_own() {
    let all = blocks("README.md", "A function of your own, in five minutes");
    let [rust, python, node, push] = &all[..] else {
        panic!("{} blocks", all.len());
    };
    for (stack, write) in [("rust", rust), ("python", python), ("node", node)] {
        let home = Home::builder(&format!("readme-{stack}")).invocations();
        let home = home.start().await;
        keep_stack(&home, stack).await;
        let git_host = GitHost::start(&home).await;
        let me = git_host.stranger("me");
        let path = home.folder.path().display().to_string();
        let nginx = home.client().address().to_string();
        let here = |script: &str| {
            script
                .replace("/path/to/corefn/var", &path)
                .replace("~/.ssh/id_ed25519", &me.key().display().to_string())
                .replace("ssh://git@127.0.0.1:7022/me", me.url("me").as_str())
                .replace("127.0.0.1:8080", &nginx)
        };
        let work = home.folder.file("work");
        fs::create_dir_all(&work).unwrap();
        let said = me.shell(&work, &here(&format!("{write}\n{push}"))).await;
        let said = said.succeeded().trim_end();
        assert!(said.ends_with("HELLO"), "{stack}: {said}");
        if stack != "python" {
            continue;
        }
        // Something worse, and the way back.
        let [back] = &blocks("README.md", "The way back")[..] else {
            panic!("not one block");
        };
        let [export, _, push, call] = push.lines().collect::<Vec<_>>()[..] else {
            panic!("{push}");
        };
        let change = "cd shout && sed -i s/upper/title/ main.py && git commit -qam Title";
        let script = format!("{export}\n{change}\n{push}\n{call}\n{back}\n{call}");
        let said = me.shell(&work, &here(&script)).await;
        let said = said.succeeded();
        assert!(said.contains("Hello") && said.ends_with("HELLO"), "{said}");
        // Something else, for a few requests.
        let [few] = &blocks("README.md", "A few requests first")[..] else {
            panic!("not one block");
        };
        let change = "cd shout && sed -i s/title/swapcase/ main.py && git commit -qam Swap";
        let script = format!("{export}\n{change}\n{few}\ncorefn describe me/shout --json");
        let said = me.shell(&work, &here(&script)).await;
        let said = said.succeeded();
        assert!(said.contains("released, 10 %"), "{said}");
        assert!(said.contains("\"weight\": 10"), "{said}");
        // Its variables.
        let [variables] = &blocks("README.md", "Variables")[..] else {
            panic!("not one block");
        };
        let script = format!("{export}\n{variables}\ncorefn env list me/shout --json");
        let said = me.shell(&work, &here(&script)).await;
        let said = said.succeeded();
        assert!(
            said.contains("GREETING  Good day  set\nLEVEL     3         set\n"),
            "{said}"
        );
        let end = "\"name\": \"GREETING\",\n    \"value\": \"Good day\",\n    \"from\": \"set\"\n  }\n]\n";
        assert!(said.ends_with(end), "{said}");
        // And a secret.
        let [secrets] = &blocks("README.md", "Secrets")[..] else {
            panic!("not one block");
        };
        let said = me
            .shell(&work, &here(&format!("{export}\n{secrets}")))
            .await;
        let said = said.succeeded();
        assert!(
            said.contains("DATABASE_URL") && said.contains("deployed"),
            "{said}"
        );
        assert!(!said.contains("password"), "{said}");
        // And somebody who does not wait.
        let [does_not_wait] = &blocks("README.md", "Clients that do not wait")[..] else {
            panic!("not one block");
        };
        let dispatcher = Dispatcher::start(&home, "dispatch", None);
        wait_until("invocations are taken", PATIENCE, async || {
            home.folder.file("invocations/requests").exists()
        })
        .await;
        let said = me.shell(&work, &here(does_not_wait)).await;
        let said = said.succeeded();
        assert!(
            said.contains("202 Accepted") && said.contains("/me/shout/.corefn/invocations/"),
            "{said}"
        );
        assert!(dispatcher.stop().await.success());
    }
}

/// Each of the other languages', on a host on which the key is known.
#[tokio::test]
async fn first_functions() {
    let [add_key] = &blocks("docs/functions.md", "A first function, in each language")[..] else {
        panic!("not one block");
    };
    for (section, stack) in [
        (blocks("docs/functions.md", "Go"), Some("go")),
        (blocks("docs/functions.md", "C"), Some("c")),
        (blocks("docs/functions.md", "C#"), Some("csharp")),
        (blocks("docs/functions.md", "A site"), Some("static")),
        (blocks("docs/functions.md", "Anything else"), None),
    ] {
        let [write_and_push] = &section[..] else {
            panic!("not one block: {section:?}");
        };
        let name = stack.unwrap_or("image");
        let home = Home::start(&format!("first-{name}")).await;
        if let Some(stack) = stack {
            keep_stack(&home, stack).await;
        }
        let git_host = GitHost::start(&home).await;
        let me = git_host.stranger("me");
        let path = home.folder.path().display().to_string();
        let nginx = home.client().address().to_string();
        let script = format!(
            "export {}={path} PATH={path}/bin:$PATH\n{add_key}\n{write_and_push}",
            env::HOME
        );
        let script = script
            .replace("~/.ssh/id_ed25519", &me.key().display().to_string())
            .replace("ssh://git@127.0.0.1:7022/me", me.url("me").as_str())
            .replace("127.0.0.1:8080", &nginx);
        let work = home.folder.file("work");
        fs::create_dir_all(&work).unwrap();
        let said = me.shell(&work, &script).await;
        let said = said.succeeded().trim_end();
        assert!(
            said.ends_with("HELLO") || said.ends_with("<h1>HELLO</h1>"),
            "{name}: {said}"
        );
    }
}
