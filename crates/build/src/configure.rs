//! What is deployed, with another configuration: a revision of its own, which nothing is built for.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use corefn_core::config::FunctionConfig;
use corefn_core::deployment::Deployment;
use corefn_core::function::RepositoryName;
use corefn_engine::docker::{Docker, Image};
use corefn_engine::sandboxes::Sandboxes;
use corefn_engine::store::Store;

use crate::deploy::First;
use crate::error::BuildError;
use crate::image::{self, Revision, Traces};
use crate::job;
use crate::release::release_pending;
use crate::work::read_at_begin;

/// The pause before another identifier is tried: there is one a second.
const PAUSE: Duration = Duration::from_millis(100);

/// Deploys what is deployed of a function, which `current` is the image of, with other variables or secrets. They are the same files
/// of the same commit under another revision, which takes over as a push's does when it is warm. Whoever calls this keeps
/// pushes to the function's repository out; `account` is who wants it, where it came over ssh.
///
/// # Errors
/// [`BuildError`] when it can't be; then nothing is changed.
pub async fn configure(
    docker: &Docker,
    store: &Arc<Store>,
    sandboxes: Option<&Sandboxes>,
    current: &Image,
    mut config: FunctionConfig,
    account: Option<&str>,
) -> Result<(Deployment, First), BuildError> {
    let function = &current.deployment.function;
    let deployments = store.deployments().await?;
    let mut deployments = deployments.iter();
    let deployed = deployments.find(|deployment| deployment.function == *function);
    // What was left by one that was killed.
    image::remove_pending(docker, function, deployed).await?;
    if read_at_begin(&config).is_some() {
        config.archive = None;
    }
    let revision = next_revision(docker, current, account).await?;
    let deployment = revision.deployment(docker.namespace(), config);
    let mut traces = Traces::default();
    let config = &deployment.config;
    let made = image::relabel(docker, &current.id, &revision, config, &mut traces);
    let pending = match made.await {
        Ok(pending) => pending,
        Err(error) => {
            // (What is left of it goes with the next push.)
            let _ = traces.remove(docker).await;
            return Err(error);
        }
    };
    let released = release_pending(docker, store, sandboxes, &deployment, &pending).await;
    if released.is_err() {
        let _ = docker.remove_image(&deployment.image).await;
    }
    // (One that can't be removed is, by the next push.)
    let _ = docker.remove_image(&pending).await;
    Ok((deployment, released?))
}

/// A revision of the same commit that there is not yet.
async fn next_revision(
    docker: &Docker,
    current: &Image,
    account: Option<&str>,
) -> Result<Revision, BuildError> {
    let function = &current.deployment.function;
    let lacks = |what: &str| {
        BuildError::rejected(format!(
            "the image that is deployed of {function} does not say {what}: push it again first"
        ))
    };
    let repository = current.repository.as_deref();
    let repository = repository.and_then(|name| name.parse::<RepositoryName>().ok());
    let mut revision = Revision {
        function: function.clone(),
        id: current.deployment.revision.clone(),
        repository: repository.ok_or_else(|| lacks("which repository it was pushed to"))?,
        commit: current.commit.clone().ok_or_else(|| lacks("its commit"))?,
        account: account.map(str::to_owned),
        pending: true,
    };
    loop {
        revision.id = job::revision(&revision.commit, SystemTime::now());
        let tag = revision.tag(docker.namespace());
        if image::identifier(docker, &tag).await?.is_none() {
            return Ok(revision);
        }
        tokio::time::sleep(PAUSE).await;
    }
}
