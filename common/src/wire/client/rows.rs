//! What answers are made of.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::Mode;
use crate::id::{DeviceId, FileId, FileName, GroupId, GroupName, Sha1Digest, TreeId, UserName};
use crate::manifest::PieceHash;
use crate::pieces::PieceLayout;
use crate::ticket::{Signed, Ticket, UnixSeconds};
use crate::tree::TreePath;
use crate::wire::limits::{List, MAX_NEWS, MAX_PART, MAX_PROBES, MAX_ROWS};

/// Part of a listing; ask again with `after` the last row while `more` is set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page<T> {
    /// The rows.
    pub rows: List<T, MAX_ROWS>,
    /// Whether there are further ones.
    pub more: bool,
}

/// A group, as everyone may see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct GroupRow {
    /// Its name.
    pub group: GroupName,
    /// Its admin.
    pub admin: UserName,
    /// Number of members.
    pub members: u32,
    /// What the caller is to it.
    pub relation: Relation,
}

/// What a user is to a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub enum Relation {
    /// Its admin.
    Admin,
    /// A member.
    Member,
    /// Has asked to join.
    Pending,
    /// Nothing.
    None,
}

/// A member of a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct MemberRow {
    /// Name.
    pub user: UserName,
    /// Whether the admin.
    pub admin: bool,
}

/// A share in a listing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct FileRow {
    /// Name.
    pub name: FileName,
    /// Length in bytes.
    pub size: u64,
    /// Content.
    pub file_id: FileId,
    /// Who published it.
    pub uploader: UserName,
    /// Devices that seed it now.
    pub seeders: u32,
}

/// A share, with what a download needs besides the manifest's pieces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct FileInfo {
    /// The group.
    pub group_id: GroupId,
    /// Name.
    pub name: FileName,
    /// Content.
    pub file_id: FileId,
    /// Lengths.
    pub layout: PieceLayout,
    /// SHA-1 of the whole.
    pub sha1: Sha1Digest,
    /// Who published it.
    pub uploader: UserName,
}

/// A seeder and where it serves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct PeerRow {
    /// The device to expect there.
    pub device: DeviceId,
    /// Whose it is.
    pub user: UserName,
    /// Where it listens.
    #[cfg_attr(test, proptest(strategy = "crate::wire::round_trip::address()"))]
    pub address: SocketAddr,
}

/// What a download needs to begin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct OpenedFile {
    /// The share.
    pub info: FileInfo,
    /// Digests of its first pieces; `GetManifest` gives the others.
    pub pieces: List<PieceHash, MAX_PART>,
    /// Seeders that are there.
    pub peers: List<PeerRow, MAX_ROWS>,
    /// A ticket for the group.
    pub ticket: Signed<Ticket>,
}

/// A share, file or folder, with what a download needs besides the manifest's pieces and the tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct ShareInfo {
    /// What it is as one content.
    pub file: FileInfo,
    /// Its tree, if it is a folder.
    pub tree: Option<TreeHead>,
    /// When it was published first.
    pub published: UnixSeconds,
}

/// What there is to know of a tree before it is fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct TreeHead {
    /// BLAKE3 of its canonical form.
    pub id: TreeId,
    /// Length of that form, in bytes.
    pub bytes: u64,
    /// Files and empty folders.
    pub entries: u32,
}

/// What a download of a file or folder needs to begin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct OpenedShare {
    /// The share.
    pub info: ShareInfo,
    /// Digests of its first pieces; `GetManifest` gives the others.
    pub pieces: List<PieceHash, MAX_PART>,
    /// Seeders that are there.
    pub peers: List<PeerRow, MAX_ROWS>,
    /// A ticket for the group.
    pub ticket: Signed<Ticket>,
}

/// A share, file or folder, in a listing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct ShareRow {
    /// What it is as one content.
    pub file: FileRow,
    /// Its files and empty folders, if it is a folder.
    pub entries: Option<u32>,
    /// When it was published first.
    pub published: UnixSeconds,
}

/// What was found: a share, or a file in a folder that is shared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct HitRow {
    /// Where.
    pub group: GroupName,
    /// The share.
    pub name: FileName,
    /// The file's path in it; `None` if it is the share's name that has the words.
    pub path: Option<TreePath>,
    /// Length of the file, or of the share, in bytes.
    pub size: u64,
    /// The share's content.
    pub file_id: FileId,
}

/// An invitation into a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct InviteRow {
    /// Its number. Two that were made while the trackers could not hear each other may have the same.
    pub number: u32,
    /// Who made it.
    pub by: UserName,
    /// How many may come by it.
    pub uses: u32,
    /// How many have.
    pub used: u32,
    /// Until when it is good.
    pub expires: UnixSeconds,
    /// Whether it is.
    pub state: InviteState,
}

