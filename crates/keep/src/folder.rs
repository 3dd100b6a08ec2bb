//! The folder that a keeper shares with those who claim, and with its sandboxes.
//!
//! | in it | what it is |
//! |---|---|
//! | `keeper` | the socket at which sandboxes are claimed |
//! | `lock` | locked by the keeper: there is one |
//! | `waiting/<instance>/keeper` | the socket that one sandbox connects to. The folder is gone when it has been claimed |
//! | `executables/` | [`corefn_sandbox::executables`] |

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use corefn_core::instance::InstanceId;
use corefn_sandbox::message::Listener;
use rustix::fs::{FlockOperation, flock};

/// The name of both kinds of sockets.
pub use corefn_engine::sandboxes::KEEPER as SOCKET;

/// The folder.
#[derive(Debug)]
pub struct Folder {
    here: PathBuf,
    on_host: PathBuf,
    /// Locked for as long as this lives.
    _lock: File,
}

impl Folder {
    /// Opens a keeper's folder, which the host of Docker knows as `on_host`.
    ///
    /// # Errors
    /// When it can't be written to, or has a keeper already.
    pub fn open(here: PathBuf, on_host: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(here.join("waiting"))?;
        // Whoever may pass through the folder may pass through this: it is not for the accounts in sandboxes, which see
        // no more of it than their own.
        let lock = File::create(here.join("lock"))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|errno| {
            let why = format!("{} has a keeper already ({errno})", here.display());
            io::Error::new(io::ErrorKind::AddrInUse, why)
        })?;
        Ok(Self {
            here,
            on_host,
            _lock: lock,
        })
    }

    /// Listens for those who claim.
    ///
    /// # Errors
    /// Those of bind(2).
    pub fn listen(&self) -> io::Result<Listener> {
        // (The group of the folder may use it.)
        listen(Listener::bind, &self.here.join(SOCKET), 0o660)
    }

    /// Listens for a sandbox, which is to connect for the first time or anew: over a stream, if there is a runtime in it.
    ///
    /// # Errors
    /// Those of bind(2).
    pub fn listen_for(&self, sandbox: InstanceId, is_runtime: bool) -> io::Result<Listener> {
        let folder = self.waiting(sandbox);
        fs::create_dir_all(&folder)?;
        fs::set_permissions(&folder, Permissions::from_mode(0o755))?;
        // (It is nobody's account there, and nobody else sees the folder.)
        let bind = match is_runtime {
            true => Listener::bind_stream,
            false => Listener::bind,
        };
        listen(bind, &folder.join(SOCKET), 0o666)
    }

    /// What of the folder a sandbox sees, as the host of Docker knows it.
    pub fn on_host(&self, sandbox: InstanceId) -> String {
        let folder = self.on_host.join("waiting").join(sandbox.to_string());
        folder.display().to_string()
    }

    /// Takes away what a sandbox could connect to: it is claimed, or gone.
    ///
    /// # Errors
    /// When it is there, and can't be removed.
    pub fn remove(&self, sandbox: InstanceId) -> io::Result<()> {
        match fs::remove_dir_all(self.waiting(sandbox)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }

    /// The sandboxes that a keeper before this one had waiting, or was making.
    ///
    /// # Errors
    /// When the folder can't be read.
    pub fn former(&self) -> io::Result<Vec<InstanceId>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(self.here.join("waiting"))? {
            let name = entry?.file_name();
            found.extend(
                name.to_str()
                    .and_then(|name| name.parse::<InstanceId>().ok()),
            );
        }
        Ok(found)
    }

    fn waiting(&self, sandbox: InstanceId) -> PathBuf {
        self.here.join("waiting").join(sandbox.to_string())
    }
}

/// Listens at a path, in the place of whoever did before.
fn listen(
    bind: impl Fn(&Path) -> io::Result<Listener>,
    path: &Path,
    mode: u32,
) -> io::Result<Listener> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = bind(path)?;
    fs::set_permissions(path, Permissions::from_mode(mode))?;
    Ok(listener)
}
