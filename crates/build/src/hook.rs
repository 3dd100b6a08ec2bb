//! The `proc-receive` hook from its start to its end.
//!
//! git leaves what is pushed to it: it moves the branch that deploys itself, in one step with the deployment, and has git move
//! all else.

use std::env;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::SystemTime;

use corefn_core::function::RevisionId;
use corefn_core::host::GitHost;
use corefn_core::names::env as variables;
use corefn_engine::home;

use crate::error::BuildError;
use crate::git::{Git, HeldReference};
use crate::interrupt::{Stop, interrupted, unless};
use crate::job::{Job, revision};
use crate::output::Output;
use crate::pkt::{self, Outcome};
use crate::push::{Update, weight};
use crate::repository::{Repository, Unsettled};
use crate::service;
use crate::tree::Tree;
use crate::work::{Branch, host, work};

/// What git tells the pusher of a branch whose revision is not deployed; why it says before.
const NOT_DEPLOYED: &str = "not deployed";

/// The setting with which a repository takes no other history.
const ONLY_FORWARD: &str = "receive.denyNonFastForwards";

/// Runs the hook with git's environment, standard input and standard output. Returns the exit status: zero if git has been
/// told what came of each reference.
pub async fn run() -> u8 {
    let mut output = Output::default();
    let received = match push(&mut output).await {
        Ok(outcomes) => {
            blocking(move || {
                let told = pkt::report(&mut std::io::stdout().lock(), &outcomes);
                told.map_err(BuildError::io("git can't be told what came of the push"))
            })
            .await
        }
        Err(error) => Err(error),
    };
    match received {
        Ok(()) => 0,
        Err(error) => {
            output.error(&error).await;
            1
        }
    }
}

async fn push(output: &mut Output) -> Result<Vec<Outcome>, BuildError> {
    let begin = || pkt::begin(&mut std::io::stdin().lock(), &mut std::io::stdout().lock());
    let (updates, options) = blocking(begin).await?;
    let weight = weight(&options)?;
    let home = home::find(None)?;
    let git_host = home::read_git_host(&home)?;
    let git_dir = env::var_os("GIT_DIR").map(PathBuf::from).ok_or_else(|| {
        BuildError::rejected("GIT_DIR is not set: this program is run by git push")
    })?;
    let repository = Repository::open(&git_dir, &home.join(&git_host.projects))?;
    let branch = deploying_branch(&repository.git, &updates).await?;
    let mut outcomes = Vec::new();
    for update in updates {
        let reference = update.reference.clone();
        if reference != branch {
            if !update.deletes() {
                let (short, deployed) = (update.short(), branch.trim_start_matches("refs/heads/"));
                output
                    .line(&format!(
                        "{short} is kept but not deployed: {deployed} is what deploys"
                    ))
                    .await;
            }
            outcomes.push(Outcome::LeftToGit(reference));
            continue;
        }
        outcomes.push(
            match deploy(&home, &git_host, &repository, &update, weight, output).await {
                Ok(true) => Outcome::Changed(reference),
                // (The service has said why.)
                Ok(false) => Outcome::Refused(reference, NOT_DEPLOYED),
                Err(error) => {
                    output.error(&error).await;
                    Outcome::Refused(reference, NOT_DEPLOYED)
                }
            },
        );
    }
    Ok(outcomes)
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

/// Builds and deploys what the default branch shall point to, or has it done, and moves the branch there. Returns whether it
/// did.
async fn deploy(
    home: &Path,
    git_host: &GitHost,
    repository: &Repository,
    update: &Update,
    weight: Option<u8>,
    output: &mut Output,
) -> Result<bool, BuildError> {
    check(repository, update).await?;
    let mut interrupted = pin!(interrupted());
    let mut stop: Stop<'_> = interrupted.as_mut();
    let mut job = Job {
        repository: repository.path(),
        branch: update.short().to_owned(),
        commit: update.new.clone(),
        revision: revision(&update.new, SystemTime::now()),
        account: env::var(variables::ACCOUNT).ok(),
        weight,
        unsettled: None,
    };
    output.keep_in(&repository.log(&job.revision))?;
    if let Some(account) = &job.account {
        output.line(&format!("==> pushed by {account}")).await;
    }
    let _lock = unless(&mut stop, repository.lock(output)).await?;
    let unsettled = repository.unsettled();
    job.unsettled = unsettled.as_ref().map(|it| it.revision.clone());
    let mut branch = Pushed {
        repository,
        update: update.clone(),
        revision: job.revision.clone(),
        unsettled,
        held: None,
        is_moved: false,
    };
    let tree = unless(&mut stop, Tree::read(&repository.git, &job.commit)).await?;
    match &git_host.builder {
        None => {
            let host = host(home)?;
            work(&host, &job, tree, &mut branch, &mut stop, output).await?;
        }
        Some(builder) => {
            let socket = home.join(builder);
            let built = service::build(&socket, &job, &tree, output, &mut branch, &mut stop);
            match built.await {
                Ok(0) => {}
                Ok(_) => return Ok(false),
                Err(error) => {
                    // The builder may have deployed it before it was killed.
                    if let Some(held) = branch.held.take() {
                        held.keep_mark();
                    }
                    return Err(error);
                }
            }
        }
    }
    if branch.is_moved {
        return Ok(true);
    }
    Err(BuildError::rejected(format!(
        "revision {} is deployed, but git could not move {}: push again",
        job.revision,
        update.short()
    )))
}

/// Checks what git would, if it moved the branch itself.
async fn check(repository: &Repository, update: &Update) -> Result<(), BuildError> {
    let short = update.short();
    if update.deletes() {
        return Err(BuildError::rejected(format!(
            "{short} is what is deployed, so it can't be deleted: to remove the function run \
             corefn rm {}",
            repository.path()
        )));
    }
    let git = &repository.git;
    if let Some(before) = update.before()
        && git.is_set(ONLY_FORWARD).await?
        && !git.is_ancestor(before, &update.new).await?
    {
        return Err(BuildError::rejected(format!(
            "{short} would lose commits, and this repository takes none that don't follow its own ({ONLY_FORWARD})"
        )));
    }
    Ok(())
}

/// What was pushed to a repository of this machine.
struct Pushed<'a> {
    repository: &'a Repository,
    update: Update,
    revision: RevisionId,
    /// An earlier push of which it is not known whether it was deployed.
    unsettled: Option<Unsettled>,
    /// The branch, once it is held.
    held: Option<HeldReference>,
    is_moved: bool,
}

