//! Layers that Docker has made and told nobody of.
//!
//! When a layer is removed while a build makes another on top of it, Docker's builder fails after it has stored the new
//! one: it can't note what that is built on (`CommitImage` of moby stores an image first, and then its parent). Nobody
//! hears of its identifier, and it has neither a name nor a parent, which no other image has that a builder of this kind
//! makes.

use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bollard::models::ImageSummary;
use bollard::query_parameters::ListImagesOptionsBuilder;

use corefn_engine::docker::{Docker, DockerError};

/// How far Docker's clock may be behind this one.
const SLACK: Duration = Duration::from_secs(60);

/// Removes such layers that were made after a time.
///
/// # Errors
/// [`DockerError`] when Docker can't do it.
pub async fn remove_orphans(docker: &Docker, since: SystemTime) -> Result<(), DockerError> {
    let filters = HashMap::from([("dangling", vec!["true".to_owned()])]);
    let options = ListImagesOptionsBuilder::default()
        .filters(&filters)
        .build();
    let client = docker.client().await?;
    let listed = client.list_images(Some(options)).await;
    let listed = listed.map_err(|cause| docker.failed("list layers", cause))?;
    let since = since
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .saturating_sub(SLACK);
    let since = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
    for ImageSummary { id, parent_id, .. } in
        listed.into_iter().filter(|image| image.created >= since)
    {
        if parent_id.is_empty() && is_of_builder(docker, &id).await? {
            match docker.remove_image(&id).await {
                // Another build may have found it, and make use of it.
                Err(error) if !error.is_conflict() => return Err(error),
                _ => {}
            }
        }
    }
    Ok(())
}

/// Whether the last that has become of an image is a step of Docker's builder: what is imported, or made by BuildKit, has a
/// comment that says so, and what is imported has no step before.
async fn is_of_builder(docker: &Docker, image: &str) -> Result<bool, DockerError> {
    let history = docker.client().await?.image_history(image).await;
    match history.map_err(|cause| docker.failed("look at a layer", cause)) {
        Ok(steps) => Ok(steps.len() > 1 && steps[0].comment.is_empty()),
        Err(error) if error.is_absent() => Ok(false),
        Err(error) => Err(error),
    }
}
