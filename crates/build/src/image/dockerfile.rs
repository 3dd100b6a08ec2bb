//! The image that a repository's own `Dockerfile` makes.

use std::fs::File;
use std::io::Cursor;

use bollard::query_parameters::BuildImageOptionsBuilder;

use corefn_core::config::FunctionConfig;
use corefn_engine::docker::Docker;

use super::{Revision, Traces, run_build};
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
/// `traces` gets what the build leaves, as it comes: when nothing is made of it,
/// [`super::remove_traces`] removes it.
///
/// # Errors
/// [`BuildError`] when the build fails; what Docker printed was passed on.
pub async fn from_dockerfile(
    docker: &Docker,
    context: File,
    output: &mut Output,
    traces: &mut Traces,
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
        traces.layers.extend(id(text, "---> "));
        traces.containers.extend(id(text, "---> Running in "));
        output.bytes(text.as_bytes()).await;
    };
    let built = run_build(docker, options, context, "build the Dockerfile", told).await?;
    let image = docker.client().await?.inspect_image(&built).await;
    let image = image.map_err(|cause| docker.failed("look at the image that was built", cause))?;
    let user = image.config.and_then(|config| config.user);
    Ok(DockerfileImage {
        user: user.filter(|user| !is_root(user)),
        id: built,
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

/// The layer or container that a step of the build has come to: Docker's builder prints a mark and the
/// first twelve digits of its identifier.
fn id(text: &str, mark: &str) -> Option<String> {
    const DIGITS: usize = 12;
    let id = text.trim().strip_prefix(mark)?;
    (id.len() == DIGITS && id.bytes().all(|b| b.is_ascii_hexdigit())).then(|| id.to_owned())
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
    fn layers_and_containers() {
        let of = |text: &str| (id(text, "---> "), id(text, "---> Running in "));
        let known = Some("0123456789ab".to_owned());
        assert_eq!(of(" ---> 0123456789ab\n"), (known.clone(), None));
        assert_eq!(of(" ---> Running in 0123456789ab\n"), (None, known));
        for other in [
            "",
            " ---> Using cache\n",
            "0123456789ab",
            "Successfully built 0123456789ab\n",
        ] {
            assert_eq!(of(other), (None, None), "{other:?}");
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
