//! A copy of the database in one file, taken while it is in use.
//!
//! The copy is what was committed at one moment (SQLite's backup API, one read transaction), is checked, and gets
//! its name last: at that name it is whole or absent, and nothing is ever replaced. Commands go on meanwhile.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use common::file_names::TRACKER_DATABASE;
use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};

use super::open::{BUSY, connect};

/// How long to wait before a page that somebody has locked is tried again.
const PAUSE: Duration = Duration::from_millis(20);

/// Why there is no backup. Each is one sentence for the operator.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// Something has that name.
    #[error("{} exists already and is not overwritten; name another file", .0.display())]
    Exists(PathBuf),
    /// There is no place for it.
    #[error("there is no directory {}; make it, or name a file elsewhere", .0.display())]
    NoDirectory(PathBuf),
    /// The file system refused.
    #[error("cannot write the backup {}: {source}", path.display())]
    File {
        /// The backup.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// SQLite refused, or the copy is not sound.
    #[error("cannot copy the database {} to {}: {reason}", from.display(), to.display())]
    Copy {
        /// The database.
        from: PathBuf,
        /// The backup.
        to: PathBuf,
        /// Why.
        reason: String,
    },
}

/// Copies the database in `data_dir`, whether or not a tracker uses it, to the new file `to`, which only its owner
/// can read; its length in bytes. Blocks on the disk.
///
/// # Errors
/// See [`BackupError`]; nothing is left behind then.
pub fn back_up(data_dir: &Path, to: &Path) -> Result<u64, BackupError> {
    let failed = |source| BackupError::File { path: to.to_owned(), source };
    if to.symlink_metadata().is_ok() {
        return Err(BackupError::Exists(to.to_owned()));
    }
    let directory = match to.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    if !directory.is_dir() {
        return Err(BackupError::NoDirectory(directory.to_owned()));
    }
    // Mode 0600, and removed if it does not get its name.
    let unnamed = tempfile::Builder::new().prefix(".backup-").tempfile_in(directory).map_err(failed)?;
    let from = data_dir.join(TRACKER_DATABASE);
    copy(&from, unnamed.path()).map_err(|reason| BackupError::Copy { from, to: to.to_owned(), reason })?;
    unnamed.as_file().sync_all().map_err(failed)?;
    let file = unnamed.persist_noclobber(to).map_err(|e| match e.error.kind() {
        io::ErrorKind::AlreadyExists => BackupError::Exists(to.to_owned()),
        _ => failed(e.error),
    })?;
    #[cfg(unix)]
    File::open(directory).and_then(|d| d.sync_all()).map_err(failed)?;
    file.metadata().map(|m| m.len()).map_err(failed)
}

fn copy(from: &Path, to: &Path) -> Result<(), String> {
    let source = connect(from, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(|e| e.to_string())?;
    let mut copy = connect(to, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(|e| e.to_string())?;
    all_pages(&source, &mut copy)?;
    // The header says that there is a log beside it, as the original's does; a backup is one file.
    copy.pragma_update(None, "journal_mode", "delete").map_err(|e| e.to_string())?;
    let verdict: String = copy.query_row("PRAGMA quick_check(1)", [], |r| r.get(0)).map_err(|e| e.to_string())?;
    copy.close().map_err(|(_, e)| e.to_string())?;
    if verdict == "ok" { Ok(()) } else { Err(format!("the copy is damaged: {verdict}")) }
}

/// In one step, so that no commit comes in between.
fn all_pages(source: &Connection, copy: &mut Connection) -> Result<(), String> {
    let backup = Backup::new(source, copy).map_err(|e| e.to_string())?;
    let began = Instant::now();
    loop {
        match backup.step(-1).map_err(|e| e.to_string())? {
            StepResult::Done => return Ok(()),
            _ if began.elapsed() > BUSY => return Err("it is locked by another program".to_owned()),
            _ => std::thread::sleep(PAUSE),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;
    use std::sync::Arc;

    #[tokio::test]
    async fn a_backup_is_whole_private_and_replaces_nothing() {
        let dir = tempfile::tempdir().expect("directory");
        let store = Store::open(&dir.path().join("data"), Arc::new(|| 1_700_000_000_000)).expect("opened");
        let to = dir.path().join("b.db");
        assert!(store.back_up(&to).await.expect("saved") > 0);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(to.metadata().expect("there").permissions().mode() & 0o777, 0o600);
        }
        assert!(matches!(store.back_up(&to).await, Err(BackupError::Exists(_))));
        let nowhere = store.back_up(&dir.path().join("none/b.db")).await;
        assert!(matches!(nowhere, Err(BackupError::NoDirectory(_))));
        let left: Vec<_> = std::fs::read_dir(dir.path()).expect("listed").flatten().map(|e| e.file_name()).collect();
        assert_eq!(left.len(), 2, "no more than the data and the backup: {left:?}");
        store.close().await;
    }
}
