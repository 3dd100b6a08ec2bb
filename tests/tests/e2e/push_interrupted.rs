//! Pushers who go away while their push is being built.

use std::collections::HashMap;
use std::fs::{self, File};
use std::time::{Duration, SystemTime};

use bollard::models::{ContainerConfig, ContainerCreateBody};
use bollard::query_parameters::{
    CommitContainerOptionsBuilder, CreateContainerOptions, ImportImageOptions,
    InspectContainerOptions, ListContainersOptionsBuilder, ListImagesOptionsBuilder,
};
use corefn_build::image::{self, Traces};
use corefn_build::output::Output;
use corefn_build::repository;
use corefn_core::names::{HOST_FILE, env, label};
use corefn_tests::cli::corefn;
use corefn_tests::folder::Folder;
use corefn_tests::git_host::GitHost;
use corefn_tests::push::{Pushing, Repository};
use corefn_tests::slow::Slow;
use corefn_tests::{Home, docker, wait_for, wait_until};
use futures_util::StreamExt as _;

use crate::push_rejected::deployed;

/// How soon a build must be gone.
pub const SOON: Duration = Duration::from_secs(30);

/// How a pusher goes away.
#[derive(Debug, Clone, Copy)]
pub enum Leave {
    /// With Ctrl-C, which all processes of the terminal get.
    Interrupt,
    /// With SIGKILL to git push alone, as when a connection breaks.
    Kill,
}

#[tokio::test]
async fn dockerfile_ends_with_its_pusher() {
    let home = Home::builder("docker-c").without_nginx().start().await;
    let hello = Repository::create(&home, "demo/hello").await;
    let mark = format!("test.mark={}", home.namespace());
    hello.write(
        "Dockerfile",
        &format!("FROM debian:bookworm-slim\nLABEL {mark}\nRUN echo be\"\"gun; sleep 600\n"),
    );
    hello.commit("Sleeps").await;
    // (Docker shows the command as well, but for the quotes.)
    for leave in [Leave::Interrupt, Leave::Kill] {
        let mut push = hello.begin_push("main");
        push.until("begun").await;
        // Docker's own builder has no labels for its containers but the image's.
        assert_eq!(marked(&home, &mark).await, 1);
        match leave {
            Leave::Interrupt => push.interrupt(),
            Leave::Kill => push.kill().await,
        }
        let what = format!("the build is gone after {leave:?}");
        wait_until(&what, SOON, async || marked(&home, &mark).await == 0).await;
        // The hook keeps its lock until it has removed them.
        let lock = lock(&home.folder, &hello).await;
        let log = hello
            .run("cat $(git remote get-url origin)/corefn/builds/*")
            .await;
        assert_eq!(layers(&home, &mark).await, 0, "{leave:?}: {log}");
        drop(lock);
        assert_eq!(hello.head("main").await, None);
    }
}

/// Waits until no push to a repository is being built, and keeps it so.
pub async fn lock(folder: &Folder, repository: &Repository) -> File {
    let projects = folder.file("projects");
    let repository = repository::Repository::open(repository.bare(), &projects).unwrap();
    repository.lock(&mut Output::default()).await.unwrap()
}

/// How many containers have a label.
async fn marked(home: &Home, mark: &str) -> usize {
    let options = ListContainersOptionsBuilder::default()
        .all(true)
        .filters(&HashMap::from([("label", vec![mark.to_owned()])]))
        .build();
    let client = home.docker.client().await.unwrap();
    client.list_containers(Some(options)).await.unwrap().len()
}

/// How many images and layers have a label.
async fn layers(home: &Home, mark: &str) -> usize {
    let options = ListImagesOptionsBuilder::default()
        .all(true)
        .filters(&HashMap::from([("label", vec![mark.to_owned()])]))
        .build();
    let client = home.docker.client().await.unwrap();
    client.list_images(Some(options)).await.unwrap().len()
}

