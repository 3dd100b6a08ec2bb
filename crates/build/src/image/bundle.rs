//! The host's certificate authorities for the commands of a `Dockerfile`, which knows nothing of them.
//!
//! Docker's builder can't mount a file into what it runs. So each stage begins with a copy of the bundle, out of
//! an image that holds nothing else, and with the variables that lead to it, as build arguments, which no image keeps.
//! The copies are taken out of what was built ([`super::without`]).

use std::collections::HashMap;
use std::io::Cursor;

use sha2::{Digest as _, Sha256};

use corefn_core::names::{self, label};
use corefn_engine::docker::Docker;

use super::instructions::{Instruction, Instructions};
use super::{Traces, identifier, options, remove_others, run_build};
use crate::context::{DOCKERFILE, archive, hex};
use crate::error::BuildError;
use crate::network::{CA_BUNDLE, ca_variables};

/// The bundle's name in the image that holds it.
const FILE: &str = "ca.pem";

/// How many digits of the bundle's hash are in the image's tag.
const HASH_DIGITS: usize = 16;

/// The tag of the image that holds a bundle.
pub fn tag(namespace: &str, bundle: &[u8]) -> String {
    let hash = hex(&Sha256::digest(bundle));
    names::bundle_image(namespace, &hash[..HASH_DIGITS])
}

/// Makes the image that holds the bundle, if it isn't there.
///
/// # Errors
/// [`BuildError`] when Docker can't do it.
pub async fn ensure(docker: &Docker, tag: &str, bundle: &[u8]) -> Result<(), BuildError> {
    if identifier(docker, tag).await?.is_some() {
        return Ok(());
    }
    let text = format!("FROM scratch\nCOPY {FILE} /\n");
    let packed = archive(&[(DOCKERFILE, 0o644, text.as_bytes()), (FILE, 0o644, bundle)])?;
    let namespace = docker.namespace().to_owned();
    let labels = HashMap::from([(label::NAMESPACE.to_owned(), namespace)]);
    let what = format!("make the image {tag}");
    // (Without Docker's cache: it is made once, and Docker would look through all images that have no base.)
    let options = options(docker, &labels).await?.t(tag).nocache(true).build();
    let context = Cursor::new(packed);
    let (mut traces, print) = (Traces::default(), async |_: &str| Ok(()));
    run_build(docker, options, context, &what, None, &mut traces, print).await?;
    remove_others(docker, tag).await?;
    Ok(())
}

/// Has the commands of a `Dockerfile` find the bundle of `image`. Returns whether any could want it; if not, nothing is changed.
pub fn insert(file: &mut Instructions, image: &str) -> bool {
    if !file.all.iter().any(|it| it.keyword == "RUN") {
        return false;
    }
    let variables: Vec<_> = ca_variables().collect();
    let added = [
        format!("COPY --from={image} /{FILE} {CA_BUNDLE}"),
        format!("ARG {}", variables.join(" ")),
    ];
    let all = std::mem::take(&mut file.all).into_iter();
    file.all = all
        .flat_map(|instruction| {
            let begins = instruction.keyword == "FROM";
            let line = instruction.line;
            let added = added.iter().filter(move |_| begins);
            let added = added.map(move |text| Instruction::read(line, text));
            std::iter::once(instruction).chain(added)
        })
        .collect();
    true
}

/// Whether a line that Docker's builder prints announces a step that [`insert`] has added.
pub fn is_added_step(text: &str) -> bool {
    text.starts_with("Step ") && text.trim_end().ends_with(CA_BUNDLE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inserted(text: &str) -> Option<String> {
        let mut file = Instructions::read(text).unwrap();
        insert(&mut file, "i").then(|| file.text())
    }

    #[test]
    fn each_stage_begins_with_it() {
        let variables = ca_variables().collect::<Vec<_>>().join(" ");
        let added = format!("COPY --from=i /ca.pem /etc/corefn/ca.pem\nARG {variables}\n");
        for (text, want) in [
            ("FROM a\nRUN b", "FROM a\n+RUN b\n"),
            (
                "ARG X=1\nFROM a AS b\nRUN d\nFROM b\n",
                "ARG X=1\nFROM a AS b\n+RUN d\nFROM b\n+",
            ),
        ] {
            let found = inserted(text).map(|found| found.replace(&added, "+"));
            assert_eq!(found.as_deref(), Some(want), "{text}");
        }
    }

    #[test]
    fn who_runs_nothing_needs_none() {
        assert_eq!(inserted("FROM scratch\nCOPY a /\nCMD [\"/a\"]\n"), None);
    }

    #[test]
    fn added_steps() {
        let all = inserted("FROM a\nRUN b").unwrap();
        let added = all
            .lines()
            .filter(|line| is_added_step(&format!("Step 2/9 : {line}\n")));
        assert_eq!(added.count(), 2);
        assert!(!is_added_step(
            "Step 2/9 : RUN cat /etc/corefn/ca.pem | wc\n"
        ));
    }
}
