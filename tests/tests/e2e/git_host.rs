//! Pushes and commands over ssh: who may what, and that nothing else is to be had there.

use std::time::Duration;

use corefn_core::invocation::InvocationId;
use corefn_core::names::env;
use corefn_tests::cli::corefn;
use corefn_tests::git_host::GitHost;
use corefn_tests::programs::program;
use corefn_tests::push::Repository;
use corefn_tests::{Home, wait_until};

const LONG: Duration = Duration::from_secs(30);

/// What git says of a refused key.
const REFUSED: &str = "Permission denied (publickey)";

#[tokio::test]
async fn push_over_ssh_deploys() {
    let home = Home::start("ssh").await;
    let git_host = GitHost::start(&home).await;
    let alice = git_host.person(&home, "alice").await;
    // The repository is made by the push.
    let hello = Repository::of(&home, &git_host, &alice, "alice/hello").await;
    hello.example("dockerfile").await;
    hello.replace(
        "server.pl",
        "while (1) {",
        "warn \"it listens\\n\";\nwhile (1) {",
    );
    hello.commit("Tells").await;
    let pushed = hello.push().await.accepted();
    let pushed = pushed.says(&[
        "==> pushed by alice",
        "==> deployed alice/hello",
        "stack    dockerfile",
    ]);
    home.knows("alice/hello", &pushed.revision()).await;
    let answer = home.get("/alice/hello/x").await;
    assert_eq!(answer.text(), "GET /x, 0 bytes, from Perl\n");
    assert_eq!(
        hello.head("main").await,
        Some(hello.git("rev-parse HEAD").await)
    );

    // What fails changes nothing, and says why.
    hello.write("corefn.toml", "[function]\ncolour = 1\n");
    hello.commit("Wrong").await;
    hello.push().await.rejected(&["corefn.toml:2:1", "colour"]);

    // The command line's words, with the same output.
    let here = corefn(&home, &["ls", "--json"]).await;
    let there = alice.ssh("ls --json").await;
    assert_eq!(there.succeeded(), here.succeeded());
    let here_ls = here.output;
    let described = alice.ssh("describe alice/hello").await;
    assert!(
        described.succeeded().contains("\naccount      alice\n"),
        "{described:?}"
    );
    assert!(alice.ssh("ps").await.succeeded().contains("alice/hello"));
    let here = corefn(&home, &["logs", "alice/hello"]).await;
    let there = alice.ssh("logs alice/hello").await;
    assert_eq!(there.succeeded(), here.succeeded());
    assert!(there.output.contains("it listens"), "{there:?}");
    let builds = alice.ssh("builds --json").await;
    let builds: serde_json::Value = serde_json::from_str(builds.succeeded()).unwrap();
    assert_eq!(builds.as_array().unwrap().len(), 2);
    assert_eq!(builds[0]["result"], "rejected");
    assert_eq!(builds[1]["result"], "deployed");
    for build in builds.as_array().unwrap() {
        assert_eq!(build["account"], "alice");
        assert_eq!(build["repository"], "alice/hello");
    }
    let log = alice
        .ssh(&format!("builds log {}", pushed.revision()))
        .await;
    assert!(log.succeeded().contains("==> deployed alice/hello"));
    alice
        .ssh("builds log ../../../host.toml")
        .await
        .failed(1, &["no log of a build"]);
    // From anywhere, by the same words.
    let port = git_host.address().port();
    let program = program("corefn").display().to_string();
    let anywhere = home.folder.file("anywhere");
    std::fs::create_dir_all(anywhere.join("corefn")).unwrap();
    let settings = format!("[remotes]\nhere = 'git@127.0.0.1:{port}'\n");
    std::fs::write(anywhere.join("corefn/config.toml"), settings).unwrap();
    let corefn = async |words: &str| {
        let set = format!("export XDG_CONFIG_HOME='{}'", anywhere.display());
        let script = format!("unset {}\n{set}\n'{program}' {words}", env::HOME);
        alice.shell(&anywhere, &script).await
    };
    for remote in [&format!("127.0.0.1:{port}"), "here"] {
        let far = corefn(&format!("--remote {remote} ls --json")).await;
        assert_eq!(far.succeeded(), here_ls, "{remote}");
    }
    let far = corefn("--remote here rollback alice/hello").await;
    far.failed(1, &["nothing was deployed of alice/hello before"]);
    corefn("ls").await.failed(1, &["error: no home"]);
    // From nothing to an answer.
    let begun = corefn("init dockerfile").await;
    assert!(begun.succeeded().contains("corefn deploy"), "{begun:?}");
    corefn("init dockerfile")
        .await
        .failed(1, &["is there already"]);
    corefn("deploy alice/new").await.failed(1, &["git init"]);
    let git = async |words: &str| alice.shell(&anywhere, &format!("git {words}")).await;
    git("init -q -b trunk").await.succeeded();
    corefn("deploy alice/new")
        .await
        .failed(1, &["nothing is committed here"]);
    git("add Dockerfile server.pl").await.succeeded();
    git("commit -qm First").await.succeeded();
    corefn("deploy")
        .await
        .failed(1, &["say where, as in corefn deploy alice/hello"]);
    let first = corefn("--remote here deploy alice/new").await;
    assert!(first.errors.contains("==> deployed alice/new"), "{first:?}");
    assert!(
        first
            .errors
            .contains("changes of 1 files are not committed"),
        "{first:?}"
    );
    git("commit -q --allow-empty -m Second").await.succeeded();
    let second = corefn("deploy").await;
    assert!(
        second.errors.contains("==> deployed alice/new"),
        "{second:?}"
    );
    let here_ls = self::corefn(&home, &["ls", "--json"]).await.output;
    assert_eq!(corefn("--remote here ls --json").await.output, here_ls);
    corefn("--remote 'a b' ls")
        .await
        .failed(1, &["is no git host"]);
    alice.ssh("version").await.succeeded();
    alice.ssh("colour").await.failed(2, &["colour"]);
    alice.ssh("ls --colour").await.failed(2, &["--colour"]);
}

