//! The image of a revision.
//!
//! It carries all that there is to know about the revision as labels: the image store is the truth
//! about what is deployed.

mod builder;
mod bundle;
mod dockerfile;
mod executable;
mod files;
mod instructions;
mod orphans;
mod outside;
mod without;

use std::collections::HashMap;
use std::io::Read;

use bollard::body_try_stream;
use bollard::query_parameters::{
    ImportImageOptionsBuilder, ListImagesOptionsBuilder, RemoveImageOptions,
};
use futures_util::StreamExt as _;

use corefn_core::config::FunctionConfig;
use corefn_core::deployment::Deployment;
use corefn_core::function::{FunctionName, RepositoryName, RevisionId};
use corefn_core::names::{self, label};
use corefn_engine::docker::{Docker, DockerError};

use crate::context::chunks;

pub use builder::Traces;
pub(crate) use builder::{options, run_build};
pub use dockerfile::{DockerfileImage, Recipe, from_dockerfile, keep_cache, label as relabel};
pub use executable::{from_executable, of_program};
pub use files::from_files;
pub use orphans::remove_orphans;

/// What an image is of.
#[derive(Debug, Clone)]
pub struct Revision {
    /// Which function.
    pub function: FunctionName,
    /// Which revision of it.
    pub id: RevisionId,
    /// The repository that was pushed to.
    pub repository: RepositoryName,
    /// The commit it was built from.
    pub commit: String,
    /// Who pushed it, where it came over ssh.
    pub account: Option<String>,
    /// Whether what is built is known by another name until it is deployed.
    pub pending: bool,
}

impl Revision {
    /// The image's tag: `<namespace>/<account>/<name>:<revision>`.
    pub fn tag(&self, namespace: &str) -> String {
        format!("{}:{}", names::image(namespace, &self.function), self.id)
    }

    /// The tag that the image gets when it is built.
    pub fn first_tag(&self, namespace: &str) -> String {
        if !self.pending {
            return self.tag(namespace);
        }
        let repository = names::image(namespace, &self.function);
        format!("{repository}:{}", names::pending_tag(&self.id))
    }

    /// The deployment of the image.
    pub fn deployment(&self, namespace: &str, config: FunctionConfig) -> Deployment {
        Deployment {
            function: self.function.clone(),
            revision: self.id.clone(),
            image: self.tag(namespace),
            config,
            releases: Vec::new(),
        }
    }

    /// The image's labels.
    fn labels(&self, namespace: &str, config: &FunctionConfig) -> HashMap<String, String> {
        let config = serde_json::to_string(config).unwrap_or_default();
        HashMap::from([
            (label::NAMESPACE.to_owned(), namespace.to_owned()),
            (label::FUNCTION.to_owned(), self.function.to_string()),
            (label::REVISION.to_owned(), self.id.to_string()),
            (label::REPOSITORY.to_owned(), self.repository.to_string()),
            (label::COMMIT.to_owned(), self.commit.clone()),
            (label::CONFIG.to_owned(), config),
            // (Empty, so that a `Dockerfile` can't say it.)
            (
                label::ACCOUNT.to_owned(),
                self.account.clone().unwrap_or_default(),
            ),
        ])
    }
}

/// The instruction of a `Dockerfile` that adds labels: Docker's builder makes a layer for each label that it is given in
/// another way.
fn label_instruction(labels: &HashMap<String, String>) -> String {
    let quoted = |text: &str| {
        let mut quoted = String::with_capacity(text.len() + 2);
        quoted.push('"');
        for char in text.chars() {
            if matches!(char, '\\' | '"' | '$') {
                quoted.push('\\');
            }
            quoted.push(char);
        }
        quoted.push('"');
        quoted
    };
    let mut labels: Vec<_> = labels.iter().collect();
    labels.sort();
    let labels: Vec<_> = labels
        .into_iter()
        .map(|(name, value)| format!("{}={}", quoted(name), quoted(value)))
        .collect();
    format!("LABEL {}\n", labels.join(" "))
}

/// The bytes of an image, its layers' included.
///
/// # Errors
/// [`DockerError`] when Docker can't say.
pub async fn size(docker: &Docker, tag: &str) -> Result<u64, DockerError> {
    let image = docker.client().await?.inspect_image(tag).await;
    let image = image.map_err(|cause| docker.failed(format!("look at the image {tag}"), cause))?;
    Ok(image
        .size
        .and_then(|size| u64::try_from(size).ok())
        .unwrap_or(0))
}

