//! Between the two trackers, and what a client carries from one to the other.
//!
//! **Participants.** Two trackers of one cluster, each with a database of its own.
//! **Shape.** Both say [`Hello`] first: what they have. Then each streams what the other lacks, as
//! [`Batch`]es that are acknowledged when they are on disk, and goes on with what happens. Messages are
//! handled in the order they were sent; nothing that was sent on an older connection is ever read.
//! **Goals.** Events of an origin arrive in order, after what they depend on, and after the
//! manifests they name (fetched with [`SyncFrame::WantManifest`]). A tracker whose log does not reach back far
//! enough sends facts instead ([`SyncFrame::Facts`]); they are joined to what is there.
//! **Two releases.** What is newer than the first release is said only to a sibling whose [`Hello`] knows it
//! ([`REVISION`]).
//! **Not here.** What an event says: it travels as the bytes that are in the log, so that a tracker can
//! keep and pass on what it does not understand.

use serde::{Deserialize, Serialize};

use std::net::SocketAddr;

use crate::id::{DeviceId, FileId, OriginId, RequestId, Sha1Digest, TreeId, UserId, UserName};
use crate::manifest::PieceHash;
use crate::pieces::PieceLayout;
use crate::wire::limits::{
    Bytes, List, MAX_BATCH_BYTES, MAX_EVENTS, MAX_ORIGINS, MAX_PART, MAX_PRESENCE, MAX_TREE_PART,
};

/// Version of this conversation: both must speak the same.
pub const VERSION: u16 = 1;
/// What a release adds to the version, and uses with a sibling that knows it, too. Later ones include earlier ones.
///
/// 1: [`SyncFrame::WantManifestFrom`], [`SyncFrame::Presence`], [`SyncFrame::Clock`]. 2: manifests of folders, and trees:
/// from [`SyncFrame::FolderManifest`] on. A sibling of a lower one is told that there is no such manifest. 3: facts about
/// invitations. A sibling of a lower one keeps and passes on the events that state any; it is not sent such facts by
/// themselves, and they are not compared with it.
pub const REVISION: u16 = 3;

/// For each origin the number of its last event that is known; see docs/REPLICATION.md.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct VersionVector(pub List<(OriginId, u64), MAX_ORIGINS>);

/// From tracker to tracker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub enum SyncFrame {
    /// First on a connection, from both sides, and only there.
    Hello(Hello),
    /// Events, and votes on names.
    Batch(Batch),
    /// Part of everything: the log does not reach back to what the receiver has.
    Facts(Facts),
    /// A batch or a part, and all before it, is on disk.
    Ack(Ack),
    /// The receiver has an event that names this manifest, and not the manifest.
    WantManifest([u8; 32]),
    /// The answer: part of a manifest.
    Manifest(ManifestPart),
    /// The answer, if it is not there.
    NoManifest([u8; 32]),
    /// A condensed form of the sender's state.
    Digest(StateDigest),
    /// Facts of the parts of the state in which the two differ.
    Repair(Facts),
    /// Somebody else has used numbers of this origin: its events are refused here.
    Quarantined(OriginId),
    /// Asks for a sign of life.
    Ping,
    /// A sign of life.
    Pong,
    /// As [`SyncFrame::WantManifest`], from a piece on; answered with one part, so that the receiver sets the pace.
    WantManifestFrom {
        /// Which.
        id: [u8; 32],
        /// The first piece that it lacks.
        first: u32,
    },
    /// Which devices have said to the sender where they are.
    Presence(Presence),
    /// The sender's wall clock, in milliseconds since 1970. Only compared, and shown to operators.
    Clock(u64),
    /// As [`SyncFrame::Manifest`], of a folder.
    FolderManifest {
        /// Part of the manifest.
        part: ManifestPart,
        /// Its tree.
        tree: TreeId,
    },
    /// Asks for a part of a tree; answered with one part, or with [`SyncFrame::NoTree`].
    WantTree {
        /// Which.
        tree: TreeId,
        /// From this byte of its canonical form on.
        offset: u64,
    },
    /// The answer: consecutive bytes of a tree.
    Tree(TreePart),
    /// The answer, if it is not there.
    NoTree(TreeId),
}

/// Consecutive bytes of the canonical form of a tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct TreePart {
    /// Which tree.
    pub tree: TreeId,
    /// How long all of it is, in bytes.
    pub len: u64,
    /// Number of the first byte in this part.
    pub offset: u64,
    /// The bytes; none only at the end.
    pub bytes: Bytes<MAX_TREE_PART>,
}

/// Changes of who is connected to the sender. What was said once holds for as long as this connection lasts, until
/// it is said to be gone; all of it is said anew on the next one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct Presence {
    /// Who has come, or is elsewhere.
    pub here: List<Announcement, MAX_PRESENCE>,
    /// Who has gone.
    pub gone: List<DeviceId, MAX_PRESENCE>,
}

