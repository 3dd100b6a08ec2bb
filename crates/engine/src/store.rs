//! Redis: the index of what is deployed and the truth about what runs.
//!
//! Each change is one Lua script, so that nobody ever sees half of it, and each may be sent twice
//! without harm: a connection that broke in the middle is tried once more. The keys are described
//! in [`corefn_core::keys`].

mod deployments;
mod events;
mod facts;
mod instances;
mod invocations;
mod leases;
mod locks;
mod queues;
mod records;
mod schedules;
mod scripts;
mod servers;
mod starts;
mod tls;

use std::time::{Duration, SystemTime};

use redis::aio::ConnectionManager;
use redis::{FromRedisValue, RedisError, ScriptInvocation};

use corefn_core::keys::{Keys, PULSE_TTL, WATCH_TTL};

use scripts::Scripts;
use servers::{Servers, without_passwords};

pub use facts::Facts;
pub use instances::{Fenced, Leased, Standing};
pub use invocations::{Depth, Listed};
pub use leases::Renewed;
pub use queues::Taken;
pub use starts::{Claim, Way};

/// How long Redis may take to accept a connection, and to answer a command.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);

/// One installation's keys in a Redis.
pub struct Store {
    url: String,
    servers: Servers,
    keys: Keys,
    scripts: Scripts,
}

/// What Redis could not do.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The URL is none.
    #[error(
        "{url:?} names no Redis ({cause}): write redis://host:port/db, rediss://host:port/db for TLS, or unix:///path"
    )]
    Url {
        /// What was given.
        url: String,
        /// What is wrong with it.
        cause: RedisError,
    },
    /// It doesn't answer, or with an error.
    #[error("Redis at {url} can't be used ({cause}): start it, or correct the redis setting")]
    Failed {
        /// Where it should be.
        url: String,
        /// What went wrong.
        cause: RedisError,
    },
    /// A value is not what CoreFn writes.
    #[error(
        "Redis key {key} holds what CoreFn can't read ({cause}): delete the key; it is rebuilt from Docker"
    )]
    Value {
        /// Which key.
        key: String,
        /// What is wrong with it.
        cause: serde_json::Error,
    },
    /// Another function has one of the routes.
    #[error(
        "the route {route} belongs to the function {owner}: take it out of one of the two manifests"
    )]
    Claimed {
        /// The route.
        route: String,
        /// Who has it.
        owner: String,
    },
    /// The first instance of a revision is not claimed any more.
    #[error(
        "Redis has lost its note of the instance that was started, or was out of reach for too long: push again"
    )]
    Lapsed,
}

impl Store {
    /// Names a Redis, or several, separated by spaces: then the first that answers as a master is
    /// used, and the next when that is gone or no master any more. Reads the files that URLs name, and does no other IO; connections are
    /// made, and made again, as they are needed.
    ///
    /// # Errors
    /// [`StoreError::Url`] when `url` can't be read.
    pub fn new(url: &str, namespace: &str) -> Result<Self, StoreError> {
        Ok(Self {
            url: without_passwords(url),
            servers: Servers::open(url)?,
            keys: Keys::new(namespace),
            scripts: Scripts::default(),
        })
    }

    /// Checks that a URL names a Redis. Reads the files that it names, and does no other IO.
    ///
    /// # Errors
    /// [`StoreError::Url`] when it doesn't.
    pub fn check_url(url: &str) -> Result<(), StoreError> {
        Servers::open(url).map(|_| ())
    }

    /// The installation's keys.
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// Sees whether Redis takes writes, as renewals of leases are.
    ///
    /// # Errors
    /// [`StoreError`] when it doesn't, for whatever reason.
    pub async fn pulse(&self) -> Result<(), StoreError> {
        let mut command = redis::cmd("SET");
        let ttl = millis(PULSE_TTL);
        command.arg(self.keys.pulse()).arg(1).arg("PX").arg(ttl);
        self.command(&command).await
    }

