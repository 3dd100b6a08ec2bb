//! An image that holds one executable and nothing else.
//!
//! It is made here, in the form that `docker save` writes (image specification v1.2), and loaded
//! with one call: as exact as `FROM scratch`, `COPY`, `USER`, `ENTRYPOINT`, without a container
//! for each of them.

use std::collections::HashMap;
use std::io::Cursor;

use serde_json::json;
use sha2::{Digest as _, Sha256};

use corefn_core::config::FunctionConfig;
use corefn_core::names;
use corefn_engine::docker::Docker;

use super::{Revision, load};
use crate::context::{archive, hex};
use crate::error::BuildError;

/// Where the executable is in its image.
const PATH: &str = "function";

/// Makes the image of a revision from an executable, which must be statically linked, and returns
/// its tag.
///
/// # Errors
/// [`BuildError`] when Docker doesn't take it.
pub async fn from_executable(
    docker: &Docker,
    revision: &Revision,
    config: &FunctionConfig,
    executable: &[u8],
) -> Result<String, BuildError> {
    let tag = revision.first_tag(docker.namespace());
    let labels = revision.labels(docker.namespace(), config);
    of_program(docker, &tag, &labels, executable).await?;
    Ok(tag)
}

/// Makes an image with these labels from an executable, which must be statically linked, and gives it a tag.
///
/// # Errors
/// [`BuildError`] when Docker doesn't take it.
pub async fn of_program(
    docker: &Docker,
    tag: &str,
    labels: &HashMap<String, String>,
    executable: &[u8],
) -> Result<(), BuildError> {
    let client = docker.client().await?;
    let version = client
        .version()
        .await
        .map_err(|cause| docker.failed("tell its version", cause))?;
    let layer = archive(&[(PATH, 0o755, executable)])?;
    let image = json!({
        "architecture": version.arch,
        "os": version.os,
        "created": jiff::Timestamp::now().to_string(),
        "config": {
            "User": names::USER,
            "Entrypoint": [format!("/{PATH}")],
            "Labels": labels,
        },
        "rootfs": {
            "type": "layers",
            "diff_ids": [format!("sha256:{}", hex(&Sha256::digest(&layer)))],
        },
    })
    .to_string();
    let manifest = json!([{
        "Config": "config.json",
        "RepoTags": [tag],
        "Layers": ["layer.tar"],
    }])
    .to_string();
    let packed = archive(&[
        ("manifest.json", 0o644, manifest.as_bytes()),
        ("config.json", 0o644, image.as_bytes()),
        ("layer.tar", 0o644, &layer),
    ])?;
    load(docker, tag, Cursor::new(packed)).await?;
    Ok(())
}
