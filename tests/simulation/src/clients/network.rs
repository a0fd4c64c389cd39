//! What is between clients and trackers: dialling, lines, cuts.

use std::time::Duration;

use client::trackers::machine::DialError;
use common::wire::client::REVISION;

use super::Keeper;
use crate::world::World;

/// Delays between two attempts to reach a tracker, as the client has them.
pub(super) const RETRY_FIRST: Duration = Duration::from_millis(200);
const RETRY_MOST: Duration = Duration::from_secs(5);
const GOOD: Duration = Duration::from_secs(2);
/// How long it takes to find that a tracker does not greet.
const SILENT: Duration = Duration::from_secs(4);

impl World {
    /// Whatever is due for the clients now.
    pub(crate) fn clients_step(&mut self) {
        for c in 0..self.clients.all.len() {
            self.cut_lines(c);
            for i in 0..2 {
                self.keep(c, i);
                self.deliver_up(c, i);
                self.deliver_down(c, i);
            }
            let now = self.instant();
            let client = &mut self.clients.all[c];
            if client.machine.poll_timeout().is_some_and(|at| at <= now) {
                client.machine.handle_timeout(now);
            }
            self.act(c);
            self.pump_client(c);
        }
    }

    fn cut_lines(&mut self, c: usize) {
        let now = self.now;
        while let Some(at) = self.clients.all[c].cuts.iter().position(|(at, ..)| *at <= now) {
            let (_, i, time) = self.clients.all[c].cuts.swap_remove(at);
            // Either way alone, or both.
            let ways = self.clients.rng.u8(0..3);
            let link = &mut self.clients.all[c].links[i];
            if ways != 0 {
                link.up.cut_until = now + time;
            }
            if ways != 1 {
                link.down.cut_until = now + time;
            }
            self.say(|| format!("client {c}: its line to tracker {} is cut for {time:?}", i + 1));
        }
    }

    /// Whether tracker `i` could serve client `c` now.
    pub(super) fn is_well(&self, c: usize, i: usize) -> bool {
        let link = &self.clients.all[c].links[i];
        let cut = link.up.cut_until > self.now || link.down.cut_until > self.now;
        let node = &self.nodes[i];
        let open = node.process.as_ref().is_some_and(|p| p.machine.view().open);
        open && !cut && node.stalled_until <= self.now && node.full_until <= self.now
    }

    fn keep(&mut self, c: usize, i: usize) {
        let (now, instant) = (self.now, self.instant());
        let running = self.nodes[i].process.is_some();
        let silent = self.nodes[i].stalled_until > now;
        let client = &mut self.clients.all[c];
        let link = &mut client.links[i];
        let silent = silent || link.up.cut_until > now || link.down.cut_until > now;
        match link.keeper {
            Keeper::Idle { at } if at <= now => {
                let (takes, reached) = match (silent, running) {
                    (true, _) => (SILENT, false),
                    (false, true) => (link.up.delay * 6, true),
                    (false, false) => (link.up.delay * 2, false),
                };
                link.keeper = Keeper::Dialling { at: now + takes, reached };
            }
            Keeper::Dialling { at, reached } if at <= now => {
                if reached && running && !silent {
                    self.clients.conns += 1;
                    link.keeper = Keeper::Up { conn: self.clients.conns, since: now };
                    client.machine.connected(instant, i, REVISION);
                } else {
                    self.wait_to_dial(c, i, Duration::ZERO);
                    let error = DialError::Unreachable("it is not there".to_owned());
                    self.clients.all[c].machine.failed(instant, i, error);
                }
            }
            _ => {}
        }
    }

    /// The connection is over, or was not made: the next one is dialled after a while.
    pub(super) fn wait_to_dial(&mut self, c: usize, i: usize, lasted: Duration) {
        let jitter = 0.5 + self.clients.rng.f64() / 2.0;
        let link = &mut self.clients.all[c].links[i];
        if lasted > GOOD {
            link.backoff = RETRY_FIRST;
        }
        link.keeper = Keeper::Idle { at: self.now + link.backoff.mul_f64(jitter) };
        link.backoff = (link.backoff * 2).min(RETRY_MOST);
    }

    fn deliver_up(&mut self, c: usize, i: usize) {
        while self.nodes[i].stalled_until <= self.now {
            let Some((conn, call)) = self.clients.all[c].links[i].up.take(self.now) else { return };
            if self.nodes[i].process.is_some() {
                self.take_call(c, i, conn, call);
            }
        }
    }

    fn deliver_down(&mut self, c: usize, i: usize) {
        while let Some((of, frame)) = self.clients.all[c].links[i].down.take(self.now) {
            let instant = self.instant();
            let client = &mut self.clients.all[c];
            let Keeper::Up { conn, since } = client.links[i].keeper else { continue };
            if conn != of {
                continue;
            }
            match frame {
                Some(frame) => client.machine.handle_frame(instant, i, *frame),
                None => {
                    client.machine.disconnected(instant, i, "the tracker is gone");
                    let lasted = self.now.saturating_sub(since);
                    self.wait_to_dial(c, i, lasted);
                }
            }
            self.pump_client(c);
        }
    }

    /// After anything that has happened: whoever can be answered now is.
    pub(crate) fn serve_all_clients(&mut self) {
        if self.clients.all.is_empty() {
            return;
        }
        self.note_unwell();
        (0..2).for_each(|i| self.serve_clients(i));
        (0..self.clients.all.len()).for_each(|c| self.pump_client(c));
    }

    /// Tracker `i` has died.
    pub(crate) fn clients_lose(&mut self, i: usize) {
        self.clients.held[i].clear();
        for c in 0..self.clients.all.len() {
            let link = &mut self.clients.all[c].links[i];
            link.up.lose(self.now);
            if self.clients.rng.bool() {
                link.down.lose(self.now); // What it had sent may be lost with it.
            }
            if let Keeper::Up { conn, .. } = link.keeper {
                link.down.send(self.now, conn, 0, None);
            }
        }
    }
}
