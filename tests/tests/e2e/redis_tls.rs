//! Redis over TLS.

use std::process::Command;

use corefn_core::names::HOST_FILE;
use corefn_tests::cli::corefn;
use corefn_tests::port::Port;
use corefn_tests::{Home, probe};

/// Runs openssl in a folder.
fn openssl(home: &Home, words: &str) {
    let mut command = Command::new("openssl");
    let command = command.args(words.split_whitespace());
    let done = command.current_dir(home.folder.path()).output().unwrap();
    assert!(
        done.status.success(),
        "{words}: {}",
        String::from_utf8_lossy(&done.stderr)
    );
}

/// Makes an authority, and a certificate of it.
fn certify(home: &Home, authority: &str, name: &str) {
    let key = "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    openssl(
        home,
        &format!(
            "{key} -x509 -days 2 -subj /CN={authority} -keyout {authority}.key -out {authority}.pem"
        ),
    );
    openssl(
        home,
        &format!(
            "{key} -subj /CN={name} -addext subjectAltName=IP:127.0.0.1 -keyout {name}.key -out {name}.csr"
        ),
    );
    openssl(
        home,
        &format!(
            "x509 -req -days 2 -copy_extensions copy -in {name}.csr -CA {authority}.pem -CAkey {authority}.key -CAcreateserial -out {name}.pem"
        ),
    );
}

#[tokio::test]
async fn redis_is_used_over_tls() {
    let mut home = Home::builder("tls").without_nginx().start().await;
    certify(&home, "authority", "redis");
    certify(&home, "stranger", "other");
    let path = |name: &str| home.folder.file(name).display().to_string();
    let port = Port::reserve();
    let number = port.address().port().to_string();
    let settings = [
        ("tls-cert-file", path("redis.pem")),
        ("tls-key-file", path("redis.key")),
        ("tls-ca-cert-file", path("authority.pem")),
        ("tls-port", number.clone()),
    ];
    let mut set = vec!["CONFIG", "SET"];
    set.extend(
        settings
            .iter()
            .flat_map(|(name, value)| [*name, value.as_str()]),
    );
    home.redis.command::<()>(&set).await;

    let of_socket = home.redis.url();
    let (_, user) = of_socket.split_once("?user=").unwrap();
    let user = user.replace("&pass=", ":");
    let url = |query: &str| format!("rediss://{user}@127.0.0.1:{number}/0{query}");
    let known = format!("ca={}", path("authority.pem"));
    let own = format!("cert={}&key={}", path("redis.pem"), path("redis.key"));
    let right = url(&format!("?{known}&{own}"));
    let host = home.folder.read(HOST_FILE);
    let write = |url: &str| {
        let text = host.replace(&of_socket, url);
        assert_ne!(text, host);
        home.folder.write(HOST_FILE, text);
    };
    for (wrong, says) in [
        (url(""), "certificate"),
        (
            url(&format!("?ca={}&{own}", path("stranger.pem"))),
            "certificate",
        ),
        (url(&format!("?{known}")), "certificate"),
        (
            url(&format!("?{known}&cert={0}&key={0}", path("redis.pem"))),
            "key",
        ),
        (url("?ca=/nowhere"), "/nowhere can't be read"),
        (right.replace("127.0.0.1", "localhost"), "certificate"),
    ] {
        write(&wrong);
        let ran = corefn(&home, &["ls"]).await;
        assert!(ran.code != 0, "{wrong}: {ran:?}");
        let text = ran.errors.to_lowercase();
        assert!(
            text.contains(says) && !text.contains("secret"),
            "{wrong}: {ran:?}"
        );
    }
    write(&right);
    home.conf.redis = right;
    home.start_nginx().await;
    home.start_cleaner(Some(1));
    home.deploy("demo/hello", probe::idle(600)).await;
    assert_eq!(home.get("/demo/hello/status/204").await.status, 204);
    let listed = corefn(&home, &["ps"]).await;
    assert!(listed.succeeded().contains("demo/hello"), "{listed:?}");
    // All that is there speaks TLS. (The harness itself is at the socket.)
    let clients: String = home.redis.command(&["CLIENT", "LIST"]).await;
    let over_tls = clients
        .matches(&format!("laddr=127.0.0.1:{number}"))
        .count();
    assert!(over_tls >= 2, "{clients}");
}
