//! How a hook and the service talk: frames of one byte that says what it is, four of the length (big endian),
//! and as many bytes.

use std::io;
use std::rc::Rc;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::unix::OwnedWriteHalf;
use tokio::sync::Mutex;

/// The kind of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// To the service, first: what is asked for, in JSON.
    Request = b'R',
    /// To the service: a piece of the tree's archive.
    Data = b'D',
    /// To the service: the archive is whole.
    End = b'E',
    /// From the service: what goes to standard output.
    Output = b'O',
    /// From the service: what goes to standard error, the pusher's screen.
    Error = b'M',
    /// From the service: a byte that says what is asked of the branch.
    Ask = b'?',
    /// To the service: the answer, one byte, 1 for yes.
    Answer = b'A',
    /// From the service, last: the exit status, one byte.
    Exit = b'X',
}

impl Kind {
    const ALL: [Self; 8] = [
        Self::Request,
        Self::Data,
        Self::End,
        Self::Output,
        Self::Error,
        Self::Ask,
        Self::Answer,
        Self::Exit,
    ];
}

/// The most bytes of a frame.
pub(crate) const MAX: usize = 64 << 10;

/// Writes bytes as frames of a kind; an empty one if there are none.
pub(crate) async fn write(
    to: &mut (impl AsyncWrite + Unpin),
    kind: Kind,
    bytes: &[u8],
) -> io::Result<()> {
    let mut pieces: Vec<_> = bytes.chunks(MAX).collect();
    if pieces.is_empty() {
        pieces.push(&[]);
    }
    for piece in pieces {
        let mut frame = Vec::with_capacity(5 + piece.len());
        frame.push(kind as u8);
        frame.extend_from_slice(&(piece.len() as u32).to_be_bytes());
        frame.extend_from_slice(piece);
        to.write_all(&frame).await?;
    }
    to.flush().await
}

/// Reads a frame; none when the other side has ended.
///
/// # Errors
/// [`io::ErrorKind::InvalidData`] when it is of no kind or too long.
pub(crate) async fn read(
    from: &mut (impl AsyncRead + Unpin),
) -> io::Result<Option<(Kind, Vec<u8>)>> {
    let mut head = [0; 5];
    if from.read(&mut head[..1]).await? == 0 {
        return Ok(None);
    }
    from.read_exact(&mut head[1..]).await?;
    let kind = Kind::ALL.into_iter().find(|kind| *kind as u8 == head[0]);
    let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
    let Some(kind) = kind.filter(|_| length <= MAX) else {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the other side speaks otherwise: use the same version on both",
        ));
    };
    let mut bytes = vec![0; length];
    from.read_exact(&mut bytes).await?;
    Ok(Some((kind, bytes)))
}

/// Writes to the other side.
#[derive(Clone)]
pub(crate) struct Far(Rc<Mutex<OwnedWriteHalf>>);

impl Far {
    /// The other side of a connection.
    pub fn of(to: OwnedWriteHalf) -> Self {
        Self(Rc::new(Mutex::new(to)))
    }

    /// Writes to the pusher's screen.
    pub async fn write(&self, bytes: &[u8]) -> io::Result<()> {
        self.frame(Kind::Error, bytes).await
    }

    /// Writes bytes as frames of a kind.
    pub async fn frame(&self, kind: Kind, bytes: &[u8]) -> io::Result<()> {
        write(&mut *self.0.lock().await, kind, bytes).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn frames() {
        let mut sent = Vec::new();
        let long = vec![7; MAX + 1];
        write(&mut sent, Kind::Data, &long).await.unwrap();
        write(&mut sent, Kind::End, &[]).await.unwrap();
        let mut sent = sent.as_slice();
        let mut got = Vec::new();
        while let Some(frame) = read(&mut sent).await.unwrap() {
            got.push((frame.0, frame.1.len()));
        }
        let want = [(Kind::Data, MAX), (Kind::Data, 1), (Kind::End, 0)];
        assert_eq!(got, want);
        for kind in Kind::ALL {
            let mut sent = Vec::new();
            write(&mut sent, kind, b"x").await.unwrap();
            let got = read(&mut sent.as_slice()).await.unwrap();
            assert_eq!(got, Some((kind, b"x".to_vec())));
        }
    }

    #[tokio::test]
    async fn other_bytes() {
        for (bytes, kind) in [
            (&b"GET / HTTP/1.1\r\n"[..], io::ErrorKind::InvalidData),
            (b"D\0\x01\0\x01", io::ErrorKind::InvalidData),
            (b"D\0\0\0\x02x", io::ErrorKind::UnexpectedEof),
            (b"D\0", io::ErrorKind::UnexpectedEof),
        ] {
            let mut bytes = bytes;
            assert_eq!(read(&mut bytes).await.unwrap_err().kind(), kind);
        }
    }
}
