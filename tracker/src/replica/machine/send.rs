//! What goes out: events and votes that the sibling lacks, facts where the log does not reach, manifests.

use std::time::Instant;

use common::wire::limits::List;
use common::wire::sync::{Ack, Batch, Facts, SyncFrame};

use super::{Job, Machine};
use crate::store::{Cursor, Outbox};

/// Batches that are sent before the first of them is acknowledged.
pub(super) const WINDOW: u64 = 4;

impl Machine {
    /// Starts whatever can be started.
    pub(super) fn pump(&mut self) {
        let Some(conn) = &mut self.conn else { return };
        let open = conn.compared && conn.ours.is_some() && conn.theirs.is_some();
        if !open || conn.reading || conn.number - conn.acked_number >= WINDOW {
            return;
        }
        if let Some(sending) = &conn.facts {
            let job = match (&sending.heads, &sending.cursor) {
                (None, _) => Job::Heads,
                (Some(_), Some(cursor)) => Job::Facts(cursor.clone()),
                (Some(_), None) => return,
            };
            conn.reading = true;
            self.jobs.push_back(job);
        } else if conn.dirty {
            conn.dirty = false;
            conn.reading = true;
            let after = conn.sent.clone();
            self.jobs.push_back(Job::Outbox { after, votes_after: conn.votes_after, agreed: conn.agreed });
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
            conn.count(now);
            let (events, votes) = (List::first_of(out.events), List::first_of(out.votes));
            self.transmit.push_back(SyncFrame::Batch(Batch { number: conn.number, events, votes }));
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
        sending.cursor = next;
        if complete.is_some() {
            conn.facts = None;
        }
        conn.count(now);
        let Some(facts) = List::new(packed) else { return self.violation("we made a part that is too long") };
        self.transmit.push_back(SyncFrame::Facts(Facts { number: conn.number, facts, complete }));
    }

    pub(super) fn on_manifest_read(&mut self, frame: SyncFrame) {
        if let SyncFrame::Manifest(part) = &frame {
            let next = part.first.saturating_add(u32::try_from(part.pieces.len()).unwrap_or(u32::MAX));
            if next < part.layout.count() && !part.pieces.is_empty() {
                self.jobs.push_back(Job::ReadManifest(part.id, next));
            }
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
        for (origin, seq) in ack.versions.0.iter() {
            let acked = conn.acked.entry(*origin).or_default();
            *acked = (*seq).max(*acked);
        }
        let own = conn.acked.get(&self.origin).copied().unwrap_or_default();
        self.hysteresis.acked(now, own, &conn.acked);
        let refused = self.refused;
        self.hysteresis.advance(now, refused);
    }
}
