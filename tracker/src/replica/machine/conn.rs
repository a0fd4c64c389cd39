//! One connection, as far as the state machine is concerned. Gone with it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use common::wire::sync::{Batch, Event, Facts, Head, Hello, ManifestPart, NameVote, StateDigest};

use crate::fact::ManifestId;
use crate::store::{Absent, Cursor, Fact, Versions};

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
    // What comes in.
    pub(super) inbound: VecDeque<Inbound>,
    pub(super) applying: bool,
    pub(super) held: Vec<Event>,
    /// What `Apply` was last asked to do.
    pub(super) current: Option<Current>,
    pub(super) fetching: Option<(ManifestId, Vec<ManifestPart>)>,
    /// What the sibling was asked for and does not have.
    pub(super) absent: Absent,
    /// New passwords among facts, until all facts have come.
    pub(super) passwords: Vec<Fact>,
    pub(super) wanted_heads: Vec<Head>,
    // Time.
    pub(super) heard: Instant,
    pub(super) spoke: Instant,
    /// When it last acknowledged something, or had acknowledged everything.
    pub(super) last_ack: Instant,
    pub(super) compare_at: Instant,
    pub(super) digest_of: Option<StateDigest>,
    pub(super) digesting: bool,
}

/// Facts on their way out.
#[derive(Debug)]
pub(super) struct Sending {
    pub(super) heads: Option<Vec<Head>>,
    pub(super) cursor: Option<Cursor>,
}

#[derive(Debug)]
pub(super) enum Current {
    Batch { number: u64, events: Arc<[Event]>, votes: Vec<NameVote> },
    Facts { number: u64, packed: Arc<[u8]>, complete: Option<Arc<[Head]>> },
}

impl Conn {
    /// One more batch or part is sent.
    pub(super) fn count(&mut self, now: Instant) {
        if self.number == self.acked_number {
            self.last_ack = now;
        }
        self.number += 1;
    }

    pub(super) fn new(now: Instant) -> Self {
        Self {
            said_hello: false,
            theirs: None,
            ours: None,
            compared: false,
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
            inbound: VecDeque::new(),
            applying: false,
            held: Vec::new(),
            current: None,
            fetching: None,
            absent: Absent::default(),
            passwords: Vec::new(),
            wanted_heads: Vec::new(),
            heard: now,
            spoke: now,
            last_ack: now,
            compare_at: now,
            digest_of: None,
            digesting: false,
        }
    }
}
