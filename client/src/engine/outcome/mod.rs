//! What commands come to: plain data, in the shape that `--json` prints. How people see it is
//! decided elsewhere.
//!
//! Field names and their order are an interface (docs and scripts rely on them). Sizes in bytes,
//! rates in bytes per second, digests in lower-case hex.

mod decode;
mod json;
mod moment;

use std::path::PathBuf;

use common::id::{FileId, FileName, GroupName, UserName};
use common::wire::client::{self, Mode, Relation};
use serde::{Deserialize, Serialize};

use crate::download::{DownloadRow as Row, Downloaded as DownloadedFile, PeerProgress, Progress};

pub(crate) use self::json::{mode_word, relation_word};
pub use self::moment::Moment;
pub use crate::download::State;
pub use crate::share::ShareState;
use crate::share::{self, Given};

/// The result of a command that succeeded.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Outcome {
    /// There is a new account.
    UserCreated {
        /// Its name.
        user: UserName,
        /// Whether the name may still go to somebody else, who claimed it at the other tracker.
        provisional: bool,
    },
    /// Logged in.
    LoggedIn(User),
    /// Who is logged in.
    Whoami(User),
    /// The login has ended.
    LoggedOut {},
    /// The password is another.
    PasswordChanged {},
    /// There is a new group.
    GroupCreated {
        /// Its name.
        group: GroupName,
        /// Whether the name may still go to another group, which claimed it at the other tracker.
        provisional: bool,
    },
    /// All groups.
    Groups {
        /// The rows.
        groups: Vec<GroupRow>,
    },
    /// The admin has been asked.
    JoinRequested(Group),
    /// The membership or the request has ended.
    Left {
        /// Where.
        group: GroupName,
        /// What the user was to it: a member, or one who has asked.
        #[serde(serialize_with = "json::relation::serialize")]
        was: Relation,
        /// Shares of the user that went with it.
        withdrawn: u64,
    },
    /// Who asks to join.
    Requests {
        /// Where.
        #[serde(skip)]
        group: GroupName,
        /// The rows.
        requests: Vec<User>,
    },
    /// Let in.
    Accepted(Member),
    /// Turned down.
    Rejected(Member),
    /// Members.
    Members {
        /// The rows.
        members: Vec<MemberRow>,
    },
    /// Put out.
    Removed(Member),
    /// Has the admin's role now.
    AdminMade(Member),
    /// Published and seeded.
    Uploaded(Uploaded),
    /// Shares of a group.
    Files {
        /// Where.
        #[serde(skip)]
        group: GroupName,
        /// The rows.
        files: Vec<FileRow>,
        /// How many there are, on this page and the others.
        total: u64,
        /// Whether a pattern has left some out.
        #[serde(skip)]
        filtered: bool,
    },
    /// What is in a folder.
    Tree {
        /// Where.
        group: GroupName,
        /// Which share.
        name: FileName,
        /// Bytes of all files.
        size: u64,
        /// Files and empty folders.
        entries: u64,
        /// The rows.
        files: Vec<TreeRow>,
    },
    /// Goes on in the background.
    Downloading {
        /// Its number.
        n: u64,
        /// Where.
        group: GroupName,
        /// Which share.
        name: String,
    },
    /// Complete and verified.
    Downloaded(Downloaded),
    /// All downloads.
    Downloads {
        /// The rows.
        downloads: Vec<DownloadRow>,
    },
    /// Paused.
    Paused {
        /// Its number.
        n: u64,
    },
    /// Goes on.
    Resumed {
        /// Its number.
        n: u64,
    },
    /// Given up.
    Cancelled {
        /// Its number.
        n: u64,
    },
    /// No longer seeded from here.
    Stopped {
        /// Where.
        group: GroupName,
        /// Which share.
        name: FileName,
        /// Where the copy was that has been removed: one that was made of a file from a browser.
        #[serde(skip_serializing_if = "Option::is_none", serialize_with = "json::path_if_any")]
        removed: Option<PathBuf>,
    },
    /// What this device seeds.
    Shares {
        /// The rows.
        shares: Vec<ShareRow>,
    },
    /// Where the user is logged in.
    Devices {
        /// The rows.
        devices: Vec<DeviceRow>,
    },
    /// Logged out on a device.
    LoginEnded {
        /// Which, in hex.
        device: String,
        /// Whether that is this one.
        here: bool,
    },
    /// What was found.
    Hits {
        /// The rows, the best first.
        hits: Vec<HitRow>,
        /// Whether there is another page.
        more: bool,
    },
    /// All that there is to know of a share.
    Info(Info),
    /// What lies here is what was published.
    Verified(VerifiedRow),
    /// What may be sent and fetched now.
    Limits(Limits),
    /// How everything is.
    Status(Status),
    /// Text about the commands.
    Help {
        /// The text.
        help: String,
    },
    /// The page is open.
    Web(PageLink),
    /// The face is about to leave.
    Quit {},
    /// The client is about to end.
    ShutDown {},
}

