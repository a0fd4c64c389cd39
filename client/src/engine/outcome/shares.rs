//! Rows about what groups share, and what this device does.

use std::path::PathBuf;

use common::id::{FileId, FileName, GroupName, UserName};
use common::wire::client;
use serde::{Deserialize, Serialize};

use super::{Moment, ShareState, json};
use crate::share::{self, Given};

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
    /// Whether it is a folder.
    #[serde(default)]
    pub kind: Kind,
    /// What is in a folder: files and empty folders.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entries: Option<u32>,
    /// The id of a folder's tree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tree: Option<String>,
    /// When it was published; left out where an older tracker does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published: Option<Moment>,
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
    /// Files of a folder that are no longer what was shared, the first hundred of them; left out when there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changed: Vec<String>,
}

impl From<share::ShareRow> for ShareRow {
    fn from(row: share::ShareRow) -> Self {
        let share::ShareRow { group, name, file_id, size, state, reason, entries, changed, given, .. } = row;
        let Given { rate, peers, sent } = given;
        Self { group, name, file_id, size, state, rate, peers, sent, reason, entries, changed }
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
