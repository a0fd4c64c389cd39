//! Peer and peer.
//!
//! **Participants.** A leecher, who dialled, and a seeder, who listens; both known to each other
//! by the keys of their TLS certificates. One connection serves one file of one group at a time; a device may be
//! leecher on one connection and seeder on another.
//! **Shape.** The leecher sends [`Hello`] with its ticket. The seeder answers with
//! [`SeederFrame::Bitfield`] or [`SeederFrame::Goodbye`]. The leecher asks for blocks, many at once; it need not wait for
//! the bitfield, since a request for what the seeder lacks is `Cancelled`. The seeder answers each request with runs: a
//! [`SeederFrame::Run`] header, followed *outside any frame* by the raw bytes it announces (at most
//! [`MAX_RUN`](crate::wire::limits::MAX_RUN)), until the block is complete. Runs of one block come in order; blocks come in
//! any order.
//! **The next file.** When everything that was asked for is answered, the leecher may say [`LeecherFrame::Rest`] and later
//! [`Hello`] again, for any file and with a ticket as the first time. News of the file before may still come ahead of the
//! bitfield. Only peers that agree on [`ALPN_PEER_2`](crate::tls::ALPN_PEER_2) in the handshake do this.
//! **Goals.** No copy of bulk bytes into a serialiser; a cancel or a revocation takes effect
//! between two runs.
//! **Not here.** Choking, tit-for-tat, peer exchange: membership decides who is served, trackers know who
//! seeds.

use serde::{Deserialize, Serialize};

use crate::id::{FileId, GroupId};
use crate::pieces::{BlockRange, MAX_PIECES};
use crate::ticket::{Revocation, Signed, Ticket};
use crate::wire::limits::Bytes;

/// Version of this conversation.
pub const VERSION: u16 = 1;

/// Longest bitfield in bytes.
pub const MAX_BITFIELD: usize = MAX_PIECES as usize / 8;

/// From leecher to seeder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub enum LeecherFrame {
    /// First frame, and first after `Rest`.
    Hello(Hello),
    /// Asks for a block. `number` is the leecher's, unique on this connection while outstanding.
    Request {
        /// Repeated in each run of the answer.
        number: u32,
        /// Which bytes.
        block: BlockRange,
    },
    /// The block is no longer wanted; what was sent already arrives. Answered by `Cancelled`.
    Cancel {
        /// Number of the request.
        number: u32,
    },
    /// A newer ticket for the same group.
    Renew(Signed<Ticket>),
    /// Tells the seeder of a revocation that it may not have heard of.
    Revoked(Signed<Revocation>),
    /// All that was asked for is here, and no more of this file is wanted. Another `Hello` may follow. Unanswered.
    Rest,
}

/// What a leecher says first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct Hello {
    /// [`VERSION`] of the leecher.
    pub version: u16,
    /// The group.
    pub group: GroupId,
    /// The file.
    pub file_id: FileId,
    /// What entitles it.
    pub ticket: Signed<Ticket>,
}

/// From seeder to leecher.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub enum SeederFrame {
    /// The pieces that can be asked for.
    Bitfield(Bytes<MAX_BITFIELD>),
    /// One more piece can be asked for.
    Have {
        /// Its number.
        piece: u32,
    },
    /// `len` raw bytes follow this frame: the next ones of the block that was asked for.
    Run {
        /// Number of the request.
        number: u32,
        /// Raw bytes that follow, 1 to `MAX_RUN`.
        len: u32,
    },
    /// No (more) bytes come for this request: it was cancelled, or the piece cannot be read any more.
    Cancelled {
        /// Number of the request.
        number: u32,
    },
    /// The pieces can no longer be asked for (withdrawn, or unreadable).
    Lost {
        /// Its number.
        piece: u32,
    },
    /// The last frame: why the seeder ends the connection.
    Goodbye(Goodbye),
}

/// Why a seeder serves no (longer).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub enum Goodbye {
    /// It speaks another version.
    #[error("it speaks protocol version {0}")]
    Version(u16),
    /// The ticket does not entitle to this.
    #[error("it does not accept our ticket")]
    Ticket,
    /// Membership or login has ended.
    #[error("our membership or login has ended")]
    Revoked,
    /// It does not (or no longer) share this file.
    #[error("it no longer shares the file")]
    NotShared,
    /// All its places are taken.
    #[error("it serves as many peers as it can")]
    Busy,
    /// The leecher broke the protocol.
    #[error("it found fault with our messages")]
    Violation,
    /// It is shutting down.
    #[error("it is shutting down")]
    Leaving,
}
