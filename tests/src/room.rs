//! A file system of a size of its own, which can be filled.

use std::ffi::CString;
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use crate::folder::Folder;

/// What fills it.
const FILLER: &str = "filler";

/// A file system in memory, in a folder of an installation.
#[derive(Debug)]
pub struct Room {
    place: PathBuf,
    /// It goes after what is mounted in it.
    _folder: Arc<Folder>,
}

impl Room {
    /// One of so many bytes, in a new folder of that name.
    ///
    /// # Panics
    /// When it can't be made.
    pub fn make(folder: &Arc<Folder>, name: &str, bytes: u64) -> Self {
        let place = folder.file(name);
        fs::create_dir(&place).expect("the folder can be written to");
        let options = CString::new(format!("size={bytes},mode=755")).expect("a number");
        mount("tmpfs", &place, "tmpfs", MountFlags::empty(), &*options)
            .unwrap_or_else(|error| panic!("no file system in memory: {error}"));
        Self {
            place,
            _folder: folder.clone(),
        }
    }

    /// Leaves nothing free.
    ///
    /// # Panics
    /// When it can't be written to.
    pub fn fill(&self) {
        let mut file = fs::File::create(self.place.join(FILLER)).expect("there is the folder");
        let block = vec![0; 1 << 20];
        // The last bytes one by one.
        for size in [block.len(), 1] {
            while file.write_all(&block[..size]).is_ok() {}
        }
    }

    /// Ends what [`Room::fill`] began.
    pub fn empty(&self) {
        let _ = fs::remove_file(self.place.join(FILLER));
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        // dockerd mounts its folder on itself once more.
        while unmount(&self.place, UnmountFlags::DETACH).is_ok() {}
    }
}
