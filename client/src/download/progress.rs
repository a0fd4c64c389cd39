//! How downloads stand, for people and scripts.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use common::escape::Escaped;
use common::id::{DeviceId, FileId, FileName, GroupName, UserName};
use serde::{Deserialize, Serialize};

use crate::error::Error;

/// Number of a download, as shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DownloadId(pub u64);

impl std::fmt::Display for DownloadId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// What a download is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Pieces come.
    Downloading,
    /// It was told to rest, or the disk is full; see the reason.
    Paused,
    /// Nothing comes at the moment; see the reason. It goes on by itself.
    Waiting,
    /// The file is there.
    Complete,
    /// It does not go on by itself; see the reason.
    Failed,
}

impl State {
    /// The word for it, as scripts and people see it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Downloading => "downloading",
            Self::Paused => "paused",
            Self::Waiting => "waiting",
            Self::Complete => "complete",
            Self::Failed => "failed",
        }
    }
}

/// A seeder of a download.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerProgress {
    /// Its device.
    pub device: DeviceId,
    /// Whose device.
    pub user: UserName,
    /// Bytes it gave.
    pub bytes: u64,
    /// Bytes per second, now.
    pub rate: u64,
    /// What there is to say about it: that it lied, for example.
    pub note: Option<&'static str>,
}

/// How a download stands.
#[derive(Debug, Clone)]
pub struct Progress {
    /// What it is doing.
    pub state: State,
    /// Verified bytes on the disk.
    pub have: u64,
    /// Length of what is wanted, in bytes: of a folder, of the pieces that touch it.
    pub size: u64,
    /// Of a folder: files that are whole, and files that are wanted.
    pub files: Option<(u64, u64)>,
    /// Bytes that were found in an older copy at the destination.
    pub reused: u64,
    /// Bytes per second, now.
    pub rate: u64,
    /// Who gives or gave.
    pub peers: Vec<PeerProgress>,
    /// Why it waits, rests or has failed.
    pub reason: Option<String>,
    /// How it is waiting.
    pub(crate) waiting: Option<Waiting>,
    /// Why it has failed or rests, for whoever waits for its end.
    pub(crate) error: Option<Error>,
    /// What came of it.
    pub(crate) done: Option<Arc<Downloaded>>,
}

/// Since when, and for what, a download waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub(crate) since: Instant,
    /// Whether the trackers name any seeder.
    pub(crate) listed: bool,
}

impl Progress {
    /// Nothing has come yet.
    pub(crate) const fn begun(size: u64) -> Self {
        Self {
            state: State::Downloading,
            have: 0,
            size,
            files: None,
            reused: 0,
            rate: 0,
            peers: Vec::new(),
            reason: None,
            waiting: None,
            error: None,
            done: None,
        }
    }

    /// Nothing comes any more (for now).
    pub(crate) fn halt(&mut self, state: State, error: Option<Error>) {
        self.state = state;
        self.rate = 0;
        self.peers.iter_mut().for_each(|p| p.rate = 0);
        self.reason = error.as_ref().map(ToString::to_string);
        self.waiting = None;
        self.error = error;
    }
}

/// A finished download.
#[derive(Debug, Clone, PartialEq)]
pub struct Downloaded {
    /// From which group.
    pub group: GroupName,
    /// The share's name.
    pub name: FileName,
    /// Where the file is.
    pub path: PathBuf,
    /// Its length in bytes.
    pub size: u64,
    /// Its content.
    pub file_id: FileId,
    /// How long it took since it went on last.
    pub seconds: f64,
    /// Who gave since then.
    pub peers: Vec<PeerProgress>,
    /// Of a folder: files and empty folders that are there.
    pub files: Option<u64>,
    /// Bytes that were found in an older copy at the destination.
    pub reused: u64,
}

/// A line of `show_downloads`.
#[derive(Debug, Clone)]
pub struct DownloadRow {
    /// Its number.
    pub n: DownloadId,
    /// From which group.
    pub group: GroupName,
    /// The share's name.
    pub name: FileName,
    /// Its content.
    pub file_id: FileId,
    /// The path in that folder, if it is one file of a folder.
    pub within: Option<String>,
    /// Where the file is, or will be.
    pub path: PathBuf,
    /// How it stands.
    pub progress: Progress,
}

impl DownloadRow {
    /// What people call it.
    pub fn label(&self) -> String {
        label(&self.name, self.within.as_deref())
    }
}

/// A share, or with a path the file of a folder that is there: `folder/path`. Escaped.
pub(crate) fn label(name: &FileName, within: Option<&str>) -> String {
    within.map_or_else(|| name.to_string(), |path| format!("{name}/{}", Escaped(path)))
}
