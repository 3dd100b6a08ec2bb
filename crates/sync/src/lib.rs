//! What the threads and processes of a router share by atomics alone, without a lock.
//!
//! With `--cfg loom` the atomics are loom's, which tries every order that the memory model of C11
//! allows: `make proof ONLY=loom`. On x86 most of the wrong ones never happen.
#![forbid(unsafe_code)]

mod bell;
mod count;

pub use bell::Bell;
pub use count::{ATTACHED, enter_within, sum};

#[cfg(loom)]
pub(crate) use loom::sync::atomic;
#[cfg(not(loom))]
pub(crate) use std::sync::atomic;
