//! A socket that passes everything on, late; or keeps answers to itself.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::folder::Folder;

/// The socket. What comes back over it does so later by a fixed time.
#[derive(Debug)]
pub struct Slow {
    path: PathBuf,
    withheld: Withheld,
    released: Arc<Notify>,
    _tasks: JoinSet<()>,
}

/// What a question contains to which there is no answer.
type Withheld = Arc<Mutex<Option<String>>>;

impl Slow {
    /// Opens it in the folder, before the socket at `to`.
    ///
    /// # Panics
    /// When the socket can't be made.
    pub fn open(folder: &Folder, to: &Path, delay: Duration) -> Self {
        let path = folder.file("slow.sock");
        let listener = UnixListener::bind(&path).expect("the folder can be written to");
        let mut tasks = JoinSet::new();
        let (withheld, released) = (Withheld::default(), Arc::new(Notify::new()));
        let ends = (withheld.clone(), released.clone());
        tasks.spawn(accept(listener, to.to_owned(), delay, ends));
        Self {
            path,
            withheld,
            released,
            _tasks: tasks,
        }
    }

    /// From now on, whoever sends something that contains `text` gets no more answers. What is asked for is done.
    pub fn withhold(&self, text: &str) {
        *self.withheld() = Some(text.to_owned());
    }

    /// Ends what [`Slow::withhold`] began, and the connections that get no more answers.
    pub fn release(&self) {
        *self.withheld() = None;
        self.released.notify_waiters();
    }

    fn withheld(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.withheld.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What to connect to.
    pub fn url(&self) -> String {
        format!("unix://{}", self.path.display())
    }
}

async fn accept(
    listener: UnixListener,
    to: PathBuf,
    delay: Duration,
    (withheld, released): (Withheld, Arc<Notify>),
) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let Ok(server) = UnixStream::connect(&to).await else {
            continue;
        };
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        let is_shut = Arc::new(AtomicBool::new(false));
        let (withheld, shut) = (withheld.clone(), is_shut.clone());
        let ask = move |question: &[u8]| {
            let text = withheld.lock().unwrap_or_else(PoisonError::into_inner);
            if text.as_ref().is_some_and(|text| contains(question, text)) {
                shut.store(true, Ordering::SeqCst);
            }
            true
        };
        let is_over = is_shut.clone();
        let answer = move |_: &[u8]| !is_shut.load(Ordering::SeqCst);
        let released = released.clone();
        connections.spawn(async move {
            let asks = pass(from_client, to_server, Duration::ZERO, ask);
            let answers = pass(from_server, to_client, delay, answer);
            let ends = async {
                loop {
                    released.notified().await;
                    if is_over.load(Ordering::SeqCst) {
                        return;
                    }
                }
            };
            tokio::select! {
                _ = async { tokio::join!(asks, answers) } => {}
                () = ends => {}
            }
        });
    }
}

fn contains(bytes: &[u8], text: &str) -> bool {
    let mut windows = bytes.windows(text.len());
    windows.any(|window| window == text.as_bytes())
}

/// Everything that `passes` is as late, however much comes: it is read and written side by side.
async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    delay: Duration,
    passes: impl Fn(&[u8]) -> bool,
) {
    let (sender, mut late) = mpsc::unbounded_channel();
    let read = async move {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(count @ 1..) = from.read(&mut buffer).await {
            if !passes(&buffer[..count]) {
                continue;
            }
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