#[tokio::test]
async fn accounts_are_let_in_and_out() {
    let home = Home::builder("grants").without_nginx().start().await;
    let git_host = GitHost::start(&home).await;
    let alice = git_host.person(&home, "alice").await;
    let bob = git_host.person(&home, "bob").await;
    let hello = Repository::of(&home, &git_host, &alice, "alice/hello").await;
    hello.example("dockerfile").await;
    hello.push().await.accepted();

    // To others it is as if nothing were there.
    let unknown = "there is no repository alice/hello, or none that bob may see";
    let his = Repository::of(&home, &git_host, &bob, "alice/hello").await;
    his.example("dockerfile").await;
    his.push().await.rejected(&[unknown]);
    bob.ssh("git-upload-pack '/alice/hello'")
        .await
        .failed(1, &[unknown]);
    for list in ["ls --json", "ps --json", "builds --json"] {
        assert_eq!(bob.ssh(list).await.succeeded().trim(), "[]", "{list}");
    }
    for word in ["logs", "revisions", "rollback"] {
        let refused = bob.ssh(&format!("{word} alice/hello")).await;
        refused.failed(1, &["none that bob may see"]);
    }
    bob.ssh("access grant alice/hello bob owner")
        .await
        .failed(1, &["bob does not own alice/hello"]);
    let other = Repository::of(&home, &git_host, &bob, "alice/other").await;
    other.example("dockerfile").await;
    other.push().await.rejected(&["alice/other"]);
    assert!(!git_host.bare("alice/other").exists());

    // A reader fetches and sees.
    alice
        .ssh("access grant alice/hello bob reader")
        .await
        .succeeded();
    his.git("fetch -q origin").await;
    assert_eq!(
        his.git("rev-parse origin/main").await,
        hello.git("rev-parse HEAD").await
    );
    assert!(bob.ssh("ls").await.succeeded().contains("alice/hello"));
    assert!(
        bob.ssh("access list")
            .await
            .succeeded()
            .contains("alice/hello")
    );
    let pushed = his.push().await;
    pushed.rejected(&["bob may fetch from alice/hello and not push to it"]);
    assert!(
        bob.ssh("revisions alice/hello")
            .await
            .succeeded()
            .contains("current")
    );
    for word in [
        "rollback alice/hello",
        "promote alice/hello 2",
        "env set alice/hello A=1",
        "secret set alice/hello B",
    ] {
        bob.ssh(word)
            .await
            .failed(1, &["ask who owns it for the role writer"]);
    }

    // A writer pushes.
    corefn(&home, &["access", "grant", "alice/hello", "bob", "writer"])
        .await
        .succeeded();
    his.git("reset -q --hard origin/main").await;
    his.replace("server.pl", "from Perl", "from Bob");
    his.commit("Better").await;
    his.push().await.accepted();
    // And goes back, to what another has pushed.
    let revisions = alice.ssh("revisions alice/hello --json").await;
    let revisions: serde_json::Value = serde_json::from_str(revisions.succeeded()).unwrap();
    let of = |at: usize, key: &str| revisions[at][key].as_str().unwrap();
    assert_eq!((of(0, "state"), of(0, "account")), ("current", "bob"));
    assert_eq!((of(1, "state"), of(1, "account")), ("previous", "alice"));
    assert_eq!(of(1, "commit"), hello.git("rev-parse HEAD").await);
    let back = bob.ssh("rollback alice/hello").await;
    assert!(back.succeeded().contains(of(1, "revision")), "{back:?}");
    let forth = bob
        .ssh(&format!("promote alice/hello {}", of(0, "commit")))
        .await;
    assert!(forth.succeeded().contains(of(0, "revision")), "{forth:?}");
    // And sets variables.
    let set = bob.ssh("env set alice/hello 'A=x y' --json").await;
    let set: serde_json::Value = serde_json::from_str(set.succeeded()).unwrap();
    let listed = alice.ssh("env list alice/hello --json").await;
    assert!(
        listed.succeeded().contains("\"value\": \"x y\""),
        "{listed:?}"
    );
    let revisions = alice.ssh("revisions alice/hello --json").await;
    let revisions: serde_json::Value = serde_json::from_str(revisions.succeeded()).unwrap();
    assert_eq!(revisions[0]["revision"], set["revision"]);
    assert_eq!(revisions[0]["account"], "bob");
    // And secrets, which nobody is shown.
    let set = bob
        .ssh_typing("hidden", "secret set alice/hello B --json")
        .await;
    let set: serde_json::Value = serde_json::from_str(set.succeeded()).unwrap();
    let listed = alice.ssh("secret list alice/hello --json").await;
    let rows: serde_json::Value = serde_json::from_str(listed.succeeded()).unwrap();
    assert_eq!(
        (&rows[0]["name"], &rows[0]["waits"]),
        (&"B".into(), &false.into())
    );
    for shown in [
        "describe alice/hello",
        "env list alice/hello",
        "secret list alice/hello",
    ] {
        let shown = alice.ssh(shown).await;
        assert!(!shown.succeeded().contains("hidden"), "{shown:?}");
    }
    let revisions = alice.ssh("revisions alice/hello --json").await;
    let revisions: serde_json::Value = serde_json::from_str(revisions.succeeded()).unwrap();
    assert_eq!(revisions[0]["revision"], set["revision"]);
    let unset = bob.ssh("secret unset alice/hello B").await;
    unset.succeeded();
    bob.ssh("secret rotate")
        .await
        .failed(1, &["on the host itself"]);
    bob.ssh_typing("x", "secret set carol/hello A")
        .await
        .failed(1, &["carol/hello"]);
    bob.ssh("gc").await.failed(1, &["on the host itself"]);
    bob.ssh("access grant alice/hello carol reader")
        .await
        .failed(1, &["bob does not own alice/hello"]);

    // What is taken back is gone with the next connection, and so is a key.
    alice.ssh("access revoke alice/hello bob").await.succeeded();
    bob.ssh("git-upload-pack '/alice/hello'")
        .await
        .failed(1, &[unknown]);
    corefn(&home, &["key", "rm", "bob", "test"])
        .await
        .succeeded();
    bob.ssh("ls").await.failed(255, &[REFUSED]);
    let stranger = git_host.stranger("mallory");
    stranger.ssh("ls").await.failed(255, &[REFUSED]);
    his.push().await.rejected(&[REFUSED]);
}

