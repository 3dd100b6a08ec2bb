//! How fast the way back is.

use std::time::{Duration, Instant};

use corefn_core::names::env;
use corefn_tests::cli::corefn;
use corefn_tests::{Home, probe};

use crate::deploys::{Watchers, assert_all_warm};

/// Within what time of the command's begin the revision must answer.
const PROMISE: Duration = Duration::from_secs(1);

/// How many ways back there are.
const TIMES: usize = 20;

#[tokio::test]
async fn answers_within_a_second_under_load() {
    let mut home = Home::start("rollback").await;
    home.start_cleaner(None);
    for _ in 0..2 {
        let deployment = home.image("demo/hello", probe::idle(2)).await;
        home.switch_warm(&deployment).await;
        home.knows("demo/hello", &deployment.revision.0).await;
    }
    let watchers = Watchers::start(&home, 8);
    watchers.see("r2").await;
    let mut times = Vec::new();
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
    }
    let seen = watchers.finish().await;
    assert_all_warm(&home, seen.len() + asked).await;
    times.sort();
    let median = times[TIMES / 2];
    println!(
        "the revision before answers {median:?} after the command began ({:?} to {:?}), of {} requests none failed or \
         had to wait for a start",
        times[0],
        times[TIMES - 1],
        seen.len() + asked,
    );
    assert!(median <= PROMISE, "{times:?}");
}
