//! What it costs nginx to start and to reload where ten thousand functions are deployed, against an nginx without the module.

use std::time::{Duration, Instant};

use corefn_tests::Home;
use corefn_tests::client::Answer;

use super::{COUNTS, TIMES, deploy, deployment};

/// How much longer than without the module it may take.
const MOST: f64 = 1.2;

/// The least times of one nginx, until its workers are there and it has answered.
struct Times {
    start: Duration,
    reload: Duration,
}

async fn answered(home: &Home) {
    let answer: Answer = home.client().get(corefn_tests::nginx::STATUS).await;
    assert_eq!(answer.status, 200);
}

async fn take(home: &mut Home, times: &mut Times) {
    let begin = Instant::now();
    home.start_nginx().await;
    answered(home).await;
    times.start = times.start.min(begin.elapsed());
    let begin = Instant::now();
    home.reload().await;
    answered(home).await;
    times.reload = times.reload.min(begin.elapsed());
    home.nginx.stop().await;
}

#[tokio::test]
async fn nginx_that_starts() {
    let never = || Times {
        start: Duration::MAX,
        reload: Duration::MAX,
    };
    for workers in [2, 4, 8] {
        let builder = |name: &str| Home::builder(name).workers(workers).without_nginx();
        let mut home = builder("scalestart").start().await;
        let mut plain = builder("scaleplain").without_module().start().await;
        let count = COUNTS[COUNTS.len() - 1];
        let all: Vec<_> = (0..count).map(|number| deployment(number, 0)).collect();
        deploy(&home, &all).await;
        let (mut with, mut without) = (never(), never());
        // (In turns, and each of them the first in every other.)
        for turn in 0..TIMES {
            if turn % 2 == 0 {
                take(&mut home, &mut with).await;
                take(&mut plain, &mut without).await;
            } else {
                take(&mut plain, &mut without).await;
                take(&mut home, &mut with).await;
            }
        }
        for (what, with, without) in [
            ("start", with.start, without.start),
            ("reload", with.reload, without.reload),
        ] {
            let ratio = with.as_secs_f64() / without.as_secs_f64();
            println!(
                "{what} of {workers} workers with {count} functions: {with:.1?}, without the module {without:.1?}, ratio {ratio:.2}"
            );
            assert!(ratio <= MOST, "a {what} takes {ratio:.2} times as long");
        }
    }
}
