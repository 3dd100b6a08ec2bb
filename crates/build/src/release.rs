//! Deploying a revision that is built already, a way back or forth; or releasing it beside the current one.

use std::pin::pin;
use std::sync::Arc;

use corefn_core::deployment::Deployment;
use corefn_core::function::{FunctionName, RevisionId};
use corefn_core::instance::Instance;
use corefn_core::lease::DEFAULT_IDLE;
use corefn_core::release::{ALL, MOST};
use corefn_engine::docker::{Docker, Image};
use corefn_engine::rebuild::rebuild;
use corefn_engine::releases;
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
    let first = Deployment {
        image: pending.to_owned(),
        ..deployment.clone()
    };
    let switch = async |first: &First| {
        if pending != deployment.image {
            docker.tag(pending, &deployment.image).await?;
        }
        let revisions = [(deployment, Some(&first.instance))];
        deploy::switch(docker, store, &revisions).await
    };
    let first = take_over(docker, store, &first, switch).await?;
    prepare(sandboxes, deployment).await;
    Ok(first)
}

/// Has the keeper of sandboxes fetch what the next start needs.
async fn prepare(sandboxes: Option<&Sandboxes>, deployment: &Deployment) {
    if let Some(sandboxes) = sandboxes {
        let _ = sandboxes.fetch(deployment).await;
    }
}

/// Releases a revision beside the current one, with a percentage of the requests; or changes that of one that is released.
/// `images` are all of the function's, `image` is the revision's. Whoever calls this keeps pushes out.
///
/// Returns its first instance, if it was not released before: that is warm before any request gets it.
///
/// # Errors
/// [`BuildError`] when it can't be, or the process is told to end before; then nothing is changed.
pub async fn release_beside(
    docker: &Docker,
    store: &Arc<Store>,
    sandboxes: Option<&Sandboxes>,
    images: &[Image],
    image: &Image,
    weight: u8,
) -> Result<Option<First>, BuildError> {
    let Deployment {
        function, revision, ..
    } = &image.deployment;
    let current = current(docker, store, function).await?;
    check_shares(current.as_ref(), images, function, revision, weight)?;
    let beside = image.deployment.beside(weight);
    let known = store.deployment(&beside.function).await?;
    if known.is_some() && image.released.is_some() {
        tell(docker, store, image, Some(weight), None).await?;
        return Ok(None);
    }
    let release =
        async |first: &First| tell(docker, store, image, Some(weight), Some(&first.instance)).await;
    let first = take_over(docker, store, &beside, release).await?;
    prepare(sandboxes, &beside).await;
    Ok(Some(first))
}

/// Has a revision released no more that is beside the current one. What it is at, it finishes.
///
/// # Errors
/// [`BuildError`] when Docker or Redis fails; what only one of them was told, the cleaner tells the other.
pub async fn end_release(docker: &Docker, store: &Store, image: &Image) -> Result<(), BuildError> {
    let Deployment {
        function, revision, ..
    } = &image.deployment;
    current(docker, store, function).await?;
    tell(docker, store, image, None, None).await?;
    store.remove(&function.at(revision)).await?;
    Ok(())
}

/// Releases revisions that were built just now, all of them or none.
///
/// # Errors
/// [`BuildError`]; then none is.
pub(crate) async fn release_built(
    docker: &Docker,
    store: &Store,
    revisions: &[(&Deployment, Option<&Instance>)],
    weight: u8,
) -> Result<(), BuildError> {
    let mut tags = Vec::new();
    let released = async {
        let mut all = Vec::new();
        for (deployment, first) in revisions {
            let Deployment {
                function, revision, ..
            } = deployment;
            let tag = releases::full_tag(docker, function, weight, revision);
            docker.tag(&deployment.image, &tag).await?;
            tags.push(tag);
            all.extend(with_first(docker, store, function, revision, *first).await?);
        }
        let all: Vec<_> = all.iter().map(|(it, first)| (it, *first)).collect();
        Ok(store.deploy(&all).await?)
    };
    let Err(error) = released.await else {
        return Ok(());
    };
    for tag in &tags {
        docker.remove_image(tag).await?;
    }
    Err(error)
}

/// The current revision of a function, as routers know it. A Redis that was emptied is filled first.
async fn current(
    docker: &Docker,
    store: &Store,
    function: &FunctionName,
) -> Result<Option<Deployment>, BuildError> {
    let token = random_id().map_err(BuildError::Start)?.to_string();
    rebuild(store, docker, &token, DEFAULT_IDLE).await?;
    Ok(store.deployment(function).await?)
}