/// Whether an invitation still lets anybody in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub enum InviteState {
    /// It does.
    Open,
    /// As many have come as were to.
    UsedUp,
    /// Its time is over.
    Expired,
    /// An admin has ended it.
    Revoked,
    /// Its group has no member any more. Only told to whoever holds its secret, by a tracker of
    /// [revision](super::Welcome::revision) 4.
    Closed,
}

/// An invitation, as whoever holds its secret may see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct InviteInfo {
    /// Where to.
    pub group: GroupName,
    /// Who made it.
    pub by: UserName,
    /// How many may still come by it, if it is open.
    pub left: u32,
    /// Until when it is good.
    pub expires: UnixSeconds,
    /// Whether it is.
    pub state: InviteState,
}

/// A device on which the caller is logged in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct DeviceRow {
    /// Its id.
    pub device: DeviceId,
    /// When it logged in last.
    pub since: UnixSeconds,
}

/// How the trackers are, seen from the one that answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct TrackerStatus {
    /// Line in tracker_info.txt, from 1.
    pub tracker_no: u16,
    /// Whether the sibling has everything.
    pub mode: Mode,
}

/// How both trackers are, seen from the one that answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct ClusterStatus {
    /// The one that answers.
    pub this: TrackerStatus,
    /// Line of the other in tracker_info.txt; `None` if there is no other.
    pub other: Option<u16>,
    /// Whether they are connected to each other.
    pub linked: bool,
    /// Events that the other is known to lack.
    pub lag: u64,
}

/// Whether others can connect to a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct Probed {
    /// Where others are told that it serves.
    #[cfg_attr(test, proptest(strategy = "crate::wire::round_trip::address()"))]
    pub address: SocketAddr,
    /// Who has tried; nobody, where no other member was there.
    pub rows: List<ProbeRow, MAX_PROBES>,
}

/// What one member found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct ProbeRow {
    /// Who.
    pub user: UserName,
    /// Whether it came from another address than the caller's.
    pub from_elsewhere: bool,
    /// What it found; nothing, if it has not said so in time.
    pub outcome: Option<ProbeOutcome>,
}

/// What comes of dialling a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub enum ProbeOutcome {
    /// It is there, and has shown its key.
    Reached,
    /// Nothing listens there.
    Refused,
    /// Nothing answers there.
    Silent,
    /// There is no way there.
    Unreachable,
    /// Something else answers there.
    Other,
}

/// Where a row of news stands among the others: the same at both trackers. Later ones are larger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct NewsMark {
    /// When it happened: milliseconds since 1970 in the upper 48 bits, and a count.
    pub stamp: u64,
    /// Tells apart what happened at once, and is what it is known by.
    pub key: u64,
}

impl NewsMark {
    /// When it happened, in seconds since 1970.
    pub const fn at(self) -> UnixSeconds {
        (self.stamp >> 16) / 1000
    }
}

/// Something that happened, and concerns the caller.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct NewsRow {
    /// When, and which.
    pub mark: NewsMark,
    /// In which group.
    pub group: GroupName,
    /// What.
    pub what: Happened,
}

/// What can have happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub enum Happened {
    /// Somebody asks to join, and still waits.
    JoinRequested {
        /// Who.
        user: UserName,
    },
    /// The caller was let in, and is a member.
    Accepted,
    /// The caller's request was turned down.
    Rejected,
    /// The caller was removed.
    Removed,
    /// The caller has become the admin, and is it.
    MadeAdmin,
    /// Something was shared that the group did not have, and is there.
    FileShared {
        /// Its name.
        name: FileName,
        /// Its length, in bytes.
        size: u64,
        /// Its id.
        file_id: FileId,
        /// Whoever shared it.
        user: UserName,
        /// Files and empty folders in it, if it is a folder.
        entries: Option<u32>,
    },
    /// Somebody came by an invitation of the caller's.
    InvitationUsed {
        /// Who.
        user: UserName,
    },
    /// Something was shared in the place of what had its name, and is there. Told only to who asks for it
    /// ([`Request::NewsWithVersions`](super::Request::NewsWithVersions)); others are told `FileShared`.
    NewVersion {
        /// Its name.
        name: FileName,
        /// Its length, in bytes.
        size: u64,
        /// Its id.
        file_id: FileId,
        /// Whoever shared it.
        user: UserName,
        /// Files and empty folders in it, if it is a folder.
        entries: Option<u32>,
    },
}

/// Some of what has happened, the last first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct NewsPage {
    /// The rows.
    pub rows: List<NewsRow, MAX_NEWS>,
    /// Ask again with this for what was before, if there may be anything.
    pub before: Option<NewsMark>,
    /// Of the files of one group: earlier ones are not told any more, from this mark back.
    pub cut: Option<NewsMark>,
}
