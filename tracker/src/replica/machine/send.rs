//! What goes out: events and votes that the sibling lacks, facts where the log does not reach, manifests and trees.
//!
//! Each message is about as long as the line carries in half a second, and few are unacknowledged, so that neither a
//! slow line nor one that breaks keeps the sibling from coming closer.

use std::time::Instant;

use common::id::OriginId;
use common::manifest::PieceHash;
use common::wire::limits::{List, MAX_TREE_PART};
use common::wire::sync::{Ack, Batch, Facts, Head, SyncFrame};

use super::conn::{Sending, Serving, Wanted};
use super::{Job, Machine};
use crate::store::{Cursor, Outbox, Versions};

/// Batches that are sent before the first of them is acknowledged.
pub(super) const WINDOW: u64 = 4;
/// Parts of the state that are read at once where the two differ.
const PARTS_AT_ONCE: usize = 16;

/// Where to go on with facts for a run of the sibling: everything before is on its disk.
#[derive(Debug)]
pub(super) struct Resume {
    run: OriginId,
    heads: Vec<Head>,
    cursor: Cursor,
}

impl Machine {
    /// Starts whatever can be started.
    pub(super) fn pump(&mut self) {
        self.serve_part();
        self.read_parts();
        let room = self.sizer.limit();
        let Some(conn) = &mut self.conn else { return };
        let open = conn.compared && conn.ours.is_some() && conn.theirs.is_some();
        if !open || conn.reading || conn.number - conn.acked_number >= WINDOW {
            return;
        }
        if let Some(sending) = &conn.facts {
            let job = match (&sending.heads, &sending.cursor) {
                (None, _) => Job::Heads,
                (Some(_), Some(cursor)) => Job::Facts(cursor.clone(), room),
                (Some(_), None) => return,
            };
            conn.reading = true;
            self.jobs.push_back(job);
        } else if conn.dirty {
            conn.dirty = false;
            conn.reading = true;
            let after = conn.sent.clone();
            self.jobs.push_back(Job::Outbox { after, votes_after: conn.votes_after, agreed: conn.agreed, room });
        }
    }

    pub(super) fn on_outbox(&mut self, now: Instant, out: Outbox) {
        let Some(conn) = &mut self.conn else { return };
        conn.reading = false;
        conn.dirty |= !out.complete;
        for event in &out.events {
            let sent = conn.sent.entry(event.origin).or_default();
            *sent = event.seq.max(*sent);
        }
        conn.votes_after = out.votes_after;
        if !out.events.is_empty() || !out.votes.is_empty() {
            let number = conn.count(now);
            self.sizer.sent(now, number, out.bytes);
            let (events, votes) = (List::first_of(out.events), List::first_of(out.votes));
            self.transmit.push_back(SyncFrame::Batch(Batch { number, events, votes }));
        }
    }

    pub(super) fn on_facts_read(&mut self, now: Instant, packed: Vec<u8>, next: Option<Cursor>) {
        let Some(conn) = &mut self.conn else { return };
        let Some(sending) = &mut conn.facts else { return };
        conn.reading = false;
        let complete = match (&next, &sending.heads) {
            (None, Some(heads)) => {
                for head in heads {
                    let sent = conn.sent.entry(head.origin).or_default();
                    *sent = head.seq.max(*sent);
                }
                Some(List::first_of(heads.iter().copied()))
            }
            _ => None,
        };
        sending.cursor.clone_from(&next);
        let number = conn.number + 1;
        match (next, &mut conn.facts) {
            (Some(next), Some(sending)) => sending.unacknowledged.push_back((number, next)),
            _ => conn.facts = None,
        }
        conn.count(now);
        self.sizer.sent(now, number, packed.len());
        let Some(facts) = List::new(packed) else { return self.violation("we made a part that is too long") };
        self.transmit.push_back(SyncFrame::Facts(Facts { number, facts, complete }));
    }

    /// The facts that the sibling lacks, to be sent from where they were acknowledged on an earlier connection to the
    /// same run of it. Heads that the log has been cut beyond are of no use: what follows on them is gone.
    pub(super) fn facts_to_send(&mut self, floors: &Versions) -> Sending {
        let sibling = self.sibling;
        let revision = self.conn.as_ref().map_or(0, |conn| conn.revision);
        let resume = self.resume.take().filter(|resume| {
            let reaches = |(origin, floor): (&OriginId, &u64)| {
                resume.heads.iter().any(|head| head.origin == *origin && head.seq >= *floor)
            };
            Some(resume.run) == sibling && floors.iter().all(reaches)
        });
        match resume {
            Some(Resume { heads, cursor, .. }) => {
                Sending { heads: Some(heads), cursor: Some(cursor), unacknowledged: Default::default() }
            }
            None => {
                let cursor = Some(Cursor::for_revision(revision));
                Sending { heads: None, cursor, unacknowledged: Default::default() }
            }
        }
    }

