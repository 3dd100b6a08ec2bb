//! Instances that are frozen.

use super::*;

fn freezes(revision: &str) -> Deployment {
    let mut deployment = deployment(revision);
    deployment.config.freeze_ms = Some(2_000);
    deployment
}

fn frozen(number: u64) -> Instance {
    let Deployment {
        function, revision, ..
    } = freezes("r1");
    Instance {
        id: InstanceId::from_random(number),
        function,
        revision,
        container: "frozen".to_owned(),
        address: "10.0.0.2:8080".parse().unwrap(),
    }
}

#[tokio::test(start_paused = true)]
async fn one_thaws_for_all_without_a_permit() {
    let world = World::new();
    {
        let mut state = world.state.lock().unwrap();
        state.permits = 0;
        state.frozen = vec![frozen(1), frozen(2)];
    }
    let tasks: Vec<_> = (0..20)
        .map(|n| {
            world
                .clone()
                .acquire_for(freezes("r1"), n, Duration::from_secs(30))
        })
        .map(tokio::spawn)
        .collect();
    for task in tasks {
        let (instance, start) = task.await.unwrap().unwrap();
        assert_eq!((instance.id.get(), start), (1, Start::Thawed));
    }
    assert_eq!(world.thaws.load(Ordering::SeqCst), 1);
    let (_, start) = world
        .clone()
        .acquire_for(freezes("r1"), 99, Duration::from_secs(30))
        .await
        .unwrap();
    assert_eq!(start, Start::Warm);
}

#[tokio::test(start_paused = true)]
async fn what_can_not_be_thawed_is_started() {
    let world = World::new();
    {
        let mut state = world.state.lock().unwrap();
        state.frozen = vec![frozen(99)];
        state.frozen_to_death = true;
    }
    for token in 0..2 {
        let (instance, start) = world
            .clone()
            .acquire_for(freezes("r1"), token, Duration::from_secs(60))
            .await
            .unwrap();
        assert_ne!(instance.container, "frozen");
        let wanted = [Start::Cold, Start::Warm];
        assert_eq!(start, wanted[token as usize]);
    }
    assert_eq!(world.launches.load(Ordering::SeqCst), 1);
    assert_eq!(world.thaws.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn thaw_of_an_old_revision_is_given_up() {
    let world = World::new();
    world.state.lock().unwrap().frozen = vec![frozen(1)];
    let acquire = world
        .clone()
        .acquire_for(freezes("r1"), 1, Duration::from_secs(60));
    let waits = tokio::spawn(acquire);
    tokio::time::sleep(Duration::from_millis(5)).await;
    let _ = world.events.send(Event::Deployed {
        deployment: Box::new(freezes("r2")),
    });
    let refused = waits.await.unwrap().unwrap_err();
    assert_eq!(refused.code, ErrorCode::Internal);
    assert!(world.state.lock().unwrap().locks.is_empty());
    assert_eq!(world.launches.load(Ordering::SeqCst), 0);
}
