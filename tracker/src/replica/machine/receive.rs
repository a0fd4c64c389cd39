//! What comes in: one message after the other, each on disk before it is acknowledged.

use std::sync::Arc;
use std::time::Instant;

use common::id::OriginId;
use common::wire::limits::List;
use common::wire::sync::{Ack, ManifestPart, SyncFrame, VersionVector};

use super::conn::{Current, Fetching, Inbound};
use super::send::WINDOW;
use super::{Job, Machine};
use crate::fact::{Fact, ManifestId};
use crate::store::Applied;

/// Events that came before what they depend on, at most.
const MAX_HELD: usize = 4096;
/// Clocks that differ by more, in milliseconds, are told to the operator.
const SKEW: u64 = 60_000;

impl Machine {
    pub(super) fn on_inbound(&mut self, message: Inbound) {
        let Some(conn) = &mut self.conn else { return };
        // The sibling keeps to its window, so more than twice that is no accident.
        if conn.inbound.len() as u64 > 2 * WINDOW {
            return self.violation("it does not wait for acknowledgements");
        }
        conn.inbound.push_back(message);
        self.apply_next();
    }

    pub(super) fn apply_next(&mut self) {
        let Some(conn) = &mut self.conn else { return };
        if conn.applying || !conn.compared {
            return;
        }
        let Some(message) = conn.inbound.pop_front() else {
            if let Some(id) = conn.lacking.pop_front() {
                self.fetch(id);
            }
            return;
        };
        conn.current = Some(match message {
            Inbound::Batch(batch) => {
                let mut events = std::mem::take(&mut conn.held);
                events.extend(batch.events.into_vec());
                events.sort_by_key(|e| (e.hlc, e.origin, e.seq));
                Current::Batch { number: batch.number, events: events.into(), votes: batch.votes.into_vec() }
            }
            Inbound::Facts(facts) => Current::Facts {
                number: facts.number,
                packed: facts.facts.into_vec().into(),
                complete: facts.complete.map(|heads| heads.into_vec().into()),
            },
        });
        self.retry();
    }

    pub(super) fn retry(&mut self) {
        let Some(conn) = &mut self.conn else { return };
        let job = match &conn.current {
            Some(Current::Batch { events, votes, .. }) => {
                Job::Apply(Arc::clone(events), votes.clone(), Arc::clone(&conn.absent))
            }
            Some(Current::Facts { packed, complete, .. }) => {
                Job::Join(Arc::clone(packed), complete.clone(), Arc::clone(&conn.absent))
            }
            // What was fetched was only lacking.
            None => return self.apply_next(),
        };
        conn.applying = true;
        self.jobs.push_back(job);
    }

