//! The service's other side: a hook, or a command that came over ssh.

use std::io::{self, Read as _};
use std::path::Path;

use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixStream;

use super::{CHANGE, HOLD, Request, SETTLE};
use crate::error::BuildError;
use crate::interrupt::{Stop, unless};
use crate::job::Job;
use crate::output::Output;
use crate::tree::Tree;
use crate::wire::{self, Kind};
use crate::work::{Branch, LAST_WORDS};

/// Has the service at a socket build and deploy a tree. What it writes goes to `output`, and `branch` answers when it asks.
/// Returns the exit status. `stop` ends it until the branch is held; from there on it is the service that may deploy, so
/// whoever holds the branch has to be told what came of it.
///
/// # Errors
/// [`BuildError`] when the service can't be reached, or breaks off.
pub(crate) async fn build(
    socket: &Path,
    job: &Job,
    tree: &Tree,
    output: &mut Output,
    branch: &mut impl Branch,
    stop: &mut Stop<'_>,
) -> Result<u8, BuildError> {
    let begin = async {
        let mut service = ask(socket, &Request::Build(job.clone())).await?;
        // A service that has refused it reads no further: what it said is what matters.
        let sent = send(&mut service, tree).await;
        let wanted = attend(&mut service, output, branch, sent.err()).await?;
        Ok((service, wanted))
    };
    let (mut service, wanted) = unless(stop, begin).await?;
    if let Wanted::End(status) = wanted {
        return Ok(status);
    }
    output.wait_no_longer_than(LAST_WORDS);
    let is_held = branch.hold().await?;
    answer(&mut service, is_held).await?;
    match attend(&mut service, output, branch, None).await? {
        Wanted::End(status) => Ok(status),
        Wanted::Hold => Err(broken_off()(io::ErrorKind::InvalidData.into())),
    }
}

/// What the service wants of the hook.
enum Wanted {
    /// That the branch be held.
    Hold,
    /// Nothing more: this is the exit status.
    End(u8),
}

/// Passes on what the service writes, and answers what it asks, until it wants something else. `unsent` is what went wrong
/// when it was sent the tree.
async fn attend(
    service: &mut UnixStream,
    output: &mut Output,
    branch: &mut impl Branch,
    mut unsent: Option<io::Error>,
) -> Result<Wanted, BuildError> {
    loop {
        match next(service).await? {
            Some((Kind::Error | Kind::Output, bytes)) => output.bytes(&bytes).await,
            Some((Kind::Ask, what)) => {
                let answered = match what[..] {
                    [HOLD] => return Ok(Wanted::Hold),
                    [CHANGE] => branch.change().await?,
                    [SETTLE] => branch.settle().await?,
                    _ => branch.is_as_pushed().await?,
                };
                answer(service, answered).await?;
            }
            Some((Kind::Exit, status)) => {
                return Ok(Wanted::End(status.first().copied().unwrap_or(1)));
            }
            _ => return Err(broken_off()(unsent.take().unwrap_or_else(ended))),
        }
    }
}

async fn answer(service: &mut UnixStream, answer: bool) -> Result<(), BuildError> {
    let answered = wire::write(service, Kind::Answer, &[u8::from(answer)]).await;
    answered.map_err(broken_off())
}

/// Has the service run a command for an account, with a standard input if it wants one. What it writes goes to standard output and
/// standard error. Returns the exit status.
///
/// # Errors
/// [`BuildError`] when the service can't be reached, or breaks off.
pub async fn run(
    socket: &Path,
    account: &str,
    words: Vec<String>,
    input: Option<String>,
) -> Result<u8, BuildError> {
    let request = Request::Run {
        account: account.to_owned(),
        words,
        input,
    };
    let mut service = ask(socket, &request).await?;
    let (mut stdout, mut stderr) = (tokio::io::stdout(), tokio::io::stderr());
    loop {
        let written = match next(&mut service).await? {
            Some((Kind::Output, bytes)) => written(&mut stdout, &bytes).await,
            Some((Kind::Error, bytes)) => written(&mut stderr, &bytes).await,
            Some((Kind::Exit, status)) => return Ok(status.first().copied().unwrap_or(1)),
            _ => return Err(broken_off()(ended())),
        };
        if written.is_err() {
            // Whoever reads has seen enough.
            return Ok(0);
        }
    }
}

async fn written(to: &mut (impl tokio::io::AsyncWrite + Unpin), bytes: &[u8]) -> io::Result<()> {
    to.write_all(bytes).await?;
    to.flush().await
}

async fn ask(socket: &Path, request: &Request) -> Result<UnixStream, BuildError> {
    let unreachable = BuildError::io(format!(
        "the builder at {} can't be reached: have the operator start it (corefn-build serve)",
        socket.display()
    ));
    let mut service = UnixStream::connect(socket).await.map_err(unreachable)?;
    let request = serde_json::to_vec(request)
        .map_err(io::Error::other)
        .map_err(broken_off())?;
    let asked = wire::write(&mut service, Kind::Request, &request).await;
    asked.map_err(broken_off())?;
    Ok(service)
}

async fn send(service: &mut UnixStream, tree: &Tree) -> io::Result<()> {
    let mut file = tree.file().map_err(io::Error::other)?;
    let mut piece = vec![0; wire::MAX];
    loop {
        match file.read(&mut piece)? {
            0 => return wire::write(service, Kind::End, &[]).await,
            length => wire::write(service, Kind::Data, &piece[..length]).await?,
        }
    }
}

async fn next(service: &mut UnixStream) -> Result<Option<(Kind, Vec<u8>)>, BuildError> {
    wire::read(service).await.map_err(broken_off())
}

fn broken_off() -> impl FnOnce(io::Error) -> BuildError {
    BuildError::io("the builder broke off, perhaps because it was restarted: push again")
}

fn ended() -> io::Error {
    io::ErrorKind::UnexpectedEof.into()
}
