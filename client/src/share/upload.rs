//! One leecher, served: from its ticket to its last block.
//!
//! Three things go on at once on a connection, in one task: **intake** reads the leecher's
//! frames into a queue, **outflow** answers from it (the only writer), and the **gate** watches whether
//! the leecher may still be here. When the gate closes, the others are dropped where they stand, in
//! the middle of a run if need be.
//!
//! Invariant: no byte of a block leaves unless the ticket is valid, no revocation covers it, and the piece is on
//! offer, all checked before each run. Memory is
//! held only while holding a place (see [`Slots`]).
//!
//! Knows no sockets: the stream is generic. Knows nothing of downloads.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::connection::{ConnectionError, FrameReader, FrameWriter, frame, split};
use common::id::DeviceId;
use common::pieces::{Bitfield, BlockRange};
use common::secret::ClusterPublic;
use common::ticket::{self, CLOCK_TOLERANCE, Ticket};
use common::wire::limits::{Bytes, MAX_PEER_FRAME, MAX_RUN};
use common::wire::peer::{Goodbye, Hello, LeecherFrame, SeederFrame, VERSION};
use tokio::io::{AsyncRead, AsyncWrite, ReadHalf, WriteHalf};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::offer::{Key, Offer, Offers, ReadError, Source};
use super::queue::{Asked, Queue};
use super::revocations::Revocations;
use super::slots::{QUANTUM_TIME, Slot, Slots};
use crate::transfer::pool::{Buffer, Pool};
use crate::transfer::rate::RateLimit;

/// How long a leecher may take to say hello.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
/// How long one run may take to leave.
const RUN_TIMEOUT: Duration = Duration::from_secs(60);
/// How long the last words may take.
const FAREWELL: Duration = Duration::from_secs(2);
/// The same for one who was thrown out: what is still under way to it dies with the connection.
const FAREWELL_REVOKED: Duration = Duration::from_millis(200);
/// Blocks read ahead of the one that is being sent.
const READ_AHEAD: usize = 2;
/// Room before each run in a block's buffer, for the frame that announces it, in bytes.
const HEADROOM: usize = 16;

/// Hears of an offer that cannot be read.
pub(crate) type OnTrouble = dyn Fn(&Arc<Offer>, &ReadError) + Send + Sync;

/// What serving needs to know, and whom to tell.
pub(crate) struct Host {
    /// The cluster's key, once it is known.
    pub(crate) cluster: Box<dyn Fn() -> Option<ClusterPublic> + Send + Sync>,
    pub(crate) offers: Offers,
    pub(crate) revocations: Revocations,
    pub(crate) slots: Slots,
    pub(crate) pool: Pool,
    pub(crate) up: RateLimit,
    /// Told of an offer whose file is not what it was, or cannot be read.
    pub(crate) trouble: Box<OnTrouble>,
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum End {
    /// The leecher left, or the line broke.
    #[error("the leecher left")]
    Left,
    /// The line failed.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    /// We end it.
    #[error("{0}")]
    Goodbye(#[from] Goodbye),
}

impl From<io::Error> for End {
    fn from(e: io::Error) -> Self {
        Self::Connection(e.into())
    }
}

type Reader<S> = FrameReader<ReadHalf<S>, LeecherFrame>;
type Writer<S> = FrameWriter<WriteHalf<S>, SeederFrame>;

/// Serves `device` over `stream` until either side ends it.
pub(crate) async fn serve<S: AsyncRead + AsyncWrite>(stream: S, device: DeviceId, host: &Host) -> End {
    let (mut reader, mut writer) = split::<S, LeecherFrame, SeederFrame>(stream, MAX_PEER_FRAME);
    let (end, between_frames) = match hello(&mut reader, device, host).await {
        Ok(guest) => guest.stay(&mut reader, &mut writer).await,
        Err(end) => (end, true),
    };
    farewell(&mut reader, &mut writer, end, between_frames).await
}

/// The leecher's first frame, and whether it may be here.
async fn hello<'a, S: AsyncRead + AsyncWrite>(
    reader: &mut Reader<S>,
    device: DeviceId,
    host: &'a Host,
) -> Result<Guest<'a>, End> {
    let first = timeout(HELLO_TIMEOUT, reader.next()).await.map_err(|_| Goodbye::Violation)??;
    let Some(LeecherFrame::Hello(hello)) = first else {
        return Err(if first.is_none() { End::Left } else { Goodbye::Violation.into() });
    };
    Guest::admit(&hello, device, host).map_err(End::Goodbye)
}

