//! What one function says is never another's answer. (`proof::tenants` tries it while all is killed.)

use corefn_core::config::FunctionConfig;
use corefn_tests::{Client, Home, probe};

/// The variable by which an instance shows whose it is.
const TENANT: &str = "TENANT";

fn tenant(name: &str, route: &str) -> FunctionConfig {
    FunctionConfig {
        routes: vec![route.parse().unwrap()],
        env: [(TENANT.to_owned(), name.to_owned())].into(),
        ..probe::idle(600)
    }
}

/// Who answers for a path of a host, and whether that comes from the cache.
async fn who(client: &Client, host: &str, path: &str) -> (String, bool) {
    let answer = client.get(path).header("host", host).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let tenant = answer.json()[TENANT].as_str().unwrap().to_owned();
    (tenant, answer.header("x-cache") == Some("HIT"))
}

#[tokio::test]
async fn cached_answers_are_of_the_function_that_is_asked() {
    let folder = tempfile::tempdir().unwrap();
    let cache = format!(
        "proxy_cache_path {} keys_zone=answers:1m;\n",
        folder.path().display()
    );
    let location = "proxy_cache answers; proxy_cache_valid 200 1h; add_header X-Cache $upstream_cache_status;\n";
    let builder = Home::builder("cached").http(&cache).location(location);
    let home = builder.cached().start().await;
    let client = home.client();
    home.deploy("alice/one", tenant("alice/one", "a.example/"))
        .await;
    home.deploy("bob/two", tenant("bob/two", "b.example/"))
        .await;
    let first = ("alice/one".to_owned(), false);
    assert_eq!(who(&client, "a.example", "/env").await, first);
    assert_eq!(
        who(&client, "b.example", "/env").await,
        ("bob/two".to_owned(), false)
    );
    assert_eq!(
        who(&client, "a.example", "/env").await,
        ("alice/one".to_owned(), true)
    );
    assert_eq!(
        who(&client, "b.example", "/env").await,
        ("bob/two".to_owned(), true)
    );
    // A route that has another owner now.
    home.deploy("alice/one", tenant("alice/one", "c.example/"))
        .await;
    home.deploy("bob/two", tenant("bob/two", "a.example/"))
        .await;
    assert_eq!(
        who(&client, "a.example", "/env").await,
        ("bob/two".to_owned(), false)
    );
}
