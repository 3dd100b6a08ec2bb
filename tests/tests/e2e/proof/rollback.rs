//! How fast the way back is, and how exactly requests are split.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use bollard::models::ContainerCreateBody;
use bollard::query_parameters::{CreateContainerOptions, StartContainerOptions};
use corefn_core::deployment::Deployment;
use corefn_core::names::{env, label};
use corefn_tests::cli::corefn;
use corefn_tests::{Home, probe};

use crate::deploys::{Watchers, assert_all_warm};
use crate::release::{release, shares, with_revisions};

/// Within how many times of what Docker takes to create and start a container, beside the same load, the revision must
/// answer, counted from the command's begin. Where Docker takes a quarter of a second, this is the promised second.
const MOST: f64 = 4.0;

/// How many ways back there are.
const TIMES: usize = 20;

/// How long Docker takes to create and start a container of a revision.
async fn start(home: &Home, deployment: &Deployment) -> Duration {
    let client = home.docker.client().await.unwrap();
    let body = ContainerCreateBody {
        image: Some(deployment.image.clone()),
        labels: Some(HashMap::from([(
            label::NAMESPACE.to_owned(),
            home.namespace().to_owned(),
        )])),
        ..ContainerCreateBody::default()
    };
    let begin = Instant::now();
    let created = client.create_container(None::<CreateContainerOptions>, body);
    let id = created.await.unwrap().id;
    let started = client.start_container(&id, None::<StartContainerOptions>);
    started.await.unwrap();
    let took = begin.elapsed();
    home.docker.remove(&id).await.unwrap();
    took
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

#[tokio::test]
async fn answers_within_a_second_under_load() {
    let mut home = Home::start("rollback").await;
    home.start_cleaner(None);
    let mut deployments = Vec::new();
    for _ in 0..2 {
        let deployment = home.image("demo/hello", probe::idle(2)).await;
        home.switch_warm(&deployment).await;
        home.knows("demo/hello", &deployment.revision.0).await;
        deployments.push(deployment);
    }
    let watchers = Watchers::start(&home, 8);
    watchers.see("r2").await;
    let (mut times, mut starts) = (Vec::new(), Vec::new());
    let mut asked = 0;
    for number in 0..TIMES {
        let to = ["r1", "r2"][number % 2];
        let begin = Instant::now();
        let command = corefn(&home, &["rollback", "demo/hello"]);
        let answered = async {
            loop {
                let answer = home.get("/demo/hello/env").await;
                asked += 1;
                assert_eq!(answer.status, 200, "{}", answer.text());
                if answer.json()[env::REVISION] == to {
                    return begin.elapsed();
                }
            }
        };
        let (ran, took) = tokio::join!(command, answered);
        ran.succeeded();
        times.push(took);
        watchers.see(to).await;
        starts.push(start(&home, &deployments[number % 2]).await);
    }
    let seen = watchers.finish().await;
    assert_all_warm(&home, seen.len() + asked).await;
    times.sort();
    let (least, most) = (times[0], times[TIMES - 1]);
    let (median, start) = (median(times), median(starts));
    let ratio = median.as_secs_f64() / start.as_secs_f64();
    println!(
        "the revision before answers {median:?} after the command began ({least:?} to {most:?}), {ratio:.2} of Docker's own \
         {start:?}; of {} requests none failed or had to wait for a start",
        seen.len() + asked,
    );
    assert!(ratio <= MOST, "{ratio:.2}");
}

/// Of so many requests to four workers a tenth gets the revision that is released to it, within two in a hundred.
#[tokio::test]
async fn a_tenth_is_a_tenth() {
    const COUNT: usize = 10_000;
    let home = with_revisions("tenth", 4, 2, probe::idle(600)).await;
    release(&home, "r2", &["r1", "--weight", "10"]).await;
    let seen = shares(&home, COUNT).await;
    println!("of {COUNT} requests each revision got {seen:?}");
    let off = seen["r1"].abs_diff(COUNT / 10);
    assert!(off <= COUNT * 2 / 100, "{seen:?}");
    let accesses = home.accesses(COUNT).await;
    let workers: HashSet<_> = accesses.iter().map(|access| &access.worker).collect();
    assert_eq!(workers.len(), 4, "all of them served some");
}
