//! A socket between the router and Docker that counts, and that can be shut.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;

use crate::folder::Folder;

/// How often one that hangs looks whether it still does.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// What an engine says that could not do something.
const REFUSAL: &[u8] = b"HTTP/1.1 500 Internal Server Error\r\nContent-Type: application/json\r\n\
    Content-Length: 23\r\n\r\n{\"message\":\"it failed\"}";

/// The socket. Connections are passed on to Docker's own.
#[derive(Debug)]
pub struct Proxy {
    path: PathBuf,
    seen: Arc<Seen>,
    _tasks: JoinSet<()>,
}

#[derive(Debug, Default)]
struct Seen {
    shut: AtomicBool,
    held: Mutex<Option<String>>,
    /// How many calls go through yet before all others hang.
    left: Mutex<Option<usize>>,
    /// The questions among them: one that is asked again counts once.
    asked: Mutex<HashSet<String>>,
    /// Whether those go on when it is released.
    pauses: AtomicBool,
    hanging: AtomicBool,
    delayed: Mutex<Option<String>>,
    /// What is answered with an error, and how often yet.
    refused: Mutex<Option<(String, usize)>>,
    muted: AtomicBool,
    hangs: AtomicBool,
    calls: Mutex<Vec<String>>,
}

impl Proxy {
    /// Opens it in the folder, before the socket at `to`.
    ///
    /// # Panics
    /// When the socket can't be made.
    pub fn open(folder: &Folder, to: &Path) -> Self {
        let path = folder.file("docker.sock");
        let listener = UnixListener::bind(&path).expect("the folder can be written to");
        let seen = Arc::new(Seen::default());
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, to.to_owned(), seen.clone()));
        Self {
            path,
            seen,
            _tasks: tasks,
        }
    }

    /// What the router connects to.
    pub fn url(&self) -> String {
        format!("unix://{}", self.path.display())
    }

    /// The calls so far: `GET /v1.41/containers/json?…` of each request, `connect` of each
    /// connection.
    pub fn calls(&self) -> Vec<String> {
        self.seen.calls().clone()
    }

    /// How many of the calls contain a text.
    pub fn count(&self, text: &str) -> usize {
        self.calls()
            .iter()
            .filter(|call| call.contains(text))
            .count()
    }

    /// Shuts it, as if Docker were gone: new connections end at once, and so do the old ones with
    /// the next byte.
    pub fn shut(&self) {
        self.seen.shut.store(true, Ordering::SeqCst);
    }

    /// Has calls that contain a text hang: Docker doesn't get them, and nobody gets an answer.
    pub fn hold(&self, text: &str) {
        *self.seen.held() = Some(text.to_owned());
    }

    /// Has all calls hang but the next `count`, and the same questions again.
    pub fn hold_after(&self, count: usize) {
        self.stop_after(count, false);
    }

    /// Has all calls wait until [`Proxy::release`] but the next `count`, and the same questions again.
    pub fn pause_after(&self, count: usize) {
        self.stop_after(count, true);
    }

    fn stop_after(&self, count: usize, pauses: bool) {
        self.seen.hanging.store(false, Ordering::SeqCst);
        self.seen.pauses.store(pauses, Ordering::SeqCst);
        self.seen.asked().clear();
        *self.seen.left() = Some(count);
    }

    /// Whether one hangs or waits that is not among those that [`Proxy::hold_after`] or [`Proxy::pause_after`] lets through.
    pub fn is_holding(&self) -> bool {
        self.seen.hanging.load(Ordering::SeqCst)
    }

    /// Has calls that contain a text wait until [`Proxy::release`]; then Docker gets them.
    pub fn delay(&self, text: &str) {
        *self.seen.delayed() = Some(text.to_owned());
    }

    /// Has the next `count` calls that contain a text answered as by an engine that could not do it. It gets none of them.
    pub fn refuse(&self, text: &str, count: usize) {
        *self.seen.refused() = Some((text.to_owned(), count));
    }

    /// Lets calls through again. Those that wait go on, those that hang don't.
    pub fn release(&self) {
        *self.seen.held() = None;
        *self.seen.left() = None;
        *self.seen.delayed() = None;
        *self.seen.refused() = None;
    }

    /// Events are not passed on any more; all else is.
    pub fn mute_events(&self) {
        self.seen.muted.store(true, Ordering::SeqCst);
    }

    /// Makes it hang, as if Docker did: it takes connections and requests, and nothing comes back
    /// until [`Proxy::resume`].
    pub fn hang(&self) {
        self.seen.hangs.store(true, Ordering::SeqCst);
    }

    /// Ends what [`Proxy::hang`] began.
    pub fn resume(&self) {
        self.seen.hangs.store(false, Ordering::SeqCst);
    }

    /// Opens it again.
    pub fn reopen(&self) {
        self.seen.shut.store(false, Ordering::SeqCst);
    }
}

