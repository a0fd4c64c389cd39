//! What the state machine wants of the database, and what it gets.

use std::sync::Arc;

use common::id::{OriginId, TreeId};
use common::wire::sync::{Event, Head, Hello, ManifestPart, NameVote, SyncFrame};

use crate::fact::ManifestId;
use crate::store::{Absent, Applied, Cursor, Outbox, Versions};

/// Something to do with the database.
#[derive(Debug, Clone)]
pub enum Job {
    /// Read what to say first.
    Introduce,
    /// Compare the sibling's heads with ours.
    Compare(Vec<Head>),
    /// Read what the sibling lacks next.
    Outbox {
        /// What it has.
        after: Versions,
        /// Which changes of votes it has.
        votes_after: u64,
        /// Up to which change it has the same confirmed votes.
        agreed: u64,
        /// How much fits, in bytes.
        room: usize,
    },
    /// Apply events and votes, without the manifests that are not to be had.
    Apply(Arc<[Event]>, Vec<NameVote>, Absent),
    /// Join facts, likewise.
    Join(Arc<[u8]>, Option<Arc<[Head]>>, Absent),
    /// Read our heads, to be sent with the last part of the facts.
    Heads,
    /// Read facts from there on, so many bytes.
    Facts(Cursor, usize),
    /// Read part of a manifest.
    ReadManifest {
        /// Which.
        id: [u8; 32],
        /// From this piece on.
        first: u32,
        /// So many pieces.
        pieces: usize,
        /// Whether the sibling knows folders.
        folders: bool,
    },
    /// Read part of a tree: from a byte on, so many bytes.
    ReadTree(TreeId, u64, usize),
    /// Store a manifest; of a folder, with the tree that is here or has been staged.
    StoreManifest(ManifestId, Vec<ManifestPart>, Option<TreeId>),
    /// Find out how much of a tree is here.
    FindTree(TreeId),
    /// Stage part of a tree.
    StageTree {
        /// Which.
        tree: TreeId,
        /// Number of the first byte.
        offset: u64,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// Find manifests that shares name and that are not here: an earlier release could not take a folder's.
    FindLacking,
    /// Refuse an origin from now on.
    Quarantine(OriginId),
    /// Condense the state.
    Digest,
    /// Read the facts of these parts of the state.
    ReadParts(Vec<usize>),
    /// Join facts of parts that differ, where the log does not contradict them.
    Mend(Arc<[u8]>),
}

/// How a job ended.
#[derive(Debug, Clone)]
pub enum Done {
    /// What to know of ourselves before anything is said.
    Introduced {
        /// What to say.
        hello: Hello,
        /// Where our log begins.
        floors: Versions,
        /// How many changes of votes there have been by then.
        votes: u64,
        /// Origins of which nothing more is applied.
        quarantined: Vec<OriginId>,
    },
    /// Origins that differ.
    Compared(Vec<OriginId>),
    /// What the sibling lacks.
    Outbox(Outbox),
    /// What became of a batch, or of facts.
    Applied(Applied),
    /// Our heads.
    Heads(Vec<Head>),
    /// Facts, and where to go on.
    Facts(Vec<u8>, Option<Cursor>),
    /// The answer about a manifest or a tree.
    Manifest(SyncFrame),
    /// So many bytes of a tree have been staged; `None`, if it is here.
    TreeFound(Option<u64>),
    /// Manifests that are not here.
    Lacking(Vec<ManifestId>),
    /// The manifest is there.
    Stored,
    /// That is done.
    Quarantined,
    /// The state in condensed form, empty if it cannot be compared now, and of what.
    Digest(Versions, Vec<u64>),
    /// Facts, in as many messages.
    Parts(Vec<Vec<u8>>),
    /// How many facts were mended.
    Mended(usize),
    /// It could not be done.
    Failed(String),
}
