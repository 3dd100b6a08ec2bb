//! The installation that is talked to.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use corefn_core::access::Access;
use corefn_core::deployment::Deployment;
use corefn_core::function::{FunctionName, RepositoryName};
use corefn_core::host::{Host, Revisions};
use corefn_engine::docker::Docker;
use corefn_engine::home;
use corefn_engine::sandboxes::Sandboxes;
use corefn_engine::secrets::SecretStore;
use corefn_engine::store::{Store, StoreError};

use crate::error::Error;

/// An installation: its home, its settings, its Redis and its Docker.
pub struct Installation {
    /// The absolute path of its home.
    pub home: PathBuf,
    /// The absolute path of the folder of repositories.
    pub projects: PathBuf,
    /// Its Redis; nothing is connected before the first use.
    pub store: Arc<Store>,
    /// Its Docker; nothing is connected before the first use.
    pub docker: Docker,
    /// Its sandboxes, if a keeper keeps any.
    pub sandboxes: Option<Sandboxes>,
    /// The values of its secrets.
    pub secrets: SecretStore,
    /// Where functions answer; only for what is printed.
    pub url: String,
    /// Which revisions are kept.
    pub revisions: Revisions,
    /// For whom a command is run that came over ssh; none for the operator, who sees all.
    viewer: Option<Viewer>,
}

/// An account that sees only what it may.
pub struct Viewer {
    /// The account.
    pub account: String,
    /// What it, and others, may.
    pub access: Access,
}

impl Viewer {
    /// Whether it sees a function.
    pub fn sees(&self, function: &FunctionName) -> bool {
        self.access.role_on(&self.account, function).is_some()
    }
}

impl Installation {
    /// Reads the settings of an installation's home.
    pub fn open(home: &Path, viewer: Option<Viewer>) -> Result<Self, Error> {
        let host: Host = home::read(home)?;
        let secrets = SecretStore::new(&home.join(&host.secrets));
        Ok(Self {
            viewer,
            projects: home.join(&host.projects),
            store: Arc::new(Store::new(&host.redis, &host.namespace)?),
            docker: Docker::new(&host.docker, &host.namespace).with_secrets(Some(secrets.clone())),
            secrets,
            sandboxes: host
                .sandboxes
                .map(|sandboxes| Sandboxes::new(&home.join(sandboxes.folder), &host.namespace)),
            revisions: host.revisions,
            url: host.url,
            home: home.to_owned(),
        })
    }

    /// What is deployed of all functions: the current revisions.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn functions(&self) -> Result<Vec<Deployment>, StoreError> {
        let mut deployments = self.store.deployments().await?;
        deployments.retain(|deployment| deployment.function.is_plain());
        Ok(deployments)
    }

    /// Where a function answers, or one of its released revisions, as the settings have it.
    pub fn url_of(&self, function: &FunctionName) -> String {
        format!("{}/{function}", self.url.trim_end_matches('/'))
    }

    /// Whether everything is to be shown: to the operator.
    pub fn shows_all(&self) -> bool {
        self.viewer.is_none()
    }

    /// The account for which a command is run; none for the operator.
    pub fn account(&self) -> Option<&str> {
        self.viewer.as_ref().map(|viewer| viewer.account.as_str())
    }

    /// Whether a repository is to be shown.
    pub fn shows_repository(&self, repository: &RepositoryName) -> bool {
        self.viewer.as_ref().is_none_or(|viewer| {
            let role = viewer.access.role(&viewer.account, repository);
            role.is_some()
        })
    }

    /// Whether a function is to be shown.
    pub fn shows(&self, function: &FunctionName) -> bool {
        self.viewer
            .as_ref()
            .is_none_or(|viewer| viewer.sees(function))
    }
}
