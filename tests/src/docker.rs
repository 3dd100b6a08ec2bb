//! The installation's part of Docker, past the router.

use std::time::{Duration, Instant};

use bollard::query_parameters::{
    ListImagesOptionsBuilder, ListNetworksOptionsBuilder, ListVolumesOptionsBuilder,
    RemoveImageOptionsBuilder, RemoveVolumeOptionsBuilder,
};
use corefn_core::names::label;
use corefn_engine::docker::{Container, Docker, DockerError};
use std::collections::HashMap;

/// Where Docker listens.
pub const SOCKET: &str = "/var/run/docker.sock";

/// What the programs connect to.
pub const URL: &str = "unix:///var/run/docker.sock";

/// Requests to Docker that a router has sent before it was stopped may still be at work.
const AFTERMATH: Duration = Duration::from_millis(100);

/// For how long Docker may be starting a container.
const STARTS: Duration = Duration::from_secs(5);

/// For how long they may come to light.
const PATIENCE: Duration = Duration::from_secs(30);

/// The instances among the containers of a function, running or not.
pub async fn instances(docker: &Docker, function: &str) -> Vec<Container> {
    let containers = docker.containers().await.expect("Docker answers");
    containers
        .into_iter()
        .filter(|container| {
            container.labels.contains_key(label::INSTANCE)
                && container
                    .labels
                    .get(label::FUNCTION)
                    .is_some_and(|name| name == function)
        })
        .collect()
}

/// Removes all that a namespace has: containers, networks, volumes, images. What comes to light
/// meanwhile was being made when its router was stopped: so it looks again until nothing does.
///
/// # Errors
/// [`DockerError`] of what could not be removed first.
pub async fn remove_all(docker: &Docker) -> Result<(), DockerError> {
    let begin = Instant::now();
    let mut looks_in_vain = 0;
    while looks_in_vain < 2 {
        let containers = docker.containers().await?;
        looks_in_vain += 1;
        for container in containers {
            looks_in_vain = 0;
            // A start may be under way, and removing it then is what has Docker forget endpoints.
            if container.unstarted && begin.elapsed() < STARTS {
                continue;
            }
            docker.remove(&container.id).await?;
        }
        // From now on no container can be made of them. Of one in use there is a new container.
        match remove_images(docker).await {
            Err(error) if error.status() == Some(409) && begin.elapsed() < PATIENCE => {
                looks_in_vain = 0;
            }
            removed => removed?,
        }
        tokio::time::sleep(AFTERMATH).await;
    }
    remove_networks(docker).await?;
    remove_volumes(docker).await
}

/// A filter for what belongs to the namespace.
fn ours(docker: &Docker) -> HashMap<&'static str, Vec<String>> {
    let label = format!("{}={}", label::NAMESPACE, docker.namespace());
    HashMap::from([("label", vec![label])])
}

/// Removes networks until there is none: a start that was given up with its router may still make one
/// anew. Docker lists a container no longer a moment before it lets go of the container's endpoint.
async fn remove_networks(docker: &Docker) -> Result<(), DockerError> {
    let client = docker.client().await?;
    let filters = ours(docker);
    let begin = Instant::now();
    loop {
        let networks = ListNetworksOptionsBuilder::default()
            .filters(&filters)
            .build();
        let networks = client.list_networks(Some(networks)).await;
        let networks = networks.map_err(|cause| docker.failed("list networks", cause))?;
        if networks.is_empty() {
            return Ok(());
        }
        for network in networks {
            let removed = client.remove_network(&network.id.unwrap_or_default()).await;
            match removed.map_err(|cause| docker.failed("remove a network", cause)) {
                Err(error) if error.status() == Some(403) && begin.elapsed() > PATIENCE => {
                    // An endpoint that it has forgotten is its own fault, until it is started again.
                    eprintln!("{error}");
                    return Ok(());
                }
                Err(error) if !error.is_absent() && error.status() != Some(403) => {
                    return Err(error);
                }
                _ => {}
            }
        }
        tokio::time::sleep(AFTERMATH).await;
    }
}

async fn remove_volumes(docker: &Docker) -> Result<(), DockerError> {
    let client = docker.client().await?;
    let filters = ours(docker);
    let volumes = ListVolumesOptionsBuilder::default()
        .filters(&filters)
        .build();
    let volumes = client.list_volumes(Some(volumes)).await;
    let volumes = volumes.map_err(|cause| docker.failed("list volumes", cause))?;
    for volume in volumes.volumes.unwrap_or_default() {
        let force = RemoveVolumeOptionsBuilder::default().force(true).build();
        let removed = client.remove_volume(&volume.name, Some(force)).await;
        removed.map_err(|cause| docker.failed("remove a volume", cause))?;
    }
    Ok(())
}

/// Layers below an image may carry the label too. They can't go before it, and go with it.
async fn remove_images(docker: &Docker) -> Result<(), DockerError> {
    let client = docker.client().await?;
    let filters = ours(docker);
    let images = ListImagesOptionsBuilder::default()
        .filters(&filters)
        .build();
    let images = client.list_images(Some(images)).await;
    for image in images.map_err(|cause| docker.failed("list images", cause))? {
        let force = RemoveImageOptionsBuilder::default().force(true).build();
        let removed = client.remove_image(&image.id, Some(force), None).await;
        match removed.map_err(|cause| docker.failed("remove an image", cause)) {
            Err(error) if !error.is_absent() => return Err(error),
            _ => {}
        }
    }
    Ok(())
}