/// Docker goes on with a step that it has begun, whatever becomes of who asked for it: that makes one layer more.
#[tokio::test]
async fn builds_end_between_their_steps() {
    let home = Home::builder("steps").without_nginx().start().await;
    let settings = home.folder.read(HOST_FILE);
    let hello = Repository::create(&home, "demo/hello").await;
    let mark = format!("test.mark={}", home.namespace());
    let steps: String = (0..15).map(|step| format!("ENV STEP={step}\n")).collect();
    let text = format!("FROM debian:bookworm-slim\nLABEL {mark}\n{steps}RUN sleep 600\n");
    hello.write("Dockerfile", &text);
    hello.commit("Steps").await;
    home.folder.write(
        HOST_FILE,
        format!("{settings}\n[build]\ntimeout = '500ms'\n"),
    );
    let pushed = hello.push().await;
    pushed.rejected(&["the build was ended: it took longer than 500ms"]);
    assert_eq!(layers(&home, &mark).await, 0);
    home.folder.write(HOST_FILE, settings);
    let mut push = hello.begin_push("main");
    push.until("Step 5/").await;
    push.kill().await;
    // The hook keeps its lock until it has removed all.
    let lock = lock(&home.folder, &hello).await;
    assert_eq!(layers(&home, &mark).await, 0);
    drop(lock);
}

/// A command can print what looks like Docker's own line about a container that is not the build's.
#[tokio::test]
async fn builds_end_nobody_elses_containers() {
    let home = Home::builder("others").without_nginx().start().await;
    let settings = home.folder.read(HOST_FILE);
    let hello = deployed(&home, "demo/hello").await;
    let instance = home.instances("demo/hello").await[0].id.clone();
    let text = hello.read("Dockerfile");
    // (Docker shows the command as well, but for the quotes.)
    let line = format!("echo ' ---> Run''ning in {}'", &instance[..12]);
    let more = "dd if=/dev/zero of=/more bs=1M count=64 status=none";
    hello.write(
        "Dockerfile",
        &format!("{text}RUN {line}; {more}; sleep 600\n"),
    );
    hello.commit("Pretends").await;
    let limits = "[build]\ndisk = '32M'\npids = 60\n";
    home.folder
        .write(HOST_FILE, format!("{settings}\n{limits}"));
    let before = processes(&home, &instance).await;
    let pushed = hello.push().await;
    let line = format!("---> Running in {}", &instance[..12]);
    assert!(pushed.output.contains(&line), "{}", pushed.output);
    // It is its own container that is watched, and not the other's.
    pushed.rejected(&["the build was ended: it wrote more than"]);
    assert_eq!(processes(&home, &instance).await, before);
    let instances = home.instances("demo/hello").await;
    assert!(instances[0].id == instance && instances[0].running);
}

/// How many processes a container may have.
async fn processes(home: &Home, container: &str) -> Option<i64> {
    let client = home.docker.client().await.unwrap();
    let none = None::<InspectContainerOptions>;
    let found = client.inspect_container(container, none).await.unwrap();
    found.host_config.unwrap().pids_limit
}

/// As when Docker is slow to end a build that was broken off.
#[tokio::test]
async fn layers_go_with_the_container_that_uses_them() {
    let home = Home::builder("layers").without_nginx().start().await;
    let mark = format!("test.mark={}", home.namespace());
    let docker = &home.docker;
    let client = docker.client().await.unwrap();
    let create = async |image: &str| {
        let config = ContainerCreateBody {
            image: Some(image.to_owned()),
            labels: Some(HashMap::from([(
                label::NAMESPACE.to_owned(),
                home.namespace().to_owned(),
            )])),
            ..ContainerCreateBody::default()
        };
        let created = client.create_container(None::<CreateContainerOptions>, config);
        created.await.unwrap().id
    };
    let base = create("debian:bookworm-slim").await;
    let options = CommitContainerOptionsBuilder::default()
        .container(&base)
        .changes(&format!("LABEL {mark}"))
        .build();
    let made = client.commit_container(options, ContainerConfig::default());
    let layer = made.await.unwrap().id;
    let uses_it = create(&layer).await;
    let ends = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        docker.remove(&uses_it).await.unwrap();
    };
    let mut traces = Traces::default();
    traces.note(&format!(" ---> {}", &layer["sha256:".len()..][..12]));
    traces.note(&format!(" ---> Running in {}", &uses_it[..12]));
    let (removed, ()) = tokio::join!(traces.remove(docker), ends);
    removed.unwrap();
    assert_eq!(layers(&home, &mark).await, 0);
}

