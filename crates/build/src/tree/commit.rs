//! Packs the tree of a commit: what git lists, in the form in which it is built.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufWriter, Seek as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use tar::Builder;

use super::blobs::Blobs;
use super::{Kind, checked};
use crate::error::BuildError;
use crate::git::Git;

/// An entry of a commit's tree.
#[derive(Debug, Clone)]
struct Entry {
    kind: Kind,
    object: String,
    path: PathBuf,
    /// Its bytes; 0 of a folder.
    size: u64,
}

/// Writes the tree of a commit as a tar archive into a temporary file that has no name.
///
/// # Errors
/// [`BuildError::Rejected`] that names the path of a submodule, or of what can't be built.
pub(super) async fn pack(git: &Git, commit: &str) -> Result<File, BuildError> {
    let list = git
        .output(&["ls-tree", "-r", "-t", "-z", "-l", "--full-tree", commit])
        .await?;
    let entries = parse(&list)?;
    if entries.iter().map(|entry| entry.size).sum::<u64>() > super::MAX_TREE {
        return Err(super::too_large());
    }
    let git = git.clone();
    super::finish(tokio::task::spawn_blocking(move || write(&git, &entries)).await)
}

fn write(git: &Git, entries: &[Entry]) -> io::Result<File> {
    let mut archive = Builder::new(BufWriter::new(tempfile::tempfile()?));
    let mut blobs = Blobs::open(git)?;
    for Entry {
        kind, object, path, ..
    } in entries
    {
        let mut header = kind.header();
        match kind {
            Kind::Folder => archive.append_data(&mut header, path, io::empty())?,
            Kind::File | Kind::Executable => blobs.each(object, |size, contents| {
                header.set_size(size);
                archive.append_data(&mut header, path, contents)
            })?,
            Kind::Link => blobs.each(object, |_, contents| {
                let mut target = Vec::new();
                contents.read_to_end(&mut target)?;
                archive.append_link(&mut header, path, OsStr::from_bytes(&target))
            })?,
        }
    }
    let mut file = archive.into_inner()?.into_inner()?;
    file.rewind()?;
    Ok(file)
}

/// Reads `git ls-tree -r -t -z -l`: records of `mode SP type SP object SP size TAB path`, with spaces before the
/// size, which is `-` for a folder.
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
    let size = words.next_back().ok_or_else(unknown)?;
    let path = checked(path)?;
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
        path,
        size: size.parse().unwrap_or(0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(mode: &str, path: &str) -> Vec<u8> {
        format!("{mode} blob {}     123\t{path}\0", "a".repeat(40)).into_bytes()
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
        assert_eq!(entries[0].size, 123);
        let folder = format!("040000 tree {}       -\tsrc\0", "a".repeat(40));
        assert_eq!(parse(folder.as_bytes()).unwrap()[0].size, 0);
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
