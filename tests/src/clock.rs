//! A wall clock that can be made to jump, for single programs: the machine's own can't.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::folder::Folder;

/// Where Debian has the library of the package `faketime`, behind the machine's triplet.
const LIBRARY: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";

/// Redis' jemalloc asks for the time before the library can say it, so memory is libc's.
const LIBC: &str = "/lib/x86_64-linux-gnu/libc.so.6";

/// The clock of the programs that it was given to.
#[derive(Debug, Clone)]
pub struct Clock {
    file: PathBuf,
}

impl Clock {
    /// One that is right.
    ///
    /// # Panics
    /// When the library isn't there.
    pub fn new(folder: &Folder) -> Self {
        assert!(
            fs::exists(LIBRARY).unwrap_or(false),
            "{LIBRARY} is not there: install faketime"
        );
        let file = folder.write("clock", "+0");
        Self { file }
    }

    /// Has a program go by it. Its monotonic clock stays as it is.
    pub fn give(&self, command: &mut Command) {
        command
            .env("LD_PRELOAD", format!("{LIBRARY}:{LIBC}"))
            .env("FAKETIME_TIMESTAMP_FILE", &self.file)
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    }

    /// Makes it go wrong by so many seconds.
    ///
    /// # Panics
    /// When the folder can't be written to.
    pub fn set(&self, seconds: i64) {
        // At once, so that no program reads half of it.
        let new = self.file.with_extension("new");
        fs::write(&new, format!("{seconds:+}")).expect("the folder can be written to");
        fs::rename(&new, &self.file).expect("the folder can be written to");
    }
}
