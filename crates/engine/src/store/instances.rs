//! What runs.

use std::time::Duration;

use redis::ScriptInvocation;

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
    /// Whether it may get work; one that may not is draining.
    pub ready: bool,
}

/// What became of a fence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fenced {
    /// Nobody will send it work any more.
    Yes,
    /// Somebody holds a lease on it.
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
        }
        let states: Vec<Option<i64>> = self.pipeline(&pipeline).await?;
        Ok(instances
            .into_iter()
            .zip(states.chunks(3))
            .map(|(instance, state)| Leased {
                instance,
                lease: state[0]
                    .and_then(|left| u64::try_from(left).ok())
                    .map(Duration::from_millis),
                ready: state[1] == Some(1),
                overlong: state[2].is_some_and(|granted| state[0] > Some(granted)),
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
        let event = Event::Ready {
            instance: instance.clone(),
            lease_ms: millis(idle),
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
        let mut script = self.end_script(&self.scripts.fence, instance);
        script.key(self.keys.watch(token));
        let answer: u8 = self.invoke(&script).await?;
        Ok(match answer {
            1 => Fenced::Yes,
            2 => Fenced::Unwatched,
            _ => Fenced::Leased,
        })
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
            .arg(id.to_string())
            .arg(json(&event));
        script
    }
}
