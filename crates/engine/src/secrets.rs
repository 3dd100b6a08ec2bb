//! The values of secrets, sealed on the host.
//!
//! | in the folder | what it is |
//! |---|---|
//! | `keys` | the keys, 32 bytes in base64, one a line: the first seals, each of them opens. There is one but while it is rotated |
//! | `values/<account>/<name>/<identifier>` | a value, sealed |
//! | `new` | what is being written, or was when whoever wrote it was killed |
//! | `values/<account>/<name>/waiting` | the values for a function that is not deployed yet, as JSON |
//!
//! A file takes its place when it is whole. All belongs to whom the folder belongs to, which is whoever has the folder that it
//! is in, and is readable for its group, in which the routers are. Whoever writes here has locked the folder. Values never
//! change; one that nothing refers to any more is removed, when it is a week old.

use std::collections::HashSet;
use std::fs::{self, File, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown,
};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use corefn_core::function::FunctionName;
use corefn_core::names::directive;
use corefn_core::secrets::{SecretId, SecretIds};
use rustix::fs::{FlockOperation, flock};

const KEYS: &str = "keys";
const VALUES: &str = "values";
const WAITING: &str = "waiting";

/// The file that is being written: there is one at a time, since whoever writes has locked the folder.
const NEW: &str = "new";

/// The mode of files and that of folders: the group may read.
const FILE_MODE: u32 = 0o640;
const FOLDER_MODE: u32 = 0o750;

/// What a sealed value begins with.
const VERSION: u8 = 1;

/// Bytes of a nonce of XChaCha20-Poly1305, which is long enough to be chosen by chance (draft-irtf-cfrg-xchacha-03, section 2).
const NONCE: usize = 24;

/// How often a value is tried to open whose key may just be rotated.
const ATTEMPTS: usize = 3;

/// How old a value must be to count as one that nobody is about to use.
const ABANDONED: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Why a secret can't be kept, or had.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// A router that was told of no folder.
    #[error(
        "{0} has secrets, but nothing says here where they are kept: set the folder, in nginx by {directive}",
        directive = directive::SECRETS.to_string_lossy()
    )]
    NoFolder(FunctionName),
    /// A file can't be read or written.
    #[error("{path}: {cause}: see who may read and write there")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// The value isn't there.
    #[error("the value of the secret {name} of {function} is gone from this host: set it again")]
    Gone {
        /// Whose it is.
        function: FunctionName,
        /// The variable.
        name: String,
    },
    /// No key opens it.
    #[error(
        "the secret {name} of {function} can't be opened by any key in {path}: put the key back, or set the secret again"
    )]
    Sealed {
        /// Whose it is.
        function: FunctionName,
        /// The variable.
        name: String,
        /// The file of keys.
        path: PathBuf,
    },
    /// The file of keys has no key where there are values.
    #[error("{0} is gone, while there are values that only its key opens: put it back")]
    KeyGone(PathBuf),
    /// What is in a file is not what CoreFn writes.
    #[error("{0} holds something else than it should: put the file back as it was")]
    Damaged(PathBuf),
    /// The system has no random bits.
    #[error("no random bits: {0}")]
    Random(getrandom::Error),
}

/// The folder of a host's secrets.
#[derive(Debug, Clone)]
pub struct SecretStore {
    folder: PathBuf,
}

