//! The keeper: one a host. It has the connections of the sandboxes that wait, and gives them away.

mod former;
mod kinds;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use corefn_build::{BuildError, image};
use corefn_core::config::Limits;
use corefn_core::host::{Host, Sandboxes};
use corefn_core::instance::InstanceId;
use corefn_core::names::{self, label};
use corefn_core::network::{Network, NetworkName};
use corefn_core::pool::{Pool, Size, Task};
use corefn_core::survey::SandboxCount;
use corefn_engine::clock;
use corefn_engine::docker::{Docker, OPEN_FILES, SANDBOX_FOLDER};
use corefn_engine::pauses::Pauses;
use corefn_engine::sandboxes::EXECUTABLES;
use corefn_engine::start::random_id;
use corefn_engine::store::Store;
use corefn_sandbox::INIT;
use corefn_sandbox::claim::{self, Kind, Request, Sandbox};
use corefn_sandbox::message::Connection;
use tokio::sync::{Notify, oneshot};
use tokio::task::spawn_local;
use tracing::{info, warn};

use crate::executables;
use crate::folder::Folder;
use crate::given;
use crate::make::{MakeError, Recipe, make};

/// How often it is looked whether there are too few, or too many.
const LOOK: Duration = Duration::from_secs(1);

/// How often it is looked what functions are deployed for, besides when the keeper is told of a function, and what
/// instances that have ended have left.
const LOOK_AROUND: Duration = Duration::from_secs(60);

/// How long nothing is made after the first of several claims: so many starts have the processors first.
const BURST: Duration = Duration::from_millis(150);

/// A claim is the first of several if there was none for so long.
const CALM: Duration = Duration::from_secs(1);

/// How long a claimer may take to say what it wants.
const PATIENCE: Duration = Duration::from_secs(5);

/// The keeper.
pub struct Keeper(Rc<Inner>);

struct Inner {
    docker: Docker,
    store: Store,
    folder: Folder,
    executables: executables::Store,
    image: String,
    sandboxes: Sandboxes,
    /// Those of the settings.
    networks: Vec<NetworkName>,
    kinds: RefCell<HashMap<Kind, Waiting>>,
    /// Notified when there may be something to make or to remove.
    changed: Notify,
    claims: Cell<Claims>,
    /// Whether a function may be deployed for a kind that is not kept yet.
    told_of_function: Cell<bool>,
}

/// When sandboxes were claimed.
#[derive(Debug, Clone, Copy, Default)]
struct Claims {
    /// The first of the last several.
    first: Option<Instant>,
    last: Option<Instant>,
}

impl Claims {
    /// There is one more at `now`.
    fn add(self, now: Instant) -> Self {
        let is_calm = self
            .last
            .is_none_or(|last| now.duration_since(last) >= CALM);
        Self {
            first: if is_calm { Some(now) } else { self.first },
            last: Some(now),
        }
    }

    /// For how long nothing is to be made.
    fn left(self, now: Instant) -> Duration {
        let since = self.first.map(|first| now.duration_since(first));
        since.map_or(Duration::ZERO, |since| BURST.saturating_sub(since))
    }
}

/// The sandboxes of a kind.
struct Waiting {
    /// The runtime in them, by name.
    runtime: Option<String>,
    pool: Pool<InstanceId>,
    sandboxes: HashMap<InstanceId, (Sandbox, oneshot::Sender<oneshot::Sender<Connection>>)>,
    pauses: Pauses,
    /// Nothing is made before this time, in milliseconds.
    not_before: u64,
}

impl Waiting {
    fn new(size: Size, runtime: Option<String>) -> Self {
        Self {
            runtime,
            pool: Pool::new(size),
            sandboxes: HashMap::new(),
            pauses: Pauses::of_service(),
            not_before: 0,
        }
    }
}

