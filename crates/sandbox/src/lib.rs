//! Sandboxes: containers that wait to become functions, and how one is told which.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod claim;
pub mod executables;
pub mod hand_over;
pub mod message;
pub mod order;

/// The program that waits in a sandbox: an executable for Linux that needs nothing else.
pub const INIT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/corefn-init"));
