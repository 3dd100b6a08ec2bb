//! What goes into Docker's builder: `.dockerignore`, and a stack's folder.
//!
//! Docker's own client leaves out what `.dockerignore` names before it sends a folder; the engine
//! does not, so it is done here, by the same rules.

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures_util::{Stream, stream};
use globset::{GlobBuilder, GlobMatcher};
use sha2::{Digest as _, Sha256};
use tar::{Builder, EntryType, Header};

use crate::error::BuildError;

/// The file whose patterns keep files from the builder.
pub const IGNORE_FILE: &str = ".dockerignore";

/// The file that says how an image is built.
pub const DOCKERFILE: &str = "Dockerfile";

/// Patterns of a `.dockerignore`.
#[derive(Debug, Default)]
pub struct Ignore {
    rules: Vec<Rule>,
}

#[derive(Debug)]
struct Rule {
    pattern: GlobMatcher,
    keeps: bool,
}

impl Ignore {
    /// Reads a `.dockerignore`: a pattern a line, `#` for comments, `!` for exceptions.
    ///
    /// # Errors
    /// [`BuildError::Rejected`] with the line that is no pattern.
    pub fn parse(text: &str) -> Result<Self, BuildError> {
        let mut rules = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (keeps, pattern) = match line.strip_prefix('!') {
                Some(pattern) => (true, pattern.trim()),
                None => (false, line),
            };
            let pattern = pattern.trim_start_matches("./").trim_matches('/');
            // Docker's patterns have no alternatives in braces.
            let pattern = pattern.replace('{', "[{]").replace('}', "[}]");
            let glob = GlobBuilder::new(&pattern)
                .literal_separator(true)
                .backslash_escape(true)
                .build()
                .map_err(|error| {
                    BuildError::rejected(format!("{IGNORE_FILE}:{}: {error}", number + 1))
                })?;
            rules.push(Rule {
                pattern: glob.compile_matcher(),
                keeps,
            });
        }
        Ok(Self { rules })
    }

    /// Whether a file is sent: what the last pattern says that is the file's, or a folder's above
    /// it. The engine needs the two files themselves, whatever the patterns say of them.
    pub fn keeps(&self, path: &Path) -> bool {
        if path == Path::new(IGNORE_FILE) || path == Path::new(DOCKERFILE) {
            return true;
        }
        let above = |rule: &&Rule| {
            path.ancestors()
                .filter(|path| !path.as_os_str().is_empty())
                .any(|path| rule.pattern.is_match(path))
        };
        self.rules
            .iter()
            .rev()
            .find(above)
            .is_none_or(|rule| rule.keeps)
    }
}

/// A folder as Docker's builder takes it.
#[derive(Debug)]
pub struct Packed {
    /// A tar archive.
    pub archive: Vec<u8>,
    /// Hexadecimal SHA-256 of the folders' names, and of the files' names, modes and contents.
    pub hash: String,
}

/// Packs a folder, less what its `.dockerignore` names.
///
/// # Errors
/// [`BuildError`] when a file can't be read.
pub fn pack(folder: &Path) -> Result<Packed, BuildError> {
    let wrong = |path: &Path| BuildError::io(format!("{} can't be read", path.display()));
    let ignore = match fs::read_to_string(folder.join(IGNORE_FILE)) {
        Ok(text) => Ignore::parse(&text)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ignore::default(),
        Err(error) => return Err(wrong(&folder.join(IGNORE_FILE))(error)),
    };
    let mut paths = Vec::new();
    entries(folder, folder, &ignore, &mut paths).map_err(wrong(folder))?;
    paths.sort();
    let (mut archive, mut hash) = (Builder::new(Vec::new()), Sha256::new());
    for path in paths {
        let full = folder.join(&path);
        if full.is_dir() {
            // (With entries for folders, and their names as `docker build` writes them, the engine finds the layers that
            // were made by that, and the other way round.)
            hash.update(format!("{}\0", path.display()));
            let mut header = Header::new_gnu();
            header.set_entry_type(EntryType::Directory);
            header.set_mode(0o755);
            header.set_size(0);
            archive
                .append_data(&mut header, path.join(""), io::empty())
                .map_err(wrong(&full))?;
            continue;
        }
        let contents = fs::read(&full).map_err(wrong(&full))?;
        let permissions = fs::metadata(&full).map_err(wrong(&full))?.permissions();
        let mode = if permissions.mode() & 0o111 == 0 {
            0o644
        } else {
            0o755
        };
        hash.update(format!(
            "{}\0{mode:o}\0{}\0",
            path.display(),
            contents.len()
        ));
        hash.update(&contents);
        let mut header = Header::new_gnu();
        header.set_mode(mode);
        header.set_size(contents.len() as u64);
        archive
            .append_data(&mut header, &path, contents.as_slice())
            .map_err(wrong(&full))?;
    }
    Ok(Packed {
        archive: archive.into_inner().map_err(wrong(folder))?,
        hash: hex(&hash.finalize()),
    })
}