/// Whoever owns something removes it, and everybody sees to their own keys.
#[tokio::test]
async fn owners_see_to_what_is_theirs() {
    let home = Home::builder("owners").without_nginx().start().await;
    let git_host = GitHost::start(&home).await;
    let alice = git_host.person(&home, "alice").await;
    let bob = git_host.person(&home, "bob").await;
    let hello = Repository::of(&home, &git_host, &alice, "alice/hello").await;
    hello.example("dockerfile").await;
    hello.push().await.accepted();
    alice
        .ssh("access grant alice/hello bob writer")
        .await
        .succeeded();

    // A second key, which is used at once, and dead at once.
    let laptop = git_host.stranger("laptop");
    laptop.ssh("ls").await.failed(255, &[REFUSED]);
    let from = format!("< '{}.pub'", laptop.key().display());
    let added = alice.ssh_with(&from, "key add alice --name laptop").await;
    assert!(
        added.succeeded().contains("is alice's, as laptop"),
        "{added:?}"
    );
    assert!(laptop.ssh("ls").await.succeeded().contains("alice/hello"));
    let keys = laptop.ssh("key list").await;
    assert!(keys.succeeded().contains("laptop"), "{keys:?}");
    bob.ssh_with(&from, "key add bob --name mine")
        .await
        .failed(1, &["the key is alice's already, as laptop"]);
    alice.ssh("key rm alice laptop").await.succeeded();
    laptop.ssh("ls").await.failed(255, &[REFUSED]);

    // Invocations that wait are seen and removed by who may push.
    let (function, id) = (
        "alice/hello".parse().unwrap(),
        InvocationId::from_random([0, 1]),
    );
    home.store.enqueue(&function, &[id]).await.unwrap();
    let carol = git_host.person(&home, "carol").await;
    assert_eq!(carol.ssh("queue ls --json").await.succeeded().trim(), "[]");
    carol
        .ssh("queue ls alice/hello")
        .await
        .failed(1, &["there is no function alice/hello"]);
    let listed = bob.ssh("queue ls alice/hello").await;
    assert!(listed.succeeded().contains(&id.to_string()), "{listed:?}");
    bob.ssh("queue rm alice/hello --all")
        .await
        .failed(1, &["say --yes"]);
    let removed = bob.ssh("queue rm alice/hello --all --yes").await;
    assert!(removed.succeeded().contains("removed 1 invocations"));

    // Who may push may not remove.
    bob.ssh("rm alice/hello --repository")
        .await
        .failed(1, &["bob does not own alice/hello, so it can't remove it"]);
    let removed = alice.ssh("rm --yes alice/hello").await;
    assert!(
        removed.succeeded().contains("removed alice/hello"),
        "{removed:?}"
    );
    assert!(
        removed.errors.contains("a push to it deploys again"),
        "{removed:?}"
    );
    assert_eq!(alice.ssh("ls --json").await.succeeded().trim(), "[]");
    assert!(home.docker.images().await.unwrap().is_empty());
    hello.commit("Again").await;
    hello.push().await.accepted();
    let removed = alice.ssh("rm --yes alice/hello --repository").await;
    assert!(removed.errors.contains("deleted "), "{removed:?}");
    assert!(!git_host.bare("alice/hello").exists());
    hello.push().await.accepted();
}

