//! Client and tracker.
//!
//! **Participants.** A client (a device, known by its TLS key) and one of the trackers.
//! **Shape.** The client says [`Hello`] and gets [`ServerFrame::Welcome`]; then it makes
//! [`Call`]s, any number at once, each answered by one [`Reply`] with the same number, in any order. The
//! tracker may [`Push`] at any time after login.
//! **Goals.** A call that is repeated with the same request id, on this connection or another, has
//! one effect and one answer. Bulk lists come in pages.
//! **Not here.** Content: it never passes through a tracker.

use std::fmt;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use zeroize::Zeroize;

use crate::id::{
    DeviceId, FileId, FileName, GroupId, GroupName, MembershipId, RequestId, Sha1Digest, TreeId, UserId, UserName,
};
use crate::manifest::PieceHash;
use crate::pieces::PieceLayout;
use crate::ticket::{Revocation, SessionToken, Signed, Ticket, UnixSeconds};
use crate::tree::TreePath;
use crate::wire::limits::{Bytes, List, MAX_PART, MAX_PASSWORD, MAX_ROWS, MAX_TEXT, MAX_TREE_PART, MAX_WORDS};
use crate::wire::refusal::Refusal;
use crate::wire::sync::VersionVector;

/// Version of this conversation.
pub const VERSION: u16 = 1;
/// What a tracker of this version knows beyond the first release of it; see [`Welcome::revision`]. Later ones include earlier
/// ones.
///
/// 1: [`Request::OpenFile`]. 2: folders and finding, from [`Request::StageTree`] to [`Request::Search`].
pub const REVISION: u8 = 2;

/// From client to tracker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub enum ClientFrame {
    /// First frame of a connection, and only there.
    Hello(Hello),
    /// A command or a query.
    Call(Call),
}

/// From tracker to client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub enum ServerFrame {
    /// The answer to [`Hello`].
    Welcome(Welcome),
    /// The answer to a [`Call`], or a refusal of the connection as such (call 0).
    Reply(Reply),
    /// Something that the client should know now.
    Push(Push),
}

/// What a client says first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct Hello {
    /// [`VERSION`] of the client.
    pub version: u16,
}

/// What a tracker says first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct Welcome {
    /// [`VERSION`] of the tracker.
    pub version: u16,
    /// Its line in tracker_info.txt, from 1, in the lower 8 bits; its [revision](Self::revision) in the upper 8, which the
    /// first release fills with 0 and no client of that release reads.
    pub tracker_no: u16,
    /// The tracker's clock, so that a client can warn when its own is off.
    pub now: UnixSeconds,
}

impl Welcome {
    /// What tracker `number` of this release says at `now`.
    pub const fn new(number: u16, now: UnixSeconds) -> Self {
        let [_, number] = number.to_be_bytes();
        Self { version: VERSION, tracker_no: u16::from_be_bytes([REVISION, number]), now }
    }

    /// Which requests it knows that the first release did not.
    pub const fn revision(&self) -> u8 {
        self.tracker_no.to_be_bytes()[0]
    }
}

/// One request of a client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct Call {
    /// Chosen by the client, from 1; the reply repeats it.
    pub number: u64,
    /// The same on every retry.
    pub request_id: RequestId,
    /// What the client has seen of the common history.
    pub seen: VersionVector,
    /// What it wants.
    pub request: Request,
}

/// The answer to one call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct Reply {
    /// Number of the call.
    pub number: u64,
    /// Whether both trackers have it, or only this one.
    pub mode: Mode,
    /// What the client has seen once it has read this.
    pub seen: VersionVector,
    /// The answer.
    pub result: Result<Response, Refusal>,
}

/// How many trackers stand behind an acknowledgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub enum Mode {
    /// Both have it on disk.
    Dual,
    /// Only the one that answers has it on disk so far.
    Solo,
}

/// A password on its way to be hashed. Never shown, wiped when dropped.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Zeroize)]
#[zeroize(drop)]
#[serde(try_from = "String")]
pub struct Password(String);

impl Password {
    /// The password, as typed.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Password {
    type Error = &'static str;
    /// Bounds the length from above only; the rule for new passwords is the tracker's.
    fn try_from(mut s: String) -> Result<Self, &'static str> {
        if s.len() > MAX_PASSWORD {
            s.zeroize();
            return Err("the password is too long");
        }
        Ok(Self(s))
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

/// Which file of a group is meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub enum FileSelector {
    /// By its name.
    Name(FileName),
    /// By the first hexadecimal digits of its id, 8 to 64 of them.
    IdPrefix(IdPrefix),
}

