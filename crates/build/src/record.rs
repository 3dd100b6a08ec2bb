//! What Redis keeps of a build, for those who want to see it: how it stands, and the end of its log.
//!
//! Nothing goes by it, and a build waits for it only when it ends, and not for long.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use corefn_core::host::Host;
use corefn_core::keys::RUNNING_TTL;
use corefn_core::survey::{Build, BuildState};
use corefn_engine::store::Store;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::error::BuildError;
use crate::job::Job;
use crate::output::error_lines;
use crate::tail::Tail;

/// How often the log is written while the build prints something.
const OFTEN: Duration = Duration::from_secs(1);

/// How often it is while it prints nothing.
const SELDOM: Duration = Duration::from_secs(RUNNING_TTL.as_secs() / 3);

/// How long Redis may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// The record of a build that is under way.
pub(crate) struct Record {
    build: Build,
    begin: Instant,
    tail: Arc<Tail>,
    end: oneshot::Sender<Build>,
    keeping: JoinHandle<()>,
}

impl Record {
    /// Of a build that begins now.
    ///
    /// # Errors
    /// When the settings don't say where Redis is.
    pub fn begin(host: &Host, job: &Job) -> Result<Self, BuildError> {
        let store = Store::new(&host.redis, &host.namespace)?;
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let build = Build {
            repository: job.repository.clone(),
            revision: job.revision.clone(),
            account: job.account.clone(),
            began: millis(since.unwrap_or_default()),
            state: BuildState::Running,
            took_ms: None,
            error: None,
        };
        let tail = Arc::new(Tail::default());
        let (end, ended) = oneshot::channel();
        let keeping = tokio::spawn(keep(store, build.clone(), tail.clone(), ended));
        Ok(Self {
            build,
            begin: Instant::now(),
            tail,
            end,
            keeping,
        })
    }

    /// Where its log goes.
    pub fn tail(&self) -> Arc<Tail> {
        self.tail.clone()
    }

    /// It has ended so.
    pub async fn end(mut self, result: &Result<(), BuildError>) {
        self.build.took_ms = Some(millis(self.begin.elapsed()));
        self.build.state = BuildState::Deployed;
        if let Err(error) = result {
            self.build.state = BuildState::Rejected;
            self.build.error = error.to_string().lines().next().map(str::to_owned);
            for line in error_lines(error) {
                self.tail.add(format!("{line}\n").as_bytes());
            }
        }
        let _ = self.end.send(self.build);
        let _ = self.keeping.await;
    }
}

/// Keeps a build until it has ended, or nobody is at it any more.
async fn keep(store: Store, build: Build, tail: Arc<Tail>, mut ended: oneshot::Receiver<Build>) {
    write(&store, &build, tail.text(true)).await;
    let mut written = Instant::now();
    loop {
        match tokio::time::timeout(OFTEN, &mut ended).await {
            Ok(Ok(build)) => return write(&store, &build, tail.text(true)).await,
            Ok(Err(_)) => return,
            Err(_) => {}
        }
        if let Some(log) = tail.text(written.elapsed() >= SELDOM) {
            let _ = store.within(PATIENCE, store.keep_log(&build, &log)).await;
            written = Instant::now();
        }
    }
}

/// (Without its log, it would be taken for one that nobody is at any more.)
async fn write(store: &Store, build: &Build, log: Option<String>) {
    let both = async {
        store
            .keep_log(build, log.as_deref().unwrap_or_default())
            .await?;
        store.keep_build(build).await
    };
    let _ = store.within(PATIENCE, both).await;
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
