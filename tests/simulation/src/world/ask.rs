//! What clients ask, and what they are told.

use std::time::Duration;

use common::wire::client::Mode;
use tracker::replica::machine::PATIENCE;
use tracker::store::{Change, StoreError, Written};

use super::{Acknowledged, SLACK, Waiting, World};
use crate::check;
use crate::faults::Fault;
use crate::op::{Op, What};

impl World {
    pub(super) fn command(&mut self, i: usize, op: Op) {
        if self.nodes[i].stalled_until > self.now || self.nodes[i].full_until > self.now {
            return;
        }
        let Some(p) = &mut self.nodes[i].process else { return };
        if !p.machine.view().open {
            return;
        }
        let (deciding, staged) = (op.clone(), self.rt.block_on(op.stage(&p.store)));
        let tree = staged.as_ref().map(|(_, checked)| *checked);
        let written = self.rt.block_on(p.store.write(op.asked, move |state| {
            let decided = deciding.decide(state, tree)?;
            let some = !decided.facts.is_empty();
            Ok::<_, StoreError>(Change {
                facts: decided.facts,
                manifest: decided.manifest,
                answer: vec![1],
                value: some,
            })
        }));
        match written.expect("written") {
            Written::Done(false) => return,
            Written::Done(true) => self.report.commands += 1,
            Written::Repeated(answer) => assert_eq!(answer, [1], "another answer to the same request"),
        }
        match &op.what {
            What::User { .. } => self.users.push(op.mint("user")),
            What::Group { .. } => self.groups.push(op.mint("group")),
            _ => {}
        }
        if self.hit(i, Fault::KillAfterCommit, true) {
            self.again.push((self.now + Duration::from_millis(500), 1 - i, op));
            return self.kill_for_a_while(i);
        }
        let now = self.instant();
        let Some(p) = &mut self.nodes[i].process else { return };
        let (origin, versions) = (p.store.origin(), check::versions(&p.store));
        let seq = versions.get(&origin).copied().unwrap_or_default();
        p.machine.committed(now, &versions);
        self.waiting[i].push(Waiting { op, origin, seq, since: self.now });
        self.pump(i);
        self.release(i);
    }

    /// Acknowledges what can be.
    pub(super) fn release(&mut self, i: usize) {
        let Some(p) = &self.nodes[i].process else { return };
        let view = p.machine.view();
        let mut told = false;
        let still = std::mem::take(&mut self.waiting[i]);
        for w in still {
            let dual = view.linked && view.acked >= w.seq;
            if dual || view.mode == Mode::Solo {
                *(if dual { &mut self.report.dual } else { &mut self.report.solo }) += 1;
                self.acknowledged.push(Acknowledged { dual, origin: w.origin, seq: w.seq });
                told = true;
            } else {
                self.waiting[i].push(w);
            }
        }
        if told && self.hit(i, Fault::KillAfterAcknowledgement, true) {
            self.kill_for_a_while(i);
        }
    }

    pub(super) fn nobody_waits_too_long(&mut self) {
        for i in 0..2 {
            self.release(i);
            if self.nodes[i].stalled_until + SLACK > self.now {
                continue;
            }
            let awake = self.nodes[i].stalled_until;
            for w in &self.waiting[i] {
                let waited = self.now.saturating_sub(w.since.max(awake));
                assert!(waited <= PATIENCE + SLACK, "a command has waited for {waited:?} at tracker {}", i + 1);
            }
        }
    }
}
