//! `corefn deploy`: pushes what is committed here.

use std::path::Path;
use std::process::{Command, Output};

use corefn_core::function::RepositoryName;
use corefn_engine::home;

use crate::args::Arguments;
use crate::error::Error;
use crate::installation::Installation;
use crate::print::remark;
use crate::remote;
use crate::repository;

/// What the repository that is pushed to is called in the one that is pushed.
const REMOTE: &str = "corefn";

/// Pushes the commit that is checked out here to a repository, or to the one that it was pushed to before. Returns git's
/// exit status. With a weight it is released beside what is deployed.
pub async fn deploy(
    arguments: &Arguments,
    name: Option<&RepositoryName>,
    weight: Option<u8>,
) -> Result<u8, Error> {
    if git(&["rev-parse", "--is-inside-work-tree"])?
        .status
        .success()
    {
        check_commit()?;
    } else {
        return Err(Error::Refused(
            "here is no git repository: git init, git add ., git commit".into(),
        ));
    }
    if let Some(name) = name {
        let url = url(arguments, name).await?;
        let known = git(&["remote", "get-url", REMOTE])?.status.success();
        let word = if known { "set-url" } else { "add" };
        succeeded(&git(&["remote", word, REMOTE, &url])?)?;
    } else if !git(&["remote", "get-url", REMOTE])?.status.success() {
        return Err(Error::Refused(
            "it was not deployed from here before: say where, as in corefn deploy alice/hello"
                .into(),
        ));
    }
    let branch = branch()?;
    let mut push = Command::new("git");
    push.arg("push");
    if let Some(weight) = weight {
        push.args(["-o", &format!("weight={weight}")]);
    }
    let pushed = push
        .args([REMOTE, &format!("HEAD:refs/heads/{branch}")])
        .status()
        .map_err(|cause| Error::Io("git can't be run".into(), cause))?;
    Ok(pushed
        .code()
        .and_then(|code| u8::try_from(code).ok())
        .unwrap_or(1))
}

/// Where a repository can be pushed to. One on this machine is made if it isn't there; a git host makes it with the push.
async fn url(arguments: &Arguments, name: &RepositoryName) -> Result<String, Error> {
    if let Some(remote) = remote::find(arguments) {
        return Ok(remote?.url(name));
    }
    let home = home::find(arguments.home.clone())?;
    let here = Installation::open(&home, None)?;
    let (path, _) = repository::ensure(&here.home, &here.projects, name).await?;
    text(&path)
}

fn text(path: &Path) -> Result<String, Error> {
    let text = path.to_str().map(ToOwned::to_owned);
    text.ok_or_else(|| Error::Refused(format!("{} is no path for git: rename it", path.display())))
}

/// Checks that something is committed, and tells of what isn't.
fn check_commit() -> Result<(), Error> {
    if !git(&["rev-parse", "-q", "--verify", "HEAD"])?
        .status
        .success()
    {
        return Err(Error::Refused(
            "nothing is committed here, so there is nothing to deploy: git add ., git commit"
                .into(),
        ));
    }
    let changed = succeeded(&git(&["status", "--porcelain"])?)?
        .lines()
        .count();
    if changed > 0 {
        remark(&format!(
            "warning: changes of {changed} files are not committed, and so not deployed"
        ));
    }
    Ok(())
}

/// The branch that deploys there; of a repository without branches, the one that is checked out here.
fn branch() -> Result<String, Error> {
    let there = git(&["ls-remote", "--symref", REMOTE, "HEAD"])?;
    // (A repository that is made by the push isn't there yet.)
    if let Some(branch) = default_branch(&String::from_utf8_lossy(&there.stdout)) {
        return Ok(branch);
    }
    let here = git(&["symbolic-ref", "-q", "--short", "HEAD"])?;
    let here = String::from_utf8_lossy(&here.stdout).trim().to_owned();
    Ok(if here.is_empty() {
        "main".to_owned()
    } else {
        here
    })
}

/// The branch in what `git ls-remote --symref` says (git-ls-remote(1)).
fn default_branch(said: &str) -> Option<String> {
    let line = said
        .lines()
        .find_map(|line| line.strip_prefix("ref: refs/heads/"))?;
    Some(line.split_whitespace().next()?.to_owned())
}

fn git(arguments: &[&str]) -> Result<Output, Error> {
    let output = Command::new("git").args(arguments).output();
    output.map_err(|cause| Error::Io("git can't be run".into(), cause))
}

/// What git has printed, if it has succeeded.
fn succeeded(output: &Output) -> Result<String, Error> {
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Error::Refused(format!(
        "git has failed: {}",
        said.trim_end()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn branches() {
        let said = "ref: refs/heads/trunk\tHEAD\n0123456789\tHEAD\n";
        assert_eq!(default_branch(said).as_deref(), Some("trunk"));
        assert_eq!(default_branch(""), None);
        assert_eq!(default_branch("0123\tHEAD\n"), None);
    }
}
