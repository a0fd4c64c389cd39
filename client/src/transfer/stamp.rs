//! The mark by which a changed file is recognised without reading it: length, time of last
//! modification, and which file it is.
//!
//! What it cannot see: a change that keeps the length and falls into the same tick of the clock as the one
//! before (a few milliseconds), and whoever sets the time back. The leecher verifies what it gets anyway.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;

use serde::{Deserialize, Serialize};

/// A file's state. Equal stamps: taken as unchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stamp {
    /// Length in bytes.
    pub(crate) len: u64,
    /// Modification time: seconds since 1970.
    pub(crate) seconds: i64,
    /// Modification time: nanoseconds within the second.
    pub(crate) nanos: i64,
    /// Device of the file system.
    pub(crate) device: u64,
    /// Number of the file in it.
    pub(crate) inode: u64,
}

impl Stamp {
    /// The stamp in a file's metadata.
    pub(crate) fn of(metadata: &Metadata) -> Self {
        Self {
            len: metadata.len(),
            seconds: metadata.mtime(),
            nanos: metadata.mtime_nsec(),
            device: metadata.dev(),
            inode: metadata.ino(),
        }
    }

    /// The stamp in what the system says of a file.
    pub(crate) fn of_stat(stat: &rustix::fs::Stat) -> Self {
        Self {
            len: stat.st_size.cast_unsigned(),
            seconds: stat.st_mtime,
            nanos: stat.st_mtime_nsec.cast_signed(),
            device: stat.st_dev,
            inode: stat.st_ino,
        }
    }

    /// The stamp in eight bytes, for folders of many files. Never 0 or 1, which [mean something else](super::trees::Marks).
    /// The same in every release: marks are kept on the disk.
    pub(crate) fn mark(&self) -> u64 {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.len.to_le_bytes()).update(&self.seconds.to_le_bytes()).update(&self.nanos.to_le_bytes());
        hasher.update(&self.device.to_le_bytes()).update(&self.inode.to_le_bytes());
        let mut mark = [0; 8];
        hasher.finalize_xof().fill(&mut mark);
        u64::from_le_bytes(mark).max(2)
    }
}
