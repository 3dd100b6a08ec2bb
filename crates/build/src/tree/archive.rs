//! Packs a tree as a tar archive, the form in which Docker takes files.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufWriter, Seek as _};
use std::os::unix::ffi::OsStrExt as _;
use std::time::SystemTime;

use tar::{Builder, EntryType, Header};

use super::blobs::{Blobs, finish};
use super::{Entry, Kind};
use crate::error::BuildError;
use crate::git::Git;

/// Writes the entries into a temporary file that has no name, and returns it at its start.
pub(super) async fn write(git: &Git, entries: Vec<Entry>, owner: u64) -> Result<File, BuildError> {
    let git = git.clone();
    finish(tokio::task::spawn_blocking(move || pack(&git, &entries, owner)).await)
}

fn pack(git: &Git, entries: &[Entry], owner: u64) -> io::Result<File> {
    // Compilers compare these times with those of what they kept from earlier builds, so what was
    // pushed must be newer.
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = now.map_or(0, |since| since.as_secs());
    let mut archive = Builder::new(BufWriter::new(tempfile::tempfile()?));
    let mut blobs = Blobs::open(git)?;
    for entry in entries {
        let mut header = Header::new_gnu();
        header.set_uid(owner);
        header.set_gid(owner);
        header.set_mtime(now);
        header.set_mode(match entry.kind {
            Kind::Folder | Kind::Executable => 0o755,
            Kind::File => 0o644,
            Kind::Link => 0o777,
        });
        match entry.kind {
            Kind::Folder => {
                header.set_entry_type(EntryType::Directory);
                header.set_size(0);
                archive.append_data(&mut header, &entry.path, io::empty())?;
            }
            Kind::File | Kind::Executable => blobs.each(&entry.object, |size, contents| {
                header.set_size(size);
                archive.append_data(&mut header, &entry.path, contents)
            })?,
            Kind::Link => blobs.each(&entry.object, |_, contents| {
                let mut target = Vec::new();
                contents.read_to_end(&mut target)?;
                header.set_entry_type(EntryType::Symlink);
                header.set_size(0);
                archive.append_link(&mut header, &entry.path, OsStr::from_bytes(&target))
            })?,
        }
    }
    let mut file = archive.into_inner()?.into_inner()?;
    file.rewind()?;
    Ok(file)
}
