//! `corefn repo`: the repositories that functions are pushed to.

use std::env;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, lchown};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde_json::json;
use tokio::process::Command;

use corefn_build::output::Output;
use corefn_build::repository::Repository;
use corefn_core::function::{FunctionName, RepositoryName};
use corefn_core::names::env as variables;

use crate::error::Error;
use crate::installation::Installation;
use crate::print::Printer;

/// The program that a repository's hook runs. It is installed beside this one.
const BUILDER: &str = "corefn-build";

/// Where a repository has its hook.
const HOOK: &str = "hooks/proc-receive";

/// Where an older version had it.
const FORMER_HOOK: &str = "hooks/pre-receive";

/// What a repository's hook begins with.
const MARK: &[u8] = b"#!/bin/sh\n# Written by corefn repo create, which also refreshes it.\n";

/// The settings that leave references to the hook, and have it told what `git push -o` was given.
const SETTINGS: [[&str; 2]; 2] = [
    ["receive.procReceiveRefs", "refs"],
    ["receive.advertisePushOptions", "true"],
];

/// Creates a bare repository with the hook, or refreshes the hook of one that is there, and prints
/// its path.
pub async fn create(
    here: &Installation,
    printer: &Printer,
    name: &RepositoryName,
) -> Result<(), Error> {
    let (path, is_new) = ensure(&here.home, &here.projects, name).await?;
    let shown = path.display().to_string();
    printer.one(&json!({ "path": shown, "created": is_new }), &shown)
}

/// The same, without a word. Returns the path, and whether the repository is new.
pub async fn ensure(
    home: &Path,
    projects: &Path,
    name: &RepositoryName,
) -> Result<(PathBuf, bool), Error> {
    let builder = builder()?;
    // Of two pushes at the same time, one waits: git's own lock of its settings refuses the second.
    let _lock = locked(projects)
        .map_err(|cause| Error::Io(format!("{} can't be locked", projects.display()), cause))?;
    let path = projects.join(name.path());
    let is_new = !path.join("HEAD").exists();
    if is_new {
        fs::create_dir_all(&path)
            .map_err(|cause| Error::Io(format!("{} can't be created", path.display()), cause))?;
        git(
            &path,
            &["init", "--quiet", "--bare", "--initial-branch=main"],
        )
        .await?;
    }
    // A path that is set for all of somebody's repositories must not keep this hook from running.
    git(&path, &["config", "core.hooksPath", "hooks"]).await?;
    for [setting, value] in SETTINGS {
        git(&path, &["config", "--replace-all", setting, value]).await?;
    }
    write_hook(&path, home, &builder).map_err(|cause| {
        Error::Io(
            format!("the hook of {} can't be written", path.display()),
            cause,
        )
    })?;
    // Where the account that git runs as has the folder, it gets what another makes there.
    let owner = |path: &Path| fs::metadata(path).map(|found| (found.uid(), found.gid()));
    let given = owner(projects).and_then(|(user, group)| {
        if owner(&path)?.0 == user {
            return Ok(());
        }
        // (A repository of two segments is in the account's folder.)
        let folder = path.parent().filter(|folder| *folder != projects);
        if let Some(folder) = folder {
            chown(folder, Some(user), Some(group))?;
        }
        give(&path, user, group)
    });
    given.map_err(|cause| {
        Error::Io(
            format!(
                "{} can't be given to who has {}",
                path.display(),
                projects.display()
            ),
            cause,
        )
    })?;
    Ok((path, is_new))
}

/// The repository that a function is pushed to, if there is one: `account/name.git`, else
/// `account.git`.
pub fn of(projects: &Path, function: &FunctionName) -> Option<PathBuf> {
    let own = RepositoryName::from(function.clone());
    let shared = RepositoryName::of_account(&own);
    [own, shared]
        .into_iter()
        .map(|name| projects.join(name.path()))
        .find(|path| path.join("HEAD").exists())
}

/// Keeps pushes out of a function's repository, if there is one, until the file that is returned is dropped. A push that is
/// being built is waited for.
pub async fn lock(projects: &Path, function: &FunctionName) -> Result<Option<File>, Error> {
    let Some(path) = of(projects, function) else {
        return Ok(None);
    };
    let repository = Repository::open(&path, projects)?;
    Ok(Some(repository.lock(&mut Output::default()).await?))
}

