//! Folders on their way to this disk.
//!
//! A folder is fetched as one content, piece by piece, and lies as files from the first piece on: below a hidden folder beside
//! its destination ([`FolderPart`]), under the names that they will have. A destination that is not there yet is that folder,
//! renamed when all is there. Into one that is there each file goes by itself, whole and checked. Invariant: nothing
//! outside of the hidden folder and the destination is touched, no link is followed, and nothing that exists is
//! replaced or removed but files of the tree, and those only if the user asked for it.

mod choice;
mod finish;
mod part;
mod reuse;

use std::sync::Arc;

use common::tree::{Entry, Tree};

pub use self::choice::Choice;
pub(crate) use self::choice::{Chosen, chooses};
pub(crate) use self::finish::{Placed, failure, marks};
pub(crate) use self::part::FolderPart;
pub(crate) use self::reuse::{Older, OlderFile, OlderFolder};

/// What is fetched of a folder, and how it is put down.
#[derive(Debug, Clone)]
pub(crate) struct FolderPlan {
    pub(crate) tree: Arc<Tree>,
    pub(crate) chosen: Chosen,
    /// The one chosen file goes to the destination by itself.
    pub(crate) single: bool,
    /// A folder that is at the destination is added to.
    pub(crate) merge: bool,
}

impl FolderPlan {
    /// Files and empty folders that are fetched.
    pub(crate) fn files(&self) -> u64 {
        self.chosen.count()
    }

    /// Their paths.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &str> {
        self.tree.iter().enumerate().filter(|(index, _)| self.chosen.has(*index)).map(|(_, node)| node.path)
    }

    /// Bytes of the files that are fetched.
    pub(crate) fn bytes(&self) -> u64 {
        let chosen = self.tree.iter().enumerate().filter(|(index, _)| self.chosen.has(*index));
        chosen.map(|(_, node)| if let Entry::File { len, .. } = node.entry { len } else { 0 }).sum()
    }
}

/// The tree says of a file what its bytes are not.
#[derive(Debug, thiserror::Error)]
#[error(
    "the bytes of `{}` are not those in the share's list of files; `resume_download` fetches them once more, and if it says so \
     again, the list is wrong, and its publisher has to upload the folder again",
    common::escape::Escaped(.0)
)]
pub(crate) struct LyingTree(pub(crate) String);
