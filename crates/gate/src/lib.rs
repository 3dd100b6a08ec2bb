//! What stands between nginx and Docker: whoever reaches Docker's socket is root on its host.
//!
//! A request is understood ([`ask`]), held against what the router needs ([`policy`]), and asked anew, from what was understood: nothing
//! is passed on as it came. What Docker answers is.
#![forbid(unsafe_code)]

pub mod ask;
mod json;
pub mod policy;
pub mod serve;
mod upstream;
