//! Bodies stream, both ways, and arrive whole.

use std::time::Duration;

use corefn_tests::{Home, pattern, probe, process, wait_until};
use hyper::Method;

const MEGABYTES: usize = 20 << 20;

#[tokio::test]
async fn answer_comes_piece_by_piece() {
    let home = Home::start("chunks").await;
    home.deploy("demo/hello", probe::config()).await;
    assert_eq!(home.get("/demo/hello/x").await.status, 200);

    pieces_come_as_they_are_sent(&home).await;
}

/// The function sends each piece only when it is told that the one before has come.
async fn pieces_come_as_they_are_sent(home: &Home) {
    let mut stream = home.get("/demo/hello/asked/10").open().await.unwrap();
    for number in 0..10 {
        let piece = stream.next().await.unwrap().unwrap();
        assert_eq!(piece, format!("line {number}\n"));
        let told = home.client().post("/demo/hello/upload/asked", "x");
        assert_eq!(told.await.status, 200);
    }
    assert_eq!(stream.next().await.unwrap(), None);
}

#[tokio::test]
async fn request_body_arrives_while_it_is_sent() {
    let home = Home::start("upload").await;
    home.deploy("demo/hello", probe::config()).await;
    // Cold, so the first piece is sent before there is a container.
    for name in ["cold", "warm"] {
        let (request, mut upload) = home
            .client()
            .request(Method::POST, &format!("/demo/hello/upload/{name}"))
            .upload();
        let answer = tokio::spawn(request.send());
        upload.send("first").await.unwrap();
        wait_until(
            "the function sees the first piece",
            Duration::from_secs(30),
            async || home.get(&format!("/demo/hello/seen/{name}")).await.json() == 5,
        )
        .await;
        upload.send(" and last").await.unwrap();
        drop(upload);
        let answer = answer.await.unwrap().unwrap();
        assert_eq!(answer.json()["length"], 14, "{name}");
        assert_eq!(
            answer.json()["sum"],
            pattern::sum(b"first and last"),
            "{name}"
        );
    }
}

#[tokio::test]
async fn large_bodies_are_intact() {
    let home = Home::start("large").await;
    home.deploy("demo/hello", probe::config()).await;
    let bytes = pattern::bytes(MEGABYTES);
    let sum = pattern::sum(&bytes);

    for start in ["cold", "warm"] {
        let answer = home
            .client()
            .post("/demo/hello/upload/large", bytes.clone())
            .await;
        assert_eq!(answer.status, 200, "{start}: {}", answer.text());
        assert_eq!(answer.json()["length"], MEGABYTES, "{start}");
        assert_eq!(answer.json()["sum"], sum, "{start}");
    }
    let answer = home.get(&format!("/demo/hello/download/{MEGABYTES}")).await;
    assert_eq!(answer.body.len(), MEGABYTES);
    assert_eq!(pattern::sum(&answer.body), sum);
}

#[tokio::test]
async fn first_piece_of_a_cold_answer_does_not_wait_for_the_last() {
    let home = Home::start("coldpieces").await;
    home.deploy("demo/hello", probe::config()).await;
    pieces_come_as_they_are_sent(&home).await;
    let accesses = home.accesses(11).await;
    let stream = accesses
        .iter()
        .find(|access| access.uri.contains("/asked/"));
    assert_eq!(stream.unwrap().start, "cold");
}

#[tokio::test]
async fn worker_passes_huge_bodies_on_in_little_memory() {
    const HUGE: usize = 256 << 20;
    const PIECE: usize = 1 << 20;
    // What a worker may need for the buffers of a few connections.
    const LITTLE: u64 = 8 << 20;
    let home = Home::builder("huge")
        .workers(1)
        .location("client_max_body_size 0;")
        .start()
        .await;
    home.deploy("demo/hello", probe::config()).await;
    assert_eq!(home.get("/demo/hello/x").await.status, 200);
    let worker = home.nginx.workers()[0];
    let before = process::peak_memory(worker);

    let (request, mut upload) = home
        .client()
        .request(Method::POST, "/demo/hello/upload/huge")
        .upload();
    let answer = tokio::spawn(request.send());
    for _ in 0..HUGE / PIECE {
        upload.send(vec![b'x'; PIECE]).await.unwrap();
    }
    drop(upload);
    assert_eq!(answer.await.unwrap().unwrap().json()["length"], HUGE);

    let path = format!("/demo/hello/download/{HUGE}");
    let mut stream = home.get(&path).open().await.unwrap();
    let mut length = 0;
    while let Some(piece) = stream.next().await.unwrap() {
        length += piece.len();
    }
    assert_eq!(length, HUGE);
    let more = process::peak_memory(worker) - before;
    assert!(more < LITTLE, "{more} bytes more");
}

