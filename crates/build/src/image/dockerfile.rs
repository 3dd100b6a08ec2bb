//! The image that a repository's own `Dockerfile` makes.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Cursor, Seek as _};
use std::path::Path;
use std::sync::Arc;

use corefn_core::config::FunctionConfig;
use corefn_core::function::FunctionName;
use corefn_core::host::Host;
use corefn_core::names::{self, label};
use corefn_engine::docker::Docker;

use super::instructions::{Instructions, LONGEST_LINE};
use super::outside::{self, Images};
use super::without::without;
use super::{Revision, Traces, bundle, identifier, label_instruction, options, run_build};
use crate::context::{DOCKERFILE, IGNORE_FILE, Ignore, archive};
use crate::error::BuildError;
use crate::limits::{Watch, in_time};
use crate::network;
use crate::output::Output;
use crate::tree::Tree;

/// The scheduler's period, in microseconds (Linux's default).
const CPU_PERIOD: u64 = 100_000;

/// The `Dockerfile` as it was understood, beside the repository's own.
const UNDERSTOOD: &str = ".corefn.Dockerfile";

/// What Docker's builder gets of a repository.
#[derive(Debug)]
pub struct Recipe {
    /// A tar archive of it.
    context: File,
    /// Whether its commands get the host's certificate authorities.
    has_bundle: bool,
    /// What its images were called before they were pinned.
    images: Arc<Images>,
}

impl Recipe {
    /// Packs a repository, and sees to it that the images are there that its `Dockerfile` names.
    ///
    /// # Errors
    /// [`BuildError`] when its `.dockerignore` is wrong, its `Dockerfile` would have Docker read what no pusher may, an image can't
    /// be had, or Docker can't take the bundle.
    pub async fn of(
        docker: &Docker,
        host: &Host,
        tree: &Tree,
        output: &mut Output,
    ) -> Result<Self, BuildError> {
        let patterns = tree.text(IGNORE_FILE)?;
        let ignore = Ignore::parse(patterns.as_deref().unwrap_or_default())?;
        let text = tree.text(DOCKERFILE)?.unwrap_or_default();
        let mut file = Instructions::read(&text)?;
        let images = in_time(&host.build, outside::pin(docker, host, &mut file, output)).await?;
        let has_bundle = match network::ca_bundle(host)? {
            Some(bundle) => {
                let image = bundle::tag(docker.namespace(), &bundle);
                let has_bundle = bundle::insert(&mut file, &image);
                if has_bundle {
                    bundle::ensure(docker, &image, &bundle).await?;
                }
                has_bundle
            }
            None => false,
        };
        // Named in the ignore file, neither can be copied into the image; the engine reads them all the same.
        let own = if patterns.is_some() { "" } else { IGNORE_FILE };
        let patterns = patterns.unwrap_or_default();
        let added = vec![
            (UNDERSTOOD, file.text()),
            (IGNORE_FILE, format!("{patterns}\n{UNDERSTOOD}\n{own}\n")),
        ];
        let replaced = [UNDERSTOOD, IGNORE_FILE].map(Path::new);
        let keeps = |path: &Path| !replaced.contains(&path) && ignore.keeps(path);
        Ok(Self {
            context: tree.archive(0, keeps, added).await?,
            has_bundle,
            images: images.into(),
        })
    }

    /// The same once more, to be built again.
    ///
    /// # Errors
    /// [`BuildError::Io`] when the file can't be used.
    pub fn again(&self) -> Result<Self, BuildError> {
        let context = self.context.try_clone().and_then(|mut context| {
            context.rewind()?;
            Ok(context)
        });
        Ok(Self {
            context: context.map_err(BuildError::io("the pushed files can't be read"))?,
            has_bundle: self.has_bundle,
            images: self.images.clone(),
        })
    }
}

/// What a repository's `Dockerfile` made, not yet an image of a revision.
#[derive(Debug, Clone)]
pub struct DockerfileImage {
    image: String,
    /// The user it is run as, unless that is root.
    pub user: Option<String>,
    /// What Docker's builder made, where that is another image: the next build can use its layers.
    pub cache: Option<String>,
}

