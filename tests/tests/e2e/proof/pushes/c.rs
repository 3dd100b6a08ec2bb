//! Pushes of C.

use corefn_tests::Home;
use corefn_tests::push::{Repository, keep_stack};
use futures_util::future::{join, join_all};

use crate::push::the_exports_answer;

/// Functions, a program with a `Makefile`, and what is none.
#[tokio::test]
async fn c_sources_become_functions() {
    let home = Home::start("c").await;
    keep_stack(&home, "c").await;
    let hello = Repository::create(&home, "demo/hello").await;
    hello.example("c").await;
    let pushed = hello.push().await.accepted().says(&[
        "stack c",
        "Exports: Add, HelloWorld, Multiply, Now, SayHello",
        r#"-d '{"A":1,"B":2}' http://localhost/demo/hello/Add"#,
    ]);
    assert!(!pushed.output.contains("warning"), "{}", pushed.output);
    home.knows("demo/hello", &pushed.revision()).await;
    the_exports_answer(&home).await;
    for (export, body, want) in [
        (
            "Add",
            "[",
            (
                400,
                "The body isn't the function's argument: ']' expected near end of file at line 1, column 1",
            ),
        ),
        ("Add", "{\"A\":1}", (400, "Object item not found: B")),
        (
            "SayHello",
            "a\0b",
            (
                400,
                "The body isn't the function's argument: a text has no NUL",
            ),
        ),
    ] {
        let answer = home
            .client()
            .post(&format!("/demo/hello/{export}"), body)
            .await;
        assert_eq!((answer.status, &*answer.text()), want, "{export}");
    }
    // More at a time than there are threads, over connections that stay.
    let requests = (0..200).map(|_| home.get("/demo/hello/HelloWorld").into_future());
    for answer in join_all(requests).await {
        assert_eq!((answer.status, &*answer.text()), (200, "Hello world!"));
    }

    hello.write("hello.c", include_str!("others.c"));
    hello.commit("Others").await;
    let pushed = hello.push().await.accepted();
    home.knows("demo/hello", &pushed.revision()).await;
    let slow = (0..20).map(|_| home.client().post("/demo/hello/Slow", "x").into_future());
    let (slow, quick) = join(
        join_all(slow),
        home.get("/demo/hello/Nothing").into_future(),
    )
    .await;
    assert_eq!(quick.status, 204);
    assert!(slow.iter().all(|answer| answer.text() == "x"), "{slow:?}");
    assert_eq!(
        home.get("/demo/hello/Crash").await.error(),
        Some("function-died")
    );
    assert_eq!(home.get("/demo/hello/Nothing").await.status, 204);

    let program = Repository::create(&home, "demo/program").await;
    program.write(
        "Makefile",
        "function: src/main.c\n\t$(CC) $(CFLAGS) $(LDFLAGS) $< -o $@\n",
    );
    program.write(
        "src/main.c",
        "#include <arpa/inet.h>\n#include <signal.h>\n#include <stdlib.h>\n#include <string.h>\n#include <unistd.h>\n\
         static void end(int number) { (void)number; _exit(0); }\n\
         int main(void) {\n\
             signal(SIGTERM, end);\n\
             int on = socket(AF_INET, SOCK_STREAM, 0);\n\
             struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(atoi(getenv(\"PORT\")))};\n\
             if (bind(on, (struct sockaddr *)&at, sizeof at) || listen(on, 64)) return 1;\n\
             for (;;) {\n\
                 const char *answer = \"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\nConnection: close\\r\\n\\r\\nC!\";\n\
                 char request[4096];\n\
                 int client = accept(on, NULL, NULL);\n\
                 if (read(client, request, sizeof request) < 0 || write(client, answer, strlen(answer)) < 0) return 2;\n\
                 close(client);\n\
             }\n\
         }\n",
    );
    program.commit("A program").await;
    let pushed = program.push().await.accepted();
    home.knows("demo/program", &pushed.revision()).await;
    assert_eq!(home.get("/demo/program/x").await.text(), "C!");

    for (text, reasons) in [
        (
            "int main(void) { return x; }\n",
            &["hello.c:1", "can't be compiled"][..],
        ),
        ("int x;\n", &["there are no functions"]),
        (
            "int f(void);\nint main(void) { return f(); }\n",
            &["undefined reference", "can't be linked"],
        ),
    ] {
        hello.write("hello.c", text);
        hello.commit("Wrong").await;
        hello.push().await.rejected(reasons);
    }
}