    pub(super) fn on_applied(&mut self, now: Instant, mut applied: Applied) {
        self.note_own(now, &applied.versions);
        let Some(conn) = &mut self.conn else { return };
        conn.applying = false;
        conn.dirty |= applied.votes;
        self.votes += u64::from(applied.votes);
        self.versions.clone_from(&applied.versions);
        if applied.ahead_ms > SKEW {
            self.alarms.skew_ms = self.alarms.skew_ms.max(applied.ahead_ms);
        }
        let Some(current) = conn.current.take() else { return };
        let number = match current {
            Current::Batch { number, events, votes } => {
                let rest = events.get(applied.done..).unwrap_or_default();
                self.news.append(&mut applied.facts);
                if let Some(missing) = applied.missing {
                    conn.current = Some(Current::Batch { number, events: rest.into(), votes });
                    return self.fetch(missing);
                }
                if !rest.is_empty() {
                    // Came before what it depends on; whatever brings that will try again.
                    conn.held = rest.to_vec();
                    if conn.held.len() > MAX_HELD {
                        return self.violation("its events do not follow on each other");
                    }
                }
                number
            }
            Current::Facts { number, packed, complete } => {
                if let Some(missing) = applied.missing {
                    conn.current = Some(Current::Facts { number, packed, complete });
                    return self.fetch(missing);
                }
                // Which logins go on after a change of the password is said by facts that come later.
                let new = applied.facts.drain(..);
                let (later, now): (Vec<_>, Vec<_>) = new.partition(|(_, d)| matches!(d, Fact::Credential { .. }));
                self.news.extend(now);
                self.passwords.extend(later);
                if complete.is_some() {
                    self.news.append(&mut self.passwords);
                }
                number
            }
        };
        if conn.held.is_empty() {
            let known = |(o, seq): &(OriginId, u64)| *o == self.origin || conn.told.get(o).is_some_and(|t| t >= seq);
            let new: Vec<_> = applied.versions.iter().map(|(o, s)| (*o, *s)).filter(|v| !known(v)).collect();
            for (origin, seq) in &new {
                conn.told.insert(*origin, *seq);
                // It came from there.
                conn.acked.insert(*origin, *seq);
                let sent = conn.sent.entry(*origin).or_default();
                *sent = (*seq).max(*sent);
            }
            self.transmit.push_back(SyncFrame::Ack(Ack { number, versions: VersionVector(List::first_of(new)) }));
        }
        let acked = conn.acked.clone();
        let own = acked.get(&self.origin).copied().unwrap_or_default();
        self.hysteresis.acked(now, own, &acked);
        self.note_mode(now);
        self.on_forked(&applied.forked);
        self.open_when_level();
        self.apply_next();
    }

    pub(super) fn fetch(&mut self, id: ManifestId) {
        let Some(conn) = &mut self.conn else { return };
        conn.applying = true;
        if conn.revision == 0 {
            conn.fetching = Some(Fetching { id, parts: Vec::new(), tree: None });
            return self.transmit.push_back(SyncFrame::WantManifest(id.0));
        }
        // Parts that came before the connection broke are still good: the whole is checked against its name.
        let partial = self.partial_manifest.take().filter(|partial| partial.id == id);
        let fetching = partial.unwrap_or(Fetching { id, parts: Vec::new(), tree: None });
        let first = pieces_of(&fetching.parts);
        conn.fetching = Some(fetching);
        self.transmit.push_back(SyncFrame::WantManifestFrom { id: id.0, first });
    }

    /// The sibling does not have a manifest that its events name. It needs none of a share that it knew to be gone when
    /// it heard of it, or that has gone since: here the fact that says so comes only later.
    pub(super) fn on_no_manifest(&mut self, id: [u8; 32]) {
        let Some(conn) = &mut self.conn else { return };
        match conn.fetching.take() {
            Some(fetching) if fetching.id.0 == id => {
                Arc::make_mut(&mut conn.absent).insert(fetching.id);
                conn.applying = false;
                self.retry();
            }
            _ => self.violation("it lacks a manifest that nobody asked for"),
        }
    }

    pub(super) fn on_manifest(&mut self, part: ManifestPart) {
        let Some(conn) = &mut self.conn else { return };
        let Some(Fetching { id, parts, .. }) = &mut conn.fetching else {
            return self.violation("it sent a manifest that nobody asked for");
        };
        if part.id != id.0 || part.first != pieces_of(parts) {
            return self.violation("it sent a manifest out of order");
        }
        let (all, empty) = (part.layout.count(), part.pieces.is_empty());
        parts.push(part);
        let have = pieces_of(parts);
        if have >= all {
            self.after_manifest();
        } else if empty {
            self.violation("it sent a manifest with a gap");
        } else if conn.revision > 0 {
            let id = id.0;
            self.transmit.push_back(SyncFrame::WantManifestFrom { id, first: have });
        }
    }
}

fn pieces_of(parts: &[ManifestPart]) -> u32 {
    parts.iter().map(|part| u32::try_from(part.pieces.len()).unwrap_or(u32::MAX)).fold(0, u32::saturating_add)
}
