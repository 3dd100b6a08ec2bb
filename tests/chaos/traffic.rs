//! The traffic: clients of every kind, each with random numbers of its own from the run's seed.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use corefn_core::config::FunctionConfig;
use corefn_sandbox::executables::Digest;
use corefn_tests::{pattern, probe};
use fastrand::Rng;
use futures_util::future::join_all;
use tokio::task::JoinSet;

use crate::ask::{Ask, Body, Sender};

/// Asked all the time.
pub const WARM: &str = "chaos/warm";
/// Asked now and then, by one client each.
pub const COLD: [&str; 3] = ["chaos/cold-a", "chaos/cold-b", "chaos/cold-c"];
/// The same, of a runtime that waits in a sandbox.
pub const RUNTIME: &str = "chaos/runtime";
/// Asked now and then, and frozen in between.
pub const FROZEN: &str = "chaos/frozen";
/// Whose instances take only so many requests at once, and of which one is always there.
pub const NARROW: &str = "chaos/narrow";
/// Streams.
pub const STREAMS: &str = "chaos/streams";
/// Upgraded connections.
pub const SOCKETS: &str = "chaos/sockets";
/// Bodies that arrive slowly.
pub const UPLOADS: &str = "chaos/uploads";
/// Deployed again and again.
pub const DEPLOYED: &str = "chaos/deployed";
/// Called for a client that does not wait.
pub const INVOKED: &str = "chaos/invoked";
/// Slow to start, for starters that are killed.
pub const SLOW: &str = "chaos/slow";

/// How many requests an instance of [`NARROW`] takes at once.
const NARROWNESS: NonZeroU32 = NonZeroU32::new(2).unwrap();

/// The functions and their configurations.
pub fn functions() -> Vec<(&'static str, FunctionConfig)> {
    let with = |idle: u64| FunctionConfig {
        idle_ms: Some(idle),
        ..probe::config()
    };
    let frozen = FunctionConfig {
        freeze_ms: Some(2000),
        ..with(8000)
    };
    let narrow = FunctionConfig {
        concurrency: Some(NARROWNESS),
        max_instances: NonZeroU32::new(3),
        min_instances: NonZeroU32::new(1),
        ..with(2000)
    };
    let slow = FunctionConfig {
        idle_ms: Some(2000),
        ..probe::misbehaving("slow-start:1500")
    };
    let mut functions = vec![
        (WARM, with(5000)),
        (FROZEN, frozen),
        (NARROW, narrow),
        (STREAMS, with(2000)),
        (SOCKETS, with(2000)),
        (UPLOADS, with(3000)),
        (DEPLOYED, with(3000)),
        (INVOKED, with(2000)),
        (SLOW, slow),
    ];
    functions.extend(COLD.map(|function| (function, with(2000))));
    // All but the last are as a push of an executable has them, and can start from sandboxes.
    let digest = Digest::of(&probe::executable());
    let executables = functions.len() - 1;
    for (function, config) in &mut functions[..executables] {
        config.executable = Some(digest.as_str().to_owned());
        // Some of them serve at a port there.
        config.socket = !COLD.contains(function);
    }
    functions
}

/// The configuration of the one that a runtime serves.
pub fn of_runtime() -> FunctionConfig {
    FunctionConfig {
        idle_ms: Some(2000),
        ..probe::config()
    }
}

/// A question that any of the functions answers at once.
pub fn simple(kind: &'static str, function: &str) -> Ask {
    Ask::get(kind, function, "/status/200", "status 200\n")
}

/// Clients that are at work.
#[derive(Debug)]
pub struct Traffic {
    stop: Arc<AtomicBool>,
    clients: JoinSet<()>,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Quick,
    Posts,
    Sleeps,
    Cold(&'static str, &'static str),
    Frozen,
    Narrow,
    Streams,
    Sockets,
    Uploads,
    Deployed,
}

