//! The pushed tree: checked, and packed for a container.
//!
//! It is read from git's objects and never written to the host's file system, so no name and no
//! link in it can do anything there.

mod archive;
mod blobs;
mod links;

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use crate::error::BuildError;
use crate::git::Git;

/// What an entry of a tree is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Folder,
    File,
    Executable,
    Link,
}

/// An entry of a tree.
#[derive(Debug, Clone)]
struct Entry {
    kind: Kind,
    object: String,
    path: PathBuf,
}

/// A commit's tree, fit to be built.
#[derive(Debug)]
pub struct Tree {
    git: Git,
    entries: Vec<Entry>,
}

impl Tree {
    /// Reads and checks the tree of a commit.
    ///
    /// # Errors
    /// [`BuildError::Rejected`] that names the path when the tree is empty, holds a submodule, a
    /// link out of the tree, or a name that is none.
    pub async fn read(git: &Git, commit: &str) -> Result<Self, BuildError> {
        let list = git
            .output(&["ls-tree", "-r", "-t", "-z", "--full-tree", commit])
            .await?;
        let entries = parse(&list)?;
        if entries.is_empty() {
            return Err(BuildError::rejected(
                "the pushed commit has no files: commit at least the function's sources",
            ));
        }
        let links: Vec<_> = entries
            .iter()
            .filter(|entry| entry.kind == Kind::Link)
            .collect();
        let targets =
            blobs::read(git, links.iter().map(|link| link.object.clone()).collect()).await?;
        links::check(
            links
                .iter()
                .zip(targets)
                .map(|(link, target)| {
                    (link.path.clone(), PathBuf::from(OsStr::from_bytes(&target)))
                })
                .collect(),
        )?;
        Ok(Self {
            git: git.clone(),
            entries,
        })
    }

    /// Whether there is a file, or a link, of this name at the root.
    pub fn has(&self, name: &str) -> bool {
        self.entry(name)
            .is_some_and(|entry| entry.kind != Kind::Folder)
    }

    /// The text of a file at the root, if it is there.
    ///
    /// # Errors
    /// [`BuildError::Rejected`] when it is no file, or no UTF-8.
    pub async fn text(&self, name: &str) -> Result<Option<String>, BuildError> {
        let Some(entry) = self.entry(name) else {
            return Ok(None);
        };
        if !matches!(entry.kind, Kind::File | Kind::Executable) {
            return Err(BuildError::rejected(format!(
                "{name} is no file: make it one"
            )));
        }
        let mut blobs = blobs::read(&self.git, vec![entry.object.clone()]).await?;
        let text = String::from_utf8(blobs.pop().unwrap_or_default());
        text.map(Some)
            .map_err(|_| BuildError::rejected(format!("{name} is no UTF-8 text: save it as UTF-8")))
    }

    /// Packs the tree as a tar archive whose files belong to `owner`, and leaves out what `keep`
    /// says no to.
    ///
    /// # Errors
    /// [`BuildError`] when git or the temporary file fails.
    pub async fn archive(
        &self,
        owner: u64,
        keep: impl Fn(&Path) -> bool,
    ) -> Result<File, BuildError> {
        let kept = self.entries.iter().filter(|entry| keep(&entry.path));
        archive::write(&self.git, kept.cloned().collect(), owner).await
    }

    fn entry(&self, name: &str) -> Option<&Entry> {
        self.entries
            .iter()
            .find(|entry| entry.path == Path::new(name))
    }
}

/// Reads `git ls-tree -r -t -z`: records of `mode SP type SP object TAB path`.
fn parse(list: &[u8]) -> Result<Vec<Entry>, BuildError> {
    let records = list.split(|&b| b == 0).filter(|record| !record.is_empty());
    records.map(parse_record).collect()
}

fn parse_record(record: &[u8]) -> Result<Entry, BuildError> {
    let unknown = || {
        let record = String::from_utf8_lossy(record);
        BuildError::rejected(format!(
            "the pushed tree has an entry that is none: {record}"
        ))
    };
    let tab = record
        .iter()
        .position(|&b| b == b'\t')
        .ok_or_else(unknown)?;
    let (head, path) = (
        &record[..tab],
        Path::new(OsStr::from_bytes(&record[tab + 1..])),
    );
    let mut words = std::str::from_utf8(head).map_err(|_| unknown())?.split(' ');
    let (mode, object) = (words.next(), words.nth(1).ok_or_else(unknown)?);
    // A tree that git itself made has no such names, but whoever pushes may make one by hand.
    let plain = |part: Component<'_>| match part {
        Component::Normal(name) => !name.eq_ignore_ascii_case(".git"),
        _ => false,
    };
    if path.components().count() == 0 || !path.components().all(plain) {
        return Err(BuildError::rejected(format!(
            "{path:?} is no path that can be built: rename it"
        )));
    }
    let kind = match mode {
        Some("040000") => Kind::Folder,
        Some("100644" | "100664") => Kind::File,
        Some("100755") => Kind::Executable,
        Some("120000") => Kind::Link,
        Some("160000") => {
            return Err(BuildError::rejected(format!(
                "{} is a submodule, whose files a push does not bring along: remove it \
                 (git rm {0}) and commit its files, or fetch it in the build as a dependency",
                path.display()
            )));
        }
        _ => return Err(unknown()),
    };
    Ok(Entry {
        kind,
        object: object.to_owned(),
        path: path.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(mode: &str, path: &str) -> Vec<u8> {
        format!("{mode} blob {}\t{path}\0", "a".repeat(40)).into_bytes()
    }

    #[test]
    fn entries() {
        let list = [
            record("100644", "a b\tc"),
            record("040000", "src"),
            record("120000", "src/é"),
        ]
        .concat();
        let entries = parse(&list).unwrap();
        let kinds: Vec<_> = entries.iter().map(|entry| entry.kind).collect();
        assert_eq!(kinds, [Kind::File, Kind::Folder, Kind::Link]);
        assert_eq!(entries[0].path, Path::new("a b\tc"));
        assert_eq!(entries[0].object, "a".repeat(40));
    }

    #[test]
    fn refused() {
        for (mode, path, says) in [
            ("160000", "vendor/lib", "vendor/lib is a submodule"),
            ("100644", "../x", "\"../x\" is no path"),
            ("100644", "/x", "is no path"),
            ("100644", "a/.GIT/hooks", "is no path"),
            ("100644", "", "is no path"),
            ("140000", "x", "an entry that is none"),
        ] {
            let error = parse(&record(mode, path)).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
        assert!(parse(b"100644 blob\0").is_err());
    }
}