impl SecretStore {
    /// The one in that folder, which need not be there yet.
    pub fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
        }
    }

    /// Keeps a value, which a revision can be given from then on.
    ///
    /// # Errors
    /// [`SecretError`] when it can't be written; then nothing has changed.
    pub fn set(&self, function: &FunctionName, value: &str) -> Result<SecretId, SecretError> {
        let _lock = self.lock()?;
        let key = match self.keys()?.first() {
            Some(key) => *key,
            None => self.make_key()?,
        };
        let id = SecretId::from_random(getrandom::u64().map_err(SecretError::Random)?);
        let sealed = seal(&key, &context(function, id), value.as_bytes())?;
        self.write(&self.value(function, id), &sealed, SystemTime::now())?;
        Ok(id)
    }

    /// A value that was kept, which is that of the variable `name`.
    ///
    /// # Errors
    /// [`SecretError`] when it can't be had.
    pub fn get(
        &self,
        function: &FunctionName,
        name: &str,
        id: SecretId,
    ) -> Result<String, SecretError> {
        let path = self.value(function, id);
        let context = context(function, id);
        for _ in 0..ATTEMPTS {
            let Some(sealed) = read(&path)? else {
                return Err(SecretError::Gone {
                    function: function.clone(),
                    name: name.to_owned(),
                });
            };
            // (Read after the value, so that the key is among them which that was sealed with, unless it was rotated since.)
            let keys = self.keys()?;
            if let Some(value) = keys.iter().find_map(|key| open(key, &context, &sealed)) {
                return String::from_utf8(value).map_err(|_| SecretError::Damaged(path));
            }
        }
        Err(SecretError::Sealed {
            function: function.clone(),
            name: name.to_owned(),
            path: self.folder.join(KEYS),
        })
    }

    /// When a value was kept, as far as the host knows.
    pub fn set_at(&self, function: &FunctionName, id: SecretId) -> Option<SystemTime> {
        let metadata = fs::metadata(self.value(function, id)).ok()?;
        metadata.modified().ok()
    }

    /// The values that wait for the first push of a function.
    ///
    /// # Errors
    /// [`SecretError`] when they can't be read.
    pub fn waiting(&self, function: &FunctionName) -> Result<SecretIds, SecretError> {
        let path = self.of(function).join(WAITING);
        match read(&path)? {
            Some(json) => serde_json::from_slice(&json).map_err(|_| SecretError::Damaged(path)),
            None => Ok(SecretIds::new()),
        }
    }

    /// Says which values wait for the first push of a function: what `change` makes of those that do.
    ///
    /// # Errors
    /// [`SecretError`] when that can't be written, or what `change` says; then they are as they were.
    pub fn change_waiting<E: From<SecretError>>(
        &self,
        function: &FunctionName,
        change: impl FnOnce(&mut SecretIds) -> Result<(), E>,
    ) -> Result<(), E> {
        let _lock = self.lock()?;
        let mut waiting = self.waiting(function)?;
        change(&mut waiting)?;
        let json = serde_json::to_vec(&waiting).unwrap_or_default();
        Ok(self.write(&self.of(function).join(WAITING), &json, SystemTime::now())?)
    }

    /// Removes all values of a function that was removed. Returns whether there were any.
    ///
    /// # Errors
    /// [`SecretError`] when some can't be.
    pub fn remove(&self, function: &FunctionName) -> Result<bool, SecretError> {
        let folder = self.of(function);
        match fs::remove_dir_all(&folder) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(failed(&folder)(error)),
        }
    }

    /// Removes the values that are neither `used` nor wait, and are no new ones. Returns how many there were.
    ///
    /// # Errors
    /// [`SecretError`] when some can't be read or removed.
    pub fn remove_unused(
        &self,
        used: &HashSet<(FunctionName, SecretId)>,
    ) -> Result<usize, SecretError> {
        let mut removed = 0;
        let now = SystemTime::now();
        for (function, id) in self.values()? {
            let is_new = self
                .set_at(&function, id)
                .is_none_or(|at| now.duration_since(at).unwrap_or_default() < ABANDONED);
            let waits = self.waiting(&function)?.values().any(|it| *it == id);
            if is_new || waits || used.contains(&(function.clone(), id)) {
                continue;
            }
            let path = self.value(&function, id);
            fs::remove_file(&path).map_err(failed(&path))?;
            removed += 1;
        }
        Ok(removed)
    }

    /// Seals all values with a new key, and forgets those before. Returns how many there were. Whoever opens one meanwhile can;
    /// where this is broken off, all can be opened, and it can be done again.
    ///
    /// # Errors
    /// [`SecretError`] when a value can't be opened, or written; then no key is forgotten.
    pub fn rotate(&self) -> Result<usize, SecretError> {
        let _lock = self.lock()?;
        let mut keys = self.keys()?;
        if keys.is_empty() {
            self.make_key()?;
            return Ok(0);
        }
        keys.insert(0, random()?);
        self.write_keys(&keys)?;
        let values = self.values()?;
        for (function, id) in &values {
            let path = self.value(function, *id);
            let Some(sealed) = read(&path)? else {
                continue;
            };
            let context = context(function, *id);
            let opened = keys.iter().find_map(|key| open(key, &context, &sealed));
            let value = opened.ok_or_else(|| SecretError::Damaged(path.clone()))?;
            let at = self.set_at(function, *id).unwrap_or_else(SystemTime::now);
            self.write(&path, &seal(&keys[0], &context, &value)?, at)?;
        }
        self.write_keys(&keys[..1])?;
        Ok(values.len())
    }

    fn of(&self, function: &FunctionName) -> PathBuf {
        self.folder.join(VALUES).join(function.plain_text())
    }

    fn value(&self, function: &FunctionName, id: SecretId) -> PathBuf {
        self.of(function).join(id.to_string())
    }

    /// All values that there are.
    fn values(&self) -> Result<Vec<(FunctionName, SecretId)>, SecretError> {
        let mut values = Vec::new();
        let folder = self.folder.join(VALUES);
        for account in names_in(&folder)? {
            for name in names_in(&folder.join(&account))? {
                let Ok(function) = format!("{account}/{name}").parse::<FunctionName>() else {
                    continue;
                };
                let ids = names_in(&self.of(&function))?.into_iter();
                let ids = ids.filter_map(|id| id.parse().ok());
                values.extend(ids.map(|id| (function.clone(), id)));
            }
        }
        Ok(values)
    }

    /// Locked until it is dropped, against others who write here.
    fn lock(&self) -> Result<File, SecretError> {
        self.make_folder(&self.folder)?;
        let lock = || {
            let folder = File::open(&self.folder)?;
            rustix::io::retry_on_intr(|| flock(&folder, FlockOperation::LockExclusive))?;
            Ok(folder)
        };
        lock().map_err(failed(&self.folder))
    }

    fn keys(&self) -> Result<Vec<Key>, SecretError> {
        let path = self.folder.join(KEYS);
        let text = read(&path)?.unwrap_or_default();
        let lines = text
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty());
        let key = |line: &[u8]| {
            let bytes: [u8; 32] = BASE64.decode(line).ok()?.try_into().ok()?;
            Some(Key::from(bytes))
        };
        let keys: Option<Vec<Key>> = lines.map(key).collect();
        keys.ok_or(SecretError::Damaged(path))
    }

    /// Makes the first key. Where there are values already, theirs was lost.
    fn make_key(&self) -> Result<Key, SecretError> {
        if !self.values()?.is_empty() {
            return Err(SecretError::KeyGone(self.folder.join(KEYS)));
        }
        let key = random()?;
        self.write_keys(&[key])?;
        Ok(key)
    }

    fn write_keys(&self, keys: &[Key]) -> Result<(), SecretError> {
        let lines: Vec<String> = keys.iter().map(|key| BASE64.encode(key) + "\n").collect();
        let text = lines.concat();
        self.write(&self.folder.join(KEYS), text.as_bytes(), SystemTime::now())
    }

    /// Writes a file of that time, which is there as a whole or not at all, whatever happens meanwhile.
    fn write(&self, path: &Path, bytes: &[u8], at: SystemTime) -> Result<(), SecretError> {
        let folder = path.parent().unwrap_or(&self.folder);
        self.make_folder(folder)?;
        let new = self.folder.join(NEW);
        let put = || {
            // (It may be another account's, who was killed.)
            let _ = fs::remove_file(&new);
            let mut options = File::options();
            let mut file = options
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&new)?;
            file.write_all(bytes)?;
            give(&file, &self.folder)?;
            file.set_permissions(Permissions::from_mode(FILE_MODE))?;
            file.set_modified(at)?;
            file.sync_all()?;
            fs::rename(&new, path)?;
            File::open(folder)?.sync_all()
        };
        put().map_err(failed(path))
    }

    /// Makes a folder in ours, and ours itself, where it isn't there.
    fn make_folder(&self, folder: &Path) -> Result<(), SecretError> {
        let Some(parent) = folder.parent().filter(|_| !folder.is_dir()) else {
            return Ok(());
        };
        if folder != self.folder {
            self.make_folder(parent)?;
        }
        let make = || {
            match fs::DirBuilder::new().mode(0o700).create(folder) {
                Ok(()) => {
                    let made = File::open(folder)?;
                    give(&made, parent)?;
                    made.set_permissions(Permissions::from_mode(FOLDER_MODE))
                }
                // (By another, who gives it away.)
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
                Err(error) => Err(error),
            }
        };
        make().map_err(failed(folder))
    }
}

