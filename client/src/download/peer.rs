//! One connection to a seeder: asks for blocks and hands them over as they come.
//!
//! Two things go on at once, in one task: orders from the swarm become frames, and what comes becomes
//! [`FromPeer`]. Invariant: no more is ever taken than was asked for, and a block is handed over only when all
//! of it is there. Whether its bytes are right is not known here.
//!
//! Knows no sockets but in [`dial`]: [`fetch`] takes any stream.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use common::connection::{ConnectionError, FrameReader, FrameWriter, split};
use common::id::DeviceId;
use common::pieces::{Bitfield, BlockRange, PieceIndex, PieceLayout};
use common::ticket::{Revocation, Signed, Ticket};
use common::tls::{PeerConnector, SOCKET_BUFFER_BYTES, Stream, TlsError, classify};
use common::wire::limits::{MAX_PEER_FRAME, MAX_RUN};
use common::wire::peer::{Goodbye, Hello, LeecherFrame, SeederFrame};
use tokio::io::{AsyncRead, AsyncWrite, BufReader, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::picker::PeerKey;
use crate::transfer::pool::{Buffer, Pool};
use crate::transfer::rate::RateLimit;

/// How long a TCP connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a seeder may take to answer our hello.
const BITFIELD_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes read before they are counted: a slow seeder must be seen to be alive.
const STEP: usize = 16 << 10;

/// What the swarm wants of a peer.
#[derive(Debug)]
pub(crate) enum ToPeer {
    /// These blocks.
    Request(Vec<BlockRange>),
    /// No longer this block.
    Cancel(BlockRange),
    /// The seeder should see this newer ticket.
    Renew(Signed<Ticket>),
    /// The seeder should hear of this.
    Revoked(Signed<Revocation>),
}

/// What comes of a peer.
#[derive(Debug)]
pub(crate) enum FromPeer {
    /// It serves us, and has these pieces.
    Ready { has: Bitfield, round_trip: Duration },
    /// It has one more.
    Have(PieceIndex),
    /// It no longer gives this one.
    Lost(PieceIndex),
    /// All bytes of a block.
    Block(BlockRange, Buffer),
    /// It will not send (the rest of) this block.
    Cancelled(BlockRange),
    /// The connection has ended. The last event.
    Ended(PeerEnd),
}

/// An event, and whose it is.
pub(crate) type Event = (PeerKey, FromPeer);

/// Why a connection to a seeder ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PeerEnd {
    /// It could not be reached.
    #[error("it cannot be reached: {0}")]
    Unreachable(io::Error),
    /// It is not who the trackers said, or does not speak our language.
    #[error("{0}")]
    Tls(TlsError),
    /// It said goodbye.
    #[error("{0}")]
    Goodbye(Goodbye),
    /// It broke the protocol.
    #[error("it broke the protocol: {0}")]
    Violation(&'static str),
    /// The line failed, or it left without a word.
    #[error("the connection was lost: {0}")]
    Lost(ConnectionError),
}

impl From<ConnectionError> for PeerEnd {
    fn from(e: ConnectionError) -> Self {
        match e {
            ConnectionError::Io(e) => match classify(e) {
                TlsError::Io(e) => Self::Lost(e.into()),
                tls => Self::Tls(tls),
            },
            e if e.is_violation() => Self::Violation("a frame that is none"),
            e => Self::Lost(e),
        }
    }
}

impl From<io::Error> for PeerEnd {
    fn from(e: io::Error) -> Self {
        ConnectionError::from(e).into()
    }
}

/// An encrypted connection to the device `expected` at `address`, and its round trip.
pub(crate) async fn dial(
    connector: &PeerConnector,
    address: SocketAddr,
    expected: DeviceId,
) -> Result<(Stream<BufReader<TcpStream>>, Duration), PeerEnd> {
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
    Ok((stream, round_trip))
}

/// One connection's part of a download.
#[derive(Clone)]
pub(crate) struct Fetch {
    pub(crate) key: PeerKey,
    pub(crate) layout: PieceLayout,
    pub(crate) round_trip: Duration,
    pub(crate) pool: Pool,
    pub(crate) down: RateLimit,
    pub(crate) gauge: Arc<Gauge>,
    pub(crate) events: mpsc::Sender<Event>,
}

/// What the swarm can see of a connection at any time.
#[derive(Debug, Default)]
pub(crate) struct Gauge {
    /// Every byte of content that has come.
    pub(crate) received: AtomicU64,
    /// Nothing is read at the moment because of our own limit.
    pub(crate) held_back: AtomicBool,
}

type Reader<S> = FrameReader<ReadHalf<S>, SeederFrame>;
type Writer<S> = FrameWriter<WriteHalf<S>, LeecherFrame>;

/// Fetches over `stream` what `orders` ask for, until they end or the connection does.
pub(crate) async fn fetch<S: AsyncRead + AsyncWrite>(
    stream: S,
    hello: Hello,
    fetch: Fetch,
    orders: mpsc::Receiver<ToPeer>,
) -> PeerEnd {
    let (mut reader, mut writer) = split::<S, SeederFrame, LeecherFrame>(stream, MAX_PEER_FRAME);
    if let Err(end) = fetch.greet(&mut reader, &mut writer, hello).await {
        return end;
    }
    let asked = Mutex::new(Asked::default());
    tokio::select! {
        end = fetch.receive(&mut reader, &asked) => end,
        end = order(&mut writer, &asked, orders) => end,
    }
}

/// The requests that are out. Guards itself; never held over an await.
#[derive(Debug, Default)]
struct Asked {
    last: u32,
    numbers: HashMap<BlockRange, u32>,
    blocks: HashMap<u32, Incoming>,
}

/// A block that is coming in.
#[derive(Debug)]
struct Incoming {
    block: BlockRange,
    bytes: Option<Buffer>,
    filled: usize,
}

impl Asked {
    /// A number for a request. A block may be asked for again while the answer to its cancellation is
    /// still on the way.
    fn add(&mut self, block: BlockRange) -> u32 {
        self.last = self.last.wrapping_add(1);
        self.numbers.insert(block, self.last);
        self.blocks.insert(self.last, Incoming { block, bytes: None, filled: 0 });
        self.last
    }

    fn remove(&mut self, number: u32) -> Option<Incoming> {
        let incoming = self.blocks.remove(&number)?;
        if self.numbers.get(&incoming.block) == Some(&number) {
            self.numbers.remove(&incoming.block);
        }
        Some(incoming)
    }
}

fn locked(asked: &Mutex<Asked>) -> std::sync::MutexGuard<'_, Asked> {
    asked.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Turns orders into frames. Resolves when the swarm has no more orders, or the line fails.
async fn order<S: AsyncRead + AsyncWrite>(
    writer: &mut Writer<S>,
    asked: &Mutex<Asked>,
    mut orders: mpsc::Receiver<ToPeer>,
) -> PeerEnd {
    while let Some(first) = orders.recv().await {
        let mut next = Some(first);
        while let Some(one) = next {
            if let Err(e) = obey(writer, asked, one).await {
                return e.into();
            }
            next = orders.try_recv().ok();
        }
        if let Err(e) = writer.flush().await {
            return e.into();
        }
    }
    // Our own wish: nobody listens to the reason.
    let _ = timeout(Duration::from_millis(200), writer.shutdown()).await;
    PeerEnd::Lost(io::Error::from(io::ErrorKind::ConnectionAborted).into())
}

async fn obey<S: AsyncRead + AsyncWrite>(
    writer: &mut Writer<S>,
    asked: &Mutex<Asked>,
    one: ToPeer,
) -> Result<(), ConnectionError> {
    match one {
        ToPeer::Request(blocks) => {
            for block in blocks {
                let number = locked(asked).add(block);
                writer.feed(&LeecherFrame::Request { number, block }).await?;
            }
            Ok(())
        }
        ToPeer::Cancel(block) => {
            let number = locked(asked).numbers.get(&block).copied();
            match number {
                Some(number) => writer.feed(&LeecherFrame::Cancel { number }).await,
                None => Ok(()),
            }
        }
        ToPeer::Renew(ticket) => writer.feed(&LeecherFrame::Renew(ticket)).await,
        ToPeer::Revoked(revocation) => writer.feed(&LeecherFrame::Revoked(revocation)).await,
    }
}

impl Fetch {
    /// Hello, and what the seeder has.
    async fn greet<S: AsyncRead + AsyncWrite>(
        &self,
        reader: &mut Reader<S>,
        writer: &mut Writer<S>,
        hello: Hello,
    ) -> Result<(), PeerEnd> {
        writer.send(&LeecherFrame::Hello(hello)).await?;
        let silent = |_| PeerEnd::Lost(io::Error::from(io::ErrorKind::TimedOut).into());
        match timeout(BITFIELD_TIMEOUT, reader.next()).await.map_err(silent)?? {
            Some(SeederFrame::Bitfield(bytes)) => {
                let has = Bitfield::from_bytes(self.layout, &bytes);
                let has = has.ok_or(PeerEnd::Violation("a bitfield that does not fit the file"))?;
                self.tell(FromPeer::Ready { has, round_trip: self.round_trip }).await;
                Ok(())
            }
            Some(SeederFrame::Goodbye(goodbye)) => Err(PeerEnd::Goodbye(goodbye)),
            Some(_) => Err(PeerEnd::Violation("something else before its bitfield")),
            None => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
        }
    }

    async fn tell(&self, event: FromPeer) {
        // A swarm that has gone wants nothing; this task is about to be cancelled.
        let _ = self.events.send((self.key, event)).await;
    }

    async fn receive<S: AsyncRead + AsyncWrite>(&self, reader: &mut Reader<S>, asked: &Mutex<Asked>) -> PeerEnd {
        loop {
            let message = match reader.next().await {
                Ok(Some(message)) => message,
                Ok(None) => return io::Error::from(io::ErrorKind::UnexpectedEof).into(),
                Err(e) => return e.into(),
            };
            if let Err(end) = self.hear(message, reader, asked).await {
                return end;
            }
        }
    }

    async fn hear<S: AsyncRead + AsyncWrite>(
        &self,
        message: SeederFrame,
        reader: &mut Reader<S>,
        asked: &Mutex<Asked>,
    ) -> Result<(), PeerEnd> {
        let piece = |number| self.layout.piece(number).ok_or(PeerEnd::Violation("a piece that does not exist"));
        match message {
            SeederFrame::Run { number, len } => return self.take_run(number, len, reader, asked).await,
            SeederFrame::Have { piece: number } => self.tell(FromPeer::Have(piece(number)?)).await,
            SeederFrame::Lost { piece: number } => self.tell(FromPeer::Lost(piece(number)?)).await,
            SeederFrame::Cancelled { number } => {
                let incoming = locked(asked).remove(number).ok_or(PeerEnd::Violation("an answer to nothing"))?;
                self.tell(FromPeer::Cancelled(incoming.block)).await;
            }
            SeederFrame::Goodbye(goodbye) => return Err(PeerEnd::Goodbye(goodbye)),
            SeederFrame::Bitfield(_) => return Err(PeerEnd::Violation("a second bitfield")),
        }
        Ok(())
    }

    /// Reads the bytes of a run into their block.
    async fn take_run<S: AsyncRead + AsyncWrite>(
        &self,
        number: u32,
        len: u32,
        reader: &mut Reader<S>,
        asked: &Mutex<Asked>,
    ) -> Result<(), PeerEnd> {
        let (block, filled, bytes) = {
            let mut asked = locked(asked);
            let incoming = asked.blocks.get_mut(&number).ok_or(PeerEnd::Violation("bytes that nobody asked for"))?;
            (incoming.block, incoming.filled, incoming.bytes.take())
        };
        let end = filled + len as usize;
        if len == 0 || len > MAX_RUN || end > block.len as usize {
            return Err(PeerEnd::Violation("a run that is too long"));
        }
        let mut bytes = bytes.unwrap_or_else(|| self.pool.take(block.len as usize));
        for step in bytes[filled..end].chunks_mut(STEP) {
            reader.read_raw(step).await?;
            self.gauge.received.fetch_add(step.len() as u64, Ordering::Relaxed);
        }
        self.gauge.held_back.store(true, Ordering::Relaxed);
        self.down.take(u64::from(len)).await;
        self.gauge.held_back.store(false, Ordering::Relaxed);
        if end == block.len as usize {
            locked(asked).remove(number);
            self.tell(FromPeer::Block(block, bytes)).await;
        } else if let Some(incoming) = locked(asked).blocks.get_mut(&number) {
            incoming.filled = end;
            incoming.bytes = Some(bytes);
        }
        Ok(())
    }
}
