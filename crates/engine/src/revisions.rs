//! Looking after revisions: removing those that are not kept, and having Docker and Redis agree on those that are deployed.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, SystemTime};

use corefn_core::deployment::Deployment;
use corefn_core::function::{FunctionName, RevisionId};
use corefn_core::host::Revisions;
use corefn_core::names;
use corefn_core::revisions::{Candidate, superfluous};

use crate::agree::Look;
use crate::docker::{Docker, DockerError, Image};
use crate::rebuild::RebuildError;
use crate::releases::with_releases;
use crate::secrets::SecretStore;
use crate::store::Store;

/// The images of revisions that are not kept, as [`corefn_core::revisions::superfluous`] has it.
///
/// # Errors
/// [`DockerError`] when Docker can't say which there are.
pub async fn not_kept(docker: &Docker, settings: &Revisions) -> Result<Vec<Image>, DockerError> {
    let images = docker.images().await?;
    let now = SystemTime::now();
    let age = |image: &Image| now.duration_since(image.created).unwrap_or_default();
    let (images, pending): (Vec<_>, Vec<_>) = images.into_iter().partition(Image::can_be_deployed);
    let abandoned = pending.into_iter().filter(|image| age(image) > ABANDONED);
    let own = match settings.disk {
        Some(_) => docker.own_sizes().await?,
        None => Default::default(),
    };
    let candidates: Vec<_> = images
        .iter()
        .map(|image| Candidate {
            function: &image.deployment.function,
            revision: &image.deployment.revision,
            is_referred_to: image.is_in_use() || image.previous,
            age: age(image),
            bytes: own.get(&image.id).copied().unwrap_or(0),
        })
        .collect();
    let mut places = superfluous(&candidates, settings);
    places.sort_unstable();
    let mut places = places.into_iter().peekable();
    let images = images.into_iter().enumerate();
    Ok(images
        .filter_map(|(at, image)| places.next_if_eq(&at).map(|_| image))
        .chain(abandoned)
        .collect())
}

/// How old an image must be to count as one of a push that was broken off. No build takes so long.
const ABANDONED: Duration = Duration::from_secs(24 * 60 * 60);

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

/// Removes the values of secrets that no image refers to, as of [`SecretStore::remove_unused`]. Returns how many there were.
///
/// # Errors
/// [`DockerError`] when Docker can't say which images there are, or a value can't be removed.
pub async fn remove_unused_secrets(
    docker: &Docker,
    secrets: &SecretStore,
) -> Result<usize, DockerError> {
    let mut used = HashSet::new();
    for image in docker.images().await? {
        let Deployment {
            function, config, ..
        } = image.deployment;
        used.extend(config.secrets.values().map(|id| (function.clone(), *id)));
    }
    Ok(secrets.remove_unused(&used)?)
}

/// What Docker and Redis disagree on. Whoever deploys tells first the one and then the other, and may be killed in between;
/// and a Redis may come back as it was some time ago.
#[derive(Debug, Default)]
pub struct Disagreements(HashMap<FunctionName, Disagreement>);

/// What they say of a function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disagreement {
    /// The revision whose image is the current one.
    pub docker: RevisionId,
    /// The revision that routers know, and requests get.
    pub redis: RevisionId,
    /// Which of them is right.
    pub right: RevisionId,
}

impl Disagreements {
    /// Looks what they say, and settles what they have said the same different things of when it was looked before: nobody is
    /// between the two any more. Returns what was settled.
    ///
    /// Docker is right, unless its revision was made after [`Look::knows_since`]: then Redis would know it, had whoever made it
    /// got so far, and the push was never accepted.
    ///
    /// # Errors
    /// [`RebuildError`] when either can't say, or can't be told; some may be settled.
    pub async fn settle(
        &mut self,
        store: &Store,
        docker: &Docker,
        look: Look,
    ) -> Result<Vec<(FunctionName, Disagreement)>, RebuildError> {
        let images = docker.images().await?;
        let mut found = HashMap::new();
        let mut settled = Vec::new();
        for deployment in store.deployments().await? {
            let of_it = |image: &&Image| image.deployment.function == deployment.function;
            let mut of_function = images.iter().filter(of_it);
            let is_there = images
                .iter()
                .any(|image| image.tags.contains(&deployment.image));
            let Some(current) = of_function.find(|image| image.current) else {
                continue;
            };
            let (of_docker, of_redis) = (&current.deployment.revision, &deployment.revision);
            if of_docker == of_redis {
                continue;
            }
            let is_docker_right = current.created < look.knows_since || !is_there;
            let right = if is_docker_right { of_docker } else { of_redis };
            let disagreement = Disagreement {
                docker: of_docker.clone(),
                redis: of_redis.clone(),
                right: right.clone(),
            };
            let function = deployment.function.clone();
            let can_settle = is_docker_right || !look.is_soon;
            if !can_settle || self.0.get(&function) != Some(&disagreement) {
                found.insert(function, disagreement);
                continue;
            }
            if is_docker_right {
                let current = with_releases(&current.deployment, &images);
                store.deploy(&[(&current, None)]).await?;
            } else {
                let repository = names::image(docker.namespace(), &function);
                let tag = format!("{repository}:{}", names::CURRENT_TAG);
                docker.tag(&deployment.image, &tag).await?;
            }
            settled.push((function, disagreement));
        }
        self.0 = found;
        Ok(settled)
    }
}
