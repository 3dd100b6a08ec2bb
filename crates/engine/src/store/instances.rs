//! What runs.

use std::time::Duration;

use redis::ScriptInvocation;

use corefn_core::deployment::Deployment;
use corefn_core::event::Event;
use corefn_core::function::FunctionName;
use corefn_core::instance::{Instance, InstanceId};
use corefn_core::keys::Keys;
use corefn_core::lease::DRAINING_LEASE;

use super::{Store, StoreError, json, millis, read, starts};

/// An instance as Redis has it.
#[derive(Debug, Clone)]
pub struct Leased {
    /// The instance.
    pub instance: Instance,
    /// How long its lease lasts, if it has one.
    pub lease: Option<Duration>,
    /// Whether the lease lasts for longer than it was given for: Redis' clock was put back.
    pub overlong: bool,
    /// Whether it may get work; one that may not, and is not frozen, is draining.
    pub ready: bool,
    /// Whether it is frozen, and may be thawed.
    pub frozen: bool,
    /// Whether it is frozen, or about to be, and is not to be stopped yet.
    pub kept: bool,
}

/// What Redis says of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It may get work.
    Ready,
    /// It is frozen, or about to be.
    Frozen,
    /// It gets no more work.
    Draining,
    /// It is being started or thawed, or is no more.
    Unknown,
}

/// What became of a fence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fenced {
    /// Nobody will send it work any more.
    Yes,
    /// Nobody will before it is thawed, and that can be only after [`Store::keep`]. It is to be frozen.
    ForFreezing,
    /// Somebody holds a lease on it, it stands by, or it is not registered any more.
    Leased,
    /// Nobody does, but the watch has lapsed: whoever held one may not have been able to renew it.
    Unwatched,
}

