//! Redis: the index of what is deployed and the truth about what runs.
//!
//! Each change is one Lua script, so that nobody ever sees half of it, and each may be sent twice
//! without harm: a connection that broke in the middle is tried once more. The keys are described
//! in [`corefn_core::keys`].

mod events;
mod scripts;

use std::time::Duration;

use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Client, FromRedisValue, RedisError, ScriptInvocation};

use corefn_core::event::Event;
use corefn_core::function::{Deployment, FunctionName};
use corefn_core::instance::{Instance, InstanceId};
use corefn_core::keys::{Keys, START_LOCK_TTL};
use corefn_core::route::Route;

use scripts::Scripts;

/// How long Redis may take to accept a connection, and to answer a command.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);

/// One installation's keys in a Redis.
pub struct Store {
    url: String,
    client: Client,
    connection: ConnectionManager,
    keys: Keys,
    scripts: Scripts,
}

/// What Redis could not do.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The URL is none.
    #[error("{url:?} names no Redis ({cause}): write redis://host:port/db or unix:///path")]
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
}

/// An instance as Redis has it.
#[derive(Debug, Clone)]
pub struct Leased {
    /// The instance.
    pub instance: Instance,
    /// How long its lease lasts, if it has one.
    pub lease: Option<Duration>,
    /// Whether it may get work; one that may not is draining.
    pub ready: bool,
}

/// What became of a renewal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renewed {
    /// The lease lasts for the time asked for.
    Yes,
    /// The instance is draining: it must not get work any more.
    Draining,
    /// Redis doesn't know the instance.
    Unknown,
}

/// What became of a fence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fenced {
    /// Nobody will send it work any more.
    Yes,
    /// Somebody holds a lease on it.
    Leased,
}

