//! Telling a sandbox what to become.
//!
//! The other side is `init/main.rs`, which describes what is sent; and of a runtime's sandbox the stack's own program, which
//! is told by [`hand_over_files`].

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::io::Errno;

use crate::message::Connection;
use crate::order;

/// The byte of a message that has a sandbox become a program.
const BECOME: u8 = 1;

/// The byte of one that has it stay what it is.
const STAY: u8 = 2;

/// The byte of one that brings a socket.
const LISTEN: u8 = 3;

/// The byte of one that has it become a program which gets the socket.
const BECOME_AND_LISTEN: u8 = 4;

/// The number of the descriptor that such a program has it as.
pub const LISTENER: u32 = 9;

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
    /// Whether it gets the socket that the sandbox was sent by [`send_listener`].
    pub listens: bool,
}

/// Sends a sandbox the socket that what it becomes may serve on, as [`LISTENER`].
///
/// # Errors
/// When the sandbox is gone.
pub async fn send_listener(sandbox: &Connection, listener: BorrowedFd<'_>) -> io::Result<()> {
    sandbox.send(&[LISTEN], &[listener]).await
}

/// The same for one that was given a program's name: waits until it has become that.
///
/// # Errors
/// [`HandOverError`]; the sandbox ends then.
pub async fn start_with_listener(
    sandbox: &Connection,
    listener: BorrowedFd<'_>,
) -> Result<(), HandOverError> {
    tell(sandbox, LISTEN, &[listener]).await
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
    let what = match program.listens {
        true => BECOME_AND_LISTEN,
        false => BECOME,
    };
    tell(&connection, what, &[program.executable, order.as_fd()]).await
}

/// The bytes before an order and files.
const HEAD: usize = 2 * size_of::<u32>();

/// Has the sandbox of a runtime at the other end of a connection become a function, by its files and an order
/// ([`order::write`], of which a runtime takes the variables alone), and waits until it has unpacked them.
///
/// Over the stream go the lengths of both, 32-bit numbers of little endian, and then both. The runtime closes the
/// connection before the function's own code runs; if it can't become the function, it sends the number of the error
/// (errno(3)), four bytes of little endian, and ends.
///
/// # Errors
/// [`HandOverError`]; the sandbox ends then.
pub async fn hand_over_files(
    sandbox: OwnedFd,
    archive: &[u8],
    order: &[u8],
) -> Result<(), HandOverError> {
    if order::parse(order).is_none() {
        return Err(HandOverError::Order);
    }
    let connection = Connection::of(sandbox).map_err(HandOverError::Connection)?;
    let mut head = [0; HEAD];
    let (first, second) = head.split_at_mut(size_of::<u32>());
    for (to, bytes) in [(first, order), (second, archive)] {
        let length = u32::try_from(bytes.len()).map_err(io::Error::other);
        let length = length.map_err(HandOverError::Connection)?;
        to.copy_from_slice(&length.to_le_bytes());
    }
    for bytes in [&head[..], order, archive] {
        let sent = connection.write(bytes).await;
        sent.map_err(HandOverError::Connection)?;
    }
    until_become(&connection).await
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
    until_become(connection).await
}

/// Waits until a sandbox has done as it was told.
async fn until_become(connection: &Connection) -> Result<(), HandOverError> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Listener;
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixStream;
    use std::thread;

    /// Hands an archive over to a runtime that answers with these bytes, and returns what it was sent.
    async fn handed_over(
        archive: &[u8],
        order: &[u8],
        answer: &'static [u8],
    ) -> (Result<(), HandOverError>, Vec<u8>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let listener = Listener::bind_stream(&path).unwrap();
        let length = 8 + order.len() + archive.len();
        let runtime = thread::spawn(move || {
            let mut socket = UnixStream::connect(path).unwrap();
            let mut told = vec![0; length];
            socket.read_exact(&mut told).unwrap();
            socket.write_all(answer).unwrap();
            told
        });
        let sandbox = listener.accept().await.unwrap().into_socket().unwrap();
        let done = hand_over_files(sandbox, archive, order).await;
        (done, runtime.join().unwrap())
    }

    #[tokio::test]
    async fn files_are_handed_over() {
        let order = order::write(["x"], ["A=b"]).unwrap();
        // (More than a socket takes at once.)
        let archive = vec![7; 3 << 20];
        let (done, told) = handed_over(&archive, &order, b"").await;
        done.unwrap();
        let mut want = u32::to_le_bytes(order.len() as u32).to_vec();
        want.extend(u32::to_le_bytes(archive.len() as u32));
        want.extend(&order);
        want.extend(&archive);
        assert!(told == want);

        let (done, _) = handed_over(b"x", &order, &[28, 0, 0, 0]).await;
        let Err(HandOverError::Program(why)) = done else {
            panic!("{done:?}");
        };
        assert_eq!(why.raw_os_error(), Some(28));
        let (done, _) = handed_over(b"x", &order, b"no").await;
        assert!(
            matches!(done, Err(HandOverError::Connection(_))),
            "{done:?}"
        );
    }

    #[tokio::test]
    async fn runtime_that_is_gone_is_told_of() {
        let (near, far) = UnixStream::pair().unwrap();
        drop(far);
        let order = order::write(["x"], []).unwrap();
        let done = hand_over_files(near.into(), b"x", &order).await;
        assert!(
            matches!(done, Err(HandOverError::Connection(_))),
            "{done:?}"
        );
        let (near, _far) = UnixStream::pair().unwrap();
        let done = hand_over_files(near.into(), b"x", b"no order").await;
        assert!(matches!(done, Err(HandOverError::Order)), "{done:?}");
    }
}
