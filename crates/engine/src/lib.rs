//! Redis and Docker for CoreFn: starts, leases, events and the runtime thread.
//!
//! The router's module, the builder, the cleaner and the command line all stand on this crate; it
//! knows nothing of nginx.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod access;
pub mod acl;
pub mod acquire;
pub mod agree;
pub mod clock;
pub mod docker;
pub mod home;
pub mod log;
pub mod pauses;
pub mod processors;
pub mod ready;
pub mod rebuild;
pub mod releases;
pub mod revisions;
pub mod runtime;
pub mod sandboxes;
pub mod secrets;
pub mod socket;
pub mod spans;
pub mod start;
pub mod store;
pub mod without_redis;