impl Keeper {
    /// The keeper of an installation, whose home the host of Docker knows as `home_on_host`.
    ///
    /// # Errors
    /// When the settings want no sandboxes, or there is a keeper already.
    pub fn open(
        home: &Path,
        home_on_host: &Path,
        host: &Host,
    ) -> Result<Self, Box<dyn std::error::Error>> {
        let Some(sandboxes) = &host.sandboxes else {
            let why = format!(
                "{} has no table [sandboxes]: no sandbox is kept",
                names::HOST_FILE
            );
            return Err(why.into());
        };
        let here = home.join(&sandboxes.folder);
        let on_host = home_on_host.join(&sandboxes.folder);
        let executables = executables::Store::new(&here.join(EXECUTABLES), sandboxes.executables);
        let folder = Folder::open(here, on_host)?;
        let image = corefn_sandbox::image(&host.namespace);
        let kinds = [Network::Outbound, Network::None].map(|network| {
            let kind = Kind {
                image: image.clone(),
                network: Some(network),
            };
            (kind, Waiting::new(sandboxes.size(), None))
        });
        Ok(Self(Rc::new(Inner {
            docker: Docker::new(&host.docker, &host.namespace),
            store: Store::new(&host.redis, &host.namespace)?,
            folder,
            executables,
            image,
            sandboxes: sandboxes.clone(),
            networks: host.networks.keys().copied().collect(),
            kinds: RefCell::new(kinds.into()),
            changed: Notify::new(),
            claims: Cell::default(),
            told_of_function: Cell::new(false),
        })))
    }

    /// Keeps sandboxes waiting, for ever. To be run within a [`tokio::task::LocalSet`].
    ///
    /// # Errors
    /// When nobody can claim.
    pub async fn keep(&self) -> io::Result<()> {
        let listener = self.0.folder.listen()?;
        let inner = self.0.clone();
        spawn_local(async move { inner.fill().await });
        loop {
            match listener.accept().await {
                Ok(claimer) => {
                    let inner = self.0.clone();
                    spawn_local(async move { inner.serve(claimer).await });
                }
                // Such as too many open files: those that end make room.
                Err(error) => {
                    warn!("nobody can claim a sandbox: {error}");
                    tokio::time::sleep(LOOK).await;
                }
            }
        }
    }
}

impl Inner {
    /// Answers somebody who wants a sandbox.
    async fn serve(self: Rc<Self>, claimer: Connection) {
        let wanted = tokio::time::timeout(PATIENCE, claim::wanted(&claimer)).await;
        let kind = match wanted {
            Ok(Ok(Request::Claim(kind))) => kind,
            Ok(Ok(Request::Fetch(wanted))) => {
                let _ = claim::answer(&claimer, None).await;
                self.told_of_function.set(true);
                self.changed.notify_one();
                return self.executables.fetch(&self.docker, wanted).await;
            }
            Ok(Ok(Request::Count)) => {
                let _ = claim::answer_count(&claimer, self.counts()).await;
                return;
            }
            // It has gone, or does not speak as we do.
            Ok(Err(_)) | Err(_) => return,
        };
        self.claims.set(self.claims.get().add(Instant::now()));
        let taken = self.take(&kind).await;
        self.changed.notify_one();
        let Some((sandbox, connection)) = taken else {
            let _ = claim::answer(&claimer, None).await;
            return;
        };
        // From here on nobody can connect to the keeper from within.
        if let Err(error) = self.folder.remove(sandbox.instance) {
            warn!(
                "the sandbox {} is not given away: {error}",
                sandbox.instance
            );
            self.end(&sandbox.container).await;
            return;
        }
        let Ok(socket) = connection.into_socket() else {
            self.end(&sandbox.container).await;
            return;
        };
        let answered = claim::answer(&claimer, Some((&sandbox, socket.as_fd()))).await;
        drop(socket);
        if answered.is_err() {
            // It has gone away, and the sandbox can't come back.
            self.end(&sandbox.container).await;
            return;
        }
        given::until_settled(&self.docker, &self.store, &sandbox.container).await;
    }

    /// How many wait of each kind, and should.
    fn counts(&self) -> Vec<SandboxCount> {
        let mut kinds = self.kinds.borrow_mut();
        let counts = kinds.iter_mut().map(|(kind, waiting)| SandboxCount {
            runtime: waiting.runtime.clone(),
            network: kind.network,
            waiting: waiting.pool.waiting(),
            wanted: waiting.pool.target(clock::now()),
        });
        let mut counts: Vec<_> = counts.collect();
        counts.sort_by(|a, b| (&a.runtime, a.network).cmp(&(&b.runtime, b.network)));
        counts
    }

    /// Takes a sandbox that waits.
    async fn take(&self, kind: &Kind) -> Option<(Sandbox, Connection)> {
        loop {
            let (sandbox, sender) = {
                let mut kinds = self.kinds.borrow_mut();
                let waiting = kinds.get_mut(kind)?;
                let id = waiting.pool.claim(clock::now())?;
                waiting.sandboxes.remove(&id)?
            };
            let (give, given) = oneshot::channel();
            // One that has just died is passed over.
            if sender.send(give).is_ok()
                && let Ok(connection) = given.await
            {
                return Some((sandbox, connection));
            }
        }
    }