impl Store {
    /// Names a Redis. Does no IO; connections are made, and made again, as they are needed.
    ///
    /// # Errors
    /// [`StoreError::Url`] when `url` can't be read.
    pub fn new(url: &str, namespace: &str) -> Result<Self, StoreError> {
        let client = open(url)?;
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(ANSWER_TIMEOUT))
            .set_number_of_retries(0);
        let connection =
            ConnectionManager::new_lazy_with_config(client.clone(), config).map_err(|cause| {
                StoreError::Url {
                    url: url.to_owned(),
                    cause,
                }
            })?;
        Ok(Self {
            url: url.to_owned(),
            client,
            connection,
            keys: Keys::new(namespace),
            scripts: Scripts::default(),
        })
    }

    /// Checks that a URL names a Redis. Does no IO.
    ///
    /// # Errors
    /// [`StoreError::Url`] when it doesn't.
    pub fn check_url(url: &str) -> Result<(), StoreError> {
        open(url).map(|_| ())
    }

    /// Checks that Redis answers.
    ///
    /// # Errors
    /// [`StoreError::Failed`] when it doesn't.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.command(&redis::cmd("PING")).await
    }

    /// The installation's keys.
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// Whether Redis has an index: it was filled once and not emptied since.
    ///
    /// # Errors
    /// [`StoreError`], as everything below.
    pub async fn has_index(&self) -> Result<bool, StoreError> {
        self.command(redis::cmd("EXISTS").arg(self.keys.epoch()))
            .await
    }

    /// Notes that the index is complete.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn set_index(&self, epoch: &str) -> Result<(), StoreError> {
        self.command(redis::cmd("SET").arg(self.keys.epoch()).arg(epoch))
            .await
    }

    /// Deploys a revision: the function, its routes, and the news of it.
    ///
    /// # Errors
    /// [`StoreError::Claimed`] when another function has one of the routes; nothing is changed.
    pub async fn deploy(&self, deployment: &Deployment) -> Result<(), StoreError> {
        let event = Event::Deployed {
            deployment: deployment.clone(),
        };
        let mut script = self.scripts.deploy.prepare_invoke();
        script
            .key(self.keys.functions())
            .key(self.keys.routes())
            .key(self.keys.events())
            .arg(deployment.function.as_str())
            .arg(json(deployment))
            .arg(json(&event))
            .arg(Route::of(&deployment.function).to_string());
        for route in &deployment.config.routes {
            script.arg(route.to_string());
        }
        match self.invoke::<Vec<String>>(&script).await?.as_slice() {
            [route, owner] => Err(StoreError::Claimed {
                route: route.clone(),
                owner: owner.clone(),
            }),
            _ => Ok(()),
        }
    }

    /// Removes a function and its routes. Its instances are left to the caller. Returns whether it
    /// was there.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn remove(&self, function: &FunctionName) -> Result<bool, StoreError> {
        let event = Event::Removed {
            function: function.clone(),
        };
        let mut script = self.scripts.remove.prepare_invoke();
        script
            .key(self.keys.functions())
            .key(self.keys.routes())
            .key(self.keys.events())
            .arg(function.as_str())
            .arg(json(&event));
        self.invoke(&script).await
    }

    /// Everything that is deployed.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn deployments(&self) -> Result<Vec<Deployment>, StoreError> {
        let key = self.keys.functions();
        let values: Vec<String> = self.command(redis::cmd("HVALS").arg(&key)).await?;
        values.iter().map(|text| read(&key, text)).collect()
    }

    /// Those of `routes` that other functions than `by` have, with their owners.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn claimed(
        &self,
        routes: &[Route],
        by: &FunctionName,
    ) -> Result<Vec<(Route, String)>, StoreError> {
        if routes.is_empty() {
            return Ok(Vec::new());
        }
        let mut command = redis::cmd("HMGET");
        command.arg(self.keys.routes());
        for route in routes {
            command.arg(route.to_string());
        }
        let owners: Vec<Option<String>> = self.command(&command).await?;
        Ok(routes
            .iter()
            .zip(owners)
            .filter_map(|(route, owner)| Some((route.clone(), owner?)))
            .filter(|(_, owner)| owner != by.as_str())
            .collect())
    }

    /// Everything that runs, and its leases.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn instances(&self) -> Result<Vec<Leased>, StoreError> {
        let key = self.keys.instances();
        let values: Vec<String> = self.command(redis::cmd("HVALS").arg(&key)).await?;
        if values.is_empty() {
            return Ok(Vec::new());
        }
        let instances: Vec<Instance> = values
            .iter()
            .map(|text| read(&key, text))
            .collect::<Result<_, _>>()?;
        let mut pipeline = redis::pipe();
        for instance in &instances {
            pipeline.cmd("PTTL").arg(self.keys.lease(instance.id));
            pipeline
                .cmd("SISMEMBER")
                .arg(self.keys.ready(&instance.function))
                .arg(instance.id.to_string());
        }
        let states: Vec<i64> = self.pipeline(&pipeline).await?;
        Ok(instances
            .into_iter()
            .zip(states.chunks(2))
            .map(|(instance, state)| Leased {
                instance,
                lease: u64::try_from(state[0]).ok().map(Duration::from_millis),
                ready: state[1] == 1,
            })
            .collect())
    }

    /// Whether an instance is registered.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn knows(&self, id: InstanceId) -> Result<bool, StoreError> {
        let mut command = redis::cmd("HEXISTS");
        command.arg(self.keys.instances()).arg(id.to_string());
        self.command(&command).await
    }

    /// How long Redis has been up, to the second.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn uptime(&self) -> Result<Duration, StoreError> {
        let info: String = self.command(redis::cmd("INFO").arg("server")).await?;
        let seconds = info
            .lines()
            .find_map(|line| line.strip_prefix("uptime_in_seconds:")?.trim().parse().ok())
            .unwrap_or(0);
        Ok(Duration::from_secs(seconds))
    }

    /// Leases any ready instance of a deployment for `idle`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn lease_any(
        &self,
        deployment: &Deployment,
        idle: Duration,
    ) -> Result<Option<Instance>, StoreError> {
        let key = self.keys.instances();
        let mut script = self.scripts.lease_any.prepare_invoke();
        script
            .key(self.keys.ready(&deployment.function))
            .key(&key)
            .arg(&deployment.revision.0)
            .arg(millis(idle))
            .arg(self.keys.lease_prefix());
        let found: Option<String> = self.invoke(&script).await?;
        found.map(|text| read(&key, &text)).transpose()
    }

    /// Renews leases, each for its own time.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn renew(
        &self,
        renewals: &[(InstanceId, FunctionName, Duration)],
    ) -> Result<Vec<Renewed>, StoreError> {
        let mut script = self.scripts.renew.prepare_invoke();
        script.key(self.keys.instances());
        for (id, function, ttl) in renewals {
            script
                .key(self.keys.ready(function))
                .key(self.keys.lease(*id))
                .arg(id.to_string())
                .arg(millis(*ttl));
        }
        let answers: Vec<i64> = self.invoke(&script).await?;
        Ok(answers
            .into_iter()
            .map(|answer| match answer {
                1 => Renewed::Yes,
                0 => Renewed::Draining,
                _ => Renewed::Unknown,
            })
            .collect())
    }

    /// Takes the starter's lock of a function. Returns whether `token` holds it now.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn lock(&self, function: &FunctionName, token: &str) -> Result<bool, StoreError> {
        self.take(&self.keys.start_lock(function), token).await
    }

    /// Takes the lock of whoever rebuilds the index.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn lock_rebuild(&self, token: &str) -> Result<bool, StoreError> {
        self.take(&self.keys.rebuild_lock(), token).await
    }

    /// Whether a start of the function is under way.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn is_starting(&self, function: &FunctionName) -> Result<bool, StoreError> {
        self.command(redis::cmd("EXISTS").arg(self.keys.start_lock(function)))
            .await
    }

    /// Gives the starter's lock back after a failure, and tells those who wait for the start.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn unlock(
        &self,
        function: &FunctionName,
        token: &str,
        failure: &corefn_core::error::Failure,
    ) -> Result<(), StoreError> {
        let event = Event::Failed {
            function: function.clone(),
            failure: failure.clone(),
        };
        let mut script = self.scripts.unlock.prepare_invoke();
        script
            .key(self.keys.start_lock(function))
            .key(self.keys.events())
            .arg(token)
            .arg(json(&event));
        self.invoke(&script).await
    }

    /// Makes an instance known, leased for `idle`, and gives the starter's lock back. With a
    /// token, only if it holds the lock; returns false if it doesn't, and nothing is changed.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn register(
        &self,
        instance: &Instance,
        token: Option<&str>,
        idle: Duration,
    ) -> Result<bool, StoreError> {
        let event = Event::Ready {
            instance: instance.clone(),
            lease_ms: millis(idle),
        };
        let mut script = self.scripts.register.prepare_invoke();
        script
            .key(self.keys.instances())
            .key(self.keys.ready(&instance.function))
            .key(self.keys.lease(instance.id))
            .key(self.keys.start_lock(&instance.function))
            .key(self.keys.events())
            .arg(instance.id.to_string())
            .arg(json(instance))
            .arg(millis(idle))
            .arg(token.unwrap_or_default())
            .arg(json(&event));
        self.invoke(&script).await
    }

    /// Fences an instance for stopping, if nobody holds a lease on it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn fence(&self, instance: &Instance) -> Result<Fenced, StoreError> {
        let fenced: bool = self
            .invoke(&self.end_script(&self.scripts.fence, instance))
            .await?;
        Ok(if fenced { Fenced::Yes } else { Fenced::Leased })
    }

    /// Fences an instance whether it is leased or not.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn drain(&self, instance: &Instance) -> Result<(), StoreError> {
        self.invoke(&self.end_script(&self.scripts.drain, instance))
            .await
    }

    /// Forgets an instance that is no more.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn forget(&self, id: InstanceId, function: &FunctionName) -> Result<(), StoreError> {
        self.invoke(&self.end_script_of(&self.scripts.forget, id, function))
            .await
    }

    /// Counts the containers that were given an address; the result says which is the next one's.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn next_turn(&self) -> Result<u64, StoreError> {
        self.command(redis::cmd("INCR").arg(self.keys.address_cursor()))
            .await
    }

    async fn take(&self, key: &str, token: &str) -> Result<bool, StoreError> {
        let mut script = self.scripts.lock.prepare_invoke();
        script.key(key).arg(token).arg(millis(START_LOCK_TTL));
        self.invoke(&script).await
    }

    fn end_script<'a>(
        &self,
        script: &'a redis::Script,
        instance: &Instance,
    ) -> ScriptInvocation<'a> {
        self.end_script_of(script, instance.id, &instance.function)
    }

    /// The scripts that end an instance take the same keys and arguments.
    fn end_script_of<'a>(
        &self,
        script: &'a redis::Script,
        id: InstanceId,
        function: &FunctionName,
    ) -> ScriptInvocation<'a> {
        let event = Event::Gone {
            id,
            function: function.clone(),
        };
        let mut script = script.prepare_invoke();
        script
            .key(self.keys.instances())
            .key(self.keys.ready(function))
            .key(self.keys.lease(id))
            .key(self.keys.events())
            .arg(id.to_string())
            .arg(json(&event));
        script
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

    /// Does it, and once more if the connection turns out to be broken: it may have been for long,
    /// and the manager only finds out by using it.
    async fn twice<T, F: Future<Output = Result<T, RedisError>>>(
        &self,
        attempt: impl Fn(ConnectionManager) -> F,
    ) -> Result<T, StoreError> {
        let mut answer = attempt(self.connection.clone()).await;
        if answer
            .as_ref()
            .is_err_and(RedisError::is_connection_dropped)
        {
            answer = attempt(self.connection.clone()).await;
        }
        answer.map_err(|cause| self.failed(cause))
    }

    fn failed(&self, cause: RedisError) -> StoreError {
        StoreError::Failed {
            url: self.url.clone(),
            cause,
        }
    }
}

fn open(url: &str) -> Result<Client, StoreError> {
    Client::open(url).map_err(|cause| StoreError::Url {
        url: url.to_owned(),
        cause,
    })
}

fn millis(duration: Duration) -> u64 {
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