impl Store {
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
            pipeline.cmd("GET").arg(self.keys.lease(instance.id));
            pipeline
                .cmd("SISMEMBER")
                .arg(self.keys.frozen(&instance.function))
                .arg(instance.id.to_string());
            pipeline.cmd("EXISTS").arg(self.keys.kept(instance.id));
        }
        let states: Vec<Option<i64>> = self.pipeline(&pipeline).await?;
        Ok(instances
            .into_iter()
            .zip(states.chunks(5))
            .map(|(instance, state)| Leased {
                instance,
                lease: state[0]
                    .and_then(|left| u64::try_from(left).ok())
                    .map(Duration::from_millis),
                ready: state[1] == Some(1),
                overlong: state[2].is_some_and(|granted| state[0] > Some(granted)),
                frozen: state[3] == Some(1),
                kept: state[4] == Some(1),
            })
            .collect())
    }

    /// How many instances of a deployment may get work, or are frozen or about to be; nothing if Redis was emptied, and what
    /// runs is yet to be found.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn count_standing(&self, deployment: &Deployment) -> Result<Option<u32>, StoreError> {
        let key = self.keys.instances();
        let mut pipeline = redis::pipe();
        pipeline.atomic();
        pipeline.cmd("EXISTS").arg(self.keys.epoch());
        pipeline.cmd("HVALS").arg(&key);
        let (is_complete, values): (bool, Vec<String>) = self.pipeline(&pipeline).await?;
        if !is_complete {
            return Ok(None);
        }
        let mut count = 0;
        for text in values {
            let instance: Instance = read(&key, &text)?;
            if instance.function == deployment.function && instance.revision == deployment.revision
            {
                let standing = self.standing(instance.id, &instance.function).await?;
                count += u32::from(matches!(standing, Standing::Ready | Standing::Frozen));
            }
        }
        Ok(Some(count))
    }

    /// How many instances of a deployment may get work.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn count(&self, deployment: &Deployment) -> Result<u32, StoreError> {
        let key = self.keys.instances();
        let ready = self.keys.ready(&deployment.function);
        let ids: Vec<String> = self.command(redis::cmd("SMEMBERS").arg(ready)).await?;
        if ids.is_empty() {
            return Ok(0);
        }
        let mut command = redis::cmd("HMGET");
        command.arg(&key).arg(ids);
        let found: Vec<Option<String>> = self.command(&command).await?;
        let mut count = 0;
        for text in found.into_iter().flatten() {
            let instance: Instance = read(&key, &text)?;
            count += u32::from(instance.revision == deployment.revision);
        }
        Ok(count)
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

    /// What is said of an instance, all at one moment.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn standing(
        &self,
        id: InstanceId,
        function: &FunctionName,
    ) -> Result<Standing, StoreError> {
        let member = id.to_string();
        let mut pipeline = redis::pipe();
        pipeline.atomic();
        let sets = [self.keys.ready(function), self.keys.frozen(function)];
        for set in sets {
            pipeline.cmd("SISMEMBER").arg(set).arg(&member);
        }
        pipeline.cmd("EXISTS").arg(self.keys.kept(id));
        let instances = self.keys.instances();
        pipeline.cmd("HEXISTS").arg(instances).arg(&member);
        let (ready, frozen, kept, known): (bool, bool, bool, bool) =
            self.pipeline(&pipeline).await?;
        Ok(match known {
            _ if ready => Standing::Ready,
            _ if frozen || kept => Standing::Frozen,
            true => Standing::Draining,
            false => Standing::Unknown,
        })
    }

    /// Makes an instance known, leased for `idle`, and gives the starter's lock and permit back.
    /// With a token, only if it holds the lock; returns false if it doesn't, and nothing is changed.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn register(
        &self,
        instance: &Instance,
        token: Option<&str>,
        idle: Duration,
    ) -> Result<bool, StoreError> {
        self.register_as(instance, token, idle, false).await
    }

    /// The same of one that was frozen before, by whoever has thawed it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn register_thawed(
        &self,
        instance: &Instance,
        token: &str,
        idle: Duration,
    ) -> Result<bool, StoreError> {
        self.register_as(instance, Some(token), idle, true).await
    }

    async fn register_as(
        &self,
        instance: &Instance,
        token: Option<&str>,
        idle: Duration,
        thawed: bool,
    ) -> Result<bool, StoreError> {
        let event = Event::Ready {
            instance: instance.clone(),
            lease_ms: millis(idle),
            thawed,
        };
        let mut script = self.scripts.register.prepare_invoke();
        script
            .key(self.keys.instances())
            .key(self.keys.ready(&instance.function))
            .key(self.keys.lease(instance.id))
            .key(self.keys.start_lock(&instance.function, &instance.revision))
            .key(self.keys.events())
            .key(self.keys.starting())
            .key(self.keys.waiting())
            .key(self.keys.failures(&instance.function))
            .key(self.keys.pause(&instance.function))
            .key(self.keys.young(instance.id))
            .arg(instance.id.to_string())
            .arg(json(instance))
            .arg(millis(idle))
            .arg(token.unwrap_or_default())
            .arg(json(&event))
            .arg(Keys::start(&instance.function, &instance.revision))
            .arg(&instance.revision.0)
            .arg(starts::quick())
            .arg(self.keys.turn_prefix())
            .arg(starts::turn(&instance.function, &instance.revision));
        self.invoke(&script).await
    }

    /// Makes a paused instance known. If it is to be `kept` for a time it is frozen, else it is draining.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn register_paused(
        &self,
        instance: &Instance,
        kept: Option<Duration>,
    ) -> Result<(), StoreError> {
        let id = instance.id.to_string();
        let mut pipeline = redis::pipe();
        pipeline.atomic();
        let instances = self.keys.instances();
        let set = pipeline.cmd("HSET").arg(instances).arg(&id);
        set.arg(json(instance)).ignore();
        if let Some(kept) = kept {
            let until = self.keys.kept(instance.id);
            let set = pipeline.cmd("SET").arg(until).arg(1).arg("PX");
            set.arg(millis(kept)).ignore();
            let frozen = self.keys.frozen(&instance.function);
            pipeline.cmd("SADD").arg(frozen).arg(&id).ignore();
        }
        self.pipeline(&pipeline).await
    }

    /// Has nobody send an instance work any more. Who holds some may finish it: the lease lasts
    /// for as long as it is renewed.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn withhold(
        &self,
        id: InstanceId,
        function: &FunctionName,
    ) -> Result<(), StoreError> {
        let mut script = self.end_script_of(&self.scripts.withhold, id, function);
        script.arg(millis(DRAINING_LEASE));
        self.invoke(&script).await
    }

    /// Fences an instance for stopping, if nobody holds a lease on it, and has not lost one because Redis hung: whoever
    /// has begun to watch under the token ([`Store::begin_watch`]) would know.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn fence(&self, instance: &Instance, token: &str) -> Result<Fenced, StoreError> {
        let script = self.fence_script(instance, token);
        Ok(Fenced::of(self.invoke(&script).await?))
    }

    /// The same, unless without it fewer would stand by than its function wants: then it is leased anew, or kept frozen. It is
    /// fenced for freezing if it is of a revision that is deployed and whose instances are frozen, and kept so until its idle time
    /// is over, which is `idle` where its function doesn't say.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn fence_needless(
        &self,
        instance: &Instance,
        token: &str,
        idle: Duration,
    ) -> Result<Fenced, StoreError> {
        let event = Event::Ready {
            instance: instance.clone(),
            lease_ms: millis(idle),
            thawed: false,
        };
        let mut script = self.fence_script(instance, token);
        script
            .arg(instance.function.as_str())
            .arg(&instance.revision.0)
            .arg(millis(idle))
            .arg(json(&event));
        Ok(Fenced::of(self.invoke(&script).await?))
    }

    fn fence_script(&self, instance: &Instance, token: &str) -> ScriptInvocation<'_> {
        let mut script = self.end_script(&self.scripts.fence, instance);
        script
            .key(self.keys.watch(token))
            .key(self.keys.functions());
        script
    }

    /// An instance that was fenced for freezing is paused: it may be thawed from now on. False if it is not to be kept any
    /// more.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn keep(&self, instance: &Instance) -> Result<bool, StoreError> {
        let mut script = self.scripts.keep.prepare_invoke();
        script
            .key(self.keys.instances())
            .key(self.keys.frozen(&instance.function))
            .key(self.keys.kept(instance.id))
            .arg(instance.id.to_string());
        self.invoke(&script).await
    }

    /// Takes a frozen instance of a deployment, for the holder of the starter's lock to thaw. Nobody else knows of it then,
    /// until it is registered: if that never happens the cleaner removes it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn take_frozen(
        &self,
        deployment: &Deployment,
        token: &str,
    ) -> Result<Option<Instance>, StoreError> {
        let Deployment {
            function, revision, ..
        } = deployment;
        let key = self.keys.instances();
        let mut script = self.scripts.take.prepare_invoke();
        script
            .key(self.keys.frozen(function))
            .key(&key)
            .key(self.keys.start_lock(function, revision))
            .arg(&revision.0)
            .arg(token)
            .arg(self.keys.kept_prefix());
        let taken: Option<String> = self.invoke(&script).await?;
        taken.map(|text| read(&key, &text)).transpose()
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
            .key(self.keys.young(id))
            .key(self.keys.frozen(function))
            .key(self.keys.kept(id))
            .arg(id.to_string())
            .arg(json(&event));
        script
    }
}

impl Fenced {
    /// By the answer of the script.
    fn of(answer: u8) -> Self {
        match answer {
            1 => Self::Yes,
            2 => Self::Unwatched,
            3 => Self::ForFreezing,
            _ => Self::Leased,
        }
    }
}
