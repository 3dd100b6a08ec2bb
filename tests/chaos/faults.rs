//! Bringing a fault about, and ending it.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bollard::query_parameters::{
    KillContainerOptions, RemoveContainerOptionsBuilder, StopContainerOptions,
};
use corefn_core::function::FunctionName;
use corefn_core::names::label;
use corefn_engine::docker::Container;
use corefn_engine::sandboxes::EXECUTABLES;
use corefn_tests::keeper::Keeper;
use corefn_tests::push::Repository;
use corefn_tests::room::Room;
use corefn_tests::{Home, process};
use fastrand::Rng;
use rustix::process::Signal;

use crate::ask::Sender;
use crate::history::{Harm, Lost, Recorder};
use crate::plan::{Fault, Step};
use crate::schedules::Schedules;
use crate::sockets::held;
use crate::traffic::{SLOW, simple};

/// Seconds between two rounds of the cleaner.
pub const ROUNDS: u64 = 1;

/// One slow answer of Redis, and the time in which it answers.
const SLOW_ANSWER: Duration = Duration::from_millis(200);
const ANSWERS: Duration = Duration::from_millis(20);

/// How long what Docker was told to end may take to do so.
const END: Duration = Duration::from_secs(15);

/// How long a start that is to be met may take to begin.
const START_BEGINS: Duration = Duration::from_secs(5);

/// What breaks things.
pub struct Breaker {
    /// The installation's keeper of sandboxes, unless it was just killed. It goes first, since it makes more.
    pub keeper: Option<Keeper>,
    /// The dispatchers, and what they see to.
    pub schedules: Schedules,
    /// The installation.
    pub home: Home,
    /// Where its keeper has all that it keeps.
    pub room: Room,
    /// Where it is noted.
    pub recorder: Arc<Recorder>,
    /// A repository that is pushed from.
    pub repository: Repository,
    /// For requests that belong to a fault.
    pub sender: Sender,
}

impl Breaker {
    /// Brings one fault about and ends it.
    pub async fn step(&mut self, step: &Step) {
        let mut random = Rng::with_seed(step.seed);
        let begin = Instant::now();
        let happened = match step.fault {
            Fault::WorkerKilled => self.kill_a_worker(&mut random),
            Fault::StarterKilled => self.kill_a_starter().await,
            Fault::Reloaded => {
                self.home.reload().await;
                true
            }
            Fault::CleanerKilled => {
                self.home.take_cleaner().kill().await;
                tokio::time::sleep(step.lasts).await;
                self.home.start_cleaner(Some(ROUNDS));
                true
            }
            Fault::DispatcherKilled => {
                self.schedules.dispatchers.remove(0).kill().await;
                tokio::time::sleep(step.lasts).await;
                self.schedules.start_one(&self.home);
                true
            }
            Fault::HolderKilled
            | Fault::InstanceKilled
            | Fault::InstancePaused
            | Fault::InstanceRemoved
            | Fault::InstanceStopped => self.harm_an_instance(step, &mut random).await,
            Fault::DockerCut => {
                let begin = Instant::now();
                self.home.proxy().shut();
                tokio::time::sleep(step.lasts).await;
                self.home.proxy().reopen();
                self.recorder.history().cuts.push((begin, Instant::now()));
                true
            }
            Fault::PushKilled => self.kill_a_push(step, &mut random).await,
            Fault::KeeperKilled => {
                if let Some(keeper) = self.keeper.take() {
                    keeper.kill().await;
                }
                tokio::time::sleep(step.lasts).await;
                self.keeper = Some(Keeper::start_again(&self.home));
                true
            }
            Fault::SandboxKilled => self.kill_a_sandbox(&mut random).await,
            Fault::NewbornKilled => self.kill_a_newborn().await,
            Fault::ExecutablesDeleted => self.replace_executables(None),
            Fault::ExecutablesGarbled => self.replace_executables(Some("garbage")),
            Fault::DiskFull => {
                let any = self.replace_executables(None);
                self.room.fill();
                tokio::time::sleep(step.lasts).await;
                self.room.empty();
                any
            }
            Fault::RedisKilled
            | Fault::RedisStopped
            | Fault::RedisEmptied
            | Fault::RedisSetBack
            | Fault::RedisHangs
            | Fault::RedisSlow
            | Fault::RedisFull
            | Fault::RedisReadOnly => {
                self.break_redis(step).await;
                true
            }
        };
        let mut history = self.recorder.history();
        let history = &mut *history;
        history.times.push((step.fault, begin, Instant::now()));
        let counts = if happened {
            &mut history.faults
        } else {
            &mut history.skipped
        };
        *counts.entry(step.fault).or_default() += 1;
    }

