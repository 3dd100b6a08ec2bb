//! Deploying a revision that is built already: a way back, or forth.

use std::pin::pin;
use std::sync::Arc;

use corefn_core::deployment::Deployment;
use corefn_core::lease::DEFAULT_IDLE;
use corefn_engine::docker::Docker;
use corefn_engine::rebuild::rebuild;
use corefn_engine::sandboxes::Sandboxes;
use corefn_engine::start::random_id;
use corefn_engine::store::Store;

use crate::deploy::{self, First};
use crate::error::BuildError;
use crate::interrupt::{SETTLES, Stop, told, unless};

/// Deploys a revision whose image is there, as a push does in its last steps: its first instance is warm before it takes
/// over, and what was deployed finishes what it has. Whoever calls this keeps pushes to the function's repository out.
///
/// Returns the first instance, which is the routers' from here on. What the sandboxes can't be told costs the next start some
/// time, and is left at that.
///
/// # Errors
/// [`BuildError`] when it can't be, or the process is told to end before it takes over; then nothing is changed.
pub async fn release(
    docker: &Docker,
    store: &Arc<Store>,
    sandboxes: Option<&Sandboxes>,
    deployment: &Deployment,
) -> Result<First, BuildError> {
    release_pending(docker, store, sandboxes, deployment, &deployment.image).await
}

/// The same, of an image that is known by another name until it is deployed.
///
/// # Errors
/// As of [`release`].
pub(crate) async fn release_pending(
    docker: &Docker,
    store: &Arc<Store>,
    sandboxes: Option<&Sandboxes>,
    deployment: &Deployment,
    pending: &str,
) -> Result<First, BuildError> {
    let mut told = pin!(told());
    let mut stop: Stop<'_> = told.as_mut();
    let id = random_id().map_err(BuildError::Start)?;
    let check = async {
        // A Redis that was emptied knows of no routes, so it could not say that one is taken.
        rebuild(store, docker, &id.to_string(), DEFAULT_IDLE).await?;
        deploy::check_routes(store, &deployment.function, &deployment.config.routes).await
    };
    unless(&mut stop, check).await?;
    let first = Deployment {
        image: pending.to_owned(),
        ..deployment.clone()
    };
    let start = deploy::start_first_as(docker, store, &first, id);
    let released = async {
        let first = unless(&mut stop, start).await?;
        // From here on nothing stops it any more.
        if pending != deployment.image {
            docker.tag(pending, &deployment.image).await?;
        }
        let revisions = [(deployment, Some(&first.instance))];
        deploy::switch(docker, store, &revisions).await?;
        Ok(first)
    };
    let first = match released.await {
        Ok(first) => first,
        Err(error) => {
            if matches!(error, BuildError::Interrupted(_)) {
                tokio::time::sleep(SETTLES).await;
            }
            // (If Docker can't, the cleaner does: the claim on it lapses.)
            let _ = deploy::withdraw_instance(docker, id).await;
            return Err(of_release(error, deployment));
        }
    };
    if let Some(sandboxes) = sandboxes {
        let _ = sandboxes.fetch(deployment).await;
    }
    Ok(first)
}

/// What went wrong, as it concerns a revision that is built already.
fn of_release(error: BuildError, deployment: &Deployment) -> BuildError {
    let Deployment {
        function, revision, ..
    } = deployment;
    match error {
        BuildError::Start(failure) => BuildError::rejected(format!(
            "revision {revision} of {function} does not start, so it is not deployed: {}",
            failure.detail
        )),
        BuildError::Interrupted(why) => BuildError::rejected(format!(
            "revision {revision} of {function} is not deployed: {why}"
        )),
        other => other,
    }
}