/// Locks a folder until the file that is returned is dropped.
fn locked(folder: &Path) -> io::Result<File> {
    fs::create_dir_all(folder)?;
    let file = File::open(folder)?;
    rustix::io::retry_on_intr(|| flock(&file, FlockOperation::LockExclusive))?;
    Ok(file)
}

/// Gives a folder with all that is in it to an account. Links are not followed.
fn give(path: &Path, user: u32, group: u32) -> io::Result<()> {
    lchown(path, Some(user), Some(group))?;
    if fs::symlink_metadata(path)?.is_dir() {
        for entry in fs::read_dir(path)? {
            give(&entry?.path(), user, group)?;
        }
    }
    Ok(())
}

fn builder() -> Result<PathBuf, Error> {
    let this = env::current_exe()
        .map_err(|cause| Error::Io("this program can't be found".into(), cause))?;
    let builder = this.with_file_name(BUILDER);
    if builder.is_file() {
        Ok(builder)
    } else {
        Err(Error::Refused(format!(
            "{} is not there: install {BUILDER} beside this program, such as by building the whole \
             workspace",
            builder.display()
        )))
    }
}

async fn git(directory: &Path, arguments: &[&str]) -> Result<(), Error> {
    let run = Command::new("git")
        .current_dir(directory)
        // It may be another account's: that of the git host.
        .args(["-c", "safe.directory=*"])
        .args(arguments)
        .output()
        .await;
    let output = run.map_err(|cause| Error::Io("git can't be run".into(), cause))?;
    if output.status.success() {
        return Ok(());
    }
    Err(Error::Refused(format!(
        "git {} failed in {}: {}",
        arguments.join(" "),
        directory.display(),
        String::from_utf8_lossy(&output.stderr).trim_end()
    )))
}

/// Whether the hook of a repository is the one that this program writes.
pub fn has_hook(repository: &Path, home: &Path) -> Result<bool, Error> {
    let wanted = script(home, &builder()?);
    let hook = repository.join(HOOK);
    let is_wanted = fs::read(&hook).is_ok_and(|found| found == wanted);
    let is_executable =
        fs::metadata(&hook).is_ok_and(|found| found.permissions().mode() & 0o111 != 0);
    Ok(is_wanted && is_executable)
}

/// Writes the hook beside its place and moves it there, so that no push meets half of it.
fn write_hook(repository: &Path, home: &Path, builder: &Path) -> io::Result<()> {
    let hook = repository.join(HOOK);
    let new = hook.with_extension("new");
    fs::create_dir_all(repository.join("hooks"))?;
    fs::write(&new, script(home, builder))?;
    fs::set_permissions(&new, fs::Permissions::from_mode(0o755))?;
    fs::rename(&new, hook)?;
    let former = repository.join(FORMER_HOOK);
    match fs::read(&former) {
        Ok(text) if text.starts_with(MARK) => fs::remove_file(&former),
        _ => Ok(()),
    }
}

fn script(home: &Path, builder: &Path) -> Vec<u8> {
    let mut script = MARK.to_vec();
    script.extend_from_slice(variables::HOME.as_bytes());
    script.push(b'=');
    script.extend(quoted(home.as_os_str()));
    script.extend_from_slice(b" exec ");
    script.extend(quoted(builder.as_os_str()));
    script.push(b'\n');
    script
}

/// A text as one word of the shell.
fn quoted(text: &OsStr) -> Vec<u8> {
    let mut word = vec![b'\''];
    for &byte in text.as_bytes() {
        match byte {
            b'\'' => word.extend_from_slice(b"'\\''"),
            _ => word.push(byte),
        }
    }
    word.push(b'\'');
    word
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hooks_survive_any_path() {
        let folder = tempfile::tempdir().unwrap();
        let odd = folder.path().join("it's $HOME \"a\\b\"\n`x`");
        fs::create_dir(&odd).unwrap();
        let builder = odd.join(BUILDER);
        fs::write(
            &builder,
            format!("#!/bin/sh\nprintf %s \"${}\"\n", variables::HOME),
        )
        .unwrap();
        fs::set_permissions(&builder, fs::Permissions::from_mode(0o755)).unwrap();
        write_hook(folder.path(), &odd, &builder).unwrap();
        let hook = folder.path().join("hooks/proc-receive");
        let output = std::process::Command::new(hook).output().unwrap();
        assert_eq!(output.stdout, odd.as_os_str().as_bytes());
        assert!(!folder.path().join("hooks/proc-receive.new").exists());
    }
}
