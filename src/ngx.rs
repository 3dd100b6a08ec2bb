//! The fence: what nginx has in C, as types that can't be misused. It knows nothing of CoreFn.

mod callback;

pub use callback::{Call, Callback};
