//! Having Docker and Redis agree on what is released beside the current revisions.

use std::collections::BTreeMap;

use corefn_core::deployment::Deployment;
use corefn_core::function::FunctionName;

use crate::docker::{Docker, Image};
use crate::rebuild::RebuildError;
use crate::releases::{deployed_of, tags};
use crate::store::Store;

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
/// it was some time ago. Docker is right, unless the revision was made since Redis has been up: then Redis would know it, had
/// whoever released it got so far.
///
/// # Errors
/// [`RebuildError`] when either can't say, or can't be told; some may be settled.
pub async fn settle(
    former: &mut Vec<Disagreement>,
    store: &Store,
    docker: &Docker,
) -> Result<Vec<FunctionName>, RebuildError> {
    let began = store.began().await?;
    let deployments = store.deployments().await?;
    let mut images = docker.images().await?;
    let (old, new): (Vec<_>, Vec<_>) = disagreements(&deployments, &images)
        .into_iter()
        .partition(|it| former.contains(it));
    *former = new;
    let functions: Vec<_> = old.into_iter().map(|it| it.function).collect();
    for image in &mut images {
        let Deployment {
            function, revision, ..
        } = &image.deployment;
        let is_known = || {
            let name = function.at(revision);
            deployments.iter().any(|it| it.function == name)
        };
        if functions.contains(function) && image.created >= began && !is_known() {
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