impl Branch for Pushed<'_> {
    async fn is_as_pushed(&mut self) -> Result<bool, BuildError> {
        let git = &self.repository.git;
        let now = git.target(&self.update.reference).await?;
        Ok(now.as_deref() == self.update.before())
    }

    async fn settle(&mut self) -> Result<bool, BuildError> {
        let Some(unsettled) = self.unsettled.take() else {
            return Ok(false);
        };
        let git = &self.repository.git;
        let before = git.target(&unsettled.reference).await?;
        if before.as_ref() != Some(&unsettled.commit) {
            let zero = "0".repeat(unsettled.commit.len());
            let left = Update {
                old: before.clone().unwrap_or(zero),
                new: unsettled.commit.clone(),
                reference: unsettled.reference.clone(),
            };
            let mark = self.repository.mark();
            let held = git.hold(&left, &mark, &unsettled.text()).await?;
            let is_moved = match held {
                Some(held) => held.change().await,
                None => false,
            };
            if !is_moved {
                return Err(BuildError::rejected(format!(
                    "revision {} was deployed by a push that was broken off, and git can't move {} there",
                    unsettled.revision,
                    left.short()
                )));
            }
        }
        if unsettled.reference != self.update.reference {
            return Ok(false);
        }
        self.is_moved = unsettled.commit == self.update.new;
        // What follows that takes nothing away.
        if before.as_deref() == self.update.before()
            && git.is_ancestor(&unsettled.commit, &self.update.new).await?
        {
            self.update.old = unsettled.commit;
        }
        Ok(self.is_moved)
    }

    async fn hold(&mut self) -> Result<bool, BuildError> {
        let mark = self.repository.mark();
        let holds = Unsettled {
            revision: self.revision.clone(),
            commit: self.update.new.clone(),
            reference: self.update.reference.clone(),
        };
        let git = &self.repository.git;
        self.held = git.hold(&self.update, &mark, &holds.text()).await?;
        Ok(self.held.is_some())
    }

    async fn change(&mut self) -> Result<bool, BuildError> {
        // It is locked, and nothing is left to be done but to rename a file.
        if let Some(held) = self.held.take() {
            self.is_moved = held.change().await;
        }
        Ok(self.is_moved)
    }
}

/// Does what waits for git beside all else.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BuildError> + Send + 'static,
) -> Result<T, BuildError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(BuildError::io("the hook has failed")(
            std::io::Error::other(error),
        )),
    }
}
