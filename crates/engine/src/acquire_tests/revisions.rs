//! A revision that is deployed while another one is started.

use super::*;

impl World {
    /// Deploys a revision in place of another.
    fn deploy(&self, old: &Deployment, new: &Deployment) {
        self.state.lock().unwrap().superseded.push(start_of(old));
        let _ = self.events.send(Event::Deployed {
            deployment: Box::new(new.clone()),
        });
    }
}

#[tokio::test(start_paused = true)]
async fn start_of_an_old_revision_is_given_up() {
    let world = World::new();
    let (old, new) = (deployment("r1"), deployment("r2"));
    world.state.lock().unwrap().permits = 1;
    let tasks: Vec<_> = (0..5)
        .map(|n| tokio::spawn(world.clone().acquire(n, Duration::from_secs(60))))
        .collect();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let begin = Instant::now();
    world.deploy(&old, &new);
    for task in tasks {
        assert_eq!(task.await.unwrap().unwrap_err().code, ErrorCode::Internal);
    }
    assert_eq!(begin.elapsed(), Duration::ZERO);
    // Its lock and its permit are free.
    let (instance, _) = world
        .clone()
        .acquire_for(new.clone(), 9, Duration::from_secs(60))
        .await
        .unwrap();
    assert_eq!(instance.revision, new.revision);
    assert_eq!(begin.elapsed(), Duration::from_secs(15));
}

#[tokio::test(start_paused = true)]
async fn failure_of_an_old_revision_is_not_the_new_ones() {
    let world = World::new();
    let new = deployment("r2");
    let started = tokio::spawn(
        world
            .clone()
            .acquire_for(new.clone(), 1, Duration::from_secs(60)),
    );
    tokio::time::sleep(Duration::from_secs(2)).await;
    let waits = tokio::spawn(world.clone().acquire_for(new, 2, Duration::from_secs(60)));
    tokio::time::sleep(Duration::from_secs(2)).await;
    let failure = Failure::new(ErrorCode::FunctionExited, "code 1");
    world.give_up(&deployment("r1"), "0", failure).await;
    for task in [started, waits] {
        assert!(task.await.unwrap().is_ok());
    }
}

#[tokio::test(start_paused = true)]
async fn old_revision_is_not_started_after_the_new_one_is_deployed() {
    let world = World::new();
    let old = deployment("r1");
    let name = start_of(&old);
    world.state.lock().unwrap().superseded.push(name);
    // The event is on its way.
    let late = tokio::spawn(world.clone().acquire(1, Duration::from_secs(60)));
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(!late.is_finished());
    world.deploy(&old, &deployment("r2"));
    let refused = late.await.unwrap().unwrap_err();
    assert_eq!(refused.code, ErrorCode::Internal);
    assert_eq!(world.launches.load(Ordering::SeqCst), 0);
}
