//! Trees of folders on this machine's disk, and the marks by which changed files of a folder are recognised.
//!
//! A tree lies under its id, which is its hash: what does not hash to it is as good as missing. Marks lie beside it, one file
//! for each place where the folder lies, with a checksum at the end. Blocks on the disk.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use common::id::TreeId;
use common::tree::Tree;

use super::saved;
use crate::error::Error;
use crate::private_file;

const MAGIC: &[u8; 8] = b"shoalmk1";
const CHECK: usize = 32;

/// The trees of one data directory.
#[derive(Debug, Clone)]
pub(crate) struct Trees {
    directory: PathBuf,
}

/// For each entry of a tree how it is on the disk: the [mark](super::stamp::Stamp::mark) of its file; 0 for a folder, and for
/// a file that is not here; [`OTHER_CONTENT`].
pub(crate) type Marks = Vec<u64>;

/// In place of the mark of a file whose content was found to be another than the tree says. No file has it, so that the
/// file is looked at again after each start, and is here again once its content is.
pub(crate) const OTHER_CONTENT: u64 = 1;

/// Whether a file with this mark is here as the tree says.
pub(crate) const fn is_here(mark: u64) -> bool {
    mark > OTHER_CONTENT
}

impl Trees {
    /// Those under `data_dir`.
    ///
    /// # Errors
    /// When the directory cannot be made.
    pub(crate) fn open(data_dir: &Path) -> Result<Self, Error> {
        let directory = data_dir.join("trees");
        saved::private_directory(&directory).map_err(|e| Error::from_io("create", &directory, e))?;
        Ok(Self { directory })
    }

    /// The tree with this id, if it is here and sound.
    pub(crate) fn load(&self, id: TreeId) -> Option<Tree> {
        let bytes = fs::read(self.path(id)).ok()?;
        let tree = Tree::decode(&bytes).ok()?;
        (tree.id() == id).then_some(tree)
    }

    /// Keeps the tree whose canonical form `encoded` is.
    ///
    /// # Errors
    /// When the file system refuses.
    pub(crate) fn save(&self, id: TreeId, encoded: &[u8]) -> Result<(), Error> {
        private_file::replace(&self.path(id), encoded)
    }

    /// Forgets a tree that nothing refers to any more.
    pub(crate) fn remove(&self, id: TreeId) {
        remove(&self.path(id));
    }

    /// How the files of the tree were at `place` when they were looked at last.
    pub(crate) fn marks(&self, id: TreeId, place: &Path) -> Option<Marks> {
        let bytes = fs::read(self.marks_path(id, place)).ok()?;
        let (body, check) = bytes.split_last_chunk::<CHECK>()?;
        let marks = body.strip_prefix(MAGIC).filter(|_| blake3::hash(body) == *check)?;
        Some(marks.as_chunks::<8>().0.iter().map(|mark| u64::from_le_bytes(*mark)).collect())
    }

    /// Keeps how they are.
    ///
    /// # Errors
    /// When the file system refuses.
    pub(crate) fn save_marks(&self, id: TreeId, place: &Path, marks: &[u64]) -> Result<(), Error> {
        let mut bytes = Vec::with_capacity(MAGIC.len() + 8 * marks.len() + CHECK);
        bytes.extend_from_slice(MAGIC);
        marks.iter().for_each(|mark| bytes.extend_from_slice(&mark.to_le_bytes()));
        let check = blake3::hash(&bytes);
        bytes.extend_from_slice(check.as_bytes());
        private_file::replace(&self.marks_path(id, place), &bytes)
    }

    /// Forgets them.
    pub(crate) fn remove_marks(&self, id: TreeId, place: &Path) {
        remove(&self.marks_path(id, place));
    }

    fn path(&self, id: TreeId) -> PathBuf {
        self.directory.join(id.to_string())
    }

    fn marks_path(&self, id: TreeId, place: &Path) -> PathBuf {
        let place = blake3::hash(place.as_os_str().as_bytes()).to_hex();
        self.directory.join(format!("{id}.{}.marks", &place[..16]))
    }
}

fn remove(path: &Path) {
    if let Err(error) = private_file::remove(path) {
        tracing::debug!(%error, "what is known of a folder could not be removed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::id::FileId;
    use common::tree::Entry;

    #[test]
    fn trees_and_marks_come_back_and_damage_is_noticed() {
        let dir = tempfile::tempdir().expect("a directory");
        let trees = Trees::open(dir.path()).expect("opened");
        let entry = Entry::File { len: 5, hash: FileId::new([7; 32]), executable: true };
        let tree = Tree::new([("a/b".parse().expect("a path"), entry)]).expect("a tree");
        let id = tree.id();
        assert!(trees.load(id).is_none());
        trees.save(id, &tree.encode()).expect("saved");
        assert_eq!(trees.load(id), Some(tree));
        let place = Path::new("/some/where");
        assert_eq!(trees.marks(id, place), None);
        trees.save_marks(id, place, &[3, 0, u64::MAX]).expect("saved");
        assert_eq!(trees.marks(id, place), Some(vec![3, 0, u64::MAX]));
        assert_eq!(trees.marks(id, Path::new("/else/where")), None);
        for file in [trees.path(id), trees.marks_path(id, place)] {
            let mut bytes = fs::read(&file).expect("read");
            bytes[10] ^= 1;
            fs::write(&file, bytes).expect("written");
        }
        assert!(trees.load(id).is_none() && trees.marks(id, place).is_none());
    }
}