#[tokio::test]
async fn small_body_of_a_cold_request_is_intact() {
    let home = Home::start("small").await;
    home.deploy("demo/hello", probe::misbehaving("slow-start:1000"))
        .await;
    let answer = home.client().post("/demo/hello/x", "World").await.json();
    assert_eq!(
        (&answer["method"], &answer["body"]),
        (&"POST".into(), &"World".into())
    );
}

#[tokio::test]
async fn upgraded_connection_works_both_ways() {
    let home = Home::start("upgrade").await;
    home.deploy("demo/hello", probe::config()).await;
    for start in ["cold", "warm"] {
        let mut connection = home.client().connect().await;
        connection
            .write("GET /demo/hello/ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
            .await;
        let answer = connection.head().await;
        assert_eq!(answer.status, 101, "{start}");
        assert_eq!(answer.header("upgrade"), Some("echo"), "{start}");
        for text in ["one", "two, longer", "\0\u{1}three"] {
            connection.write(text).await;
            assert_eq!(
                connection.read(text.len()).await,
                text.as_bytes(),
                "{start}"
            );
        }
    }
}

#[tokio::test]
async fn head_has_no_body() {
    let home = Home::start("head").await;
    home.deploy("demo/hello", probe::config()).await;
    let mut connection = home.client().connect().await;
    for _ in 0..2 {
        connection
            .write("HEAD /demo/hello/download/5000 HTTP/1.1\r\nHost: h\r\n\r\n")
            .await;
        let answer = connection.head().await;
        assert_eq!(
            (answer.status, answer.header("content-length")),
            (200, Some("5000"))
        );
    }
    connection
        .write("GET /demo/hello/status/200 HTTP/1.1\r\nHost: h\r\n\r\n")
        .await;
    assert_eq!(connection.answer().await.text(), "status 200\n");
}

#[tokio::test]
async fn expect_is_answered_before_the_body() {
    let home = Home::start("expect").await;
    home.deploy("demo/hello", probe::config()).await;
    for start in ["cold", "warm"] {
        let mut connection = home.client().connect().await;
        connection
            .write(
                "POST /demo/hello/x HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\
                 Expect: 100-continue\r\n\r\n",
            )
            .await;
        assert_eq!(connection.head().await.status, 100, "{start}");
        connection.write("World").await;
        let answer = connection.answer().await;
        assert_eq!(
            (answer.status, &answer.json()["body"]),
            (200, &"World".into()),
            "{start}"
        );
    }
}

#[tokio::test]
async fn old_clients_are_served() {
    let home = Home::start("http10").await;
    home.deploy("demo/hello", probe::config()).await;
    for start in ["cold", "warm"] {
        let answer = home
            .client()
            .raw("GET /demo/hello/stream/3/50 HTTP/1.0\r\n\r\n")
            .await;
        assert_eq!(answer.status, 200, "{start}");
        assert_eq!(answer.header("transfer-encoding"), None, "{start}");
        assert_eq!(answer.text(), "line 0\nline 1\nline 2\n", "{start}");
    }
    // Without a Host the function still gets one.
    let answer = home
        .client()
        .raw("GET /demo/hello/x HTTP/1.0\r\n\r\n")
        .await;
    let host = answer.json()["headers"]["host"][0].clone();
    assert_eq!(host, "localhost", "nginx's server_name");
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let home = Home::start("pipeline").await;
    home.deploy("demo/hello", probe::config()).await;
    let mut connection = home.client().connect().await;
    let requests: String = (0..5)
        .map(|number| format!("GET /demo/hello/n{number} HTTP/1.1\r\nHost: h\r\n\r\n"))
        .collect();
    connection.write(requests).await;
    for number in 0..5 {
        assert_eq!(
            connection.answer().await.json()["target"],
            format!("/n{number}")
        );
    }
}