/// Tells the leecher why, if a frame can be sent at all, and lets what was sent arrive.
async fn farewell<S: AsyncRead + AsyncWrite>(
    reader: &mut Reader<S>,
    writer: &mut Writer<S>,
    end: End,
    between_frames: bool,
) -> End {
    let goodbye = match &end {
        End::Goodbye(goodbye) => *goodbye,
        End::Connection(e) if e.is_violation() => Goodbye::Violation,
        End::Connection(_) | End::Left => return end,
    };
    if between_frames {
        let patience = if goodbye == Goodbye::Revoked { FAREWELL_REVOKED } else { FAREWELL };
        let parting = async {
            writer.send(&SeederFrame::Goodbye(goodbye)).await?;
            writer.shutdown().await?;
            // Closing with unread bytes would reset the connection, and the goodbye with it.
            while reader.next().await?.is_some() {}
            Ok::<_, ConnectionError>(())
        };
        // Whatever fails here, the connection ends all the same.
        let _ = timeout(patience, parting).await;
    }
    end
}

/// A leecher that was let in.
struct Guest<'a> {
    host: &'a Host,
    device: DeviceId,
    offer: Arc<Offer>,
    ticket: watch::Sender<Ticket>,
    queue: Queue,
    /// Set while a frame or run is partly written.
    writing: AtomicBool,
}

impl<'a> Guest<'a> {
    fn admit(hello: &Hello, device: DeviceId, host: &'a Host) -> Result<Self, Goodbye> {
        if hello.version != VERSION {
            return Err(Goodbye::Version(VERSION));
        }
        let cluster = (host.cluster)().ok_or(Goodbye::Ticket)?;
        let ticket = hello.ticket.admit(&cluster, device, hello.group, ticket::now()).map_err(|error| {
            tracing::debug!(%error, "a leecher's ticket was refused");
            Goodbye::Ticket
        })?;
        if host.revocations.cover(&ticket) {
            return Err(Goodbye::Revoked);
        }
        let offer = host.offers.get(Key { group: hello.group, file_id: hello.file_id }).ok_or(Goodbye::NotShared)?;
        Ok(Self {
            host,
            device,
            offer,
            ticket: watch::Sender::new(ticket),
            queue: Queue::default(),
            writing: AtomicBool::new(false),
        })
    }

    /// Until the end; says also whether the writer is between two frames.
    async fn stay<S: AsyncRead + AsyncWrite>(&self, reader: &mut Reader<S>, writer: &mut Writer<S>) -> (End, bool) {
        let end = tokio::select! {
            biased;
            goodbye = self.gate() => goodbye.into(),
            end = self.intake(reader) => end,
            end = self.outflow(writer) => end,
        };
        (end, !self.writing.load(Ordering::Relaxed))
    }

    /// Resolves when the leecher may be here no longer.
    async fn gate(&self) -> Goodbye {
        let mut ticket = self.ticket.subscribe();
        let mut revocations = self.host.revocations.watch();
        loop {
            let left = {
                let ticket = ticket.borrow_and_update();
                if revocations.borrow_and_update().cover(&ticket) {
                    return Goodbye::Revoked;
                }
                remaining(&ticket)
            };
            if left.is_zero() {
                return Goodbye::Ticket;
            }
            tokio::select! {
                _ = ticket.changed() => {}
                _ = revocations.changed() => {}
                () = sleep(left) => {}
                () = self.offer.ended() => return Goodbye::NotShared,
            }
        }
    }

    /// Reads what the leecher says.
    async fn intake<S: AsyncRead + AsyncWrite>(&self, reader: &mut Reader<S>) -> End {
        loop {
            let heard = match reader.next().await {
                Ok(Some(message)) => self.hear(message),
                Ok(None) => return End::Left,
                Err(e) => return e.into(),
            };
            if let Err(goodbye) = heard {
                return goodbye.into();
            }
        }
    }

