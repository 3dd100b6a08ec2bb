//! What a request gets, and what the function sees of it.

use corefn_core::config::FunctionConfig;
use corefn_core::names::env;
use corefn_tests::{Home, probe};

#[tokio::test]
async fn first_request_is_cold_and_the_second_warm() {
    // Another worker would wait until it has heard of the instance.
    let home = Home::builder("cold").workers(1).start().await;
    home.deploy("demo/hello", probe::config()).await;
    assert_eq!(
        home.instances("demo/hello").await.len(),
        0,
        "nothing runs before the first request"
    );

    for _ in 0..2 {
        let answer = home.get("/demo/hello/path?x=1").await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.json()["target"], "/path?x=1");
    }
    let accesses = home.accesses(2).await;
    let [cold, warm] = &accesses[..] else {
        panic!("{accesses:?}");
    };
    assert_eq!((cold.start.as_str(), warm.start.as_str()), ("cold", "warm"));
    assert!(cold.waited() > 0.0, "{cold:?}");
    assert_eq!(warm.waited(), 0.0, "{warm:?}");
    assert_eq!(cold.function, "demo/hello");
    assert_eq!(cold.revision, "r1");
    assert_eq!(cold.prefix, "/demo/hello");
    assert_eq!(cold.instance, warm.instance);
    let instances = home.instances("demo/hello").await;
    assert_eq!(instances.len(), 1);
    assert!(instances[0].name.ends_with(&cold.instance), "{instances:?}");
}

#[tokio::test]
async fn path_and_query_arrive_byte_for_byte_without_the_prefix() {
    let home = Home::start("paths").await;
    home.deploy("demo/hello", probe::config()).await;
    let latin: String = (0x80..=0xff_u8).map(char::from).collect();
    let rows = [
        ("", "/"),
        ("/", "/"),
        ("?", "/?"),
        ("?q=1", "/?q=1"),
        ("/?", "/?"),
        ("/a%2Fb", "/a%2Fb"),
        ("/a%2fb", "/a%2fb"),
        ("//a//b/", "//a//b/"),
        ("/a/./b", "/a/./b"),
        ("/a/b/../c", "/a/b/../c"),
        ("/%41%20%C3%A9", "/%41%20%C3%A9"),
        ("/a+b;c=d,e", "/a+b;c=d,e"),
        ("/a?x=%2F&y=a+b&&z", "/a?x=%2F&y=a+b&&z"),
        ("/a?x?y", "/a?x?y"),
        ("/%25%32%46", "/%25%32%46"),
        ("/a|b\"c<d>", "/a|b\"c<d>"),
    ];
    for (rest, want) in rows {
        let answer = home.client().raw_get(format!("/demo/hello{rest}")).await;
        assert_eq!(answer.status, 200, "{rest}: {}", answer.text());
        assert_eq!(answer.json()["target"], want, "{rest}");
    }

    let mut target = b"/demo/hello/".to_vec();
    target.extend(0x80..=0xff_u8);
    let answer = home.client().raw_get(&target).await;
    assert_eq!(
        answer.status,
        200,
        "bytes that are no UTF-8: {}",
        answer.text()
    );
    assert_eq!(answer.json()["target"], format!("/{latin}"));
}

#[tokio::test]
async fn function_is_told_of_the_client() {
    let home = Home::start("forwarded").await;
    home.deploy("demo/hello", probe::config()).await;

    let answer = home
        .get("/demo/hello/x")
        .header("Host", "Example.com:8443")
        .header("X-Forwarded-For", "192.0.2.7")
        .header("X-Request-Id", "given-1")
        .header("Proxy", "http://evil")
        .await;
    let headers = &answer.json()["headers"];
    assert_eq!(headers["host"][0], "Example.com:8443");
    assert_eq!(headers["x-forwarded-for"][0], "192.0.2.7, 127.0.0.1");
    assert_eq!(headers["x-forwarded-host"][0], "Example.com:8443");
    assert_eq!(headers["x-forwarded-proto"][0], "http");
    assert_eq!(headers["x-forwarded-prefix"][0], "/demo/hello");
    assert_eq!(headers["x-request-id"][0], "given-1");
    assert!(headers["proxy"].is_null(), "{headers}");

    let answer = home
        .get("/demo/hello/x")
        .header("X-Request-Id", "no\"good")
        .await;
    let made = answer.json()["headers"]["x-request-id"][0].clone();
    assert_eq!(made.as_str().unwrap().len(), 32, "nginx makes one: {made}");
    let accesses = home.accesses(2).await;
    assert_eq!(accesses[1].id, made, "the log has the one that was sent");
    // Of two, neither is believed.
    let answer = home
        .get("/demo/hello/x")
        .header("X-Request-Id", "one")
        .header("X-Request-Id", "two")
        .await;
    let made = answer.json()["headers"]["x-request-id"][0].clone();
    assert_eq!(made.as_str().unwrap().len(), 32, "nginx makes one: {made}");
}