    async fn break_redis(&mut self, step: &Step) {
        let redis = &mut self.home.redis;
        match step.fault {
            Fault::RedisKilled => redis.kill().await,
            Fault::RedisStopped => redis.stop().await,
            Fault::RedisEmptied => return redis.command(&["FLUSHALL"]).await,
            Fault::RedisSetBack => redis.save().await,
            Fault::RedisHangs => redis.hang(),
            Fault::RedisFull => redis.command(&["CONFIG", "SET", "maxmemory", "1"]).await,
            Fault::RedisReadOnly => {
                let setting = ["CONFIG", "SET", "min-replicas-to-write", "1"];
                redis.command(&setting).await
            }
            _ => {}
        }
        let begin = Instant::now();
        while step.fault == Fault::RedisSlow && begin.elapsed() < step.lasts {
            redis.hang();
            tokio::time::sleep(SLOW_ANSWER).await;
            redis.resume();
            tokio::time::sleep(ANSWERS).await;
        }
        tokio::time::sleep(step.lasts.saturating_sub(begin.elapsed())).await;
        match step.fault {
            Fault::RedisKilled | Fault::RedisStopped => redis.start().await,
            Fault::RedisSetBack => {
                redis.kill().await;
                redis.start().await;
            }
            Fault::RedisHangs => redis.resume(),
            Fault::RedisFull => redis.command(&["CONFIG", "SET", "maxmemory", "0"]).await,
            Fault::RedisReadOnly => {
                let setting = ["CONFIG", "SET", "min-replicas-to-write", "0"];
                redis.command(&setting).await
            }
            _ => {}
        }
    }

    fn kill_a_worker(&mut self, random: &mut Rng) -> bool {
        let Some(worker) = random.choice(self.home.nginx.workers()) else {
            return false;
        };
        self.kill(worker);
        true
    }

    /// Kills a worker. It is stopped before, so that what it holds can be written down.
    fn kill(&self, worker: u32) {
        process::send(worker, Signal::STOP);
        let ports = held(worker, self.home.nginx.address().port());
        self.recorder.history().lost.push(Lost {
            at: Instant::now(),
            ports,
        });
        process::send(worker, Signal::KILL);
    }

