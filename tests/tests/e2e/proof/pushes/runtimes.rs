//! Examples of each language with a runtime, started where that waits.

use corefn_tests::push::{Repository, keep_stack};

use crate::push::the_exports_answer_below;
use crate::sandbox_runtimes::{FROM_SANDBOX, SETTINGS, until_prepared};
use crate::sandbox_starts::{end_instance, started_from, with_router};

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
