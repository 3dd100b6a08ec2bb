//! Removing revisions that are not kept.

use std::time::SystemTime;

use corefn_core::host::Revisions;
use corefn_core::revisions::{Candidate, superfluous};

use crate::docker::{Docker, DockerError, Image};

/// The images of revisions that are not kept, as [`corefn_core::revisions::superfluous`] has it.
///
/// # Errors
/// [`DockerError`] when Docker can't say which there are.
pub async fn not_kept(docker: &Docker, settings: &Revisions) -> Result<Vec<Image>, DockerError> {
    let images = docker.images().await?;
    let own = match settings.disk {
        Some(_) => docker.own_sizes().await?,
        None => Default::default(),
    };
    let now = SystemTime::now();
    let candidates: Vec<_> = images
        .iter()
        .map(|image| Candidate {
            function: &image.deployment.function,
            revision: &image.deployment.revision,
            is_referred_to: image.current || image.previous,
            age: now.duration_since(image.created).unwrap_or_default(),
            bytes: own.get(&image.id).copied().unwrap_or(0),
        })
        .collect();
    let mut places = superfluous(&candidates, settings);
    places.sort_unstable();
    let mut places = places.into_iter().peekable();
    let images = images.into_iter().enumerate();
    Ok(images
        .filter_map(|(at, image)| places.next_if_eq(&at).map(|_| image))
        .collect())
}

/// Removes the images of revisions that are not kept, and returns them. One that a container is made of stays until the
/// next time, and so does one that is deployed meanwhile.
///
/// # Errors
/// [`DockerError`] when Docker fails; some may be gone.
pub async fn remove_not_kept(
    docker: &Docker,
    settings: &Revisions,
) -> Result<Vec<Image>, DockerError> {
    let mut removed = Vec::new();
    for image in not_kept(docker, settings).await? {
        if docker.remove_unless_used(&image.id).await? {
            removed.push(image);
        }
    }
    Ok(removed)
}
