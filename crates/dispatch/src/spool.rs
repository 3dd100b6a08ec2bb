//! The folder in which invocations are kept until they have ended: a file each, whose first line is the invocation and whose
//! rest is its body.
//!
//! Redis has the queues, and is emptied now and then; what is here is made queues of again. A file's name says what is known
//! of it: `<id>.part` is being written, `<id>.new` may be in no queue yet, `<id>` is in one, and `<id>.dead` is not called again.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder};
use std::io::{self, ErrorKind};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use corefn_core::function::FunctionName;
use corefn_core::invocation::{Invocation, InvocationId};
use rustix::fs::statvfs;
use tokio::fs::File;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::task::spawn_blocking;

/// The folder of the files, one of each function in it.
const REQUESTS: &str = "requests";

/// The file with the name of the folder, by which Redis knows it.
const NAME: &str = "name";

const PART: &str = ".part";

/// How many bytes of the disk are left to others.
const LEAST_ROOM: u64 = 256 << 20;

/// What is known of an invocation that is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// It may be in no queue yet.
    New,
    /// It was put into a queue.
    Queued,
    /// It is not called again.
    Dead,
}

impl Kept {
    const ALL: [Self; 3] = [Self::Queued, Self::New, Self::Dead];

    fn ending(self) -> &'static str {
        match self {
            Self::New => ".new",
            Self::Queued => "",
            Self::Dead => ".dead",
        }
    }
}

/// The folder.
#[derive(Debug)]
pub struct Spool {
    requests: PathBuf,
    name: String,
}

/// An invocation that is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// Which one.
    pub id: InvocationId,
    /// What is known of it.
    pub kept: Kept,
}

/// An invocation that is read.
#[derive(Debug)]
pub struct Content {
    /// The invocation.
    pub invocation: Invocation,
    /// Its body.
    pub body: BufReader<File>,
    /// How many bytes that has.
    pub length: u64,
}

impl Spool {
    /// The one in a folder, which is made if it is not there. What has not been written to its end is taken away: nobody was
    /// told that it is kept. `name` is for one that is new.
    ///
    /// # Errors
    /// Those of the system.
    pub fn open(folder: &Path, name: &str) -> io::Result<Self> {
        let requests = folder.join(REQUESTS);
        make_folder(&requests)?;
        let path = folder.join(NAME);
        let name = match fs::read_to_string(&path) {
            Ok(name) => name.trim().to_owned(),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let new = folder.join(format!("{NAME}.new"));
                fs::write(&new, name)?;
                fs::rename(new, path)?;
                sync_folder(folder)?;
                name.to_owned()
            }
            Err(error) => return Err(error),
        };
        let spool = Self { requests, name };
        spool.each_file(|path, _, text| match text.ends_with(PART) {
            true => fs::remove_file(path),
            false => Ok(()),
        })?;
        Ok(spool)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Begins to keep an invocation.
    ///
    /// # Errors
    /// Those of the system, and [`ErrorKind::StorageFull`] where little more room is left than others need.
    pub async fn begin(&self, invocation: &Invocation) -> io::Result<Draft> {
        check_room(&self.requests)?;
        let folder = self.folder(&invocation.function);
        make_folder(&folder)?;
        let part = folder.join(format!("{}{PART}", invocation.id));
        let file = File::create(&part).await?;
        let kept = self.path(&invocation.function, invocation.id, Kept::New);
        let mut draft = Draft {
            file,
            part: Some(part),
            kept,
        };
        let mut line = serde_json::to_vec(invocation)?;
        line.push(b'\n');
        draft.write(&line).await?;
        Ok(draft)
    }

    /// A new invocation was put into a queue.
    ///
    /// # Errors
    /// Those of the system.
    pub async fn confirm(&self, function: &FunctionName, id: InvocationId) -> io::Result<()> {
        self.rename(function, id, Kept::New, Kept::Queued)
            .await
            .map(drop)
    }

    /// An invocation is not called again.
    ///
    /// # Errors
    /// Those of the system.
    pub async fn bury(&self, function: &FunctionName, id: InvocationId) -> io::Result<()> {
        for kept in [Kept::New, Kept::Queued] {
            if self.rename(function, id, kept, Kept::Dead).await? {
                break;
            }
        }
        Ok(())
    }

    /// Whether there was one to be renamed.
    async fn rename(
        &self,
        function: &FunctionName,
        id: InvocationId,
        from: Kept,
        to: Kept,
    ) -> io::Result<bool> {
        let (from, to) = (self.path(function, id, from), self.path(function, id, to));
        is_there(tokio::fs::rename(from, to).await)
    }

    /// An invocation has ended.
    ///
    /// # Errors
    /// Those of the system.
    pub async fn remove(&self, function: &FunctionName, id: InvocationId) -> io::Result<()> {
        self.remove_all(&[(function.clone(), id)]).await
    }

