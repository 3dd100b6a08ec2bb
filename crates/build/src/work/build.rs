//! One build: from a commit to a revision that is deployed.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use corefn_core::config::FunctionConfig;
use corefn_core::function::{Deployment, RepositoryName};
use corefn_core::host::Host;
use corefn_core::lease::DEFAULT_IDLE;
use corefn_core::manifest::{Found, Manifest};
use corefn_core::names;
use corefn_engine::docker::Docker;
use corefn_engine::rebuild::rebuild;
use corefn_engine::start::random_id;
use corefn_engine::store::Store;

use crate::compile::{self, OWNER, Product, compile, sweep};
use crate::deploy::{self, First};
use crate::error::BuildError;
use crate::image::{
    self, Recipe, Revision, Traces, from_dockerfile, from_executable, from_files, keep_cache,
};
use crate::output::{Output, seconds};
use crate::service::Job;
use crate::stack::{self, Choice, Stack};
use crate::tree::Tree;

/// How often a `Dockerfile` is built whose layers are removed meanwhile.
const ATTEMPTS: u32 = 3;

/// How long a request to Docker that was broken off may still take effect there.
const SETTLES: Duration = Duration::from_secs(1);

/// A build that has everything it needs to begin.
pub(super) struct Build<'a> {
    host: &'a Host,
    docker: Docker,
    store: Arc<Store>,
    tree: Tree,
    manifest: Manifest,
    stack: Choice,
    revision: Revision,
    /// What a `Dockerfile`'s build has come through.
    traces: Traces,
    /// What is kept of it for the next.
    cache: Option<String>,
    steps: Vec<(&'static str, Duration)>,
}

/// What a build made.
pub(super) struct Built {
    /// What is deployed.
    pub deployment: Deployment,
    /// What answers first.
    pub first: First,
    /// The stack's name.
    pub stack: String,
    /// The image's size in bytes.
    pub size: u64,
    /// How long each step took.
    pub steps: Vec<(&'static str, Duration)>,
}

impl<'a> Build<'a> {
    /// Checks all that can be checked before anything is made.
    pub async fn begin(
        host: &'a Host,
        repository: &RepositoryName,
        job: &Job,
        tree: Tree,
    ) -> Result<Self, BuildError> {
        let begin = Instant::now();
        let manifest = match tree.text(names::MANIFEST)? {
            Some(text) => Manifest::parse(&text)?,
            None => Manifest::default(),
        };
        let function = manifest.function(repository.account(), repository.name())?;
        let stack = stack::choose(
            &stack::all(Path::new(&host.stacks))?,
            manifest.stack(),
            &tree,
        )?;
        let docker = Docker::new(&host.docker, &host.namespace);
        let store = Arc::new(Store::new(&host.redis, &host.namespace)?);
        docker.client().await?;
        // A Redis that was emptied knows of no routes, so it could not say that one is taken.
        let token = random_id().map_err(|failure| BuildError::rejected(failure.detail))?;
        rebuild(&store, &docker, &token.to_string(), DEFAULT_IDLE).await?;
        let routes = manifest.config(Found::default()).routes;
        deploy::check_routes(&store, &function, &routes).await?;
        // What a build left that was killed.
        sweep(&docker, &function).await?;
        let revision = Revision {
            function,
            id: job.revision.clone(),
            commit: job.commit.clone(),
        };
        Ok(Self {
            host,
            docker,
            store,
            tree,
            manifest,
            stack,
            revision,
            traces: Traces::default(),
            cache: None,
            steps: vec![("check", begin.elapsed())],
        })
    }

    /// Makes the image and starts its first instance.
    pub async fn run(&mut self, output: &mut Output) -> Result<Built, BuildError> {
        output
            .line(&format!(
                "==> {}, revision {}, stack {}",
                self.revision.function,
                self.revision.id,
                self.stack.name()
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
        let first = deploy::start_first(&self.docker, &self.store, &deployment).await?;
        self.steps.push(("start", first.took));
        compile::sweep(&self.docker, &self.revision.function).await?;
        Ok(Built {
            size: image::size(&self.docker, &tag).await?,
            deployment,
            first,
            stack: self.stack.name().to_owned(),
            steps: std::mem::take(&mut self.steps),
        })
    }

    /// Deploys what was built.
    pub async fn switch(&self, built: &Built, output: &mut Output) -> Result<(), BuildError> {
        let first = Some(&built.first.instance);
        deploy::switch(&self.docker, &self.store, &built.deployment, first).await?;
        let function = &self.revision.function;
        // It is deployed, whatever becomes of this.
        if let Err(error) = keep_cache(&self.docker, function, self.cache.as_deref()).await {
            output
                .line(&format!(
                    "warning: the next build may take as long: {error}"
                ))
                .await;
        }
        Ok(())
    }

    /// Removes what was made: the containers, the image and its layers. What can't be removed is told, for the
    /// error that led here matters more.
    pub async fn undo(&self, error: &BuildError, output: &mut Output) {
        if matches!(error, BuildError::Interrupted(_)) {
            tokio::time::sleep(SETTLES).await;
        }
        let tag = self.revision.tag(&self.host.namespace);
        let swept = sweep(&self.docker, &self.revision.function).await;
        let Revision { function, id, .. } = &self.revision;
        let withdrawn = deploy::withdraw(&self.docker, function, id).await;
        let removed = image::remove(&self.docker, &tag).await;
        let traces = image::remove_traces(&self.docker, &self.traces).await;
        for left in [swept, withdrawn, removed, traces]
            .into_iter()
            .filter_map(Result::err)
        {
            output
                .line(&format!("warning: something of the build is left: {left}"))
                .await;
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
        let compiled = compile(
            &self.docker,
            self.host,
            function,
            &images.builder,
            stack.kind(),
            sources,
            output,
        )
        .await?;
        self.done("compile", begin, output).await;
        let begin = Instant::now();
        let config = self.manifest.config(Found {
            exports: compiled.exports,
            user: None,
        });
        let (docker, revision) = (&self.docker, &self.revision);
        let tag = match (compiled.product, images.runtime) {
            (Product::Executable(executable), _) => {
                from_executable(docker, revision, &config, &executable).await?
            }
            (Product::Files(files), runtime) => {
                let runtime = runtime.unwrap_or(images.builder);
                from_files(docker, revision, &config, &runtime, files).await?
            }
        };
        self.steps.push(("image", begin.elapsed()));
        Ok((tag, config))
    }

    async fn build_dockerfile(
        &mut self,
        output: &mut Output,
    ) -> Result<(String, FunctionConfig), BuildError> {
        let begin = Instant::now();
        let recipe = Recipe::of(&self.docker, self.host, &self.tree).await?;
        self.steps.push(("prepare", begin.elapsed()));
        output.line("==> building the Dockerfile").await;
        let begin = Instant::now();
        let mut attempts = 1..ATTEMPTS;
        let (tag, config) = loop {
            let attempt = self.attempt_dockerfile(recipe.again()?, output).await;
            match attempt {
                Err(BuildError::Lost) if attempts.next().is_some() => {}
                attempt => break attempt?,
            }
        };
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
        let config = self.manifest.config(Found {
            exports: None,
            user: image.user.clone(),
        });
        let tag = image.label(docker, revision, &config).await?;
        Ok((tag, config))
    }

    async fn done(&mut self, step: &'static str, begin: Instant, output: &mut Output) {
        let took = begin.elapsed();
        self.steps.push((step, took));
        output.line(&format!("    done in {}", seconds(took))).await;
    }
}
