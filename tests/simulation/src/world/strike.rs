//! Faults as they strike.

use std::collections::BTreeMap;
use std::time::Duration;

use tracker::store::LogBounds;

use super::World;
use crate::check;
use crate::faults::Fault;
use crate::node::Node;

impl World {
    pub(super) fn fault(&mut self, fault: Fault) {
        let i = self.rng.usize(0..2);
        self.say(|| format!("{fault:?}, tracker {}", i + 1));
        self.report.faults += 1;
        match fault {
            Fault::KillBeforeCommit
            | Fault::KillAfterCommit
            | Fault::KillAfterShip
            | Fault::KillInSnapshot
            | Fault::KillAfterAcknowledgement
            | Fault::Duplicate
            | Fault::Reorder
            | Fault::Replay
            | Fault::Malform => {
                // Counted when it strikes.
                self.report.faults -= 1;
                self.armed = Some((i, fault));
            }
            Fault::Partition(time) => self.wires.iter_mut().for_each(|w| w.cut_until = self.now + time),
            Fault::OneWay(time) => self.wires[i].cut_until = self.now + time,
            Fault::Line(quality) => self.wires.iter_mut().for_each(|w| w.quality = quality),
            Fault::LineOneWay(quality) => self.wires[i].quality = quality,
            Fault::Break => self.drop_connection(i),
            Fault::Flap(time) => self.flap = Some((self.now, self.now + time)),
            Fault::Stall(time) => self.nodes[i].stalled_until = self.now + time,
            Fault::SlowDisk(time) => {
                self.nodes[i].disk = time;
                self.faults.push((self.now + Duration::from_secs(20), Fault::SlowDisk(Duration::ZERO)));
                if time.is_zero() {
                    self.report.faults -= 1;
                    self.faults.pop();
                    self.nodes.iter_mut().for_each(|n| n.disk = Duration::ZERO);
                }
                self.faults.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
            }
            Fault::FullDisk(time) => self.nodes[i].full_until = self.now + time,
            Fault::Clock(ms) => self.nodes[i].skew_ms = ms,
            Fault::ClockBack => self.nodes.iter_mut().for_each(|n| n.skew_ms = 0),
            Fault::CutLog => {
                if let Some(p) = &self.nodes[i].process {
                    let none = LogBounds { bytes: 0, age_ms: u64::MAX };
                    self.rt.block_on(p.store.trim_log(none, 0)).expect("cut");
                }
            }
            Fault::FlipRow => {
                self.alter(i, "UPDATE users SET name = name || 'x' WHERE id = (SELECT min(id) FROM users)");
            }
            Fault::Backup => {
                self.kill(i, Duration::from_millis(100));
                self.nodes[i].back_up();
            }
            Fault::Restore | Fault::Wipe | Fault::RestoreWhileOtherIsDown => self.replace_disk(i, fault),
            Fault::RestoreBoth => {
                // Beyond what is promised for names; everything else must hold.
                self.names_hold = false;
                for i in 0..2 {
                    self.kill(i, Duration::from_millis(100));
                    if self.nodes[i].has_backup {
                        self.nodes[i].restore();
                    }
                    self.forget(i);
                }
                self.account_for_disks(false);
            }
        }
    }

    pub(super) fn replace_disk(&mut self, i: usize, fault: Fault) {
        // One at a time: the sibling's only after the first has synchronised.
        self.note_level();
        if self.behind.is_some_and(|b| b != i) || (fault != Fault::Wipe && !self.nodes[i].has_backup) {
            self.report.faults -= 1;
            return;
        }
        if fault == Fault::RestoreWhileOtherIsDown {
            self.kill(1 - i, Duration::from_secs(5));
        }
        self.kill(i, Duration::from_millis(200));
        if fault == Fault::Wipe {
            self.nodes[i].wipe()
        } else {
            self.nodes[i].restore()
        }
        self.behind = Some(i);
        self.forget(i);
        self.account_for_disks(true);
    }

    /// What was seen on a disk that is gone binds nobody.
    pub(super) fn forget(&mut self, i: usize) {
        self.told[i].clear();
        self.ended[i].clear();
    }

    /// A disk was replaced. What clients were told is on both must be on the other; the rest may be lost.
    pub(super) fn account_for_disks(&mut self, one: bool) {
        let have: Vec<BTreeMap<[u8; 16], u64>> = self.nodes.iter().map(on_disk).collect();
        self.acknowledged.retain(|a| {
            let somewhere = have.iter().any(|h| h.get(a.origin.as_bytes()).copied().unwrap_or_default() >= a.seq);
            assert!(somewhere || !(a.dual && one), "acknowledged as dual, and lost with one disk");
            somewhere
        });
        self.clients_account_for_disks();
    }

    pub(super) fn note_level(&mut self) {
        let level = |n: &Node| n.process.as_ref().is_some_and(|p| p.machine.view().linked && p.machine.view().lag == 0);
        if self.nodes.iter().all(level) && self.wires.iter().all(|w| w.len() == 0) && self.same_votes() {
            self.behind = None;
        }
    }

    /// The tables are as the trackers are.
    pub(super) fn checkpoint(&self) {
        for process in self.nodes.iter().filter_map(|n| n.process.as_ref()) {
            self.rt.block_on(process.store.checkpoint()).expect("written");
        }
    }

    pub(super) fn same_votes(&self) -> bool {
        self.checkpoint();
        let [a, b] = [0, 1].map(|i| check::votes(&check::open(&self.nodes[i].database())));
        a == b && a.iter().all(|v| v.3 == 2)
    }

    pub(super) fn alter(&mut self, i: usize, sql: &str) {
        if self.nodes[i].process.is_some() {
            let conn = rusqlite::Connection::open(self.nodes[i].database()).expect("opened");
            conn.busy_timeout(Duration::from_secs(5)).expect("set");
            conn.execute(sql, []).expect("altered");
        }
    }
}

/// The version vector on a disk, whether its tracker runs or not.
fn on_disk(node: &Node) -> BTreeMap<[u8; 16], u64> {
    if !node.database().exists() {
        return BTreeMap::new();
    }
    let conn = check::open(&node.database());
    let mut find = conn.prepare("SELECT origin, seq FROM versions").expect("prepared");
    let rows = find.query_map([], |r| Ok((r.get(0)?, r.get::<_, i64>(1)?.cast_unsigned()))).expect("queried");
    rows.collect::<rusqlite::Result<_>>().expect("rows")
}