/// Gives what was made to whom a folder belongs to; who may not give anything away at least to the folder's group.
fn give(made: &File, folder: &Path) -> io::Result<()> {
    let (own, of) = (made.metadata()?, fs::metadata(folder)?);
    if own.uid() != of.uid() && fchown(made, Some(of.uid()), Some(of.gid())).is_ok() {
        return Ok(());
    }
    if own.gid() != of.gid() {
        fchown(made, None, Some(of.gid()))?;
    }
    Ok(())
}

/// What a value is bound to: it can't be opened as another's.
fn context(function: &FunctionName, id: SecretId) -> String {
    format!("{} {id}", function.plain_text())
}

/// A sealed value: the version, the nonce, and what XChaCha20-Poly1305 makes of the value, which is 16 bytes more than it.
fn seal(key: &Key, context: &str, value: &[u8]) -> Result<Vec<u8>, SecretError> {
    let mut nonce = [0; NONCE];
    getrandom::fill(&mut nonce).map_err(SecretError::Random)?;
    let payload = Payload {
        msg: value,
        aad: context.as_bytes(),
    };
    let cipher = XChaCha20Poly1305::new(key);
    // (It fails for more bytes than fit into memory.)
    let sealed = cipher.encrypt(XNonce::from_slice(&nonce), payload);
    let sealed = sealed.map_err(|_| SecretError::Damaged(PathBuf::from(context)))?;
    Ok([&[VERSION][..], &nonce, &sealed].concat())
}

