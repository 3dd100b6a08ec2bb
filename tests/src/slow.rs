//! A socket that passes everything on, late.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::folder::Folder;

/// The socket. What comes back over it does so later by a fixed time.
#[derive(Debug)]
pub struct Slow {
    path: PathBuf,
    _tasks: JoinSet<()>,
}

impl Slow {
    /// Opens it in the folder, before the socket at `to`.
    ///
    /// # Panics
    /// When the socket can't be made.
    pub fn open(folder: &Folder, to: &Path, delay: Duration) -> Self {
        let path = folder.file("slow.sock");
        let listener = UnixListener::bind(&path).expect("the folder can be written to");
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, to.to_owned(), delay));
        Self {
            path,
            _tasks: tasks,
        }
    }

    /// What to connect to.
    pub fn url(&self) -> String {
        format!("unix://{}", self.path.display())
    }
}

async fn accept(listener: UnixListener, to: PathBuf, delay: Duration) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let Ok(server) = UnixStream::connect(&to).await else {
            continue;
        };
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        connections.spawn(pass(from_client, to_server, Duration::ZERO));
        connections.spawn(pass(from_server, to_client, delay));
    }
}

/// Everything is as late, however much comes: it is read and written side by side.
async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, delay: Duration) {
    let (sender, mut late) = mpsc::unbounded_channel();
    let read = async move {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(count @ 1..) = from.read(&mut buffer).await {
            let due = Instant::now() + delay;
            if sender.send((due, buffer[..count].to_vec())).is_err() {
                return;
            }
        }
    };
    let write = async move {
        while let Some((due, bytes)) = late.recv().await {
            tokio::time::sleep_until(due).await;
            if to.write_all(&bytes).await.is_err() {
                return;
            }
        }
    };
    tokio::join!(read, write);
}