    /// Makes sandboxes where there are too few, and removes those that are too many.
    async fn fill(self: Rc<Self>) {
        let mut pauses = Pauses::of_service();
        while let Err(why) = self.begin().await {
            warn!("no sandbox waits: {why}");
            tokio::time::sleep(pauses.grow()).await;
        }
        let mut looked = Instant::now();
        loop {
            let is_time = looked.elapsed() >= LOOK_AROUND;
            if self.told_of_function.take() || is_time {
                self.look_for_kinds().await;
            }
            if is_time {
                looked = Instant::now();
                self.tidy_up().await;
            }
            let kinds: Vec<Kind> = self.kinds.borrow().keys().cloned().collect();
            for kind in kinds {
                self.look_after(&kind).await;
            }
            let _ = tokio::time::timeout(LOOK, self.changed.notified()).await;
            tokio::time::sleep(self.claims.get().left(Instant::now())).await;
        }
    }

    /// Sees to it that there is the image, and takes over what a former keeper has left.
    async fn begin(self: &Rc<Self>) -> Result<(), MakeError> {
        if !self.has_image().await? {
            self.make_image().await?;
        }
        for kind in self.wanted().await? {
            self.keep(&kind).await;
        }
        self.take_over().await?;
        self.tidy_up().await;
        Ok(())
    }

    /// Makes or removes what there is to make or to remove of a kind.
    async fn look_after(self: &Rc<Self>, kind: &Kind) {
        let task = {
            let mut kinds = self.kinds.borrow_mut();
            let Some(waiting) = kinds.get_mut(kind) else {
                return;
            };
            if clock::now() < waiting.not_before {
                return;
            }
            waiting.pool.task(clock::now())
        };
        match task {
            Task::Make(more) => {
                for _ in 0..more {
                    let (inner, kind) = (self.clone(), kind.clone());
                    spawn_local(async move { inner.make(kind).await });
                }
            }
            Task::Remove(ids) => {
                for id in ids {
                    let removed = {
                        let mut kinds = self.kinds.borrow_mut();
                        kinds
                            .get_mut(kind)
                            .and_then(|waiting| waiting.sandboxes.remove(&id))
                    };
                    if let Some((sandbox, _)) = removed {
                        self.give_up(id, &sandbox.container).await;
                    }
                }
            }
            Task::Nothing => {}
        }
    }

    /// Makes one.
    async fn make(self: Rc<Self>, kind: Kind) {
        let made = match random_id() {
            Err(failure) => Err((failure.detail, None)),
            Ok(id) => {
                let recipe = Recipe {
                    image: &kind.image,
                    is_runtime: self.is_runtime(&kind),
                    version: &version(&kind),
                    network: kind.network,
                };
                let made = make(&self.docker, &self.store, &self.folder, recipe, id).await;
                made.map_err(|error| (error.to_string(), Some(id)))
            }
        };
        match made {
            Ok((sandbox, connection)) => {
                if let Some(waiting) = self.kinds.borrow_mut().get_mut(&kind) {
                    waiting.pauses.reset();
                }
                self.wait(&kind, sandbox, connection).await;
            }
            Err((why, id)) => {
                warn!("no new sandbox: {why}");
                if let Some(id) = id {
                    self.give_up_new(id).await;
                }
                let mut kinds = self.kinds.borrow_mut();
                if let Some(waiting) = kinds.get_mut(&kind) {
                    waiting.pool.failed();
                    let pause = waiting.pauses.grow().as_millis();
                    waiting.not_before = clock::now() + u64::try_from(pause).unwrap_or(u64::MAX);
                }
            }
        }
        self.changed.notify_one();
    }

