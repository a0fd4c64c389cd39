//! The power fails: between any two steps on the disk, with any of what was not synced lost.
//!
//! A download is played on one thread while its steps are recorded; then the files are put into a state that a power
//! failure may leave, and it goes on from there. Now and then somebody cuts the unfinished file off, too. Names of the journal's directory count as durable: the file that
//! remembers the download is in the same one, and is made durable before the download begins.

mod after;
mod torn;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::panic::Location;
use std::time::SystemTime;

use common::id::Sha1Digest;
use common::manifest::{Manifest, hash_piece};
use common::pieces::{Bitfield, MAX_BLOCK_LEN, PieceIndex, PieceLayout};

use after::Durable;

use super::*;
use crate::download::destination::Destination;
use crate::download::disk::{Disk, Resumed};
use crate::download::durable_io::fault::{Deed, Fault};
use crate::download::durable_io::seen::{self, Seen, Step};
use crate::download::verify::{RawPiece, VerifiedPiece, verify};
use crate::transfer::pool::Pool;

type Site = &'static Location<'static>;

const PIECES: u64 = 6;
const PIECE: u64 = 16 << 10;

/// What the program may rely on from some step on.
#[derive(Debug, Clone, Default)]
struct Promise {
    /// These pieces are never fetched again.
    pieces: BTreeSet<u32>,
    /// Nothing has to be hashed again.
    clean: bool,
    /// The file is there.
    finished: bool,
}

/// A computer with one download.
struct Computer {
    root: tempfile::TempDir,
    manifest: Manifest,
    bytes: Vec<u8>,
    pool: Pool,
    durable: Durable,
}

impl Computer {
    fn new() -> Self {
        let memory = Path::new("/dev/shm");
        let root = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        let root = root.expect("a directory");
        ["vault", "files"].iter().for_each(|d| fs::create_dir(root.path().join(d)).expect("made"));
        let bytes = content((PIECES * PIECE) as usize - 100);
        let layout = PieceLayout::new(bytes.len() as u64, PIECE).expect("a layout");
        let hash = |p| {
            let r = layout.range(p);
            hash_piece(layout, p, &bytes[r.start as usize..r.end as usize])
        };
        let pieces = layout.pieces().map(hash).collect();
        let manifest = Manifest::of_hashed(layout, Sha1Digest::new([0; 20]), pieces).expect("a manifest");
        Self { root, manifest, bytes, pool: Pool::new(), durable: Durable::default() }
    }

    fn place(&self) -> Destination {
        Destination::open(&self.root.path().join("files"), "file".into()).expect("opened")
    }

    fn journal(&self) -> PathBuf {
        self.root.path().join("journal")
    }

    fn slice(&self, piece: PieceIndex) -> &[u8] {
        let r = self.manifest.layout().range(piece);
        &self.bytes[r.start as usize..r.end as usize]
    }

    fn piece(&self, piece: PieceIndex) -> VerifiedPiece {
        let parts = self.slice(piece).chunks(MAX_BLOCK_LEN as usize).map(|c| {
            let mut buffer = self.pool.take(c.len());
            buffer.copy_from_slice(c);
            buffer
        });
        verify(&self.manifest, RawPiece { piece, parts: parts.collect() }).expect("a piece")
    }

    /// Puts the files into the state that the disk is in.
    fn lay_out(&self) {
        let (vault, files) = (self.root.path().join("vault"), self.root.path().join("files"));
        for (inode, kept) in &self.durable.files {
            let path = vault.join(inode.to_string());
            fs::write(&path, &kept.bytes).expect("written");
            let file = fs::File::options().write(true).open(&path).expect("opened");
            file.set_modified(kept.modified).expect("set");
        }
        let is_known = |m: fs::Metadata| self.durable.files.contains_key(&std::os::unix::fs::MetadataExt::ino(&m));
        if !fs::metadata(self.journal()).is_ok_and(is_known) {
            // It is there by name only.
            fs::write(self.journal(), b"").expect("written");
        }
        fs::read_dir(&files).expect("listed").for_each(|e| fs::remove_file(e.expect("an entry").path()).expect("gone"));
        for (name, inode) in &self.durable.names {
            fs::hard_link(vault.join(inode.to_string()), files.join(name)).expect("linked");
        }
    }

