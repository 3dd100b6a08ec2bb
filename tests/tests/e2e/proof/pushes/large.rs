//! Pushes of many files, of large ones, and of ones with strange names.

use std::time::{Duration, Instant};

use corefn_tests::Home;
use corefn_tests::push::Repository;

/// Makes 100,000 files of a few bytes, by `git fast-import`.
const MANY: &str = r#"
perl -e '
    print "commit refs/heads/main\ncommitter S <s@example.com> 1 +0000\ndata 4\nMany\nfrom refs/heads/main^0\n";
    for my $n (0 .. 99999) { my $t = "file $n"; print "M 100644 inline d", $n % 300, "/$n\ndata ", length $t, "\n$t\n" }
' | git fast-import --quiet
git reset -q --hard main
"#;

/// Names in other encodings than UTF-8, with controls, and such as shells and programs take for something else.
const NAMES: &str = r##"
perl -e '
    for my $name ("caf\xe9", "\x82\xa0", "a\nb", "a\tb", "-rf", "\$(id)", "`id`", "\x27", "\x22", "\\", "*", "~", " ", "\x7f", "#",
                  "x" x 250, "\xf0\x9f\xa6\x80", "e\xcc\x81", "CON", "a:b", "%2e%2e", "..x", "\xff\xfe") {
        open my $file, ">", "./$name" or die "$name: $!"; print $file "$name"; close $file;
    }'
"##;

#[tokio::test]
async fn many_large_and_strange_files() {
    let home = Home::start("large").await;
    let hello = Repository::create(&home, "demo/hello").await;
    hello.example("dockerfile").await;
    hello.push().await.accepted();

    hello.run(NAMES).await;
    hello.replace(
        "Dockerfile",
        "COPY server.pl /server.pl",
        "COPY . /\nCOPY . /app\nRUN ls -A /app | wc -c >/count",
    );
    hello.commit("Names").await;
    let names = hello.run("git ls-tree --name-only -z HEAD | wc -c").await;
    hello.replace(
        "Dockerfile",
        "wc -c >/count",
        &format!("wc -c && test $(ls -A /app | wc -c) = {names}"),
    );
    hello.commit("And their count").await;
    let pushed = hello.push().await.accepted();
    home.knows("demo/hello", &pushed.revision()).await;
    assert_eq!(home.get("/demo/hello/x").await.status, 200);

    hello.run(MANY).await;
    // (Docker itself takes minutes to copy so many.)
    hello.write(".dockerignore", "d*/*\n");
    hello.example("dockerfile").await;
    hello.commit("Without them").await;
    let begin = Instant::now();
    let pushed = hello.push().await.accepted();
    println!("100,000 files: {:?}\n{}", begin.elapsed(), pushed.output);
    assert!(
        begin.elapsed() < Duration::from_secs(120),
        "{:?}",
        begin.elapsed()
    );
    let head = hello.head("main").await;

    // (Zeros are quick to pack.)
    hello.run("head -c 2200000000 /dev/zero >zeros").await;
    hello.commit("Zeros").await;
    hello.push().await.rejected(&[
        "the pushed files have more than 1024 MB: keep what the function does not need",
    ]);
    assert_eq!(hello.head("main").await, head);
    hello.git("reset -q --hard HEAD^").await;

    hello.write(
        "picture.png",
        "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
    );
    hello.commit("A pointer").await;
    hello
        .push()
        .await
        .accepted()
        .says(&["warning: picture.png is a pointer of Git LFS, and so are 0 other files"]);
}
