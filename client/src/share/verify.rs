//! Reading a share again, all of it: whether what is on the disk is what was published.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use common::id::{FileId, FileName, GroupName};
use common::manifest::{Manifest, Verdict};
use common::pieces::Bitfield;
use common::tree::{Entry, Tree};
use common::wire::client::FileSelector;
use rustix::fs::FileType;

use super::folder::{hash_file, pieces_of, pieces_touching};
use super::hash::{HashProgress, manifest_of};
use super::offer::{ReadError, Space, open_regular};
use super::publish::blocking;
use super::recheck::look_key;
use super::withheld::Withheld;
use super::{FolderShare, NamedFiles, Share, Shares, key_of};
use crate::error::Error;
use crate::transfer::beneath::Beneath;
use crate::transfer::stamp::Stamp;
use crate::transfer::trees::{Marks, OTHER_CONTENT, is_here};

/// Most files of a folder that are named when they are not what was published.
const NAMED: usize = 20;

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// Where it is shared.
    pub group: GroupName,
    /// Its name there.
    pub name: FileName,
    /// Its content, as it was published.
    pub file_id: FileId,
    /// Where it lies.
    pub path: PathBuf,
    /// Length in bytes.
    pub size: u64,
    /// Number of its pieces.
    pub pieces: u32,
    /// What of it is not what was published.
    pub damage: Option<Damage>,
}

/// What is not what was published. No piece with any of it is seeded any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// How many pieces; all, where the length of a file is another.
    pub pieces: u32,
    /// Of a folder, the files.
    pub files: NamedFiles,
    /// How many pieces are seeded on; 0 where nothing is.
    pub left: u32,
}

impl Shares {
    /// Reads a share of this device again. What is not what was published is no longer seeded: a file not at all, a folder
    /// without the files that are to blame. What could not be given before and is as it was published is seeded again. Reading ends
    /// when this is dropped.
    ///
    /// # Errors
    /// When this device does not share it, or it cannot be read.
    pub async fn verify(
        &self,
        group: &GroupName,
        file: &FileSelector,
        progress: impl Fn(HashProgress) + Send + Sync + 'static,
    ) -> Result<Verified, Error> {
        let user = self.user()?;
        let share = self.one_of(user, group, file)?;
        let Some(share) = share else {
            // The tracker knows best what is wrong with the group or the name; if nothing is, it is only not ours.
            self.find(group.clone(), file.clone()).await?;
            return Err(Error::InvalidArgument(format!(
                "this device does not share `{file}`, so there is nothing to verify here; `download_file` fetches it"
            )));
        };
        let manifest = self.0.manifests.load(share.file_id, share.layout);
        let manifest = manifest.ok_or_else(|| Error::Integrity(lost(&share)))?;
        let (damage, stamp) = match &share.folder {
            None => damage_of_file(&share, manifest, progress).await?,
            Some(folder) => (self.damage_of_folder(&share, folder, manifest, progress).await?, share.stamp),
        };
        match &damage {
            Some(damage) if damage.left == 0 => {
                // Not while somebody who took it for sound is about to offer it.
                let _one = self.0.rechecking.lock().await;
                let withheld = match &share.folder {
                    None => Withheld::file(stamp),
                    Some(_) => self.changed(&share, |looks| Withheld::folder(looks.changed())),
                };
                self.withhold(&share, withheld).await;
            }
            _ if share.withheld.is_some() => {
                self.restore_verified(Share { stamp, withheld: None, ..share.clone() }).await
            }
            _ => {}
        }
        Ok(Verified {
            group: self.0.names.present(share.group_id, &share.group),
            size: share.layout.len(),
            pieces: share.layout.count(),
            name: share.name,
            file_id: share.file_id,
            path: share.path,
            damage,
        })
    }

    async fn damage_of_folder(
        &self,
        share: &Share,
        folder: &FolderShare,
        manifest: Manifest,
        progress: impl Fn(HashProgress) + Send + Sync + 'static,
    ) -> Result<Option<Damage>, Error> {
        let stop = StopOnDrop::default();
        let stopped = Arc::clone(&stop.0);
        let reads = |share: &Share, folder: &FolderShare| (self.clone(), share.clone(), folder.clone());
        let (shares, read, of) = reads(share, folder);
        let bad = blocking(move || {
            let bad = shares.bad_pieces_of_folder(&read, &of, &manifest, &progress, &stopped);
            bad.map_err(|e| Error::from_io("read", &read.path, e))
        });
        let bad = bad.await?;
        // Marks are changed by one at a time.
        let _one = self.0.rechecking.lock().await;
        let (shares, read, of) = reads(share, folder);
        blocking(move || {
            let damage = shares.withdraw_bad_files(&read, &of, &bad);
            damage.map_err(|e| Error::from_io("read", &read.path, e))
        })
        .await
    }

