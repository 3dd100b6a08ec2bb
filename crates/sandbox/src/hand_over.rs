//! Telling a sandbox what to become.
//!
//! The other side is `init/main.rs`, which describes what is sent.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::io::Errno;

use crate::message::Connection;
use crate::order;

/// The first byte of a message: what it means.
const VERSION: u8 = 1;

/// The only byte of a message that has a sandbox stay what it is.
const STAY: u8 = 2;

/// How many bytes a sandbox says why it could not with.
const WHY: usize = 4;

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
    let connection = Connection::of(sandbox).map_err(HandOverError::Connection)?;
    let mut files = vec![program.executable, order.as_fd()];
    files.extend(program.listener);
    tell(&connection, VERSION, &files).await
}

/// Has the sandbox at the other end of a connection stay what it is for as long as its container lasts, so that another
/// container can have its network, and waits until it has heard of it.
///
/// # Errors
/// [`HandOverError`]; the sandbox ends then.
pub async fn stay(sandbox: OwnedFd) -> Result<(), HandOverError> {
    let connection = Connection::of(sandbox).map_err(HandOverError::Connection)?;
    tell(&connection, STAY, &[]).await
}

/// Sends a sandbox its message, and waits until it has done as it says.
async fn tell(
    connection: &Connection,
    what: u8,
    files: &[BorrowedFd<'_>],
) -> Result<(), HandOverError> {
    let sent = connection.send(&[what], files).await;
    sent.map_err(HandOverError::Connection)?;
    let why = connection.receive(WHY).await;
    let why = why.map_err(HandOverError::Connection)?.bytes;
    if why.is_empty() {
        // (The connection is closed by the program's beginning.)
        return Ok(());
    }
    Err(match why.try_into() {
        Ok(why) => HandOverError::Program(io::Error::from_raw_os_error(i32::from_le_bytes(why))),
        Err(_) => HandOverError::Connection(io::ErrorKind::InvalidData.into()),
    })
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
