//! All builds of a push: one for each function of the repository. They are deployed together or not at all.

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use corefn_core::deployment::Deployment;
use corefn_core::function::{FunctionName, RepositoryName, RevisionId};
use corefn_core::host::Host;
use corefn_core::lease::DEFAULT_IDLE;
use corefn_core::manifest::{Declaration, Manifest, ManifestError};
use corefn_core::names;
use corefn_core::release::Release;
use corefn_engine::docker::Docker;
use corefn_engine::rebuild::rebuild;
use corefn_engine::releases::with_releases;
use corefn_engine::sandboxes::Sandboxes;
use corefn_engine::secrets::SecretStore;
use corefn_engine::spans::Whole;
use corefn_engine::start::random_id;
use corefn_engine::store::Store;

use super::build::{Build, Built};
use crate::deploy;
use crate::error::BuildError;
use crate::image::Revision;
use crate::interrupt::SETTLES;
use crate::job::Job;
use crate::output::Output;
use crate::release::{check_shares, release_built};
use crate::stack;
use crate::tree::Tree;

/// The builds, in the order of the manifest.
pub(super) struct Builds<'a> {
    docker: Arc<Docker>,
    store: Arc<Store>,
    repository: RepositoryName,
    /// Sandboxes of the host, if a keeper keeps any.
    sandboxes: Option<Sandboxes>,
    builds: Vec<Build<'a>>,
    /// What the pusher should know before anything is built.
    note: Option<String>,
    /// The percentage of the requests that the revisions are released to, where they take nobody's place.
    weight: Option<u8>,
}

impl<'a> Builds<'a> {
    /// Checks all that can be checked before anything is made.
    pub async fn begin(
        host: &'a Host,
        repository: &RepositoryName,
        job: &Job,
        tree: Tree,
    ) -> Result<Self, BuildError> {
        let (manifest, note) = manifest(&tree, repository)?;
        let functions = manifest.functions(repository.account(), repository.name())?;
        let stacks = stack::all(Path::new(&host.stacks))?;
        stack::check_sdk_images(&stacks, host)?;
        let parts = functions
            .into_iter()
            .map(|(function, declaration)| {
                let tree = part(&tree, &declaration)?;
                let stack = stack::choose(&stacks, declaration.stack(), &tree)?;
                Ok((function, declaration, tree, stack))
            })
            .collect::<Result<Vec<_>, BuildError>>()?;
        let secrets = SecretStore::new(Path::new(&host.secrets));
        let docker = Docker::new(&host.docker, &host.namespace).with_secrets(Some(secrets.clone()));
        let docker = Arc::new(docker);
        let store = Arc::new(Store::new(&host.redis, &host.namespace)?);
        docker.client().await?;
        // A Redis that was emptied knows of no routes, so it could not say that one is taken.
        let token = random_id().map_err(|failure| BuildError::rejected(failure.detail))?;
        rebuild(&store, &docker, &token.to_string(), DEFAULT_IDLE).await?;
        check_owner(&docker, repository, parts.iter().map(|part| &part.0)).await?;
        let mut builds = Vec::new();
        for (function, declaration, tree, stack) in parts {
            let (docker, store) = (docker.clone(), store.clone());
            let revision = Revision {
                function,
                repository: repository.clone(),
                id: job.revision.clone(),
                commit: job.commit.clone(),
                account: job.account.clone(),
                pending: true,
            };
            if let Some(weight) = job.weight {
                let images = docker.images_of(&revision.function).await?;
                let current = store.deployment(&revision.function).await?;
                let Revision { function, id, .. } = &revision;
                check_shares(current.as_ref(), &images, function, id, weight)?;
            }
            let tools = (docker, store, &secrets);
            let build = Build::begin(host, tools, revision, declaration, tree, stack, job.weight);
            builds.push(build.await?);
        }
        Ok(Self {
            docker,
            store,
            repository: repository.clone(),
            sandboxes: host
                .sandboxes
                .as_ref()
                .map(|sandboxes| Sandboxes::new(Path::new(&sandboxes.folder), &host.namespace)),
            builds,
            note,
            weight: job.weight,
        })
    }

    /// Makes the images and starts the first instances, of one function after the other.
    pub async fn run(
        &mut self,
        output: &mut Output,
        whole: &mut Whole,
    ) -> Result<Vec<Built>, BuildError> {
        if let Some(note) = &self.note {
            output.line(note).await;
        }
        let mut built = Vec::new();
        for build in &mut self.builds {
            let begin = SystemTime::now();
            let done = build.run(output).await;
            let took = begin.elapsed().unwrap_or_default();
            let name = build.function().to_string();
            whole.add("build", begin, took, vec![("faas.name", name)]);
            built.push(done?);
        }
        Ok(built)
    }

    /// Deploys what was built.
    pub async fn switch(&self, built: &[Built]) -> Result<(), BuildError> {
        let revisions: Vec<_> = built
            .iter()
            .map(|built| (&built.deployment, Some(&built.first.instance)))
            .collect();
        for built in built {
            let tag = &built.deployment.image;
            self.docker.tag(&built.pending, tag).await?;
        }
        match self.weight {
            Some(weight) => release_built(&self.docker, &self.store, &revisions, weight).await,
            None => deploy::switch(&self.docker, &self.store, &revisions).await,
        }
    }

