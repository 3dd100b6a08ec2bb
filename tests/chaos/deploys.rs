//! Deployments of one function, as pushes make them in their last steps.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use corefn_build::deploy::{start_first, switch, withdraw_instance};
use corefn_build::image::{Revision, from_executable};
use corefn_build::release::{end_release, release_beside};
use corefn_core::deployment::Deployment;
use corefn_core::function::{FunctionName, RevisionId};
use corefn_engine::docker::{Docker, Image};
use corefn_engine::store::Store;
use corefn_tests::{docker, probe};
use fastrand::Rng;
use tokio::task::JoinHandle;

use crate::history::Recorder;
use crate::traffic::{DEPLOYED, functions};

/// One who deploys again and again.
#[derive(Debug)]
pub struct Deploys {
    stop: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Deploys {
    /// Begins. A deployment that fails, since Redis is broken just then, is made again later.
    pub fn start(namespace: &str, redis: &str, recorder: Arc<Recorder>, seed: u64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let docker = Docker::new(docker::URL, namespace);
        let store = Store::new(redis, namespace).expect("the harness's URL is one");
        let store = Arc::new(store);
        let mut random = Rng::with_seed(seed);
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            let mut number = 0;
            while !stopped.load(Ordering::Relaxed) {
                tokio::time::sleep(Duration::from_millis(random.u64(500..5000))).await;
                number += 1;
                let deployed = deploy(&docker, &store, &recorder, number).await;
                let counts = &mut recorder.history().deployed;
                match deployed {
                    Ok(()) => counts.0 += 1,
                    Err(_) => counts.1 += 1,
                }
            }
        });
        Self { stop, task }
    }

    /// Lets a deployment that has begun finish.
    ///
    /// # Panics
    /// When the one who deploys did.
    pub async fn finish(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.expect("deploying goes on");
    }
}

/// One in four releases the revision that was deployed before beside the current one, gives it more, or ends that.
const RELEASES: u32 = 4;

/// Deploys another revision: as a push does, with an instance of it that is warm already, or without, so that requests
/// have to start one; or that which was deployed before, as `corefn rollback` does.
async fn deploy(
    docker: &Docker,
    store: &Arc<Store>,
    recorder: &Recorder,
    number: u32,
) -> Result<(), Failed> {
    let function = DEPLOYED.parse()?;
    let images = docker.images_of(&function).await?;
    if number.is_multiple_of(RELEASES) {
        return release(docker, store, recorder, &images, number / RELEASES).await;
    }
    let mut images = images.into_iter();
    let previous = images.find(|image| image.previous && !image.current);
    let deployment = match previous.filter(|_| number.is_multiple_of(3)) {
        Some(image) => image.deployment,
        None => build(docker, function, number).await?,
    };
    let first = match number % 3 {
        1 => None,
        _ => Some(start_first(docker, store, &deployment).await?),
    };
    let now = (DEPLOYED.to_owned(), Instant::now());
    recorder.history().switches.push(now);
    let first = first.as_ref().map(|first| &first.instance);
    let switched = switch(docker, store, &[(&deployment, first)]).await;
    if let (Err(_), Some(first)) = (&switched, first) {
        withdraw_instance(docker, first.id).await?;
    }
    Ok(switched?)
}

/// Releases a revision beside the current one, or changes its share, or ends its release.
async fn release(
    docker: &Docker,
    store: &Arc<Store>,
    recorder: &Recorder,
    images: &[Image],
    number: u32,
) -> Result<(), Failed> {
    let mut others = images.iter().filter(|image| !image.current);
    let released = others.clone().find(|image| image.released.is_some());
    let Some(image) = released.or_else(|| others.find(|image| image.previous)) else {
        return Ok(());
    };
    if released.is_some() && number.is_multiple_of(3) {
        end_release(docker, store, image).await?;
        // (A router may be told a moment later.)
        let now = Instant::now() + TOLD;
        for (.., end) in &mut recorder.history().releases {
            end.get_or_insert(now);
        }
        return Ok(());
    }
    let now = (DEPLOYED.to_owned(), Instant::now(), None);
    recorder.history().releases.push(now);
    let weight = [20, 50, 90][number as usize % 3];
    release_beside(docker, store, None, images, image, weight).await?;
    Ok(())
}

/// How long a router may take to be told: it may have to be let in by Redis first.
const TOLD: Duration = Duration::from_secs(10);

type Failed = Box<dyn std::error::Error + Send + Sync>;

/// Makes the image of another revision.
async fn build(docker: &Docker, function: FunctionName, number: u32) -> Result<Deployment, Failed> {
    let config = functions()
        .into_iter()
        .find(|(function, _)| *function == DEPLOYED)
        .map(|(_, config)| config)
        .unwrap_or_default();
    let revision = Revision {
        function,
        repository: DEPLOYED.parse()?,
        id: RevisionId(format!("next-{number:04}")),
        commit: format!("{number:040x}"),
        account: None,
        pending: false,
    };
    from_executable(docker, &revision, &config, &probe::executable()).await?;
    Ok(revision.deployment(docker.namespace(), config))
}
