//! Pushes of static files.

use corefn_tests::Home;
use corefn_tests::push::{Repository, keep_stack};

/// Types, folders, ranges, conditional requests and compression.
#[tokio::test]
async fn files_become_a_site() {
    let home = Home::start("static").await;
    keep_stack(&home, "static").await;
    let site = Repository::create(&home, "demo/site").await;
    site.example("static").await;
    site.write("about.html", "About");
    site.write("a b%.txt", "0123456789");
    site.write(".hidden", "nobody's");
    site.write(".well-known/x", "known");
    site.run("ln -s a\\ b%.txt link.txt && printf '\\211PNG\\r\\n\\032\\n' > picture")
        .await;
    site.commit("More").await;
    let pushed = site
        .push()
        .await
        .accepted()
        .says(&["stack static", "Files: 9, "]);
    home.knows("demo/site", &pushed.revision()).await;

    for (path, status, kind, text) in [
        ("/", 200, "text/html; charset=utf-8", "Hello world!"),
        (
            "/docs/",
            200,
            "text/html; charset=utf-8",
            "A folder's page.",
        ),
        (
            "/style.css",
            200,
            "text/css; charset=utf-8",
            "worth compressing",
        ),
        ("/about", 200, "text/html; charset=utf-8", "About"),
        (
            "/a%20b%25.txt",
            200,
            "text/plain; charset=utf-8",
            "0123456789",
        ),
        ("/link.txt", 200, "text/plain; charset=utf-8", "0123456789"),
        ("/picture", 200, "image/png", "PNG"),
        ("/.well-known/x", 200, "text/plain; charset=utf-8", "known"),
        ("/.hidden", 404, "text/plain; charset=utf-8", "no such file"),
        ("/nothing", 404, "text/plain; charset=utf-8", "no such file"),
        (
            "/index.json",
            404,
            "text/plain; charset=utf-8",
            "no such file",
        ),
        (
            "/files/index.html",
            404,
            "text/plain; charset=utf-8",
            "no such file",
        ),
    ] {
        let answer = home.get(&format!("/demo/site{path}")).await;
        assert_eq!(
            (answer.status, answer.header("content-type")),
            (status, Some(kind)),
            "{path}"
        );
        assert!(answer.text().contains(text), "{path}: {}", answer.text());
    }
    let moved = home.get("/demo/site/docs?x=1").await;
    assert_eq!(
        (moved.status, moved.header("location")),
        (301, Some("/demo/site/docs/?x=1"))
    );
    assert_eq!(home.client().post("/demo/site/", "x").await.status, 405);

    let style = home.get("/demo/site/style.css").await;
    let tag = style.header("etag").unwrap().to_owned();
    assert_eq!(
        (style.header("vary"), style.header("content-encoding")),
        (Some("Accept-Encoding"), None)
    );
    assert_eq!(
        (style.header("cache-control"), style.header("last-modified")),
        (Some("no-cache"), None)
    );
    let with = async |name: &str, value: &str| {
        let client = home.client();
        client.get("/demo/site/style.css").header(name, value).await
    };
    assert_eq!(with("If-None-Match", &tag).await.status, 304);
    let part = with("Range", "bytes=3-6").await;
    assert_eq!((part.status, &*part.text()), (206, &style.text()[3..7]));
    assert_eq!(part.header("etag"), Some(&*tag));
    assert_eq!(with("Range", "bytes=99999-").await.status, 416);
    let small = with("Accept-Encoding", "br, gzip;q=0.5").await;
    assert_eq!(small.header("content-encoding"), Some("gzip"));
    assert!(small.body.len() < style.body.len());
    let other_tag = small.header("etag").unwrap().to_owned();
    assert_ne!(other_tag, tag);
    assert_eq!(
        with("Accept-Encoding", "gzip;q=0")
            .await
            .header("content-encoding"),
        None
    );

    // What has changed is told apart, though it has the same length, and what hasn't is the same.
    site.replace("style.css", "#222", "#333");
    site.write("404.html", "Not here");
    site.commit("Another colour").await;
    let pushed = site.push().await.accepted();
    home.knows("demo/site", &pushed.revision()).await;
    let changed = with("If-None-Match", &tag).await;
    assert_eq!(changed.status, 200);
    assert!(changed.text().contains("#333"));
    let missing = home.get("/demo/site/nothing").await;
    assert_eq!((missing.status, &*missing.text()), (404, "Not here"));

    site.run("mkdir public && git mv index.html about.html public/")
        .await;
    site.write("corefn.toml", "[function]\nstack = 'static'\n");
    site.commit("A folder").await;
    let pushed = site.push().await.accepted();
    home.knows("demo/site", &pushed.revision()).await;
    assert_eq!(home.get("/demo/site/about").await.text(), "About");
    assert_eq!(home.get("/demo/site/style.css").await.status, 404);
    site.run("git rm -q -r public && mkdir public && touch public/.keep")
        .await;
    site.commit("Nothing").await;
    site.push().await.rejected(&["there are no files to serve"]);
}