/// `{"user"}`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// Name.
    #[serde(flatten, with = "json::user_name")]
    pub user: UserName,
}

/// `{"group"}`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// Name.
    pub group: GroupName,
}

/// `{"group","user"}`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Where.
    pub group: GroupName,
    /// Who.
    pub user: UserName,
}

/// A group in a listing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupRow {
    /// Name.
    #[serde(flatten, with = "json::group_name")]
    pub group: GroupName,
    /// Its admin.
    pub admin: UserName,
    /// Number of members.
    pub members: u32,
    /// What the user is to it.
    #[serde(with = "json::relation")]
    pub relation: Relation,
}

/// A member in a listing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberRow {
    /// Name.
    #[serde(flatten, with = "json::user_name")]
    pub user: UserName,
    /// Whether the admin.
    pub admin: bool,
}

/// A file that has been published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Uploaded {
    /// Where.
    pub group: GroupName,
    /// Under which name.
    pub name: FileName,
    /// Length.
    pub size: u64,
    /// Length of its pieces.
    pub piece_size: u64,
    /// Number of pieces.
    pub pieces: u32,
    /// SHA-1 of the whole.
    pub sha1: String,
    /// BLAKE3 of the whole.
    #[serde(with = "json::hex")]
    pub file_id: FileId,
    /// A link to it, for other members.
    #[serde(default)]
    pub link: String,
    /// Whether it has taken the place of another version; left out if not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub replaced: bool,
    /// If it is a folder.
    #[serde(flatten)]
    pub folder: Option<UploadedFolder>,
}

/// What there is to say of a folder besides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadedFolder {
    /// Always `folder`.
    pub kind: Kind,
    /// Files and empty folders.
    pub entries: u64,
    /// Its tree's id.
    pub tree: String,
    /// What was left out.
    pub skipped: Vec<Skipped>,
}

/// An entry of a folder that is not shared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// Where it is in the folder.
    pub path: String,
    /// Why.
    pub why: String,
}

/// A file of a folder in a listing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TreeRow {
    /// Where it is in the folder.
    pub path: String,
    /// What it is.
    pub kind: Kind,
    /// Length.
    pub size: u64,
    /// BLAKE3 of the file alone; left out for a folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_id: Option<String>,
    /// Whether its owner may run it.
    pub executable: bool,
}

impl From<share::Uploaded> for Uploaded {
    fn from(done: share::Uploaded) -> Self {
        let skipped = |s: share::Skipped| Skipped { path: s.path, why: s.why };
        let folder = |f: share::UploadedFolder| UploadedFolder {
            kind: Kind::Folder,
            entries: f.entries,
            tree: f.tree.to_string(),
            skipped: f.skipped.into_iter().map(skipped).collect(),
        };
        Self {
            group: done.group,
            name: done.name,
            size: done.size,
            piece_size: done.piece_size,
            pieces: done.pieces,
            sha1: done.sha1.to_string(),
            file_id: done.file_id,
            link: String::new(),
            replaced: done.replaced,
            folder: done.folder.map(folder),
        }
    }
}

/// A share that was found, or a file in one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HitRow {
    /// Where.
    pub group: GroupName,
    /// Which share.
    pub name: FileName,
    /// The file's path in it; `null` where the share itself was found.
    pub path: Option<String>,
    /// Length of what was found.
    pub size: u64,
    /// The share's content.
    #[serde(with = "json::hex")]
    pub file_id: FileId,
}

