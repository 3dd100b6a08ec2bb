//! Telling a sandbox what to become.
//!
//! The other side is `init/main.rs`, which describes what is sent.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, recv, sendmsg};
use tokio::io::Interest;
use tokio::net::UnixStream;

use crate::order;

/// The first byte of a message: what it means.
const VERSION: u8 = 1;

/// Why a sandbox has not become a program.
#[derive(Debug, thiserror::Error)]
pub enum HandOverError {
    /// There is no argument, a NUL in one or in a variable, or too much of them.
    #[error(
        "the function's arguments and environment are too large ({} bytes at most), or have a NUL in them",
        order::MAX
    )]
    Order,
    /// The sandbox could not be told.
    #[error("the sandbox can't be told what to become: {0}")]
    Connection(io::Error),
    /// It was told, and could not.
    #[error("the sandbox can't become the function: {0}")]
    Program(io::Error),
}

/// What a sandbox is to become.
#[derive(Debug, Clone, Copy)]
pub struct Program<'a> {
    /// The executable.
    pub executable: BorrowedFd<'a>,
    /// Its arguments and environment, as of [`order::write`].
    pub order: &'a [u8],
    /// A socket that listens, for the program to serve on.
    pub listener: Option<BorrowedFd<'a>>,
}

/// Has the sandbox at the other end of a connection become a program, and waits until it has.
///
/// # Errors
/// [`HandOverError`]; the sandbox ends then.
pub async fn hand_over(sandbox: OwnedFd, program: Program<'_>) -> Result<(), HandOverError> {
    if order::parse(program.order).is_none() {
        return Err(HandOverError::Order);
    }
    let order = sealed(program.order).map_err(|errno| HandOverError::Connection(errno.into()))?;
    // (To tokio any socket of this family is a stream. Messages are sent and received by calls that know better.)
    let sandbox = StdUnixStream::from(sandbox);
    let sandbox = sandbox
        .set_nonblocking(true)
        .and_then(|()| UnixStream::from_std(sandbox))
        .map_err(HandOverError::Connection)?;
    let sent = sandbox.async_io(Interest::WRITABLE, || {
        Ok(send(sandbox.as_fd(), program, order.as_fd())?)
    });
    sent.await.map_err(HandOverError::Connection)?;
    let mut why = [0; 4];
    let received = sandbox.async_io(Interest::READABLE, || {
        Ok(recv(&sandbox, &mut why, RecvFlags::empty())?.0)
    });
    match received.await {
        // The connection was closed by the program's beginning.
        Ok(0) => Ok(()),
        Ok(4) => {
            let why = io::Error::from_raw_os_error(i32::from_le_bytes(why));
            Err(HandOverError::Program(why))
        }
        Ok(_) => Err(HandOverError::Connection(io::ErrorKind::InvalidData.into())),
        Err(error) => Err(HandOverError::Connection(error)),
    }
}

/// A file in memory that nobody can change any more.
fn sealed(bytes: &[u8]) -> Result<OwnedFd, Errno> {
    let file = memfd_create(c"order", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut rest = bytes;
    while !rest.is_empty() {
        let count = rustix::io::write(&file, rest)?;
        rest = &rest[count..];
    }
    let seals = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
    fcntl_add_seals(&file, seals)?;
    Ok(file)
}

/// Sends the one message.
fn send(sandbox: BorrowedFd<'_>, program: Program<'_>, order: BorrowedFd<'_>) -> Result<(), Errno> {
    let mut files = vec![program.executable, order];
    files.extend(program.listener);
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&files));
    let message = [IoSlice::new(&[VERSION])];
    sendmsg(sandbox, &message, &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}
