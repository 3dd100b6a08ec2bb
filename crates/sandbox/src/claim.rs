//! Getting a sandbox from the host's keeper, which has the connections of those that wait, and keeps the executables and
//! the archives that they are handed.
//!
//! Whoever wants something connects to the keeper's socket and sends one [`Request`], in JSON. The keeper answers with the
//! sandbox, in JSON, and the connection to it; or with `null`, when none waits or none was asked for; or with how many wait. From then on the sandbox is the claimer's: if that dies
//! before it has said what the sandbox is to become, the connection closes, and the sandbox ends.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use corefn_core::function::FunctionName;
use corefn_core::instance::InstanceId;
use corefn_core::network::Network;
use corefn_core::survey::SandboxCount;

use crate::message::{Connection, Message};

/// The most bytes of a message: names of images have 255 at most.
const LIMIT: usize = 4096;

/// The most bytes of an answer that names all kinds.
const KINDS_LIMIT: usize = 64 * 1024;

/// What sandboxes have in common that can stand in for each other.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kind {
    /// The image that they are made of.
    pub image: String,
    /// What they can reach; without a value they have no network at all, and what they become serves on its socket alone.
    pub network: Option<Network>,
}

/// A sandbox, as others than the keeper have to know it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sandbox {
    /// The instance that it becomes.
    pub instance: InstanceId,
    /// Docker's identifier of its container.
    pub container: String,
    /// Its address on its network, if it has one.
    pub ip: Option<Ipv4Addr>,
    /// The path of the socket that it was sent, on which what it becomes may serve.
    #[serde(default)]
    pub socket: Option<PathBuf>,
}

/// What is asked of a keeper.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Request {
    /// A sandbox of a kind.
    Claim(Kind),
    /// That what a sandbox is handed is on the host soon.
    Fetch(Fetch),
    /// How many wait.
    Count,
}

/// An executable, or the files of a function, and where they are to be had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fetch {
    /// Whose they are, for the log.
    pub function: FunctionName,
    /// The image that holds them.
    pub image: String,
    /// The SHA-256 of the executable, or of the archive, in hexadecimal digits.
    pub digest: String,
    /// What is made of them.
    pub form: Form,
}

/// What a sandbox is handed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// An executable.
    Executable,
    /// An archive of files, for the sandboxes in which a runtime waits.
    Archive,
}

/// A sandbox that was claimed.
#[derive(Debug)]
pub struct Claimed {
    /// Which one.
    pub sandbox: Sandbox,
    /// The connection to it, for [`crate::hand_over::hand_over`].
    pub connection: OwnedFd,
}

