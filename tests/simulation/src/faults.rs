//! What goes wrong: each fault of docs/REPLICATION.md by its name.

use std::time::Duration;

use crate::wire::Quality;

/// A fault, at a moment of the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// kill -9 before a commit.
    KillBeforeCommit,
    /// kill -9 after a commit, before it is shipped or acknowledged.
    KillAfterCommit,
    /// kill -9 after it is shipped, before the sibling's acknowledgement is read.
    KillAfterShip,
    /// kill -9 while facts are being joined, or sent.
    KillInSnapshot,
    /// kill -9 right after a client was told.
    KillAfterAcknowledgement,
    /// Nothing passes, either way.
    Partition(Duration),
    /// Nothing passes from the first to the second, or the other way round.
    OneWay(Duration),
    /// The connection breaks.
    Break,
    /// The connection breaks once a second for so long.
    Flap(Duration),
    /// The line is like this from now on, both ways. That is not mended in the end: they must agree over it.
    Line(Quality),
    /// The same one way.
    LineOneWay(Quality),
    /// SIGSTOP.
    Stall(Duration),
    /// Each access to one disk takes so long, for 20 s.
    SlowDisk(Duration),
    /// One disk is full for so long.
    FullDisk(Duration),
    /// A disk is copied (the tracker restarts for it).
    Backup,
    /// A disk is replaced by its copy, while the other runs.
    Restore,
    /// Both disks are replaced by copies of different times.
    RestoreBoth,
    /// A disk is replaced by its copy, while the other is down.
    RestoreWhileOtherIsDown,
    /// A disk is lost.
    Wipe,
    /// A clock is set, by so many milliseconds.
    Clock(i64),
    /// A clock is right again.
    ClockBack,
    /// The log is cut to nothing.
    CutLog,
    /// A message arrives twice.
    Duplicate,
    /// The events of a message come in another order.
    Reorder,
    /// A message of before comes again.
    Replay,
    /// A message is altered.
    Malform,
    /// A row of the state is altered on one disk.
    FlipRow,
}

/// What a run consists of.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Its name.
    pub name: &'static str,
    /// Commands of clients.
    pub commands: u32,
    /// What half of them weigh besides, in bytes: so that much is to be sent.
    pub bulk: usize,
    /// Whether many of them are about invitations.
    pub invitations: bool,
    /// What is certain to happen, spread over the run.
    pub certain: Vec<Fault>,
    /// How many faults happen besides, by chance.
    pub random: u32,
}

const S: fn(u64) -> Duration = Duration::from_secs;

const fn line(rate: u64, delay_ms: u64) -> Quality {
    Quality { rate: Some(rate), delay: Duration::from_millis(delay_ms) }
}

const DAY_MS: i64 = 24 * 3600 * 1000;

impl Plan {
    fn of(name: &'static str, certain: Vec<Fault>) -> Self {
        Self { name, commands: 40, bulk: 0, invitations: false, certain, random: 0 }
    }

    fn busy(name: &'static str, bulk: usize, certain: Vec<Fault>) -> Self {
        Self { name, commands: 200, bulk, invitations: false, certain, random: 0 }
    }

    /// The same over lines of any rate and delay, more of it, and nothing that is told by other plans.
    pub fn random_lines() -> Self {
        Self { name: "random lines", commands: 120, bulk: 1_000, invitations: false, certain: vec![], random: 8 }
    }

    /// Invitations that are made, used and revoked, with these faults.
    pub fn invitations(name: &'static str, certain: Vec<Fault>, random: u32) -> Self {
        Self { name, commands: 200, bulk: 0, invitations: true, certain, random }
    }

    /// Any faults, in any order.
    pub fn random() -> Self {
        Self { name: "random", commands: 60, bulk: 0, invitations: false, certain: vec![], random: 6 }
    }

