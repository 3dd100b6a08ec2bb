//! One push, from its tree to the switch, whoever asks for it: the hook itself, or the service for a
//! hook elsewhere.

mod archive;
mod build;
mod builds;
mod report;

use std::path::Path;
use std::time::{Duration, SystemTime};

use corefn_core::host::Host;
use corefn_core::names::HOST_FILE;
use corefn_engine::home;
use corefn_engine::spans::{Spans, Whole};

use crate::error::BuildError;
use crate::interrupt::{Stop, unless};
use crate::job::Job;
use crate::output::Output;
use crate::record::Record;
use crate::tree::Tree;

pub(crate) use archive::read_at_begin;
use builds::{Builds, is_deployed};

/// How long each of the last lines may take until the pusher has them.
pub(crate) const LAST_WORDS: Duration = Duration::from_secs(5);

/// The repository that was pushed to, as far as a build must ask.
pub(crate) trait Branch {
    /// Whether the branch is still where it was when the push began. What is deployed must be what the branch points to.
    async fn is_as_pushed(&mut self) -> Result<bool, BuildError>;

    /// Moves the branch to where an earlier push would have it, which was deployed and then broken off. Returns whether
    /// it is the commit that is pushed now: then nothing is left to be done.
    async fn settle(&mut self) -> Result<bool, BuildError>;

    /// Holds the branch, if it is still there, so that it can be moved when the deployment is switched, and not without that.
    async fn hold(&mut self) -> Result<bool, BuildError>;

    /// Moves the branch that is held, as soon as the deployment is switched. Returns whether it did.
    async fn change(&mut self) -> Result<bool, BuildError>;
}

/// The installation's settings, for whoever builds.
pub(crate) fn host(home: &Path) -> Result<Host, BuildError> {
    let mut host = home::read(home)?;
    let absolute = |path: &str| home.join(path).display().to_string();
    host.stacks = absolute(&host.stacks);
    host.secrets = absolute(&host.secrets);
    if let Some(sandboxes) = &mut host.sandboxes {
        sandboxes.folder = absolute(&sandboxes.folder);
    }
    Ok(host)
}

/// What a builder is called where its spans go.
const SERVICE: &str = "corefn-build";

/// Builds and deploys what was pushed, and has it known how that goes: by Redis, and by a collector of spans if there is one.
pub(crate) async fn work(
    host: &Host,
    job: &Job,
    tree: Tree,
    branch: &mut impl Branch,
    stop: &mut Stop<'_>,
    output: &mut Output,
) -> Result<(), BuildError> {
    job.check()?;
    let spans = match &host.traces {
        Some(url) => Some(
            Spans::new(url, SERVICE)
                .map_err(|error| BuildError::rejected(format!("{HOST_FILE}: traces: {error}")))?,
        ),
        None => None,
    };
    let record = Record::begin(host, job)?;
    output.keep_tail(record.tail());
    let mut whole = Whole::begin(None);
    let result = build_and_deploy(host, job, tree, branch, stop, output, &mut whole).await;
    record.end(&result).await;
    if let Some(spans) = spans {
        let attributes = vec![
            ("vcs.repository.name", job.repository.clone()),
            ("vcs.ref.head.revision", job.commit.clone()),
            ("faas.version", job.revision.to_string()),
        ];
        let error = result.as_ref().err().map(ToString::to_string);
        spans.send(whole.end("push", attributes, error));
        spans.flush().await;
    }
    result
}

async fn build_and_deploy(
    host: &Host,
    job: &Job,
    tree: Tree,
    branch: &mut impl Branch,
    stop: &mut Stop<'_>,
    output: &mut Output,
    whole: &mut Whole,
) -> Result<(), BuildError> {
    let repository = job.check()?;
    if let Some(revision) = &job.unsettled
        && unless(stop, is_deployed(host, &repository, revision)).await?
    {
        output
            .line(&format!(
                "revision {revision} is deployed, by a push that was broken off: {} is moved there",
                job.branch
            ))
            .await;
        if branch.settle().await? {
            return Ok(());
        }
    }
    still_as_pushed(branch, job).await?;
    let begin = Builds::begin(host, &repository, job, tree);
    let mut builds = unless(stop, begin).await?;
    let built = async {
        let built = unless(stop, builds.run(output, whole)).await?;
        if !branch.hold().await? {
            still_as_pushed(branch, job).await?;
            return Err(BuildError::rejected(format!(
                "{} can't be moved, so nothing is deployed: git says above why",
                job.branch
            )));
        }
        // From here on nothing stops it any more.
        output.wait_no_longer_than(LAST_WORDS);
        let begin = SystemTime::now();
        builds.switch(&built).await?;
        // (Whoever holds the branch knows what came of it.)
        let _ = branch.change().await;
        whole.add("deploy", begin, since(begin), Vec::new());
        builds.finish(&built, output).await;
        Ok(built)
    };
    match built.await {
        Ok(built) => {
            for built in &built {
                report::print(&host.url, built, output).await;
            }
            Ok(())
        }
        Err(error) => {
            output.wait_no_longer_than(LAST_WORDS);
            builds.undo(&error, output).await;
            Err(error)
        }
    }
}

fn since(begin: SystemTime) -> Duration {
    begin.elapsed().unwrap_or_default()
}

async fn still_as_pushed(branch: &mut impl Branch, job: &Job) -> Result<(), BuildError> {
    if branch.is_as_pushed().await? {
        return Ok(());
    }
    Err(BuildError::rejected(format!(
        "{} has been pushed to meanwhile: fetch, and push again",
        job.branch
    )))
}