/// What Docker makes of a step whose layer below is removed at that moment, and tells nobody of.
#[tokio::test]
async fn layers_without_a_parent_are_removed() {
    let home = Home::builder("orphans").without_nginx().start().await;
    let mark = format!("test.mark={}", home.namespace());
    let client = home.docker.client().await.unwrap();
    let create = client.create_container(
        None::<CreateContainerOptions>,
        ContainerCreateBody {
            image: Some("debian:bookworm-slim".to_owned()),
            ..ContainerCreateBody::default()
        },
    );
    let container = create.await.unwrap().id;
    let begin = SystemTime::now();
    let commit = async |tag: &str| {
        let options = CommitContainerOptionsBuilder::default()
            .container(&container)
            .repo(tag)
            .changes(&format!("LABEL {mark}"))
            .build();
        let made = client.commit_container(options, ContainerConfig::default());
        made.await.unwrap().id
    };
    let named = format!("{}/named", home.namespace());
    let (orphan, kept) = (commit("").await, commit(&named).await);
    home.docker.remove(&container).await.unwrap();
    // One that is loaded has no parent.
    let saved: Vec<_> = client.export_image(&orphan).collect().await;
    let saved = saved.into_iter().map(Result::unwrap);
    home.docker.remove_image(&orphan).await.unwrap();
    assert_eq!(layers(&home, &mark).await, 1);
    let body = bollard::body_full(saved.flatten().collect());
    let loaded = client.import_image(ImportImageOptions::default(), body, None);
    let _: Vec<_> = loaded.collect().await;
    assert_eq!(layers(&home, &mark).await, 2);
    let later = begin + Duration::from_secs(3600);
    image::remove_orphans(&home.docker, later).await.unwrap();
    assert_eq!(layers(&home, &mark).await, 2);
    image::remove_orphans(&home.docker, begin).await.unwrap();
    assert_eq!(layers(&home, &mark).await, 1);
    home.docker.remove_image(&kept).await.unwrap();
}

/// Another push of the same files that is given up takes away what both have made.
#[tokio::test]
async fn layers_that_are_lost_are_made_again() {
    let home = Home::builder("lost")
        .without_functions()
        .docker_proxy()
        .start()
        .await;
    let settings = home.folder.read(HOST_FILE);
    let proxied = settings.replace(docker::URL, &home.proxy().url());
    home.folder.write(HOST_FILE, proxied);
    let hello = Repository::create(&home, "demo/hello").await;
    hello.example("dockerfile").await;
    hello.write("mine", home.namespace());
    hello.replace(
        "Dockerfile",
        "COPY server.pl /server.pl",
        "COPY server.pl mine /",
    );
    hello.commit("Mine").await;
    // The second call makes an image of the revision of what the first has built.
    let labelled = format!("t={}", home.namespace());
    home.proxy().delay(&labelled);
    let mut push = hello.begin_push("main");
    let built = push.until("Successfully built").await;
    let what = "the image is about to be labelled";
    wait_until(what, SOON, async || home.proxy().count(&labelled) == 1).await;
    let layer = built.rsplit(' ').next().unwrap();
    home.docker.remove_image(layer).await.unwrap();
    home.proxy().release();
    let pushed = push.end().await.accepted();
    assert_eq!(pushed.output.matches("Successfully built").count(), 2);
}

#[tokio::test]
async fn second_push_waits_for_the_first() {
    let home = Home::builder("at-once").without_nginx().start().await;
    let hello = Repository::create(&home, "demo/hello").await;
    hello.example("dockerfile").await;
    hello.replace(
        "Dockerfile",
        "COPY",
        &format!("RUN echo begun {}; sleep 6\nCOPY", home.namespace()),
    );
    let first = hello.commit("Slow").await;
    let mut slow = hello.begin_push("main");
    slow.until("begun").await;
    hello.replace("server.pl", "from Perl", "from Perl again");
    hello.commit("Quick").await;
    let way_back = corefn(&home, &["rollback", "demo/hello"]);
    let (quick, back) = tokio::join!(hello.push(), way_back);
    let slow = slow.end().await.accepted();
    // So does the way back, which finds what the first has deployed, and nothing before it.
    let waits = "another push to this repository is being built: waiting for it";
    back.failed(1, &[waits, "nothing was deployed of demo/hello before"]);
    let left = corefn(&home, &["revisions", "demo/hello", "--json"])
        .await
        .json();
    assert_eq!(left[0]["revision"], slow.revision());
    quick.rejected(&[
        "another push to this repository is being built: waiting for it",
        "main has been pushed to meanwhile: fetch, and push again",
    ]);
    assert_eq!(hello.head("main").await, Some(first));
}

/// What whoever deploys tells Redis last: an event, in a text of JSON.
const DEPLOYED: &str = r#"\"type\":\"deployed\""#;

/// The revision that answers.
async fn answers(home: &Home) -> String {
    let answer = home.get("/demo/hello/env").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()[env::REVISION].as_str().unwrap().to_owned()
}

