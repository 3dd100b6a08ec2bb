//! Stacks: how a language's sources become an executable. The folder of stacks has one folder
//! each; its README is the contract.

mod image;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use corefn_core::function::check_segment;
use corefn_core::host::Host;
use corefn_core::manifest::{ManifestError, Position};
use corefn_core::names::HOST_FILE;

use crate::context::DOCKERFILE;
use crate::error::BuildError;
use crate::tree::Tree;

pub use image::{Images, ensure};

/// The name of the stack that is no folder: the repository's own `Dockerfile`.
pub const DOCKERFILE_STACK: &str = "dockerfile";

/// The file in a stack's folder that describes it.
const DESCRIPTION_FILE: &str = "stack.toml";

/// A stack of the installation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stack {
    /// Its name: its folder's.
    pub name: String,
    /// Its folder.
    pub folder: PathBuf,
    description: Description,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Description {
    description: String,
    detect: Vec<String>,
    #[serde(default)]
    priority: i64,
    #[serde(default)]
    kind: Kind,
    #[serde(default)]
    sdk: bool,
}

/// What a stack makes of sources.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// One static executable, which is all of its image.
    #[default]
    Executable,
    /// Files that are put on an image of the stack's, which can run them.
    Runtime,
}

impl Stack {
    /// What it makes.
    pub fn kind(&self) -> Kind {
        self.description.kind
    }

    /// The image with an SDK that the operator has named for it.
    fn sdk_image<'a>(&self, host: &'a Host) -> Option<&'a str> {
        host.sdk_images.get(&self.name).map(String::as_str)
    }
}

/// How a repository is built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// By its own `Dockerfile`.
    Dockerfile,
    /// By a stack.
    Stack(Stack),
}

impl Choice {
    /// The stack's name.
    pub fn name(&self) -> &str {
        match self {
            Self::Dockerfile => DOCKERFILE_STACK,
            Self::Stack(stack) => &stack.name,
        }
    }
}

/// The stacks of a folder, by name.
///
/// # Errors
/// [`BuildError`] when the folder can't be read, or a stack in it is not as it should be.
pub fn all(folder: &Path) -> Result<BTreeMap<String, Stack>, BuildError> {
    let wrong = || {
        BuildError::io(format!(
            "the folder of stacks {} can't be read",
            folder.display()
        ))
    };
    let mut stacks = BTreeMap::new();
    for entry in fs::read_dir(folder).map_err(wrong())? {
        let path = entry.map_err(wrong())?.path();
        let file = path.join(DESCRIPTION_FILE);
        let (true, Some(name)) = (
            file.exists(),
            path.file_name().and_then(|name| name.to_str()),
        ) else {
            continue;
        };
        let broken = |why: String| BuildError::rejected(format!("{}: {why}", file.display()));
        check_segment(name).map_err(|error| broken(format!("the folder's name: {error}")))?;
        let text = fs::read_to_string(&file).map_err(|error| broken(error.to_string()))?;
        let description: Description =
            toml::from_str(&text).map_err(|error| broken(error.to_string()))?;
        if let Some(name) = description.detect.iter().find(|name| !is_detectable(name)) {
            let how = "write a file's name, or its end with a star before it, such as *.c";
            return Err(broken(format!("detect: {name:?} is no name: {how}")));
        }
        stacks.insert(
            name.to_owned(),
            Stack {
                name: name.to_owned(),
                folder: path.clone(),
                description,
            },
        );
    }
    Ok(stacks)
}

/// Checks that the settings name images with an SDK only for stacks that build with one.
///
/// # Errors
/// [`BuildError`] with the stack that doesn't, and those that do.
pub fn check_sdk_images(stacks: &BTreeMap<String, Stack>, host: &Host) -> Result<(), BuildError> {
    let takes = |name: &str| stacks.get(name).is_some_and(|stack| stack.description.sdk);
    let Some(wrong) = host.sdk_images.keys().find(|name| !takes(name)) else {
        return Ok(());
    };
    let those: Vec<_> = stacks.keys().filter(|name| takes(name)).cloned().collect();
    Err(BuildError::rejected(format!(
        "{HOST_FILE}: sdk_images: the stack {wrong} builds with no SDK's image; those that do: {}",
        those.join(", ")
    )))
}

