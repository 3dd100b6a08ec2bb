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

/// A `Dockerfile` whose commands find the bundle of `image`; nothing if it has none that could want it.
pub fn insert(dockerfile: &str, image: &str) -> Option<String> {
    let variables: Vec<_> = ca_variables().collect();
    let variables = variables.join(" ");
    let added = format!("COPY --from={image} /{FILE} {CA_BUNDLE}\nARG {variables}\n");
    let (mut text, mut has_commands) = (String::new(), false);
    for (keyword, lines) in instructions(dockerfile) {
        text.push_str(lines);
        has_commands |= keyword.eq_ignore_ascii_case("RUN");
        if keyword.eq_ignore_ascii_case("FROM") {
            if !text.ends_with('\n') {
                text.push('\n');
            }
            text.push_str(&added);
        }
    }
    has_commands.then_some(text)
}

/// The instructions of a `Dockerfile`: the keyword and the lines of each, with comments before them. Whether they
/// are right is for Docker to say. (Its classic builder knows no here-documents.)
fn instructions(dockerfile: &str) -> Vec<(&str, &str)> {
    let mut escape = '\\';
    let (mut found, mut keyword, mut begin, mut end) = (Vec::new(), None, 0, 0);
    for line in dockerfile.split_inclusive('\n') {
        end += line.len();
        let text = line.trim();
        if let Some(comment) = text.strip_prefix('#') {
            let directive = comment
                .split_once('=')
                .map(|(name, value)| (name.trim(), value.trim()));
            // (It counts only at the head of the file.)
            if let (true, Some((name, "`"))) = (found.is_empty(), directive)
                && name.eq_ignore_ascii_case("escape")
            {
                escape = '`';
            }
            continue;
        }
        if text.is_empty() {
            continue;
        }
        let word =
            *keyword.get_or_insert_with(|| text.split_whitespace().next().unwrap_or_default());
        if !text.ends_with(escape) {
            found.push((word, &dockerfile[begin..end]));
            (keyword, begin) = (None, end);
        }
    }
    found.push((keyword.unwrap_or_default(), &dockerfile[begin..]));
    found
}

/// Whether a line that Docker's builder prints announces a step that [`insert`] has added.
pub fn is_added_step(text: &str) -> bool {
    text.starts_with("Step ") && text.trim_end().ends_with(CA_BUNDLE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inserted(text: &str) -> Option<String> {
        let variables = ca_variables().collect::<Vec<_>>().join(" ");
        let added = format!("COPY --from=i /ca.pem /etc/corefn/ca.pem\nARG {variables}\n");
        Some(insert(text, "i")?.replace(&added, "+\n"))
    }

    #[test]
    fn each_stage_begins_with_it() {
        for (text, want) in [
            ("FROM a\nRUN b", "FROM a\n+\nRUN b"),
            (
                "# syntax\nARG X=1\nfrom a AS b \n# c\nRUN d\nFROM b\n",
                "# syntax\nARG X=1\nfrom a AS b \n+\n# c\nRUN d\nFROM b\n+\n",
            ),
            (
                "FROM \\\n  a \\\n  AS b\r\nRUN c \\\n  FROM d\n",
                "FROM \\\n  a \\\n  AS b\r\n+\nRUN c \\\n  FROM d\n",
            ),
            ("FROM a\nRUN b\nFROM c", "FROM a\n+\nRUN b\nFROM c\n+\n"),
            (
                "# escape=`\nFROM a `\n# c\n\n AS b\nRUN c \\\nFROM d",
                "# escape=`\nFROM a `\n# c\n\n AS b\n+\nRUN c \\\nFROM d\n+\n",
            ),
            ("FROM a\nRUN x\n# FROM b\n", "FROM a\n+\nRUN x\n# FROM b\n"),
        ] {
            assert_eq!(inserted(text).as_deref(), Some(want), "{text}");
        }
    }

    #[test]
    fn who_runs_nothing_needs_none() {
        assert_eq!(inserted("FROM scratch\nCOPY a /\nCMD [\"/a\"]\n"), None);
    }

    #[test]
    fn added_steps() {
        let all = insert("FROM a\nRUN b", "i").unwrap();
        let added = all
            .lines()
            .filter(|line| is_added_step(&format!("Step 2/9 : {line}\n")));
        assert_eq!(added.count(), 2);
        assert!(!is_added_step(
            "Step 2/9 : RUN cat /etc/corefn/ca.pem | wc\n"
        ));
    }
}
