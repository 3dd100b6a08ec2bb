//! The pushed tree: checked, and packed for a container.
//!
//! It is a tar archive in a file without a name, and never unpacked on the host's file system, so no
//! name and no link in it can do anything there. What has packed it is not trusted: it may have been
//! sent by another account.

mod blobs;
mod commit;
mod links;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read as _, Seek as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use tar::{Archive, Builder, EntryType, Header};

use crate::error::BuildError;
use crate::git::Git;

/// More than any manifest has, in bytes.
const MAX_TEXT: u64 = 1 << 20;

/// The most that a tree may have, in bytes.
pub(crate) const MAX_TREE: u64 = 1 << 30;

/// How a file begins that Git LFS has put in the place of another, and the most that such has (its
/// specification, v1).
const LFS_POINTER: &[u8] = b"version https://git-lfs.github.com/spec/v1\n";
const MAX_LFS_POINTER: u64 = 1024;

/// Says that a tree is too large.
pub(crate) fn too_large() -> BuildError {
    BuildError::rejected(format!(
        "the pushed files have more than {} MB: keep what the function does not need out of the \
         repository, or have the build fetch it",
        MAX_TREE >> 20
    ))
}

/// The kind of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Folder,
    File,
    Executable,
    Link,
}

impl Kind {
    /// The kind that an archive's header says, if trees can have it.
    fn of(header: &Header) -> Option<Self> {
        match header.entry_type() {
            EntryType::Directory => Some(Self::Folder),
            EntryType::Symlink => Some(Self::Link),
            EntryType::Regular if header.mode().ok()? & 0o100 != 0 => Some(Self::Executable),
            EntryType::Regular => Some(Self::File),
            _ => None,
        }
    }

    /// A header for an entry of this kind, without path and size.
    fn header(self) -> Header {
        let mut header = Header::new_gnu();
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(0);
        header.set_mode(match self {
            Self::Folder | Self::Executable => 0o755,
            Self::File => 0o644,
            Self::Link => 0o777,
        });
        header.set_entry_type(match self {
            Self::Folder => EntryType::Directory,
            Self::File | Self::Executable => EntryType::Regular,
            Self::Link => EntryType::Symlink,
        });
        header
    }
}

/// An entry of a tree.
#[derive(Debug, Clone)]
struct Entry {
    kind: Kind,
    path: PathBuf,
    /// Where a link leads; empty for others.
    target: PathBuf,
    /// Where the contents begin in the archive, and how many bytes they have.
    at: u64,
    size: u64,
}

/// A tree that is fit to be built.
#[derive(Debug, Clone)]
pub struct Tree {
    archive: Arc<File>,
    entries: Vec<Entry>,
}

impl Tree {
    /// Reads and checks the tree of a commit.
    ///
    /// # Errors
    /// [`BuildError::Rejected`] that names the path when the tree is empty, holds a submodule, a
    /// link out of the tree, or a name that is none.
    pub async fn read(git: &Git, commit: &str) -> Result<Self, BuildError> {
        Self::open(commit::pack(git, commit).await?).await
    }

    /// Checks the tree that an archive holds.
    ///
    /// # Errors
    /// As of [`Tree::read`]; also when it is no archive, or holds what no tree does.
    pub async fn open(archive: File) -> Result<Self, BuildError> {
        let listed = tokio::task::spawn_blocking(move || {
            list(&archive).map(|entries| (Arc::new(archive), entries))
        });
        let (archive, entries) = listed
            .await
            .map_err(io::Error::other)
            .map_err(BuildError::io("the pushed files can't be read"))??;
        if entries.is_empty() {
            return Err(BuildError::rejected(
                "the pushed commit has no files: commit at least the function's sources",
            ));
        }
        links::check(links_of(&entries), "the repository")?;
        Ok(Self { archive, entries })
    }

    /// The tree of a folder, from the root; none if there is no file in it.
    ///
    /// # Errors
    /// [`BuildError::Rejected`] that names a link that leads out of the folder.
    pub fn folder(&self, path: &str) -> Result<Option<Self>, BuildError> {
        let within = |entry: &Entry| {
            let path = entry.path.strip_prefix(path).ok()?.to_owned();
            let below = path.components().next().is_some();
            below.then(|| Entry {
                path,
                ..entry.clone()
            })
        };
        let entries: Vec<_> = self.entries.iter().filter_map(within).collect();
        if entries.iter().all(|entry| entry.kind == Kind::Folder) {
            return Ok(None);
        }
        links::check(links_of(&entries), path)?;
        let archive = self.archive.clone();
        Ok(Some(Self { archive, entries }))
    }

