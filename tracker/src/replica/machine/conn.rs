//! One connection, as far as the state machine is concerned. Gone with it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use common::id::TreeId;
use common::wire::sync::{Batch, Event, Facts, Head, Hello, ManifestPart, NameVote, StateDigest};

use crate::fact::ManifestId;
use crate::store::{Absent, Cursor, Versions};

/// A message that waits for its turn.
#[derive(Debug)]
pub(super) enum Inbound {
    Batch(Batch),
    Facts(Facts),
}

/// One connection.
#[derive(Debug)]
pub(super) struct Conn {
    // Introductions.
    pub(super) said_hello: bool,
    pub(super) theirs: Option<Hello>,
    pub(super) ours: Option<(Hello, Versions, u64)>,
    pub(super) compared: bool,
    /// What both know beyond the version of the protocol.
    pub(super) revision: u16,
    // What goes out.
    pub(super) sent: Versions,
    pub(super) acked: Versions,
    /// What of ours the sibling knows to be on disk here.
    pub(super) told: Versions,
    pub(super) votes_after: u64,
    /// Confirmed votes up to this change are the same there.
    pub(super) agreed: u64,
    pub(super) number: u64,
    pub(super) acked_number: u64,
    /// There may be something new to read.
    pub(super) dirty: bool,
    pub(super) reading: bool,
    pub(super) facts: Option<Sending>,
    /// The manifest or tree that the sibling is being sent.
    pub(super) serving: Option<Serving>,
    /// The sibling has asked for a sign of life.
    pub(super) pong_due: bool,
    // What comes in.
    pub(super) inbound: VecDeque<Inbound>,
    pub(super) applying: bool,
    pub(super) held: Vec<Event>,
    /// What `Apply` was last asked to do.
    pub(super) current: Option<Current>,
    pub(super) fetching: Option<Fetching>,
    /// Manifests to fetch when nothing else comes in.
    pub(super) lacking: VecDeque<ManifestId>,
    /// What the sibling was asked for and does not have.
    pub(super) absent: Absent,
    pub(super) wanted_heads: Vec<Head>,
    // Time.
    pub(super) heard: Instant,
    pub(super) spoke: Instant,
    /// When it last acknowledged something, or had acknowledged everything.
    pub(super) last_ack: Instant,
    pub(super) compare_at: Instant,
    /// When who is connected here may be told next.
    pub(super) presence_at: Instant,
    /// When to tell what the clock says.
    pub(super) clock_at: Instant,
    pub(super) digest_of: Option<StateDigest>,
    pub(super) digesting: bool,
    /// Parts of the state that differ and are still to be read, and whether some are being read.
    pub(super) differing: Vec<usize>,
    pub(super) reading_parts: bool,
    /// Jobs that were handed out and have not ended.
    pub(super) running: usize,
}

/// Facts on their way out.
#[derive(Debug)]
pub(super) struct Sending {
    /// What the sibling has once it has joined all of them. Read before the first.
    pub(super) heads: Option<Vec<Head>>,
    pub(super) cursor: Option<Cursor>,
    /// Parts that are not acknowledged: their numbers, and where the next one begins.
    pub(super) unacknowledged: VecDeque<(u64, Cursor)>,
}

/// A manifest on its way in.
#[derive(Debug)]
pub(super) struct Fetching {
    pub(super) id: ManifestId,
    pub(super) parts: Vec<ManifestPart>,
    /// Of a folder, its tree.
    pub(super) tree: Option<IncomingTree>,
}

/// A tree on its way in.
#[derive(Debug)]
pub(super) struct IncomingTree {
    pub(super) id: TreeId,
    /// How long it is, once that is known.
    pub(super) len: Option<u64>,
    /// How much of it has been staged.
    pub(super) have: u64,
    /// What has come since.
    pub(super) buffer: Vec<u8>,
}

impl IncomingTree {
    pub(super) const fn new(id: TreeId) -> Self {
        Self { id, len: None, have: 0, buffer: Vec::new() }
    }
}

/// What the sibling asks for in parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    Manifest([u8; 32]),
    Tree(TreeId),
}

/// A manifest or a tree on its way out.
#[derive(Debug)]
pub(super) struct Serving {
    pub(super) wanted: Wanted,
    /// The next piece or byte to read; `None` while it is being read, or waited for to be asked.
    pub(super) next: Option<u64>,
    /// Whether the sibling asks for each part.
    pub(super) on_request: bool,
    /// The part that was sent last, and when: the next request says that it has arrived.
    pub(super) sent: Option<(Instant, usize)>,
}

#[derive(Debug)]
pub(super) enum Current {
    Batch { number: u64, events: Arc<[Event]>, votes: Vec<NameVote> },
    Facts { number: u64, packed: Arc<[u8]>, complete: Option<Arc<[Head]>> },
}

impl Conn {
    /// One more batch or part is sent; returns its number.
    pub(super) fn count(&mut self, now: Instant) -> u64 {
        if self.number == self.acked_number {
            self.last_ack = now;
        }
        self.number += 1;
        self.number
    }

    /// Whether both have said what they have, and it is known not to contradict.
    pub(super) const fn is_introduced(&self) -> bool {
        self.theirs.is_some() && self.ours.is_some() && self.compared
    }

    pub(super) fn new(now: Instant) -> Self {
        Self {
            said_hello: false,
            theirs: None,
            ours: None,
            compared: false,
            revision: 0,
            sent: Versions::new(),
            acked: Versions::new(),
            told: Versions::new(),
            votes_after: 0,
            agreed: 0,
            number: 0,
            acked_number: 0,
            dirty: false,
            reading: false,
            facts: None,
            serving: None,
            pong_due: false,
            inbound: VecDeque::new(),
            applying: false,
            held: Vec::new(),
            current: None,
            fetching: None,
            lacking: VecDeque::new(),
            absent: Absent::default(),
            wanted_heads: Vec::new(),
            heard: now,
            spoke: now,
            last_ack: now,
            compare_at: now,
            presence_at: now,
            clock_at: now,
            digest_of: None,
            digesting: false,
            differing: Vec::new(),
            reading_parts: false,
            running: 0,
        }
    }
}
