//! What goes to one leecher: news of pieces, and the blocks it asked for, from one place after the other.
//!
//! Invariant: the bytes of blocks, and what the stream beneath has taken and not passed on, are paid for from
//! [`Memory`](crate::share::memory::Memory). A leecher that has not taken anything yet is read a little at a time.
//! Who takes so long that others should not wait gives up its place, and with it all that was read for it but the run that
//! is being written.

use std::collections::VecDeque;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use common::connection::{ConnectionError, frame};
use common::pieces::{Bitfield, BlockRange};
use common::tls::OUTPUT_BUFFER_BYTES;
use common::wire::limits::{self, MAX_RUN};
use common::wire::peer::SeederFrame;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::session::UploadSession;
use super::{End, Writer};
use crate::share::memory::Held;
use crate::share::offer::{Opened, ReadError};
use crate::share::queue::{Asked, Queue};
use crate::share::slots::Slot;
use crate::transfer::pool::Buffer;

/// Blocks read ahead of the one that is being sent, while they come from the disk.
const READ_AHEAD: usize = 2;
/// How much a leecher must have taken before it is trusted with whole blocks, in bytes: more than the system takes for
/// one that reads nothing.
const PROVEN: u64 = 4 << 20;
/// Until then it is read so much, in bytes, and that has to leave before more is read.
const LITTLE: u32 = 64 << 10;
/// What the stream may hold of that, in bytes: the same, encrypted.
const LITTLE_OUTPUT: usize = LITTLE as usize + (4 << 10);
/// How long nothing is taken before the place goes to somebody who waits.
const STALLED: Duration = Duration::from_millis(100);
/// Room before each run in a block's buffer, for the frame that announces it, in bytes.
const HEADROOM: usize = 16;

/// Writes everything that goes to the leecher.
pub(super) struct BlockSender<'a, S> {
    session: &'a UploadSession<'a>,
    writer: &'a mut Writer<S>,
    /// The pieces on offer, and those that the leecher knows of.
    pieces: watch::Receiver<Bitfield>,
    told: Bitfield,
    turn: Turn,
    /// For what the stream may hold; given back when all of it has left.
    output: Option<Held>,
    /// That is so little that all has to leave before more is read.
    flush_each: bool,
}

/// A place, and what was read while it was held.
#[derive(Default)]
struct Turn {
    slot: Option<Slot>,
    ahead: VecDeque<Reading>,
    /// Kept open from block to block.
    file: Option<Opened>,
    /// The last block was not in the page cache.
    cold: bool,
}

/// A block, or the part of it that is to be sent now, and where its bytes are.
struct Reading {
    asked: Asked,
    /// How many bytes of it were read.
    len: u32,
    bytes: Bytes,
}

/// What may be read.
struct Grant {
    held: Held,
    /// How many bytes of the block.
    len: u32,
}

enum Bytes {
    /// The piece is not here.
    Gone,
    /// They were in the page cache.
    Ready(Result<Block, ReadError>),
    /// A thread that may block fetches them, and opens the file if need be.
    Coming(JoinHandle<Result<(Block, Opened), ReadError>>),
}

/// A block that has been read, and the memory that it is paid from.
struct Block {
    buffer: Buffer,
    _held: Held,
}

impl Turn {
    /// Whether others should have their turn.
    fn is_over(&self) -> bool {
        self.slot.as_ref().is_none_or(Slot::is_over)
    }

    /// Gives the place up, and what was read ahead back to the queue.
    fn give_up(&mut self, queue: &Queue) {
        self.slot = None;
        self.file = None;
        while let Some(read) = self.ahead.pop_back() {
            queue.put_back(read.asked);
        }
    }

    /// Waits for `work`; gives the place up when others wait for it and the leecher takes nothing, or has had its turn.
    async fn wait_for<T>(&mut self, work: impl Future<Output = T>, session: &UploadSession<'_>) -> T {
        let mut work = pin!(work);
        let mut taken = session.connection_slot.taken.bytes();
        loop {
            if let Ok(done) = timeout(STALLED, &mut work).await {
                return done;
            }
            let before = std::mem::replace(&mut taken, session.connection_slot.taken.bytes());
            if self.slot.as_ref().is_some_and(|slot| slot.is_over() || (taken == before && slot.is_wanted())) {
                self.give_up(&session.queue);
            }
        }
    }
}

impl<'a, S: AsyncRead + AsyncWrite> BlockSender<'a, S> {
    pub(super) fn new(session: &'a UploadSession<'a>, writer: &'a mut Writer<S>) -> Self {
        let mut pieces = session.offer.pieces();
        let told = pieces.borrow_and_update().clone();
        Self { session, writer, pieces, told, turn: Turn::default(), output: None, flush_each: false }
    }

    /// Until the line fails.
    pub(super) async fn run(mut self) -> End {
        match self.answer().await {
            Ok(never) => match never {},
            Err(end) => end,
        }
    }

