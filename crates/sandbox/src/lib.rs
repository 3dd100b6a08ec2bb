//! Sandboxes: containers that wait to become functions, and how one is told which.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod archive;
pub mod claim;
pub mod executables;
pub mod hand_over;
pub mod message;
pub mod order;

use corefn_core::names;

/// How many digits of a digest tell what sandboxes are made of.
const DIGITS: usize = 16;

/// The program that waits in a sandbox: an executable for Linux that needs nothing else.
pub const INIT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/corefn-init"));

/// The image in which it is all there is, of an installation's namespace.
pub fn image(namespace: &str) -> String {
    names::sandbox_image(namespace, &version(&[]))
}

/// What tells sandboxes that are made of the program, and of something else, from others.
pub fn version(also: &[u8]) -> String {
    let digest = executables::Digest::of(&[INIT, also].concat());
    digest.as_str()[..DIGITS].to_owned()
}
