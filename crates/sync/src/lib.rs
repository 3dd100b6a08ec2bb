//! What the threads and processes of a router share by atomics.
//!
//! With `--cfg loom` the atomics are loom's, which tries every order that the memory model of C11
//! allows: `make proof ONLY=loom`. On x86 most of the wrong ones never happen.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod count;
mod line;
#[cfg(not(loom))]
pub mod metrics;
mod wakeup;
#[cfg(not(loom))]
pub mod zone;

pub use count::enter_within;
#[cfg(loom)]
pub use count::sum;
pub use line::Line;
pub use wakeup::Wakeup;

#[cfg(loom)]
pub(crate) use loom::sync::atomic;
#[cfg(not(loom))]
pub(crate) use std::sync::atomic;