    async fn answer(&mut self) -> Result<std::convert::Infallible, End> {
        let bitfield = limits::Bytes::first_of(self.told.as_bytes().iter().copied());
        self.say(&SeederFrame::Bitfield(bitfield)).await?;
        loop {
            tokio::select! {
                biased;
                _ = self.pieces.changed() => self.tell_changes().await?,
                () = self.session.queue.filled() => self.serve_queue().await?,
            }
        }
    }

    async fn say(&mut self, message: &SeederFrame) -> Result<(), End> {
        self.session.pushing.store(true, Ordering::Relaxed);
        self.session.writing.store(true, Ordering::Relaxed);
        self.turn.wait_for(self.writer.send(message), self.session).await?;
        self.session.writing.store(false, Ordering::Relaxed);
        self.session.pushing.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// Lets everything leave, and gives back what was held for it.
    async fn flush(&mut self) -> Result<(), End> {
        self.session.pushing.store(true, Ordering::Relaxed);
        self.turn.wait_for(self.writer.flush(), self.session).await?;
        self.session.pushing.store(false, Ordering::Relaxed);
        self.output = None;
        Ok(())
    }

    /// Announces pieces that came or went since they were told.
    async fn tell_changes(&mut self) -> Result<(), End> {
        let now = self.pieces.borrow_and_update().clone();
        let layout = self.session.offer.layout;
        let changed: Vec<_> = layout.pieces().filter(|&p| now.has(p) != self.told.has(p)).collect();
        self.told = now;
        for piece in changed {
            let piece_no = piece.get();
            let message = if self.told.has(piece) {
                SeederFrame::Have { piece: piece_no }
            } else {
                SeederFrame::Lost { piece: piece_no }
            };
            self.say(&message).await?;
        }
        Ok(())
    }

    /// Answers what is queued, for one turn or until nothing is.
    async fn serve_queue(&mut self) -> Result<(), End> {
        // Not with a place that others wait for.
        self.session.host.memory.room(self.session.user, least()).await;
        self.turn.slot = self.session.host.slots.take(self.session.user).await;
        loop {
            self.read_ahead().await?;
            let Some(read) = self.turn.ahead.pop_front() else { break };
            self.send_block(read).await?;
            if self.pieces.has_changed().unwrap_or(false) {
                self.tell_changes().await?;
            }
        }
        self.flush().await?;
        self.turn.give_up(&self.session.queue);
        Ok(())
    }

    /// Reads blocks until enough are at hand or others should have their turn.
    async fn read_ahead(&mut self) -> Result<(), End> {
        while !self.turn.is_over() && self.turn.ahead.len() < self.wanted_ahead() {
            let Some(asked) = self.session.queue.pop() else { break };
            let read = if self.can_be_read(&asked) {
                let Some(Grant { held, len }) = self.memory_for(&asked).await? else {
                    self.session.queue.put_back(asked);
                    break;
                };
                Reading { asked, len, bytes: self.read(&asked, len, held) }
            } else {
                Reading { asked, len: 0, bytes: Bytes::Gone }
            };
            self.turn.ahead.push_back(read);
        }
        Ok(())
    }

    fn wanted_ahead(&self) -> usize {
        if self.turn.cold && self.is_proven() { READ_AHEAD } else { 1 }
    }

    /// Whether the leecher has taken so much that it is certain to read what it asks for.
    fn is_proven(&self) -> bool {
        self.session.connection_slot.taken.bytes() >= PROVEN
    }

    fn can_be_read(&self, asked: &Asked) -> bool {
        let offer = &self.session.offer;
        !asked.cancelled && offer.layout.piece(asked.block.piece).is_some_and(|p| offer.has(p))
    }

    /// Memory for a block, and for what the stream may hold of it; for a part of it where there is not so much, or the
    /// leecher has not proven itself. `None` while there is none, or something else should be done first.
    async fn memory_for(&mut self, asked: &Asked) -> Result<Option<Grant>, End> {
        let left = asked.block.len - asked.sent;
        if self.is_proven()
            && let Some(held) = self.memory_for_all(left)
        {
            return Ok(Some(Grant { held, len: left }));
        }
        if !self.turn.ahead.is_empty() {
            return Ok(None);
        }
        if self.output.is_some() {
            self.flush().await?;
            if self.turn.slot.is_none() {
                return Ok(None);
            }
        }
        let len = left.min(LITTLE);
        let held = self.session.host.memory.try_take(self.session.user, buffer_len(len) + LITTLE_OUTPUT);
        Ok(held.map(|mut held| {
            self.output = held.split(LITTLE_OUTPUT);
            self.flush_each = true;
            Grant { held, len }
        }))
    }

    /// For `len` bytes and, unless that is held already, all that the stream may hold.
    fn memory_for_all(&mut self, len: u32) -> Option<Held> {
        let (memory, user) = (&self.session.host.memory, self.session.user);
        if self.output.is_some() && !self.flush_each {
            return memory.try_take(user, buffer_len(len));
        }
        if self.output.is_some() {
            return None;
        }
        let mut held = memory.try_take(user, buffer_len(len) + OUTPUT_BUFFER_BYTES)?;
        self.output = held.split(OUTPUT_BUFFER_BYTES);
        self.flush_each = false;
        Some(held)
    }

    /// Reads the next `len` bytes of a block at once if they are in the page cache, which saves two hand-overs between threads, each
    /// about as long as the reading. If not, starts to on a thread that may block.
    fn read(&mut self, asked: &Asked, len: u32, held: Held) -> Bytes {
        let offer = Arc::clone(&self.session.offer);
        let mut buffer = self.session.host.pool.take(buffer_len(len));
        let at = offer.layout.position(asked.block) + u64::from(asked.sent);
        if let Some(file) = &self.turn.file {
            let read = offer.source().read_cached(file, at, &mut runs(&mut buffer));
            self.turn.cold = read.is_none();
            if let Some(read) = read {
                return Bytes::Ready(read.map(|()| Block { buffer, _held: held }));
            }
        }
        let opened = self.turn.file.clone();
        Bytes::Coming(tokio::task::spawn_blocking(move || {
            let file = opened.map_or_else(|| offer.source().open(), Ok)?;
            offer.source().read(&file, at, &mut runs(&mut buffer))?;
            Ok((Block { buffer, _held: held }, file))
        }))
    }

    async fn send_block(&mut self, read: Reading) -> Result<(), End> {
        let Reading { mut asked, len, bytes } = read;
        let end = asked.sent + len;
        let (number, session) = (asked.number, self.session);
        let block = match bytes {
            Bytes::Gone => {
                session.queue.forget(number);
                return self.say(&SeederFrame::Cancelled { number }).await;
            }
            Bytes::Ready(block) => block,
            Bytes::Coming(coming) => coming.await.map_err(io::Error::other)?.map(|(block, file)| {
                self.turn.file = Some(file);
                block
            }),
        };
        let mut block = match block {
            Ok(block) => block,
            Err(error) => return self.cannot_read(number, asked.block, &error).await,
        };
        for run in block.buffer.chunks_mut(HEADROOM + MAX_RUN as usize) {
            if session.queue.is_cancelled(number) {
                session.queue.forget(number);
                return self.say(&SeederFrame::Cancelled { number }).await;
            }
            if self.turn.slot.is_none() {
                // Given up in the middle: the rest is read again in a later turn.
                session.queue.put_back(asked);
                return Ok(());
            }
            let len = (run.len() - HEADROOM) as u32;
            // A limit of one group leaves the place to those that wait for it.
            self.turn.wait_for(session.up.take(len.into()), session).await;
            self.send_run(number, run).await?;
            asked.sent += len;
        }
        if end < asked.block.len {
            session.queue.put_back(asked);
        } else {
            session.queue.forget(number);
        }
        if self.flush_each { self.flush().await } else { Ok(()) }
    }

    /// One run with its announcement in front, in a single write.
    async fn send_run(&mut self, number: u32, run: &mut [u8]) -> Result<(), End> {
        let len = run.len() - HEADROOM;
        let header = frame(&SeederFrame::Run { number, len: len as u32 }, HEADROOM).map_err(ConnectionError::from)?;
        let start = HEADROOM - header.len();
        run[start..HEADROOM].copy_from_slice(&header);
        self.session.pushing.store(true, Ordering::Relaxed);
        self.session.writing.store(true, Ordering::Relaxed);
        self.turn.wait_for(self.writer.write_raw(&run[start..]), self.session).await?;
        self.session.writing.store(false, Ordering::Relaxed);
        self.session.pushing.store(false, Ordering::Relaxed);
        self.session.connected.add(len as u64);
        if let Some(slot) = &mut self.turn.slot {
            slot.spend(len as u64);
        }
        Ok(())
    }

    /// The block cannot be had: this piece is off the offer, or the whole file if it changed. In a folder others are as they were.
    async fn cannot_read(&mut self, number: u32, block: BlockRange, error: &ReadError) -> Result<(), End> {
        let session = self.session;
        session.queue.forget(number);
        let is_this_piece = matches!(error, ReadError::Io(_)) || session.offer.source().is_folder();
        if let Some(piece) = session.offer.layout.piece(block.piece).filter(|_| is_this_piece) {
            session.offer.lose(piece);
        }
        (session.host.trouble)(&session.offer, error);
        self.say(&SeederFrame::Cancelled { number }).await
    }
}

/// Bytes for `len` bytes of a block, with room before each run.
const fn buffer_len(len: u32) -> usize {
    len as usize + len.div_ceil(MAX_RUN) as usize * HEADROOM
}

/// Memory without which nothing can be read.
const fn least() -> usize {
    buffer_len(LITTLE) + LITTLE_OUTPUT
}

/// The places for the bytes of a block, with [`HEADROOM`] before each run.
fn runs(buffer: &mut Buffer) -> Vec<&mut [u8]> {
    buffer.chunks_mut(HEADROOM + MAX_RUN as usize).map(|run| &mut run[HEADROOM..]).collect()
}