/// 8 to 64 lower-case hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct IdPrefix(String);

impl IdPrefix {
    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for IdPrefix {
    type Error = &'static str;
    fn try_from(s: String) -> Result<Self, &'static str> {
        let ok = (8..=64).contains(&s.len()) && s.bytes().all(|b| b.is_ascii_hexdigit());
        if ok {
            Ok(Self(s.to_ascii_lowercase()))
        } else {
            Err("`id:` is followed by 8 to 64 hexadecimal digits of a file id")
        }
    }
}

impl From<IdPrefix> for String {
    fn from(p: IdPrefix) -> String {
        p.0
    }
}

impl std::str::FromStr for FileSelector {
    type Err = String;
    /// `id:<hex>` or a file name.
    fn from_str(s: &str) -> Result<Self, String> {
        match s.strip_prefix("id:") {
            Some(hex) => IdPrefix::try_from(hex.to_owned()).map(Self::IdPrefix).map_err(str::to_owned),
            None => s.parse().map(Self::Name).map_err(|e: crate::id::InvalidId| e.to_string()),
        }
    }
}

impl fmt::Display for FileSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(n) => n.fmt(f),
            Self::IdPrefix(p) => write!(f, "id:{}", p.0),
        }
    }
}

/// What a client can ask. Those up to `Resume` need no login.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub enum Request {
    /// A new account. Does not log in. Answer: `Done`.
    CreateUser {
        /// Claimed name.
        user: UserName,
        /// Its password.
        password: Password,
    },
    /// A new login on this connection's device. Answer: `LoggedIn`.
    Login {
        /// Who.
        user: UserName,
        /// The password.
        password: Password,
    },
    /// Goes on with an earlier login of this device. Answer: `LoggedIn`.
    Resume {
        /// The token from `LoggedIn`.
        token: Signed<SessionToken>,
    },
    /// Ends this login. Answer: `Done`.
    Logout,
    /// A new password; ends the user's other logins. Answer: `LoggedIn`, with a new token.
    ChangePassword {
        /// The present password.
        old: Password,
        /// The new one.
        new: Password,
    },
    /// A new group with the caller as admin. Answer: `Done`.
    CreateGroup {
        /// Claimed name.
        group: GroupName,
    },
    /// All groups, by name. Answer: `Groups`.
    ListGroups {
        /// Only names after this one.
        after: Option<GroupName>,
    },
    /// Asks to become a member. Answer: `Done`.
    JoinGroup {
        /// Where.
        group: GroupName,
    },
    /// Ends the caller's membership, or withdraws the request. Answer: `Left`.
    LeaveGroup {
        /// Where.
        group: GroupName,
    },
    /// Who waits to be accepted (admin). Answer: `Users`.
    ListRequests {
        /// Where.
        group: GroupName,
        /// Only names after this one.
        after: Option<UserName>,
    },
    /// Lets a user in (admin). Answer: `Done`.
    AcceptRequest {
        /// Where.
        group: GroupName,
        /// Whom.
        user: UserName,
    },
    /// Turns a request down (admin). Answer: `Done`.
    RejectRequest {
        /// Where.
        group: GroupName,
        /// Whose.
        user: UserName,
    },
    /// Who is a member (members). Answer: `Members`.
    ListMembers {
        /// Where.
        group: GroupName,
        /// Only names after this one.
        after: Option<UserName>,
    },
    /// Ends a membership (admin). Answer: `Done`.
    RemoveMember {
        /// Where.
        group: GroupName,
        /// Whose.
        user: UserName,
    },
    /// Hands the admin's role over (admin). Answer: `Done`.
    MakeAdmin {
        /// Where.
        group: GroupName,
        /// To whom.
        user: UserName,
    },
    /// Part of a manifest that the next `UploadFile` of this connection refers to; parts come in
    /// order. Answer: `Done`.
    StageManifest {
        /// The file.
        file_id: FileId,
        /// Number of the first piece in this part.
        first: u32,
        /// Digests of consecutive pieces.
        pieces: List<PieceHash, MAX_PART>,
    },
    /// Publishes a file whose manifest has been staged, seeded by this device. Answer: `Done`.
    UploadFile {
        /// Where.
        group: GroupName,
        /// Under which name.
        name: FileName,
        /// Its id.
        file_id: FileId,
        /// How it is cut.
        layout: PieceLayout,
        /// SHA-1 of the whole.
        sha1: Sha1Digest,
    },
    /// The shares of a group, by name (members). Answer: `Files`.
    ListFiles {
        /// Where.
        group: GroupName,
        /// Only names after this one.
        after: Option<FileName>,
    },
    /// One share (members). Answer: `File`.
    FindFile {
        /// Where.
        group: GroupName,
        /// Which.
        file: FileSelector,
    },
    /// Digests of pieces from `first` on (members). Answer: `ManifestPart`.
    GetManifest {
        /// Where.
        group: GroupName,
        /// Which.
        file_id: FileId,
        /// First piece wanted.
        first: u32,
    },
    /// Who seeds a file right now (members). Answer: `Peers`.
    FindPeers {
        /// Where.
        group: GroupName,
        /// Which.
        file_id: FileId,
    },
    /// This device seeds the file, wholly or in part (members). Answer: `Done`.
    StartSeeding {
        /// Where.
        group: GroupName,
        /// Which.
        file_id: FileId,
    },
    /// This device no longer seeds the file. Answer: `Done`.
    StopSeeding {
        /// Where.
        group: GroupName,
        /// Which.
        file_id: FileId,
    },
    /// This device is there, at this address; repeated as a sign of life. Answer: `Done`.
    Announce {
        /// Where it serves; an unspecified IP means the one that the tracker sees.
        #[cfg_attr(test, proptest(strategy = "crate::wire::round_trip::address()"))]
        listen: SocketAddr,
        /// Grows with every announcement of this device, also over restarts.
        serial: u64,
    },
    /// A ticket for a group (members). Answer: `Ticket`.
    GetTicket {
        /// Where.
        group: GroupName,
    },
    /// How the trackers are. Answer: `Status`.
    Status,
    /// How both trackers are. Answer: `Cluster`.
    Cluster,
    /// The devices on which the caller is logged in. Answer: `Devices`.
    ListDevices,
    /// Ends the caller's logins on a device, as a logout there would; but not the one that asks. Answer: `Done`.
    EndLogin {
        /// Where.
        device: DeviceId,
    },
    /// All that a download needs to begin: one share, who seeds it and a ticket (members). Only for a tracker of
    /// [revision](Welcome::revision) 1. Answer: `Opened`.
    OpenFile {
        /// Where.
        group: GroupName,
        /// Which.
        file: FileSelector,
    },
    /// Part of a tree that the next `Publish` of this connection refers to; parts come in order, from byte 0. All from
    /// here on are only for a tracker of [revision](Welcome::revision) 2. Answer: `Done`.
    StageTree {
        /// The tree.
        tree: TreeId,
        /// Number of the first byte in this part.
        offset: u64,
        /// Consecutive bytes of its canonical form.
        bytes: Bytes<MAX_TREE_PART>,
    },
    /// Publishes a file whose manifest, or a folder whose manifest and tree, have been staged, seeded by this device.
    /// Answer: `Published`.
    Publish {
        /// Where.
        group: GroupName,
        /// Under which name.
        name: FileName,
        /// Its id: of a folder, BLAKE3 of the bytes of its files, one after the other.
        file_id: FileId,
        /// How it is cut.
        layout: PieceLayout,
        /// SHA-1 of the whole.
        sha1: Sha1Digest,
        /// What is where in it, if it is a folder.
        tree: Option<TreeId>,
        /// Whether it may take the place of another content of this name (its uploader, or the admin).
        replace: bool,
    },
    /// One share, file or folder (members). Answer: `Share`.
    FindShare {
        /// Where.
        group: GroupName,
        /// Which.
        file: FileSelector,
    },
    /// As `OpenFile`, of a file or folder. Answer: `OpenedShare`.
    OpenShare {
        /// Where.
        group: GroupName,
        /// Which.
        file: FileSelector,
    },
    /// Part of the tree of a folder that is shared in the group (members). Answer: `TreePart`.
    GetTree {
        /// Where.
        group: GroupName,
        /// Which.
        tree: TreeId,
        /// From this byte of its canonical form on.
        offset: u64,
    },
    /// Shares of a group, by name (members). Answer: `Shares`.
    ListShares {
        /// Where.
        group: GroupName,
        /// Only names after this one.
        after: Option<FileName>,
    },
    /// Names of shares, and paths of files in folders, of all groups that the caller is a member of, that have all of
    /// `words`; the best first, 100 in a page. Answer: `Hits`.
    Search {
        /// What to look for, with blanks between.
        words: Words,
        /// Which page, from 0.
        page: u32,
    },
}

