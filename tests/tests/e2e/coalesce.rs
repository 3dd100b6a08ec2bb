//! Cold starts are shared: by all who wait for one, on all workers.

use std::collections::HashSet;
use std::time::Duration;

use corefn_tests::{Home, probe, wait_until};
use tokio::task::JoinSet;

#[tokio::test]
async fn two_hundred_first_requests_start_one_container() {
    let home = Home::builder("coalesce").docker_proxy().start().await;
    home.deploy("demo/hello", probe::config()).await;
    let events = home.events().await;

    // The start is held until several workers wait for it.
    home.proxy().delay("/start");
    let requests = home.begin_on_several("/demo/hello/env", 200).await;
    home.proxy().release();
    let answers = requests.join_all().await;

    let failed: Vec<_> = answers
        .iter()
        .filter(|answer| answer.status != 200)
        .collect();
    assert!(
        failed.is_empty(),
        "{} of {} failed: {:?}",
        failed.len(),
        answers.len(),
        failed.first()
    );
    assert_eq!(events.created("demo/hello").await, 1);
    let accesses = home.accesses(answers.len()).await;
    let workers: HashSet<_> = accesses.iter().map(|access| &access.worker).collect();
    assert!(
        workers.len() > 1,
        "the test wants several workers to wait: {workers:?}"
    );
    let instances: HashSet<_> = accesses.iter().map(|access| &access.instance).collect();
    assert_eq!(instances.len(), 1, "{instances:?}");
}

#[tokio::test]
async fn slow_start_is_waited_for_by_all() {
    let home = Home::builder("slow").docker_proxy().start().await;
    home.deploy("demo/hello", probe::misbehaving("slow-start:3000"))
        .await;
    let events = home.events().await;
    home.proxy().delay("/start");
    let requests = home.begin("/demo/hello/env", 50);
    home.until_under_way(50).await;
    let begin = std::time::Instant::now();
    home.proxy().release();
    let answers = requests.join_all().await;
    assert!(begin.elapsed() >= Duration::from_secs(3));
    assert!(answers.iter().all(|answer| answer.status == 200));
    assert_eq!(events.created("demo/hello").await, 1);
    let accesses = home.accesses(50).await;
    assert!(
        accesses
            .iter()
            .all(|access| access.start == "cold" && access.waited() > 2.0)
    );
}

#[tokio::test]
async fn several_functions_start_side_by_side() {
    let home = Home::builder("several").docker_proxy().start().await;
    let functions: Vec<String> = (0..4).map(|number| format!("demo/f{number}")).collect();
    for function in &functions {
        home.deploy(function, probe::config()).await;
    }
    home.proxy().delay("/start");
    let mut requests = JoinSet::new();
    for function in &functions {
        for _ in 0..5 {
            let (request, function) = (home.get(&format!("/{function}/env")), function.clone());
            requests.spawn(async move {
                let answer = request.await;
                assert_eq!(answer.status, 200, "{}", answer.text());
                let env = corefn_core::names::env::FUNCTION;
                assert_eq!(
                    answer.json()[env],
                    function.as_str(),
                    "another function has answered"
                );
            });
        }
    }
    let what = "all are started at the same time";
    wait_until(what, Duration::from_secs(30), async || {
        home.proxy().count("/start") == functions.len()
    })
    .await;
    home.proxy().release();
    requests.join_all().await;
}