/// Whether a text can be looked for at the root of a repository.
fn is_detectable(name: &str) -> bool {
    let rest = name.strip_prefix('*').unwrap_or(name);
    !rest.is_empty() && !rest.contains(['*', '/'])
}

/// Chooses how a repository is built: as its manifest wants, else by its `Dockerfile`, else by the
/// stack of the highest priority that finds one of its files at the root. Says why.
///
/// # Errors
/// [`BuildError`] that lists the stacks there are, when the one that is wanted isn't there or none
/// fits.
pub fn choose(
    stacks: &BTreeMap<String, Stack>,
    wanted: Option<(&str, Position)>,
    tree: &Tree,
) -> Result<(Choice, String), BuildError> {
    pick(stacks, wanted, |file| tree.has(file))
}

fn pick(
    stacks: &BTreeMap<String, Stack>,
    wanted: Option<(&str, Position)>,
    has: impl Fn(&str) -> bool,
) -> Result<(Choice, String), BuildError> {
    let names = || {
        let folders = stacks.keys().map(String::as_str);
        let names: Vec<_> = std::iter::once(DOCKERFILE_STACK).chain(folders).collect();
        names.join(", ")
    };
    let said = |at: Position| format!("{} says so", at.file);
    let found = |file: &str| format!("found by {file}");
    match wanted {
        Some((DOCKERFILE_STACK, at)) if !has(DOCKERFILE) => Err(ManifestError::new(
            Some(at),
            format!(
                "stack is {DOCKERFILE_STACK:?}, but there is no {DOCKERFILE} at the root: add it"
            ),
        )
        .into()),
        Some((DOCKERFILE_STACK, at)) => Ok((Choice::Dockerfile, said(at))),
        Some((name, at)) => match stacks.get(name) {
            Some(stack) => Ok((Choice::Stack(stack.clone()), said(at))),
            None => Err(ManifestError::new(
                Some(at),
                format!("there is no stack {name:?}: write one of {}", names()),
            )
            .into()),
        },
        None if has(DOCKERFILE) => Ok((Choice::Dockerfile, found(DOCKERFILE))),
        None => stacks
            .values()
            .filter_map(|stack| {
                let mut files = stack.description.detect.iter();
                Some((stack, files.find(|file| has(file))?))
            })
            // The first of the highest, where max_by_key would give the last.
            .min_by_key(|(stack, _)| -i128::from(stack.description.priority))
            .map(|(stack, file)| (Choice::Stack(stack.clone()), found(file)))
            .ok_or_else(|| BuildError::rejected(none_fits(stacks))),
    }
}