    /// One run of the program, until the power fails at some step of it; what it may rely on after that. `omit` is a
    /// sync that the program forgets.
    fn live(
        &mut self,
        part: &mut OsString,
        before: &Promise,
        rng: &mut fastrand::Rng,
        omit: Option<Site>,
        sites: &mut BTreeSet<Site>,
    ) -> Result<Promise, String> {
        seen::record(&self.root.path().join("vault"));
        let mut promises = vec![(0, Promise { clean: false, ..before.clone() })];
        let played = self.play(part, before, rng, &mut promises);
        let steps = seen::taken();
        played?;
        let is_omitted = |s: &&Seen| s.step != Step::Sync || omit.is_none_or(|o| o != s.site);
        sites.extend(steps.iter().filter(|s| s.step == Step::Sync).map(|s| s.site));
        let at = if rng.u8(0..3) == 0 { steps.len() } else { rng.usize(0..=steps.len()) };
        steps[..at].iter().filter(is_omitted).for_each(|s| self.durable.take(s));
        self.durable.fail(rng);
        let mut promise = promises.into_iter().rfind(|(from, _)| *from <= at).map(|(_, p)| p).unwrap_or_default();
        if rng.u8(0..6) == 0 && self.cut_off(part, rng) {
            promise = Promise::default();
        }
        self.lay_out();
        Ok(promise)
    }

    /// Somebody cuts the unfinished file off.
    fn cut_off(&mut self, part: &OsString, rng: &mut fastrand::Rng) -> bool {
        let Some(inode) = self.durable.names.get(part) else { return false };
        let kept = self.durable.files.get_mut(inode).expect("a file");
        kept.bytes.truncate(rng.usize(0..=kept.bytes.len()));
        kept.modified = SystemTime::now();
        true
    }

    fn play(
        &self,
        part: &mut OsString,
        before: &Promise,
        rng: &mut fastrand::Rng,
        promises: &mut Vec<(usize, Promise)>,
    ) -> Result<(), String> {
        let (disk, mut have) = match self.begin(part, before)? {
            Some(open) => open,
            None => return Ok(()),
        };
        let mut promise = Promise { clean: false, ..before.clone() };
        let pieces: Vec<_> = self.manifest.layout().pieces().collect();
        for _ in 0..rng.usize(0..12) {
            if rng.u8(0..4) == 0 {
                let written = pieces.iter().filter(|p| have.has(**p)).map(|p| p.get());
                disk.sync().map_err(|e| e.to_string())?;
                promise.pieces = written.collect();
                promises.push((seen::len(), promise.clone()));
                continue;
            }
            let missing: Vec<_> = pieces.iter().filter(|p| !have.has(**p)).collect();
            let Some(&&piece) = missing.get(rng.usize(0..missing.len().max(1))) else { break };
            disk.write(&self.piece(piece)).map_err(|e| e.to_string())?;
            have.set(piece);
        }
        promise.pieces.extend(pieces.iter().filter(|p| have.has(**p)).map(|p| p.get()));
        if have.is_full() {
            disk.finish(false).map_err(|e| e.to_string())?;
            promises.push((seen::len(), Promise { finished: true, ..promise }));
        } else if rng.bool() {
            disk.close().map_err(|e| e.to_string())?;
            promises.push((seen::len(), Promise { clean: true, ..promise }));
        }
        Ok(())
    }

    /// Begins, or goes on; looks whether what was promised is there, and nothing is taken for there that is not.
    fn begin(&self, part: &mut OsString, before: &Promise) -> Result<Option<(Arc<Disk>, Bitfield)>, String> {
        let layout = self.manifest.layout();
        if part.is_empty() {
            let disk = Disk::create(self.place(), &self.journal(), &self.manifest, None, |_| Ok(()))
                .map_err(|e| e.to_string())?;
            *part = disk.part().to_owned();
            return Ok(Some((Arc::new(disk), Bitfield::empty(layout))));
        }
        if before.clean {
            let journal = Journal::open(&self.journal(), layout, self.manifest.file_id()).map_err(|e| e.to_string())?;
            let stamp = crate::transfer::stamp::Stamp::of(
                &fs::metadata(self.root.path().join("files").join(&part)).map_err(|e| e.to_string())?,
            );
            if !journal.is_some_and(|(_, r)| r.is_untouched(&stamp) == Some(true) && r.written.is_empty()) {
                return Err("a clean stop was forgotten".to_owned());
            }
        }
        let finished = self.root.path().join("files/file");
        let right = || fs::read(&finished).is_ok_and(|b| b == self.bytes);
        if before.finished && !right() {
            return Err("a finished file is not there, or wrong".to_owned());
        }
        match Disk::resume(self.place(), part, &self.journal(), &self.manifest, None, &self.pool, |_| Ok(())) {
            Err(e) => Err(format!("it does not go on: {e}")),
            Ok(Resumed::Finished(_)) if right() => Ok(None),
            Ok(Resumed::Finished(_)) => Err("an unfinished file was taken for the finished one".to_owned()),
            Ok(Resumed::Unfinished(_, _)) if before.finished => Err("it begins again what is finished".to_owned()),
            Ok(Resumed::Unfinished(disk, have)) => {
                *part = disk.part().to_owned();
                let there = fs::read(self.root.path().join("files").join(disk.part())).map_err(|e| e.to_string())?;
                let wrong = |p: &PieceIndex| {
                    let r = layout.range(*p);
                    there.get(r.start as usize..r.end as usize) != Some(self.slice(*p))
                };
                if layout.pieces().any(|p| have.has(p) && wrong(&p)) {
                    return Err("a piece was trusted that is not there".to_owned());
                }
                let lost = |n: &&u32| layout.piece(**n).is_none_or(|p| !have.has(p));
                if let Some(lost) = before.pieces.iter().find(lost) {
                    return Err(format!("piece {lost} was durable, and is lost"));
                }
                Ok(Some((disk, have)))
            }
        }
    }

