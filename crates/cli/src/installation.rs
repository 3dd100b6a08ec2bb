//! The installation that is talked to.

use std::path::PathBuf;

use corefn_core::function::FunctionName;
use corefn_core::host::Host;
use corefn_engine::docker::Docker;
use corefn_engine::home;
use corefn_engine::store::Store;

use crate::error::Error;

/// An installation: its home, its settings, its Redis and its Docker.
pub struct Installation {
    /// The absolute path of its home.
    pub home: PathBuf,
    /// The absolute path of the folder of repositories.
    pub projects: PathBuf,
    /// Its Redis; nothing is connected before the first use.
    pub store: Store,
    /// Its Docker; nothing is connected before the first use.
    pub docker: Docker,
}

impl Installation {
    /// Finds the installation's home and reads its settings.
    pub fn open(named: Option<PathBuf>) -> Result<Self, Error> {
        let home = home::find(named)?;
        let host: Host = home::read(&home)?;
        Ok(Self {
            projects: home.join(&host.projects),
            store: Store::new(&host.redis, &host.namespace)?,
            docker: Docker::new(&host.docker, &host.namespace),
            home,
        })
    }

    /// The repository that a function is pushed to, if there is one: `account/name.git`, else
    /// `account.git`.
    pub fn repository_of(&self, function: &FunctionName) -> Option<PathBuf> {
        [
            format!("{function}.git"),
            format!("{}.git", function.account()),
        ]
        .into_iter()
        .map(|path| self.projects.join(path))
        .find(|path| path.join("HEAD").exists())
    }
}
