//! How far something is that takes its time, without knowing how it is shown.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::outcome::DownloadRow;

/// How far something is. In JSON `what` says what it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum Progress {
    /// A download.
    Download(DownloadRow),
    /// The hashing of a file that is to be shared.
    Hashing(Hashing),
    /// The reading of a share that is verified.
    Verifying(Hashing),
}

/// `{"name","done","total"}`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hashing {
    /// The last part of the file's path.
    pub name: String,
    /// Bytes that are hashed.
    pub done: u64,
    /// Length of the file in bytes.
    pub total: u64,
}

/// Is told of progress, from any thread, and must not block.
pub type ProgressSink = Arc<dyn Fn(&Progress) + Send + Sync>;

/// How one command is to be carried out.
#[derive(Clone)]
pub struct Call {
    /// Whether `download_file` returns when the file is there and verified, and not as soon as it has begun. The download
    /// goes on when a call that waits is dropped.
    pub wait: bool,
    /// Is told how far the command is.
    pub progress: ProgressSink,
}

impl Call {
    /// A call whose progress nobody watches.
    pub fn unwatched(wait: bool) -> Self {
        Self { wait, progress: Arc::new(|_| {}) }
    }
}
