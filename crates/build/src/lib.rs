//! The builder: makes a function of a push.
//!
//! [`hook`] is the repository's `proc-receive` hook as a whole, and [`service`] builds for hooks that
//! may not do so themselves. What a push goes through is one module each: [`tree`] (what was pushed, checked), [`stack`] (which language), [`compile`] (the
//! executable), [`image`] (what is deployed), [`deploy`] (first instance and switch). [`release`] deploys what is built already,
//! and [`configure`] the same with another configuration.
//!
//! A push either lands whole or changes nothing: until the very last step all that is made is
//! removed again when anything fails, or when the pusher goes away.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod cache;
pub mod compile;
pub mod configure;
mod container;
pub mod context;
pub mod deploy;
pub mod error;
pub mod git;
pub mod hook;
pub mod image;
pub mod interrupt;
mod job;
mod limits;
mod network;
pub mod output;
mod pkt;
pub mod push;
mod record;
pub mod release;
pub mod repository;
pub mod service;
pub mod stack;
mod tail;
pub mod tree;
mod wire;
mod work;

pub use error::BuildError;