    /// The archive, at its start, to be sent elsewhere.
    ///
    /// # Errors
    /// [`BuildError::Io`] when the file can't be used.
    pub fn file(&self) -> Result<File, BuildError> {
        let file = self.archive.try_clone().and_then(|mut file| {
            file.rewind()?;
            Ok(file)
        });
        file.map_err(BuildError::io("the pushed files can't be read"))
    }

    /// Whether there is a file, or a link, of this name at the root; a star before it stands for anything.
    pub fn has(&self, name: &str) -> bool {
        let fits = |path: &Path| match (name.strip_prefix('*'), path.to_str()) {
            (Some(rest), Some(path)) => !path.contains('/') && path.ends_with(rest),
            _ => path == Path::new(name),
        };
        let mut entries = self.entries.iter();
        entries.any(|entry| entry.kind != Kind::Folder && fits(&entry.path))
    }

    /// The text of a file at the root, if it is there.
    ///
    /// # Errors
    /// [`BuildError::Rejected`] when it is no file, has more than 1 MB, or is no UTF-8.
    pub fn text(&self, name: &str) -> Result<Option<String>, BuildError> {
        let Some(entry) = self.entry(name) else {
            return Ok(None);
        };
        if !matches!(entry.kind, Kind::File | Kind::Executable) {
            return Err(BuildError::rejected(format!(
                "{name} is no file: make it one"
            )));
        }
        if entry.size > MAX_TEXT {
            return Err(BuildError::rejected(format!(
                "{name} has {} bytes, {MAX_TEXT} at most: make it shorter",
                entry.size
            )));
        }
        let mut bytes = vec![0; entry.size as usize];
        self.archive
            .read_exact_at(&mut bytes, entry.at)
            .map_err(BuildError::io(format!("{name} can't be read")))?;
        let text = String::from_utf8(bytes);
        text.map(Some)
            .map_err(|_| BuildError::rejected(format!("{name} is no UTF-8 text: save it as UTF-8")))
    }

    /// The files that are pointers of Git LFS: what they stand for was not pushed here.
    ///
    /// # Errors
    /// [`BuildError::Io`] when the archive can't be read.
    pub fn lfs_pointers(&self) -> Result<Vec<&Path>, BuildError> {
        let mut found = Vec::new();
        for entry in &self.entries {
            if entry.kind == Kind::File && entry.size <= MAX_LFS_POINTER {
                let mut begin = Vec::new();
                part(
                    &self.archive,
                    entry.at,
                    entry.size.min(LFS_POINTER.len() as u64),
                )
                .read_to_end(&mut begin)
                .map_err(BuildError::io("the pushed files can't be read"))?;
                if begin == LFS_POINTER {
                    found.push(entry.path.as_path());
                }
            }
        }
        Ok(found)
    }

    /// Packs the tree for a container: its files belong to `owner`, what `keep` says no to is left out, and
    /// what is `added`, paths and texts, comes after all.
    ///
    /// # Errors
    /// [`BuildError::Io`] when a temporary file fails.
    pub async fn archive(
        &self,
        owner: u64,
        keep: impl Fn(&Path) -> bool,
        added: Vec<(&'static str, String)>,
    ) -> Result<File, BuildError> {
        let kept = self.entries.iter().filter(|entry| keep(&entry.path));
        let (archive, kept) = (self.archive.clone(), kept.cloned().collect::<Vec<_>>());
        let packed = tokio::task::spawn_blocking(move || repack(&archive, &kept, owner, &added));
        finish(packed.await)
    }

    fn entry(&self, name: &str) -> Option<&Entry> {
        self.entries
            .iter()
            .find(|entry| entry.path == Path::new(name))
    }
}

/// The links among entries, and where they lead.
fn links_of(entries: &[Entry]) -> BTreeMap<PathBuf, PathBuf> {
    let links = entries.iter().filter(|entry| entry.kind == Kind::Link);
    links
        .map(|entry| (entry.path.clone(), entry.target.clone()))
        .collect()
}

/// Lists and checks what an archive holds.
fn list(archive: &File) -> Result<Vec<Entry>, BuildError> {
    let broken = || BuildError::io("the pushed files can't be read");
    let mut archive = archive;
    archive.rewind().map_err(broken())?;
    let mut archive = Archive::new(BufReader::new(archive));
    let mut entries: Vec<Entry> = Vec::new();
    let mut known = std::collections::HashSet::new();
    for entry in archive.entries_with_seek().map_err(broken())? {
        let entry = entry.map_err(broken())?;
        let path = entry.path_bytes();
        // (A folder's may end with a slash.)
        let path = path.strip_suffix(b"/").unwrap_or(&path);
        let path = checked(Path::new(OsStr::from_bytes(path)))?;
        let kind = Kind::of(entry.header()).ok_or_else(|| {
            BuildError::rejected(format!("{} is of no kind that git knows", path.display()))
        })?;
        if !known.insert(path.clone()) {
            return Err(BuildError::rejected(format!(
                "{} is there twice: remove one of them",
                path.display()
            )));
        }
        let target = entry.link_name_bytes().unwrap_or_default();
        entries.push(Entry {
            kind,
            path,
            target: PathBuf::from(OsStr::from_bytes(&target)),
            at: entry.raw_file_position(),
            size: entry.size(),
        });
    }
    if entries.iter().map(|entry| entry.size).sum::<u64>() > MAX_TREE {
        return Err(too_large());
    }
    Ok(entries)
}

/// A path that can be built. A tree that git itself made has no others, but whoever pushes may make
/// one by hand.
fn checked(path: &Path) -> Result<PathBuf, BuildError> {
    let plain = |part: Component<'_>| match part {
        Component::Normal(name) => !name.eq_ignore_ascii_case(".git"),
        _ => false,
    };
    if path.components().count() > 0 && path.components().all(plain) {
        return Ok(path.to_owned());
    }
    Err(BuildError::rejected(format!(
        "{path:?} is no path that can be built: rename it"
    )))
}