/// What is looked for: at most [`MAX_WORDS`] bytes of any text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct Words(String);

impl Words {
    /// The words, as typed.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Words {
    type Error = &'static str;
    fn try_from(s: String) -> Result<Self, &'static str> {
        if s.len() > MAX_WORDS { Err("what is searched for has at most 256 bytes") } else { Ok(Self(s)) }
    }
}

/// What a client is answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub enum Response {
    /// It is done.
    Done,
    /// Logged in.
    LoggedIn {
        /// The user's name.
        user: UserName,
        /// The user.
        user_id: UserId,
        /// What the device keeps to come back.
        token: Signed<SessionToken>,
    },
    /// A page of groups.
    Groups(Page<GroupRow>),
    /// A page of user names.
    Users(Page<UserName>),
    /// A page of members.
    Members(Page<MemberRow>),
    /// A page of shares.
    Files(Page<FileRow>),
    /// One share.
    File(FileInfo),
    /// Digests of consecutive pieces from the one asked for.
    ManifestPart(List<PieceHash, MAX_PART>),
    /// Seeders that are there.
    Peers(List<PeerRow, MAX_ROWS>),
    /// A ticket.
    Ticket(Signed<Ticket>),
    /// The caller is out.
    Left {
        /// Shares of the caller that went with it.
        withdrawn: u32,
    },
    /// How the trackers are.
    Status(TrackerStatus),
    /// It is done, but the name that was claimed may still go to somebody else, who claimed it at the
    /// other tracker: `name` with part of its id appended is what would remain.
    Provisional,
    /// How both trackers are.
    Cluster(ClusterStatus),
    /// The caller's devices, the one that logged in last first.
    Devices(List<DeviceRow, MAX_ROWS>),
    /// What a download needs to begin.
    Opened(Box<OpenedFile>),
    /// It is published.
    Published {
        /// Whether another content had this name.
        replaced: bool,
    },
    /// One share.
    Share(Box<ShareInfo>),
    /// What a download of a file or folder needs to begin.
    OpenedShare(Box<OpenedShare>),
    /// Consecutive bytes of a tree from the one asked for; none at its end.
    TreePart(Bytes<MAX_TREE_PART>),
    /// A page of shares.
    Shares(Page<ShareRow>),
    /// A page of what was found.
    Hits(Page<HitRow>),
}

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

