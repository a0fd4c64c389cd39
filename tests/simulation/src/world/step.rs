//! What happens to one process: a message, a job, a wake-up.

use std::time::Duration;

use common::wire::limits::List;
use common::wire::sync::{Batch, SyncFrame};
use tracker::replica::machine::{Done, Job};

use super::World;
use crate::check;
use crate::faults::Fault;
use crate::wire::Arrival;

impl World {
    /// Lets a state machine have what it wants.
    pub(crate) fn pump(&mut self, i: usize) {
        let now = self.instant();
        let Some(p) = &mut self.nodes[i].process else { return };
        if let Some(trouble) = p.machine.wants_drop() {
            self.say(|| format!("tracker {} drops the connection: {trouble}", i + 1));
            return self.drop_connection(i);
        }
        let (disk, wall_ms) = (self.nodes[i].disk, self.nodes[i].wall_ms());
        let Some(p) = &mut self.nodes[i].process else { return };
        p.machine.tell_wall_clock(wall_ms);
        while let (Some(conn), Some(frame)) = (p.conn, p.machine.poll_transmit(now)) {
            let delay = Duration::from_micros(self.rng.u64(50..5000));
            self.wires[1 - i].send(self.now, delay, conn, Arrival::Frame(Box::new(frame)));
        }
        while let Some(job) = p.machine.poll_job() {
            let takes = Duration::from_micros(self.rng.u64(50..3000)) + disk;
            p.jobs.push_back((self.now + takes, job));
        }
        let _ = p.machine.take_news();
        self.release(i);
    }

    pub(super) fn job(&mut self, i: usize) {
        let (number, full) = (self.nodes[i].number, self.nodes[i].full_until > self.now);
        let Some(p) = &mut self.nodes[i].process else { return };
        let Some(at) = (0..p.jobs.len()).min_by_key(|j| p.jobs[*j].0) else { return };
        let Some((_, job)) = p.jobs.remove(at) else { return };
        let takes_in = matches!(job, Job::Apply(..) | Job::Join(..));
        let snapshot = matches!(job, Job::Facts(..) | Job::Join(..));
        if self.hit(i, Fault::KillBeforeCommit, takes_in) {
            return self.kill_for_a_while(i);
        }
        let Some(p) = &mut self.nodes[i].process else { return };
        let done = if full && (takes_in || matches!(job, Job::StoreManifest(..) | Job::Compare(_))) {
            Done::Failed("the disk is full".to_owned())
        } else {
            p.do_job(number, &self.rt, job)
        };
        if self.hit(i, Fault::KillAfterCommit, takes_in) || self.hit(i, Fault::KillInSnapshot, snapshot) {
            return self.kill_for_a_while(i);
        }
        let now = self.instant();
        let Some(p) = &mut self.nodes[i].process else { return };
        p.machine.handle_done(now, done);
        p.machine.committed(now, &check::versions(&p.store));
        self.pump(i);
    }

    pub(super) fn arrival(&mut self, i: usize) {
        let Some((conn, what)) = self.wires[i].take() else { return };
        if matches!(what, Arrival::Closed) {
            self.wires[1 - i].forget(self.now, conn);
        }
        if self.nodes[i].process.as_ref().is_none_or(|p| p.conn != Some(conn)) {
            return;
        }
        match what {
            Arrival::Closed => self.drop_connection(i),
            Arrival::Part => {
                let now = self.instant();
                self.nodes[i].process.iter_mut().for_each(|p| p.machine.arriving(now));
            }
            Arrival::Frame(frame) => {
                if self.hit(i, Fault::KillAfterShip, matches!(*frame, SyncFrame::Ack(_))) {
                    return self.kill_for_a_while(i);
                }
                for frame in self.tamper(i, *frame) {
                    self.say(|| {
                        format!("to {}: {}", i + 1, format!("{frame:?}").chars().take(100).collect::<String>())
                    });
                    self.report.frames += 1;
                    self.report.facts += u64::from(matches!(frame, SyncFrame::Facts(_)));
                    let now = self.instant();
                    if let Some(p) = &mut self.nodes[i].process {
                        p.machine.handle_message(now, frame);
                    }
                    self.pump(i);
                }
            }
        }
    }

    /// Whether the fault that is armed for this node strikes here.
    pub(crate) fn hit(&mut self, i: usize, fault: Fault, here: bool) -> bool {
        let hit = here && self.armed == Some((i, fault)) && self.rng.u8(0..3) == 0;
        if hit {
            self.armed = None;
            self.report.faults += 1;
        }
        hit
    }

    /// What becomes of a message on its way.
    pub(super) fn tamper(&mut self, i: usize, frame: SyncFrame) -> Vec<SyncFrame> {
        let SyncFrame::Batch(batch) = frame else { return vec![frame] };
        let fault = match self.armed {
            Some((_, f @ (Fault::Duplicate | Fault::Reorder | Fault::Replay | Fault::Malform))) => f,
            _ => {
                self.last_batch = Some(batch.clone());
                return vec![SyncFrame::Batch(batch)];
            }
        };
        self.armed = None;
        self.report.faults += 1;
        self.say(|| format!("{fault:?} on the way to tracker {}", i + 1));
        let (number, mut events, votes) = (batch.number, batch.events.to_vec(), batch.votes.clone());
        match fault {
            Fault::Duplicate => vec![SyncFrame::Batch(batch.clone()), SyncFrame::Batch(batch)],
            Fault::Reorder => {
                self.rng.shuffle(&mut events);
                vec![SyncFrame::Batch(Batch { number, events: List::first_of(events), votes })]
            }
            Fault::Replay => {
                let old = self.last_batch.clone().map(|old| Batch { votes: List::default(), ..old });
                old.into_iter().chain([batch]).map(SyncFrame::Batch).collect()
            }
            _ => {
                for event in &mut events {
                    let mut body = event.body.to_vec();
                    body.truncate(body.len() / 2);
                    event.body = List::first_of(body);
                }
                vec![SyncFrame::Batch(Batch { number, events: List::first_of(events), votes })]
            }
        }
    }
}
