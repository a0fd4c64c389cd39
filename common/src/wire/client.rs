//! Client and tracker.
//!
//! **Participants.** A client (a device, known by its TLS key) and one of the trackers.
//! **Shape.** The client says [`Hello`] and gets [`ServerFrame::Welcome`]; then it makes
//! [`Call`]s, any number at once, each answered by one [`Reply`] with the same number, in any order. The
//! tracker may [`Push`] at any time after login.
//! **Goals.** A call that is repeated with the same request id, on this connection or another, has
//! one effect and one answer. Bulk lists come in pages.
//! **Not here.** Content: it never passes through a tracker.

mod argument;
mod push;
mod rows;

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::id::{DeviceId, FileId, FileName, GroupName, RequestId, Sha1Digest, TreeId, UserId, UserName};
use crate::invitation::{InviteDigest, InviteSecret};
use crate::manifest::PieceHash;
use crate::pieces::PieceLayout;
use crate::reset_code::ResetCode;
use crate::ticket::{SessionToken, Signed, Ticket, UnixSeconds};
use crate::wire::limits::{Bytes, List, MAX_PART, MAX_ROWS, MAX_TEXT, MAX_TREE_PART};
use crate::wire::refusal::Refusal;
use crate::wire::sync::VersionVector;

pub use self::argument::{FileSelector, IdPrefix, Password, Words};
pub use self::push::Push;
pub use self::rows::{
    ClusterStatus, DeviceRow, FileInfo, FileRow, GroupRow, Happened, HitRow, InviteInfo, InviteRow, InviteState,
    MemberRow, NewsMark, NewsPage, NewsRow, OpenedFile, OpenedShare, Page, PeerRow, ProbeOutcome, ProbeRow, Probed,
    Relation, ShareInfo, ShareRow, TrackerStatus, TreeHead,
};

/// Version of this conversation.
pub const VERSION: u16 = 1;
/// What a tracker of this version knows beyond the first release of it; see [`Welcome::revision`]. Later ones include earlier
/// ones.
///
/// 1: [`Request::OpenFile`]. 2: folders and finding, from [`Request::StageTree`] to [`Request::Search`]. 3: from there to
/// [`Request::LoginWithCode`]. 4: all after that.
pub const REVISION: u8 = 4;

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
    /// As `Announce`, by a client that understands all pushes up to a [revision](REVISION): others are not sent what they do
    /// not know. Answer: `Done`.
    AnnounceAs {
        /// Where it serves.
        #[cfg_attr(test, proptest(strategy = "crate::wire::round_trip::address()"))]
        listen: SocketAddr,
        /// Grows with every announcement of this device, also over restarts.
        serial: u64,
        /// [`REVISION`] of the client.
        revision: u8,
    },
    /// Asks whether others can connect to this device: some members of its groups, on other machines first, are asked to try
    /// ([`Push::Probe`]). Answered within a few seconds, whoever has not. Answer: `Probed`.
    ProbeMe {
        /// Where it serves; an unspecified IP means the one that the tracker sees.
        #[cfg_attr(test, proptest(strategy = "crate::wire::round_trip::address()"))]
        listen: SocketAddr,
    },
    /// What came of a [`Push::Probe`]. Answer: `Done`, also when nobody waits for it any more.
    ProbeResult {
        /// Which.
        id: u64,
        /// What came of it.
        outcome: ProbeOutcome,
    },
    /// A new invitation into a group (admin). Answer: `Invited`.
    Invite {
        /// Where.
        group: GroupName,
        /// The hash of its secret, which stays with whoever asks.
        secret: InviteDigest,
        /// How many may come by it.
        uses: u32,
        /// How long it lasts, in seconds.
        seconds: u32,
    },
    /// The invitations into a group, the first one first (admin). Answer: `Invites`.
    ListInvites {
        /// Where.
        group: GroupName,
        /// So many are left out.
        skip: u32,
    },
    /// Ends an invitation; who has come by it stays (admin). Answer: `Done`.
    RevokeInvite {
        /// Where.
        group: GroupName,
        /// Its number in the list.
        number: u32,
    },
    /// Becomes a member by an invitation. Answer: `Joined`.
    AcceptInvite {
        /// What lets the caller in.
        secret: InviteSecret,
    },
    /// As `CreateUser`, by an invitation: also where accounts are for those who are invited. Needs no login. Answer: `Done`.
    CreateInvitedUser {
        /// Claimed name.
        user: UserName,
        /// Its password.
        password: Password,
        /// The invitation's secret.
        secret: InviteSecret,
    },
    /// What has happened in the last 30 days and concerns the caller, the last first; or the shares of one group, by when they
    /// were published. From then on this connection is told that there are more ([`Push::NewsHint`]). Answer: `News`.
    News {
        /// Only the shares of this group (members), the caller's own included.
        files_of: Option<GroupName>,
        /// Only what was before this.
        before: Option<NewsMark>,
    },
    /// A new login on this connection's device by a code of the operator's, which sets a new password and ends the user's
    /// other logins. Answer: `LoggedIn`.
    LoginWithCode {
        /// Who.
        user: UserName,
        /// The code.
        code: ResetCode,
        /// The new password.
        new: Password,
    },
    /// What an invitation is for, and whether it still lets anybody in; asked by whoever holds its secret. Needs no login. Only for
    /// a tracker of [revision](Welcome::revision) 4. Answer: `Invitation`.
    CheckInvite {
        /// The invitation's secret.
        secret: InviteSecret,
    },
    /// As `News`, by a client that knows [`Happened::NewVersion`]: `News` tells new versions as new shares. Only for a tracker
    /// of [revision](Welcome::revision) 4. Answer: `News`.
    NewsWithVersions {
        /// Only the shares of this group (members), the caller's own included.
        files_of: Option<GroupName>,
        /// Only what was before this.
        before: Option<NewsMark>,
    },
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
    /// Whether others can connect.
    Probed(Probed),
    /// There is an invitation.
    Invited {
        /// Its number in the list.
        number: u32,
        /// Until when it is good, by the trackers' clock.
        expires: UnixSeconds,
    },
    /// A page of invitations.
    Invites(Page<InviteRow>),
    /// The caller is a member.
    Joined {
        /// Of this group.
        group: GroupName,
    },
    /// What has happened.
    News(NewsPage),
    /// What an invitation is for.
    Invitation(InviteInfo),
}

const _: () = assert!(MAX_TEXT <= 1024, "texts fit frames before login");
