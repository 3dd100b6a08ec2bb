//! Containers that a stack's build needs. What one of them prints goes to whoever is attached; Docker keeps none of it.

use std::collections::HashMap;

use bollard::container::AttachContainerResults;
use bollard::models::{ContainerCreateBody, HostConfig, HostConfigLogConfig};
use bollard::query_parameters::{AttachContainerOptionsBuilder, CreateContainerOptions};

use corefn_core::function::FunctionName;
use corefn_core::names::{self, label};
use corefn_engine::docker::{Docker, DockerError};
use corefn_engine::start::random_id;

use crate::error::BuildError;

/// Creates one for a function, which may do less than others: it has no capabilities but those that `host` adds, and
/// gets no new privileges.
///
/// # Errors
/// [`BuildError`] when Docker can't do it.
pub async fn create(
    docker: &Docker,
    function: &FunctionName,
    body: ContainerCreateBody,
    host: HostConfig,
) -> Result<String, BuildError> {
    let what = format!(
        "create a container of {}",
        body.image.as_deref().unwrap_or_default()
    );
    let body = ContainerCreateBody {
        labels: Some(HashMap::from([
            (label::NAMESPACE.to_owned(), docker.namespace().to_owned()),
            (label::ROLE.to_owned(), label::ROLE_BUILD.to_owned()),
            (label::FUNCTION.to_owned(), function.to_string()),
        ])),
        host_config: Some(HostConfig {
            cap_drop: Some(vec!["ALL".to_owned()]),
            security_opt: Some(vec!["no-new-privileges".to_owned()]),
            log_config: Some(HostConfigLogConfig {
                typ: Some("none".to_owned()),
                config: None,
            }),
            ..host
        }),
        ..body
    };
    let id = random_id().map_err(|failure| BuildError::rejected(failure.detail))?;
    let options = CreateContainerOptions {
        name: Some(names::container(docker.namespace(), function, id)),
        ..CreateContainerOptions::default()
    };
    let client = docker.client().await?;
    let created = client.create_container(Some(options), body).await;
    Ok(created.map_err(|cause| docker.failed(what, cause))?.id)
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
