//! Whether the same events have given the same state: compared now and then, and mended.

use std::time::{Duration, Instant};

use common::wire::limits::List;
use common::wire::sync::{StateDigest, SyncFrame, VersionVector};

use super::{Job, Machine};
use crate::store::Versions;

/// How often the two states are compared while nothing happens.
const COMPARE_EVERY: Duration = Duration::from_secs(60);

impl Machine {
    /// Whether both have the same, as far as is known.
    pub(super) fn in_step(&self) -> bool {
        self.conn.as_ref().is_some_and(|c| {
            c.compared
                && c.facts.is_none()
                && !c.dirty
                && !c.applying
                && !c.reading
                && c.inbound.is_empty()
                && c.number == c.acked_number
                && !c.digesting
                && c.acked == self.versions
        })
    }

    pub(super) fn compare_when_idle(&mut self, now: Instant) {
        if !self.in_step() {
            return;
        }
        let Some(conn) = &mut self.conn else { return };
        if conn.compare_at <= now {
            conn.compare_at = now + COMPARE_EVERY;
            conn.digesting = true;
            self.jobs.push_back(Job::Digest);
        }
    }

    pub(super) fn on_digest(&mut self, theirs: StateDigest) {
        let Some(conn) = &mut self.conn else { return };
        let same: Versions = theirs.versions.0.iter().copied().collect();
        if same == self.versions && conn.digest_of.is_none() {
            conn.digest_of = Some(theirs);
            self.jobs.push_back(Job::Digest);
        }
    }

    pub(super) fn on_digest_read(&mut self, versions: Versions, buckets: Vec<u64>) {
        let Some(conn) = &mut self.conn else { return };
        if buckets.is_empty() {
            conn.digest_of = None;
            conn.digesting = false;
            return;
        }
        if let Some(theirs) = conn.digest_of.take() {
            let same: Versions = theirs.versions.0.iter().copied().collect();
            // One of two releases may have parts that the other does not know.
            let both = buckets.iter().zip(theirs.buckets.iter()).enumerate();
            let differing: Vec<usize> = both.filter(|(_, (ours, theirs))| ours != theirs).map(|(i, _)| i).collect();
            if same == versions && !differing.is_empty() {
                self.alarms.differing += 1;
                tracing::error!(
                    parts = differing.len(),
                    "the trackers have the same events and not the same state: mending it"
                );
                conn.differing = differing;
            }
            if !conn.digesting {
                return;
            }
        }
        conn.digesting = false;
        let versions = VersionVector(List::first_of(versions));
        self.transmit.push_back(SyncFrame::Digest(StateDigest { versions, buckets: List::first_of(buckets) }));
    }
}
