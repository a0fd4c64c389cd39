//! Rows about downloads.

use std::path::PathBuf;

use common::id::{FileId, FileName, GroupName, UserName};
use serde::{Deserialize, Serialize};

use super::{State, json};
use crate::download::{DownloadRow as Row, Downloaded as DownloadedFile, PeerProgress, Progress, label};

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
        let Row { n, group, name, within, .. } = row;
        Self { n: n.0, group, name, within, state, have, size, files_have, files, rate, peers, reason }
    }
}

impl DownloadRow {
    /// What people call it; escaped.
    pub fn label(&self) -> String {
        label(&self.name, self.within.as_deref())
    }
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
    /// Of one file of a folder, its path in there; left out otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<String>,
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
