//! The images that a `Dockerfile` names, and what else Docker itself would fetch by it.

use std::collections::HashMap;

use bollard::query_parameters::{
    CreateImageOptionsBuilder, PushImageOptionsBuilder, RemoveImageOptions,
};
use corefn_build::image::of_program;
use corefn_core::names::HOST_FILE;
use corefn_engine::docker::Docker;
use corefn_tests::push::{Pushed, Repository};
use corefn_tests::registry::Registry;
use corefn_tests::{Home, probe};
use futures_util::TryStreamExt as _;

use crate::push_rejected::{State, deployed, dockerfile};

/// An address that no build may read.
const METADATA: &str = "http://169.254.169.254/latest/meta-data/";

/// Pushes a repository with this `Dockerfile`.
async fn pushed(repository: &Repository, text: &str) -> Pushed {
    repository.write("Dockerfile", text);
    repository.commit(text).await;
    let pushed = repository.push().await;
    println!("---- {text}\n{}\n", pushed.output);
    pushed
}

#[tokio::test]
async fn docker_reads_nothing_for_a_pusher() {
    let home = Home::builder("readings").without_nginx().start().await;
    let hello = deployed(&home, "demo/hello").await;
    let secret = deployed(&home, "demo/secret").await;
    let good = State::of(&home, &hello).await;
    let others = format!("{}/demo/secret:current", home.namespace());
    let id = home.docker.client().await.unwrap();
    let id = id.inspect_image(&others).await.unwrap().id.unwrap();
    let (begin, digits) = (&id[7..19], &id[7..]);
    let text = dockerfile(&home);
    let function = "is an image of CoreFn's functions: begin with one that is made for that";
    let address = "can be an address, which Docker would fetch from the host's own network";
    for (text, says) in [
        (format!("{text}ADD {METADATA} /x\n"), address),
        (format!("{text}ENV A={METADATA}\nADD $A /x\n"), address),
        (format!("{text}ONBUILD ADD {METADATA} /x\n"), address),
        (
            format!("{text}AD\\\nD [\"\\u0068ttp://h/\", \"/x\"]\n"),
            address,
        ),
        (format!("FROM {others}\n"), function),
        (format!("FROM docker.io/{others}\n"), function),
        (
            format!(
                "ARG OF=secret\nFROM {}/demo/$OF:current\n",
                home.namespace()
            ),
            function,
        ),
        (format!("{text}COPY --from={others} / /x\n"), function),
        (
            format!("FROM {begin}\n"),
            "Dockerfile:1: Docker could not pull the image docker.io/library/",
        ),
        (
            format!("FROM {digits}\n"),
            "Dockerfile:1: Docker could not pull the image docker.io/library/",
        ),
        (
            format!("FROM {id}\n"),
            "Dockerfile:1: Docker could not pull the image docker.io/library/sha256:",
        ),
        (
            format!("{text}COPY --from={begin} / /x\n"),
            "Dockerfile:5: Docker could not pull the image ",
        ),
        (
            "FROM localhost:1/x\n".to_owned(),
            "build.registries of the host's settings must name it",
        ),
    ] {
        pushed(&hello, &text).await.rejected(&["error: ", says]);
        assert_eq!(State::of(&home, &hello).await, good, "{text}");
    }
    drop(secret);
}

#[tokio::test]
async fn images_come_from_the_registries_that_are_allowed() {
    let home = Home::builder("registry")
        .without_nginx()
        .gated()
        .start()
        .await;
    let registry = Registry::start(&home.folder).await;
    let host = registry.address().to_string();
    let docker = Docker::new(corefn_tests::docker::URL, home.namespace());
    let client = docker.client().await.unwrap();
    let [files, evil] = ["files", "evil"].map(|name| format!("{host}/{name}"));
    let remove = async |name: &str| {
        let tag = format!("{name}:1");
        let removed = client.remove_image(&tag, None::<RemoveImageOptions>, None);
        removed.await.unwrap();
    };
    of_program(
        &docker,
        &format!("{files}:1"),
        &HashMap::new(),
        &probe::executable(),
    )
    .await
    .unwrap();
    // One that has Docker fetch something for whoever begins with it.
    let options = CreateImageOptionsBuilder::default()
        .from_src("-")
        .repo(&evil)
        .tag("1")
        .changes(vec![format!("ONBUILD ADD {METADATA} /x")])
        .build();
    let empty = bollard::body_full(vec![0; 1024].into());
    let made = client.create_image(Some(options), Some(empty), None);
    made.try_collect::<Vec<_>>().await.unwrap();
    for name in [&files, &evil] {
        let options = PushImageOptionsBuilder::default().tag("1").build();
        let pushing = client.push_image(name, Some(options), None);
        pushing.try_collect::<Vec<_>>().await.unwrap();
        remove(name).await;
    }

    let hello = deployed(&home, "demo/hello").await;
    let good = State::of(&home, &hello).await;
    let text = format!(
        "FROM {files}:1 AS first\n{}COPY --from=first / /first\nCOPY --from={files}:1 / /second\n",
        dockerfile(&home)
    );
    let rejected = pushed(&hello, &text).await;
    rejected.rejected(&["is not pulled: ", "build.registries of the host's settings"]);
    let settings = home.folder.read(HOST_FILE);
    let allowing = |registry: &str| {
        let settings = format!("{settings}\n[build]\nregistries = ['{registry}']\n");
        home.folder.write(HOST_FILE, settings);
    };
    allowing("docker.io");
    let rejected = pushed(&hello, &format!("{text}# Again\n")).await;
    rejected.rejected(&[
        "none of the registries that the operator allows (build.registries: docker.io)",
    ]);
    allowing(&host);
    let rejected = pushed(&hello, &format!("FROM {evil}:1\n")).await;
    rejected.rejected(&[
        "Dockerfile:1: ",
        "by its ONBUILD ADD http://169.254.169.254",
    ]);
    assert_eq!(State::of(&home, &hello).await, good);
    let step = format!("FROM {files}:1 AS first");
    let accepted = pushed(&hello, &text).await.accepted();
    let copied = format!("COPY --from={files}:1 / /second");
    accepted.says(&[
        "Pulling from files",
        "Status: Downloaded",
        &step,
        &copied,
        "deployed demo/hello",
    ]);
    let log = home.folder.read("log/gate.log");
    assert!(!log.contains("is refused"), "{log}");
    for name in [&files, &evil] {
        remove(name).await;
    }
}
