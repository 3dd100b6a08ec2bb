//! Cold starts of functions that a runtime serves: the first answer through CoreFn, from a sandbox in which the runtime
//! waits, against the first answer of a container of the same image that the bare Docker API has created and started.
//!
//! The functions are the examples, as a push makes them.

use std::collections::BTreeMap;
use std::time::Instant;

use corefn_core::deployment::Deployment;
use corefn_core::names::label;
use corefn_engine::sandboxes::EXECUTABLES;
use corefn_tests::keeper::{Keeper, waiting};
use corefn_tests::push::{Repository, keep_stack};
use corefn_tests::{Home, wait_until};

use crate::cold::{milliseconds, start_bare};
use crate::error::BenchError;
use crate::site::{self, PATIENCE, SETTLE};
use crate::stats::Compared;

/// The runtimes, by the names of their stacks and of their examples, and what is asked of those.
const RUNTIMES: [(&str, &str); 2] = [("python", "/HelloWorld"), ("node", "/HelloWorld")];

/// One of each runtime waits.
const SETTINGS: &str = "floor = 0\nceiling = 0\nruntime_floor = 1\nruntime_ceiling = 1";

/// The installation, and what is in it.
struct Runtimes {
    /// Its keeper of sandboxes, which goes first, since it makes more.
    _keeper: Keeper,
    home: Home,
}

/// Measures cold starts in turns, after one that isn't counted; milliseconds until the first answer, by runtime.
///
/// # Errors
/// [`BenchError`] when a start fails, or is not from a sandbox.
pub async fn measure(repeats: u32) -> Result<BTreeMap<&'static str, Compared>, BenchError> {
    let runtimes = Runtimes::start().await;
    let mut turns: BTreeMap<&str, Vec<(f64, f64)>> = BTreeMap::new();
    for repeat in 0..=repeats {
        for (name, path) in RUNTIMES {
            let turn = runtimes.take_turn(name, path, repeat).await?;
            if repeat > 0 {
                turns.entry(name).or_default().push(turn);
                let (corefn, bare) = turn;
                eprintln!("    {name}, turn {repeat} of {repeats}: {corefn:.1} and {bare:.0} ms");
            }
        }
    }
    let compared = |turns: Vec<_>| Compared::of(&turns);
    Ok(turns
        .into_iter()
        .filter_map(|(name, turns)| Some((name, compared(turns)?)))
        .collect())
}

impl Runtimes {
    /// Starts one, and pushes the examples.
    async fn start() -> Self {
        let mut home = Home::builder("runtimes")
            .workers(1)
            .server("access_log off;")
            .without_nginx()
            .start()
            .await;
        let keeper = Keeper::start_with_nginx(&mut home, SETTINGS).await;
        for (name, _) in RUNTIMES {
            eprintln!("    pushing the example in {name}");
            keep_stack(&home, name).await;
            let repository = Repository::create(&home, &function(name)).await;
            repository.example(name).await;
            let revision = repository.push().await.accepted().revision();
            home.knows(&function(name), &revision).await;
        }
        Self {
            home,
            _keeper: keeper,
        }
    }

    /// A start of each, in an order that changes from turn to turn.
    async fn take_turn(
        &self,
        name: &str,
        path: &str,
        number: u32,
    ) -> Result<(f64, f64), BenchError> {
        let deployment = self.deployment(name).await?;
        if number.is_multiple_of(2) {
            let corefn = self.corefn(&deployment, path).await?;
            Ok((corefn, self.bare(&deployment, path).await?))
        } else {
            let bare = self.bare(&deployment, path).await?;
            Ok((self.corefn(&deployment, path).await?, bare))
        }
    }

    /// One through CoreFn, which must be from a sandbox.
    async fn corefn(&self, deployment: &Deployment, path: &str) -> Result<f64, BenchError> {
        self.clear(deployment).await?;
        let home = &self.home;
        let starts = || home.error_log().matches(" ms from a sandbox").count();
        let before = starts();
        let begin = Instant::now();
        site::get(&home.client(), &format!("/{}{path}", deployment.function)).await?;
        let took = milliseconds(begin.elapsed());
        if starts() != before + 1 {
            return Err(BenchError::NoSandbox);
        }
        // (Docker is told of it meanwhile.)
        let function = deployment.function.as_str();
        wait_until("Docker knows it", PATIENCE, async || {
            !home.instances(function).await.is_empty()
        })
        .await;
        Ok(took)
    }

    /// One by the bare Docker API.
    async fn bare(&self, deployment: &Deployment, path: &str) -> Result<f64, BenchError> {
        self.clear(deployment).await?;
        let parts = start_bare(&self.home, deployment, path).await?;
        Ok(parts.sum())
    }

    /// Removes all instances, and nothing of what the keeper fetches archives out of, and returns when nothing of them is left, and a start from a sandbox would be one.
    async fn clear(&self, deployment: &Deployment) -> Result<(), BenchError> {
        let home = &self.home;
        for container in home.docker.containers().await? {
            if container.labels.contains_key(label::INSTANCE) {
                home.docker.remove(&container.id).await?;
            }
        }
        let archive = deployment.config.archive.as_ref();
        let digest = archive.map_or("", |archive| &archive.digest);
        let file = home.folder.file("sandboxes").join(EXECUTABLES).join(digest);
        wait_until("Redis knows no instance", PATIENCE, async || {
            let known = home.store.instances().await;
            known.is_ok_and(|known| known.is_empty())
        })
        .await;
        wait_until("the archive is there", PATIENCE, async || file.is_file()).await;
        wait_until("a sandbox of each waits", PATIENCE, async || {
            waiting(home).await.len() == RUNTIMES.len()
        })
        .await;
        tokio::time::sleep(SETTLE).await;
        Ok(())
    }

    /// What the router knows of a function.
    async fn deployment(&self, name: &str) -> Result<Deployment, BenchError> {
        let function = function(name);
        let mut deployments = self.home.store.deployments().await?;
        deployments.retain(|deployment| deployment.function.as_str() == function);
        deployments.pop().ok_or(BenchError::Instances {
            function,
            want: 1,
            have: 0,
        })
    }
}

/// The function in a language.
fn function(name: &str) -> String {
    format!("bench/{name}")
}
