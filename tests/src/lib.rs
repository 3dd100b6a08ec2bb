//! Test installations of CoreFn: each has an nginx, a Redis, a namespace in Docker and a folder of
//! its own, and takes all of it away when it is dropped.
//!
//! ```no_run
//! # async fn example() {
//! use corefn_tests::{Home, probe};
//!
//! let home = Home::start("example").await;
//! home.deploy("demo/hello", probe::config()).await;
//! assert_eq!(home.get("/demo/hello/status/204").await.status, 204);
//! # }
//! ```
//!
//! What goes wrong in the harness itself is a panic with what was wanted: it is for tests and
//! benchmarks, where nothing can be done about it.
#![forbid(unsafe_code)]

pub mod access;
pub mod cleaner;
pub mod cli;
pub mod client;
pub mod clock;
pub mod collector;
pub mod dispatcher;
pub mod docker;
pub mod engine;
pub mod events;
pub mod folder;
pub mod gate;
mod git;
pub mod git_host;
pub mod home;
pub mod keeper;
pub mod load;
pub mod machine;
pub mod neighbour;
pub mod nginx;
pub mod papers;
pub mod pattern;
pub mod port;
pub mod probe;
pub mod process;
pub mod programs;
pub mod proxy;
pub mod push;
pub mod raw;
pub mod redis;
pub mod registry;
pub mod relay;
pub mod room;
pub mod runtime;
pub mod slow;
pub mod wait;

pub use client::{Answer, Client};
pub use home::{Builder, Home};
pub use wait::{wait_for, wait_until};