    /// Invocations have ended.
    ///
    /// # Errors
    /// Those of the system.
    pub async fn remove_all(&self, ended: &[(FunctionName, InvocationId)]) -> io::Result<()> {
        // (One that is being confirmed has its first name before its second.)
        let names = [Kept::New, Kept::Queued, Kept::Dead];
        let paths = ended
            .iter()
            .flat_map(|(function, id)| names.map(|kept| self.path(function, *id, kept)));
        let paths: Vec<_> = paths.collect();
        let remove = move || {
            paths
                .into_iter()
                .try_for_each(|path| is_there(fs::remove_file(path)).map(drop))
        };
        spawn_blocking(remove).await.map_err(io::Error::other)?
    }

    /// An invocation and its body; none if it is not kept any more.
    ///
    /// # Errors
    /// Those of the system, and [`ErrorKind::InvalidData`] when the file is none of ours.
    pub async fn read(
        &self,
        function: &FunctionName,
        id: InvocationId,
    ) -> io::Result<Option<Content>> {
        for kept in Kept::ALL {
            let file = match File::open(self.path(function, id, kept)).await {
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                file => file?,
            };
            let size = file.metadata().await?.len();
            let mut body = BufReader::new(file);
            let mut line = Vec::new();
            body.read_until(b'\n', &mut line).await?;
            let invocation = serde_json::from_slice(&line)?;
            let length = size.saturating_sub(line.len() as u64);
            return Ok(Some(Content {
                invocation,
                body,
                length,
            }));
        }
        Ok(None)
    }

    /// All invocations, by their functions; if `is_new`, those that may be in no queue yet.
    ///
    /// # Errors
    /// Those of the system.
    pub async fn list(&self, is_new: bool) -> io::Result<BTreeMap<FunctionName, Vec<Found>>> {
        let requests = self.requests.clone();
        let name = self.name.clone();
        let list = move || {
            let mut all = BTreeMap::<_, Vec<_>>::new();
            Self { requests, name }.each_file(|_, function, text| {
                let found = Kept::ALL.into_iter().find_map(|kept| {
                    let id = text.strip_suffix(kept.ending())?.parse().ok()?;
                    Some(Found { id, kept })
                });
                if let Some(found) = found.filter(|it| !is_new || it.kept == Kept::New) {
                    match all.get_mut(function) {
                        Some(others) => others.push(found),
                        None => drop(all.insert(function.clone(), vec![found])),
                    }
                }
                Ok(())
            })?;
            Ok(all)
        };
        spawn_blocking(list).await.map_err(io::Error::other)?
    }