#[tokio::test]
async fn nothing_else_is_to_be_had() {
    let home = Home::builder("locked").without_nginx().start().await;
    let git_host = GitHost::start(&home).await;
    let alice = git_host.person(&home, "alice").await;
    alice
        .ssh("")
        .await
        .failed(1, &["you are alice, and there is no shell here"]);
    for (command, code, says) in [
        ("sh -c id", 2, "unrecognized subcommand 'sh'"),
        // Nothing of it reaches a shell.
        (
            "id; git-upload-pack '/alice/hello'",
            2,
            "unrecognized subcommand 'id;'",
        ),
        ("git-shell", 1, "not for this host"),
        ("git config --list", 1, "not for this host"),
        ("git-upload-pack '/../../etc'", 1, "is no repository"),
        (
            "git-receive-pack /alice/hello --help",
            1,
            "not for this host",
        ),
        ("ls --home /tmp", 1, "not for those who come over ssh"),
        ("git-host serve bob", 1, "not for this host"),
        ("firewall remove", 1, "done on the host itself"),
        ("key add alice", 1, "standard input is no public key"),
        ("key add alice /etc/passwd", 1, "send the key itself"),
        (
            "key add bob",
            1,
            "alice may only see and change its own keys",
        ),
        (
            "key rm bob test",
            1,
            "alice may only see and change its own keys",
        ),
        (
            "key list bob",
            1,
            "alice may only see and change its own keys",
        ),
        (
            "rm --yes alice/hello",
            1,
            "there is no function alice/hello",
        ),
        ("rm alice/hello", 1, "say --yes if it shall"),
        ("gc", 1, "on the host itself"),
        ("man /tmp", 1, "by corefn itself"),
        (
            "ls --remote git@localhost",
            1,
            "not for those who come over ssh",
        ),
        (
            "rm bob/hello",
            1,
            "there is no function bob/hello, or none that alice may see",
        ),
        ("scp -t /tmp", 2, "unrecognized subcommand 'scp'"),
    ] {
        alice.ssh(command).await.failed(code, &[says]);
    }
    // No terminal, no subsystem, no forwarding in either direction, no environment.
    let tty = alice.ssh_with("-tt", "version").await;
    assert!(
        tty.errors.contains("PTY allocation request failed"),
        "{tty:?}"
    );
    let sftp = alice.ssh_with("-s", "sftp").await;
    assert!(sftp.errors.contains("subsystem request failed"), "{sftp:?}");
    let stdio = alice.ssh_with("-W 127.0.0.1:22", "").await;
    assert!(
        stdio.errors.contains("stdio forwarding failed"),
        "{stdio:?}"
    );
    let remote = alice
        .ssh_with("-o ExitOnForwardFailure=yes -R 0:127.0.0.1:22", "version")
        .await;
    assert!(remote.errors.contains("forwarding failed"), "{remote:?}");
    let environment = alice
        .ssh_with(
            &format!(
                "-o SetEnv=SSH_ORIGINAL_COMMAND=ls -o SetEnv={}=/tmp",
                env::HOME
            ),
            "version",
        )
        .await;
    assert!(environment.succeeded().starts_with("corefn "));

    // What the operator makes is the account's as well, and whoever may push to it does.
    for _ in 0..2 {
        corefn(&home, &["repo", "create", "alice/made"])
            .await
            .succeeded();
    }
    let made = Repository::of(&home, &git_host, &alice, "alice/made").await;
    made.git("commit -q --allow-empty -m Empty").await;
    made.push()
        .await
        .rejected(&["the pushed commit has no files"]);

    // Whoever breaks out of git has neither the settings nor Redis nor Docker.
    for script in [
        "cat host.toml",
        "redis-cli -s run/redis.sock ping | grep PONG",
        "docker -H unix:///var/run/docker.sock version",
        "touch access.toml",
        "cat git/host_key",
    ] {
        let ran = git_host.as_account(script).await;
        assert_ne!(ran.code, 0, "{script}: {ran:?}");
    }
    assert_eq!(git_host.as_account("cat git.toml").await.code, 0);
}