/// News from the tracker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub enum Push {
    /// Somebody asks to join a group that the receiver administers.
    JoinRequested {
        /// Where.
        group: GroupName,
        /// Who.
        user: UserName,
    },
    /// The receiver is a member now.
    Accepted {
        /// Where.
        group: GroupName,
    },
    /// The receiver's request was turned down.
    Rejected {
        /// Where.
        group: GroupName,
    },
    /// The receiver is no longer a member; its shares there are withdrawn.
    Removed {
        /// Where.
        group: GroupName,
        /// The membership that ended.
        membership: MembershipId,
    },
    /// The receiver is the admin now.
    MadeAdmin {
        /// Where.
        group: GroupName,
    },
    /// Tickets that are void from now on.
    Revoked(Signed<Revocation>),
    /// A device of the group has begun to seed a file.
    SeederUp {
        /// The group.
        group_id: GroupId,
        /// The file.
        file_id: FileId,
        /// Who.
        peer: PeerRow,
    },
    /// The receiver's login was ended elsewhere.
    SessionEnded,
    /// The name that the receiver claimed for itself went to somebody else.
    UserRenamed {
        /// The name that was claimed.
        claimed: UserName,
        /// What the receiver is called now.
        now: UserName,
    },
    /// The name of a group that the receiver is in went to another group.
    GroupRenamed {
        /// The name that was claimed.
        claimed: GroupName,
        /// What the group is called now.
        now: GroupName,
    },
}

const _: () = assert!(MAX_TEXT <= 1024, "texts fit frames before login");