impl Traffic {
    /// Starts them.
    pub fn start(sender: &Sender, seed: u64) -> Self {
        let mut kinds = vec![Kind::Quick, Kind::Quick, Kind::Quick, Kind::Posts];
        kinds.extend([Kind::Sleeps, Kind::Sleeps, Kind::Sleeps]);
        kinds.extend(COLD.map(|function| Kind::Cold("cold", function)));
        kinds.extend([
            Kind::Frozen,
            Kind::Narrow,
            Kind::Narrow,
            Kind::Streams,
            Kind::Streams,
            Kind::Sockets,
            Kind::Sockets,
        ]);
        kinds.extend([Kind::Uploads, Kind::Uploads, Kind::Deployed, Kind::Deployed]);
        kinds.push(Kind::Cold("of a runtime", RUNTIME));
        let stop = Arc::new(AtomicBool::new(false));
        let mut clients = JoinSet::new();
        for (number, kind) in (1..).zip(kinds) {
            let random = Rng::with_seed(seed.wrapping_add(number));
            clients.spawn(client(sender.clone(), kind, random, stop.clone()));
        }
        Self { stop, clients }
    }

    /// Lets them finish what they have begun.
    pub async fn finish(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.clients.join_all().await;
    }
}

async fn client(sender: Sender, kind: Kind, mut random: Rng, stop: Arc<AtomicBool>) {
    while !stop.load(Ordering::Relaxed) {
        let pause = match kind {
            Kind::Quick => {
                sender.send(simple("warm", WARM)).await;
                random.u64(0..60)
            }
            Kind::Posts => {
                let size = random.usize(1..200_000);
                sender.send(upload("posts", WARM, size, 1, 0)).await;
                random.u64(0..200)
            }
            Kind::Sleeps => {
                let time = random.u64(100..3000);
                let path = format!("/sleep/{time}");
                let mut ask = Ask::get("long requests", WARM, &path, "slept\n");
                ask.work = Duration::from_millis(time);
                sender.send(ask).await;
                random.u64(0..200)
            }
            Kind::Cold(kind, function) => {
                let burst = random.usize(1..8);
                join_all((0..burst).map(|_| sender.send(simple(kind, function)))).await;
                // Sometimes within the idle time, mostly not.
                random.u64(500..6000)
            }
            Kind::Frozen => {
                let burst = random.usize(1..8);
                let asked = (0..burst).map(|_| sender.send(simple("frozen", FROZEN)));
                join_all(asked).await;
                // From when it is not frozen yet to when it is stopped.
                random.u64(500..9000)
            }
            Kind::Narrow => {
                let burst = random.usize(1..12);
                let time = random.u64(0..300);
                join_all((0..burst).map(|_| sender.send(together(time)))).await;
                random.u64(0..3000)
            }
            Kind::Streams => {
                let (count, time) = (random.u64(2..40), random.u64(10..200));
                let lines: String = (0..count).map(|at| format!("line {at}\n")).collect();
                let path = format!("/stream/{count}/{time}");
                sender
                    .send(Ask::get("streams", STREAMS, &path, lines))
                    .await;
                random.u64(0..3000)
            }
            Kind::Sockets => {
                let pause = Duration::from_millis(random.u64(10..300));
                sender.talk(SOCKETS, random.u32(1..30), pause).await;
                random.u64(0..3000)
            }
            Kind::Uploads => {
                let (pieces, pause) = (random.usize(1..20), random.u64(0..150));
                let size = random.usize(1..100_000) * pieces;
                sender
                    .send(upload("uploads", UPLOADS, size, pieces, pause))
                    .await;
                random.u64(0..3000)
            }
            Kind::Deployed => {
                sender.send(simple("deployed", DEPLOYED)).await;
                random.u64(0..150)
            }
        };
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
}

/// A question that takes so many milliseconds, and is answered with how many were asked at once.
fn together(time: u64) -> Ask {
    let path = format!("/together/{time}");
    let mut ask = Ask::get("bounded", NARROW, &path, "");
    ask.answer = Body::Together(NARROWNESS.get().into());
    ask.work = Duration::from_millis(time);
    ask
}

/// A POST of so many bytes, in pieces with milliseconds between them.
fn upload(kind: &'static str, function: &str, size: usize, pieces: usize, pause: u64) -> Ask {
    let bytes = Bytes::from(pattern::bytes(size));
    let answer = format!(r#"{{"length":{size},"sum":"{}"}}"#, pattern::sum(&bytes));
    let length = size.div_ceil(pieces);
    let pieces = (0..size)
        .step_by(length)
        .map(|at| bytes.slice(at..size.min(at + length)))
        .collect();
    let mut ask = Ask::get(kind, function, "/upload/chaos", answer);
    ask.body = Some((pieces, Duration::from_millis(pause)));
    ask
}
