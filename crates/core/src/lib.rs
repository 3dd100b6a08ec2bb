//! What CoreFn decides, without doing any of it: names, routes, the manifest, leases and the
//! platform's errors.
//!
//! Nothing here does IO or reads a clock: time and state are arguments. Everything the outside
//! sees by name (Redis keys, labels, directives, headers, environment) is spelled here once.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod access;
pub mod address;
pub mod backoff;
pub mod compact;
pub mod config;
pub mod deployment;
pub mod environment;
pub mod error;
pub mod event;
pub mod exports;
pub mod feed;
pub mod firewall;
pub mod function;
pub mod gate;
pub mod host;
pub mod image;
pub mod instance;
pub mod invocation;
pub mod keys;
pub mod lease;
pub mod manifest;
pub mod metrics;
pub mod names;
pub mod nearest;
pub mod network;
pub mod outcome;
pub mod outside;
pub mod page;
pub mod path;
pub mod pool;
pub mod problems;
pub mod quantity;
pub mod queue;
pub mod release;
pub mod request;
pub mod request_id;
pub mod retry;
pub mod revisions;
pub mod route;
pub mod schedule;
pub mod secrets;
pub mod start;
pub mod survey;
pub mod table;
pub mod throttle;
pub mod trace;
pub mod view;
