//! Pushes that compile.

mod bundle;
mod c;
mod churn;
mod csharp;
mod go;
mod large;
mod runtimes;
mod site;
mod times;

use corefn_tests::push::{Repository, builds, keep_stack};
use corefn_tests::{Home, wait_until};

use crate::push::{HELLO_SIZE, a_library_becomes_a_function, the_exports_answer};
use crate::push_interrupted::{Leave, SOON};
use crate::push_limits::{builds_of_stacks_are_contained, commands_of_dockerfiles_are_contained};

/// Serves a file over TLS with a certificate that nobody knows, and fetches it as any program would.
const CHECK: &str = r#"
import http.server, ssl, threading, urllib.request

server = http.server.HTTPServer(("127.0.0.1", 8443), http.server.SimpleHTTPRequestHandler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("/app/ca.pem", "/app/key.pem")
server.socket = context.wrap_socket(server.socket, server_side=True)
threading.Thread(target=server.serve_forever, daemon=True).start()
with urllib.request.urlopen("https://localhost:8443/app/check.py") as answer:
    print("trusted:", answer.status)
"#;

/// Whatever the commands of a `Dockerfile` do.
#[tokio::test]
async fn dockerfiles_are_contained() {
    commands_of_dockerfiles_are_contained(|_| true).await;
}

/// Whatever the build of a stack does.
#[tokio::test]
async fn stacks_are_contained() {
    builds_of_stacks_are_contained(|_| true).await;
}

#[tokio::test]
async fn python_files_become_functions() {
    crate::push::python_files_become_functions().await;
}

#[tokio::test]
async fn library_becomes_a_function() {
    a_library_becomes_a_function("", HELLO_SIZE).await;
}

#[tokio::test]
async fn compilation_ends_with_its_pusher() {
    let home = Home::builder("ctrl-c").without_nginx().start().await;
    keep_stack(&home, "rust").await;
    let hello = Repository::create(&home, "demo/hello").await;
    hello.example("hello").await;
    for leave in [Leave::Interrupt, Leave::Kill] {
        let mut push = hello.begin_push("main");
        push.until("Compiling ").await;
        assert!(!builds(&home.docker).await.is_empty());
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

/// Applications with packages that are installed, of both of Python's kinds.
#[tokio::test]
async fn python_applications_become_functions() {
    let home = Home::start("pyapps").await;
    keep_stack(&home, "python").await;
    let wsgi = Repository::create(&home, "demo/wsgi").await;
    wsgi.write("requirements.txt", "flask==3.0.3\n");
    wsgi.write(
        "app.py",
        "from flask import Flask, redirect, request\n\
         app = Flask(__name__)\n\
         @app.post('/echo/<path:rest>')\n\
         def echo(rest):\n    return f'{rest}: {len(request.data)} bytes'\n\
         @app.get('/')\n\
         def home():\n    return redirect('/login')\n",
    );
    wsgi.commit("Flask").await;
    let pushed = wsgi
        .push()
        .await
        .accepted()
        .says(&["Installing what requirements.txt asks for"]);
    home.knows("demo/wsgi", &pushed.revision()).await;
    let answer = home.client().post("/demo/wsgi/echo/a/b", "12345").await;
    assert_eq!((answer.status, &*answer.text()), (200, "a/b: 5 bytes"));
    let answer = home.get("/demo/wsgi/").await;
    assert_eq!(answer.header("location"), Some("/demo/wsgi/login"));
    // What is installed once is kept.
    wsgi.git("commit -q --allow-empty -m Again").await;
    let again = wsgi.push().await.accepted();
    assert!(!again.output.contains("Installing"), "{}", again.output);

    let asgi = Repository::create(&home, "demo/asgi").await;
    asgi.write(
        "pyproject.toml",
        "[project]\nname = 'x'\nversion = '1'\ndependencies = ['starlette==0.41.3']\n\
         [tool.corefn]\napp = 'service.main:api'\n",
    );
    asgi.write(
        "service/main.py",
        "from starlette.applications import Starlette\n\
         from starlette.responses import StreamingResponse\n\
         from starlette.routing import Route\n\
         async def pieces():\n    for n in range(3):\n        yield f'{n};'\n\
         async def stream(request):\n    return StreamingResponse(pieces())\n\
         api = Starlette(routes=[Route('/stream', stream)])\n",
    );
    asgi.commit("Starlette").await;
    let pushed = asgi
        .push()
        .await
        .accepted()
        .says(&["Installing what pyproject.toml asks for"]);
    home.knows("demo/asgi", &pushed.revision()).await;
    let answer = home.get("/demo/asgi/stream").await;
    assert_eq!((answer.status, &*answer.text()), (200, "0;1;2;"));

    wsgi.write("requirements.txt", "there-is-no-such-package==99\n");
    wsgi.commit("Wrong").await;
    wsgi.push().await.rejected(&[
        "there-is-no-such-package",
        "requirements.txt can't be installed",
    ]);
}

/// Of both module systems, with packages that are installed, and a server.
#[tokio::test]
async fn node_packages_become_functions() {
    let home = Home::start("node").await;
    keep_stack(&home, "node").await;
    let hello = Repository::create(&home, "demo/hello").await;
    hello.example("node").await;
    let pushed = hello.push().await.accepted().says(&[
        "stack node",
        "Exports: Add, HelloWorld, Multiply, Now, SayHello",
        r#"-d '{"A":1,"B":1}' http://localhost/demo/hello/Add"#,
    ]);
    home.knows("demo/hello", &pushed.revision()).await;
    the_exports_answer(&home).await;
    let answer = home.client().post("/demo/hello/Add", "[").await;
    assert_eq!(answer.status, 400, "{}", answer.text());
    assert_eq!(
        home.get("/demo/hello/Other").await.error(),
        Some("unknown-export")
    );

    let common = Repository::create(&home, "demo/common").await;
    common.write(
        "package.json",
        r#"{ "main": "lib/main.js", "dependencies": { "is-odd": "3.0.1" }, "scripts": { "build": "echo built > built.txt" } }"#,
    );
    common.write(
        "lib/main.js",
        "const isOdd = require('is-odd');\n\
         const { readFileSync } = require('node:fs');\n\
         module.exports = {\n\
             odd: async (text) => String(isOdd(Number(text))),\n\
             built: () => readFileSync('built.txt', 'utf8'),\n\
             fail: () => { throw new Error('on purpose'); },\n\
             nothing: () => undefined,\n\
         };\n",
    );
    common.commit("CommonJS").await;
    let pushed = common.push().await.accepted().says(&[
        "Installing what package.json asks for",
        "npm run build",
        "Exports: Built, Fail, Nothing, Odd",
    ]);
    home.knows("demo/common", &pushed.revision()).await;
    for (export, body, want) in [
        ("Odd", "3", (200, "true")),
        ("Built", "", (200, "built\n")),
        ("Fail", "", (500, "on purpose")),
        ("Nothing", "", (204, "")),
    ] {
        let path = format!("/demo/common/{export}");
        let answer = home.client().post(&path, body).await;
        assert_eq!((answer.status, &*answer.text()), want, "{export}");
    }

    let server = Repository::create(&home, "demo/server").await;
    server.write(
        "package.json",
        r#"{ "scripts": { "start": "node server.js" } }"#,
    );
    server.write(
        "server.js",
        "require('node:http').createServer((request, response) => response.end(request.url))\n\
             .listen(process.env.PORT);\n",
    );
    server.commit("A server").await;
    let pushed = server.push().await.accepted();
    let pushed = pushed.says(&["A server, which is started with: node server.js"]);
    home.knows("demo/server", &pushed.revision()).await;
    assert_eq!(home.get("/demo/server/a/b?c").await.text(), "/a/b?c");

    for (text, reasons) in [
        ("export function f( {\n", &["index.mjs", "SyntaxError"][..]),
        ("export const x = 1;\n", &["index.mjs exports no functions"]),
        ("export function f(a, b) {}\n", &["f takes 2 arguments"]),
        ("import 'nowhere';\n", &["nowhere", "can't be imported"]),
    ] {
        hello.write("index.mjs", text);
        hello.commit("Wrong").await;
        hello.push().await.rejected(reasons);
    }
}

/// What a `Dockerfile` runs trusts the host's certificate authorities, over TLS and without knowing of them.
#[tokio::test]
async fn dockerfiles_fetch_what_the_host_trusts() {
    let home = Home::start("tls").await;
    let bundle = home.folder.file("work/demo.tls/ca.pem");
    home.set(&format!("ca_bundle = '{}'\n", bundle.display()));
    let runtime = keep_stack(&home, "python").await.runtime.unwrap();
    let tls = Repository::create(&home, "demo/tls").await;
    tls.run(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost \
         -addext subjectAltName=DNS:localhost -keyout key.pem -out ca.pem 2>&1",
    )
    .await;
    tls.write("check.py", CHECK);
    tls.write(
        "Dockerfile",
        &format!(
            "FROM {runtime}\nCOPY . /app\nRUN cd / && python3 /app/check.py\n\
             ENTRYPOINT []\nCMD [\"python3\", \"-m\", \"http.server\", \"8080\"]\n"
        ),
    );
    tls.commit("TLS").await;
    tls.push().await.accepted().says(&["trusted: 200"]);
}