    fn each_file(
        &self,
        mut visit: impl FnMut(&Path, &FunctionName, &str) -> io::Result<()>,
    ) -> io::Result<()> {
        for account in fs::read_dir(&self.requests)? {
            let account = account?;
            for folder in fs::read_dir(account.path())? {
                let folder = folder?;
                let (account, name) = (account.file_name(), folder.file_name());
                let names = account.to_str().zip(name.to_str());
                // (What is no name is none of ours.)
                let Some(Ok(function)) = names.map(|(a, n)| FunctionName::new(a, n)) else {
                    continue;
                };
                for file in fs::read_dir(folder.path())? {
                    let file = file?;
                    if let Some(text) = file.file_name().to_str() {
                        visit(&file.path(), &function, text)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn folder(&self, function: &FunctionName) -> PathBuf {
        self.requests.join(function.plain_text())
    }

    fn path(&self, function: &FunctionName, id: InvocationId, kept: Kept) -> PathBuf {
        self.folder(function).join(format!("{id}{}", kept.ending()))
    }
}

/// An invocation that is being written. Dropping it forgets it.
#[derive(Debug)]
pub struct Draft {
    file: File,
    part: Option<PathBuf>,
    kept: PathBuf,
}

impl Draft {
    /// Adds to it.
    ///
    /// # Errors
    /// Those of the system.
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes).await
    }

    /// All of it is written: it is kept from now on, even if the machine loses its power.
    ///
    /// # Errors
    /// Those of the system. Then it isn't.
    pub async fn keep(mut self) -> io::Result<()> {
        self.file.flush().await?;
        self.file.sync_data().await?;
        if let Some(part) = &self.part {
            tokio::fs::rename(part, &self.kept).await?;
        }
        self.part = None;
        let folder = self.kept.parent().unwrap_or(&self.kept).to_owned();
        spawn_blocking(move || sync_folder(&folder))
            .await
            .map_err(io::Error::other)?
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if let Some(part) = &self.part {
            // (If it stays, the next beginning takes it away.)
            let _ = fs::remove_file(part);
        }
    }
}

/// Checks that the disk has more room than is left to others.
fn check_room(folder: &Path) -> io::Result<()> {
    let found = statvfs(folder)?;
    let free = found.f_bavail.saturating_mul(found.f_frsize);
    if free >= LEAST_ROOM {
        return Ok(());
    }
    let text = format!("{free} bytes are free, and {LEAST_ROOM} are left to others");
    Err(io::Error::new(ErrorKind::StorageFull, text))
}

/// Makes a folder for this account alone, and those that it is in.
fn make_folder(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
    // (So deep are the folders that this makes.)
    folder.ancestors().skip(1).take(2).try_for_each(sync_folder)
}

/// Waits until what is in a folder would survive the machine's losing its power.
fn sync_folder(folder: &Path) -> io::Result<()> {
    fs::File::open(folder)?.sync_all()
}

/// Whether what was done had something to be done with.
fn is_there(done: io::Result<()>) -> io::Result<bool> {
    match done {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        done => done.map(|()| true),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;

    use super::*;

    fn invocation(bits: u64) -> Invocation {
        Invocation {
            id: InvocationId::from_random([0, bits]),
            function: "demo/hello".parse().unwrap(),
            accepted: 7,
            method: "POST".to_owned(),
            target: "/a?b".to_owned(),
            headers: vec![("a".to_owned(), "\u{e4}".to_owned())],
        }
    }

    async fn keep(spool: &Spool, bits: u64) -> Invocation {
        let invocation = invocation(bits);
        let mut draft = spool.begin(&invocation).await.unwrap();
        draft.write(b"line\n").await.unwrap();
        draft.write(b"\nrest").await.unwrap();
        draft.keep().await.unwrap();
        invocation
    }

    async fn kept(spool: &Spool, is_new: bool) -> Vec<(u64, Kept)> {
        let found = spool.list(is_new).await.unwrap();
        let mut found = found.into_values().next().unwrap_or_default();
        found.sort_by_key(|found| found.id);
        let number = |id: InvocationId| u64::from_str_radix(&id.to_string(), 16).unwrap();
        let found = found.iter().map(|found| (number(found.id), found.kept));
        found.collect()
    }

    #[tokio::test]
    async fn invocations_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::open(folder.path(), "first").unwrap();
        let first = keep(&spool, 1).await;
        let (function, id) = (&first.function, first.id);
        for bits in 2..5 {
            keep(&spool, bits).await;
        }
        let Content {
            invocation: read,
            mut body,
            length,
        } = spool.read(function, id).await.unwrap().unwrap();
        let mut text = String::new();
        body.read_to_string(&mut text).await.unwrap();
        assert_eq!((&read, &*text, length), (&first, "line\n\nrest", 10));

        spool.confirm(function, invocation_id(2)).await.unwrap();
        spool.confirm(function, invocation_id(3)).await.unwrap();
        spool.bury(function, invocation_id(3)).await.unwrap();
        spool.bury(function, invocation_id(4)).await.unwrap();
        // What is not written to its end is not kept, whether it was given up or the program was killed.
        drop(spool.begin(&invocation(5)).await.unwrap());
        let killed = spool.begin(&invocation(6)).await.unwrap();
        let part = killed.part.clone().unwrap();
        std::mem::forget(killed);
        assert!(part.exists());

        let spool = Spool::open(folder.path(), "second").unwrap();
        assert_eq!(spool.name(), "first");
        assert!(!part.exists());
        let all = [
            (1, Kept::New),
            (2, Kept::Queued),
            (3, Kept::Dead),
            (4, Kept::Dead),
        ];
        assert_eq!(kept(&spool, false).await, all);
        assert_eq!(kept(&spool, true).await, [(1, Kept::New)]);
        for bits in 1..5 {
            let id = invocation_id(bits);
            assert!(spool.read(function, id).await.unwrap().is_some());
            spool.remove(function, id).await.unwrap();
            assert!(spool.read(function, id).await.unwrap().is_none());
            // What is gone stays so.
            spool.confirm(function, id).await.unwrap();
            spool.bury(function, id).await.unwrap();
        }
        assert_eq!(kept(&spool, false).await, []);
    }

    fn invocation_id(bits: u64) -> InvocationId {
        invocation(bits).id
    }

    #[tokio::test]
    async fn files_that_are_none_of_ours() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::open(folder.path(), "name").unwrap();
        let Invocation { function, id, .. } = keep(&spool, 1).await;
        fs::write(spool.path(&function, id, Kept::New), "nothing").unwrap();
        let error = spool.read(&function, id).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData);
        fs::write(spool.folder(&function).join("else"), "").unwrap();
        fs::create_dir_all(spool.requests.join("No/name")).unwrap();
        assert_eq!(kept(&spool, false).await, [(1, Kept::New)]);
    }
}
