//! The last steps: the new revision's first instance starts, and it takes over.

use std::sync::Arc;
use std::time::{Duration, Instant};

use corefn_core::deployment::Deployment;
use corefn_core::function::{FunctionName, RevisionId};
use corefn_core::instance::{Instance, InstanceId};
use corefn_core::keys::START_LOCK_RENEWAL;
use corefn_core::lease::DEFAULT_START_TIMEOUT;
use corefn_core::names::{self, label};
use corefn_core::route::Route;
use corefn_engine::docker::{Docker, DockerError, Image};
use corefn_engine::releases;
use corefn_engine::start::{Steps, random_id, start_as};
use corefn_engine::store::Store;
use tokio::task::JoinSet;

use crate::error::BuildError;
use crate::image;

/// The first instance of a revision that is to be deployed. It is the push's: until the switch no
/// router knows it, and as long as this lives, the cleaner leaves it alone.
#[derive(Debug)]
pub struct First {
    /// The instance.
    pub instance: Instance,
    /// How long it took to get ready.
    pub took: Duration,
    _claim: JoinSet<()>,
}

/// Checks that no other function has a route that `function` wants, or its name as a route.
///
/// # Errors
/// [`BuildError::Rejected`] that names the routes and who has them.
pub async fn check_routes(
    store: &Store,
    function: &FunctionName,
    routes: &[Route],
) -> Result<(), BuildError> {
    let mut wanted = vec![Route::of(function)];
    wanted.extend_from_slice(routes);
    let claimed = store.claimed(&wanted, function).await?;
    if claimed.is_empty() {
        return Ok(());
    }
    let lines = claimed
        .iter()
        .map(|(route, owner)| {
            format!(
                "the route {route} of {function} belongs to {owner}: take it out of one of them"
            )
        })
        .collect::<Vec<_>>();
    Err(BuildError::rejected(lines.join("\n")))
}

/// Starts the revision's first instance and waits until it is ready. If the push ends before the
/// switch, [`withdraw`] removes it; if the builder is killed, the cleaner does.
///
/// # Errors
/// [`BuildError::Start`] with what the function said last.
pub async fn start_first(
    docker: &Docker,
    store: &Arc<Store>,
    deployment: &Deployment,
) -> Result<First, BuildError> {
    let id = random_id().map_err(BuildError::Start)?;
    start_first_as(docker, store, deployment, id).await
}

/// The same, with an identifier that was chosen before.
///
/// # Errors
/// As of [`start_first`].
pub(crate) async fn start_first_as(
    docker: &Docker,
    store: &Arc<Store>,
    deployment: &Deployment,
    id: InstanceId,
) -> Result<First, BuildError> {
    store.claim_instance(id).await?;
    let mut claim = JoinSet::new();
    let keeper = store.clone();
    claim.spawn(async move {
        loop {
            tokio::time::sleep(START_LOCK_RENEWAL).await;
            // One that fails shows at the switch.
            let _ = keeper.claim_instance(id).await;
        }
    });
    let number = store.next_address().await?;
    let begin = Instant::now();
    let instance = start_as(
        docker,
        deployment,
        id,
        number,
        DEFAULT_START_TIMEOUT,
        std::future::pending(),
        &mut Steps::begin(),
    )
    .await
    .map_err(BuildError::Start)?;
    Ok(First {
        instance,
        took: begin.elapsed(),
        _claim: claim,
    })
}

/// Removes the instances of a revision that isn't deployed.
///
/// # Errors
/// [`DockerError`] when Docker can't do it.
pub async fn withdraw(
    docker: &Docker,
    function: &FunctionName,
    revision: &RevisionId,
) -> Result<(), DockerError> {
    for container in docker.containers().await? {
        if container.labels.contains_key(label::INSTANCE)
            && container.is_of(function)
            && container.has(label::REVISION, &revision.0)
        {
            docker.remove(&container.id).await?;
        }
    }
    Ok(())
}

/// Removes an instance that is not to be a revision's first after all.
///
/// # Errors
/// [`DockerError`] when Docker can't do it.
pub async fn withdraw_instance(docker: &Docker, id: InstanceId) -> Result<(), DockerError> {
    for container in docker.containers().await? {
        if container.has(label::INSTANCE, &id.to_string()) {
            docker.remove(&container.id).await?;
        }
    }
    Ok(())
}

/// Makes revisions those that are deployed, all of them or none: their images first, for the image store is
/// the truth, then the store, which tells the routers of them and of their first instances. Where there is none,
/// the first request has to start it. What was deployed before is the previous one then. What is released beside it stays
/// so; one that was itself is no more.
///
/// # Errors
/// [`BuildError`]; the images that were the current and the previous ones, and released, are so again.
pub async fn switch(
    docker: &Docker,
    store: &Store,
    revisions: &[(&Deployment, Option<&Instance>)],
) -> Result<(), BuildError> {
    let mut former = Vec::new();
    let mut were_released = Vec::new();
    let switched = async {
        let mut deployments = Vec::new();
        for (deployment, first) in revisions {
            let images = docker.images_of(&deployment.function).await?;
            deployments.push((releases::with_releases(deployment, &images), *first));
            let repository = names::image(docker.namespace(), &deployment.function);
            let current = format!("{repository}:{}", names::CURRENT_TAG);
            let previous = format!("{repository}:{}", names::PREVIOUS_TAG);
            let replaced = image::identifier(docker, &current).await?;
            let new = image::identifier(docker, &deployment.image).await?;
            if let Some(replaced) = replaced.as_ref().filter(|it| new.as_ref() != Some(*it)) {
                former.push((
                    image::identifier(docker, &previous).await?,
                    previous.clone(),
                ));
                docker.tag(replaced, &previous).await?;
            }
            former.push((replaced, current.clone()));
            docker.tag(&deployment.image, &current).await?;
            let is_it = |image: &&Image| image.deployment.revision == deployment.revision;
            if let Some(image) = images.iter().find(is_it).filter(|it| it.released.is_some()) {
                were_released.push(deployment.function.at(&deployment.revision));
                for tag in releases::tags(image) {
                    former.push((Some(image.id.clone()), tag.to_owned()));
                    docker.remove_image(tag).await?;
                }
            }
        }
        let deployments: Vec<_> = deployments.iter().map(|(it, first)| (it, *first)).collect();
        Ok(store.deploy(&deployments).await?)
    };
    let Err(error) = switched.await else {
        for name in &were_released {
            // (If Redis can't, the cleaner does: Docker says that it is released no more.)
            let _ = store.remove(name).await;
        }
        return Ok(());
    };
    for (image, tag) in former.iter().rev() {
        match image {
            Some(image) => docker.tag(image, tag).await?,
            None => docker.remove_image(tag).await?,
        }
    }
    Err(error)
}
