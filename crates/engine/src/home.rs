//! The installation's home: the directory with its `host.toml`.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use corefn_core::gate::Caller;
use corefn_core::host::{GitHost, Host, HostError};
use corefn_core::names::{self, env as variables};

/// Where a home is looked for when nobody says: the demo's, beside where one is.
const DEFAULT: &str = "var";

/// Why there is no home.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    /// No home was named, and none is here.
    #[error(
        "no home: set {} to the directory that holds {}",
        variables::HOME,
        names::HOST_FILE
    )]
    None,
    /// The settings can't be read.
    #[error(
        "{path}: {cause}: set {} to the directory that holds {}",
        variables::HOME,
        names::HOST_FILE
    )]
    Unreadable {
        /// The file.
        path: String,
        /// Why.
        cause: io::Error,
    },
    /// The environment names nobody who has Docker by way of the gate.
    #[error(
        "{variable} is {word:?}, and nobody is called so who has Docker by way of the gate: set it to builder, keeper or cleaner, or to \
         nothing for Docker's own socket",
        variable = variables::GATE
    )]
    NoCaller {
        /// What it says.
        word: String,
    },
    /// The settings are wrong.
    #[error(transparent)]
    Wrong(#[from] HostError),
}

/// The home to use: `named` if it is given, else what the environment names, else `var` in the
/// current directory if it is one.
///
/// # Errors
/// [`HomeError::None`] where there is none of these; [`HomeError::Unreadable`] when the directory
/// isn't there.
pub fn find(named: Option<PathBuf>) -> Result<PathBuf, HomeError> {
    let home = named
        .or_else(|| {
            env::var_os(variables::HOME)
                .filter(is_set)
                .map(PathBuf::from)
        })
        .or_else(|| {
            Some(PathBuf::from(DEFAULT)).filter(|home| home.join(names::HOST_FILE).exists())
        })
        .ok_or(HomeError::None)?;
    home.canonicalize().map_err(|cause| HomeError::Unreadable {
        path: home.display().to_string(),
        cause,
    })
}

/// Reads the settings of a home. Where the environment says whose part of Docker this process has, it has that by way of the
/// gate.
///
/// # Errors
/// [`HomeError`].
pub fn read(home: &Path) -> Result<Host, HomeError> {
    let host = read_as_written(home)?;
    let Some(word) = env::var_os(variables::GATE).filter(is_set) else {
        return Ok(host);
    };
    let word = word.to_string_lossy();
    let caller = Caller::ALL.into_iter().find(|it| it.word() == word);
    let caller = caller.ok_or_else(|| HomeError::NoCaller {
        word: word.clone().into_owned(),
    })?;
    let socket = caller.socket(&home.join(&host.gate));
    Ok(Host {
        docker: format!("unix://{}", socket.display()),
        ..host
    })
}

/// Reads the settings of a home, whatever the environment says.
///
/// # Errors
/// [`HomeError::Unreadable`] and [`HomeError::Wrong`].
pub fn read_as_written(home: &Path) -> Result<Host, HomeError> {
    let (name, text) = text(home, names::HOST_FILE)?;
    Ok(Host::parse(&name, &text)?)
}

/// Reads what the account needs that git runs as: of `git.toml` where that is there, else of the
/// settings.
///
/// # Errors
/// [`HomeError::Unreadable`] and [`HomeError::Wrong`].
pub fn read_git_host(home: &Path) -> Result<GitHost, HomeError> {
    if !home.join(names::GIT_FILE).exists() {
        return Ok(read(home)?.into());
    }
    let (name, text) = text(home, names::GIT_FILE)?;
    Ok(GitHost::parse(&name, &text)?)
}

fn is_set(value: &OsString) -> bool {
    !value.is_empty()
}

fn text(home: &Path, file: &str) -> Result<(String, String), HomeError> {
    let path = home.join(file);
    let name = path.display().to_string();
    match fs::read_to_string(&path) {
        Ok(text) => Ok((name, text)),
        Err(cause) => Err(HomeError::Unreadable { path: name, cause }),
    }
}

/// Takes a path from the root, of an argument: another is none that Docker could be given.
///
/// # Errors
/// What to write.
pub fn absolute(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    if path.is_absolute() {
        Ok(path)
    } else {
        Err("write a path from the root, such as /var/func".to_owned())
    }
}
