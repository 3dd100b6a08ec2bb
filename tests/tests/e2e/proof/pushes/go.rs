//! Pushes of Go.

use corefn_tests::Home;
use corefn_tests::push::{Repository, keep_stack};

use crate::push::the_exports_answer;

/// Exported functions of a package, programs in their places, and what is none.
#[tokio::test]
async fn go_packages_become_functions() {
    let home = Home::start("go").await;
    keep_stack(&home, "go").await;
    let hello = Repository::create(&home, "demo/hello").await;
    hello.example("go").await;
    let pushed = hello.push().await.accepted().says(&[
        "stack go",
        "Exports: Add, HelloWorld, Multiply, Now, SayHello",
        r#"-d '{"A":1,"B":1}' http://localhost/demo/hello/Add"#,
    ]);
    home.knows("demo/hello", &pushed.revision()).await;
    the_exports_answer(&home).await;
    let answer = home.client().post("/demo/hello/Add", "{\n x").await;
    let want = "The body isn't the function's argument: invalid character 'x' looking for beginning of object key \
                string at line 2, column 2";
    assert_eq!((answer.status, &*answer.text()), (400, want));
    assert_eq!(
        home.get("/demo/hello/Other").await.error(),
        Some("unknown-export")
    );

    let kinds = Repository::create(&home, "demo/kinds").await;
    kinds.write("go.mod", "module example.org/kinds\n\ngo 1.19\n");
    kinds.write(
        "kinds.go",
        "package kinds\n\nimport (\n\t\"context\"\n\t\"errors\"\n\t\"example.org/kinds/inner\"\n)\n\n\
         func Bytes(body []byte) []byte { return body }\n\
         func Fail() error { return errors.New(\"on purpose\") }\n\
         func Nothing(ctx context.Context) *int { return nil }\n\
         func Panic(text string) (int, error) { return len(inner.Twice(text)) / len(text), nil }\n\
         func Map[T any](of T) T { return of }\n\
         type T struct{}\n\nfunc (T) Method() {}\n",
    );
    kinds.write(
        "inner/inner.go",
        "package inner\n\nfunc Twice(text string) string { return text + text }\n",
    );
    kinds.commit("Kinds").await;
    let pushed = kinds
        .push()
        .await
        .accepted()
        .says(&["Exports: Bytes, Fail, Nothing, Panic\n"]);
    home.knows("demo/kinds", &pushed.revision()).await;
    for (export, body, want) in [
        ("Bytes", "abc", (200, "abc")),
        ("Fail", "", (500, "on purpose")),
        ("Nothing", "", (204, "")),
        ("Panic", "abc", (200, "2")),
        (
            "Panic",
            "",
            (
                500,
                "the function panicked: runtime error: integer divide by zero",
            ),
        ),
    ] {
        let path = format!("/demo/kinds/{export}");
        let answer = home.client().post(&path, body).await;
        assert_eq!((answer.status, &*answer.text()), want, "{export}");
    }

    let server = Repository::create(&home, "demo/server").await;
    server.write(
        "cmd/server/main.go",
        "package main\n\nimport (\n\t\"io\"\n\t\"net/http\"\n\t\"os\"\n)\n\nfunc main() {\n\
         \thttp.HandleFunc(\"/\", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.URL.String()) })\n\
         \tpanic(http.ListenAndServe(\":\"+os.Getenv(\"PORT\"), nil))\n}\n",
    );
    server.write("go.mod", "module server\n\ngo 1.19\n");
    server.commit("A server").await;
    let pushed = server.push().await.accepted();
    home.knows("demo/server", &pushed.revision()).await;
    assert_eq!(home.get("/demo/server/a/b?c").await.text(), "/a/b?c");

    for (text, reasons) in [
        ("package hello\nfunc F( {\n", &["hello.go:2"][..]),
        (
            "package hello\nfunc f() {}\n",
            &["the package exports no functions"],
        ),
        (
            "package hello\nfunc F(a, b int) {}\n",
            &["F takes 2 arguments"],
        ),
        (
            "package hello\nfunc F() int { return x }\n",
            &["undefined: x", "can't be compiled"],
        ),
    ] {
        hello.write("hello.go", text);
        hello.commit("Wrong").await;
        hello.push().await.rejected(reasons);
    }
}
