//! What a disk has after a power failure: what was synced, and any of what was done since.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::time::SystemTime;

use crate::download::durable_io::seen::{Seen, Step};

type Names = BTreeMap<OsString, u64>;

/// One file as the disk has it, and what was done to it since it was synced.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    pub(super) bytes: Vec<u8>,
    pub(super) modified: SystemTime,
    pub(super) pending: Vec<Seen>,
}

/// What a disk is sure of.
#[derive(Debug, Clone, Default)]
pub(super) struct Durable {
    pub(super) files: HashMap<u64, Kept>,
    pub(super) names: Names,
    pending_names: Vec<Names>,
}

impl Durable {
    pub(super) fn take(&mut self, seen: &Seen) {
        if let Step::Names(names) = &seen.step {
            self.pending_names.push(names.clone());
            return;
        }
        match &seen.step {
            // Nothing but a directory is synced before anything was done to it.
            Step::Sync if !self.files.contains_key(&seen.inode) => {
                self.names = self.pending_names.pop().unwrap_or(std::mem::take(&mut self.names));
                self.pending_names.clear();
            }
            Step::Sync => {
                let kept = self.files.get_mut(&seen.inode).expect("a file");
                kept.settle(|_| true);
            }
            _ => self.files.entry(seen.inode).or_insert_with(Kept::fresh).pending.push(seen.clone()),
        }
    }

    /// The power fails: some of what is pending has reached the disk, the rest is lost.
    pub(super) fn fail(&mut self, rng: &mut fastrand::Rng) {
        let pending = std::mem::take(&mut self.pending_names);
        let reached = rng.usize(0..=pending.len());
        if let Some(names) = pending.into_iter().take(reached).next_back() {
            self.names = names;
        }
        for inode in self.names.values() {
            // A name may be durable before its file has been touched.
            self.files.entry(*inode).or_insert_with(Kept::fresh);
        }
        let mut inodes: Vec<_> = self.files.keys().copied().collect();
        inodes.sort_unstable();
        for inode in inodes {
            let chance = [0.0, 1.0, 0.5, 0.9][rng.usize(0..4)];
            let kept = self.files.get_mut(&inode).expect("a file");
            kept.settle(|_| rng.f64() < chance);
        }
    }
}

impl Kept {
    pub(super) const fn fresh() -> Self {
        Self { bytes: Vec::new(), modified: SystemTime::UNIX_EPOCH, pending: Vec::new() }
    }

    pub(super) fn settle(&mut self, mut reaches: impl FnMut(&Seen) -> bool) {
        for seen in std::mem::take(&mut self.pending).into_iter().filter(|s| reaches(s)) {
            self.modified = seen.modified;
            match seen.step {
                Step::Write { at, bytes } => {
                    let at = at as usize;
                    self.bytes.resize(self.bytes.len().max(at + bytes.len()), 0);
                    self.bytes[at..at + bytes.len()].copy_from_slice(&bytes);
                }
                Step::SetLen(len) => self.bytes.resize(len as usize, 0),
                Step::Sync | Step::Names(_) => {}
            }
        }
    }
}