/// What a device has said of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct Announcement {
    /// Which.
    pub device: DeviceId,
    /// Who is logged in there.
    pub user: UserId,
    /// Where others reach it.
    #[cfg_attr(test, proptest(strategy = "crate::wire::round_trip::address()"))]
    pub address: SocketAddr,
    /// Number of the announcement: of two, the higher holds.
    pub serial: u64,
}

/// What a tracker has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct Hello {
    /// [`VERSION`] of the sender.
    pub version: u16,
    /// The newest schema that it knows; above that, in the upper 16 bits, its [`REVISION`]. The first release left
    /// them 0, and reads neither.
    pub schema: u32,
    /// Its line in tracker_info.txt, from 1.
    pub tracker_no: u16,
    /// Its present run.
    pub origin: OriginId,
    /// What it has of each origin.
    pub heads: List<Head, MAX_ORIGINS>,
    /// A hash over its confirmed names: if it is the same, they need not be compared.
    pub names: [u8; 32],
}

impl Hello {
    /// The field `schema` of a tracker of this release that knows so new a schema.
    pub const fn schema_and_revision(schema: u16) -> u32 {
        (REVISION as u32) << 16 | schema as u32
    }

    /// What its sender knows beyond the version.
    pub const fn revision(&self) -> u16 {
        (self.schema >> 16) as u16
    }
}

/// The last event of an origin that a tracker has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct Head {
    /// The origin.
    pub origin: OriginId,
    /// Number of the event.
    pub seq: u64,
    /// Its hash, and so that of all before it.
    pub hash: [u8; 32],
}

/// An entry of the log, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct Event {
    /// Which run of which tracker.
    pub origin: OriginId,
    /// Its number there, from 1.
    pub seq: u64,
    /// When, by the hybrid logical clock.
    pub hlc: u64,
    /// What its origin had newly seen of others.
    pub deps: VersionVector,
    /// What kind of event.
    pub kind: u32,
    /// Version of that kind's body.
    pub ver: u32,
    /// Who asked for it, and
    pub device: DeviceId,
    /// under which id.
    pub request: RequestId,
    /// What it states.
    pub body: Bytes<MAX_BATCH_BYTES>,
    /// What the asker was answered.
    pub answer: Bytes<MAX_BATCH_BYTES>,
    /// Hash of the event before it.
    pub prev_hash: [u8; 32],
}

/// Events in the order in which they can be applied, then votes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct Batch {
    /// Counts batches and parts of this connection, from 1.
    pub number: u64,
    /// The events.
    pub events: List<Event, MAX_EVENTS>,
    /// The sender's votes that are new or have changed.
    pub votes: List<NameVote, MAX_EVENTS>,
}

/// What kind of name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub enum NameKind {
    /// A user's.
    User,
    /// A group's.
    Group,
}

/// How far a tracker's vote on a name has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub enum VoteStage {
    /// Voted; the sibling's vote is not known.
    Provisional,
    /// The sibling is known to have voted alike.
    Pledged,
    /// The sibling is known to have pledged alike.
    Confirmed,
}

/// The sender's vote on who owns a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct NameVote {
    /// What kind.
    pub kind: NameKind,
    /// The name in lower case.
    pub name: UserName,
    /// When the claim was made, and
    pub hlc: u64,
    /// in which run.
    pub origin: OriginId,
    /// Id of the user or group.
    pub owner: [u8; 16],
    /// How far it has come.
    pub stage: VoteStage,
}

/// Facts with their stamps, in the form in which the log has them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct Facts {
    /// Counts batches and parts of this connection, from 1.
    pub number: u64,
    /// The facts.
    pub facts: Bytes<MAX_BATCH_BYTES>,
    /// With the last part: what one has who has joined all parts.
    pub complete: Option<List<Head, MAX_ORIGINS>>,
}

/// What is on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct Ack {
    /// Number of the batch or part.
    pub number: u64,
    /// What it has brought, as far as that has changed.
    pub versions: VersionVector,
}

/// Digests of consecutive pieces of a manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct ManifestPart {
    /// Which manifest.
    pub id: [u8; 32],
    /// The content.
    pub file_id: FileId,
    /// How it is cut.
    pub layout: PieceLayout,
    /// SHA-1 of the whole.
    pub sha1: Sha1Digest,
    /// Number of the first piece in this part.
    pub first: u32,
    /// The digests.
    pub pieces: List<PieceHash, MAX_PART>,
}

/// The state in condensed form: one number for each part of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct StateDigest {
    /// Of what.
    pub versions: VersionVector,
    /// The parts.
    pub buckets: List<u64, 4096>,
}
