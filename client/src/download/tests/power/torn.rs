//! A journal that lost records in the middle, and then any of what was done to it since.
//!
//! Tried in every way, because chance takes too long to get there.

use std::collections::BTreeSet;
use std::{fs, io};

use common::id::FileId;
use common::pieces::PieceLayout;

use super::Site;
use super::after::Kept;
use crate::download::durable_io::seen::{self, Step};
use crate::download::journal::Journal;
use crate::transfer::stamp::Stamp;

const STAMP: Stamp = Stamp { len: 3 << 14, seconds: 0, nanos: 0, device: 1, inode: 77 };

/// A piece that was never synced is not called durable, by a mark that an earlier run left behind a gap.
///
/// `omit` is a sync that the program forgets; the others come into `sites`.
pub(super) fn every_way(omit: Option<Site>, sites: &mut BTreeSet<Site>) -> Result<(), String> {
    let dir = tempfile::tempdir().expect("a directory");
    let (path, vault) = (dir.path().join("journal"), dir.path().join("vault"));
    fs::create_dir(&vault).expect("made");
    let layout = PieceLayout::new(STAMP.len, 1 << 14).expect("a layout");
    let piece = |n| layout.piece(n).expect("a piece");
    let open = || Journal::open(&path, layout, FileId::new([5; 32])).map(|j| j.expect("a journal"));

    let mut journal = Journal::create(&path, layout, FileId::new([5; 32]), STAMP.inode).expect("created");
    let begun = Kept { bytes: fs::read(&path).expect("read"), ..Kept::fresh() };
    let first_run = steps(&vault, omit, sites, begun, || {
        [0, 1].into_iter().try_for_each(|n| journal.written(piece(n)))?;
        journal.durable(journal.len())
    });
    for first in first_run.every_failure() {
        fs::write(&path, &first.bytes).expect("written");
        let second_run = steps(&vault, omit, sites, first, || {
            let (mut journal, _) = open()?;
            journal.begin(&STAMP)?;
            journal.written(piece(2))
        });
        for second in second_run.every_failure() {
            fs::write(&path, &second.bytes).expect("written");
            if open().expect("readable").1.durable.has(piece(2)) {
                return Err("a piece is called durable that was not synced".to_owned());
            }
        }
    }
    Ok(())
}

/// What `run` leaves of a journal that was `kept`, if the power fails right afterwards.
fn steps(
    vault: &std::path::Path,
    omit: Option<Site>,
    sites: &mut BTreeSet<Site>,
    mut kept: Kept,
    run: impl FnOnce() -> io::Result<()>,
) -> Kept {
    seen::record(vault);
    run().expect("journalled");
    for seen in seen::taken() {
        if seen.step != Step::Sync {
            kept.pending.push(seen);
            continue;
        }
        sites.insert(seen.site);
        if omit != Some(seen.site) {
            kept.settle(|_| true);
        }
    }
    kept
}

impl Kept {
    /// Itself, with every subset of what is pending.
    fn every_failure(&self) -> impl Iterator<Item = Self> {
        (0..1_u32 << self.pending.len()).map(|reached| {
            let mut kept = self.clone();
            let mut number = 0..;
            kept.settle(|_| number.next().is_some_and(|n| reached >> n & 1 == 1));
            kept
        })
    }
}
