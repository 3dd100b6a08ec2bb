//! The host's executables, by the SHA-256 of their bytes: a cache of what the image store holds.
//!
//! A sandbox is handed an open file. That is nobody's to write to: a file gets its name when it is whole, and from then on
//! none of its bytes changes.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use sha2::{Digest as _, Sha256};

/// The mode of a file that is whole: all may read and execute it.
const MODE: u32 = 0o555;

/// What the name of a file that isn't whole ends with.
const UNFINISHED: &str = ".new";

/// How many bytes are copied at a time.
const PIECE: usize = 64 << 10;

/// The SHA-256 of an executable, as 64 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Digest(String);

impl Digest {
    /// Reads one; nothing if the text is none.
    pub fn parse(text: &str) -> Option<Self> {
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        (text.len() == 64 && text.bytes().all(is_digit)).then(|| Self(text.to_owned()))
    }

    /// That of bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self::from_hash(Sha256::new_with_prefix(bytes))
    }

    fn from_hash(hash: Sha256) -> Self {
        Self(
            hash.finalize()
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect(),
        )
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The folder of executables.
#[derive(Debug, Clone)]
pub struct Executables {
    folder: PathBuf,
}

impl Executables {
    /// Those of a folder, which need not be there yet.
    pub fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
        }
    }

    /// An executable, to be handed to a sandbox; nothing if it isn't there.
    ///
    /// # Errors
    /// When there is something else in its place, or it can't be read.
    pub fn open(&self, digest: &Digest) -> io::Result<Option<File>> {
        let flags = (rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK).bits();
        let opened = OpenOptions::new()
            .read(true)
            .custom_flags(flags.cast_signed())
            .open(self.path(digest));
        let file = match opened {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        let metadata = file.metadata()?;
        if !metadata.is_file() || metadata.permissions().mode() & 0o222 != 0 {
            let why = "it is no file that nobody may write to";
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        Ok(Some(file))
    }

    /// Keeps an executable of that digest, unless it is there.
    ///
    /// # Errors
    /// When it can't be written, or `bytes` are of another digest. Nothing of it stays then.
    pub fn put(&self, digest: &Digest, mut bytes: impl Read) -> io::Result<()> {
        if self.open(digest).is_ok_and(|file| file.is_some()) {
            return Ok(());
        }
        fs::create_dir_all(&self.folder)?;
        let mut file = tempfile::Builder::new()
            .suffix(UNFINISHED)
            .tempfile_in(&self.folder)?;
        let mut hash = Sha256::new();
        let mut piece = vec![0; PIECE];
        loop {
            let count = match bytes.read(&mut piece) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            hash.update(&piece[..count]);
            file.write_all(&piece[..count])?;
        }
        let found = Digest::from_hash(hash);
        if found != *digest {
            let why = format!("its SHA-256 is {} and not {}", found.0, digest.0);
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        file.as_file()
            .set_permissions(fs::Permissions::from_mode(MODE))?;
        // (A file that somebody has open for writing can't be executed: so it is closed before it has its name.)
        let path = file.into_temp_path();
        path.persist(self.path(digest))?;
        Ok(())
    }

    /// Removes an executable, such as one that can't be executed.
    ///
    /// # Errors
    /// When it is there, and can't be removed.
    pub fn remove(&self, digest: &Digest) -> io::Result<()> {
        match fs::remove_file(self.path(digest)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }

    /// Removes those that were used least lately, by the times that the file system keeps, until all together have at
    /// most `limit` bytes; and whatever was left unfinished before `since`. What is open stays until it is closed.
    ///
    /// # Errors
    /// When the folder can't be read.
    pub fn sweep(&self, limit: u64, since: SystemTime) -> io::Result<()> {
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries?,
        };
        let mut files = Vec::new();
        for entry in entries {
            let entry = entry?;
            // (Another may have removed it.)
            let Ok(metadata) = entry.metadata() else {
                continue;
            };
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if Digest::parse(&name).is_some() {
                let used = metadata.accessed().or_else(|_| metadata.modified())?;
                files.push((used, metadata.len(), entry.path()));
            } else if name.ends_with(UNFINISHED) && metadata.modified()? < since {
                let _ = fs::remove_file(entry.path());
            }
        }
        files.sort();
        let mut sum: u64 = files.iter().map(|(_, size, _)| size).sum();
        for (_, size, path) in files {
            if sum <= limit {
                break;
            }
            fs::remove_file(path)?;
            sum -= size;
        }
        Ok(())
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.folder.join(&digest.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;
    use std::time::Duration;

    fn executables() -> (tempfile::TempDir, Executables) {
        let folder = tempfile::tempdir().unwrap();
        let executables = Executables::new(&folder.path().join("executables"));
        (folder, executables)
    }

    #[test]
    fn digests() {
        // (As `printf abc | sha256sum` has it.)
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(Digest::of(b"abc").as_str(), abc);
        assert_eq!(Digest::parse(abc), Some(Digest::of(b"abc")));
        for bad in [
            "",
            &abc[1..],
            &abc.to_uppercase(),
            &abc.replace('b', "/"),
            "../../x",
        ] {
            assert_eq!(Digest::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn kept_whole_or_not_at_all() {
        let (_folder, executables) = executables();
        let digest = Digest::of(b"program");
        assert!(executables.open(&digest).unwrap().is_none());
        let error = executables.put(&digest, &b"other"[..]).unwrap_err();
        assert!(error.to_string().starts_with("its SHA-256 is "), "{error}");
        assert!(executables.open(&digest).unwrap().is_none());
        assert_eq!(fs::read_dir(&executables.folder).unwrap().count(), 0);
        for _ in 0..2 {
            executables.put(&digest, &b"program"[..]).unwrap();
        }
        let mut text = String::new();
        let mut file = executables.open(&digest).unwrap().unwrap();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "program");
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, MODE);
        executables.remove(&digest).unwrap();
        executables.remove(&digest).unwrap();
        assert!(executables.open(&digest).unwrap().is_none());
    }

    /// What somebody else has put in the place of an executable is not handed out, and is replaced.
    #[test]
    fn nothing_else_is_handed_out() {
        let (folder, executables) = executables();
        let digest = Digest::of(b"program");
        fs::create_dir_all(&executables.folder).unwrap();
        let path = executables.path(&digest);
        let other = folder.path().join("other");
        fs::write(&other, "other").unwrap();
        symlink(&other, &path).unwrap();
        assert!(executables.open(&digest).is_err());
        executables.put(&digest, &b"program"[..]).unwrap();
        assert!(executables.open(&digest).unwrap().is_some());
        assert_eq!(fs::read_to_string(&other).unwrap(), "other");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        assert!(executables.open(&digest).is_err(), "it can be written to");
    }

    #[test]
    fn the_least_used_go_first() {
        let (_folder, executables) = executables();
        let now = SystemTime::now();
        executables.sweep(0, now).unwrap();
        let digests = [b"one", b"two", b"six"].map(|bytes| {
            let digest = Digest::of(bytes);
            executables.put(&digest, &bytes[..]).unwrap();
            digest
        });
        for (digest, age) in digests.iter().zip([10, 30, 20]) {
            let used = fs::FileTimes::new().set_accessed(now - Duration::from_secs(age));
            let file = executables.open(digest).unwrap().unwrap();
            file.set_times(used).unwrap();
        }
        let unfinished = executables.folder.join("x.new");
        fs::write(&unfinished, "half").unwrap();
        fs::write(executables.folder.join("README"), "not ours").unwrap();
        executables.sweep(7, now - Duration::from_secs(60)).unwrap();
        let left = |digest| executables.open(digest).unwrap().is_some();
        assert_eq!(digests.each_ref().map(left), [true, false, true]);
        assert!(unfinished.exists());
        executables.sweep(0, now + Duration::from_secs(60)).unwrap();
        assert_eq!(digests.each_ref().map(left), [false; 3]);
        let names: Vec<_> = fs::read_dir(&executables.folder).unwrap().collect();
        assert_eq!(names.len(), 1, "{names:?}");
    }
}
