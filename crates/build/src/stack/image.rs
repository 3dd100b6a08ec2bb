//! A stack's image: the language's tools, built once for each content of the stack's folder.

use std::collections::HashMap;
use std::fs::File;
use std::io::Cursor;
use std::time::Instant;

use corefn_core::host::Host;
use corefn_core::names::{self, HOST_FILE, label};
use corefn_engine::docker::{Docker, DockerError};
use sha2::{Digest as _, Sha256};

use super::{DESCRIPTION_FILE, Kind, Stack};
use crate::context::{hex, pack};
use crate::error::BuildError;
use crate::image::{Traces, identifier, options, remove_others, run_build};
use crate::network;
use crate::output::{Output, seconds};
use crate::repository::lock;

/// How many digits of the content's hash are in the image's tag.
const HASH_DIGITS: usize = 16;

/// How often an image is built, where Docker's builder meets layers that are being removed.
const ATTEMPTS: u32 = 5;

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
    let sdk = stack.sdk_image(host);
    let hash = hash(&packed.hash, &host.base_image, sdk);
    let (namespace, name) = (&host.namespace, &stack.name);
    let images = Images {
        builder: names::stack_image(namespace, name, &hash),
        runtime: (stack.kind() == Kind::Runtime)
            .then(|| names::runtime_image(namespace, name, &hash)),
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
    let and_sdk = sdk.map(|sdk| format!(" and {sdk} (its sdk_images)"));
    let what = format!(
        "build the image of the stack {} from {} (the base_image of {HOST_FILE}){}",
        stack.name,
        host.base_image,
        and_sdk.unwrap_or_default()
    );
    // The builder's image is built on the runtime's, which is a stage of the same Dockerfile.
    let runtime = images.runtime.iter().map(|tag| (tag, Some(RUNTIME)));
    for (tag, stage) in runtime.chain([(&images.builder, None)]) {
        let mut arguments = network::proxies(host);
        arguments.insert("BASE_IMAGE".to_owned(), host.base_image.clone());
        if let Some(sdk) = sdk {
            arguments.insert("SDK_IMAGE".to_owned(), sdk.to_owned());
        }
        let labels = HashMap::from([
            (label::NAMESPACE.to_owned(), host.namespace.clone()),
            (label::STACK.to_owned(), stack.name.clone()),
        ]);
        let mut options = options(docker, &labels).await?.t(tag).buildargs(&arguments);
        if let Some(stage) = stage {
            options = options.target(stage);
        }
        let options = options.build();
        let mut attempts = 1..ATTEMPTS;
        loop {
            let print = async |text: &str| {
                output.bytes(text.as_bytes()).await;
                Ok(())
            };
            let context = Cursor::new(packed.archive.clone());
            let mut traces = Traces::default();
            match run_build(
                docker,
                options.clone(),
                context,
                &what,
                None,
                &mut traces,
                print,
            )
            .await
            {
                Err(BuildError::Lost) if attempts.next().is_some() => {}
                built => break built,
            }
        }?;
    }
    output
        .line(&format!(
            "    the stack's image is ready after {}",
            seconds(begin.elapsed())
        ))
        .await;
    // A former runtime stays, without its name, for as long as functions are built on it.
    for tag in [&images.builder].into_iter().chain(&images.runtime) {
        remove_others(docker, tag).await?;
    }
    Ok(images)
}

/// Tells a stack's images from those that another content of its folder, or other images below, would make.
fn hash(folder: &str, base: &str, sdk: Option<&str>) -> String {
    let mut hash = Sha256::new();
    for text in [folder, base].into_iter().chain(sdk) {
        hash.update(text);
        hash.update("\0");
    }
    let mut digits = hex(&hash.finalize());
    digits.truncate(HASH_DIGITS);
    digits
}

async fn are_there(docker: &Docker, images: &Images) -> Result<bool, DockerError> {
    for tag in [&images.builder].into_iter().chain(&images.runtime) {
        if identifier(docker, tag).await?.is_none() {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn other_images_below_make_others() {
        let made = [
            hash("f", "debian:bookworm-slim", None),
            hash("g", "debian:bookworm-slim", None),
            hash("f", "debian:trixie-slim", None),
            hash("f", "debian:bookworm-slim", Some("sdk:8.0")),
            hash("f", "debian:bookworm-slim", Some("sdk:9.0")),
        ];
        assert!(made.iter().all(|hash| hash.len() == HASH_DIGITS));
        let different: HashSet<_> = made.iter().collect();
        assert_eq!(different.len(), made.len());
    }
}
