//! The installation's part of Docker, past the router.

use std::time::Duration;

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

/// Removes all that a namespace has: containers, networks, volumes, images.
///
/// # Errors
/// [`DockerError`] of what could not be removed first.
pub async fn remove_all(docker: &Docker) -> Result<(), DockerError> {
    // What comes to light after the first pass was being made meanwhile.
    for _ in 0..2 {
        for container in docker.containers().await? {
            docker.remove(&container.id).await?;
        }
        tokio::time::sleep(AFTERMATH).await;
    }
    let client = docker.client().await?;
    let ours = HashMap::from([(
        "label",
        vec![format!("{}={}", label::NAMESPACE, docker.namespace())],
    )]);

    let networks = ListNetworksOptionsBuilder::default().filters(&ours).build();
    let networks = client.list_networks(Some(networks)).await;
    for network in networks.map_err(|cause| docker.failed("list networks", cause))? {
        let removed = client.remove_network(&network.id.unwrap_or_default()).await;
        removed.map_err(|cause| docker.failed("remove a network", cause))?;
    }

    let volumes = ListVolumesOptionsBuilder::default().filters(&ours).build();
    let volumes = client.list_volumes(Some(volumes)).await;
    let volumes = volumes.map_err(|cause| docker.failed("list volumes", cause))?;
    for volume in volumes.volumes.unwrap_or_default() {
        let force = RemoveVolumeOptionsBuilder::default().force(true).build();
        let removed = client.remove_volume(&volume.name, Some(force)).await;
        removed.map_err(|cause| docker.failed("remove a volume", cause))?;
    }

    // Layers below an image may carry the label too. They can't go before it, and go with it.
    let images = ListImagesOptionsBuilder::default().filters(&ours).build();
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