    /// Begins to watch Redis, under a token of the watcher's own.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn begin_watch(&self, token: &str) -> Result<(), StoreError> {
        let mut command = redis::cmd("SET");
        command.arg(self.keys.watch(token)).arg(1);
        self.command(command.arg("PX").arg(millis(WATCH_TTL))).await
    }

    /// Goes on watching Redis. False if the watch has lapsed: Redis has hung, or whoever watches has. While Redis hangs,
    /// leases end, and nobody can renew them.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn watch(&self, token: &str) -> Result<bool, StoreError> {
        let mut command = redis::cmd("SET");
        command.arg(self.keys.watch(token)).arg(1).arg("XX");
        let answer: Option<String> = self
            .command(command.arg("PX").arg(millis(WATCH_TTL)))
            .await?;
        Ok(answer.is_some())
    }

    /// When this run of Redis began, or up to 2 s before that: Docker and Redis tell times to the second. What Docker has made
    /// before, a Redis that comes back as it was before may not know.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn began(&self) -> Result<SystemTime, StoreError> {
        let (_, uptime) = self.run().await?;
        Ok(SystemTime::now() - uptime - Duration::from_secs(2))
    }

    /// Which run of Redis this is, and how long it has been up by the wall clock, to the second.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn run(&self) -> Result<(String, Duration), StoreError> {
        let info: String = self.command(redis::cmd("INFO").arg("server")).await?;
        let of = |name| facts::field(&info, name).unwrap_or_default();
        let seconds = of("uptime_in_seconds").parse().unwrap_or(0);
        Ok((of("run_id").to_owned(), Duration::from_secs(seconds)))
    }

    async fn command<T: FromRedisValue>(&self, command: &redis::Cmd) -> Result<T, StoreError> {
        self.twice(|mut connection| async move { command.query_async(&mut connection).await })
            .await
    }

    async fn pipeline<T: FromRedisValue>(
        &self,
        pipeline: &redis::Pipeline,
    ) -> Result<T, StoreError> {
        self.twice(|mut connection| async move { pipeline.query_async(&mut connection).await })
            .await
    }

    async fn invoke<T: FromRedisValue>(
        &self,
        script: &ScriptInvocation<'_>,
    ) -> Result<T, StoreError> {
        self.twice(|mut connection| async move { script.invoke_async(&mut connection).await })
            .await
    }

    /// Does it, and once more if the connection turns out to be broken, for it may have been for
    /// long and the manager only finds out by using it, or if another server may be the master.
    async fn twice<T, F: Future<Output = Result<T, RedisError>>>(
        &self,
        attempt: impl Fn(ConnectionManager) -> F,
    ) -> Result<T, StoreError> {
        let connect = async || {
            let connection = self.servers.connection().await;
            connection.map_err(|cause| self.failed(cause))
        };
        let answer = attempt(connect().await?).await;
        let Err(cause) = answer else {
            return answer.map_err(|cause| self.failed(cause));
        };
        if self.servers.may_other(&cause) {
            self.servers.look_for_master().await;
        } else if !cause.is_connection_dropped() {
            return Err(self.failed(cause));
        }
        let again = attempt(connect().await?).await;
        again.map_err(|cause| self.failed(cause))
    }

    /// Does it, or gives up after `patience`, where that is shorter than usual.
    ///
    /// # Errors
    /// [`StoreError::Failed`], and those of `work`.
    pub async fn within<T>(
        &self,
        patience: Duration,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        match tokio::time::timeout(patience, work).await {
            Ok(done) => done,
            Err(_) => Err(self.failed(std::io::Error::from(std::io::ErrorKind::TimedOut).into())),
        }
    }

    fn failed(&self, cause: RedisError) -> StoreError {
        StoreError::Failed {
            url: self.url.clone(),
            cause,
        }
    }
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// JSON of one of our own types, which always has one.
fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

fn read<T: serde::de::DeserializeOwned>(key: &str, text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|cause| StoreError::Value {
        key: key.to_owned(),
        cause,
    })
}
