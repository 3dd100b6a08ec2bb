//! Sockets of the host that give each message whole, with open files: `SOCK_SEQPACKET` of unix(7). For programs in
//! languages that don't know them there are streams, too, without files.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener as StdUnixListener, UnixStream as StdUnixStream};
use std::path::Path;

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
    bind, connect, listen, recvmsg, send, sendmsg, socket_with,
};
use tokio::io::Interest;
use tokio::net::{UnixListener, UnixStream};

/// The most files of a message.
pub const FILES: usize = 2;

/// How many connections may wait until they are accepted.
const BACKLOG: i32 = 128;

/// A message that was received.
#[derive(Debug)]
pub struct Message {
    /// What it says; nothing if the other side has closed the connection.
    pub bytes: Vec<u8>,
    /// The files that came along.
    pub files: Vec<OwnedFd>,
}

/// A connection. To tokio any socket of this family is a stream; messages are sent and received by calls that know
/// better.
#[derive(Debug)]
pub struct Connection(UnixStream);

impl Connection {
    /// Connects to whoever listens at a path.
    ///
    /// # Errors
    /// Those of connect(2). That there are too many who wait already is one of them.
    pub fn open(path: &Path) -> io::Result<Self> {
        let socket = socket(SocketType::SEQPACKET)?;
        connect(&socket, &SocketAddrUnix::new(path)?)?;
        Self::of(socket)
    }

    /// A connection that was opened elsewhere.
    ///
    /// # Errors
    /// When it can't be waited for.
    pub fn of(socket: OwnedFd) -> io::Result<Self> {
        let socket = StdUnixStream::from(socket);
        socket.set_nonblocking(true)?;
        UnixStream::from_std(socket).map(Self)
    }

    /// The connection itself, to be sent elsewhere.
    ///
    /// # Errors
    /// When it can't be taken out of the event loop.
    pub fn into_socket(self) -> io::Result<OwnedFd> {
        self.0.into_std().map(OwnedFd::from)
    }

    /// Sends a message with files, [`FILES`] at most.
    ///
    /// # Errors
    /// When the other side is gone, or there are more files.
    pub async fn send(&self, bytes: &[u8], files: &[BorrowedFd<'_>]) -> io::Result<()> {
        let sent = self.0.async_io(Interest::WRITABLE, || {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FILES))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            // (For alignment there may be room for one more.)
            let is_told = files.is_empty() || control.push(SendAncillaryMessage::ScmRights(files));
            if files.len() > FILES || !is_told {
                return Err(io::ErrorKind::InvalidInput.into());
            }
            let pieces = [IoSlice::new(bytes)];
            Ok(sendmsg(
                &self.0,
                &pieces,
                &mut control,
                SendFlags::NOSIGNAL,
            )?)
        });
        sent.await.map(drop)
    }

    /// Sends bytes over a stream, however many they are.
    ///
    /// # Errors
    /// When the other side is gone.
    pub async fn write(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let sent = self.0.async_io(Interest::WRITABLE, || {
                Ok(send(&self.0, bytes, SendFlags::NOSIGNAL)?)
            });
            bytes = &bytes[sent.await?..];
        }
        Ok(())
    }

    /// Receives a message of at most `limit` bytes.
    ///
    /// # Errors
    /// When the connection is broken, or the message is larger or has more files than [`FILES`].
    pub async fn receive(&self, limit: usize) -> io::Result<Message> {
        let received = self.0.async_io(Interest::READABLE, || {
            let mut bytes = vec![0; limit];
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FILES))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let mut pieces = [IoSliceMut::new(&mut bytes)];
            let flags = RecvFlags::CMSG_CLOEXEC;
            let received = recvmsg(&self.0, &mut pieces, &mut control, flags)?;
            // (What has come is closed when it is dropped.)
            let mut files = Vec::new();
            for message in control.drain() {
                if let RecvAncillaryMessage::ScmRights(rights) = message {
                    files.extend(rights);
                }
            }
            let cut = ReturnFlags::TRUNC | ReturnFlags::CTRUNC;
            if received.flags.intersects(cut) || files.len() > FILES {
                return Err(io::ErrorKind::InvalidData.into());
            }
            bytes.truncate(received.bytes);
            Ok(Message { bytes, files })
        });
        received.await
    }
}

/// Somebody who can be connected to.
#[derive(Debug)]
pub struct Listener(UnixListener);

impl Listener {
    /// Listens at a path, at which nothing may be.
    ///
    /// # Errors
    /// Those of bind(2).
    pub fn bind(path: &Path) -> io::Result<Self> {
        Self::bind_with(path, SocketType::SEQPACKET)
    }

    /// The same for streams.
    ///
    /// # Errors
    /// As of [`Listener::bind`].
    pub fn bind_stream(path: &Path) -> io::Result<Self> {
        Self::bind_with(path, SocketType::STREAM)
    }

    fn bind_with(path: &Path, kind: SocketType) -> io::Result<Self> {
        let socket = socket(kind)?;
        bind(&socket, &SocketAddrUnix::new(path)?)?;
        listen(&socket, BACKLOG)?;
        let socket = StdUnixListener::from(socket);
        socket.set_nonblocking(true)?;
        UnixListener::from_std(socket).map(Self)
    }

    /// The next connection.
    ///
    /// # Errors
    /// Those of accept(2), such as too many open files.
    pub async fn accept(&self) -> io::Result<Connection> {
        self.0.accept().await.map(|(stream, _)| Connection(stream))
    }
}

/// A socket for streams at a path, at which nothing may be. Nobody is listened to there until whoever gets it does.
///
/// # Errors
/// Those of bind(2).
pub fn bound(path: &Path) -> io::Result<OwnedFd> {
    let socket = socket(SocketType::STREAM)?;
    bind(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket)
}

fn socket(kind: SocketType) -> io::Result<OwnedFd> {
    Ok(socket_with(
        AddressFamily::UNIX,
        kind,
        SocketFlags::CLOEXEC,
        None,
    )?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Seek as _, Write as _};
    use std::os::fd::AsFd as _;

    #[tokio::test]
    async fn messages_arrive_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let listener = Listener::bind(&path).unwrap();
        assert!(Listener::bind(&path).is_err(), "somebody is there");
        let one = Connection::open(&path).unwrap();
        let other = listener.accept().await.unwrap();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"in the file").unwrap();
        file.rewind().unwrap();
        one.send(b"first", &[file.as_fd()]).await.unwrap();
        one.send(b"second", &[]).await.unwrap();
        let first = other.receive(100).await.unwrap();
        assert_eq!(first.bytes, b"first");
        let mut text = String::new();
        let mut files = first.files.into_iter().map(std::fs::File::from);
        files.next().unwrap().read_to_string(&mut text).unwrap();
        assert_eq!((&*text, files.count()), ("in the file", 0));
        let second = other.receive(100).await.unwrap();
        assert_eq!((&*second.bytes, second.files.len()), (&b"second"[..], 0));

        one.send(b"too long", &[]).await.unwrap();
        let error = other.receive(3).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        let many = [file.as_fd(); FILES + 1];
        let error = one.send(b"x", &many).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        // It is a connection wherever it goes.
        let one = Connection::of(one.into_socket().unwrap()).unwrap();
        one.send(b"third", &[]).await.unwrap();
        assert_eq!(other.receive(100).await.unwrap().bytes, b"third");
        drop(one);
        assert!(other.receive(100).await.unwrap().bytes.is_empty());
    }
}