#[tokio::test]
async fn pusher_over_ssh_goes_away() {
    let home = Home::builder("sshgone").without_nginx().start().await;
    let mut git_host = GitHost::start(&home).await;
    let alice = git_host.person(&home, "alice").await;
    let hello = Repository::of(&home, &git_host, &alice, "alice/hello").await;
    let mark = home.namespace();
    hello.write(
        "Dockerfile",
        &format!("FROM debian:bookworm-slim\nRUN echo be\"\"gun {mark}; sleep 600\n"),
    );
    hello.commit("Sleeps").await;
    let mut push = hello.begin_push("main");
    push.until("begun").await;
    // Another has to wait for its turn: one push is built at a time here.
    let other = Repository::of(&home, &git_host, &alice, "alice/other").await;
    other.example("dockerfile").await;
    let mut waits = other.begin_push("main");
    waits
        .until("as many other pushes are being built as may be")
        .await;
    push.kill().await;
    waits.end().await.accepted();
    assert_eq!(hello.head("main").await, None);

    // The builder ends what it builds, and says so.
    let mut push = hello.begin_push("main");
    push.until("begun").await;
    git_host.stop_builder().await;
    push.end()
        .await
        .rejected(&["the builder was told to", "nothing was deployed"]);
    hello
        .push()
        .await
        .rejected(&["the builder at", "have the operator start it"]);
    alice.ssh("ls").await.failed(1, &["the builder at"]);
    git_host.start_builder().await;
    wait_until("it works again", LONG, async || {
        alice.ssh("ls").await.code == 0
    })
    .await;
}

