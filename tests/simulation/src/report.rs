//! What was seen.

use std::fmt;

/// What a run has seen.
#[derive(Debug, Clone, Copy, Default)]
pub struct Report {
    /// Commands that had an effect.
    pub commands: u64,
    /// Acknowledged as being on both disks.
    pub dual: u64,
    /// Acknowledged as being on one.
    pub solo: u64,
    /// Connections that were made.
    pub connections: u64,
    /// Processes that were started.
    pub starts: u64,
    /// Frames that arrived.
    pub frames: u64,
    /// Messages with facts instead of events.
    pub facts: u64,
    /// Runs in which the events, applied anew, were compared with the state.
    pub replayed: u64,
    /// Faults that struck.
    pub faults: u64,
}

impl Report {
    /// The sum of both.
    pub fn add(&mut self, other: &Self) {
        self.commands += other.commands;
        self.dual += other.dual;
        self.solo += other.solo;
        self.connections += other.connections;
        self.starts += other.starts;
        self.frames += other.frames;
        self.facts += other.facts;
        self.replayed += other.replayed;
        self.faults += other.faults;
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { commands, dual, solo, connections, starts, frames, facts, replayed, faults } = self;
        write!(
            f,
            "{faults} faults, {commands} commands ({dual} dual, {solo} solo), {starts} starts, {connections} connections, {frames} frames \
             ({facts} of facts), {replayed} replays"
        )
    }
}