    fn hear(&self, message: LeecherFrame) -> Result<(), Goodbye> {
        match message {
            LeecherFrame::Request { number, block } => {
                let (_, block) = self.offer.layout.check(block).ok_or(Goodbye::Violation)?;
                self.queue.push(Asked { number, block, cancelled: false })
            }
            LeecherFrame::Cancel { number } => {
                self.queue.cancel(number);
                Ok(())
            }
            LeecherFrame::Renew(newer) => {
                let group = self.offer.key.group;
                let cluster = (self.host.cluster)().ok_or(Goodbye::Ticket)?;
                let newer = newer.admit(&cluster, self.device, group, ticket::now()).map_err(|_| Goodbye::Ticket)?;
                self.ticket.send_replace(newer);
                Ok(())
            }
            LeecherFrame::Revoked(signed) => {
                if let Some(cluster) = (self.host.cluster)() {
                    self.host.revocations.add_hearsay(signed, &cluster);
                }
                Ok(())
            }
            LeecherFrame::Hello(_) => Err(Goodbye::Violation),
        }
    }

    /// Writes everything that goes to the leecher.
    async fn outflow<S: AsyncRead + AsyncWrite>(&self, writer: &mut Writer<S>) -> End {
        match self.answer(writer).await {
            Ok(never) => match never {},
            Err(end) => end,
        }
    }

    async fn answer<S: AsyncRead + AsyncWrite>(&self, writer: &mut Writer<S>) -> Result<std::convert::Infallible, End> {
        let mut pieces = self.offer.pieces();
        let mut told = pieces.borrow_and_update().clone();
        self.say(writer, &SeederFrame::Bitfield(Bytes::first_of(told.as_bytes().iter().copied()))).await?;
        loop {
            tokio::select! {
                biased;
                _ = pieces.changed() => self.tell_changes(writer, &mut pieces, &mut told).await?,
                () = self.queue.filled() => self.serve_queue(writer, &mut pieces, &mut told).await?,
            }
        }
    }