/// What comes over ssh and is none of git's, or too much, or made to do harm.
#[tokio::test]
async fn bad_pushes_over_ssh_change_nothing() {
    let home = Home::builder("sshbad").without_nginx().start().await;
    let git_host = GitHost::start(&home).await;
    let alice = git_host.person(&home, "alice").await;
    let hello = Repository::of(&home, &git_host, &alice, "alice/hello").await;
    // Names that few would choose, and one that nobody else has: Docker may know the same files already.
    hello.example("dockerfile").await;
    hello.write("mine", home.namespace());
    hello.replace(
        "Dockerfile",
        "COPY",
        "COPY . /all\nRUN ls -b /all | sort > /list && cat /list\nCOPY",
    );
    hello
        .run("printf x > \"$(printf 'caf\\351')\"; printf x > 'two\nlines'; printf x > \"it's \\\"\\$HOME\\\"\"")
        .await;
    hello.commit("Names").await;
    hello.push().await.accepted().says(&[
        "caf\\351",
        "two\\nlines",
        "it's\\ \"$HOME\"",
        "==> deployed alice/hello",
    ]);
    let head = hello.head("main").await;

    // Too much: a file that can't be made smaller.
    hello.run("head -c 5000000 /dev/urandom > large").await;
    hello.commit("Large").await;
    hello
        .push()
        .await
        .rejected(&["pack exceeds maximum allowed size"]);
    hello.git("reset -q --hard HEAD^").await;

    // A tree that git itself does not make: with a folder .git, and hooks in it.
    let script = "hook=$(printf '#!/bin/sh\\ntouch /tmp/broken-out\\n' | git hash-object -w --stdin); \
                  hooks=$(printf \"100755 blob $hook\\tpost-receive\\n\" | git mktree); \
                  inner=$(printf \"040000 tree $hooks\\thooks\\n\" | git mktree); \
                  outer=$(printf \"040000 tree $inner\\t.git\\n\" | git mktree); \
                  git commit-tree $outer -p HEAD -m 'A folder .git'";
    let commit = hello.run(script).await;
    let pushed = hello.begin_push(&format!("{commit}:main")).end().await;
    pushed.rejected(&["hasDotgit"]);

    // References that are none, or the repository's own.
    let pushed = hello.begin_push("HEAD:refs/heads/../../HEAD").end().await;
    assert!(!pushed.accepted, "{}", pushed.output);
    assert_eq!(hello.head("main").await, head);

    // Two at once: one lands, the other is told.
    let bob = git_host.person(&home, "bob").await;
    alice
        .ssh("access grant alice/hello bob writer")
        .await
        .succeeded();
    let his = Repository::of(&home, &git_host, &bob, "alice/hello").await;
    his.git("fetch -q origin").await;
    his.git("reset -q --hard origin/main").await;
    for (repository, message) in [(&hello, "One"), (&his, "Two")] {
        let command = format!("commit -q --allow-empty -m {message}");
        repository.git(&command).await;
    }
    let pushes = (hello.begin_push("main"), his.begin_push("main"));
    let (one, two) = tokio::join!(pushes.0.end(), pushes.1.end());
    let said = format!("{}\n\n{}", one.output, two.output);
    assert_ne!(one.accepted, two.accepted, "{said}");
    assert!(said.contains("rejected"), "{said}");

    // An old commit, by force, is deployed as any other.
    let old = head.unwrap();
    let back = hello.begin_push(&format!("+{old}:main")).end().await;
    back.accepted().says(&["==> deployed alice/hello"]);
    assert_eq!(hello.head("main").await, Some(old));

    // A crowd of strangers takes what sshd gives to strangers, and no more.
    let address = git_host.address();
    let mut crowd = Vec::new();
    for _ in 0..500 {
        crowd.extend(std::net::TcpStream::connect(address).ok());
    }
    assert!(git_host.sessions() <= 70, "{}", git_host.sessions());
    drop(crowd);
    wait_until("those who have a key come in again", LONG, async || {
        alice.ssh("ls").await.code == 0
    })
    .await;
    assert!(!std::path::Path::new("/tmp/broken-out").exists());
}

/// What is pushed is kept until it is built, which others may put off for long.
#[tokio::test]
async fn pushes_that_wait_take_so_much_disk_and_no_more() {
    let home = Home::builder("pending").without_nginx().start().await;
    home.set("max_pending = '3M'\n");
    let git_host = GitHost::start(&home).await;
    let alice = git_host.person(&home, "alice").await;
    let large = async |name: &str| {
        let repository = Repository::of(&home, &git_host, &alice, name).await;
        repository.example("dockerfile").await;
        repository.run("head -c 2000000 /dev/zero > large").await;
        repository
    };
    let first = large("alice/first").await;
    first
        .run("echo 'RUN echo be\"\"gun; sleep 600' >> Dockerfile")
        .await;
    first.commit("Sleeps").await;
    let mut building = first.begin_push("main");
    building.until("begun").await;

    let second = large("alice/second").await;
    second.commit("As large").await;
    second.push().await.rejected(&[
        "more than 3.1 MB of files, this one's included (max_pending of the host's settings)",
        "push again when others are done",
    ]);
    // There is room for a small one, which waits for its turn.
    let small = Repository::of(&home, &git_host, &alice, "alice/small").await;
    small.example("dockerfile").await;
    let mut waiting = small.begin_push("main");
    waiting.until("waiting for a turn").await;
    building.interrupt();
    waiting.end().await.accepted();
    second.push().await.accepted();
}
