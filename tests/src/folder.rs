//! A folder for one installation, named like its namespace, that goes away with it.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use corefn_core::function::check_segment;

use crate::programs::target;

/// What the names of all test installations begin with; `scripts/sweep` looks for it.
pub const PREFIX: &str = "corefn-test";

/// The file in cargo's folder that says which test made which.
const HOMES_LOG: &str = "test-homes.log";

/// A folder under `$TMPDIR`, or `/tmp`.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    name: String,
}

impl Folder {
    /// Makes `corefn-test-<name>-<random>`.
    ///
    /// # Panics
    /// When the name can be no namespace, or the folder can't be made.
    pub fn create(name: &str) -> Self {
        let random = getrandom::u32().expect("the system has random bits");
        let name = format!("{PREFIX}-{name}-{random:08x}");
        check_segment(&name).unwrap_or_else(|error| panic!("{error}"));
        note_down(&name);
        let path = std::env::temp_dir().join(&name);
        fs::create_dir(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let path = path.canonicalize().expect("the folder was just made");
        for part in ["log", "run", "projects"] {
            fs::create_dir(path.join(part)).expect("a new folder can be written to");
        }
        Self { path, name }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its name, which is the installation's namespace.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Runs a command that removes what was made beside it, and says so if something may be left.
    pub fn tidy(&self, command: &mut Command) {
        let status = command.stdout(Stdio::null()).status();
        if !matches!(status, Ok(status) if status.success()) {
            eprintln!("something of {} may be left: {status:?}", self.name);
        }
    }

    /// Writes a file in it. Whoever reads it meanwhile has the old one or the new one; who may read it stays as it was.
    ///
    /// # Panics
    /// When that fails.
    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let (path, new) = (self.file(name), self.file(&format!("{name}.new")));
        let written = fs::write(&new, text).and_then(|()| {
            if let Ok(former) = fs::metadata(&path) {
                fs::set_permissions(&new, former.permissions())?;
            }
            fs::rename(&new, &path)
        });
        written.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        path
    }

    /// The text of a file in it, with other bytes than UTF-8 replaced; empty if there is none.
    pub fn read(&self, name: &str) -> String {
        let bytes = fs::read(self.file(name)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// Writes down which test has made a folder, for `scripts/sweep` to say. Each test runs in a thread
/// of its name.
fn note_down(name: &str) {
    let log = fs::File::options()
        .create(true)
        .append(true)
        .open(target().join(HOMES_LOG));
    let thread = std::thread::current();
    let line = format!("{name} {}\n", thread.name().unwrap_or("unknown"));
    if let Ok(mut log) = log {
        // Without it sweep says less.
        let _ = log.write_all(line.as_bytes());
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            eprintln!("{} can't be removed: {error}", self.path.display());
        }
    }
}