    /// The pieces of the folder that should be here and are not what was published. Blocks on the disk.
    fn bad_pieces_of_folder(
        &self,
        share: &Share,
        folder: &FolderShare,
        manifest: &Manifest,
        progress: &(dyn Fn(HashProgress) + Sync),
        stop: &AtomicBool,
    ) -> io::Result<Bitfield> {
        let layout = manifest.layout();
        let (tree, marks) = self.tree_and_marks(share, folder)?;
        let here = pieces_of(&tree, layout, |index| marks.get(index).is_some_and(|mark| *mark != 0));
        let space = self.place(share.path.clone(), folder).open().map_err(|e| match e {
            ReadError::Io(e) => e,
            changed @ ReadError::Changed => io::Error::other(changed),
        })?;
        let (mut bad, mut done) = (Bitfield::empty(layout), 0);
        for piece in layout.pieces().filter(|piece| here.has(*piece)) {
            if stop.load(Ordering::Relaxed) {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let mut bytes = vec![0; layout.len_of(piece) as usize];
            let read = space.read(layout.range(piece).start, &mut [&mut bytes]);
            if read.is_err() || manifest.verify(piece, &bytes) != Verdict::Good {
                bad.set(piece);
            }
            done += bytes.len() as u64;
            progress(HashProgress { done, total: layout.len() });
        }
        Ok(bad)
    }

    /// Finds the files that are to blame for pieces that could not be read as they should be. They are not here from now on,
    /// and the rest goes on being seeded. A file that was only written anew, with what was in it, is to blame for nothing.
    /// Blocks on the disk.
    fn withdraw_bad_files(&self, share: &Share, folder: &FolderShare, bad: &Bitfield) -> io::Result<Option<Damage>> {
        let layout = share.layout;
        let (tree, mut marks) = self.tree_and_marks(share, folder)?;
        let root = Beneath::open(&share.path)?;
        let known = marks.clone();
        let (mut blamed, mut pieces) = (Vec::new(), Bitfield::empty(layout));
        for (index, node) in tree.iter().enumerate() {
            let Entry::File { len, hash, .. } = node.entry else { continue };
            let touched = || pieces_touching(&tree, layout, index).filter(|piece| bad.has(*piece));
            // An empty file is in no piece.
            let is_suspect = || match (marks[index], len) {
                // It was found to be another, and may be as it was again.
                (OTHER_CONTENT, _) => true,
                (mark, 0) => mark_of(&root, node.path) != mark,
                _ => touched().next().is_some(),
            };
            if marks[index] == 0 || !is_suspect() {
                continue;
            }
            let found = hash_file(&root, node.path).ok();
            if let Some((_, mark)) = found.filter(|(found, _)| *found == hash) {
                marks[index] = mark;
                continue;
            }
            marks[index] = OTHER_CONTENT;
            blamed.push((index, found.map_or_else(|| mark_of(&root, node.path), |(_, mark)| mark), node.path));
            touched().for_each(|piece| {
                pieces.set(piece);
            });
        }
        if marks == known && blamed.is_empty() {
            return Ok(None);
        }
        self.0.trees.save_marks(folder.tree, &share.path, &marks).map_err(io::Error::other)?;
        self.looks(|looks| {
            let looks = looks.entry(look_key(share)).or_default();
            blamed.iter().for_each(|(index, mark, path)| looks.has_changed(*index, *mark, path));
        });
        let have = pieces_of(&tree, layout, |index| marks.get(index).is_some_and(|mark| is_here(*mark)));
        let (pieces, left) = (pieces.ones(), have.ones());
        if let Some(offer) = self.0.host.offers.get(key_of(share)) {
            offer.source().rest(true);
            offer.set(have);
        }
        let files = NamedFiles::of(blamed.iter().map(|(.., path)| *path), NAMED);
        Ok((files.count() > 0).then_some(Damage { pieces, files, left }))
    }

    fn tree_and_marks(&self, share: &Share, folder: &FolderShare) -> io::Result<(Tree, Marks)> {
        let lost = || io::Error::new(io::ErrorKind::InvalidData, "what is known of its files is lost; share it again");
        let tree = self.0.trees.load(folder.tree).ok_or_else(lost)?;
        let marks = self.0.trees.marks(folder.tree, &share.path).filter(|marks| marks.len() == tree.entries());
        Ok((tree, marks.ok_or_else(lost)?))
    }
}

/// The mark of a file as it is now; 0 if it is gone, or no file.
fn mark_of(root: &Beneath, path: &str) -> u64 {
    let met = root.look(path).ok().filter(|met| met.kind == FileType::RegularFile);
    met.map_or(0, |met| met.stamp.mark())
}

fn lost(share: &Share) -> String {
    format!("what the pieces of `{}` have to be is no longer known here; share it again", share.name)
}

/// Tells whoever reads to stop when nobody waits for it any more.
#[derive(Default)]
struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

async fn damage_of_file(
    share: &Share,
    manifest: Manifest,
    progress: impl Fn(HashProgress) + Send + Sync + 'static,
) -> Result<(Option<Damage>, Stamp), Error> {
    let stop = StopOnDrop::default();
    let (share, stopped) = (share.clone(), Arc::clone(&stop.0));
    let bad = blocking(move || {
        bad_pieces(&share, &manifest, &progress, &stopped).map_err(|e| Error::from_io("read", &share.path, e))
    });
    let (pieces, stamp) = bad.await?;
    Ok(((pieces > 0).then(|| Damage { pieces, files: NamedFiles::default(), left: 0 }), stamp))
}

/// How many pieces of the file are not those of the manifest, and how it was before it was read. Blocks on the disk.
fn bad_pieces(
    share: &Share,
    manifest: &Manifest,
    progress: &(dyn Fn(HashProgress) + Sync),
    stop: &AtomicBool,
) -> std::io::Result<(u32, Stamp)> {
    let layout = manifest.layout();
    let file = open_regular(&share.path)?;
    let stamp = Stamp::of(&file.metadata()?);
    if stamp.len != layout.len() {
        return Ok((layout.count().max(1), stamp));
    }
    let found = manifest_of(&file, layout, progress, stop)?;
    let differ = found.pieces().iter().zip(manifest.pieces()).filter(|(found, wanted)| found != wanted).count();
    Ok((u32::try_from(differ).unwrap_or(u32::MAX), stamp))
}
