//! The file of an installation's home that holds keys and grants.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use corefn_core::access::{Access, AccessError};
use corefn_core::names::ACCESS_FILE;
use rustix::fs::{FlockOperation, flock};

/// Why keys and grants can't be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum AccessFileError {
    /// The file can't be used.
    #[error("{path}: {cause}")]
    Unusable {
        /// The file.
        path: String,
        /// Why.
        cause: io::Error,
    },
    /// What is in it is wrong, or the change can't be made.
    #[error(transparent)]
    Access(#[from] AccessError),
}

/// The keys and grants of a home; none where there is no file yet.
///
/// # Errors
/// [`AccessFileError`] when the file can't be read or is wrong.
pub fn read(home: &Path) -> Result<Access, AccessFileError> {
    let path = home.join(ACCESS_FILE);
    match fs::read_to_string(&path) {
        Ok(text) => Ok(Access::parse(&path.display().to_string(), &text)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Access::default()),
        Err(cause) => Err(unusable(&path)(cause)),
    }
}

/// Changes the keys and grants of a home. Changes at the same moment are made one after the other,
/// and whoever reads meanwhile sees one or the other.
///
/// # Errors
/// [`AccessFileError`]; nothing is changed then.
pub fn change(
    home: &Path,
    with: impl FnOnce(&mut Access) -> Result<(), AccessError>,
) -> Result<(), AccessFileError> {
    let path = home.join(ACCESS_FILE);
    let wrong = || unusable(&path);
    let lock = File::create(path.with_extension("lock")).map_err(wrong())?;
    rustix::io::retry_on_intr(|| flock(&lock, FlockOperation::LockExclusive))
        .map_err(|error| wrong()(error.into()))?;
    let mut access = read(home)?;
    with(&mut access)?;
    let new = path.with_extension("new");
    let write = || {
        let mut file = File::create(&new)?;
        // The account that git runs as reads it; there is no secret in public keys.
        file.set_permissions(fs::Permissions::from_mode(0o644))?;
        file.write_all(access.to_text().map_err(io::Error::other)?.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, &path)
    };
    write().map_err(wrong())
}

fn unusable(path: &Path) -> impl FnOnce(io::Error) -> AccessFileError {
    let path = path.display().to_string();
    move |cause| AccessFileError::Unusable { path, cause }
}

#[cfg(test)]
mod tests {
    use super::*;
    use corefn_core::access::Key;

    fn key(number: usize) -> Key {
        Key {
            account: "alice".into(),
            name: format!("k{number}"),
            key: format!("t {number}"),
        }
    }

    #[test]
    fn changes_at_the_same_moment() {
        let home = tempfile::tempdir().unwrap();
        let home = home.path();
        assert_eq!(read(home).unwrap(), Access::default());
        std::thread::scope(|scope| {
            for number in 0..16 {
                scope.spawn(move || change(home, |access| access.add_key(key(number))).unwrap());
            }
        });
        assert_eq!(read(home).unwrap().keys().len(), 16);
        assert!(change(home, |access| access.add_key(key(3))).is_err());
        assert_eq!(read(home).unwrap().keys().len(), 16);
        fs::write(home.join(ACCESS_FILE), "colour = 1").unwrap();
        let error = change(home, |_| Ok(())).unwrap_err().to_string();
        assert!(
            error.contains("access.toml") && error.contains("colour"),
            "{error}"
        );
    }
}
