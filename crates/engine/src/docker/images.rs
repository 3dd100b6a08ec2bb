//! The image store: what is deployed.

use std::collections::HashMap;

use bollard::query_parameters::ListImagesOptionsBuilder;

use corefn_core::deployment::Deployment;
use corefn_core::function::RevisionId;
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
    /// Whether it is the one that is deployed.
    pub current: bool,
    /// Bytes.
    pub size: i64,
    /// Its tags.
    pub tags: Vec<String>,
}

impl Docker {
    /// All images of the namespace's functions. One whose labels can't be read is left out.
    ///
    /// # Errors
    /// [`DockerError`] when Docker can't say.
    pub async fn images(&self) -> Result<Vec<Image>, DockerError> {
        let ours = format!("{}={}", label::NAMESPACE, self.namespace());
        let options = ListImagesOptionsBuilder::default()
            .filters(&HashMap::from([(
                "label",
                vec![ours, label::FUNCTION.to_owned()],
            )]))
            .build();
        let client = self.client().await?;
        let list = client
            .list_images(Some(options))
            .await
            .map_err(|cause| self.failed("list images", cause))?;
        Ok(list
            .into_iter()
            .filter_map(|summary| {
                let current = format!(":{}", names::CURRENT_TAG);
                Some(Image {
                    deployment: deployment(self.namespace(), &summary.labels)?,
                    repository: summary.labels.get(label::REPOSITORY).cloned(),
                    current: summary.repo_tags.iter().any(|tag| tag.ends_with(&current)),
                    id: summary.id,
                    size: summary.size,
                    tags: summary.repo_tags,
                })
            })
            .collect())
    }
}

/// Reads what an image of a namespace deploys from its labels; nothing if they don't say.
pub fn deployment(namespace: &str, labels: &HashMap<String, String>) -> Option<Deployment> {
    let function = labels.get(label::FUNCTION)?.parse().ok()?;
    let revision = RevisionId(labels.get(label::REVISION)?.clone());
    Some(Deployment {
        image: format!("{}:{revision}", names::image(namespace, &function)),
        config: serde_json::from_str(labels.get(label::CONFIG)?).ok()?,
        function,
        revision,
    })
}
