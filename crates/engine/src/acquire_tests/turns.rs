//! Permits, back-off and starts that hang.

use super::*;

/// One that a sandbox would do for.
fn quick(number: usize) -> Deployment {
    let mut deployment = other(number);
    deployment.config.executable = Some("sha256:0".into());
    deployment
}

fn other(number: usize) -> Deployment {
    Deployment {
        function: format!("demo/f{number:02}").parse().unwrap(),
        ..deployment("r1")
    }
}

#[tokio::test(start_paused = true)]
async fn starts_beyond_the_permits_come_in_turn() {
    let world = World::new();
    world.state.lock().unwrap().permits = 3;
    let mut tasks = Vec::new();
    for number in 0..20 {
        let (world, limit) = (world.clone(), Duration::from_secs(600));
        tasks.push(tokio::spawn(world.acquire_for(
            other(number),
            number as u32,
            limit,
        )));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let begin = Instant::now();
    for task in tasks {
        assert_eq!(task.await.unwrap().unwrap().1, Start::Cold);
    }
    // Each takes 15 s, three at once, and nobody's turn is missed for long.
    assert!(begin.elapsed() < Duration::from_secs(7 * 15 + 2));
    let state = world.state.lock().unwrap();
    assert_eq!(state.most, 3);
    let expected: Vec<String> = (0..20).map(|n| other(n).function.to_string()).collect();
    assert_eq!(state.launched, expected);
}

#[tokio::test(start_paused = true)]
async fn starts_from_sandboxes_need_no_permit() {
    let world = World::new();
    {
        let mut state = world.state.lock().unwrap();
        state.permits = 1;
        state.sandboxes = 5;
    }
    // The only permit is taken, and another waits for it.
    let acquire = |deployment, token| {
        let acquired = world
            .clone()
            .acquire_for(deployment, token, Duration::from_secs(600));
        tokio::spawn(acquired)
    };
    let mut tasks = vec![acquire(other(10), 10), acquire(other(11), 11)];
    tokio::time::sleep(Duration::from_secs(1)).await;
    let begin = Instant::now();
    let started: Vec<_> = (0..5).map(|n| acquire(quick(n), n as u32)).collect();
    for task in started {
        assert_eq!(task.await.unwrap().unwrap().1, Start::Cold);
    }
    assert_eq!(begin.elapsed(), Duration::from_secs(15));
    // Those for whom none is left wait for a permit, in turn; meanwhile nobody takes a sandbox before them.
    tasks.extend((5..8).map(|n| acquire(quick(n), n as u32)));
    tokio::time::sleep(Duration::from_millis(10)).await;
    world.state.lock().unwrap().sandboxes = 1;
    tasks.push(acquire(quick(8), 8));
    for task in tasks {
        assert_eq!(task.await.unwrap().unwrap().1, Start::Cold);
    }
    let state = world.state.lock().unwrap();
    let expected: Vec<String> = (0..6).map(|n| quick(n).function.to_string()).collect();
    assert_eq!(state.from_sandboxes, expected);
    assert_eq!(state.most, 1);
}

#[tokio::test(start_paused = true)]
async fn who_finds_no_sandbox_in_time_gives_the_lock_back() {
    let world = World::new();
    world.state.lock().unwrap().slow = true;
    let refused = world
        .clone()
        .acquire_for(quick(1), 1, Duration::from_secs(5))
        .await;
    assert_eq!(refused.unwrap_err().code, ErrorCode::StartTimeout);
    assert!(world.state.lock().unwrap().locks.is_empty());
}

#[tokio::test(start_paused = true)]
async fn waiting_for_a_turn_ends() {
    let world = World::new();
    world.state.lock().unwrap().permits = 1;
    let first = tokio::spawn(world.clone().acquire(1, Duration::from_secs(60)));
    tokio::time::sleep(Duration::from_secs(1)).await;
    let begin = Instant::now();
    let refused = world
        .clone()
        .acquire_for(other(1), 2, Duration::from_secs(5))
        .await
        .unwrap_err();
    assert_eq!(refused.code, ErrorCode::StartTimeout);
    assert_eq!(begin.elapsed(), Duration::from_secs(5));
    assert!(first.await.unwrap().is_ok());
    assert_eq!(world.launches.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn a_dead_starter_gives_its_permit_back() {
    let world = World::new();
    world.state.lock().unwrap().permits = 1;
    let dead = tokio::spawn(world.clone().acquire(1, Duration::from_secs(60)));
    tokio::time::sleep(Duration::from_secs(2)).await;
    dead.abort();
    let begin = Instant::now();
    let other = world
        .acquire_for(other(1), 2, Duration::from_secs(60))
        .await;
    assert_eq!(other.unwrap().1, Start::Cold);
    assert!(begin.elapsed() < START_LOCK_TTL + Duration::from_secs(17));
}

#[tokio::test(start_paused = true)]
async fn what_is_backed_off_is_not_started() {
    let world = World::new();
    let failure = Failure {
        retry_ms: Some(4_000),
        ..Failure::new(ErrorCode::FunctionExited, "code 1")
    };
    world.state.lock().unwrap().paused = Some(failure.clone());
    let begin = Instant::now();
    let results = all(&world, 20, Duration::from_secs(30)).await;
    assert!(results.into_iter().all(|r| r == Err(failure.clone())));
    assert_eq!(begin.elapsed(), Duration::ZERO);
    assert_eq!(world.launches.load(Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn a_start_that_hangs_is_given_up() {
    let world = World::new();
    world.state.lock().unwrap().hangs = true;
    let begin = Instant::now();
    let results = all(&world, 5, Duration::from_secs(30)).await;
    for result in results {
        assert_eq!(result.unwrap_err().code, ErrorCode::StartTimeout);
    }
    assert_eq!(begin.elapsed(), Duration::from_secs(32));
    assert!(world.state.lock().unwrap().locks.is_empty());
}