    /// Several runs with a power failure each, and then one that gets through.
    fn story(seed: u64, omit: Option<Site>, sites: &mut BTreeSet<Site>) -> Result<(), String> {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut computer = Self::new();
        let (mut part, mut promise) = (OsString::new(), Promise::default());
        for _ in 0..rng.usize(1..=4) {
            promise = computer.live(&mut part, &promise, &mut rng, omit, sites)?;
        }
        if let Some((disk, have)) = computer.begin(&mut part, &promise)? {
            let missing = computer.manifest.layout().pieces().filter(|&p| !have.has(p));
            missing.for_each(|p| disk.write(&computer.piece(p)).expect("written"));
            disk.finish(false).map_err(|e| e.to_string())?;
        }
        let there = fs::read(computer.root.path().join("files/file")).map_err(|e| e.to_string())?;
        if there == computer.bytes { Ok(()) } else { Err("the finished file is wrong".to_owned()) }
    }
}

#[test]
fn a_power_failure_at_any_step_loses_nothing_durable_and_trusts_nothing_else() {
    for seed in 0..2000 {
        Computer::story(seed, None, &mut BTreeSet::new()).unwrap_or_else(|e| panic!("story {seed}: {e}"));
    }
}

/// Whether some power failure shows that the sync at `site` is missing.
fn is_missed(site: Site) -> bool {
    let stories = |seed| Computer::story(seed, Some(site), &mut BTreeSet::new());
    torn::every_way(Some(site), &mut BTreeSet::new()).is_err() || (0..6000).any(|seed| stories(seed).is_err())
}

#[test]
fn no_sync_can_be_left_out() {
    let mut sites = BTreeSet::new();
    torn::every_way(None, &mut sites).expect("right");
    (0..60).for_each(|seed| Computer::story(seed, None, &mut sites).expect("right"));
    assert!(sites.len() >= 8, "all syncs are reached: {sites:?}");
    let needless: Vec<_> = sites.iter().filter(|s| !is_missed(s)).map(ToString::to_string).collect();
    assert_eq!(needless, Vec::<String>::new());
}

/// The new file may have got the inode number that the older journal speaks of.
#[test]
fn an_older_journal_is_void_before_a_file_is_made() {
    let computer = Computer::new();
    fs::write(computer.journal(), b"an older journal").expect("written");
    seen::record(&computer.root.path().join("vault"));
    Disk::create(computer.place(), &computer.journal(), &computer.manifest, None, |_| Ok(())).expect("created");
    let journal = std::os::unix::fs::MetadataExt::ino(&fs::metadata(computer.journal()).expect("there"));
    let steps = seen::taken();
    let [voided, synced, names, ..] = &steps[..] else { panic!("{steps:?}") };
    assert_eq!(
        (voided.inode, &voided.step, synced.inode, &synced.step),
        (journal, &Step::SetLen(0), journal, &Step::Sync)
    );
    assert!(matches!(names.step, Step::Names(_)), "{names:?}");
}

/// The system forgets what it could not write: the next sync succeeds all the same.
#[test]
fn what_a_failed_sync_may_have_lost_is_not_believed() {
    for closing in [false, true] {
        let computer = Computer::new();
        let disk =
            Disk::create(computer.place(), &computer.journal(), &computer.manifest, None, |_| Ok(())).expect("created");
        let part = disk.part().to_owned();
        let write = |n| disk.write(&computer.piece(computer.manifest.layout().piece(n).expect("a piece")));
        [0, 1].into_iter().try_for_each(write).and_then(|()| disk.sync()).expect("synced");
        write(2).expect("written");
        let fault = Fault::set(&computer.root.path().join("files").join(&part), Deed::Sync, rustix::io::Errno::IO);
        if closing { disk.close() } else { disk.sync() }.expect_err("it fails");
        drop(fault);
        write(3).and_then(|()| disk.close()).expect("closed");
        let resumed = Disk::resume(
            computer.place(),
            &part,
            &computer.journal(),
            &computer.manifest,
            None,
            &computer.pool,
            |_| Ok(()),
        );
        let Ok(Resumed::Unfinished(_, have)) = resumed else { panic!("it goes on") };
        let there: Vec<_> = computer.manifest.layout().pieces().filter(|&p| have.has(p)).map(|p| p.get()).collect();
        assert_eq!(there, [0, 1, 3], "closing: {closing}");
    }
}
