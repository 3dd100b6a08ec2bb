//! Waking another worker: the one whose request is the next to get a place.
//!
//! Each worker's runtime thread listens at a socket of a random name, which is in the shared memory. Whoever else sends
//! something there has a worker look once more, and nothing else.

use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::atomic::Ordering::Relaxed;

use super::memory::Memory;

/// Wakes workers.
pub struct Waker {
    memory: Memory,
    socket: UnixDatagram,
}

impl Waker {
    /// One for the worker that has the shard, and the socket at which its runtime thread is to listen.
    ///
    /// # Errors
    /// When the system has no socket left.
    pub fn open(memory: Memory, shard: usize, random: u64) -> io::Result<(Self, UnixDatagram)> {
        let listener = UnixDatagram::bind_addr(&address(random)?)?;
        listener.set_nonblocking(true)?;
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        memory.zone().header.ears[shard].store(random, Relaxed);
        Ok((Self { memory, socket }, listener))
    }

    /// Wakes the worker of a shard.
    pub fn wake(&self, shard: usize) {
        let name = self.memory.zone().header.ears[shard].load(Relaxed);
        if name != 0
            && let Ok(address) = address(name)
        {
            // One that hears nothing has ended, or has enough to wake up for. It looks from time to time anyway.
            let _ = self.socket.send_to_addr(&[0], &address);
        }
    }
}

/// A name in the kernel's own name space, which ends with the socket.
fn address(name: u64) -> io::Result<SocketAddr> {
    SocketAddr::from_abstract_name(format!("corefn-{name:016x}"))
}
