//! Unix sockets on which a service listens, one at a time.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use tokio::net::UnixListener;

/// Listens on a socket, which the group of its folder may use. A file beside it is locked for as long as it is kept: a socket
/// that a dead process left is replaced, that of another that lives is not, and then there is none.
///
/// # Errors
/// Those of the system.
pub fn listen(path: &Path) -> io::Result<Option<(UnixListener, File)>> {
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder)?;
    let lock = File::create(path.with_extension("lock"))?;
    match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => return Ok(None),
        locked => locked?,
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        removed => removed?,
    }
    let listener = UnixListener::bind(path)?;
    chown(path, None, Some(fs::metadata(folder)?.gid()))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o660))?;
    Ok(Some((listener, lock)))
}
