//! The image store: what is deployed.

use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bollard::models::ImageSummary;
use bollard::query_parameters::{
    ListImagesOptions, ListImagesOptionsBuilder, RemoveImageOptions, TagImageOptionsBuilder,
};

use corefn_core::deployment::Deployment;
use corefn_core::function::{FunctionName, RevisionId};
use corefn_core::names::{self, label};

use super::{Docker, DockerError};

/// An image of a function's revision.
#[derive(Debug, Clone)]
pub struct Image {
    /// Docker's identifier, `sha256:…`.
    pub id: String,
    /// What it deploys.
    pub deployment: Deployment,
    /// The repository that it was pushed to, as its label has it.
    pub repository: Option<String>,
    /// The commit that it was built from, as its label has it.
    pub commit: Option<String>,
    /// The account that pushed it, as its label has it.
    pub account: Option<String>,
    /// Whether it is the one that is deployed.
    pub current: bool,
    /// Whether it was deployed before the one that is.
    pub previous: bool,
    /// Which percentage of the requests it gets, if it is released beside the one that is deployed: the least, if whoever
    /// changed that was killed.
    pub released: Option<u8>,
    /// When it was made.
    pub created: SystemTime,
    /// Bytes.
    pub size: i64,
    /// Its tags.
    pub tags: Vec<String>,
}

impl Image {
    /// Whether it was deployed once, and has the name by which it can be again. Another is a push's that is under way, or was
    /// broken off.
    pub fn can_be_deployed(&self) -> bool {
        self.tags.contains(&self.deployment.image)
    }

    /// Whether requests may get it: it is the one that is deployed, or released beside that.
    pub fn is_in_use(&self) -> bool {
        self.current || self.released.is_some()
    }
}

impl Docker {
    /// All images of the namespace's functions. One whose labels can't be read is left out.
    ///
    /// # Errors
    /// [`DockerError`] when Docker can't say.
    pub async fn images(&self) -> Result<Vec<Image>, DockerError> {
        self.images_with(label::FUNCTION.to_owned()).await
    }

    /// The images of a function.
    ///
    /// # Errors
    /// [`DockerError`] when Docker can't say.
    pub async fn images_of(&self, function: &FunctionName) -> Result<Vec<Image>, DockerError> {
        self.images_with(format!("{}={}", label::FUNCTION, function.plain_text()))
            .await
    }

    async fn images_with(&self, wanted: String) -> Result<Vec<Image>, DockerError> {
        let ours = format!("{}={}", label::NAMESPACE, self.namespace());
        let options = ListImagesOptionsBuilder::default()
            .filters(&HashMap::from([("label", vec![ours, wanted])]))
            .build();
        let client = self.client().await?;
        let list = client
            .list_images(Some(options))
            .await
            .map_err(|cause| self.failed("list images", cause))?;
        let images = list.into_iter();
        Ok(images.filter_map(|summary| self.image(summary)).collect())
    }

    fn image(&self, summary: ImageSummary) -> Option<Image> {
        let tags = || {
            let tags = summary.repo_tags.iter();
            tags.filter_map(|tag| Some(tag.rsplit_once(':')?.1))
        };
        let has_tag = |tag: &str| tags().any(|found| found == tag);
        let label = |name| summary.labels.get(name).cloned();
        let since = Duration::from_secs(summary.created.try_into().unwrap_or(0));
        let deployment = deployment(self.namespace(), &summary.labels)?;
        let weight = |tag| names::in_released_tag(tag, &deployment.revision);
        Some(Image {
            released: tags().filter_map(weight).min(),
            deployment,
            repository: label(label::REPOSITORY),
            commit: label(label::COMMIT),
            account: label(label::ACCOUNT).filter(|account| !account.is_empty()),
            current: has_tag(names::CURRENT_TAG),
            previous: has_tag(names::PREVIOUS_TAG),
            created: UNIX_EPOCH.checked_add(since)?,
            id: summary.id,
            size: summary.size,
            tags: summary.repo_tags,
        })
    }

