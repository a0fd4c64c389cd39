//! Frames over any stream: a length (4 bytes, big-endian) and one message. The stream is generic,
//! so that TLS sockets and in-memory pipes are the same to everything above.
//!
//! A reader never allocates from a length it was told: the buffer grows as bytes arrive, and a length
//! above the limit ends the connection at once.

use std::io;
use std::marker::PhantomData;

use bytes::{Buf, Bytes, BytesMut};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};

use crate::codec;
use crate::wire::limits::MAX_FRAME;

/// Bytes of the length before each frame.
const HEADER: usize = 4;
/// How much is read at a time, in bytes, of a frame that has begun to arrive.
const READ_STEP: usize = 16 << 10;
/// How much room waits for a frame of which nothing has arrived yet, in bytes: most calls fit, and a tracker has
/// thousands of connections that wait.
const WAITING: usize = 512;
/// A longer frame leaves the room that it took to others, in bytes.
const KEPT: usize = 4 * READ_STEP;

/// Why a connection cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// The stream failed, or ended in the middle of a frame.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The other side announced a frame above the limit.
    #[error("the other side announced a frame of {len} bytes where {limit} are allowed")]
    TooLong {
        /// Announced length in bytes.
        len: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// The other side sent bytes that are not a message.
    #[error(transparent)]
    Malformed(#[from] codec::DecodeError),
    /// We tried to send what may not be sent: a defect of ours.
    #[error(transparent)]
    Unsendable(#[from] codec::EncodeError),
}

impl ConnectionError {
    /// Whether the other side broke the protocol (as opposed to a failing line).
    pub const fn is_violation(&self) -> bool {
        matches!(self, Self::TooLong { .. } | Self::Malformed(_))
    }
}

/// One message as it goes over the stream, length included; for a sender that puts it right before
/// the raw bytes it announces, so that both leave in one write.
///
/// # Errors
/// When the message is longer than `limit`.
pub fn frame<M: Serialize>(message: &M, limit: usize) -> Result<Vec<u8>, codec::EncodeError> {
    let body = codec::encode(message, limit)?;
    let len = u32::try_from(body.len()).map_err(|_| codec::EncodeError::TooLong)?;
    Ok([&len.to_be_bytes()[..], &body].concat())
}

/// Splits a stream into a frame reader for `R` and a frame writer for `W`.
pub fn split<S, R, W>(stream: S, limit: usize) -> (FrameReader<ReadHalf<S>, R>, FrameWriter<WriteHalf<S>, W>)
where
    S: AsyncRead + AsyncWrite,
    R: DeserializeOwned,
    W: Serialize,
{
    let (r, w) = tokio::io::split(stream);
    (FrameReader::new(r, limit), FrameWriter::new(w, limit))
}

/// What one read has come to.
#[derive(Debug)]
pub enum Step<M> {
    /// A whole message.
    Message(M),
    /// More bytes, of a message that the next step may find whole.
    Part,
    /// A clean end between two frames.
    End,
}

/// Reads messages `M`, each in a frame.
#[derive(Debug)]
pub struct FrameReader<S, M> {
    stream: S,
    buffer: BytesMut,
    limit: usize,
    message: PhantomData<fn() -> M>,
}

impl<S: AsyncRead + Unpin, M: DeserializeOwned> FrameReader<S, M> {
    /// A reader that refuses frames longer than `limit` bytes (at most [`MAX_FRAME`]).
    pub fn new(stream: S, limit: usize) -> Self {
        Self { stream, buffer: BytesMut::new(), limit: limit.min(MAX_FRAME), message: PhantomData }
    }

    /// Changes the limit, in bytes: it grows once the other side is known.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit.min(MAX_FRAME);
    }

    /// The next message, or `None` at a clean end between two frames.
    ///
    /// Cancel safe: bytes read so far stay in the buffer.
    ///
    /// # Errors
    /// When the stream fails or ends inside a frame, or the frame is too long or malformed.
    pub async fn next(&mut self) -> Result<Option<M>, ConnectionError> {
        loop {
            match self.step().await? {
                Step::Message(message) => return Ok(Some(message)),
                Step::Part => {}
                Step::End => return Ok(None),
            }
        }
    }

    /// As [`Self::next`], but reads once at most, for a caller that counts what others make it hold.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// As [`Self::next`].
    pub async fn step(&mut self) -> Result<Step<M>, ConnectionError> {
        if let Some(frame) = self.take_frame()? {
            return Ok(Step::Message(codec::decode(&frame, self.limit)?));
        }
        match self.fill().await? {
            0 if self.buffer.is_empty() => Ok(Step::End),
            0 => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            _ => Ok(Step::Part),
        }
    }

    /// Bytes that have arrived and are in no message yet.
    pub fn buffered(&self) -> usize {
        self.buffer.len()
    }

    fn take_frame(&mut self) -> Result<Option<Bytes>, ConnectionError> {
        let Some(header) = self.buffer.first_chunk::<HEADER>() else { return Ok(None) };
        let len = u32::from_be_bytes(*header) as usize;
        if len > self.limit {
            return Err(ConnectionError::TooLong { len, limit: self.limit });
        }
        if self.buffer.len() < HEADER + len {
            return Ok(None);
        }
        self.buffer.advance(HEADER);
        let frame = self.buffer.split_to(len).freeze();
        if len > KEPT {
            // Else what follows would keep the whole room of a long frame for as long as the connection lasts.
            self.buffer = BytesMut::from(&self.buffer[..]);
        }
        Ok(Some(frame))
    }

    async fn fill(&mut self) -> io::Result<usize> {
        if self.buffer.is_empty() {
            if self.buffer.capacity() != WAITING {
                // What a longer frame took is given back.
                self.buffer = BytesMut::with_capacity(WAITING);
            }
        } else if self.buffer.capacity() - self.buffer.len() < READ_STEP {
            self.buffer.reserve(READ_STEP);
        }
        self.stream.read_buf(&mut self.buffer).await
    }

    /// Fills `out` with the raw bytes that follow the last frame.
    ///
    /// Not cancel safe: drop the connection if this is not awaited to its end.
    ///
    /// # Errors
    /// When the stream fails or ends first.
    pub async fn read_raw(&mut self, out: &mut [u8]) -> io::Result<()> {
        let buffered = self.buffer.len().min(out.len());
        let (head, rest) = out.split_at_mut(buffered);
        self.buffer.copy_to_slice(head);
        self.stream.read_exact(rest).await.map(|_| ())
    }
}

/// Writes messages `M`, each in a frame.
#[derive(Debug)]
pub struct FrameWriter<S, M> {
    stream: S,
    limit: usize,
    message: PhantomData<fn(M)>,
}

impl<S: AsyncWrite + Unpin, M: Serialize> FrameWriter<S, M> {
    /// A writer that refuses to send frames longer than `limit` bytes.
    pub fn new(stream: S, limit: usize) -> Self {
        Self { stream, limit, message: PhantomData }
    }

    /// Changes the limit, in bytes.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit.min(MAX_FRAME);
    }

    /// Writes one message without flushing.
    ///
    /// Not cancel safe: a frame may be left half written.
    ///
    /// # Errors
    /// When the stream fails, or the message is too long.
    pub async fn feed(&mut self, message: &M) -> Result<(), ConnectionError> {
        self.stream.write_all(&frame(message, self.limit)?).await?;
        Ok(())
    }

    /// Writes one message and flushes. Not cancel safe, as [`Self::feed`].
    ///
    /// # Errors
    /// When the stream fails, or the message is too long.
    pub async fn send(&mut self, message: &M) -> Result<(), ConnectionError> {
        self.feed(message).await?;
        Ok(self.stream.flush().await?)
    }

    /// Writes raw bytes after a frame that announced them, without flushing. Not cancel safe.
    ///
    /// # Errors
    /// When the stream fails.
    pub async fn write_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// Sends what is buffered.
    ///
    /// # Errors
    /// When the stream fails.
    pub async fn flush(&mut self) -> io::Result<()> {
        self.stream.flush().await
    }

    /// Says that nothing more comes (TLS close_notify, then FIN).
    ///
    /// # Errors
    /// When the stream fails.
    pub async fn shutdown(&mut self) -> io::Result<()> {
        self.stream.shutdown().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tokio::io::duplex;

    type Reader<S> = FrameReader<S, String>;

    fn block_on<T>(f: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(f)
    }

    #[tokio::test]
    async fn messages_and_raw_bytes_pass_through_a_pipe_of_eight_bytes() {
        let (a, b) = duplex(8);
        let sender = crate::task::TaskGroup::new().spawn("sender", async move {
            let mut w = FrameWriter::<_, String>::new(a, MAX_FRAME);
            w.feed(&"first".to_owned()).await.expect("sent");
            w.write_raw(&[7; 100]).await.expect("sent");
            w.send(&"second".to_owned()).await.expect("sent");
        });
        let mut r = Reader::new(b, MAX_FRAME);
        let mut raw = [0; 100];
        assert_eq!(r.next().await.expect("frame").as_deref(), Some("first"));
        r.read_raw(&mut raw).await.expect("raw bytes");
        assert_eq!(raw, [7; 100]);
        assert_eq!(r.next().await.expect("frame").as_deref(), Some("second"));
        assert!(r.next().await.expect("clean end").is_none());
        sender.await.expect("sender");
    }

    #[tokio::test]
    async fn an_overlong_announcement_ends_it_before_anything_is_allocated() {
        let (mut a, b) = duplex(64);
        a.write_all(&u32::MAX.to_be_bytes()).await.expect("written");
        let mut r = Reader::new(b, 1000);
        assert!(matches!(r.next().await, Err(ConnectionError::TooLong { limit: 1000, .. })));
        assert!(r.buffer.capacity() <= 2 * READ_STEP);
    }

    #[tokio::test]
    async fn a_long_frame_leaves_no_room_behind() {
        let long = "x".repeat(MAX_FRAME / 2);
        let bytes = [frame(&long, MAX_FRAME), frame(&"next".to_owned(), MAX_FRAME)].map(|f| f.expect("fits")).concat();
        let mut r = Reader::new(&bytes[..], MAX_FRAME);
        assert!(r.next().await.expect("frame").is_some_and(|got| got == long));
        assert!(r.buffer.capacity() <= 2 * KEPT, "{}", r.buffer.capacity());
        assert_eq!(r.next().await.expect("frame").as_deref(), Some("next"));
    }

    #[tokio::test]
    async fn who_waits_has_little_room() {
        let (mut w, r) = duplex(1 << 20);
        let mut r = Reader::new(r, MAX_FRAME);
        for len in [10, WAITING, 3 * READ_STEP, KEPT + 1, 10] {
            let sent = "x".repeat(len);
            w.write_all(&frame(&sent, MAX_FRAME).expect("fits")).await.expect("written");
            assert!(r.next().await.expect("frame").is_some_and(|got| got == sent));
            assert!(tokio::time::timeout(std::time::Duration::ZERO, r.next()).await.is_err());
            assert_eq!(r.buffer.capacity(), WAITING, "after {len}");
        }
    }

    #[tokio::test]
    async fn a_truncated_frame_is_an_error() {
        let (mut a, b) = duplex(64);
        a.write_all(&[0, 0, 0, 9, 1, 2]).await.expect("written");
        drop(a);
        assert!(matches!(Reader::new(b, 1000).next().await, Err(ConnectionError::Io(_))));
    }

    proptest! {
        #[test]
        fn random_bytes_never_do_more_than_fail(bytes: Vec<u8>) {
            block_on(async {
                let mut r = FrameReader::<_, crate::wire::client::ClientFrame>::new(&bytes[..], 4096);
                while let Ok(Some(_)) = r.next().await {}
            });
        }
    }
}