/// A share, looked at closely.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Info {
    /// Where.
    pub group: GroupName,
    /// Under which name.
    pub name: FileName,
    /// A link to it, for other members.
    pub link: String,
    /// Length.
    pub size: u64,
    /// Length of its pieces.
    pub piece_size: u64,
    /// Number of pieces.
    pub pieces: u32,
    /// SHA-1 of the whole.
    pub sha1: String,
    /// BLAKE3 of the whole.
    #[serde(with = "json::hex")]
    pub file_id: FileId,
    /// Who published it.
    pub uploader: UserName,
    /// Whether this device has it whole and shares it.
    pub here: bool,
    /// Where it lies then.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "json::path_if_any")]
    pub path: Option<PathBuf>,
    /// Who seeds it now, each asked how much it has.
    pub seeders: Vec<SeederRow>,
}

/// A seeder of a share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeederRow {
    /// The device, in hex.
    pub device: String,
    /// Whose it is.
    pub user: UserName,
    /// Where it serves.
    pub address: String,
    /// Whether it has all of it.
    pub complete: bool,
    /// How many pieces it has; left out when it could not be asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pieces: Option<u32>,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A share of this device that has been read again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifiedRow {
    /// Where it is shared.
    pub group: GroupName,
    /// Under which name.
    pub name: FileName,
    /// Where it lies.
    #[serde(with = "json::path")]
    pub path: PathBuf,
    /// Length.
    pub size: u64,
    /// Number of pieces.
    pub pieces: u32,
    /// BLAKE3 of the whole.
    #[serde(with = "json::hex")]
    pub file_id: FileId,
}

impl From<DownloadedFile> for Downloaded {
    fn from(done: DownloadedFile) -> Self {
        let peers = done.peers.into_iter().filter(|p| p.bytes > 0);
        let peer = |p: PeerProgress| PeerShare { device: p.device.to_string(), user: p.user, bytes: p.bytes };
        Self {
            group: done.group,
            name: done.name,
            path: done.path,
            size: done.size,
            file_id: done.file_id,
            seconds: (done.seconds * 1000.0).round() / 1000.0,
            peers: peers.map(peer).collect(),
            files: done.files,
            reused: (done.files.is_some() || done.reused > 0).then_some(done.reused),
        }
    }
}

impl From<Row> for DownloadRow {
    fn from(row: Row) -> Self {
        let Progress { state, have, size, rate, peers, reason, files, .. } = row.progress;
        let peers = peers.iter().filter(|p| p.rate > 0).count() as u64;
        let (files_have, files) = files.unzip();
        Self { n: row.n.0, group: row.group, name: row.name, state, have, size, files_have, files, rate, peers, reason }
    }
}

/// A share in a listing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRow {
    /// Name.
    pub name: FileName,
    /// What it was published as, if other content got that name at the other tracker; left out if it has its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claimed: Option<String>,
    /// Length.
    pub size: u64,
    /// Content.
    #[serde(with = "json::hex")]
    pub file_id: FileId,
    /// Who published it.
    pub uploader: UserName,
    /// Devices that seed it now.
    pub seeders: u32,
    /// Whether it is a folder.
    #[serde(default)]
    pub kind: Kind,
    /// What is in a folder: files and empty folders.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entries: Option<u32>,
    /// When it was published; left out where an older tracker does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published: Option<Moment>,
    /// Whether this device has it whole and shares it.
    #[serde(default)]
    pub here: bool,
}

/// What a share is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// One file.
    #[default]
    File,
    /// A folder with all that is in it.
    Folder,
}

/// A file that has arrived.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Downloaded {
    /// From where.
    pub group: GroupName,
    /// Which share.
    pub name: FileName,
    /// Where it lies.
    #[serde(with = "json::path")]
    pub path: PathBuf,
    /// Length.
    pub size: u64,
    /// Content.
    #[serde(with = "json::hex")]
    pub file_id: FileId,
    /// How long it took since it went on last.
    pub seconds: f64,
    /// Who gave how much since then.
    pub peers: Vec<PeerShare>,
    /// Files and empty folders that are there; left out for a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<u64>,
    /// Bytes that were found in an older copy at the destination; left out for a file without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reused: Option<u64>,
}

/// What one peer gave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerShare {
    /// The device, in hex.
    pub device: String,
    /// Whose it is.
    pub user: UserName,
    /// How much.
    pub bytes: u64,
}

