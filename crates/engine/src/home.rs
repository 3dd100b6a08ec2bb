//! The installation's home: the directory with its `host.toml`.

use std::env;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use corefn_core::gate::Caller;
use corefn_core::host::{GitHost, Host, HostError};
use corefn_core::names::{self, env as variables};

/// Where a home is looked for when nobody says: that of the packages, and the demo's, in the current directory.
const DEFAULTS: [&str; 2] = ["/var/lib/corefn", "var"];

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
    /// The settings are there, and others' to read.
    #[error(
        "{path} may not be read by this account: run this as root, or set {} to the directory that holds a {} of your own",
        variables::HOME,
        names::HOST_FILE
    )]
    Closed {
        /// The file.
        path: String,
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

/// The home to use: `named` if it is given, else what the environment names, else `/var/lib/corefn`, else `var` in the
/// current directory, if that is a home whose settings this process may read.
///
/// # Errors
/// [`HomeError::None`] where there is none of these; [`HomeError::Closed`] where one's settings are others' to read;
/// [`HomeError::Unreadable`] when the directory that is named isn't there.
pub fn find(named: Option<PathBuf>) -> Result<PathBuf, HomeError> {
    let named = named.or_else(|| {
        env::var_os(variables::HOME)
            .filter(is_set)
            .map(PathBuf::from)
    });
    let home = named.map_or_else(|| first(&DEFAULTS), Ok)?;
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

/// The first of some folders with settings that this process may read.
fn first(folders: &[&str]) -> Result<PathBuf, HomeError> {
    let mut error = HomeError::None;
    for folder in folders {
        let settings = Path::new(folder).join(names::HOST_FILE);
        match File::open(&settings) {
            Ok(_) => return Ok(PathBuf::from(folder)),
            Err(cause) if cause.kind() == io::ErrorKind::PermissionDenied => {
                let path = settings.display().to_string();
                error = HomeError::Closed { path };
            }
            Err(_) => {}
        }
    }
    Err(error)
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
        Err("write a path from the root, such as /var/lib/corefn".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_home_is_the_first_with_settings() {
        let folder = tempfile::tempdir().unwrap();
        let names = ["none", "without", "a", "b"].map(|name| folder.path().join(name));
        let [_, without, a, b] = &names;
        for home in [without, a, b] {
            fs::create_dir(home).unwrap();
        }
        for home in [a, b] {
            fs::write(home.join(names::HOST_FILE), "").unwrap();
        }
        let names: Vec<_> = names.iter().map(|path| path.to_str().unwrap()).collect();
        assert_eq!(first(&names).unwrap(), *a);
        assert!(matches!(first(&names[..2]), Err(HomeError::None)));
    }
}