impl Seen {
    fn calls(&self) -> std::sync::MutexGuard<'_, Vec<String>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn held(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn delayed(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.delayed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn left(&self) -> std::sync::MutexGuard<'_, Option<usize>> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn asked(&self) -> std::sync::MutexGuard<'_, HashSet<String>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refused(&self) -> std::sync::MutexGuard<'_, Option<(String, usize)>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a call is to be answered with an error.
    fn refuses(&self, call: &str) -> bool {
        match &mut *self.refused() {
            Some((text, left @ 1..)) if call.contains(text.as_str()) => {
                *left -= 1;
                true
            }
            _ => false,
        }
    }

    /// Whether a call is one too many.
    fn is_too_many(&self, call: &str) -> bool {
        if call.starts_with("GET ") && !self.asked().insert(call.to_owned()) {
            return false;
        }
        match &mut *self.left() {
            Some(0) => {
                self.hanging.store(true, Ordering::SeqCst);
                true
            }
            Some(left) => {
                *left -= 1;
                false
            }
            None => false,
        }
    }

    fn holds(&self, call: &str) -> bool {
        self.held()
            .as_ref()
            .is_some_and(|text| call.contains(text.as_str()))
    }

    fn delays(&self, call: &str) -> bool {
        self.delayed()
            .as_ref()
            .is_some_and(|text| call.contains(text.as_str()))
    }

    fn is_shut(&self) -> bool {
        self.shut.load(Ordering::SeqCst)
    }
}

async fn accept(listener: UnixListener, to: PathBuf, seen: Arc<Seen>) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        seen.calls().push("connect".to_owned());
        if !seen.is_shut() {
            connections.spawn(pass(client, to.clone(), seen.clone()));
        }
    }
}

async fn pass(client: UnixStream, to: PathBuf, seen: Arc<Seen>) {
    let Ok(docker) = UnixStream::connect(&to).await else {
        return;
    };
    let (mut from_client, to_client) = client.into_split();
    let to_client = tokio::sync::Mutex::new(to_client);
    let (mut from_docker, mut to_docker) = docker.into_split();
    let follows_events = AtomicBool::new(false);
    let upwards = async {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(count @ 1..) = from_client.read(&mut buffer).await {
            // A request begins a write of the client's: it sends one at a time.
            if let Some(call) = request_line(&buffer[..count]) {
                let held = seen.holds(&call);
                follows_events.store(call.contains("/events"), Ordering::SeqCst);
                seen.calls().push(call.clone());
                let is_too_many = seen.is_too_many(&call);
                if held || (is_too_many && !seen.pauses.load(Ordering::SeqCst)) {
                    std::future::pending::<()>().await;
                }
                while is_too_many && seen.left().is_some() {
                    tokio::time::sleep(LOOK_AGAIN).await;
                }
                while seen.delays(&call) {
                    tokio::time::sleep(LOOK_AGAIN).await;
                }
                if seen.refuses(&call) {
                    let answer = to_client.lock().await.write_all(REFUSAL).await;
                    if answer.is_err() {
                        return;
                    }
                    continue;
                }
            }
            if seen.is_shut() || to_docker.write_all(&buffer[..count]).await.is_err() {
                return;
            }
        }
        let _ = to_docker.shutdown().await;
        std::future::pending::<()>().await;
    };
    let downwards = async {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(count @ 1..) = from_docker.read(&mut buffer).await {
            if seen.muted.load(Ordering::SeqCst) && follows_events.load(Ordering::SeqCst) {
                continue;
            }
            while seen.hangs.load(Ordering::SeqCst) {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            let mut to_client = to_client.lock().await;
            if seen.is_shut() || to_client.write_all(&buffer[..count]).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = upwards => {}
        () = downwards => {}
    }
}

fn request_line(bytes: &[u8]) -> Option<String> {
    let line = bytes.split(|&byte| byte == b'\r').next()?;
    let line = std::str::from_utf8(line).ok()?;
    line.strip_suffix(" HTTP/1.1").map(str::to_owned)
}
