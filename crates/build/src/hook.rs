//! The `pre-receive` hook from its start to its end.

use std::env;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::SystemTime;

use corefn_core::function::RevisionId;
use corefn_core::host::GitHost;
use corefn_core::names::env as variables;
use corefn_engine::home;

use crate::error::BuildError;
use crate::git::Git;
use crate::interrupt::{Stop, interrupted, unless};
use crate::job::Job;
use crate::output::Output;
use crate::push::{Update, updates};
use crate::repository::Repository;
use crate::service;
use crate::tree::Tree;
use crate::work::{Branch, host, work};

/// Runs the hook with git's environment and standard input. Returns the exit status: zero if git
/// shall accept the push.
pub async fn run() -> u8 {
    let mut output = Output::default();
    match push(&mut output).await {
        Ok(status) => status,
        Err(error) => {
            output.error(&error).await;
            1
        }
    }
}

async fn push(output: &mut Output) -> Result<u8, BuildError> {
    let home = home::find(None)?;
    let git_host = home::read_git_host(&home)?;
    let git_dir = env::var_os("GIT_DIR").map(PathBuf::from).ok_or_else(|| {
        BuildError::rejected("GIT_DIR is not set: this program is run by git push")
    })?;
    let repository = Repository::open(&git_dir, &home.join(&git_host.projects))?;
    let updates = updates(&read_input().await?)?;
    let branch = deploying_branch(&repository.git, &updates).await?;
    let mut deploys = None;
    for update in updates {
        if update.reference != branch {
            if !update.deletes() {
                let (short, deployed) = (update.short(), branch.trim_start_matches("refs/heads/"));
                output
                    .line(&format!(
                        "{short} is kept but not deployed: {deployed} is what deploys"
                    ))
                    .await;
            }
        } else if update.deletes() {
            return Err(BuildError::rejected(format!(
                "{} is what is deployed, so it can't be deleted: to remove the function run \
                 corefn rm {}",
                update.short(),
                repository.path()
            )));
        } else {
            deploys = Some(update);
        }
    }
    match deploys {
        Some(update) => deploy(&home, &git_host, &repository, &update, output).await,
        None => Ok(0),
    }
}

/// The branch that deploys: the one that `HEAD` names. Of a repository without branches, whose
/// `HEAD` is only what git has made up, it is the first that is pushed, unless `HEAD`'s is pushed.
async fn deploying_branch(git: &Git, updates: &[Update]) -> Result<String, BuildError> {
    let head = git.default_branch().await?;
    let pushed = |name: &str| updates.iter().any(|update| update.reference == name);
    let mut branches = updates
        .iter()
        .filter(|update| update.is_branch() && !update.deletes());
    match branches.next() {
        Some(first) if !pushed(&head) && !git.has_branches().await? => {
            git.set_default_branch(&first.reference).await?;
            Ok(first.reference.clone())
        }
        _ => Ok(head),
    }
}

/// Builds and deploys what the default branch shall point to, or has it done.
async fn deploy(
    home: &Path,
    git_host: &GitHost,
    repository: &Repository,
    update: &Update,
    output: &mut Output,
) -> Result<u8, BuildError> {
    let mut interrupted = pin!(interrupted());
    let mut stop: Stop<'_> = interrupted.as_mut();
    let job = Job {
        repository: repository.path(),
        branch: update.short().to_owned(),
        commit: update.new.clone(),
        revision: revision(&update.new, SystemTime::now()),
        account: env::var(variables::ACCOUNT).ok(),
    };
    output.keep_in(&repository.log(&job.revision))?;
    if let Some(account) = &job.account {
        output.line(&format!("==> pushed by {account}")).await;
    }
    let _lock = unless(&mut stop, repository.lock(output)).await?;
    let mut branch = Pushed {
        git: &repository.git,
        update,
    };
    let tree = unless(&mut stop, Tree::read(&repository.git, &job.commit)).await?;
    let Some(builder) = &git_host.builder else {
        let host = host(home)?;
        work(&host, &job, tree, &mut branch, &mut stop, output).await?;
        return Ok(0);
    };
    let is_as_pushed = async || branch.is_there_still().await;
    let socket = home.join(builder);
    let built = service::build(&socket, &job, &tree, output, is_as_pushed);
    unless(&mut stop, built).await
}

/// What was pushed to a repository of this machine.
struct Pushed<'a> {
    git: &'a Git,
    update: &'a Update,
}

impl Pushed<'_> {
    async fn is_there_still(&self) -> Result<bool, BuildError> {
        let now = self.git.target(&self.update.reference).await?;
        Ok(now.as_deref() == self.update.before())
    }
}

impl Branch for Pushed<'_> {
    async fn is_as_pushed(&mut self) -> Result<bool, BuildError> {
        self.is_there_still().await
    }
}

/// The identifier of a revision: UTC and the commit.
fn revision(commit: &str, now: SystemTime) -> RevisionId {
    let now = jiff::Timestamp::try_from(now).unwrap_or_default();
    let commit = commit.get(..7).unwrap_or(commit);
    RevisionId(format!("{}-{commit}", now.strftime("%Y%m%dT%H%M%S")))
}

async fn read_input() -> Result<String, BuildError> {
    let read = || {
        let mut input = String::new();
        std::io::stdin().read_to_string(&mut input).map(|_| input)
    };
    let input = tokio::task::spawn_blocking(read).await;
    input
        .map_err(std::io::Error::other)
        .and_then(|input| input)
        .map_err(BuildError::io("what is pushed can't be read"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn revisions() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let id = revision("0123456789abcdef0123456789abcdef01234567", now);
        assert_eq!(id.0, "20231114T221320-0123456");
    }
}