/// Builds a repository by its `Dockerfile`, for a revision.
///
/// `traces` gets what the build leaves, as it comes: when nothing is made of it,
/// [`Traces::remove`] removes it.
///
/// # Errors
/// [`BuildError`] when the build fails; what Docker printed was passed on.
pub async fn from_dockerfile(
    docker: &Docker,
    host: &Host,
    revision: &Revision,
    recipe: Recipe,
    output: &mut Output,
    traces: &mut Traces,
) -> Result<DockerfileImage, BuildError> {
    let limits = &host.build;
    // (Docker's builder takes 32 bits, of which 0 would be no limit.)
    let memory = i32::try_from(limits.memory).unwrap_or(i32::MAX);
    let quota = limits.nano_cpus / (1_000_000_000 / CPU_PERIOD);
    let mut labels = HashMap::new();
    if recipe.has_bundle {
        let namespace = docker.namespace().to_owned();
        labels.insert(label::NAMESPACE.to_owned(), namespace);
    }
    let options = options(docker, &labels)
        .await?
        .dockerfile(UNDERSTOOD)
        .buildargs(&network::proxies(host))
        .memory(memory)
        .memswap(memory)
        .cpuperiod(CPU_PERIOD as i32)
        .cpuquota(i32::try_from(quota).unwrap_or(i32::MAX))
        .build();
    let before = traces.count();
    let mut is_hidden = false;
    let watch = Watch::new(docker, limits);
    let print = async |text: &str| {
        if text.starts_with("Step ") {
            is_hidden = bundle::is_added_step(text);
        }
        if is_hidden {
            return Ok(());
        }
        output.program(recipe.images.named(text).as_bytes()).await
    };
    let what = "build the Dockerfile";
    let watched = Some(&watch);
    let building = run_build(
        docker,
        options,
        recipe.context,
        what,
        watched,
        traces,
        print,
    );
    let built = in_time(limits, watch.during(building)).await;
    // (Where a layer is removed that the build has just found, Docker may report anything.)
    let mut built = built;
    for layer in traces.since(before) {
        if built.is_err() {
            built = or_lost(docker, &layer, built).await;
        }
    }
    let built = built?;
    let image = docker.client().await?.inspect_image(&built).await;
    let image = image.map_err(|cause| docker.failed("look at the image that was built", cause));
    let image = or_lost(docker, &built, image.map_err(BuildError::from)).await?;
    let user = image.config.and_then(|config| config.user);
    let user = user.filter(|user| !is_root(user));
    if !recipe.has_bundle {
        return Ok(DockerfileImage {
            image: built,
            user,
            cache: None,
        });
    }
    let tag = revision.first_tag(docker.namespace());
    let made = without(docker, &built, network::FOLDER, &tag).await;
    or_lost(docker, &built, made).await?;
    Ok(DockerfileImage {
        image: tag,
        user,
        cache: Some(built),
    })
}

/// Tags what Docker's builder made, as the cache of the next build, and removes what was kept so far.
///
/// # Errors
/// [`BuildError`] when Docker can't do it.
pub async fn keep_cache(
    docker: &Docker,
    function: &FunctionName,
    built: Option<&str>,
) -> Result<(), BuildError> {
    let name = names::cache_image(docker.namespace(), function);
    let former = identifier(docker, &name).await?;
    match built {
        Some(built) => docker.tag(built, &name).await?,
        None => docker.remove_image(&name).await?,
    }
    match former.filter(|former| Some(former.as_str()) != built) {
        // Another image may be built on it.
        Some(former) => match docker.remove_image(&former).await {
            Err(error) if !error.is_conflict() => Err(error.into()),
            _ => Ok(()),
        },
        None => Ok(()),
    }
}

impl DockerfileImage {
    /// Makes it the image of a revision, by adding its labels, and returns its tag.
    ///
    /// # Errors
    /// [`BuildError`] when Docker can't do it.
    pub async fn label(
        &self,
        docker: &Docker,
        revision: &Revision,
        config: &FunctionConfig,
        traces: &mut Traces,
    ) -> Result<String, BuildError> {
        label(docker, &self.image, revision, config, traces).await
    }
}

/// Makes an image that of a revision, by giving it the revision's labels in place of those that it has, and returns its tag.
///
/// # Errors
/// [`BuildError`] when Docker can't do it.
pub async fn label(
    docker: &Docker,
    image: &str,
    revision: &Revision,
    config: &FunctionConfig,
    traces: &mut Traces,
) -> Result<String, BuildError> {
    let tag = revision.first_tag(docker.namespace());
    let labels = label_instruction(&revision.labels(docker.namespace(), config));
    if labels.len() > LONGEST_LINE {
        return Err(BuildError::rejected(format!(
            "the configuration of {} is too large: {} bytes, of which {LONGEST_LINE} can be kept with its image; the \
             variables of its environment are most of it",
            revision.function,
            labels.len()
        )));
    }
    let options = options(docker, &HashMap::new()).await?;
    let options = options.t(&tag).nocache(true).build();
    let text = format!("FROM {image}\n{labels}");
    let packed = Cursor::new(archive(&[(DOCKERFILE, 0o644, text.as_bytes())])?);
    let what = format!("label the image {tag}");
    let print = async |_: &str| Ok(());
    let labelled = run_build(docker, options, packed, &what, None, traces, print).await;
    or_lost(docker, image, labelled).await?;
    Ok(tag)
}

/// The outcome of what was done with an image. Where that failed because the image is gone, Docker may have reported
/// anything, for instance that it could not pull it.
async fn or_lost<T>(
    docker: &Docker,
    image: &str,
    outcome: Result<T, BuildError>,
) -> Result<T, BuildError> {
    if outcome.is_err() && identifier(docker, image).await?.is_none() {
        return Err(BuildError::Lost);
    }
    outcome
}

/// Whether an image's user, `user[:group]` or nothing, is root.
fn is_root(user: &str) -> bool {
    let name = user.split(':').next().unwrap_or_default();
    matches!(name, "" | "root") || name.parse() == Ok(0u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root() {
        for user in ["", "root", "0", "root:daemon", "0:5", "00", ":5"] {
            assert!(is_root(user), "{user:?}");
        }
        for user in ["1000", "node", "65534:65534", "node:root", "10:0"] {
            assert!(!is_root(user), "{user:?}");
        }
    }
}
