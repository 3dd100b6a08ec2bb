//! The last steps: the new revision shows that it starts, and takes over.

use std::time::Duration;

use bollard::query_parameters::TagImageOptionsBuilder;

use corefn_core::function::{Deployment, FunctionName};
use corefn_core::names;
use corefn_core::route::Route;
use corefn_engine::docker::{Docker, DockerError};
use corefn_engine::start;
use corefn_engine::store::Store;

use crate::error::BuildError;
use crate::image;

/// How long a new revision may take until it is ready.
const TRIAL_TIMEOUT: Duration = Duration::from_secs(30);

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

/// Starts the revision once, waits until it is ready, and removes the container. Returns how long
/// that took.
///
/// # Errors
/// [`BuildError::Trial`] with what the function said last.
pub async fn trial(
    docker: &Docker,
    store: &Store,
    deployment: &Deployment,
) -> Result<Duration, BuildError> {
    let turn = store.next_turn().await?;
    start::trial(docker, turn, deployment, TRIAL_TIMEOUT)
        .await
        .map_err(BuildError::Trial)
}

/// Makes a revision the one that is deployed: its image first, for the image store is the truth,
/// then the store, which tells the routers.
///
/// # Errors
/// [`BuildError`]; the image that was the current one is so again.
pub async fn switch(
    docker: &Docker,
    store: &Store,
    deployment: &Deployment,
) -> Result<(), BuildError> {
    let repository = names::image(docker.namespace(), &deployment.function);
    let current = format!("{repository}:{}", names::CURRENT_TAG);
    let former = identifier(docker, &current).await?;
    tag(docker, &deployment.image, &repository).await?;
    let Err(error) = store.deploy(deployment).await else {
        return Ok(());
    };
    match former {
        Some(former) => tag(docker, &former, &repository).await?,
        None => image::remove(docker, &current).await?,
    }
    Err(error.into())
}

/// Gives an image the tag of what is deployed.
async fn tag(docker: &Docker, image: &str, repository: &str) -> Result<(), DockerError> {
    let options = TagImageOptionsBuilder::default()
        .repo(repository)
        .tag(names::CURRENT_TAG)
        .build();
    docker
        .client()
        .await?
        .tag_image(image, Some(options))
        .await
        .map_err(|cause| docker.failed(format!("tag the image {image}"), cause))
}

/// The identifier of an image, if it is there.
async fn identifier(docker: &Docker, tag: &str) -> Result<Option<String>, DockerError> {
    let found = docker.client().await?.inspect_image(tag).await;
    match found.map_err(|cause| docker.failed(format!("look at the image {tag}"), cause)) {
        Ok(found) => Ok(found.id),
        Err(error) if error.is_absent() => Ok(None),
        Err(error) => Err(error),
    }
}