/// Writes entries of an archive into another, in a temporary file that has no name.
fn repack(
    from: &File,
    entries: &[Entry],
    owner: u64,
    added: &[(&str, String)],
) -> io::Result<File> {
    // Compilers compare these times with those of what they kept from earlier builds, so what was
    // pushed must be newer.
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = now.map_or(0, |since| since.as_secs());
    let mut archive = Builder::new(BufWriter::new(tempfile::tempfile()?));
    let header = |kind: Kind| {
        let mut header = kind.header();
        header.set_uid(owner);
        header.set_gid(owner);
        header.set_mtime(now);
        header
    };
    for entry in entries {
        let mut header = header(entry.kind);
        if entry.kind == Kind::Link {
            archive.append_link(&mut header, &entry.path, &entry.target)?;
        } else {
            header.set_size(entry.size);
            let contents = part(from, entry.at, entry.size);
            archive.append_data(&mut header, &entry.path, contents)?;
        }
    }
    for (path, text) in added {
        let mut header = header(Kind::File);
        header.set_size(text.len() as u64);
        archive.append_data(&mut header, path, text.as_bytes())?;
    }
    let mut file = archive.into_inner()?.into_inner()?;
    file.rewind()?;
    Ok(file)
}

/// The bytes of a file from one on.
pub(crate) fn part(file: &File, at: u64, size: u64) -> impl io::Read + io::Seek + '_ {
    let (begin, end) = (at, at + size);
    Contents {
        file,
        begin,
        at,
        end,
    }
}

/// A part of a file. Where the file's own position is does not matter.
struct Contents<'a> {
    file: &'a File,
    begin: u64,
    at: u64,
    end: u64,
}

impl io::Read for Contents<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let most = into.len().min(self.end.saturating_sub(self.at) as usize);
        let count = self.file.read_at(&mut into[..most], self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

impl io::Seek for Contents<'_> {
    fn seek(&mut self, to: io::SeekFrom) -> io::Result<u64> {
        let at = match to {
            io::SeekFrom::Start(at) => self.begin.checked_add(at),
            io::SeekFrom::Current(by) => self.at.checked_add_signed(by),
            io::SeekFrom::End(by) => self.end.checked_add_signed(by),
        };
        let at = at.filter(|at| *at >= self.begin);
        self.at = at.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at - self.begin)
    }
}

