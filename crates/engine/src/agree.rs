//! Having Docker and Redis agree on what is released beside the current revisions.

use std::collections::BTreeMap;
use std::time::SystemTime;

use corefn_core::deployment::Deployment;
use corefn_core::function::FunctionName;

use crate::docker::{Docker, Image};
use crate::rebuild::RebuildError;
use crate::releases::{deployed_of, tags};
use crate::store::Store;

/// A look whether Docker and Redis agree, as one of several.
#[derive(Debug, Clone, Copy)]
pub struct Look {
    /// What was made before this, Redis may have lost: it came back as it was before, or another took its place.
    pub knows_since: SystemTime,
    /// Whether it is soon after the look before, so that somebody may still be between the two. Then only that is settled for
    /// which Redis has to be told something: whoever is at it would tell it the same.
    pub is_soon: bool,
}

/// What of a function is deployed by names with a revision, and what of that Docker and Redis disagree on.
#[derive(Debug, Clone, PartialEq)]
pub struct Disagreement {
    /// Which function.
    pub function: FunctionName,
    /// What Docker says is deployed, the current revision included; nothing if Redis doesn't know the function either.
    pub docker: Vec<Deployment>,
    /// The names that Redis knows and Docker doesn't.
    pub needless: Vec<FunctionName>,
}

/// What Docker and Redis disagree on of what is released. Where they disagree on the current revision of a function, that
/// comes first, and nothing is said of it here.
pub fn disagreements(deployments: &[Deployment], images: &[Image]) -> Vec<Disagreement> {
    let mut functions: BTreeMap<FunctionName, Vec<&Deployment>> = BTreeMap::new();
    for deployment in deployments {
        let plain = deployment.function.plain();
        functions.entry(plain).or_default().push(deployment);
    }
    let disagreement = |(function, known): (FunctionName, Vec<&Deployment>)| {
        let current = known.iter().find(|it| it.function == function);
        let docker = match current {
            Some(current) => deployed_of(current, images),
            None => Vec::new(),
        };
        let is_needless = |it: &&&Deployment| !docker.iter().any(|new| new.function == it.function);
        let needless: Vec<_> = known
            .iter()
            .filter(is_needless)
            .map(|it| it.function.clone())
            .collect();
        let agree = needless.is_empty() && docker.iter().all(|it| known.contains(&it));
        (!agree).then_some(Disagreement {
            function,
            docker,
            needless,
        })
    };
    functions.into_iter().filter_map(disagreement).collect()
}

/// Has Docker and Redis agree on releases, where both have disagreed in the same way before. Returns the functions.
///
/// Whoever releases a revision tells first Docker and then Redis, and may be killed in between; and a Redis may come back as
/// it was some time ago. Docker is right, unless the revision was made after [`Look::knows_since`]: then Redis would know it,
/// had whoever released it got so far.
///
/// # Errors
/// [`RebuildError`] when either can't say, or can't be told; some may be settled.
pub async fn settle(
    former: &mut Vec<Disagreement>,
    store: &Store,
    docker: &Docker,
    look: Look,
) -> Result<Vec<FunctionName>, RebuildError> {
    let deployments = store.deployments().await?;
    let mut images = docker.images().await?;
    let is_never_told = |image: &Image| {
        let name = image.deployment.function.at(&image.deployment.revision);
        let is_known = || deployments.iter().any(|it| it.function == name);
        image.released.is_some() && image.created >= look.knows_since && !is_known()
    };
    let can_settle = |it: &Disagreement| {
        let mut of_it = images
            .iter()
            .filter(|image| image.deployment.function == it.function);
        !look.is_soon || !of_it.any(is_never_told)
    };
    let (old, new): (Vec<_>, Vec<_>) = disagreements(&deployments, &images)
        .into_iter()
        .partition(|it| former.contains(it) && can_settle(it));
    *former = new;
    let functions: Vec<_> = old.into_iter().map(|it| it.function).collect();
    for image in &mut images {
        if functions.contains(&image.deployment.function) && is_never_told(image) {
            for tag in tags(image) {
                docker.remove_image(tag).await?;
            }
            image.released = None;
        }
    }
    for disagreement in disagreements(&deployments, &images) {
        if !functions.contains(&disagreement.function) {
            continue;
        }
        let revisions: Vec<_> = disagreement.docker.iter().map(|it| (it, None)).collect();
        store.deploy(&revisions).await?;
        for name in &disagreement.needless {
            store.remove(name).await?;
        }
    }
    Ok(functions)
}
