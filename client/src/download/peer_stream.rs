//! An encrypted connection to a seeder, as frames: how it is made, and what is kept of it from one file to the next.
//!
//! Knows sockets only in [`dial`]; a [`PeerStream`] is over any stream.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use common::connection::{ConnectionError, FrameReader, FrameWriter, split};
use common::id::DeviceId;
use common::tls::{PeerConnector, SOCKET_BUFFER_BYTES, Stream, TlsError, serves_again};
use common::wire::limits::MAX_PEER_FRAME;
use common::wire::peer::{LeecherFrame, SeederFrame};
use tokio::io::{AsyncRead, AsyncWrite, BufReader, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::peer::PeerEnd;

/// How long a TCP connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// What connections to seeders are made of.
pub(crate) type Socket = Stream<BufReader<TcpStream>>;

pub(crate) type Reader<S> = FrameReader<ReadHalf<S>, SeederFrame>;
pub(crate) type Writer<S> = FrameWriter<WriteHalf<S>, LeecherFrame>;

/// A connection to a seeder between two files, or before the first.
#[derive(Debug)]
pub(crate) struct PeerStream<S> {
    pub(crate) reader: Reader<S>,
    pub(crate) writer: Writer<S>,
    /// How long the idle line takes, there and back.
    pub(crate) round_trip: Duration,
    /// Whether the seeder gives one file after another over it.
    pub(crate) serves_again: bool,
    /// Whether it has served a file: of that one, news may still come.
    pub(crate) is_used: bool,
}

impl<S: AsyncRead + AsyncWrite> PeerStream<S> {
    /// Over `stream`, which is new.
    pub(crate) fn new(stream: S, round_trip: Duration, serves_again: bool) -> Self {
        let (reader, writer) = split(stream, MAX_PEER_FRAME);
        Self { reader, writer, round_trip, serves_again, is_used: false }
    }

    /// Says that the file is done with. Not cancel safe: the stream is of no use if this is dropped.
    pub(crate) async fn rest(&mut self) -> Result<(), ConnectionError> {
        self.is_used = true;
        self.writer.send(&LeecherFrame::Rest).await
    }

    /// Resolves when the seeder ends the connection, or breaks the protocol. Cancel safe.
    pub(crate) async fn ended(&mut self) {
        while let Ok(Some(SeederFrame::Have { .. } | SeederFrame::Lost { .. })) = self.reader.next().await {}
    }
}

/// Connects to the device `expected` at `address`.
pub(crate) async fn dial(
    connector: &PeerConnector,
    address: SocketAddr,
    expected: DeviceId,
) -> Result<PeerStream<Socket>, PeerEnd> {
    let start = Instant::now();
    let connected = timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await;
    let stream = connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())).map_err(PeerEnd::Unreachable)?;
    let round_trip = start.elapsed();
    // The system's own buffers grow with the connection; setting them here would stop that.
    stream.set_nodelay(true)?;
    let stream = BufReader::with_capacity(SOCKET_BUFFER_BYTES, stream);
    let stream = connector.connect(stream, expected).await.map_err(|e| match e {
        TlsError::Io(e) => PeerEnd::Unreachable(e),
        e => PeerEnd::Tls(e),
    })?;
    let again = serves_again(&stream);
    Ok(PeerStream::new(stream, round_trip, again))
}