/// The identifier of an image, if it is there.
///
/// # Errors
/// [`DockerError`] when Docker can't say.
pub async fn identifier(docker: &Docker, tag: &str) -> Result<Option<String>, DockerError> {
    let found = docker.client().await?.inspect_image(tag).await;
    match found.map_err(|cause| docker.failed(format!("look at the image {tag}"), cause)) {
        Ok(found) => Ok(found.id),
        Err(error) if error.is_absent() => Ok(None),
        Err(error) => Err(error),
    }
}

/// What Docker calls an image that has no name.
const NO_NAME: &str = "<none>:<none>";

/// Removes what builds of a function have made that were killed before it was deployed, which it is once the routers know it;
/// `deployed` is what they know.
///
/// # Errors
/// [`DockerError`] when Docker can't do it.
pub async fn remove_pending(
    docker: &Docker,
    function: &FunctionName,
    deployed: Option<&Deployment>,
) -> Result<(), DockerError> {
    let is_pending = |tag: &String| {
        let tag = tag.rsplit_once(':');
        tag.is_some_and(|(_, tag)| names::is_pending_tag(tag))
    };
    for image in docker.images_of(function).await? {
        // (Docker may have made it for a builder that was gone when it should have got its name.)
        if image.tags.iter().all(|tag| tag == NO_NAME) {
            docker.remove_unless_used(&image.id).await?;
            continue;
        }
        if !image.tags.iter().any(is_pending) {
            continue;
        }
        let revision = &image.deployment.revision;
        let is_deployed = deployed.is_some_and(|it| {
            it.revision == *revision || it.releases.iter().any(|it| it.revision == *revision)
        });
        if let Some(deployed) = deployed.filter(|_| image.current && !is_deployed) {
            let repository = names::image(docker.namespace(), function);
            let current = format!("{repository}:{}", names::CURRENT_TAG);
            docker.tag(&deployed.image, &current).await?;
        }
        // (That which says so goes last: one that can't be removed yet stays pending.)
        let mut needless: Vec<_> = image.tags.iter().collect();
        needless.sort_by_key(|tag| is_pending(tag));
        for tag in needless
            .into_iter()
            .filter(|tag| !is_deployed || is_pending(tag))
        {
            let is_moved = image.current && tag.ends_with(&format!(":{}", names::CURRENT_TAG));
            if is_moved && deployed.is_some() {
                continue;
            }
            match docker.remove_image(tag).await {
                // (Its instance is still there; then the next push does it.)
                Err(error) if error.is_conflict() => {}
                removed => removed?,
            }
        }
    }
    Ok(())
}

/// Removes all images of a tag's repository but the tag's own. Docker keeps one that is in use; it goes the
/// next time.
///
/// # Errors
/// [`DockerError`] when Docker can't list them.
pub async fn remove_others(docker: &Docker, tag: &str) -> Result<(), DockerError> {
    let client = docker.client().await?;
    let repository = tag.split(':').next().unwrap_or(tag);
    let options = ListImagesOptionsBuilder::default()
        .filters(&HashMap::from([("reference", vec![repository.to_owned()])]))
        .build();
    let images = client.list_images(Some(options)).await;
    let images = images.map_err(|cause| docker.failed("list images", cause))?;
    let tags = images.iter().flat_map(|image| &image.repo_tags);
    for other in tags.filter(|other| *other != tag) {
        let _ = client
            .remove_image(other, None::<RemoveImageOptions>, None)
            .await;
    }
    Ok(())
}

/// Loads an image that is as `docker save` writes one; `tag` is the one that it names itself.
pub(crate) async fn load(
    docker: &Docker,
    tag: &str,
    saved: impl Read + Send + 'static,
) -> Result<(), DockerError> {
    let client = docker.client().await?;
    let options = ImportImageOptionsBuilder::default().quiet(true).build();
    let body = body_try_stream(chunks(saved));
    let mut loading = std::pin::pin!(client.import_image(options, body, None));
    while let Some(step) = loading.next().await {
        step.map_err(|cause| docker.failed(format!("load the image {tag}"), cause))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_quoted() {
        let labels = [("b", r#"{"a":"\n $HOME 'x' #"}"#), ("a.b", "")];
        let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let want = r#"LABEL "a.b"="" "b"="{\"a\":\"\\n \$HOME 'x' #\"}""#;
        assert_eq!(label_instruction(&labels.into()), format!("{want}\n"));
    }
}
