//! What stands between Docker and those who need something of it: whoever reaches Docker's socket is root on its host.
//!
//! A request is understood ([`ask`]), held against what the caller needs ([`policy`]), and asked anew, from what was understood.
//! Passed on as they come are files, into containers that are not started yet and to Docker's builder, and what Docker
//! answers.
#![forbid(unsafe_code)]

pub mod ask;
pub mod image;
mod json;
pub mod policy;
pub mod serve;
mod upstream;
