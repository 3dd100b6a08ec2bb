//! `corefn builds`: the logs that pushes have left.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

use corefn_core::function::{FunctionName, RepositoryName, RevisionId};

use crate::error::Error;
use crate::installation::Installation;
use crate::print::{Printer, line};

/// Where a repository's logs are.
const FOLDER: &str = "corefn/builds";

#[derive(Serialize)]
struct Row {
    repository: String,
    revision: RevisionId,
    /// `deployed`, `rejected`, or `unknown` of one that is under way or was broken off.
    result: &'static str,
    /// Who pushed, where it came over ssh.
    account: Option<String>,
}

/// A build's log.
struct Log {
    repository: RepositoryName,
    revision: RevisionId,
    path: PathBuf,
}

/// Lists all builds that there are logs of, or a repository's, the newest first.
pub fn list(
    here: &Installation,
    printer: &Printer,
    repository: Option<&RepositoryName>,
) -> Result<(), Error> {
    let logs = logs(here)?.into_iter();
    let wanted = logs.filter(|log| repository.is_none_or(|name| *name == log.repository));
    let rows: Result<Vec<_>, _> = wanted.map(row).collect();
    printer.rows(
        ["REPOSITORY", "REVISION", "RESULT", "ACCOUNT"],
        &rows?,
        |row| {
            [
                row.repository.clone(),
                row.revision.to_string(),
                row.result.to_owned(),
                row.account.clone().unwrap_or_default(),
            ]
        },
    )
}

/// Prints the log of a revision's build.
pub fn log(here: &Installation, printer: &Printer, revision: &str) -> Result<(), Error> {
    let found = logs(here)?
        .into_iter()
        .find(|log| log.revision.0 == revision);
    let Some(log) = found else {
        return Err(Error::Refused(format!(
            "there is no log of a build {revision}: corefn builds lists those there are"
        )));
    };
    let text = read(&log)?;
    if printer.is_json() {
        return printer.one(&text, &text);
    }
    line(text.trim_end())
}

/// The revisions of a function that builds have deployed, as their logs say.
pub fn deployed(here: &Installation, function: &FunctionName) -> Result<Vec<RevisionId>, Error> {
    let own = RepositoryName::from(function.clone());
    let shared = RepositoryName::of_account(&own);
    let mut revisions = Vec::new();
    for log in logs(here)? {
        let line = format!("==> deployed {function}, revision {}", log.revision);
        if [&own, &shared].contains(&&log.repository) && read(&log)?.lines().any(|it| it == line) {
            revisions.push(log.revision);
        }
    }
    Ok(revisions)
}

/// All logs of repositories that may be seen, the newest first.
fn logs(here: &Installation) -> Result<Vec<Log>, Error> {
    let mut logs = Vec::new();
    for repository in repositories(&here.projects)? {
        if !here.shows_repository(&repository) {
            continue;
        }
        for path in entries(&here.projects.join(repository.path()).join(FOLDER))? {
            let name = path.file_name().and_then(|name| name.to_str());
            if let Some(revision) = name.and_then(|name| name.strip_suffix(".log")) {
                logs.push(Log {
                    repository: repository.clone(),
                    revision: RevisionId(revision.to_owned()),
                    path: path.clone(),
                });
            }
        }
    }
    // Revisions begin with their time.
    logs.sort_by(|a, b| (&b.revision, &b.repository).cmp(&(&a.revision, &a.repository)));
    Ok(logs)
}

/// All repositories of a folder: `account/name.git` and `account.git`.
pub fn repositories(projects: &Path) -> Result<Vec<RepositoryName>, Error> {
    let mut names = Vec::new();
    for path in entries(projects)? {
        if let Some(name) = named(projects, &path) {
            names.push(name);
        } else {
            let inner = entries(&path)?;
            names.extend(inner.iter().filter_map(|path| named(projects, path)));
        }
    }
    Ok(names)
}

fn named(projects: &Path, path: &Path) -> Option<RepositoryName> {
    let name = path.strip_prefix(projects).ok()?.to_str()?;
    name.strip_suffix(".git")?.parse().ok()
}

/// What a folder has; nothing where it is none.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let wrong = |cause| Error::Io(format!("{} can't be read", folder.display()), cause);
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error)
            if [io::ErrorKind::NotFound, io::ErrorKind::NotADirectory].contains(&error.kind()) =>
        {
            return Ok(Vec::new());
        }
        Err(error) => return Err(wrong(error)),
    };
    let paths: io::Result<Vec<_>> = entries.map(|entry| Ok(entry?.path())).collect();
    paths.map_err(wrong)
}

fn row(log: Log) -> Result<Row, Error> {
    let text = read(&log)?;
    let begins = |mark: &str| text.lines().find_map(|line| line.strip_prefix(mark));
    let result = if begins("==> deployed ").is_some() {
        "deployed"
    } else if begins("error: ").is_some() {
        "rejected"
    } else {
        "unknown"
    };
    Ok(Row {
        repository: log.repository.to_string(),
        revision: log.revision.clone(),
        result,
        account: begins("==> pushed by ").map(ToOwned::to_owned),
    })
}

/// The text of a log, with other bytes than UTF-8 replaced: programs write what they like.
fn read(log: &Log) -> Result<String, Error> {
    let bytes = fs::read(&log.path)
        .map_err(|cause| Error::Io(format!("{} can't be read", log.path.display()), cause))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
