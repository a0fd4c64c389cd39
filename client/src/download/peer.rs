//! One connection to a seeder: asks for blocks and hands them over as they come.
//!
//! Two things go on at once, in one task: orders from the swarm become frames, and what comes becomes
//! [`FromPeer`]. Invariant: no more is ever taken than was asked for, and a block is handed over only when all
//! of it is there. Whether its bytes are right is not known here.
//!
//! The first requests go out with the greeting: what the seeder has not got of them, it refuses. When nothing is under way
//! at the end of the orders, the connection is given back for the next file.
//!
//! Knows no sockets: [`fetch`] takes any stream.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use common::connection::ConnectionError;
use common::pieces::{Bitfield, BlockRange, PieceIndex, PieceLayout};
use common::ticket::{Revocation, Signed, Ticket};
use common::tls::{TlsError, classify};
use common::wire::limits::MAX_RUN;
use common::wire::peer::{Goodbye, Hello, LeecherFrame, SeederFrame};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::peer_stream::{PeerStream, Reader, Writer};
use super::picker::PeerKey;
use crate::transfer::pool::{Buffer, Pool};
use crate::transfer::rate::RateLimits;

/// How long a seeder may take to answer our hello.
const BITFIELD_TIMEOUT: Duration = Duration::from_secs(10);
/// The same over a connection that has rested: nobody may have noticed that the line is dead, and another is soon made.
const RESTED_TIMEOUT: Duration = Duration::from_secs(3);
/// How long the last word to a seeder may take.
const PARTING: Duration = Duration::from_millis(200);
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
    /// It has been greeted: what is asked of it now goes out with the greeting.
    Greeted { round_trip: Duration },
    /// It serves us, and has these pieces.
    Ready { has: Bitfield },
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

/// One connection's part of a download.
#[derive(Clone)]
pub(crate) struct Fetch {
    pub(crate) key: PeerKey,
    pub(crate) layout: PieceLayout,
    pub(crate) pool: Pool,
    pub(crate) down: RateLimits,
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

/// Why a connection ended, and what is left of it for another file.
pub(crate) type Fetched<S> = (PeerEnd, Option<PeerStream<S>>);

/// Fetches over `stream` what `orders` ask for, until they end or the connection does.
pub(crate) async fn fetch<S: AsyncRead + AsyncWrite>(
    mut stream: PeerStream<S>,
    hello: Hello,
    fetch: Fetch,
    orders: mpsc::Receiver<ToPeer>,
) -> Fetched<S> {
    if let Err(error) = stream.writer.send(&LeecherFrame::Hello(hello)).await {
        return (error.into(), None);
    }
    fetch.tell(FromPeer::Greeted { round_trip: stream.round_trip }).await;
    let (asked, is_used) = (Mutex::new(Asked::default()), stream.is_used);
    let failed = tokio::select! {
        end = fetch.receive(&mut stream.reader, &asked, is_used) => Some(end),
        end = order(&mut stream.writer, &asked, orders) => end,
    };
    if let Some(end) = failed {
        return (end, None);
    }
    // Our own wish: nobody listens to the reason.
    let end = PeerEnd::Lost(io::Error::from(io::ErrorKind::ConnectionAborted).into());
    let may_rest = stream.serves_again && locked(&asked).is_at_rest();
    let rests = if may_rest {
        timeout(PARTING, stream.rest()).await.is_ok_and(|said| said.is_ok())
    } else {
        let _ = timeout(PARTING, stream.writer.shutdown()).await; // The connection ends either way.
        false
    };
    (end, rests.then_some(stream))
}

/// The requests that are out. Guards itself; never held over an await.
#[derive(Debug, Default)]
struct Asked {
    /// Whether the seeder has said what it has.
    is_served: bool,
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

    /// Whether nothing is to come any more.
    fn is_at_rest(&self) -> bool {
        self.is_served && self.blocks.is_empty()
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

/// Turns orders into frames. Resolves when the swarm has no more orders, or the line fails: then it says how.
async fn order<S: AsyncRead + AsyncWrite>(
    writer: &mut Writer<S>,
    asked: &Mutex<Asked>,
    mut orders: mpsc::Receiver<ToPeer>,
) -> Option<PeerEnd> {
    while let Some(first) = orders.recv().await {
        let mut next = Some(first);
        while let Some(one) = next {
            if let Err(e) = obey(writer, asked, one).await {
                return Some(e.into());
            }
            next = orders.try_recv().ok();
        }
        if let Err(e) = writer.flush().await {
            return Some(e.into());
        }
    }
    None
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
    /// What the seeder has. `is_used`: news of the file before may come first.
    async fn welcome<S: AsyncRead + AsyncWrite>(&self, reader: &mut Reader<S>, is_used: bool) -> Result<(), PeerEnd> {
        loop {
            return match reader.next().await? {
                Some(SeederFrame::Bitfield(bytes)) => {
                    let has = Bitfield::from_bytes(self.layout, &bytes);
                    let has = has.ok_or(PeerEnd::Violation("a bitfield that does not fit the file"))?;
                    self.tell(FromPeer::Ready { has }).await;
                    Ok(())
                }
                Some(SeederFrame::Have { .. } | SeederFrame::Lost { .. }) if is_used => continue,
                Some(SeederFrame::Goodbye(goodbye)) => Err(PeerEnd::Goodbye(goodbye)),
                Some(_) => Err(PeerEnd::Violation("something else before its bitfield")),
                None => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            };
        }
    }

    async fn tell(&self, event: FromPeer) {
        // A swarm that has gone wants nothing; this task is about to be cancelled.
        let _ = self.events.send((self.key, event)).await;
    }

    async fn receive<S: AsyncRead + AsyncWrite>(
        &self,
        reader: &mut Reader<S>,
        asked: &Mutex<Asked>,
        is_used: bool,
    ) -> PeerEnd {
        let patience = if is_used { RESTED_TIMEOUT } else { BITFIELD_TIMEOUT };
        match timeout(patience, self.welcome(reader, is_used)).await {
            Ok(Ok(())) => locked(asked).is_served = true,
            Ok(Err(end)) => return end,
            Err(_) => return PeerEnd::Lost(io::Error::from(io::ErrorKind::TimedOut).into()),
        }
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