    /// Has a function started, and kills the worker that does it in the middle. Whoever asks next
    /// must be answered.
    async fn kill_a_starter(&mut self) -> bool {
        let Some(connection) = self.sender.connect().await else {
            return false;
        };
        let port = connection.local_addr().map_or(0, |address| address.port());
        let sender = self.sender.clone();
        let request = tokio::spawn(async move {
            let ask = simple("at killed starters", SLOW);
            sender.send_over(connection, ask).await
        });
        let begin = Instant::now();
        while !self.home.try_is_starting(SLOW).await.unwrap_or(false) {
            if begin.elapsed() > START_BEGINS || request.is_finished() {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let server = self.home.nginx.address().port();
        let mut workers = self.home.nginx.workers().into_iter();
        let Some(worker) = workers.find(|worker| held(*worker, server).contains(&port)) else {
            return false;
        };
        self.kill(worker);
        let sender = self.sender.clone();
        // It is waited for by nobody: it may take as long as the dead starter's lock lasts.
        tokio::spawn(async move { sender.send(simple("after killed starters", SLOW)).await });
        true
    }

    /// Does something to an instance that has answered before.
    async fn harm_an_instance(&mut self, step: &Step, random: &mut Rng) -> bool {
        let unharmed = self.recorder.unharmed();
        let mut containers = self.home.docker.containers().await.unwrap_or_default();
        let is_held = |container: &Container| container.labels.contains_key(label::HOLDER);
        containers.retain(|container| {
            container.running
                && instance(container).is_some_and(|id| unharmed.contains(id))
                && (step.fault != Fault::HolderKilled || is_held(container))
                && (step.fault != Fault::InstancePaused || !container.paused)
        });
        containers.sort_by(|a, b| a.name.cmp(&b.name));
        let Some(victim) = random.choice(containers) else {
            return false;
        };
        self.recorder.history().harms.push(Harm {
            function: victim
                .labels
                .get(label::FUNCTION)
                .and_then(|name| FunctionName::read(name).ok())
                .map_or_else(String::new, |name| name.plain_text().to_owned()),
            instance: instance(&victim).unwrap_or_default().to_owned(),
            at: Instant::now(),
            done: None,
            deadly: step.fault != Fault::InstancePaused,
        });
        let done = self.harm(&victim, step).await;
        if step.fault != Fault::InstancePaused {
            let begin = Instant::now();
            while self.runs(&victim).await && begin.elapsed() < END {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        let mut history = self.recorder.history();
        if let Some(harm) = history.harms.last_mut() {
            harm.done = Some(Instant::now());
        }
        done
    }

    /// Whether an instance is there, as far as Docker can say.
    async fn runs(&self, container: &Container) -> bool {
        let running = self.home.docker.is_running(&container.id).await;
        running.unwrap_or(false)
    }

    /// Does it. False if nothing was done.
    async fn harm(&self, victim: &Container, step: &Step) -> bool {
        let Ok(client) = self.home.docker.client().await else {
            return false;
        };
        let id = victim.id.as_str();
        let done = match step.fault {
            Fault::InstanceKilled => {
                client
                    .kill_container(id, None::<KillContainerOptions>)
                    .await
            }
            Fault::HolderKilled => {
                let holder = &victim.labels[label::HOLDER];
                client
                    .kill_container(holder, None::<KillContainerOptions>)
                    .await
            }
            Fault::InstanceStopped => {
                client
                    .stop_container(id, None::<StopContainerOptions>)
                    .await
            }
            Fault::InstanceRemoved => {
                let options = RemoveContainerOptionsBuilder::default().force(true).build();
                client.remove_container(id, Some(options)).await
            }
            _ => {
                let paused = client.pause_container(id).await;
                tokio::time::sleep(step.lasts).await;
                // Somebody may have removed it meanwhile.
                let _ = client.unpause_container(id).await;
                paused
            }
        };
        // The cleaner may have been faster: then nothing was done.
        done.is_ok()
    }

    /// Kills a sandbox that is no instance yet.
    async fn kill_a_sandbox(&mut self, random: &mut Rng) -> bool {
        let mut containers = self.home.docker.containers().await.unwrap_or_default();
        containers.retain(|found| found.running && found.has(label::ROLE, label::ROLE_SANDBOX));
        containers.sort_by(|a, b| a.name.cmp(&b.name));
        let Some(victim) = random.choice(containers) else {
            return false;
        };
        let Ok(client) = self.home.docker.client().await else {
            return false;
        };
        let none = None::<KillContainerOptions>;
        client.kill_container(&victim.id, none).await.is_ok()
    }

    /// Has a function started that takes its time, and kills what a sandbox has become before it is ready. Whoever asked
    /// for it must be answered.
    async fn kill_a_newborn(&self) -> bool {
        let sender = self.sender.clone();
        let request = tokio::spawn(async move {
            let ask = simple("at killed newborns", SLOW);
            sender.send(ask).await
        });
        let begin = Instant::now();
        let Ok(client) = self.home.docker.client().await else {
            return false;
        };
        while begin.elapsed() < START_BEGINS && !request.is_finished() {
            let containers = self.home.docker.containers().await.unwrap_or_default();
            let newborn = containers.iter().find(|found| {
                found.running
                    && found.has(label::FUNCTION, SLOW)
                    && found.labels.contains_key(label::SANDBOX)
            });
            if let Some(newborn) = newborn
                && self.home.try_is_starting(SLOW).await.unwrap_or(false)
            {
                let none = None::<KillContainerOptions>;
                return client.kill_container(&newborn.id, none).await.is_ok();
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        false
    }

    /// Deletes what the host keeps of executables, and puts something else in its place. False if there was nothing.
    fn replace_executables(&self, by: Option<&str>) -> bool {
        let folder = self.home.folder.file("sandboxes").join(EXECUTABLES);
        let mut any = false;
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            any |= fs::remove_file(&path).is_ok();
            if let Some(text) = by {
                let written = fs::write(&path, text);
                let mode = Permissions::from_mode(0o555);
                any &= written.is_ok() && fs::set_permissions(&path, mode).is_ok();
            }
        }
        any
    }

    /// Kills a push with all that it has started, sooner or later. The next one must be accepted.
    async fn kill_a_push(&mut self, step: &Step, random: &mut Rng) -> bool {
        self.repository.commit("Killed").await;
        let push = self.repository.begin_push("main");
        tokio::time::sleep(step.lasts.mul_f64(random.f64())).await;
        drop(push);
        self.repository.commit("Not killed").await;
        let pushed = self.repository.push().await;
        if !pushed.accepted {
            let text = format!(
                "the push after a killed one was rejected:\n{}",
                pushed.output
            );
            self.recorder.complain(text);
        }
        true
    }
}

fn instance(container: &Container) -> Option<&str> {
    container.labels.get(label::INSTANCE).map(String::as_str)
}