    /// One plan for each fault of the list.
    pub fn named() -> Vec<Self> {
        use Fault::{
            Backup, Break, Clock, ClockBack, CutLog, Duplicate, Flap, FlipRow, FullDisk, KillAfterAcknowledgement,
            KillAfterCommit, KillAfterShip, KillBeforeCommit, KillInSnapshot, Line, LineOneWay, Malform, OneWay,
            Partition, Reorder, Replay, Restore, RestoreBoth, RestoreWhileOtherIsDown, SlowDisk, Stall, Wipe,
        };
        vec![
            Self::of("nothing", vec![]),
            Self::of("kill before commit", vec![KillBeforeCommit; 3]),
            Self::of("kill after commit, before ship", vec![KillAfterCommit; 3]),
            Self::of("kill after ship, before acknowledgement", vec![KillAfterShip; 3]),
            Self::of("kill in a snapshot", vec![CutLog, Wipe, KillInSnapshot, CutLog, Wipe, KillInSnapshot]),
            Self::of("death right after a dual acknowledgement", vec![KillAfterAcknowledgement; 3]),
            Self::of("death right after a solo acknowledgement", vec![Partition(S(30)), KillAfterAcknowledgement]),
            Self::of("partition", vec![Partition(S(10)), Partition(S(3))]),
            Self::of("one-way partition", vec![OneWay(S(10)), OneWay(S(10)), OneWay(S(2))]),
            Self::of("broken connections", vec![Break; 6]),
            Self::of("flapping at 1 Hz", vec![Flap(S(20))]),
            Self::of("stopped for 30 s", vec![Stall(S(30)), Stall(S(30))]),
            Self::of("slow disk", vec![SlowDisk(Duration::from_millis(700)), SlowDisk(S(2))]),
            Self::of("full disk", vec![FullDisk(S(15)), FullDisk(S(5))]),
            Self::of("restored, the other up", vec![Backup, Restore, Restore]),
            Self::of("restored, the other down", vec![Backup, RestoreWhileOtherIsDown]),
            Self::of("both restored to different times", vec![Backup, Backup, RestoreBoth]),
            Self::of("wiped", vec![Wipe, Wipe]),
            Self::of("clock +10 years and back", vec![Clock(3653 * DAY_MS), ClockBack]),
            Self::of("clock -3 days", vec![Clock(-3 * DAY_MS), ClockBack]),
            Self::of("partition longer than the log", vec![Partition(S(20)), CutLog, CutLog]),
            Self::of("messages duplicated", vec![Duplicate; 5]),
            Self::of("events reordered", vec![Reorder; 5]),
            Self::of("messages replayed", vec![Replay; 5]),
            Self::of("messages malformed", vec![Malform; 5]),
            Self::of("a row altered", vec![FlipRow]),
            Self::invitations("invitations while apart", vec![Partition(S(20)), Partition(S(15)), KillAfterCommit], 0),
            Self::busy("a line of 40 KB/s", 10_000, vec![Partition(S(30)), Line(line(40_000, 30))]),
            Self::busy("a line of 2 KB/s", 1_000, vec![Partition(S(30)), Line(line(2_000, 100))]),
            Self::busy("a line of 2 KB/s one way", 1_000, vec![Partition(S(30)), LineOneWay(line(2_000, 100))]),
            Self::busy(
                "a line of 2 KB/s that breaks",
                1_000,
                vec![Partition(S(20)), Line(line(2_000, 100)), Break, Break, Flap(S(5))],
            ),
            Self::busy(
                "a line of 2 KB/s that stops",
                1_000,
                vec![Line(line(2_000, 100)), OneWay(S(10)), OneWay(S(3)), Partition(S(20))],
            ),
            Self::busy("a line of a long delay", 10_000, vec![Line(line(1_000_000, 400)), Partition(S(20))]),
            Self::busy(
                "a wiped disk over a slow line",
                1_000,
                vec![Line(line(8_000, 50)), CutLog, CutLog, Wipe, Break, Break],
            ),
        ]
    }

    /// What may happen by chance.
    pub(crate) fn chance(&self, rng: &mut fastrand::Rng) -> Fault {
        if self.commands > 100 && rng.bool() {
            let rate = Some(2_000 << rng.u32(0..10));
            let quality = Quality { rate, delay: Duration::from_millis(rng.u64(1..300)) };
            return if rng.bool() { Fault::Line(quality) } else { Fault::LineOneWay(quality) };
        }
        Self::of_any_kind(rng)
    }

    fn of_any_kind(rng: &mut fastrand::Rng) -> Fault {
        let time = Duration::from_millis(rng.u64(10..20_000));
        match rng.u8(0..23) {
            0 => Fault::KillBeforeCommit,
            1 | 2 => Fault::KillAfterCommit,
            3 => Fault::KillAfterShip,
            4 => Fault::KillInSnapshot,
            5 => Fault::KillAfterAcknowledgement,
            6 | 7 => Fault::Partition(time),
            8 => Fault::OneWay(time),
            9 | 10 => Fault::Break,
            11 => Fault::Flap(time),
            12 => Fault::Stall(time),
            13 => Fault::SlowDisk(time / 10),
            14 => Fault::FullDisk(time),
            15 => Fault::Backup,
            16 => Fault::Restore,
            17 => Fault::Wipe,
            18 => Fault::Clock(rng.i64(-3 * DAY_MS..3653 * DAY_MS)),
            19 => Fault::CutLog,
            20 => Fault::Duplicate,
            21 => Fault::Reorder,
            _ => Fault::Replay,
        }
    }
}
