//! More instances of a function than one.

use super::*;

const LONG: Duration = Duration::from_secs(60);

#[tokio::test(start_paused = true)]
async fn never_more_than_may_be() {
    let world = World::new();
    world.clone().acquire(0, LONG).await.unwrap();
    for token in 1..=2 {
        let more = world.clone().one_more(3, token, LONG).await.unwrap();
        assert!(more.is_some());
    }
    assert_eq!(world.clone().one_more(3, 3, LONG).await, Ok(None));
    assert_eq!(world.launches.load(Ordering::SeqCst), 3);
    // Of many that ask at once, one starts: the others see what comes of that.
    let asked: Vec<_> = (10..20)
        .map(|token| tokio::spawn(world.clone().one_more(4, token, LONG)))
        .collect();
    let mut started = 0;
    for one in asked {
        started += usize::from(one.await.unwrap().unwrap().is_some());
    }
    assert_eq!(started, 1);
    assert!(world.state.lock().unwrap().locks.is_empty());
}

#[tokio::test(start_paused = true)]
async fn who_can_start_none_in_time_gives_the_lock_back() {
    let world = World::new();
    world.clone().acquire(0, LONG).await.unwrap();
    world.state.lock().unwrap().permits = 0;
    let begin = Instant::now();
    let more = world.clone().one_more(2, 1, Duration::from_secs(5)).await;
    assert_eq!(more, Ok(None));
    assert!(begin.elapsed() < Duration::from_secs(7));
    assert!(world.state.lock().unwrap().locks.is_empty());
    // One that fails is told of, as any.
    let failure = Failure::new(ErrorCode::FunctionExited, "code 1");
    world.state.lock().unwrap().permits = 1;
    world.state.lock().unwrap().fails = Some(failure.clone());
    assert_eq!(world.one_more(2, 2, LONG).await, Err(failure));
}
