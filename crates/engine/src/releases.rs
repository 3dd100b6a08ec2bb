//! Revisions that are released beside the current one, as Docker's tags have them.

use corefn_core::deployment::Deployment;
use corefn_core::function::{FunctionName, RevisionId};
use corefn_core::names;
use corefn_core::release::Release;

use crate::docker::{Docker, Image};

/// All that is deployed of all functions that images are of: the current revisions, with what is released beside each, and
/// those, by names of their own.
pub fn deployed(images: &[Image]) -> Vec<Deployment> {
    let current = images.iter().filter(|image| image.current);
    current
        .flat_map(|current| deployed_of(&current.deployment, images))
        .collect()
}

/// What is deployed of a function with this current revision: that comes last, so that whoever hears of what is released
/// beside it knows that already.
pub fn deployed_of(current: &Deployment, images: &[Image]) -> Vec<Deployment> {
    let released = beside(current, images);
    let mut deployments: Vec<_> = released
        .iter()
        .map(|(image, weight)| image.deployment.beside(*weight))
        .collect();
    deployments.push(with_releases(current, images));
    deployments
}

/// A current revision with what is released beside it.
pub fn with_releases(current: &Deployment, images: &[Image]) -> Deployment {
    let releases = beside(current, images)
        .into_iter()
        .map(|(image, weight)| Release {
            revision: image.deployment.revision.clone(),
            weight,
        });
    Deployment {
        releases: releases.collect(),
        ..current.clone()
    }
}

/// The images that are released beside a function's current revision and their percentages, the oldest revision first: so
/// one that is released later takes no requests from those that have some.
fn beside<'a>(current: &Deployment, images: &'a [Image]) -> Vec<(&'a Image, u8)> {
    let of_it = images.iter().filter(|image| {
        let other = &image.deployment;
        other.function == current.function && other.revision != current.revision
    });
    let mut released: Vec<_> = of_it
        .filter_map(|image| Some((image, image.released?)))
        .collect();
    released.sort_by(|(a, _), (b, _)| a.deployment.revision.cmp(&b.deployment.revision));
    released
}

/// The full tags by which an image is released: more than one if whoever changed its percentage was killed.
pub fn tags(image: &Image) -> impl Iterator<Item = &str> {
    let of_release = |tag: &&String| {
        tag.rsplit_once(':').is_some_and(|(_, tag)| {
            names::in_released_tag(tag, &image.deployment.revision).is_some()
        })
    };
    image.tags.iter().filter(of_release).map(String::as_str)
}

/// The full tag of a release.
pub fn full_tag(
    docker: &Docker,
    function: &FunctionName,
    weight: u8,
    revision: &RevisionId,
) -> String {
    let repository = names::image(docker.namespace(), function);
    format!("{repository}:{}", names::released_tag(weight, revision))
}
