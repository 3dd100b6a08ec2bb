//! The service's other side: a hook, or a command that came over ssh.

use std::io::{self, Read as _};
use std::path::Path;

use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixStream;

use super::{CHANGE, HOLD, Request};
use crate::error::BuildError;
use crate::job::Job;
use crate::output::Output;
use crate::tree::Tree;
use crate::wire::{self, Kind};
use crate::work::Branch;

/// Has the service at a socket build and deploy a tree. What it writes goes to `output`, and `branch` answers when it asks.
/// Returns the exit status.
///
/// # Errors
/// [`BuildError`] when the service can't be reached, or breaks off.
pub(crate) async fn build(
    socket: &Path,
    job: &Job,
    tree: &Tree,
    output: &mut Output,
    branch: &mut impl Branch,
) -> Result<u8, BuildError> {
    let mut service = ask(socket, &Request::Build(job.clone())).await?;
    // A service that has refused it reads no further: what it said is what matters.
    let sent = send(&mut service, tree).await;
    loop {
        match next(&mut service).await {
            Ok(Some((Kind::Error | Kind::Output, bytes))) => output.bytes(&bytes).await,
            Ok(Some((Kind::Ask, what))) => {
                let answer = match what[..] {
                    [HOLD] => branch.hold().await?,
                    [CHANGE] => branch.change().await?,
                    _ => branch.is_as_pushed().await?,
                };
                let answer = [u8::from(answer)];
                let answered = wire::write(&mut service, Kind::Answer, &answer).await;
                answered.map_err(broken_off())?;
            }
            Ok(Some((Kind::Exit, status))) => return Ok(status.first().copied().unwrap_or(1)),
            Ok(_) => return Err(broken_off()(sent.err().unwrap_or_else(ended))),
            Err(error) => return Err(error),
        }
    }
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
