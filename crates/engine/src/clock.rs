//! The monotonic clock that nginx and all processes of a host share.

use rustix::time::{ClockId, clock_gettime};

/// Milliseconds of `CLOCK_MONOTONIC`: what nginx's `ngx_current_msec` is made of since 1.13.10,
/// so that times of the event loop and of the runtime thread compare.
pub fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec as u64 * 1000 + time.tv_nsec as u64 / 1_000_000
}
