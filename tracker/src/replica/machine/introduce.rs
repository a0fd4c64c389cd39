//! The beginning of a connection: what each has, and whether it contradicts.

use std::time::Instant;

use common::id::OriginId;
use common::wire::sync::{Head, Hello, REVISION, SyncFrame, VERSION};

use super::{Gate, Job, Machine, Trouble};

impl Machine {
    pub(super) fn on_hello(&mut self, hello: Hello) {
        let Some(conn) = &mut self.conn else { return };
        if conn.theirs.is_some() {
            return self.violation("it introduced itself twice");
        }
        if hello.version != VERSION {
            let text = format!("it speaks version {} of the protocol, and this release {VERSION}", hello.version);
            self.trouble = Some(Trouble::Stranger(text));
            return;
        }
        if hello.tracker_no == self.tracker_no {
            let text = format!(
                "it says that it, too, is tracker {}; start one of them with the other number",
                self.tracker_no
            );
            self.trouble = Some(Trouble::Stranger(text));
            return;
        }
        self.sibling = Some(hello.origin);
        conn.revision = hello.revision().min(REVISION);
        self.jobs.push_back(Job::Compare(hello.heads.to_vec()));
        conn.theirs = Some(hello);
    }

    /// Both have said what they have, and it does not contradict: the stream begins.
    pub(super) fn introduced(&mut self, now: Instant) {
        let Some(conn) = &mut self.conn else { return };
        let (Some(theirs), Some((ours, floors, votes)), true) = (&conn.theirs, &conn.ours, conn.compared) else {
            return;
        };
        conn.acked = theirs.heads.iter().map(|h| (h.origin, h.seq)).collect();
        conn.sent.clone_from(&conn.acked);
        conn.told = ours.heads.iter().map(|h| (h.origin, h.seq)).collect();
        conn.agreed = if theirs.names == ours.names { *votes } else { 0 };
        let has = |origin: &OriginId| conn.acked.get(origin).copied().unwrap_or_default();
        let cut_off = floors.iter().any(|(origin, floor)| has(origin) < *floor).then(|| floors.clone());
        if conn.revision >= 2 {
            self.jobs.push_back(Job::FindLacking);
        }
        conn.wanted_heads = theirs.heads.to_vec();
        conn.dirty = true;
        conn.last_ack = now;
        let ours = self.versions.iter().filter(|(o, _)| !self.quarantined.contains(o));
        self.hysteresis.begin(now, ours.map(|(o, seq)| (*o, *seq)).collect(), &conn.acked);
        if let Some(floors) = cut_off {
            let sending = self.facts_to_send(&floors);
            if let Some(conn) = &mut self.conn {
                conn.facts = Some(sending);
            }
        } else {
            self.resume = None;
        }
        self.advance(now);
        self.open_when_level();
        self.apply_next();
    }

    /// An empty tracker serves once it has what its sibling had.
    pub(super) fn open_when_level(&mut self) {
        let Some(conn) = &self.conn else { return };
        if conn.compared && conn.ours.is_some() && self.gate != Gate::Open {
            self.gate = if self.is_level() { Gate::Open } else { Gate::Behind };
        }
    }

    /// Whether everything is here that the sibling had when this connection began.
    pub(super) fn is_level(&self) -> bool {
        let has = |head: &Head| self.versions.get(&head.origin).is_some_and(|have| *have >= head.seq);
        self.conn.as_ref().is_some_and(|conn| {
            let mut wanted = conn.wanted_heads.iter().filter(|h| !self.quarantined.contains(&h.origin));
            conn.is_introduced() && wanted.all(has)
        })
    }