/// The outcome of what was done in another thread.
fn finish<T>(outcome: Result<io::Result<T>, tokio::task::JoinError>) -> Result<T, BuildError> {
    outcome
        .map_err(io::Error::other)
        .and_then(|read| read)
        .map_err(BuildError::io("the pushed files can't be read"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    /// An archive of files (`path`, `contents`) and links (`path`, `-> target`), with any path.
    fn archive(entries: &[(&str, &str)]) -> File {
        let mut archive = Builder::new(tempfile::tempfile().unwrap());
        for (path, contents) in entries {
            let target = contents.strip_prefix("-> ");
            let mut header = match target {
                Some(_) => Kind::Link.header(),
                None => Kind::File.header(),
            };
            header.as_gnu_mut().unwrap().name[..path.len()].copy_from_slice(path.as_bytes());
            let contents = match target {
                Some(target) => {
                    header.set_link_name_literal(target).unwrap();
                    ""
                }
                None => contents,
            };
            header.set_size(contents.len() as u64);
            header.set_cksum();
            archive.append(&header, contents.as_bytes()).unwrap();
        }
        archive.into_inner().unwrap()
    }

    #[tokio::test]
    async fn archives_that_are_trees() {
        let sent = archive(&[("corefn.toml", "x"), ("src/a", "abc"), ("l", "-> src/a")]);
        let tree = Tree::open(sent).await.unwrap();
        assert!(tree.has("l") && tree.has("corefn.toml") && !tree.has("a"));
        assert!(tree.has("*.toml") && !tree.has("*a") && !tree.has("src"));
        assert_eq!(tree.text("corefn.toml").unwrap().as_deref(), Some("x"));
        assert_eq!(tree.text("none").unwrap(), None);
        let error = tree.text("l").unwrap_err().to_string();
        assert!(error.contains("l is no file"), "{error}");
        let packed = tree
            .archive(
                7,
                |path| path != Path::new("l"),
                vec![("n", "new".to_owned())],
            )
            .await
            .unwrap();
        let mut archive = Archive::new(packed);
        let mut found = Vec::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            assert_eq!(entry.header().uid().unwrap(), 7);
            found.push((entry.path().unwrap().into_owned(), text));
        }
        let want = [("corefn.toml", "x"), ("src/a", "abc"), ("n", "new")];
        let want = want.map(|(path, text)| (PathBuf::from(path), text.to_owned()));
        assert_eq!(found, want);
    }

    #[tokio::test]
    async fn folders_are_trees() {
        let sent = archive(&[
            ("x", "1"),
            ("a/x", "2"),
            ("a/b/y", "3"),
            ("ab/x", "4"),
            ("c/l", "-> ../x"),
        ]);
        let tree = Tree::open(sent).await.unwrap();
        let folder = tree.folder("a").unwrap().unwrap();
        assert_eq!(folder.text("x").unwrap().as_deref(), Some("2"));
        assert!(!folder.has("y"));
        let paths = |tree: &Tree| tree.entries.len();
        assert_eq!(
            (paths(&folder), paths(&folder.folder("b").unwrap().unwrap())),
            (2, 1)
        );
        for none in ["d", "x", "a/x", "A"] {
            assert!(tree.folder(none).unwrap().is_none(), "{none}");
        }
        // It leads to another function's files, which are not there when this one is built.
        let error = tree.folder("c").unwrap_err().to_string();
        assert!(error.contains("l leads to ../x, out of c: "), "{error}");
    }

    #[tokio::test]
    async fn pointers_of_git_lfs() {
        let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n";
        let files = [("a", pointer), ("b", "version https://git-lfs"), ("c", "")];
        let tree = Tree::open(archive(&files)).await.unwrap();
        assert_eq!(tree.lfs_pointers().unwrap(), [Path::new("a")]);
    }

    #[tokio::test]
    async fn archives_that_are_none() {
        for (entries, says) in [
            (&[][..], "has no files"),
            (&[("../x", "")], "no path that can be built"),
            (&[("/etc/passwd", "")], "no path that can be built"),
            (&[("a/.git/config", "")], "no path that can be built"),
            (&[("a", "1"), ("a", "2")], "there twice"),
            (&[("a", "-> /etc")], "out of the repository"),
        ] {
            let error = Tree::open(archive(entries)).await.unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
        let mut device = Builder::new(tempfile::tempfile().unwrap());
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Block);
        header.set_size(0);
        device.append_data(&mut header, "d", io::empty()).unwrap();
        let error = Tree::open(device.into_inner().unwrap()).await.unwrap_err();
        assert!(error.to_string().contains("d is of no kind"), "{error}");
        let mut noise = tempfile::tempfile().unwrap();
        noise.write_all(&[7; 2048]).unwrap();
        assert!(Tree::open(noise).await.is_err());
    }

    #[tokio::test]
    async fn texts_have_an_end() {
        let long = "x".repeat(MAX_TEXT as usize + 1);
        let tree = Tree::open(archive(&[("t", &long)])).await.unwrap();
        let error = tree.text("t").unwrap_err().to_string();
        assert!(error.contains("1048577 bytes"), "{error}");
    }
}
