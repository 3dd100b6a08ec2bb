//! One build: from a function's files to a revision that can be deployed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use corefn_core::config::FunctionConfig;
use corefn_core::deployment::Deployment;
use corefn_core::function::FunctionName;
use corefn_core::host::Host;
use corefn_core::manifest::{Declaration, Found, ManifestError, Problem};
use corefn_core::secrets::SecretIds;
use corefn_engine::docker::Docker;
use corefn_engine::secrets::SecretStore;
use corefn_engine::store::Store;
use corefn_sandbox::executables::Digest;
use corefn_schedule::Times;

use crate::cache::Cache;
use crate::compile::{Compiler, OWNER, Product, compile, sweep};
use crate::deploy::{self, First};
use crate::error::BuildError;
use crate::image::{
    self, Recipe, Revision, Traces, from_dockerfile, from_executable, from_files, keep_cache,
};
use crate::output::{Output, seconds, size};
use crate::stack::{self, Choice, Stack};
use crate::tree::Tree;

use super::archive::archive;

/// How often a `Dockerfile` is built whose layers are removed meanwhile.
const ATTEMPTS: u32 = 5;

/// A build that has everything it needs to begin.
pub(super) struct Build<'a> {
    host: &'a Host,
    docker: Arc<Docker>,
    store: Arc<Store>,
    tree: Tree,
    declaration: Declaration,
    stack: Choice,
    /// Why it was chosen.
    reason: String,
    /// The variables that were set for the function.
    env_set: BTreeMap<String, String>,
    /// And its secrets.
    secrets: SecretIds,
    revision: Revision,
    /// The percentage of the requests that it is released to, where it takes nobody's place.
    weight: Option<u8>,
    /// What the build of a `Dockerfile` has left in Docker.
    traces: Traces,
    /// What is kept of it for the next.
    cache: Option<String>,
    /// What a stack's build shares with others of its account.
    shared: Option<Cache>,
    steps: Vec<(&'static str, Duration)>,
}

/// What a build made.
pub(super) struct Built {
    /// What is deployed.
    pub deployment: Deployment,
    /// What its image is called until then.
    pub pending: String,
    /// Its first instance.
    pub first: First,
    /// The percentage of the requests that it is released to, where it takes nobody's place.
    pub weight: Option<u8>,
    /// The stack's name.
    pub stack: String,
    /// The image's size in bytes.
    pub size: u64,
    /// How long each step took.
    pub steps: Vec<(&'static str, Duration)>,
}

impl<'a> Build<'a> {
    /// What is built.
    pub fn function(&self) -> &FunctionName {
        &self.revision.function
    }

    /// Checks all that can be checked before anything is made.
    pub async fn begin(
        host: &'a Host,
        (docker, store, secrets): (Arc<Docker>, Arc<Store>, &SecretStore),
        revision: Revision,
        declaration: Declaration,
        tree: Tree,
        stack: (Choice, String),
        weight: Option<u8>,
    ) -> Result<Self, BuildError> {
        let begin = Instant::now();
        let (stack, reason) = stack;
        let function = &revision.function;
        let routes = declaration.config(Found::default()).routes;
        deploy::check_routes(&store, function, &routes).await?;
        // What a build left that was killed.
        sweep(&docker, function).await?;
        let deployments = store.deployments().await?;
        let mut deployments = deployments.iter();
        let deployed = deployments.find(|deployment| deployment.function == *function);
        image::remove_pending(&docker, function, deployed).await?;
        let (env_set, secrets) = match deployed {
            Some(Deployment { config, .. }) => (config.env_set.clone(), config.secrets.clone()),
            None => (BTreeMap::new(), secrets.waiting(function)?),
        };
        check_secrets(&declaration, function, &secrets)?;
        check_schedule(&declaration)?;
        check_network(&declaration, host)?;
        Ok(Self {
            host,
            docker,
            store,
            tree,
            declaration,
            stack,
            reason,
            env_set,
            secrets,
            revision,
            weight,
            traces: Traces::default(),
            cache: None,
            shared: None,
            steps: vec![("check", begin.elapsed())],
        })
    }

