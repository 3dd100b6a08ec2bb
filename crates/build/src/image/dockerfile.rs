//! The image that a repository's own `Dockerfile` makes.

use std::fs::File;
use std::io::Cursor;

use bollard::query_parameters::BuildImageOptionsBuilder;

use corefn_core::config::FunctionConfig;
use corefn_engine::docker::Docker;

use super::{Revision, run_build};
use crate::compile::{CPU_PERIOD, CPU_QUOTA, MEMORY};
use crate::context::{DOCKERFILE, archive};
use crate::error::BuildError;
use crate::output::Output;

/// What a repository's `Dockerfile` made, not yet an image of a revision.
#[derive(Debug, Clone)]
pub struct DockerfileImage {
    id: String,
    /// The user it is run as, unless that is root.
    pub user: Option<String>,
}

/// Builds a repository by its `Dockerfile`; `context` is a tar archive of it.
///
/// `layers` gets those that the build makes or uses, as they come: when nothing is made of them,
/// [`super::remove_layers`] removes them.
///
/// # Errors
/// [`BuildError`] when the build fails; what Docker printed was passed on.
pub async fn from_dockerfile(
    docker: &Docker,
    context: File,
    output: &mut Output,
    layers: &mut Vec<String>,
) -> Result<DockerfileImage, BuildError> {
    let memory = i32::try_from(MEMORY).unwrap_or(i32::MAX);
    let options = BuildImageOptionsBuilder::default()
        .dockerfile(DOCKERFILE)
        .rm(true)
        .forcerm(true)
        .memory(memory)
        .memswap(memory)
        .cpuperiod(CPU_PERIOD)
        .cpuquota(CPU_QUOTA)
        .build();
    let told = async |text: &str| {
        layers.extend(layer(text).map(ToOwned::to_owned));
        output.bytes(text.as_bytes()).await;
    };
    let id = run_build(docker, options, context, "build the Dockerfile", told).await?;
    let image = docker.client().await?.inspect_image(&id).await;
    let image = image.map_err(|cause| docker.failed("look at the image that was built", cause))?;
    let user = image.config.and_then(|config| config.user);
    Ok(DockerfileImage {
        user: user.filter(|user| !is_root(user)),
        id,
    })
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
    ) -> Result<String, BuildError> {
        let tag = revision.tag(docker.namespace());
        let options = BuildImageOptionsBuilder::default()
            .t(&tag)
            .rm(true)
            .forcerm(true)
            .labels(&revision.labels(docker.namespace(), config))
            .build();
        let text = format!("FROM {}\n", self.id);
        let packed = archive(&[(DOCKERFILE, 0o644, text.as_bytes())])?;
        let what = format!("label the image {tag}");
        run_build(
            docker,
            options,
            Cursor::new(packed),
            &what,
            async |_: &str| (),
        )
        .await?;
        Ok(tag)
    }
}

/// The layer that a step of the build has come to: Docker's builder prints ` ---> ` and the first
/// twelve digits of its identifier.
fn layer(text: &str) -> Option<&str> {
    const DIGITS: usize = 12;
    let id = text.trim().strip_prefix("---> ")?;
    (id.len() == DIGITS && id.bytes().all(|b| b.is_ascii_hexdigit())).then_some(id)
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
    fn layers() {
        assert_eq!(layer(" ---> 0123456789ab\n"), Some("0123456789ab"));
        for other in [
            "",
            " ---> Using cache\n",
            " ---> Running in 0123456789ab\n",
            "0123456789ab",
            "Successfully built 0123456789ab\n",
        ] {
            assert_eq!(layer(other), None, "{other:?}");
        }
    }

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