/// An operator has a say in what is sent on.
#[tokio::test]
async fn maps_come_before_the_module() {
    let home = Home::builder("maps")
        .http("map $uri $corefn_request_id { default mine; }")
        .http("map $uri $corefn_host { default elsewhere:1; }")
        .start()
        .await;
    home.deploy("demo/hello", probe::config()).await;
    let answer = home.get("/demo/hello/x").await;
    let headers = &answer.json()["headers"];
    assert_eq!(headers["x-request-id"][0], "mine");
    assert_eq!(headers["host"][0], "elsewhere:1");
    assert_eq!(headers["x-forwarded-host"][0], "elsewhere:1");
    assert_eq!(home.accesses(1).await[0].id, "mine");
}

#[tokio::test]
async fn function_knows_itself() {
    let home = Home::start("env").await;
    let config = FunctionConfig {
        env: [("GREETING".to_owned(), "hi there=1".to_owned())].into(),
        ..probe::config()
    };
    home.deploy("demo/hello", config).await;
    let got = home.get("/demo/hello/env").await.json();
    assert_eq!(got[env::PORT], "8080");
    assert_eq!(got[env::FUNCTION], "demo/hello");
    assert_eq!(got[env::REVISION], "r1");
    assert_eq!(got[env::INSTANCE], home.accesses(1).await[0].instance);
    assert_eq!(got["GREETING"], "hi there=1");
}

#[tokio::test]
async fn function_is_confined() {
    let home = Home::start("sandbox").await;
    home.deploy("demo/one", probe::config()).await;
    home.deploy("demo/two", probe::config()).await;
    let got = home.get("/demo/one/whoami").await.json();
    assert_eq!(got["uid"], "65534");
    assert_eq!(got["gid"], "65534");
    for capabilities in ["effective", "permitted", "bounding"] {
        assert_eq!(got[capabilities], "0000000000000000", "{capabilities}");
    }
    assert_eq!(got["no_new_privileges"], "1");
    // (A filter, as seccomp(2) has it: Docker's own, where it is not told of another.)
    assert_eq!(got["seccomp"], "2");
    assert_eq!(got["root_writable"], false);
    assert_eq!(got["tmp_writable"], true);

    assert_eq!(home.get("/demo/two/status/200").await.status, 200);
    let two = home.accesses(2).await[1].upstream.replace(':', "/");
    let reached = home.get(&format!("/demo/one/reach/{two}")).await;
    assert_ne!(reached.json(), "reached", "one function reaches another");
}

#[tokio::test]
async fn routes_of_hosts() {
    let home = Home::start("routes").await;
    let config = FunctionConfig {
        routes: vec![
            "api.example.com/v1".parse().unwrap(),
            "/short".parse().unwrap(),
        ],
        ..probe::config()
    };
    home.deploy("demo/hello", config).await;
    let rows = [
        ("api.example.com", "/v1/users", Some("/users")),
        ("API.example.COM:80", "/v1", Some("/")),
        ("api.example.com", "/v2", None),
        ("example.com", "/v1/users", None),
        ("example.com", "/short/x", Some("/x")),
        ("example.com", "/shorter", None),
        ("example.com", "/demo/hello/x", Some("/x")),
    ];
    for (host, path, want) in rows {
        let answer = home.get(path).header("Host", host).await;
        match want {
            Some(target) => assert_eq!(answer.json()["target"], target, "{host} {path}"),
            None => assert_eq!(answer.error(), Some("unknown-function"), "{host} {path}"),
        }
    }
}

