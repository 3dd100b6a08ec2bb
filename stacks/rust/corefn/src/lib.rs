//! Write functions for CoreFn.
//!
//! A function is a plain `fn` with an attribute, in a library:
//!
//! ```
//! #[corefn::function]
//! fn say_hello(name: &str) -> String {
//!     format!("Hello, {name}!")
//! }
//! # fn main() {}
//! ```
//!
//! Pushed as `alice/greetings`, it answers at `/alice/greetings/SayHello`: the request's body is the
//! argument, what it returns is the answer. [`function`](macro@function) says which signatures there
//! are. The rest of this crate is the server around the functions. The builder generates a `main` that
//! calls [`serve`]; a library needs none.
#![deny(unsafe_code)]

// The attribute names `::corefn`; this crate's own tests use it too.
#[cfg(test)]
extern crate self as corefn;

mod convert;
mod example;
mod export;
mod listener;
mod reply;
mod serve;
mod server;

pub use corefn_macros::function;
pub use serve::serve;

/// What the attribute's expansion names. Not for anyone else: it may change with any version.
#[doc(hidden)]
pub mod __private {
    pub use crate::convert::{
        Input, JsonInput, JsonOutput, JsonShape, Output, PlainOutput, PlainShape, Shape,
    };
    pub use crate::export::{Call, Export};
    pub use inventory;
}