/// Pushes, and returns when the function is deployed and whoever did it does not know yet.
async fn push_halfway(home: &Home, repository: &Repository, slow: &Slow) -> (Pushing, String) {
    let old = answers(home).await;
    slow.withhold(DEPLOYED);
    let push = repository.begin_push("main");
    let new = wait_for("another answers", SOON, async || {
        let new = answers(home).await;
        (new != old).then_some(new)
    });
    (push, new.await)
}

/// A push that is killed when it is deployed, and before its branch is moved.
#[tokio::test]
async fn branch_follows_what_was_deployed() {
    let home = Home::start("halfway").await;
    let slow = home.slow_programs(Duration::ZERO);
    let repository = Repository::create(&home, "demo/hello").await;
    repository.probe("");
    let first = repository.commit("One").await;
    repository.push().await.accepted();

    // Whoever pushes the same again, has it.
    let second = repository.commit("Two").await;
    let (push, revision) = push_halfway(&home, &repository, &slow).await;
    drop(push);
    assert_eq!(repository.head("main").await, Some(first));
    slow.release();
    let says = format!(
        "revision {revision} is deployed, by a push that was broken off: main is moved there"
    );
    let again = repository.push().await.accepted().says(&[&says]);
    assert!(!again.output.contains("==> starting"), "{}", again.output);
    assert_eq!(repository.head("main").await.as_ref(), Some(&second));
    assert_eq!(answers(&home).await, revision);
    repository
        .push()
        .await
        .accepted()
        .says(&["Everything up-to-date"]);

    // Whoever pushes something that follows it, goes on from there.
    repository.commit("Three").await;
    let (push, revision) = push_halfway(&home, &repository, &slow).await;
    drop(push);
    assert_eq!(repository.head("main").await, Some(second));
    slow.release();
    let fourth = repository.commit("Four").await;
    let says = format!("revision {revision} is deployed, by a push that was broken off");
    let pushed = repository.push().await.accepted().says(&[&says]);
    home.knows("demo/hello", &pushed.revision()).await;
    assert_eq!(answers(&home).await, pushed.revision());
    assert_eq!(repository.head("main").await.as_ref(), Some(&fourth));

    // Whoever pushes something else has to fetch first.
    repository.commit("Five").await;
    let (push, _) = push_halfway(&home, &repository, &slow).await;
    drop(push);
    slow.release();
    let fifth = repository.git("rev-parse HEAD").await;
    repository.git("reset -q --hard HEAD^").await;
    repository.commit("Six").await;
    repository
        .push()
        .await
        .rejected(&["main has been pushed to meanwhile: fetch, and push again"]);
    assert_eq!(repository.head("main").await, Some(fifth));
    repository.git("pull -q --rebase origin main").await;
    let sixth = repository.push().await.accepted().revision();
    home.knows("demo/hello", &sixth).await;
    assert_eq!(answers(&home).await, sixth);

    // What was not deployed, though it was about to be, is not moved to.
    let mark = repository.bare().join("corefn/holds");
    let unborn = format!(
        "20000101T000000-0123456 {} refs/heads/main\n",
        "0".repeat(40)
    );
    fs::write(&mark, unborn).unwrap();
    let seventh = repository.commit("Seven").await;
    repository.push().await.accepted();
    assert_eq!(repository.head("main").await, Some(seventh));
    assert!(!mark.exists());
}

/// The same where the builder is another process than the hook, and is killed alone.
#[tokio::test]
async fn branch_follows_what_a_builder_has_deployed() {
    let home = Home::start("halfwayhost").await;
    let slow = home.slow_programs(Duration::ZERO);
    let mut git_host = GitHost::start(&home).await;
    let alice = git_host.person(&home, "demo").await;
    let repository = Repository::of(&home, &git_host, &alice, "demo/hello").await;
    repository.probe("");
    let first = repository.commit("One").await;
    repository.push().await.accepted();
    let second = repository.commit("Two").await;
    let (push, revision) = push_halfway(&home, &repository, &slow).await;
    git_host.kill_builder().await;
    push.end().await.rejected(&["the builder broke off"]);
    assert_eq!(repository.head("main").await, Some(first));
    slow.release();
    git_host.start_builder().await;
    let says = format!(
        "revision {revision} is deployed, by a push that was broken off: main is moved there"
    );
    repository.push().await.accepted().says(&[&says]);
    assert_eq!(repository.head("main").await, Some(second));
    assert_eq!(answers(&home).await, revision);
}
