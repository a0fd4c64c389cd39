//! What must hold for every client.

use std::collections::BTreeSet;
use std::time::Duration;

use client::error::Error;
use client::trackers::machine::CALL_TIMEOUT;
use common::wire::client::Response;

use crate::check;
use crate::world::World;

/// Within what time a client is answered while one of the trackers is well, whatever becomes of the other; besides what
/// the line takes.
const PROMISED: Duration = Duration::from_secs(3);
/// The same once a disk was replaced: what a client has seen may be at neither, and each has to say so.
const PROMISED_WITHOUT_A_DISK: Duration = Duration::from_secs(5);
/// How long a tracker must have been well to be counted on: a client that has just lost both dials again in that time.
const COUNTED_ON: Duration = Duration::from_secs(6);
/// For the scheduler's own steps.
const SLACK: Duration = Duration::from_millis(150);

impl World {
    /// Notes who cannot serve whom now.
    pub(super) fn note_unwell(&mut self) {
        for c in 0..self.clients.all.len() {
            for i in 0..2 {
                if !self.is_well(c, i) {
                    self.clients.all[c].unwell[i] = Some(self.now);
                }
            }
        }
    }

    pub(super) fn judge_answer(&mut self, c: usize, number: u64, result: Result<Response, Error>) {
        let now = self.now;
        let promised = if self.clients.disk_replaced { PROMISED_WITHOUT_A_DISK } else { PROMISED };
        let client = &mut self.clients.all[c];
        let Some(asked) = client.asked.take_if(|asked| asked.number == number) else { return };
        let took = now.saturating_sub(asked.made);
        assert!(took <= CALL_TIMEOUT + SLACK, "client {c} was answered after {took:?}");
        // A call is a few hundred bytes, a listing some thousands.
        let line = client.links.iter().map(|l| l.up.delay * 12 + Duration::from_secs_f64(16e3 / l.up.rate as f64));
        let line = line.max().unwrap_or_default();
        for i in 0..2 {
            let well = client.unwell[i].is_none_or(|at| at + COUNTED_ON < asked.made);
            assert!(
                !well || took <= promised + line + SLACK,
                "client {c} was answered after {took:?}, and tracker {} was well all the time",
                i + 1
            );
        }
        match (result, asked.makes) {
            (Ok(Response::Groups(page)), None) => {
                let shown: BTreeSet<String> =
                    page.rows.iter().map(|r| r.group.to_string()).filter(|n| n.starts_with('c')).collect();
                let lost: Vec<_> = client.known.difference(&shown).collect();
                assert!(lost.is_empty(), "client {c} has seen {lost:?}, and does not any more");
                client.known = shown;
                self.report.reads += 1;
            }
            (Ok(_), Some(name)) => {
                client.known.insert(name.clone());
                client.own.insert(name);
                self.report.writes += 1;
            }
            (Ok(other), None) => panic!("a list was asked for: {other:?}"),
            (Err(_), _) => self.report.failed += 1,
        }
        self.report.slowest = self.report.slowest.max(took);
        self.rest(c);
    }

    /// The client goes on without what others did at a tracker that is lost; its own commands it repeats.
    pub(super) fn goes_back(&mut self, c: usize, i: usize) {
        self.report.gone_back += 1;
        // A disk that has no room takes none of them.
        let replaced = self.clients.disk_replaced || self.nodes[i].full_until > self.now;
        let client = &mut self.clients.all[c];
        let own = &client.own;
        client.known.retain(|name| !replaced && own.contains(name));
    }

    /// A disk was replaced: what was on that one alone may be lost.
    pub(crate) fn clients_account_for_disks(&mut self) {
        if self.clients.all.is_empty() {
            return;
        }
        self.clients.disk_replaced = true;
        let there: BTreeSet<String> = self.nodes.iter().flat_map(|n| check::group_names(&n.database())).collect();
        for client in &mut self.clients.all {
            client.known.retain(|name| there.contains(name));
            client.own.retain(|name| there.contains(name));
        }
    }

    /// Everything is mended: no further calls, and lines that carry.
    pub(crate) fn heal_clients(&mut self) {
        self.clients.over = true;
        for client in &mut self.clients.all {
            client.cuts.clear();
            for link in &mut client.links {
                (link.up.cut_until, link.down.cut_until) = (Duration::ZERO, Duration::ZERO);
            }
        }
    }

    /// Nobody waits, and what was acknowledged is there.
    pub(crate) fn clients_verdict(&self) {
        let there = self.nodes.iter().map(|n| check::group_names(&n.database()));
        for there in there {
            for (c, client) in self.clients.all.iter().enumerate() {
                let lost: Vec<_> = client.own.iter().filter(|name| !there.contains(*name)).collect();
                assert!(lost.is_empty(), "client {c} was acknowledged {lost:?}, and they are not there");
                assert!(client.asked.is_none(), "client {c} still waits for {:?}", client.asked);
            }
        }
    }
}