    /// The sibling has the parts of facts up to `number` on disk.
    fn note_facts(&mut self, number: u64) {
        let Some(run) = self.sibling else { return };
        let Some(sending) = self.conn.as_mut().and_then(|conn| conn.facts.as_mut()) else { return };
        while sending.unacknowledged.front().is_some_and(|(n, _)| *n <= number) {
            if let (Some((_, cursor)), Some(heads)) = (sending.unacknowledged.pop_front(), &sending.heads) {
                self.resume = Some(Resume { run, heads: heads.clone(), cursor });
            }
        }
    }

    /// The sibling wants a manifest; from a piece on, if it asks for each part.
    pub(super) fn on_want_manifest(&mut self, now: Instant, id: [u8; 32], first: Option<u32>) {
        let Some(conn) = &mut self.conn else { return };
        // It works on what it was sent.
        conn.last_ack = now;
        let before = conn.serving.take();
        match before.map(|before| (before.wanted, before.sent)) {
            Some((_, None)) => return self.violation("it asks for a manifest before it has the one that it asked for"),
            // The part before has arrived; of another manifest, the last one had been stored meanwhile.
            Some((Wanted::Manifest(of), Some((sent, bytes)))) if of == id => {
                self.sizer.observe(bytes, now.saturating_duration_since(sent));
            }
            _ => {}
        }
        let (wanted, next) = (Wanted::Manifest(id), Some(first.unwrap_or_default().into()));
        conn.serving = Some(Serving { wanted, next, on_request: first.is_some(), sent: None });
    }

    /// Reads the next part of the manifest or tree that the sibling wants, when everything before it is on its way.
    fn serve_part(&mut self) {
        let room = self.sizer.limit();
        let Some(conn) = &mut self.conn else { return };
        let folders = conn.revision >= 2;
        let Some(serving) = &mut conn.serving else { return };
        // A sibling of the first release takes only so many parts.
        let pieces = if serving.on_request { (room / PieceHash::LEN).max(1) } else { usize::MAX };
        if self.transmit.is_empty()
            && let Some(next) = serving.next.take()
        {
            let job = match serving.wanted {
                Wanted::Manifest(id) => {
                    let first = u32::try_from(next).unwrap_or(u32::MAX);
                    Job::ReadManifest { id, first, pieces, folders }
                }
                Wanted::Tree(tree) => Job::ReadTree(tree, next, room.min(MAX_TREE_PART)),
            };
            self.jobs.push_back(job);
        }
    }

    /// Reads the next parts of the state that differ, when everything before them is on its way.
    fn read_parts(&mut self) {
        let Some(conn) = &mut self.conn else { return };
        if self.transmit.is_empty() && !conn.reading_parts && !conn.differing.is_empty() {
            conn.reading_parts = true;
            let rest = conn.differing.split_off(conn.differing.len().min(PARTS_AT_ONCE));
            self.jobs.push_back(Job::ReadParts(std::mem::replace(&mut conn.differing, rest)));
        }
    }

    pub(super) fn on_manifest_read(&mut self, now: Instant, frame: SyncFrame) {
        let Some(conn) = &mut self.conn else { return };
        match (&mut conn.serving, &frame) {
            (Some(serving), SyncFrame::Manifest(part) | SyncFrame::FolderManifest { part, .. }) => {
                let next = part.first.saturating_add(u32::try_from(part.pieces.len()).unwrap_or(u32::MAX));
                if serving.on_request {
                    serving.sent = Some((now, part.pieces.len() * PieceHash::LEN));
                    conn.last_ack = now;
                } else if next < part.layout.count() && !part.pieces.is_empty() {
                    serving.next = Some(next.into());
                } else {
                    conn.serving = None;
                }
            }
            (Some(serving), SyncFrame::Tree(part)) => {
                serving.sent = Some((now, part.bytes.len()));
                conn.last_ack = now;
            }
            _ => conn.serving = None,
        }
        self.transmit.push_back(frame);
    }

    pub(super) fn on_ack(&mut self, now: Instant, ack: &Ack) {
        let Some(conn) = &mut self.conn else { return };
        if ack.number > conn.number {
            return self.violation("it acknowledged what was not sent");
        }
        conn.acked_number = conn.acked_number.max(ack.number);
        conn.last_ack = now;
        self.sizer.acknowledged(now, ack.number);
        self.note_facts(ack.number);
        let Some(conn) = &mut self.conn else { return };
        for (origin, seq) in ack.versions.0.iter() {
            let acked = conn.acked.entry(*origin).or_default();
            *acked = (*seq).max(*acked);
        }
        let own = conn.acked.get(&self.origin).copied().unwrap_or_default();
        self.hysteresis.acked(now, own, &conn.acked);
        self.advance(now);
    }
}
