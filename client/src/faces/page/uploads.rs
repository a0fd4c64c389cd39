//! Files that come from the browser: written to this machine's disk as they arrive, then shared from there.
//!
//! A file lies in `shared/<group>/` of the data directory, since it is seeded from there. Invariant: what has not arrived
//! whole is removed, nothing is overwritten, and the disk is never filled to the last byte.

use std::io;
use std::path::{Path, PathBuf};

use axum::body::Bytes;
use common::id::FileName;
use tokio::fs::{File, OpenOptions};
use tokio::io::AsyncWriteExt;

use crate::error::{Error, shown};

/// Bytes of the file system that are left free.
const RESERVE: u64 = 256 << 20;
/// How often the free space is looked at, in bytes written.
const LOOK: u64 = 16 << 20;

/// A file that arrives. It is removed when this is dropped before [`Arriving::keep`].
pub(super) struct Arriving {
    file: File,
    part: PathBuf,
    path: PathBuf,
    written: u64,
    kept: bool,
}

impl Arriving {
    /// Makes `directory/name`, which must be free.
    ///
    /// # Errors
    /// When something has that name, or there is less room than `expected` bytes and a reserve.
    pub(super) async fn create(directory: &Path, name: &FileName, expected: u64) -> Result<Self, Error> {
        let failed = |e| Error::from_io("create", directory, e);
        tokio::fs::create_dir_all(directory).await.map_err(failed)?;
        let path = directory.join(name.as_str());
        if tokio::fs::symlink_metadata(&path).await.is_ok() {
            return Err(Error::InvalidArgument(format!(
                "{} exists already, from an earlier upload; share yours as a new version or under another name, or that one by its \
                 path",
                shown(&path)
            )));
        }
        let part = directory.join(format!(".{:08x}.upload", rand::random::<u32>()));
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        let file = options.open(&part).await.map_err(failed)?;
        let arriving = Self { file, part, path, written: 0, kept: false };
        arriving.check_room(expected)?;
        Ok(arriving)
    }

    /// Writes what has come.
    ///
    /// # Errors
    /// When the disk is full but for the reserve, or refuses.
    pub(super) async fn write(&mut self, bytes: &Bytes) -> Result<(), Error> {
        let before = self.written / LOOK;
        self.written += bytes.len() as u64;
        if self.written / LOOK > before {
            self.check_room(0)?;
        }
        self.file.write_all(bytes).await.map_err(|e| Error::from_io("write", &self.path, e))
    }

    /// Gives it its name, durably. What has that name meanwhile is not overwritten.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(super) async fn keep(mut self) -> Result<PathBuf, Error> {
        let failed = |e| Error::from_io("write", &self.path, e);
        self.file.flush().await.map_err(failed)?;
        self.file.sync_all().await.map_err(failed)?;
        tokio::fs::hard_link(&self.part, &self.path).await.map_err(failed)?;
        let _ = tokio::fs::remove_file(&self.part).await; // A second name, which only wastes a line.
        self.kept = true;
        Ok(self.path.clone())
    }

    fn check_room(&self, expected: u64) -> Result<(), Error> {
        let room = room(&self.part).map_err(|e| Error::from_io("look at", &self.path, e))?;
        if room >= expected.saturating_add(RESERVE) {
            return Ok(());
        }
        Err(Error::DiskFull { action: format!("take {} from the browser", shown(&self.path)) })
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        if !self.kept {
            let _ = std::fs::remove_file(&self.part); // The next start finds a file that nobody asks for.
        }
    }
}

/// Bytes that may still be written where `path` lies.
fn room(path: &Path) -> io::Result<u64> {
    let s = rustix::fs::statvfs(path)?;
    Ok(s.f_bavail.saturating_mul(s.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name() -> FileName {
        "a.bin".parse().expect("a name")
    }

    fn entries(dir: &Path) -> Vec<String> {
        let all = std::fs::read_dir(dir).expect("a directory").flatten();
        all.map(|e| e.file_name().to_string_lossy().into_owned()).collect()
    }

    #[tokio::test]
    async fn a_file_that_arrives_whole_is_kept_and_one_that_does_not_leaves_nothing() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut half = Arriving::create(dir.path(), &name(), 9).await.expect("room");
        half.write(&Bytes::from_static(b"half")).await.expect("room");
        assert_eq!(entries(dir.path()).len(), 1);
        drop(half);
        assert!(entries(dir.path()).is_empty());
        let mut whole = Arriving::create(dir.path(), &name(), 5).await.expect("room");
        whole.write(&Bytes::from_static(b"whole")).await.expect("room");
        let path = whole.keep().await.expect("kept");
        assert_eq!(std::fs::read(path).expect("a file"), b"whole");
        assert_eq!(entries(dir.path()), ["a.bin"]);
    }

    #[tokio::test]
    async fn nothing_is_overwritten() {
        let dir = tempfile::tempdir().expect("a directory");
        let late = Arriving::create(dir.path(), &name(), 0).await.expect("free");
        std::fs::write(dir.path().join("a.bin"), "mine").expect("a file");
        assert!(late.keep().await.is_err());
        assert_eq!(Arriving::create(dir.path(), &name(), 0).await.err().map(|e| e.code()), Some("invalid_argument"));
        assert_eq!(entries(dir.path()), ["a.bin"]);
        assert_eq!(std::fs::read(dir.path().join("a.bin")).expect("a file"), b"mine");
    }

    #[tokio::test]
    async fn a_file_larger_than_the_disk_is_refused_before_it_comes() {
        let dir = tempfile::tempdir().expect("a directory");
        let refused = Arriving::create(dir.path(), &name(), u64::MAX / 2).await;
        assert_eq!(refused.err().map(|e| e.code()), Some("disk_full"));
        assert!(entries(dir.path()).is_empty());
    }
}