    async fn say<S: AsyncRead + AsyncWrite>(&self, writer: &mut Writer<S>, message: &SeederFrame) -> Result<(), End> {
        self.writing.store(true, Ordering::Relaxed);
        timeout(RUN_TIMEOUT, writer.send(message)).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        self.writing.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// Announces pieces that came or went since `told`.
    async fn tell_changes<S: AsyncRead + AsyncWrite>(
        &self,
        writer: &mut Writer<S>,
        pieces: &mut watch::Receiver<Bitfield>,
        told: &mut Bitfield,
    ) -> Result<(), End> {
        let now = pieces.borrow_and_update().clone();
        let layout = self.offer.layout;
        let changed: Vec<_> = layout.pieces().filter(|&p| now.has(p) != told.has(p)).collect();
        *told = now;
        for piece in changed {
            let piece_no = piece.get();
            let message = if told.has(piece) {
                SeederFrame::Have { piece: piece_no }
            } else {
                SeederFrame::Lost { piece: piece_no }
            };
            self.say(writer, &message).await?;
        }
        Ok(())
    }

    /// Answers what is queued, from one place after the other, until nothing is.
    async fn serve_queue<S: AsyncRead + AsyncWrite>(
        &self,
        writer: &mut Writer<S>,
        pieces: &mut watch::Receiver<Bitfield>,
        told: &mut Bitfield,
    ) -> Result<(), End> {
        let mut slot = self.host.slots.take().await;
        let mut ahead = VecDeque::with_capacity(READ_AHEAD);
        loop {
            let over = slot.as_ref().is_none_or(Slot::is_over);
            while !over && ahead.len() < READ_AHEAD {
                let Some(asked) = self.queue.pop() else { break };
                ahead.push_back(self.read(asked));
            }
            let Some(read) = ahead.pop_front() else {
                return Ok(writer.flush().await?);
            };
            self.send_block(writer, read, &mut slot).await?;
            if pieces.has_changed().unwrap_or(false) {
                self.tell_changes(writer, pieces, told).await?;
            }
        }
    }

    /// Starts reading a block on a thread that may block.
    fn read(&self, asked: Asked) -> Reading {
        let on_offer = self.offer.layout.piece(asked.block.piece).is_some_and(|p| self.offer.has(p));
        if asked.cancelled || !on_offer {
            return Reading { asked, bytes: None };
        }
        let offer = Arc::clone(&self.offer);
        let runs = asked.block.len.div_ceil(MAX_RUN) as usize;
        let mut buffer = self.host.pool.take(asked.block.len as usize + runs * HEADROOM);
        let at = self.offer.layout.position(asked.block);
        let bytes = tokio::task::spawn_blocking(move || {
            let file = offer.source().open()?;
            read_runs(offer.source(), &file, at, &mut buffer)?;
            Ok(buffer)
        });
        Reading { asked, bytes: Some(bytes) }
    }

    async fn send_block<S: AsyncRead + AsyncWrite>(
        &self,
        writer: &mut Writer<S>,
        read: Reading,
        slot: &mut Option<Slot>,
    ) -> Result<(), End> {
        let Reading { asked: Asked { number, block, .. }, bytes } = read;
        let Some(bytes) = bytes else {
            self.queue.forget(number);
            return self.say(writer, &SeederFrame::Cancelled { number }).await;
        };
        let read = bytes.await.map_err(io::Error::other)?;
        let mut buffer = match read {
            Ok(buffer) => buffer,
            Err(error) => return self.cannot_read(writer, number, block, &error).await,
        };
        for run in buffer.chunks_mut(HEADROOM + MAX_RUN as usize) {
            if self.queue.is_cancelled(number) {
                self.queue.forget(number);
                return self.say(writer, &SeederFrame::Cancelled { number }).await;
            }
            let len = run.len() - HEADROOM;
            self.host.up.take(len as u64).await;
            self.send_run(writer, number, run, slot).await?;
        }
        self.queue.forget(number);
        Ok(())
    }

    /// One run with its announcement in front, in a single write. Gives the place up when it takes so
    /// long that others should not wait for it.
    async fn send_run<S: AsyncRead + AsyncWrite>(
        &self,
        writer: &mut Writer<S>,
        number: u32,
        run: &mut [u8],
        slot: &mut Option<Slot>,
    ) -> Result<(), End> {
        let len = run.len() - HEADROOM;
        let header = frame(&SeederFrame::Run { number, len: len as u32 }, HEADROOM).map_err(ConnectionError::from)?;
        let start = HEADROOM - header.len();
        run[start..HEADROOM].copy_from_slice(&header);
        if slot.is_none() {
            *slot = self.host.slots.take().await;
        }
        self.writing.store(true, Ordering::Relaxed);
        let mut write = std::pin::pin!(writer.write_raw(&run[start..]));
        let mut waited = Duration::ZERO;
        loop {
            match timeout(QUANTUM_TIME, &mut write).await {
                Ok(written) => break written?,
                Err(_) if waited >= RUN_TIMEOUT => return Err(io::Error::from(io::ErrorKind::TimedOut).into()),
                Err(_) => waited += QUANTUM_TIME,
            }
            if slot.as_ref().is_some_and(Slot::is_over) {
                *slot = None;
            }
        }
        self.writing.store(false, Ordering::Relaxed);
        if let Some(slot) = slot {
            slot.spend(len as u64);
        }
        Ok(())
    }

    /// The block cannot be had: this piece is off the offer, or the whole file if it changed.
    async fn cannot_read<S: AsyncRead + AsyncWrite>(
        &self,
        writer: &mut Writer<S>,
        number: u32,
        block: BlockRange,
        error: &ReadError,
    ) -> Result<(), End> {
        self.queue.forget(number);
        if let (ReadError::Io(_), Some(piece)) = (error, self.offer.layout.piece(block.piece)) {
            self.offer.lose(piece);
        }
        (self.host.trouble)(&self.offer, error);
        self.say(writer, &SeederFrame::Cancelled { number }).await
    }
}

/// How long `ticket` still holds.
fn remaining(ticket: &Ticket) -> Duration {
    let end = ticket.expires.saturating_add(CLOCK_TOLERANCE.as_secs()).saturating_add(1);
    Duration::from_secs(end.saturating_sub(ticket::now()))
}

/// Fills `buffer` with the bytes from `at` on, leaving [`HEADROOM`] before each run.
fn read_runs(source: &Source, file: &std::fs::File, at: u64, buffer: &mut Buffer) -> Result<(), ReadError> {
    let runs = buffer.chunks_mut(HEADROOM + MAX_RUN as usize);
    let mut parts: Vec<&mut [u8]> = runs.map(|run| &mut run[HEADROOM..]).collect();
    source.read(file, at, &mut parts)
}

/// A block that is being read; without bytes when its piece is not here.
struct Reading {
    asked: Asked,
    bytes: Option<JoinHandle<Result<Buffer, ReadError>>>,
}