    /// How many bytes each of Docker's images has beyond the largest other that it begins with, by its identifier: a
    /// function's beyond the runtime that it has in common with others, say.
    ///
    /// # Errors
    /// [`DockerError`] when Docker can't say.
    pub async fn own_sizes(&self) -> Result<HashMap<String, u64>, DockerError> {
        let client = self.client().await?;
        let list = client.list_images(None::<ListImagesOptions>).await;
        let list = list.map_err(|cause| self.failed("list images", cause))?;
        let mut layers = Vec::new();
        for summary in list {
            let found = client.inspect_image(&summary.id).await;
            match found.map_err(|cause| self.failed("look at an image", cause)) {
                Ok(image) => layers.push(Layers {
                    id: summary.id,
                    digests: image.root_fs.and_then(|it| it.layers).unwrap_or_default(),
                    bytes: summary.size.try_into().unwrap_or(0),
                }),
                Err(error) if error.is_absent() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(own_sizes(&layers))
    }

    /// Gives an image a tag, `repository:tag`.
    ///
    /// # Errors
    /// [`DockerError`] when Docker can't do it.
    pub async fn tag(&self, image: &str, tag: &str) -> Result<(), DockerError> {
        let (repository, version) = tag.rsplit_once(':').unwrap_or((tag, names::CURRENT_TAG));
        let options = TagImageOptionsBuilder::default()
            .repo(repository)
            .tag(version)
            .build();
        let client = self.client().await?;
        let tagged = client.tag_image(image, Some(options)).await;
        tagged.map_err(|cause| self.failed(format!("tag the image {image}"), cause))
    }

    /// Removes a tag, and the image if it was its last. One that isn't there is no error.
    ///
    /// # Errors
    /// [`DockerError`] when Docker refuses.
    pub async fn remove_image(&self, tag: &str) -> Result<(), DockerError> {
        let client = self.client().await?;
        let removed = client
            .remove_image(tag, None::<RemoveImageOptions>, None)
            .await;
        match removed.map_err(|cause| self.failed(format!("remove the image {tag}"), cause)) {
            Err(error) if !error.is_absent() => Err(error),
            _ => Ok(()),
        }
    }

    /// Removes an image that has no other name than one, and that no container is made of. Returns whether it did: one that
    /// somebody has given another name meanwhile stays, with all of its names.
    ///
    /// # Errors
    /// [`DockerError`] when Docker fails otherwise.
    pub async fn remove_unless_used(&self, image: &str) -> Result<bool, DockerError> {
        let client = self.client().await?;
        let removed = client
            .remove_image(image, None::<RemoveImageOptions>, None)
            .await;
        match removed.map_err(|cause| self.failed(format!("remove the image {image}"), cause)) {
            Ok(_) => Ok(true),
            Err(error) if error.is_conflict() || error.is_absent() => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Reads what an image of a namespace deploys from its labels; nothing if they don't say.
pub fn deployment(namespace: &str, labels: &HashMap<String, String>) -> Option<Deployment> {
    let function = labels.get(label::FUNCTION)?.parse().ok()?;
    let revision: RevisionId = labels.get(label::REVISION)?.parse().ok()?;
    Some(Deployment {
        image: format!("{}:{revision}", names::image(namespace, &function)),
        config: serde_json::from_str(labels.get(label::CONFIG)?).ok()?,
        function,
        revision,
        releases: Vec::new(),
    })
}

/// What an image is made of.
struct Layers {
    id: String,
    /// Digests of its layers, the lowest first.
    digests: Vec<String>,
    /// The bytes of all of them.
    bytes: u64,
}

fn own_sizes(all: &[Layers]) -> HashMap<String, u64> {
    let own = |image: &Layers| {
        let bases = all.iter().filter(|base| {
            base.digests.len() < image.digests.len() && image.digests.starts_with(&base.digests)
        });
        let base = bases.map(|base| base.bytes).max().unwrap_or(0);
        image.bytes.saturating_sub(base)
    };
    all.iter()
        .map(|image| (image.id.clone(), own(image)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_images_have_for_themselves() {
        let image = |id: &str, digests: &[&str], bytes| Layers {
            id: id.to_owned(),
            digests: digests.iter().map(|&digest| digest.to_owned()).collect(),
            bytes,
        };
        let all = [
            image("base", &["a"], 100),
            image("runtime", &["a", "b"], 150),
            image("function", &["a", "b", "c"], 151),
            image("again", &["a", "b", "c"], 151),
            image("other", &["a", "c"], 101),
            image("executable", &["x"], 2),
        ];
        let sizes = own_sizes(&all);
        let of = |id: &str| sizes[id];
        assert_eq!((of("base"), of("runtime")), (100, 50));
        assert_eq!((of("function"), of("again")), (1, 1));
        assert_eq!((of("other"), of("executable")), (1, 2));
    }
}