/// A function's current revision and all that Docker's tags say is released beside it, with the first instance of one of those.
async fn with_first<'a>(
    docker: &Docker,
    store: &Store,
    function: &FunctionName,
    revision: &RevisionId,
    first: Option<&'a Instance>,
) -> Result<Vec<(Deployment, Option<&'a Instance>)>, BuildError> {
    let images = docker.images_of(function).await?;
    let current = store.deployment(function).await?;
    let current = current
        .ok_or_else(|| BuildError::rejected(format!("{function} has been removed meanwhile")))?;
    let released = function.at(revision);
    let deployments = releases::deployed_of(&current, &images).into_iter();
    let with_first = deployments.map(|it| {
        let first = first.filter(|_| it.function == released);
        (it, first)
    });
    Ok(with_first.collect())
}

/// Refuses shares of the requests that don't add up, and a revision that can't be released beside the current one.
pub(crate) fn check_shares(
    current: Option<&Deployment>,
    images: &[Image],
    function: &FunctionName,
    revision: &RevisionId,
    weight: u8,
) -> Result<(), BuildError> {
    let Some(current) = current.map(|current| &current.revision) else {
        return Err(BuildError::rejected(format!(
            "nothing is deployed of {function} that a revision could be released beside: push it without a weight first, or \
             corefn promote one"
        )));
    };
    if current == revision {
        return Err(BuildError::rejected(format!(
            "{revision} is the current revision of {function}: it gets all requests that no other is released for"
        )));
    }
    let is_other = |other: &&Image| ![revision, current].contains(&&other.deployment.revision);
    let others: Vec<_> = images
        .iter()
        .filter(is_other)
        .filter_map(|other| Some((&other.deployment.revision, other.released?)))
        .collect();
    let named = || {
        let named = others
            .iter()
            .map(|(revision, weight)| format!("{revision} ({weight} %)"));
        named.collect::<Vec<_>>().join(", ")
    };
    if others.len() >= MOST {
        return Err(BuildError::rejected(format!(
            "no more than {MOST} revisions of {function} can be released beside the current one, and there are {}: end one \
             first (corefn release {function} REVISION --end)",
            named()
        )));
    }
    let taken: u32 = others.iter().map(|(_, weight)| u32::from(*weight)).sum();
    let left = u32::from(ALL).saturating_sub(taken);
    if u32::from(weight) > left {
        let of_others = match taken {
            0 => String::new(),
            _ => format!(", since {} have the others", named()),
        };
        return Err(BuildError::rejected(format!(
            "{revision} can't get {weight} % of {function}'s requests: {left} % are left{of_others}"
        )));
    }
    Ok(())
}

/// Says in tags which percentage a revision gets, if it is released, and tells the store what follows from that.
async fn tell(
    docker: &Docker,
    store: &Store,
    image: &Image,
    weight: Option<u8>,
    first: Option<&Instance>,
) -> Result<(), BuildError> {
    let Deployment {
        function, revision, ..
    } = &image.deployment;
    let tag = weight.map(|weight| releases::full_tag(docker, function, weight, revision));
    let told = async {
        if let Some(tag) = &tag {
            docker.tag(&image.id, tag).await?;
        }
        for other in releases::tags(image).filter(|other| Some(*other) != tag.as_deref()) {
            docker.remove_image(other).await?;
        }
        let deployments = with_first(docker, store, function, revision, first).await?;
        let revisions: Vec<_> = deployments.iter().map(|(it, first)| (it, *first)).collect();
        Ok(store.deploy(&revisions).await?)
    };
    let Err(error) = told.await else {
        return Ok(());
    };
    // As it was.
    for former in releases::tags(image) {
        docker.tag(&image.id, former).await?;
    }
    if let Some(tag) = &tag
        && !image.tags.contains(tag)
    {
        docker.remove_image(tag).await?;
    }
    Err(error)
}

/// Has the first instance of a deployment started, and then `switch` done: from there on nothing stops it any more.
async fn take_over(
    docker: &Docker,
    store: &Arc<Store>,
    deployment: &Deployment,
    switch: impl AsyncFnOnce(&First) -> Result<(), BuildError>,
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
    let start = deploy::start_first_as(docker, store, deployment, id);
    let released = async {
        let first = unless(&mut stop, start).await?;
        switch(&first).await?;
        Ok(first)
    };
    match released.await {
        Ok(first) => Ok(first),
        Err(error) => {
            if matches!(error, BuildError::Interrupted(_)) {
                tokio::time::sleep(SETTLES).await;
            }
            // (If Docker can't, the cleaner does: the claim on it lapses.)
            let _ = deploy::withdraw_instance(docker, id).await;
            Err(of_release(error, deployment))
        }
    }
}

/// What went wrong, as it concerns a revision that is built already.
fn of_release(error: BuildError, deployment: &Deployment) -> BuildError {
    let (function, revision) = (deployment.function.plain(), &deployment.revision);
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