    /// Has a sandbox wait until it is claimed, is too many, or dies.
    async fn wait(self: &Rc<Self>, kind: &Kind, sandbox: Sandbox, connection: Connection) {
        let (take, taken) = oneshot::channel::<oneshot::Sender<Connection>>();
        let (id, container) = (sandbox.instance, sandbox.container.clone());
        let is_kept = {
            let mut kinds = self.kinds.borrow_mut();
            kinds.get_mut(kind).map(|waiting| {
                waiting.pool.add(id);
                waiting.sandboxes.insert(id, (sandbox, take));
            })
        };
        if is_kept.is_none() {
            return self.give_up(id, &container).await;
        }
        let (inner, kind) = (self.clone(), kind.clone());
        spawn_local(async move {
            tokio::select! {
                taken = taken => {
                    if let Ok(give) = taken {
                        let _ = give.send(connection);
                    }
                }
                // It says nothing while it waits, so this is its end.
                _ = connection.receive(1) => {
                    let was_waiting = {
                        let mut kinds = inner.kinds.borrow_mut();
                        kinds.get_mut(&kind).is_some_and(|waiting| {
                            waiting.sandboxes.remove(&id);
                            waiting.pool.lose(&id)
                        })
                    };
                    if was_waiting {
                        warn!("the sandbox {id} has ended while it waited");
                        inner.give_up(id, &container).await;
                        inner.changed.notify_one();
                    }
                }
            }
        });
    }

    /// Removes a sandbox, its folder and its socket.
    async fn give_up(&self, id: InstanceId, container: &str) {
        self.give_up_all(id, Some(container)).await;
    }

    async fn give_up_all(&self, id: InstanceId, container: Option<&str>) {
        if let Err(error) = self.folder.remove(id) {
            warn!("the folder of the sandbox {id} is left: {error}");
        }
        if let Some(container) = container {
            self.end(container).await;
        }
        self.stop_serving(id);
    }

    /// Removes the sockets of instances that have ended.
    async fn tidy_up(&self) {
        // (A socket is made when its container is there.)
        let Ok(served) = self.folder.served() else {
            return;
        };
        let Ok(containers) = self.docker.containers().await else {
            return;
        };
        for id in served {
            let text = id.to_string();
            if !containers.iter().any(|found| found.name.contains(&text)) {
                self.stop_serving(id);
            }
        }
    }

    fn stop_serving(&self, id: InstanceId) {
        if let Err(error) = self.folder.stop_serving(id) {
            warn!("the socket of the sandbox {id} is left: {error}");
        }
    }

    /// Removes a container.
    async fn end(&self, container: &str) {
        if let Err(error) = self.docker.remove(container).await {
            warn!("{error}");
        }
    }

    /// Gives one up that was being made, whether there is a container already or not.
    async fn give_up_new(&self, id: InstanceId) {
        let name = names::sandbox(self.docker.namespace(), id);
        let all = self.docker.containers().await.unwrap_or_default();
        let made = all.iter().find(|container| container.name == name);
        let container = made.map(|container| container.id.as_str());
        self.give_up_all(id, container).await;
    }

    async fn has_image(&self) -> Result<bool, MakeError> {
        Ok(image::identifier(&self.docker, &self.image)
            .await?
            .is_some())
    }

    /// Makes the image of the program that waits.
    async fn make_image(&self) -> Result<(), MakeError> {
        let labels = [
            (label::NAMESPACE, self.docker.namespace()),
            (label::ROLE, label::ROLE_SANDBOX),
        ];
        let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let made = image::of_program(&self.docker, &self.image, &labels.into(), INIT).await;
        made.map_err(|error| match error {
            BuildError::Docker(error) => MakeError::Docker(error),
            error => MakeError::Io(io::Error::other(error)),
        })?;
        info!("made the image {}", self.image);
        Ok(())
    }
}

/// What tells of all that sandboxes of a kind are made of: those that were made otherwise are replaced.
fn version(kind: &Kind) -> String {
    let made_of = format!(
        "{SANDBOX_FOLDER} {:?} {OPEN_FILES} {}",
        Limits::default(),
        kind.image
    );
    corefn_sandbox::version(made_of.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_of_several_claims_holds_up() {
        let begin = Instant::now();
        let at = |millis| begin + Duration::from_millis(millis);
        let none = Claims::default();
        assert_eq!(none.left(at(0)), Duration::ZERO);
        let mut claims = none.add(at(0));
        assert_eq!(claims.left(at(50)), Duration::from_millis(100));
        // They go on and on, and what was taken is made up for meanwhile.
        for millis in (100..5_000).step_by(100) {
            claims = claims.add(at(millis));
        }
        assert_eq!(claims.left(at(160)), Duration::ZERO);
        assert_eq!(claims.left(at(5_000)), Duration::ZERO);
        let later = claims.add(at(6_000));
        assert_eq!(later.left(at(6_000)), BURST);
    }
}