    pub(super) fn on_forked(&mut self, forked: &[OriginId]) {
        for origin in forked {
            tracing::error!(origin = %format_args!("{origin:.8}"), "events of this run differ between the trackers: it is quarantined");
            self.alarms.forked += 1;
            self.refused |= *origin == self.origin;
            self.quarantined.insert(*origin);
            self.transmit.push_back(SyncFrame::Quarantined(*origin));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use common::wire::limits::List;
    use common::wire::sync::Batch;

    use super::super::{Done, FIRST_CONTACT, Job};
    use super::*;
    use crate::store::{Applied, Outbox, Versions};

    fn hello(tracker_no: u16, seq: Option<u64>) -> Hello {
        let origin = OriginId::new([u8::try_from(tracker_no).expect("small"); 16]);
        let heads = List::first_of(seq.map(|seq| Head { origin, seq, hash: [0; 32] }));
        Hello { version: VERSION, schema: 1, tracker_no, origin, heads, names: [0; 32] }
    }

    fn empty_that_met(now: Instant, seq: Option<u64>) -> Machine {
        let mut m = Machine::new(2, OriginId::new([2; 16]), Versions::new(), now);
        m.connected(now);
        let (floors, quarantined) = (Versions::new(), vec![]);
        m.handle_done(now, Done::Introduced { hello: hello(2, None), floors, votes: 0, quarantined });
        m.handle_message(now, SyncFrame::Hello(hello(1, seq)));
        m.handle_done(now, Done::Compared(vec![]));
        m
    }

    #[test]
    fn an_empty_tracker_whose_sibling_died_while_it_sent_does_not_serve_without_it() {
        let mut now = Instant::now();
        let mut m = empty_that_met(now, Some(5));
        assert!(!m.view().open);
        m.disconnected(now);
        m.unreachable();
        now += FIRST_CONTACT + Duration::from_secs(1);
        m.handle_timeout(now);
        assert!(!m.view().open, "it would serve part of what there is");
    }

    #[test]
    fn what_a_sibling_lacks_is_still_known_when_it_is_away() {
        let now = Instant::now();
        let mut m = empty_that_met(now, Some(5));
        let mut have = Versions::from([(OriginId::new([1; 16]), 5)]);
        m.disconnected(now);
        m.committed(now, &have);
        assert_eq!(m.view().lag, 0);
        have.insert(OriginId::new([2; 16]), 3);
        m.committed(now, &have);
        assert_eq!(m.view().lag, 3);
    }

    #[test]
    fn what_a_sibling_lacks_is_counted_by_what_it_says_that_it_has() {
        let now = Instant::now();
        let mut m = empty_that_met(now, Some(2000));
        let ours = Versions::from([(OriginId::new([1; 16]), 2000), (OriginId::new([2; 16]), 3)]);
        m.committed(now, &ours);
        assert_eq!((m.view().lag, m.view().linked), (3, true));
        // Back on another connection, on which it says nothing yet.
        m.connected(now);
        assert_eq!((m.view().lag, m.view().linked), (3, false));
        m.handle_message(now, SyncFrame::Hello(hello(1, Some(2000))));
        assert_eq!((m.view().lag, m.view().linked), (3, false), "nothing was compared yet");
        let (floors, quarantined) = (Versions::new(), vec![]);
        m.handle_done(now, Done::Introduced { hello: hello(2, None), floors, votes: 0, quarantined });
        m.handle_done(now, Done::Compared(vec![]));
        assert_eq!((m.view().lag, m.view().linked), (3, true));
    }

    #[test]
    fn a_command_that_is_committed_while_the_siblings_are_applied_is_sent_at_once() {
        let now = Instant::now();
        let mut m = empty_that_met(now, None);
        while let Some(job) = m.poll_job() {
            if let Job::Outbox { .. } = job {
                m.handle_done(now, Done::Outbox(Outbox { complete: true, ..Outbox::default() }));
            }
        }
        m.handle_message(now, SyncFrame::Batch(Batch { number: 1, ..Batch::default() }));
        assert!(matches!(m.poll_job(), Some(Job::Apply(..))));
        let versions = Versions::from([(OriginId::new([2; 16]), 1)]);
        let applied = Applied {
            done: 0,
            missing: None,
            early: false,
            forked: Vec::new(),
            versions: versions.clone(),
            votes: false,
            facts: Vec::new(),
            ahead_ms: 0,
        };
        m.handle_done(now, Done::Applied(applied));
        m.committed(now, &versions);
        assert!(std::iter::from_fn(|| m.poll_job()).any(|job| matches!(job, Job::Outbox { .. })));
    }

    #[test]
    fn two_new_trackers_serve() {
        let now = Instant::now();
        assert!(empty_that_met(now, None).view().open);
        let mut alone = Machine::new(2, OriginId::new([2; 16]), Versions::new(), now);
        assert!(!alone.view().open);
        alone.unreachable();
        assert!(alone.view().open);
    }
}
