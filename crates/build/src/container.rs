//! Containers that a stack's build needs. What one of them prints goes to whoever is attached; Docker keeps none of it.

use bollard::container::AttachContainerResults;
use bollard::query_parameters::{AttachContainerOptionsBuilder, CreateContainerOptions};

use corefn_core::function::FunctionName;
use corefn_core::names;
use corefn_engine::docker::{BuildPurpose, Docker, DockerError, build_body};
use corefn_engine::start::random_id;

use crate::error::BuildError;

/// Creates one for a function, of an image.
///
/// # Errors
/// [`BuildError`] when Docker can't do it.
pub async fn create(
    docker: &Docker,
    function: &FunctionName,
    image: &str,
    purpose: BuildPurpose,
) -> Result<String, BuildError> {
    let body = build_body(docker.namespace(), function, image, purpose);
    let id = random_id().map_err(|failure| BuildError::rejected(failure.detail))?;
    let options = CreateContainerOptions {
        name: Some(names::container(docker.namespace(), function, id)),
        ..CreateContainerOptions::default()
    };
    let client = docker.client().await?;
    let created = client.create_container(Some(options), body).await;
    let failed = |cause| docker.failed(format!("create a container of {image}"), cause);
    Ok(created.map_err(failed)?.id)
}

/// Attaches to what one will print, and starts it.
///
/// # Errors
/// [`DockerError`] when Docker can't do it.
pub async fn start_attached(
    docker: &Docker,
    container: &str,
) -> Result<AttachContainerResults, DockerError> {
    let options = AttachContainerOptionsBuilder::default()
        .stdout(true)
        .stderr(true)
        .stream(true)
        .build();
    let client = docker.client().await?;
    let attached = client.attach_container(container, Some(options)).await;
    let attached = attached.map_err(|cause| docker.failed("attach to the build", cause))?;
    docker.start(container).await?;
    Ok(attached)
}
