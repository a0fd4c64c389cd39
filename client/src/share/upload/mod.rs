//! One leecher, served: from its ticket to its last block, and again for the next file if it says so.
//!
//! Four things go on at once on a connection, in one task: **intake** reads the leecher's frames into a
//! queue, **block sender** answers from it (the only writer), the **gate** watches whether the leecher may still be
//! here, and the **pace** whether it takes what is sent. When the gate closes, the others are dropped where
//! they stand, in the middle of a run if need be.
//!
//! Invariant: no byte of a block leaves unless the ticket is valid, no revocation covers it, and the piece is on
//! offer, all checked before each run. Memory is held only while holding a part of [`Memory`], and read ahead
//! only while holding a place (see [`Slots`]).
//!
//! Knows no sockets: the stream is generic. Knows nothing of downloads.

mod allowance;
mod block_sender;
mod pace;
mod session;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use common::connection::{ConnectionError, FrameReader, FrameWriter, split};
use common::id::DeviceId;
use common::secret::ClusterPublic;
use common::wire::limits::MAX_PEER_FRAME;
use common::wire::peer::{Goodbye, LeecherFrame, SeederFrame};
use tokio::io::{AsyncRead, AsyncWrite, ReadHalf, WriteHalf};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use self::allowance::Statements;
use self::session::UploadSession;
use super::connection_limiter::ConnectionSlot;
use super::memory::Memory;
use super::offer::{Offer, Offers, ReadError};
use super::reached::LastReached;
use super::slots::Slots;
use super::stats::UploadStats;
use crate::trackers::{Revocations, TrackerClock};
use crate::transfer::Limits;
use crate::transfer::pool::Pool;

/// How long the last words may take.
const FAREWELL: Duration = Duration::from_secs(2);
/// The same for one who was thrown out: what is still under way to it dies with the connection.
const FAREWELL_REVOKED: Duration = Duration::from_millis(200);

/// How long a leecher that is done with a file may take to ask for the next.
const REST: Duration = Duration::from_secs(30);
/// How long it takes at least: each greeting costs a signature, which a connection must not be able to ask for without a
/// pause.
const BETWEEN_FILES: Duration = Duration::from_millis(2);

/// Hears of an offer that cannot be read.
pub(crate) type OnTrouble = dyn Fn(&Arc<Offer>, &ReadError) + Send + Sync;

/// What serving needs to know, and whom to tell.
pub(crate) struct Host {
    /// The cluster's key, once it is known.
    pub(crate) cluster: Box<dyn Fn() -> Option<ClusterPublic> + Send + Sync>,
    /// What tickets are held against.
    pub(crate) clock: TrackerClock,
    pub(crate) offers: Offers,
    pub(crate) revocations: Revocations,
    pub(crate) slots: Slots,
    pub(crate) memory: Memory,
    pub(crate) stats: UploadStats,
    pub(crate) reached: LastReached,
    pub(crate) pool: Pool,
    pub(crate) limits: Limits,
    /// Told of an offer whose file is not what it was, or cannot be read.
    pub(crate) trouble: Box<OnTrouble>,
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum End {
    /// The leecher left, or the line broke.
    #[error("the leecher left")]
    Left,
    /// It is done with the file, and may ask for another.
    #[error("the leecher rested")]
    Rests,
    /// It takes too little of what it asked for.
    #[error("the leecher is too slow")]
    Slow,
    /// Its place went to somebody else before it had shown a ticket.
    #[error("another stranger took its place")]
    Evicted,
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
pub(crate) async fn serve<S: AsyncRead + AsyncWrite>(
    stream: S,
    device: DeviceId,
    host: &Host,
    connection_slot: &ConnectionSlot,
) -> End {
    let (mut reader, mut writer) = split::<S, LeecherFrame, SeederFrame>(stream, MAX_PEER_FRAME);
    let mut statements = Statements::new();
    let mut first = greeting(&mut reader, connection_slot, connection_slot.by).await;
    loop {
        let session = first.and_then(|first| admitted(first, device, host, connection_slot));
        let (end, between_frames) = match session {
            Ok(session) => session.stay(&mut reader, &mut writer, &mut statements).await,
            Err(end) => (end, true),
        };
        if !(matches!(end, End::Rests) && between_frames) {
            return farewell(&mut reader, &mut writer, end, between_frames).await;
        }
        // Nothing of the session is left: nothing is served until another ticket has been looked at.
        sleep(BETWEEN_FILES).await;
        first = match greeting(&mut reader, connection_slot, Instant::now() + REST).await {
            Err(End::Goodbye(_)) => return End::Left,
            first => first,
        };
    }
}

/// What the leecher says first, if it says so in time.
async fn greeting<S: AsyncRead + AsyncWrite>(
    reader: &mut Reader<S>,
    connection_slot: &ConnectionSlot,
    by: Instant,
) -> Result<Option<LeecherFrame>, End> {
    tokio::select! {
        biased;
        () = connection_slot.evicted() => Err(End::Evicted),
        first = timeout_at(by, reader.next()) => Ok(first.map_err(|_| Goodbye::Violation)??),
    }
}

/// Whether the leecher may be here.
fn admitted<'a>(
    first: Option<LeecherFrame>,
    device: DeviceId,
    host: &'a Host,
    connection_slot: &'a ConnectionSlot,
) -> Result<UploadSession<'a>, End> {
    let Some(LeecherFrame::Hello(hello)) = first else {
        return Err(if first.is_none() { End::Left } else { Goodbye::Violation.into() });
    };
    UploadSession::admit(hello, device, host, connection_slot).map_err(End::Goodbye)
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
        End::Connection(_) | End::Left | End::Rests | End::Slow | End::Evicted => return end,
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
