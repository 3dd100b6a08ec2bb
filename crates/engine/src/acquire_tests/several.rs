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

#[tokio::test(start_paused = true)]
async fn those_that_stand_by_are_frozen_or_not() {
    let world = World::new();
    let mut wanted = deployment("r1");
    wanted.config.freeze_ms = Some(10_000);
    wanted.config.max_instances = std::num::NonZeroU32::new(4);
    wanted.config.min_instances = std::num::NonZeroU32::new(3);
    let (first, _) = world.clone().acquire(0, LONG).await.unwrap();
    {
        let mut state = world.state.lock().unwrap();
        state.ready.clear();
        state.frozen.push(first);
    }
    for token in 1..=2 {
        let more = world
            .clone()
            .one_more_for(Need::Standby, wanted.clone(), token, LONG);
        assert!(more.await.unwrap().is_some());
    }
    let more = world
        .clone()
        .one_more_for(Need::Standby, wanted.clone(), 3, LONG);
    assert_eq!(more.await, Ok(None));
    assert_eq!(world.launches.load(Ordering::SeqCst), 3);
    assert_eq!(world.thaws.load(Ordering::SeqCst), 0);
    // Who has requests for more has it go on.
    let more = world.clone().one_more_for(Need::Requests, wanted, 4, LONG);
    assert!(more.await.unwrap().is_some());
    assert_eq!(world.thaws.load(Ordering::SeqCst), 1);
    assert_eq!(world.launches.load(Ordering::SeqCst), 3);
    assert!(world.state.lock().unwrap().locks.is_empty());
}