/// The value, if it was sealed with that key.
fn open(key: &Key, context: &str, sealed: &[u8]) -> Option<Vec<u8>> {
    let (nonce, sealed) = sealed.strip_prefix(&[VERSION])?.split_at_checked(NONCE)?;
    let payload = Payload {
        msg: sealed,
        aad: context.as_bytes(),
    };
    let cipher = XChaCha20Poly1305::new(key);
    cipher.decrypt(XNonce::from_slice(nonce), payload).ok()
}

fn random() -> Result<Key, SecretError> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(SecretError::Random)?;
    Ok(Key::from(bytes))
}

/// A file's bytes; none if it isn't there.
fn read(path: &Path) -> Result<Option<Vec<u8>>, SecretError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(path)(error)),
    }
}

/// The names of what is in a folder; none if it isn't there.
fn names_in(folder: &Path) -> Result<Vec<String>, SecretError> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed(folder))?,
    };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    Ok(names.collect())
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> SecretError {
    let path = path.to_owned();
    |cause| SecretError::Io { path, cause }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, SecretStore) {
        let folder = tempfile::tempdir().unwrap();
        let store = SecretStore::new(&folder.path().join("secrets"));
        (folder, store)
    }

    fn function(name: &str) -> FunctionName {
        name.parse().unwrap()
    }

    fn line(store: &SecretStore, keys: usize) -> String {
        let text = fs::read_to_string(store.folder.join(KEYS)).unwrap();
        assert_eq!(text.lines().count(), keys);
        text
    }

    #[test]
    fn what_is_kept_is_had() {
        let (_folder, store) = store();
        let hello = function("alice/hello");
        let (one, other) = (
            store.set(&hello, "one").unwrap(),
            store.set(&hello, "").unwrap(),
        );
        assert_eq!(store.get(&hello, "A", one).unwrap(), "one");
        assert_eq!(store.get(&hello, "B", other).unwrap(), "");
        assert!(store.set_at(&hello, one).unwrap() <= SystemTime::now());
        let path = store.value(&hello, one);
        let sealed = fs::read(&path).unwrap();
        assert_eq!(sealed.len(), 1 + NONCE + 3 + 16);
        assert!(!sealed.windows(3).any(|bytes| bytes == b"one"));
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(&store.folder)), (FILE_MODE, FOLDER_MODE));
        assert_eq!(mode(&store.folder.join(KEYS)), FILE_MODE);

        // It can't be passed off as another's.
        fs::copy(&path, store.value(&hello, other)).unwrap();
        let error = store.get(&hello, "B", other).unwrap_err().to_string();
        assert!(
            error.contains("secret B of alice/hello can't be opened"),
            "{error}"
        );
        assert!(store.remove(&hello).unwrap());
        let error = store.get(&hello, "A", one).unwrap_err().to_string();
        assert!(error.contains("secret A of alice/hello is gone"), "{error}");
        assert!(!store.remove(&hello).unwrap());
    }

    #[test]
    fn keys_are_rotated() {
        let (_folder, store) = store();
        assert_eq!(store.rotate().unwrap(), 0);
        let first = line(&store, 1);
        let (hello, bye) = (function("alice/hello"), function("alice/bye"));
        let (one, two) = (
            store.set(&hello, "one").unwrap(),
            store.set(&bye, "two").unwrap(),
        );
        let before = fs::read(store.value(&hello, one)).unwrap();
        let at = store.set_at(&hello, one);
        assert_eq!(store.rotate().unwrap(), 2);
        assert_ne!(line(&store, 1), first);
        assert_ne!(fs::read(store.value(&hello, one)).unwrap(), before);
        assert_eq!(store.set_at(&hello, one), at);
        assert_eq!(store.get(&hello, "A", one).unwrap(), "one");
        assert_eq!(store.get(&bye, "B", two).unwrap(), "two");

        // The key of before opens nothing; put back beside the new one it does no harm.
        let second = line(&store, 1);
        fs::write(store.folder.join(KEYS), &first).unwrap();
        assert!(matches!(
            store.get(&hello, "A", one),
            Err(SecretError::Sealed { .. })
        ));
        fs::write(store.folder.join(KEYS), first + &second).unwrap();
        assert_eq!(store.get(&hello, "A", one).unwrap(), "one");
        // As where a rotation was broken off: what was sealed with either is sealed anew, and one key is left.
        let three = store.set(&hello, "three").unwrap();
        assert_eq!(store.rotate().unwrap(), 3);
        line(&store, 1);
        assert_eq!(store.get(&hello, "A", three).unwrap(), "three");

        // One that can't be opened keeps all keys.
        fs::write(store.value(&hello, one), "junk").unwrap();
        assert!(matches!(store.rotate(), Err(SecretError::Damaged(_))));
        line(&store, 2);
        assert_eq!(store.get(&bye, "B", two).unwrap(), "two");
    }

    #[test]
    fn whoever_opens_while_keys_are_rotated_can() {
        let (_folder, store) = store();
        let hello = function("alice/hello");
        let id = store.set(&hello, "one").unwrap();
        std::thread::scope(|scope| {
            let rotations = scope.spawn(|| {
                for _ in 0..20 {
                    store.rotate().unwrap();
                }
            });
            while !rotations.is_finished() {
                assert_eq!(store.get(&hello, "A", id).unwrap(), "one");
            }
        });
    }

    #[test]
    fn a_lost_key_is_not_made_anew() {
        let (_folder, store) = store();
        let hello = function("alice/hello");
        let id = store.set(&hello, "one").unwrap();
        let keys = store.folder.join(KEYS);
        let text = fs::read(&keys).unwrap();
        fs::remove_file(&keys).unwrap();
        assert!(matches!(
            store.set(&hello, "two"),
            Err(SecretError::KeyGone(_))
        ));
        assert!(matches!(store.rotate(), Err(SecretError::KeyGone(_))));
        assert!(matches!(
            store.get(&hello, "A", id),
            Err(SecretError::Sealed { .. })
        ));
        fs::write(&keys, "no key\n").unwrap();
        assert!(matches!(
            store.set(&hello, "two"),
            Err(SecretError::Damaged(_))
        ));
        fs::write(&keys, text).unwrap();
        assert_eq!(store.get(&hello, "A", id).unwrap(), "one");
    }

    #[test]
    fn what_nobody_uses_goes_after_a_week() {
        let (_folder, store) = store();
        let (hello, bye) = (function("alice/hello"), function("alice/bye"));
        let [used, unused, waits] = ["1", "2", "3"].map(|value| store.set(&hello, value).unwrap());
        let (of_other, new) = (store.set(&bye, "4").unwrap(), store.set(&bye, "5").unwrap());
        let wait = |waiting: &mut SecretIds| {
            waiting.insert("A".to_owned(), waits);
            Ok::<_, SecretError>(())
        };
        store.change_waiting(&hello, wait).unwrap();
        assert_eq!(store.waiting(&hello).unwrap()["A"], waits);
        assert!(store.waiting(&bye).unwrap().is_empty());
        let used_ones = HashSet::from([(hello.clone(), used), (hello.clone(), of_other)]);
        assert_eq!(store.remove_unused(&used_ones).unwrap(), 0);
        let before = SystemTime::now() - ABANDONED - Duration::from_secs(1);
        for (function, id) in store.values().unwrap() {
            if id != new {
                let file = File::options()
                    .append(true)
                    .open(store.value(&function, id));
                file.unwrap().set_modified(before).unwrap();
            }
        }
        assert_eq!(store.remove_unused(&used_ones).unwrap(), 2);
        store.get(&hello, "A", used).unwrap();
        store.get(&hello, "A", waits).unwrap();
        store.get(&bye, "A", new).unwrap();
        for (function, gone) in [(&hello, unused), (&bye, of_other)] {
            assert!(matches!(
                store.get(function, "A", gone),
                Err(SecretError::Gone { .. })
            ));
        }
        let nobody = |_: &mut SecretIds| Err(SecretError::NoFolder(hello.clone()));
        assert!(store.change_waiting(&hello, nobody).is_err());
        assert_eq!(store.waiting(&hello).unwrap().len(), 1);
    }
}