fn none_fits(stacks: &BTreeMap<String, Stack>) -> String {
    let mut text = format!(
        "no stack fits this repository. At its root there should be:\n  {DOCKERFILE} for the stack \
         {DOCKERFILE_STACK}"
    );
    for stack in stacks.values() {
        let files = stack.description.detect.join(" or ");
        let about = &stack.description.description;
        text.push_str(&format!(
            "\n  {files} for the stack {} ({about})",
            stack.name
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stacks(of: &[(&str, &str)]) -> Result<BTreeMap<String, Stack>, BuildError> {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in of {
            fs::create_dir(folder.path().join(name)).unwrap();
            fs::write(folder.path().join(name).join(DESCRIPTION_FILE), text).unwrap();
        }
        fs::write(folder.path().join("README.md"), "not one").unwrap();
        fs::create_dir(folder.path().join("neither")).unwrap();
        all(folder.path())
    }

    fn three() -> BTreeMap<String, Stack> {
        stacks(&[
            (
                "rust",
                "description = 'R'\ndetect = ['Cargo.toml']\npriority = 5",
            ),
            ("b", "description = 'B'\ndetect = ['x', 'y']"),
            ("a", "description = 'A'\ndetect = ['y']"),
        ])
        .unwrap()
    }

    #[test]
    fn detected() {
        let at = Position {
            file: corefn_core::names::MANIFEST,
            line: 2,
            column: 9,
        };
        for (files, wanted, choice, why) in [
            (&["Cargo.toml"][..], None, "rust", "found by Cargo.toml"),
            (
                &["Cargo.toml", "Dockerfile"],
                None,
                "dockerfile",
                "found by Dockerfile",
            ),
            (
                &["Cargo.toml", "Dockerfile"],
                Some(("rust", at)),
                "rust",
                "corefn.toml says so",
            ),
            (&["Cargo.toml", "x"], None, "rust", "found by Cargo.toml"),
            (&["y"], None, "a", "found by y"),
            (&["x"], None, "b", "found by x"),
            (&[], Some(("b", at)), "b", "corefn.toml says so"),
        ] {
            let (found, reason) = pick(&three(), wanted, |file| files.contains(&file)).unwrap();
            assert_eq!((found.name(), &*reason), (choice, why), "{files:?}");
        }
    }

    #[test]
    fn kinds() {
        let stacks = stacks(&[
            ("a", "description = 'A'\ndetect = []\nkind = 'runtime'"),
            ("b", "description = 'B'\ndetect = []"),
        ])
        .unwrap();
        assert_eq!(stacks["a"].kind(), Kind::Runtime);
        assert_eq!(stacks["b"].kind(), Kind::Executable);
    }

    #[test]
    fn not_there() {
        let at = Position {
            file: corefn_core::names::MANIFEST,
            line: 2,
            column: 9,
        };
        for (wanted, says) in [
            (
                Some(("perl", at)),
                "2:9: there is no stack \"perl\": write one of dockerfile, a, b, rust",
            ),
            (Some(("dockerfile", at)), "no Dockerfile at the root"),
            (
                None,
                "x or y for the stack b (B)\n  Cargo.toml for the stack rust (R)",
            ),
        ] {
            let error = pick(&three(), wanted, |_| false).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn sdk_images_are_for_stacks_that_take_them() {
        let stacks = stacks(&[
            ("a", "description = 'A'\ndetect = []\nsdk = true"),
            ("b", "description = 'B'\ndetect = []"),
        ])
        .unwrap();
        let host = |name: &str| {
            let text = format!(
                "redis = 'unix:///r'\nurl = 'http://h'\nstacks = '/s'\nprojects = '/p'\n\
                 sdk_images = {{ {name} = 'sdk:8.0' }}"
            );
            Host::parse(HOST_FILE, &text).unwrap()
        };
        check_sdk_images(&stacks, &host("a")).unwrap();
        assert_eq!(stacks["a"].sdk_image(&host("a")), Some("sdk:8.0"));
        assert_eq!(stacks["b"].sdk_image(&host("a")), None);
        for name in ["b", "c"] {
            let error = check_sdk_images(&stacks, &host(name)).unwrap_err();
            let says = format!(
                "host.toml: sdk_images: the stack {name} builds with no SDK's image; those that do: a"
            );
            assert_eq!(error.to_string(), says);
        }
    }

    #[test]
    fn broken() {
        for text in [
            "",
            "description = 'x'",
            "description = 'x'\ndetect = 'y'",
            "description = 'x'\ndetect = []\ncolour = 1",
            "description = 'x'\ndetect = []\nkind = 'virtual'",
            "description = 'x'\ndetect = ['a/b']",
            "description = 'x'\ndetect = ['a*']",
            "description = 'x'\ndetect = ['*']",
        ] {
            let error = stacks(&[("s", text)]).unwrap_err().to_string();
            assert!(error.contains("s/stack.toml: "), "{error}");
        }
        assert!(stacks(&[("Bad Name", "")]).is_err());
        assert!(
            all(Path::new("/nowhere"))
                .unwrap_err()
                .to_string()
                .contains("/nowhere")
        );
    }
}