    /// What is left to do when it is deployed, whatever becomes of that.
    pub async fn finish(&self, built: &[Built], output: &mut Output) {
        for built in built {
            // (One that can't be removed is, by the next push.)
            let _ = self.docker.remove_image(&built.pending).await;
        }
        for build in &self.builds {
            build.keep(output).await;
        }
        if let Some(sandboxes) = &self.sandboxes {
            prepare(sandboxes, built, output).await;
        }
        self.tell_of_others(built, output).await;
    }

    /// Tells of functions that earlier pushes to the repository have deployed, and this one did not; and of revisions that are
    /// released beside what was pushed.
    async fn tell_of_others(&self, built: &[Built], output: &mut Output) {
        let images = self.docker.images().await.unwrap_or_default();
        for Built { deployment, .. } in built.iter().filter(|built| built.weight.is_none()) {
            let Deployment {
                function, releases, ..
            } = with_releases(deployment, &images);
            for Release { revision, weight } in releases {
                output
                    .line(&format!(
                        "note: {revision} of {function} still gets {weight} % of the requests: corefn release {function} \
                         {revision} --end ends that"
                    ))
                    .await;
            }
        }
        for image in images.iter().filter(|image| image.current) {
            let function = &image.deployment.function;
            if image.repository.as_deref() == Some(self.repository.as_str())
                && built
                    .iter()
                    .all(|built| built.deployment.function != *function)
            {
                output
                    .line(&format!(
                        "warning: {function}, which an earlier push has deployed, is no longer in this repository, and \
                         goes on as it was: corefn rm {function} removes it"
                    ))
                    .await;
            }
        }
    }

    /// Removes what was made because of an error.
    pub async fn undo(&mut self, error: &BuildError, output: &mut Output) {
        if matches!(error, BuildError::Interrupted(_)) {
            tokio::time::sleep(SETTLES).await;
        }
        for build in &mut self.builds {
            build.undo(output).await;
        }
    }
}

/// Whether routers know a revision of the repository's account.
pub(super) async fn is_deployed(
    host: &Host,
    repository: &RepositoryName,
    revision: &RevisionId,
) -> Result<bool, BuildError> {
    let docker = Docker::new(&host.docker, &host.namespace);
    let store = Store::new(&host.redis, &host.namespace)?;
    let token = random_id().map_err(|failure| BuildError::rejected(failure.detail))?;
    rebuild(&store, &docker, &token.to_string(), DEFAULT_IDLE).await?;
    let deployments = store.deployments().await?;
    Ok(deployments.iter().any(|deployment| {
        deployment.function.account() == repository.account() && deployment.revision == *revision
    }))
}

/// Has executables on the host, so that the next start of each is a quick one.
async fn prepare(sandboxes: &Sandboxes, built: &[Built], output: &mut Output) {
    for Built { deployment, .. } in built {
        if let Err(error) = sandboxes.fetch(deployment).await {
            output
                .line(&format!(
                    "warning: the next start of {} takes longer: the keeper of sandboxes can't be asked ({error})",
                    deployment.function
                ))
                .await;
        }
    }
}

/// Refuses functions that are deployed from another repository: `shop` and `shop/orders` may both name
/// `shop/orders`, and who may push to one need not be let into the other.
async fn check_owner(
    docker: &Docker,
    repository: &RepositoryName,
    functions: impl Iterator<Item = &FunctionName>,
) -> Result<(), BuildError> {
    let images = docker.images().await?;
    let lines: Vec<String> = functions
        .filter_map(|function| {
            let image = images
                .iter()
                .find(|image| image.current && image.deployment.function == *function)?;
            let owner = image.repository.as_deref()?;
            (owner != repository.as_str()).then(|| {
                format!(
                    "{function} is deployed from the repository {owner}: push it there, or remove it first \
                     (corefn rm {function})"
                )
            })
        })
        .collect();
    if lines.is_empty() {
        return Ok(());
    }
    Err(BuildError::rejected(lines.join("\n")))
}

/// What the repository says of its functions, and what the pusher should know about that.
fn manifest(
    tree: &Tree,
    repository: &RepositoryName,
) -> Result<(Manifest, Option<String>), BuildError> {
    let (manifest, modules) = (names::MANIFEST, names::MODULES);
    if let Some(text) = tree.text(manifest)? {
        let both = tree.has(modules);
        let note = both.then(|| format!("There is a {manifest}, so {modules} is not read"));
        return Ok((Manifest::parse(&text)?, note));
    }
    let manifest = match tree.text(modules)? {
        Some(text) => Manifest::of_modules(&text, repository.account())?,
        None => Manifest::default(),
    };
    Ok((manifest, None))
}

/// The files of a function.
fn part(tree: &Tree, declaration: &Declaration) -> Result<Tree, BuildError> {
    let Some((path, at)) = declaration.path() else {
        return Ok(tree.clone());
    };
    tree.folder(path)?.ok_or_else(|| {
        let what = format!(
            "path: there is no folder {path} with files in it: add it, or correct its name"
        );
        ManifestError::new(Some(at), what).into()
    })
}