    /// Makes the image and starts its first instance.
    pub async fn run(&mut self, output: &mut Output) -> Result<Built, BuildError> {
        output
            .line(&format!(
                "==> {}, revision {}, stack {} ({})",
                self.revision.function,
                self.revision.id,
                self.stack.name(),
                self.reason
            ))
            .await;
        if let [first, others @ ..] = &self.tree.lfs_pointers()?[..] {
            output
                .line(&format!(
                    "warning: {} is a pointer of Git LFS, and so are {} other files: what they stand for isn't \
                     pushed here, and the build gets the pointers",
                    first.display(),
                    others.len()
                ))
                .await;
        }
        output.limit(self.host.build.output);
        let (tag, config) = match self.stack.clone() {
            Choice::Dockerfile => self.build_dockerfile(output).await?,
            Choice::Stack(stack) => self.build_stack(&stack, output).await?,
        };
        let deployment = self.revision.deployment(&self.host.namespace, config);
        output
            .line("==> starting its first instance, to see that it answers")
            .await;
        let pending = Deployment {
            image: tag.clone(),
            ..deployment.clone()
        };
        let pending = match self.weight {
            Some(weight) => pending.beside(weight),
            None => pending,
        };
        let start = deploy::start_first(&self.docker, &self.store, &pending);
        let (first, shared) = tokio::join!(start, self.measure_shared());
        let first = first?;
        self.steps.push(("start", first.took));
        sweep(&self.docker, &self.revision.function).await?;
        self.tidy_shared(shared, output).await;
        Ok(Built {
            size: image::size(&self.docker, &tag).await?,
            deployment,
            pending: tag,
            first,
            weight: self.weight,
            stack: self.stack.name().to_owned(),
            steps: std::mem::take(&mut self.steps),
        })
    }

    /// The configuration that the manifest declares, with what was set besides.
    fn config(&self, found: Found) -> FunctionConfig {
        FunctionConfig {
            env_set: self.env_set.clone(),
            secrets: self.secrets.clone(),
            ..self.declaration.config(found)
        }
    }

    /// Keeps what the next build can use. It is deployed, whatever becomes of this.
    pub async fn keep(&self, output: &mut Output) {
        let function = &self.revision.function;
        if let Err(error) = keep_cache(&self.docker, function, self.cache.as_deref()).await {
            output
                .line(&format!(
                    "warning: the next build may take as long: {error}"
                ))
                .await;
        }
    }

    /// Removes what was made: the containers, the image and its layers. What can't be removed is only reported: the error
    /// that led here matters more.
    pub async fn undo(&mut self, output: &mut Output) {
        let namespace = &self.host.namespace;
        let tags = [
            self.revision.first_tag(namespace),
            self.revision.tag(namespace),
        ];
        // What is still being built may have the tag in the end.
        self.traces.ended().await;
        if let Some(shared) = &self.shared {
            shared.settled().await;
        }
        let shared = self.measure_shared().await;
        let swept = sweep(&self.docker, &self.revision.function).await;
        self.tidy_shared(shared, output).await;
        let Revision { function, id, .. } = &self.revision;
        let withdrawn = deploy::withdraw(&self.docker, function, id).await;
        let [pending, deployed] = tags.each_ref().map(|tag| self.docker.remove_image(tag));
        let (pending, deployed) = (pending.await, deployed.await);
        let traces = self.traces.remove(&self.docker).await;
        for left in [swept, withdrawn, pending, deployed, traces]
            .into_iter()
            .filter_map(Result::err)
        {
            output
                .line(&format!("warning: something of the build is left: {left}"))
                .await;
        }
    }

    async fn measure_shared(&self) -> Option<Result<u64, BuildError>> {
        Some(self.shared.as_ref()?.size().await)
    }

    /// Empties the cache that the account's builds share, if it is too large for another build.
    async fn tidy_shared(&self, measured: Option<Result<u64, BuildError>>, output: &mut Output) {
        let (Some(shared), Some(measured)) = (&self.shared, measured) else {
            return;
        };
        let account = self.revision.function.account();
        match measured {
            Ok(bytes) => {
                if shared.tidy(bytes).await {
                    output
                        .line(&format!(
                            "    the cache of {account} was emptied: it had {}, more than half of what it may have",
                            size(bytes)
                        ))
                        .await;
                }
            }
            Err(error) => {
                output
                    .line(&format!(
                        "warning: the cache of {account} is not looked after: {error}"
                    ))
                    .await;
            }
        }
    }

