//! Two hundred functions that are asked for at once, where eight sandboxes wait.

use std::time::{Duration, Instant};

use corefn_tests::keeper::Keeper;
use corefn_tests::{Home, probe, wait_until};

use crate::sandbox_starts::{kept, started_from, with_default_limits};
use crate::sandboxes::until_waiting;

const FUNCTIONS: usize = 200;
const SANDBOXES: usize = 8;

/// How long two hundred starts of Docker's may take on a busy machine.
const LONG: Duration = Duration::from_secs(600);

/// By how many places a start may be overtaken: some are under way at the same time, and one takes longer than another.
const OVERTAKEN: usize = 40;

#[tokio::test]
async fn more_functions_than_sandboxes() {
    let mut home = Home::builder("burst")
        .workers(2)
        .location("corefn_start_timeout 600s;")
        .without_nginx()
        .start()
        .await;
    let _keeper = Keeper::start_with_nginx(
        &mut home,
        &format!("floor = {SANDBOXES}\nceiling = {SANDBOXES}"),
    )
    .await;
    let name = |number: usize| format!("demo/f{number}");
    for number in 0..FUNCTIONS {
        home.deploy(&name(number), with_default_limits()).await;
    }
    // The first start of any has the executable fetched.
    let path = kept(&home, &with_default_limits().executable.unwrap());
    let first = format!("/{}/status/204", name(0));
    assert_eq!(home.get(&first).await.status, 204);
    wait_until("the executable is kept", LONG, async || path.exists()).await;
    home.deploy("demo/warm", probe::idle(600)).await;
    assert_eq!(home.get("/demo/warm/status/204").await.status, 204);
    until_waiting(&home, 2 * SANDBOXES).await;

    let begin = Instant::now();
    let mut clients = tokio::task::JoinSet::new();
    for number in 1..FUNCTIONS {
        let path = format!("/{}/status/204", name(number));
        let request = home.get(&path).patience(LONG);
        clients.spawn(async move {
            let asked = Instant::now();
            let answer = request.await;
            assert_eq!(answer.status, 204, "{}", answer.text());
            (number, asked.elapsed())
        });
        // They come one after the other, so that there is an order.
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let mut times = Vec::new();
    let mut place = 1_usize;
    while let Some(number) = clients.join_next().await {
        let (number, took) = number.unwrap();
        times.push(took);
        let overtaken = place.abs_diff(number);
        assert!(
            overtaken <= OVERTAKEN,
            "number {number} is answered as number {place}"
        );
        place += 1;
    }
    assert_eq!(home.get("/demo/warm/status/204").await.status, 204);
    let quick = started_from(&home, "a sandbox");
    assert!(quick >= SANDBOXES, "{quick}");
    println!(
        "{quick} of {FUNCTIONS} from sandboxes; the first {SANDBOXES} took {:?} at most, the last was there after {:?}",
        times[..SANDBOXES].iter().max().unwrap(),
        begin.elapsed()
    );
}
