//! The `pre-receive` hook from its start to its end.

mod build;
mod report;

use std::env;
use std::io::Read as _;
use std::path::PathBuf;
use std::pin::{Pin, pin};
use std::time::{Duration, SystemTime};

use corefn_core::function::RevisionId;

use crate::error::BuildError;
use crate::interrupt::interrupted;
use crate::output::Output;
use crate::push::{Update, updates};
use crate::repository::Repository;
use corefn_engine::home;

use build::Build;

/// Runs the hook with git's environment and standard input. Returns the exit status: zero if git
/// shall accept the push.
pub async fn run() -> u8 {
    let mut output = Output::default();
    match push(&mut output).await {
        Ok(()) => 0,
        Err(error) => {
            let text = error.to_string();
            let lines = text.lines().chain(error.remedy());
            for (count, line) in lines.enumerate() {
                let mark = if count == 0 { "error:" } else { "      " };
                output.line(&format!("{mark} {line}")).await;
            }
            1
        }
    }
}

/// How long each of the last lines may take until the pusher has them.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// What ends the work before it is done.
type Stop<'a> = Pin<&'a mut (dyn Future<Output = &'static str> + 'a)>;

async fn push(output: &mut Output) -> Result<(), BuildError> {
    let home = home::find(None)?;
    let host = home::read(&home)?;
    let git_dir = env::var_os("GIT_DIR").map(PathBuf::from).ok_or_else(|| {
        BuildError::rejected("GIT_DIR is not set: this program is run by git push")
    })?;
    let repository = Repository::open(&git_dir, &home.join(&host.projects))?;
    let branch = repository.git.default_branch().await?;
    let mut deploys = None;
    for update in updates(&read_input().await?)? {
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
        Some(update) => {
            let host = corefn_core::host::Host {
                stacks: home.join(&host.stacks).display().to_string(),
                ..host
            };
            deploy(&host, &repository, &update, output).await
        }
        None => Ok(()),
    }
}

/// Builds and deploys what the default branch shall point to.
async fn deploy(
    host: &corefn_core::host::Host,
    repository: &Repository,
    update: &Update,
    output: &mut Output,
) -> Result<(), BuildError> {
    let mut interrupted = pin!(interrupted());
    let mut stop: Stop<'_> = interrupted.as_mut();
    let revision = revision(&update.new, SystemTime::now());
    output.keep_in(&repository.log(&revision))?;
    let lock = unless(&mut stop, repository.lock(output)).await?;
    still_as_pushed(repository, update).await?;
    let result = build_and_switch(host, repository, update, revision, &mut stop, output).await;
    drop(lock);
    result
}

async fn build_and_switch(
    host: &corefn_core::host::Host,
    repository: &Repository,
    update: &Update,
    revision: RevisionId,
    stop: &mut Stop<'_>,
    output: &mut Output,
) -> Result<(), BuildError> {
    let begin = Build::begin(host, repository, &update.new, revision);
    let mut build = unless(stop, begin).await?;
    let built = async {
        let built = unless(stop, build.run(output)).await?;
        still_as_pushed(repository, update).await?;
        // From here on nothing stops it any more.
        output.wait_no_longer_than(LAST_WORDS);
        build.switch(&built).await?;
        Ok(built)
    };
    match built.await {
        Ok(built) => {
            report::print(&host.url, &built, output).await;
            Ok(())
        }
        Err(error) => {
            output.wait_no_longer_than(LAST_WORDS);
            build.undo(&error, output).await;
            Err(error)
        }
    }
}

/// Does the work unless something ends it.
async fn unless<T>(
    stop: &mut Stop<'_>,
    work: impl Future<Output = Result<T, BuildError>>,
) -> Result<T, BuildError> {
    tokio::select! {
        biased;
        why = stop.as_mut() => Err(BuildError::Interrupted(why)),
        result = work => result,
    }
}

/// Checks that the branch is still where it was when the push began. git would refuse the push
/// later if it isn't, and what was deployed must be what the branch points to.
async fn still_as_pushed(repository: &Repository, update: &Update) -> Result<(), BuildError> {
    let now = repository.git.target(&update.reference).await?;
    if now.as_deref() == update.before() {
        return Ok(());
    }
    Err(BuildError::rejected(format!(
        "{} has been pushed to meanwhile: fetch, and push again",
        update.short()
    )))
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

    #[test]
    fn revisions() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let id = revision("0123456789abcdef0123456789abcdef01234567", now);
        assert_eq!(id.0, "20231114T221320-0123456");
    }
}