    async fn build_stack(
        &mut self,
        stack: &Stack,
        output: &mut Output,
    ) -> Result<(String, FunctionConfig), BuildError> {
        let begin = Instant::now();
        let images = stack::ensure(&self.docker, self.host, stack, output).await?;
        let sources = self.tree.archive(OWNER, |_| true, Vec::new()).await?;
        self.steps.push(("prepare", begin.elapsed()));
        output.line("==> compiling").await;
        let begin = Instant::now();
        let function = &self.revision.function;
        let cache = Cache::new(self.docker.clone(), self.host, function, &images.builder);
        self.shared = Some(cache.clone());
        let compiled = compile(
            &self.docker,
            self.host,
            function,
            Compiler {
                image: &images.builder,
                kind: stack.kind(),
                cache: &cache,
            },
            sources,
            output,
        )
        .await?;
        self.done("compile", begin, output).await;
        let begin = Instant::now();
        let mut config = self.config(Found {
            exports: compiled.exports,
            user: None,
        });
        config.socket = compiled.socket;
        let (docker, revision) = (&self.docker, &self.revision);
        let tag = match (compiled.product, images.runtime) {
            (Product::Executable(executable), _) => {
                config.executable = Some(Digest::of(&executable).as_str().to_owned());
                from_executable(docker, revision, &config, &executable).await?
            }
            (
                Product::Files {
                    files,
                    can_be_handed_over,
                },
                runtime,
            ) => {
                let runtime = runtime.unwrap_or(images.builder);
                if can_be_handed_over {
                    let archive = archive(docker, &runtime, &config, &files).await?;
                    let starts = match &archive {
                        Ok(_) => "from a sandbox in which its runtime waits".to_owned(),
                        Err(why) => format!("from its image: {why}"),
                    };
                    if self.host.sandboxes.is_some() {
                        output.line(&format!("    starts   {starts}")).await;
                    }
                    config.archive = archive.ok().map(Box::new);
                }
                from_files(docker, revision, &config, &runtime, files, &mut self.traces).await?
            }
        };
        self.steps.push(("image", begin.elapsed()));
        Ok((tag, config))
    }

    async fn build_dockerfile(
        &mut self,
        output: &mut Output,
    ) -> Result<(String, FunctionConfig), BuildError> {
        output.line("==> building the Dockerfile").await;
        let begin = Instant::now();
        let recipe = Recipe::of(&self.docker, self.host, &self.tree, output).await?;
        self.steps.push(("prepare", begin.elapsed()));
        let begin = Instant::now();
        let since = SystemTime::now();
        let mut attempts = 1..ATTEMPTS;
        let built = loop {
            let attempt = self.attempt_dockerfile(recipe.again()?, output).await;
            match attempt {
                Err(BuildError::Lost) if attempts.next().is_some() => {}
                attempt => break attempt,
            }
        };
        if attempts.start > 1 || matches!(built, Err(BuildError::Lost)) {
            // (They are in nobody's way: what can't be removed stays.)
            let _ = image::remove_orphans(&self.docker, since).await;
        }
        let (tag, config) = built?;
        self.done("build", begin, output).await;
        Ok((tag, config))
    }

    async fn attempt_dockerfile(
        &mut self,
        recipe: Recipe,
        output: &mut Output,
    ) -> Result<(String, FunctionConfig), BuildError> {
        let (docker, host, revision) = (&self.docker, self.host, &self.revision);
        let image = from_dockerfile(docker, host, revision, recipe, output, &mut self.traces);
        let image = image.await?;
        self.cache.clone_from(&image.cache);
        let config = self.config(Found {
            exports: None,
            user: image.user.clone(),
        });
        let tag = image
            .label(docker, revision, &config, &mut self.traces)
            .await?;
        Ok((tag, config))
    }

    async fn done(&mut self, step: &'static str, begin: Instant, output: &mut Output) {
        let took = begin.elapsed();
        self.steps.push((step, took));
        output.line(&format!("    done in {}", seconds(took))).await;
    }
}

/// Checks that all lines of a function's schedule mean something on this host.
fn check_schedule(declaration: &Declaration) -> Result<(), BuildError> {
    let problems = declaration.schedule().filter_map(|(line, at)| {
        let error = Times::new(line).err()?;
        Some(Problem {
            at: Some(at),
            what: format!("schedule: {error}"),
        })
    });
    refuse(problems.collect())
}

/// Checks that the host has the network that a function is to be on.
fn check_network(declaration: &Declaration, host: &Host) -> Result<(), BuildError> {
    let missing = declaration
        .network()
        .filter(|(name, _)| !host.networks.contains_key(name));
    let Some((name, at)) = missing else {
        return Ok(());
    };
    let names = host.networks.keys().map(|name| format!(", {name}"));
    let what = format!(
        "there is no network {:?} on this host: write one of outbound, none{}",
        name.to_string(),
        names.collect::<String>()
    );
    refuse(vec![Problem { at: Some(at), what }])
}

fn refuse(problems: Vec<Problem>) -> Result<(), BuildError> {
    match problems.is_empty() {
        true => Ok(()),
        false => Err(ManifestError::of(problems).into()),
    }
}

/// Checks that all secrets are set that a function asks for.
fn check_secrets(
    declaration: &Declaration,
    function: &FunctionName,
    set: &SecretIds,
) -> Result<(), BuildError> {
    let missing = declaration
        .secrets()
        .filter(|(name, _)| !set.contains_key(*name));
    let problems = missing.map(|(name, at)| Problem {
        at: Some(at),
        what: format!(
            "the secret {name} is not set: corefn secret set {function} {name} reads it from standard input; then push again"
        ),
    });
    refuse(problems.collect())
}
