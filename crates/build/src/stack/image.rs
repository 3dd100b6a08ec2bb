//! A stack's image: the language's tools, built once for each content of the stack's folder.

use std::collections::HashMap;
use std::fs::File;
use std::io::Cursor;
use std::time::Instant;

use bollard::query_parameters::{
    BuildImageOptionsBuilder, ListImagesOptionsBuilder, RemoveImageOptions,
};

use corefn_core::host::Host;
use corefn_core::names::label;
use corefn_engine::docker::{Docker, DockerError};

use super::{DESCRIPTION_FILE, Kind, Stack};
use crate::context::pack;
use crate::error::BuildError;
use crate::image::run_build;
use crate::output::{Output, seconds};
use crate::repository::lock;

/// How many digits of the content's hash are in the image's tag.
const HASH_DIGITS: usize = 16;

/// The stage of a stack's Dockerfile that functions run on.
const RUNTIME: &str = "runtime";

/// The images of a stack, by their tags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Images {
    /// What compiles.
    pub builder: String,
    /// What functions run on, of a stack that has such.
    pub runtime: Option<String>,
}

/// Returns a stack's images, and builds those that aren't there.
///
/// # Errors
/// [`BuildError`] when the folder can't be read or an image can't be built.
pub async fn ensure(
    docker: &Docker,
    host: &Host,
    stack: &Stack,
    output: &mut Output,
) -> Result<Images, BuildError> {
    let packed = pack(&stack.folder)?;
    let tag = |kind: &str| {
        let name = &stack.name;
        let hash = &packed.hash[..HASH_DIGITS];
        format!("{}/{kind}-{name}:{hash}", host.namespace)
    };
    let images = Images {
        builder: tag("stack"),
        runtime: (stack.kind() == Kind::Runtime).then(|| tag(RUNTIME)),
    };
    if are_there(docker, &images).await? {
        return Ok(images);
    }
    let file = stack.folder.join(DESCRIPTION_FILE);
    let wrong = || BuildError::io(format!("{} can't be locked", file.display()));
    let file = File::open(&file).map_err(wrong())?;
    let waiting = format!(
        "another push builds the image of the stack {}: waiting for it",
        stack.name
    );
    let _lock = lock(file, output, &waiting).await.map_err(wrong())?;
    if are_there(docker, &images).await? {
        return Ok(images);
    }
    let begin = Instant::now();
    output
        .line(&format!(
            "==> building the image of the stack {} (once, takes a minute or two)",
            stack.name
        ))
        .await;
    let what = format!(
        "build the image of the stack {} from {} (the base_image of {})",
        stack.name,
        host.base_image,
        corefn_core::names::HOST_FILE
    );
    // The builder's image stands on the other, which is made of it on the way.
    let runtime = images.runtime.iter().map(|tag| (tag, Some(RUNTIME)));
    for (tag, stage) in runtime.chain([(&images.builder, None)]) {
        let mut options = BuildImageOptionsBuilder::default()
            .t(tag)
            .rm(true)
            .forcerm(true)
            .buildargs(&HashMap::from([(
                "BASE_IMAGE".to_owned(),
                host.base_image.clone(),
            )]))
            .labels(&HashMap::from([
                (label::NAMESPACE.to_owned(), host.namespace.clone()),
                (label::STACK.to_owned(), stack.name.clone()),
            ]));
        if let Some(stage) = stage {
            options = options.target(stage);
        }
        let told = async |text: &str| output.bytes(text.as_bytes()).await;
        let context = Cursor::new(packed.archive.clone());
        run_build(docker, options.build(), context, &what, told).await?;
    }
    output
        .line(&format!(
            "    the stack's image is ready after {}",
            seconds(begin.elapsed())
        ))
        .await;
    for tag in [&images.builder].into_iter().chain(&images.runtime) {
        remove_former(docker, tag).await?;
    }
    Ok(images)
}

async fn are_there(docker: &Docker, images: &Images) -> Result<bool, DockerError> {
    for tag in [&images.builder].into_iter().chain(&images.runtime) {
        if !is_there(docker, tag).await? {
            return Ok(false);
        }
    }
    Ok(true)
}

async fn is_there(docker: &Docker, tag: &str) -> Result<bool, DockerError> {
    let found = docker.client().await?.inspect_image(tag).await;
    match found.map_err(|cause| docker.failed(format!("look at the image {tag}"), cause)) {
        Ok(_) => Ok(true),
        Err(error) if error.is_absent() => Ok(false),
        Err(error) => Err(error),
    }
}

/// Removes the images of the stack's earlier contents, which nothing is built with any more. One
/// that a build under way still uses is kept by Docker, and removed the next time; what functions stand
/// on stays as long as they do, without a name.
async fn remove_former(docker: &Docker, tag: &str) -> Result<(), DockerError> {
    let client = docker.client().await?;
    let repository = tag.split(':').next().unwrap_or(tag);
    let options = ListImagesOptionsBuilder::default()
        .filters(&HashMap::from([("reference", vec![repository.to_owned()])]))
        .build();
    let images = client
        .list_images(Some(options))
        .await
        .map_err(|cause| docker.failed("list images", cause))?;
    let tags = images.iter().flat_map(|image| &image.repo_tags);
    for former in tags.filter(|former| *former != tag) {
        let _ = client
            .remove_image(former, None::<RemoveImageOptions>, None)
            .await;
    }
    Ok(())
}