#[tokio::test]
async fn redirects_and_cookies_stay_with_the_function() {
    let home = Home::start("prefix").await;
    let config = FunctionConfig {
        routes: ["by.example", "by.example/v1"]
            .map(|route| route.parse().unwrap())
            .to_vec(),
        ..probe::config()
    };
    home.deploy("demo/hello", config).await;
    // What the function says, what the client gets of it under a prefix, and by host alone.
    let locations = [
        ("/login", "/demo/hello/login"),
        ("/", "/demo/hello/"),
        ("/login?next=/a", "/demo/hello/login?next=/a"),
        ("/demo/hello/login", "/demo/hello/login"),
        ("/demo/hello", "/demo/hello"),
        ("/demo/hello?x", "/demo/hello?x"),
        ("/demo/helloworld", "/demo/hello/demo/helloworld"),
        ("login", "login"),
        ("//other.example/x", "//other.example/x"),
        ("https://other.example/login", "https://other.example/login"),
        (
            "http://h.example/login",
            "http://h.example/demo/hello/login",
        ),
        ("https://h.example", "https://h.example/demo/hello"),
        (
            "http://h.example/demo/hello/x",
            "http://h.example/demo/hello/x",
        ),
        ("http://h.example.org/login", "http://h.example.org/login"),
    ];
    for (said, want) in locations {
        let path = format!("/answers/Location?{said}");
        let ask = async |host: &str, prefix: &str| {
            let request = home.get(&format!("{prefix}{path}"));
            let answer = request.header("Host", host).await;
            answer.header("location").unwrap().to_owned()
        };
        assert_eq!(ask("h.example", "/demo/hello").await, want, "{said}");
        assert_eq!(ask("by.example", "").await, said, "{said} by host");
    }
    let request = home.get("/v1/answers/Location?/login");
    let answer = request.header("Host", "by.example").await;
    assert_eq!(answer.header("location"), Some("/v1/login"));

    let cookies = [
        ("a=1;Path=/", "a=1;Path=/demo/hello"),
        (
            "a=1;path=/admin;Secure",
            "a=1;path=/demo/hello/admin;Secure",
        ),
        ("a=1;Path=/demo/hello", "a=1;Path=/demo/hello"),
        ("a=1;Path=/demo/hello/", "a=1;Path=/demo/hello/"),
        (
            "a=1;Path=/demo/helloworld",
            "a=1;Path=/demo/hello/demo/helloworld",
        ),
        ("a=/;Domain=h.example", "a=/;Domain=h.example"),
    ];
    for (said, want) in cookies {
        for (host, prefix, want) in [("h.example", "/demo/hello", want), ("by.example", "", said)] {
            let path = format!("{prefix}/answers/Set-Cookie?{said}&b=2;Path=/b");
            let answer = home.get(&path).header("Host", host).await;
            // nginx puts a space after each semicolon.
            let got = answer.all("set-cookie").into_iter();
            let got: Vec<_> = got.map(|cookie| cookie.replace("; ", ";")).collect();
            let other = format!("b=2;Path={prefix}/b");
            assert_eq!(got, [want, &other], "{host}");
        }
    }
}

#[tokio::test]
async fn health_path_decides_when_a_function_is_ready() {
    // Enough for a container to be started on a busy machine.
    let home = Home::builder("health")
        .server(
            "location /demo/bad { corefn on; corefn_start_timeout 8s; \
             proxy_pass http://functions$corefn_uri; include corefn/proxy.conf; }",
        )
        .start()
        .await;
    let good = FunctionConfig {
        health: Some("/status/204".to_owned()),
        ..probe::config()
    };
    let bad = FunctionConfig {
        health: Some("/status/500".to_owned()),
        ..probe::config()
    };
    home.deploy("demo/good", good).await;
    home.deploy("demo/bad", bad).await;
    assert_eq!(home.get("/demo/good/x").await.status, 200);
    let answer = home.get("/demo/bad/x").await;
    assert_eq!(
        (answer.status, answer.error()),
        (504, Some("function-not-listening"))
    );
    assert!(
        home.error_log().contains("/status/500 did not succeed"),
        "the log names the path"
    );
}
