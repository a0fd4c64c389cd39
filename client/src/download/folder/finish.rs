//! The end of a folder: every file is checked, and then has its name.
//!
//! Where the destination is new, one renaming does it. Into a folder that is there the files go one by one; stopped in
//! between, those that have gone are found in place when the download goes on.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use common::pieces::PieceIndex;
use common::tree::{Entry, Node, Tree};

use super::part::FILES;
use super::{Chosen, FolderPart, LyingTree};
use crate::download::destination::Destination;
use crate::error::{Error, shown};
use crate::own_files;
use crate::share::{hash_file, pieces_touching};
use crate::transfer::beneath::{Beneath, split};
use crate::transfer::stamp::Stamp;
use crate::transfer::trees::Marks;

/// A folder that is where it belongs.
#[derive(Debug)]
pub(crate) struct Placed {
    pub(crate) stamp: Stamp,
    /// How its files are; none if only one file of it was wanted.
    pub(crate) marks: Option<Marks>,
}

impl FolderPart {
    /// Gives everything that is [complete](Self::complete) its name, durably.
    ///
    /// # Errors
    /// When something is in the way, or the system refuses.
    pub(crate) fn finish(
        &self,
        destination: &Destination,
        part: &std::ffi::OsStr,
        force: bool,
    ) -> Result<Placed, Error> {
        let failed = |e| failure(e, &destination.path());
        self.sync().map_err(failed)?;
        let dir = destination.open_part_folder(part).map_err(failed)?;
        let stamp =
            if self.single { self.place_one(destination, force)? } else { self.place_all(destination, &dir, force)? };
        let root = self.target.get().unwrap_or(&self.staging);
        let marks = (!self.single).then(|| marks(root, &self.tree, &self.chosen));
        destination.remove_part(part).map_err(failed)?;
        Ok(Placed { stamp, marks: marks.transpose().map_err(failed)? })
    }

    /// Adds what no piece brings: empty files and folders. And files of several pieces are hashed: the others were when they
    /// were written. With a file whose bytes are not what the tree says, the pieces that it lies in.
    ///
    /// # Errors
    /// When the system refuses.
    pub(crate) fn complete(&self) -> io::Result<Option<(LyingTree, Vec<PieceIndex>)>> {
        for (index, Node { path, entry, offset }) in self.tree.iter().enumerate() {
            if !self.chosen.has(index) || self.in_place(index).is_some() {
                continue;
            }
            match entry {
                Entry::EmptyFolder if self.target.get().is_none() => drop(self.staging.make_folder(path)?),
                Entry::EmptyFolder => {}
                Entry::File { len: 0, executable, .. } => drop(self.staging.write(path, executable)?),
                Entry::File { len, hash, .. } => {
                    if self.pieces_over(offset, len) > 1 && hash_file(&self.staging, path)?.0 != hash {
                        let pieces = pieces_touching(&self.tree, self.layout(), index).collect();
                        return Ok(Some((LyingTree(path.to_owned()), pieces)));
                    }
                }
            }
        }
        Ok(None)
    }

    /// The folder becomes the destination, or what is in it goes into the one that is there.
    fn place_all(&self, destination: &Destination, part: &cap_std::fs::Dir, force: bool) -> Result<Stamp, Error> {
        if self.target.get().is_none() {
            let mode = Permissions::from_mode(0o777 & !crate::download::destination::umask());
            let failed = |e| failure(e, &destination.path());
            self.staging.root().try_clone().map_err(failed)?.into_std_file().set_permissions(mode).map_err(failed)?;
            match destination.commit_folder(part, FILES) {
                Ok(()) => return self.stamp().map_err(failed),
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists && (force || self.merge) => {
                    own_files::refuse_below(&destination.path(), self.plan().paths())?;
                    self.add_to(destination.open_folder().map_err(failed)?);
                }
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                    return Err(Error::DestinationExists(destination.path()));
                }
                Err(e) => return Err(failed(e)),
            }
        }
        let Some(target) = self.target.get() else { return Err(Error::Internal("no folder to add to".to_owned())) };
        for (index, node) in self.tree.iter().enumerate().filter(|(index, _)| self.chosen.has(*index)) {
            let path = destination.path().join(node.path);
            self.place_into(target, index, &node, force).map_err(|e| in_the_way(e, &path))?;
        }
        let failed = |e| failure(e, &destination.path());
        crate::download::durable_io::sync_file_system(target.root()).map_err(failed)?;
        Ok(Stamp::of_stat(&rustix::fs::fstat(target.root()).map_err(|e| failed(e.into()))?))
    }

    fn place_into(&self, target: &Beneath, index: usize, node: &Node<'_>, force: bool) -> io::Result<()> {
        let Entry::File { executable, .. } = node.entry else { return target.make_folder(node.path).map(drop) };
        if let Some(mark) = self.in_place(index) {
            let met = target.look(node.path)?;
            if met.stamp.mark() != mark {
                return Err(io::Error::other("it changed during the download; `resume_download` looks at it again"));
            }
            if met.executable != executable {
                let file = target.read(node.path)?;
                let mode = file.metadata()?.permissions().mode();
                let mode = if executable { mode | (mode & 0o444) >> 2 } else { mode & !0o111 };
                file.set_permissions(Permissions::from_mode(mode))?;
            }
            return Ok(());
        }
        if force { self.staging.move_to(target, node.path) } else { self.staging.move_to_free(target, node.path) }
    }

    /// The one file that was wanted becomes the destination.
    fn place_one(&self, destination: &Destination, force: bool) -> Result<Stamp, Error> {
        let failed = |e| failure(e, &destination.path());
        destination.check_free(force)?;
        let only =
            (0..self.tree.entries()).find(|index| self.chosen.has(*index)).and_then(|index| self.tree.get(index));
        let Some(node) = only else { return Err(Error::Internal("no file was chosen".to_owned())) };
        let (folder, name) = split(node.path);
        let folder = self.staging.folder(folder).map_err(failed)?;
        let stamp = self.staging.look(node.path).map_err(failed)?.stamp;
        destination.commit_from(&folder, name, force)?;
        Ok(stamp)
    }
}

/// How the chosen files of a folder are, that are below `root`.
///
/// # Errors
/// When one is not there.
pub(crate) fn marks(root: &Beneath, tree: &Tree, chosen: &Chosen) -> io::Result<Marks> {
    let mark = |(index, node): (usize, Node<'_>)| match node.entry {
        Entry::File { .. } if chosen.has(index) => Ok(root.look(node.path)?.stamp.mark()),
        _ => Ok(0),
    };
    tree.iter().enumerate().map(mark).collect()
}

/// What a fault on the way means.
pub(crate) fn failure(e: io::Error, path: &std::path::Path) -> Error {
    match e.get_ref().and_then(|e| e.downcast_ref::<LyingTree>()) {
        Some(lie) => Error::Integrity(lie.to_string()),
        None => Error::from_io("write", path, e),
    }
}

fn in_the_way(e: io::Error, path: &std::path::Path) -> Error {
    match e.kind() {
        io::ErrorKind::NotADirectory | io::ErrorKind::IsADirectory => Error::InvalidArgument(format!(
            "something else is where {} belongs; move it away, or choose another destination",
            shown(path)
        )),
        io::ErrorKind::AlreadyExists => Error::DestinationExists(PathBuf::from(path)),
        _ => failure(e, path),
    }
}