/// A download in a listing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DownloadRow {
    /// Its number.
    pub n: u64,
    /// From where.
    pub group: GroupName,
    /// Which share.
    pub name: FileName,
    /// What it is doing.
    pub state: State,
    /// Verified bytes that are here.
    pub have: u64,
    /// Length of the file.
    pub size: u64,
    /// Of a folder, files that are whole; left out for a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files_have: Option<u64>,
    /// Of a folder, files that are wanted; left out for a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<u64>,
    /// Bytes per second now.
    pub rate: u64,
    /// Peers that give something now.
    pub peers: u64,
    /// Why it waits, is paused, or has failed; left out when there is nothing to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A share of this device in a listing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShareRow {
    /// In which group.
    pub group: GroupName,
    /// Under which name.
    pub name: FileName,
    /// Content.
    #[serde(with = "json::hex")]
    pub file_id: FileId,
    /// Length.
    pub size: u64,
    /// What becomes of it.
    pub state: ShareState,
    /// Bytes per second given now.
    pub rate: u64,
    /// Leechers that are connected for it.
    pub peers: u64,
    /// Bytes given since this client started.
    pub sent: u64,
    /// Why it is not seeded, or not whole; left out when there is nothing to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Files and empty folders; left out for a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entries: Option<u64>,
}

impl From<share::ShareRow> for ShareRow {
    fn from(row: share::ShareRow) -> Self {
        let share::ShareRow { group, name, file_id, size, state, reason, entries, given, .. } = row;
        let Given { rate, peers, sent } = given;
        Self { group, name, file_id, size, state, rate, peers, sent, reason, entries }
    }
}

/// A device of the user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRow {
    /// Its id, in hex.
    pub device: String,
    /// When it logged in, in RFC 3339.
    pub since: String,
    /// Whether it is this one.
    pub here: bool,
}

/// How everything is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// All of the list, in its order.
    pub trackers: Vec<TrackerRow>,
    /// Whether both hold everything; `none` while no tracker can be reached.
    #[serde(with = "json::mode")]
    pub mode: Option<Mode>,
    /// Events that the tracker that is not current is known to lack, if the current one says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag: Option<u64>,
    /// Who is logged in.
    pub user: Option<UserName>,
    /// Where this client serves.
    pub listen: String,
    /// This device's id, in hex.
    pub device: String,
    /// Bytes per second fetched now.
    pub rate_down: u64,
    /// What may be sent and fetched.
    #[serde(default)]
    pub limits: Limits,
    /// Whether others can connect.
    #[serde(default)]
    pub reach: Reach,
}

/// What may be sent and fetched, in bytes per second; `None` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Sent.
    pub up: Option<u64>,
    /// Fetched.
    pub down: Option<u64>,
}

/// A link to the page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageLink {
    /// Signs one browser in.
    pub link: String,
    /// SHA-256 of the page's certificate as browsers show it; left out where the page is for this machine only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
}

/// Whether others can connect to where this client serves, as far as that is known.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Reach {
    /// How it is.
    pub state: ReachState,
    /// When a member last connected; left out where none has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Moment>,
}

/// See [`Reach`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReachState {
    /// It listens at an address that only this machine has.
    Loopback,
    /// A member on another machine has connected.
    Reached,
    /// Members on this machine have, and nobody else.
    Local,
    /// Nobody has connected since this client started.
    #[default]
    Unknown,
}

/// One tracker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrackerRow {
    /// Where it is.
    pub address: String,
    /// Whether it answers.
    pub up: bool,
    /// Whether commands go to it.
    pub current: bool,
    /// Whether it has refused something because its disk is full; left out if it has not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub disk_full: bool,
}

impl From<client::GroupRow> for GroupRow {
    fn from(row: client::GroupRow) -> Self {
        Self { group: row.group, admin: row.admin, members: row.members, relation: row.relation }
    }
}

impl From<client::MemberRow> for MemberRow {
    fn from(row: client::MemberRow) -> Self {
        Self { user: row.user, admin: row.admin }
    }
}

impl From<client::ShareRow> for FileRow {
    fn from(row: client::ShareRow) -> Self {
        let client::ShareRow { file, entries, published } = row;
        let kind = if entries.is_some() { Kind::Folder } else { Kind::File };
        Self { kind, entries, published: Some(Moment(published)), ..file.into() }
    }
}

impl From<client::FileRow> for FileRow {
    fn from(row: client::FileRow) -> Self {
        let client::FileRow { name, size, file_id, uploader, seeders } = row;
        let tag = format!("~{:.8}", file_id);
        let claimed = name.as_str().strip_suffix(&tag).map(str::to_owned);
        let (kind, entries, published, here) = (Kind::File, None, None, false);
        Self { name, claimed, size, file_id, uploader, seeders, kind, entries, published, here }
    }
}