/// Asks the keeper at a path for a sandbox; nothing if none of the kind waits.
///
/// # Errors
/// When the keeper can't be reached, or what it says is no answer.
pub async fn claim(keeper: &Path, kind: &Kind) -> io::Result<Option<Claimed>> {
    let answer = ask(keeper, &Request::Claim(kind.clone()), LIMIT).await?;
    let mut files = answer.files.into_iter();
    match (
        read::<Option<Sandbox>>(&answer.bytes)?,
        files.next(),
        files.next(),
    ) {
        (Some(sandbox), Some(connection), None) => Ok(Some(Claimed {
            sandbox,
            connection,
        })),
        (None, None, None) => Ok(None),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// Asks the keeper at a path to have an executable, or files, on the host soon.
///
/// # Errors
/// As of [`claim`].
pub async fn fetch(keeper: &Path, fetch: Fetch) -> io::Result<()> {
    ask(keeper, &Request::Fetch(fetch), LIMIT).await.map(drop)
}

/// Asks the keeper at a path how many sandboxes of each kind wait.
///
/// # Errors
/// As of [`claim`].
pub async fn count(keeper: &Path) -> io::Result<Vec<SandboxCount>> {
    read(&ask(keeper, &Request::Count, KINDS_LIMIT).await?.bytes)
}

/// Whether somebody takes connections at a path, as a keeper does.
///
/// # Errors
/// Why not.
pub fn is_there(keeper: &Path) -> io::Result<()> {
    Connection::open(keeper).map(drop)
}

async fn ask(keeper: &Path, request: &Request, limit: usize) -> io::Result<Message> {
    let keeper = Connection::open(keeper)?;
    keeper.send(&json(request)?, &[]).await?;
    let answer = keeper.receive(limit).await?;
    if answer.bytes.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(answer)
}

/// The keeper's side: what whoever has connected wants.
///
/// # Errors
/// When it has gone, or what it says is no request.
pub async fn wanted(claimer: &Connection) -> io::Result<Request> {
    let message = claimer.receive(LIMIT).await?;
    if message.bytes.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    read(&message.bytes)
}

/// The keeper's side: gives a sandbox away, or says that none waits.
///
/// # Errors
/// When the claimer has gone; the sandbox, if there was one, may be given to another.
pub async fn answer(
    claimer: &Connection,
    sandbox: Option<(&Sandbox, BorrowedFd<'_>)>,
) -> io::Result<()> {
    let (sandbox, connection) = sandbox.unzip();
    let files: Vec<_> = connection.into_iter().collect();
    claimer.send(&json(&sandbox)?, &files).await
}

/// The keeper's side: says how many wait. Kinds for which there is no room in the answer are left out.
///
/// # Errors
/// When the asker has gone.
pub async fn answer_count(asker: &Connection, mut counts: Vec<SandboxCount>) -> io::Result<()> {
    let mut bytes = json(&counts)?;
    while bytes.len() > KINDS_LIMIT {
        counts.truncate(counts.len() / 2);
        bytes = json(&counts)?;
    }
    asker.send(&bytes, &[]).await
}

fn json(value: &impl Serialize) -> io::Result<Vec<u8>> {
    Ok(serde_json::to_vec(value)?)
}

fn read<T: for<'a> Deserialize<'a>>(bytes: &[u8]) -> io::Result<T> {
    Ok(serde_json::from_slice(bytes)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Listener;
    use std::os::fd::AsFd as _;

    fn kind() -> Kind {
        Kind {
            image: "corefn/sandbox:1".to_owned(),
            network: Some(Network::Outbound),
        }
    }

    fn executable() -> Fetch {
        Fetch {
            function: "demo/hello".parse().unwrap(),
            image: "corefn/demo/hello:r1".to_owned(),
            digest: "00".repeat(32),
            form: Form::Executable,
        }
    }

    fn counted() -> SandboxCount {
        SandboxCount {
            runtime: Some("python".to_owned()),
            network: kind().network,
            waiting: 3,
            wanted: 4,
        }
    }

    fn sandbox() -> Sandbox {
        Sandbox {
            instance: InstanceId::from_random(7),
            container: "0123".to_owned(),
            ip: Some(Ipv4Addr::new(10, 192, 0, 2)),
            socket: Some("/run/corefn/serving/7".into()),
        }
    }

    #[tokio::test]
    async fn sandboxes_are_given_away() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keeper");
        let listener = Listener::bind(&path).unwrap();
        let serve = async {
            let (near, far) = std::os::unix::net::UnixStream::pair().unwrap();
            let claimer = listener.accept().await.unwrap();
            assert_eq!(wanted(&claimer).await.unwrap(), Request::Claim(kind()));
            answer(&claimer, Some((&sandbox(), far.as_fd())))
                .await
                .unwrap();
            let claimer = listener.accept().await.unwrap();
            wanted(&claimer).await.unwrap();
            answer(&claimer, None).await.unwrap();
            let claimer = listener.accept().await.unwrap();
            assert_eq!(
                wanted(&claimer).await.unwrap(),
                Request::Fetch(executable())
            );
            answer(&claimer, None).await.unwrap();
            let asker = listener.accept().await.unwrap();
            assert_eq!(wanted(&asker).await.unwrap(), Request::Count);
            answer_count(&asker, vec![counted(); 1000]).await.unwrap();
            // One that dies.
            drop(listener.accept().await.unwrap());
            near
        };
        let kind = kind();
        let ask = async {
            let claimed = claim(&path, &kind).await.unwrap().unwrap();
            assert_eq!(claimed.sandbox, sandbox());
            assert!(claim(&path, &kind).await.unwrap().is_none());
            fetch(&path, executable()).await.unwrap();
            let counts = count(&path).await.unwrap();
            assert_eq!(counts[0], counted());
            assert!(counts.len() >= 250, "{}", counts.len());
            let error = claim(&path, &kind).await.unwrap_err();
            let gone = [
                io::ErrorKind::UnexpectedEof,
                io::ErrorKind::ConnectionReset,
                io::ErrorKind::BrokenPipe,
            ];
            assert!(gone.contains(&error.kind()), "{error}");
            claimed.connection
        };
        let (mut near, connection) = tokio::join!(serve, ask);
        // It is the connection that was given.
        drop(connection);
        assert_eq!(std::io::Read::read(&mut near, &mut [0]).unwrap(), 0);
        drop(listener);
        let error = claim(&path, &kind).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }

    #[tokio::test]
    async fn nonsense_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keeper");
        let listener = Listener::bind(&path).unwrap();
        let (near, _far) = std::os::unix::net::UnixStream::pair().unwrap();
        let good = serde_json::to_vec(&sandbox()).unwrap();
        let file = near.as_fd();
        for (bytes, files) in [
            (&b"{}"[..], &[][..]),
            (b"null", &[file]),
            (&good, &[]),
            (&good, &[file, file]),
            (b"x", &[file]),
            (&[b' '; LIMIT + 1], &[file]),
        ] {
            let serve = async {
                let claimer = listener.accept().await.unwrap();
                wanted(&claimer).await.unwrap();
                claimer.send(bytes, files).await.unwrap();
            };
            let kind = kind();
            let ((), claimed) = tokio::join!(serve, claim(&path, &kind));
            assert_eq!(claimed.unwrap_err().kind(), io::ErrorKind::InvalidData);
        }
        for bytes in [
            &b"{}"[..],
            b"null",
            b"{\"claim\":{\"image\":\"x\",\"network\":\"build\"}}",
            b"\xff",
        ] {
            let claimer = Connection::open(&path).unwrap();
            let keeper = listener.accept().await.unwrap();
            claimer.send(bytes, &[]).await.unwrap();
            let error = wanted(&keeper).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{bytes:?}");
        }
    }
}
