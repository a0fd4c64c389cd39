//! What was seen.

use std::fmt;
use std::time::Duration;

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
    /// Folders that members saw at the end.
    pub folders: u64,
    /// Memberships that came by an invitation.
    pub redeemed: u64,
    /// Invitations by which more came than they were for.
    pub overused: u64,
    /// Faults that struck.
    pub faults: u64,
    /// Lists that clients were shown.
    pub reads: u64,
    /// Groups of clients that were acknowledged.
    pub writes: u64,
    /// Calls of clients that were refused, or found no tracker.
    pub failed: u64,
    /// How often a client went on without what it had seen.
    pub gone_back: u64,
    /// The longest that a client waited for its answer.
    pub slowest: Duration,
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
        self.folders += other.folders;
        self.redeemed += other.redeemed;
        self.overused += other.overused;
        self.faults += other.faults;
        self.reads += other.reads;
        self.writes += other.writes;
        self.failed += other.failed;
        self.gone_back += other.gone_back;
        self.slowest = self.slowest.max(other.slowest);
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { commands, dual, solo, connections, starts, frames, facts, replayed, folders, faults, .. } = self;
        write!(
            f,
            "{faults} faults, {commands} commands ({dual} dual, {solo} solo), {starts} starts, {connections} connections, {frames} frames \
             ({facts} of facts), {replayed} replays, {folders} folders"
        )?;
        if self.redeemed > 0 {
            write!(f, ", {} by invitation, {} invitations overused", self.redeemed, self.overused)?;
        }
        let Self { reads, writes, failed, gone_back, slowest, .. } = self;
        if reads + writes + failed > 0 {
            write!(
                f,
                "; clients: {reads} lists, {writes} groups, {failed} failed, {gone_back} times gone back, slowest {slowest:.1?}"
            )?;
        }
        Ok(())
    }
}