/// A tar archive of files, given with their paths and modes, that belong to root.
pub(crate) fn archive(files: &[(&str, u32, &[u8])]) -> Result<Vec<u8>, BuildError> {
    let pack = || {
        let mut archive = Builder::new(Vec::new());
        for (path, mode, contents) in files {
            let mut header = Header::new_gnu();
            header.set_mode(*mode);
            header.set_size(contents.len() as u64);
            archive.append_data(&mut header, path.trim_start_matches('/'), *contents)?;
        }
        archive.into_inner()
    };
    pack().map_err(BuildError::io("files for Docker can't be packed"))
}

/// An archive in pieces, as the body of a request to Docker.
pub(crate) fn chunks(
    archive: impl Read + Send + 'static,
) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    const LENGTH: usize = 256 << 10;
    stream::unfold(archive, |mut archive| async move {
        let mut bytes = vec![0; LENGTH];
        match archive.read(&mut bytes) {
            Ok(0) => None,
            Ok(length) => {
                bytes.truncate(length);
                Some((Ok(Bytes::from(bytes)), archive))
            }
            Err(error) => Some((Err(error), archive)),
        }
    })
}

/// Bytes as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The files below `folder`, and the folders that have some, as paths from `root`.
fn entries(
    root: &Path,
    folder: &Path,
    ignore: &Ignore,
    found: &mut Vec<PathBuf>,
) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let Ok(name) = path.strip_prefix(root) else {
            continue;
        };
        if path.is_dir() {
            let before = found.len();
            entries(root, &path, ignore, found)?;
            if found.len() > before {
                found.push(name.to_owned());
            }
        } else if ignore.keeps(name) {
            found.push(name.to_owned());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        let ignore = Ignore::parse(
            "# no\n\n target/\n/*.md\n!README.md\n**/*.tmp\nsecret?\n!target/keep\na{b}\n",
        )
        .unwrap();
        for (path, kept) in [
            ("src/main.rs", true),
            ("target", false),
            ("target/debug/x", false),
            ("target/keep", true),
            ("target/keep/x", true),
            ("x/target", true),
            ("notes.md", false),
            ("doc/notes.md", true),
            ("README.md", true),
            ("x.tmp", false),
            ("a/b/x.tmp", false),
            ("secret1", false),
            ("secret12", true),
            ("a{b}", false),
            ("ab", true),
        ] {
            assert_eq!(ignore.keeps(Path::new(path)), kept, "{path}");
        }
        let everything = Ignore::parse("*\n!src\n").unwrap();
        assert!(everything.keeps(Path::new(DOCKERFILE)));
        assert!(everything.keeps(Path::new("src/a/b")));
        assert!(!everything.keeps(Path::new("x/src")));
        let error = Ignore::parse("ok\n[a").unwrap_err().to_string();
        assert!(error.starts_with(".dockerignore:2: "), "{error}");
    }

    #[test]
    fn the_hash_is_of_the_contents() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        for name in ["sub", "empty"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        write("sub/a", "1");
        write("ignored", "1");
        write(IGNORE_FILE, "ignored\n");
        let first = pack(folder.path()).unwrap();
        assert_eq!(first.hash.len(), 64);
        write("ignored", "2");
        assert_eq!(pack(folder.path()).unwrap().hash, first.hash);
        write("sub/a", "2");
        let second = pack(folder.path()).unwrap().hash;
        assert_ne!(second, first.hash);
        let executable = fs::Permissions::from_mode(0o755);
        fs::set_permissions(folder.path().join("sub/a"), executable).unwrap();
        assert_ne!(pack(folder.path()).unwrap().hash, second);
        let names: Vec<_> = tar::Archive::new(first.archive.as_slice())
            .entries()
            .unwrap()
            .map(|entry| entry.unwrap().path().unwrap().into_owned())
            .collect();
        assert_eq!(names, [IGNORE_FILE, "sub/", "sub/a"].map(Path::new));
    }
}
