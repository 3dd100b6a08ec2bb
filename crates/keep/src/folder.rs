//! The folder that a keeper shares with those who claim, and with its sandboxes.
//!
//! | in it | what it is |
//! |---|---|
//! | `keeper` | the socket at which sandboxes are claimed |
//! | `lock` | locked by the keeper: there is one |
//! | `waiting/<instance>/` | what one sandbox sees. It is gone when that has been claimed |
//! | `waiting/<instance>/keeper` | the socket that it connects to |
//! | `waiting/<instance>/init`, `listener` | `corefn-init`, and the socket that it connects to, where that starts a runtime |
//! | `serving/<instance>` | the socket on which what the sandbox becomes may serve |
//! | `executables/` | [`corefn_sandbox::executables`] |

use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use corefn_core::instance::InstanceId;
use corefn_sandbox::INIT;
use corefn_sandbox::message::{Listener, bound};
use rustix::fs::{FlockOperation, flock};

/// The name of the sockets at which sandboxes are claimed, and wait.
pub use corefn_engine::sandboxes::KEEPER as SOCKET;

use corefn_engine::sandboxes::{SERVING, STARTER, STARTER_SOCKET, WAITING};

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
        for folder in [WAITING, SERVING] {
            fs::create_dir_all(here.join(folder))?;
        }
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
        at(Listener::bind, &self.here.join(SOCKET), 0o660)
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
        at(bind, &folder.join(SOCKET), 0o666)
    }

    /// Listens for the program that starts a runtime in a sandbox, which the sandbox finds in its folder.
    ///
    /// # Errors
    /// Those of bind(2), and when the program can't be written.
    pub fn listen_for_starter(&self, sandbox: InstanceId) -> io::Result<Listener> {
        let folder = self.waiting(sandbox);
        let program = folder.join(STARTER);
        fs::write(&program, INIT)?;
        fs::set_permissions(&program, Permissions::from_mode(0o755))?;
        at(Listener::bind, &folder.join(STARTER_SOCKET), 0o666)
    }

    /// The path of the socket on which what a sandbox becomes may serve.
    pub fn serving(&self, sandbox: InstanceId) -> PathBuf {
        self.here.join(SERVING).join(sandbox.to_string())
    }

    /// Makes that socket, in the place of one that there is.
    ///
    /// # Errors
    /// Those of bind(2).
    pub fn serve(&self, sandbox: InstanceId) -> io::Result<OwnedFd> {
        // (The group of the folder may connect to it, as to the keeper's.)
        at(bound, &self.serving(sandbox), 0o660)
    }

    /// The sandboxes, and what they have become, for which there is such a socket.
    ///
    /// # Errors
    /// When the folder can't be read.
    pub fn served(&self) -> io::Result<Vec<InstanceId>> {
        self.listed(SERVING)
    }

    /// Removes the socket of a sandbox that is no more, or of what it had become.
    ///
    /// # Errors
    /// When it is there, and can't be removed.
    pub fn stop_serving(&self, sandbox: InstanceId) -> io::Result<()> {
        absent_or(fs::remove_file(self.serving(sandbox)))
    }

    /// What of the folder a sandbox sees, as the host of Docker knows it.
    pub fn on_host(&self, sandbox: InstanceId) -> String {
        let folder = self.on_host.join(WAITING).join(sandbox.to_string());
        folder.display().to_string()
    }

    /// Takes away what a sandbox could connect to: it is claimed, or gone.
    ///
    /// # Errors
    /// When it is there, and can't be removed.
    pub fn remove(&self, sandbox: InstanceId) -> io::Result<()> {
        absent_or(fs::remove_dir_all(self.waiting(sandbox)))
    }

    /// The sandboxes that a keeper before this one had waiting, or was making.
    ///
    /// # Errors
    /// When the folder can't be read.
    pub fn former(&self) -> io::Result<Vec<InstanceId>> {
        self.listed(WAITING)
    }

    /// The instances after which what is in a folder is named.
    fn listed(&self, folder: &str) -> io::Result<Vec<InstanceId>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(self.here.join(folder))? {
            let name = entry?.file_name();
            found.extend(
                name.to_str()
                    .and_then(|name| name.parse::<InstanceId>().ok()),
            );
        }
        Ok(found)
    }

    fn waiting(&self, sandbox: InstanceId) -> PathBuf {
        self.here.join(WAITING).join(sandbox.to_string())
    }
}

/// Makes a socket at a path, in the place of one that there is, for whom the mode says.
fn at<T>(bind: impl Fn(&Path) -> io::Result<T>, path: &Path, mode: u32) -> io::Result<T> {
    absent_or(fs::remove_file(path))?;
    let socket = bind(path)?;
    fs::set_permissions(path, Permissions::from_mode(mode))?;
    Ok(socket)
}

/// That there was nothing to remove is as good.
fn absent_or(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}
