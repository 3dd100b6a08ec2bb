//! An installation's home: the folder with `host.toml`.

use std::path::{Path, PathBuf};

use corefn_core::host::{Host, HostError};
use corefn_core::names::{HOST_FILE, env};

/// Where the programs look when nothing says otherwise.
const DEFAULT_HOME: &str = "var";

/// Why an installation's settings could not be read.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    /// There is no settings file.
    #[error("{path} can't be read ({cause}): give the installation's folder with --home or {home}", home = env::HOME)]
    Unreadable {
        /// Which file.
        path: String,
        /// Why.
        cause: std::io::Error,
    },
    /// Its content is wrong.
    #[error(transparent)]
    Wrong(#[from] HostError),
}

/// The settings of the installation in `home`, or in the folder that the environment names, or in
/// `./var`. Returns its absolute path with them.
///
/// # Errors
/// [`HomeError`] names the file and the remedy.
pub fn settings(home: Option<&Path>) -> Result<(PathBuf, Host), HomeError> {
    let folder = home
        .map(Path::to_path_buf)
        .or_else(|| std::env::var_os(env::HOME).map(PathBuf::from))
        .unwrap_or_else(|| DEFAULT_HOME.into());
    let path = folder.join(HOST_FILE);
    let shown = path.display().to_string();
    let unreadable = |cause| HomeError::Unreadable {
        path: shown.clone(),
        cause,
    };
    let text = std::fs::read_to_string(&path).map_err(unreadable)?;
    let folder = std::path::absolute(&folder).map_err(unreadable)?;
    Ok((folder, Host::parse(&shown, &text)?))
}
