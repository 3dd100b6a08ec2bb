//! The fence: nginx's own types and calls, behind what safe code can't misuse.
//!
//! Nearly all unsafe code of the module is here, and nothing here knows of functions, instances or settings. Where
//! nginx calls, a type parameter or a function pointer says what is to be done, and gets references and
//! [`Request`]s. Every such call is guarded against panics.

mod address;
mod attached;
mod balancer;
mod callback;
mod conf;
mod descriptors;
mod event_fd;
#[cfg(feature = "fault-injection")]
pub mod fault;
mod filter;
pub mod guard;
pub mod log;
mod module;
mod parts;
mod phase;
mod pin;
mod placeholder;
mod process;
mod request;
mod response;
mod shared;
mod signals;
mod upstream;
mod variable;

pub use address::Address;
pub use attached::{Attached, Handle, Spares};
pub use balancer::{Balancer, Choice, Tries, choose as choose_balancer};
pub use callback::{Call, Callback};
pub use conf::{
    Directive, directives_end, location_directive, main_directive, only_location_directive,
    upstream_directive,
};
pub use descriptors::reserve as reserve_descriptors;
pub use event_fd::EventFd;
pub use filter::{Chain, Filters, install as install_filters};
pub use module::{Module, context, module};
pub use parts::Parts;
pub use phase::{PhaseHandler, add as add_phase_handler};
pub use pin::pin;
pub use process::{is_ending, is_first_worker, now, serves_requests, version, with_cycle};
pub use request::Request;
pub use response::Answer;
pub use shared::{Layout, Shared, SharedZone, declare as declare_zone};
pub use signals::blocked as with_signals_blocked;
pub use upstream::{Attempt, Upstream};
pub use variable::{Index, Kept, Variable, add as add_variables};
