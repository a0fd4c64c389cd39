//! What can go wrong with the database once it is open.

use std::sync::Arc;

/// A command could not be carried out, through no fault of whoever asked. Nothing of it has taken
/// effect, except after [`StoreError::Unknown`].
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The disk, or the quota, is full. Reads go on.
    #[error("the disk is full")]
    Full,
    /// Too much of the same caller waits already, or it held up others for too long.
    #[error("too much waits")]
    Busy,
    /// The caller is gone, or it is too late to answer.
    #[error("nobody waits for the answer any more")]
    Abandoned,
    /// The tracker is stopping.
    #[error("the database is closed")]
    Closed,
    /// The writer went away before it said how it ended.
    #[error("the outcome is not known")]
    Unknown,
    /// SQLite refused.
    #[error("database: {0}")]
    Sqlite(Arc<rusqlite::Error>),
    /// The database holds, or was to be given, what it cannot.
    #[error("database: {0}")]
    Content(&'static str),
    /// A decision panicked: a defect of ours, contained.
    #[error("a command panicked")]
    Panicked,
}

impl From<rusqlite::Error> for StoreError {
    fn from(e: rusqlite::Error) -> Self {
        // The index of the log grows in a file of its own, whose failure SQLite does not call full.
        let index_cannot_grow =
            e.sqlite_error().is_some_and(|e| e.extended_code == rusqlite::ffi::SQLITE_IOERR_SHMSIZE);
        match e.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DiskFull) => Self::Full,
            Some(rusqlite::ErrorCode::OperationInterrupted) => Self::Abandoned,
            _ if index_cannot_grow => Self::Full,
            _ => Self::Sqlite(Arc::new(e)),
        }
    }
}

/// What reading or writing the database gives.
pub(crate) type Result<T> = std::result::Result<T, StoreError>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_known_whichever_file_fails_to_grow() {
        let failure = |code| rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), None);
        for code in [rusqlite::ffi::SQLITE_FULL, rusqlite::ffi::SQLITE_IOERR_SHMSIZE] {
            assert!(matches!(failure(code).into(), StoreError::Full), "{code}");
        }
        assert!(matches!(failure(rusqlite::ffi::SQLITE_CORRUPT).into(), StoreError::Sqlite(_)));
    }
}
