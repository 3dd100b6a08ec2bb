//! Which images are whose.

use std::collections::HashMap;

use bollard::models::ImageInspect;
use corefn_core::gate::Caller;
use corefn_core::names::{self, label};
use corefn_engine::docker::Priority;
use serde_json::json;

use super::{Denied, Filters, Policy, target};
use crate::ask::{Build, Listed, Refused};

impl Policy {
    async fn image(&self, name: &str) -> Result<ImageInspect, Denied> {
        let client = self.docker.client().await?;
        let found = client.inspect_image(name).await;
        found.map_err(|cause| self.denied("look at the image", cause))
    }

    /// The labels of an image of the installation's.
    pub(super) async fn labels_of(&self, name: &str) -> Result<HashMap<String, String>, Denied> {
        let found = self.image(name).await?;
        let labels = found.config.and_then(|config| config.labels);
        let labels = labels.unwrap_or_default();
        match labels.get(label::NAMESPACE).map(String::as_str) == Some(self.docker.namespace()) {
            true => Ok(labels),
            false => {
                Err(Refused::new(format!("{name:?} is no image of the installation's")).into())
            }
        }
    }

    /// The program of an image of the installation's, and its arguments.
    pub(super) async fn own_entrypoint(&self, name: &str) -> Result<Vec<String>, Denied> {
        self.labels_of(name).await?;
        let config = self.image(name).await?.config;
        Ok(config.and_then(|it| it.entrypoint).unwrap_or_default())
    }

    /// The filters for a list of images.
    pub(super) fn listed(&self, listed: Listed) -> Result<Option<Filters>, Refused> {
        Ok(match listed {
            Listed::All => None,
            Listed::Labelled(labels) => Some(self.filters(labels, Default::default())?),
            Listed::Nameless => Some(Filters(json!({"dangling": ["true"]}).to_string())),
            Listed::Named(name) => {
                self.check_name_of_image(&format!("{name}:any"))?;
                Some(Filters(json!({"reference": [name]}).to_string()))
            }
        })
    }

    /// Checks that a name is one of those that the installation gives to images. (Its services have images, too, in whose
    /// place nobody may put others.)
    pub(super) fn check_name_of_image(&self, name: &str) -> Result<(), Refused> {
        match names::is_own_image(self.docker.namespace(), name) {
            true => Ok(()),
            false => Err(Refused::new(format!(
                "{name:?} is no name of the installation's images"
            ))),
        }
    }

    /// How an image is named that may be removed: by a name of the installation's, or by its identifier, if it has no others.
    pub(super) async fn removable(&self, name: String) -> Result<String, Denied> {
        if self.check_name_of_image(&name).is_ok() {
            return Ok(name);
        }
        let found = self.image(&name).await?;
        let tags = found.repo_tags.unwrap_or_default();
        for tag in &tags {
            self.check_name_of_image(tag)?;
        }
        let id = found.id.unwrap_or_default();
        if tags.is_empty() && self.caller != Caller::Builder {
            self.labels_of(&id).await?;
        }
        Ok(id)
    }

    /// Checks that an image may be brought that has this name.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn check_loaded(&self, name: &str) -> Result<(), Refused> {
        let digest = name.rsplit(':').next().unwrap_or_default();
        let is_sandbox = name == names::sandbox_image(self.docker.namespace(), digest);
        match self.caller == Caller::Builder || is_sandbox {
            true => self.check_name_of_image(name),
            false => Err(Refused::new(format!("{name:?} is no image of sandboxes"))),
        }
    }

    /// What Docker's builder is asked.
    pub(super) async fn build_target(&self, build: Build) -> Result<String, Denied> {
        let Build {
            name,
            dockerfile,
            stage,
            nocache,
            arguments,
            labels,
            network,
            limits,
        } = build;
        self.build_network(&network).await?;
        let namespace = self.docker.namespace();
        let is_label = |(name, value): (&String, &String)| match name.as_str() {
            label::NAMESPACE => value == namespace,
            name => name == label::STACK,
        };
        if !labels.iter().all(is_label) {
            return Err(Refused::new("an image with labels that no build has").into());
        }
        let [arguments, labels] = [arguments, labels].map(|it| json!(it).to_string());
        let nocache = nocache.to_string();
        let shares = Priority::Low.cpu_shares().to_string();
        let limits = limits.map(|(name, value)| (name, value.map(|value| value.to_string())));
        let mut parameters = vec![
            ("dockerfile", &*dockerfile),
            ("rm", "true"),
            ("forcerm", "true"),
            ("nocache", &nocache),
            ("cpushares", &shares),
            ("networkmode", network.as_str()),
            ("buildargs", &arguments),
            ("labels", &labels),
            ("target", &stage),
            ("version", "1"),
        ];
        if let Some(name) = &name {
            self.check_name_of_image(name)?;
            parameters.push(("t", name));
        }
        for (name, value) in &limits {
            parameters.extend(value.as_deref().map(|value| (*name, value)));
        }
        Ok(target("/build", &parameters))
    }
}
