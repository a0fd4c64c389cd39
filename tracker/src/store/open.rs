//! Opens the database: locks its directory, checks the file, migrates its schema.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use common::file_names::{TRACKER_DATABASE, TRACKER_LOCK};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension};

use super::error::StoreError;

mod embedded {
    #![allow(missing_docs, clippy::unwrap_used, reason = "generated; it parses names that were checked at build time")]
    refinery::embed_migrations!("../migrations");
}

/// How long a statement waits for another connection's lock.
pub(super) const BUSY: Duration = Duration::from_secs(5);
/// Prepared statements that a connection keeps.
const STATEMENTS: usize = 128;
/// Size to which the write-ahead log is cut back, in bytes.
const WAL_BYTES: i64 = 64 << 20;
/// Pages of the write-ahead log that are carried over into the database at a time. Keys are random: of more pages, more
/// are the same.
const CHECKPOINT_PAGES: i64 = 8000;
/// Pages that the connection that writes keeps in memory, in KiB. The readers have what SQLite gives them.
const WRITER_CACHE_KIB: i64 = 64 << 10;

/// Why a tracker cannot use its data directory. Each is one sentence for its operator.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory or a file in it cannot be made or read.
    #[error("cannot use the data directory {}: {source}", path.display())]
    Directory {
        /// What was to be used.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another tracker has it.
    #[error("the data directory {} is in use by another tracker process; stop it, or name another with --data-dir", .0.display())]
    Locked(PathBuf),
    /// The database cannot be read as one.
    #[error("the database {} is damaged ({reason}); {}", path.display(), mend(path, *.log))]
    Damaged {
        /// The file.
        path: PathBuf,
        /// How it shows.
        reason: String,
        /// Whether a write-ahead log lies beside it, which may be another copy's.
        log: bool,
    },
    /// A later release wrote it.
    #[error("the database {} has schema version {found}, and this release knows {known}; install the newer release", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The newest that we know.
        known: i64,
    },
    /// SQLite refused.
    #[error("cannot open the database {}: {source}", path.display())]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rusqlite::Error,
    },
    /// The schema could not be brought up to date.
    #[error("cannot bring the database {} up to date: {reason}", path.display())]
    Migration {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

/// A data directory that nobody else uses while this lives.
#[derive(Debug)]
pub(super) struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Makes the directory if it is missing, and locks it.
    pub(super) fn lock(path: &Path) -> Result<Self, OpenError> {
        let failed = |source| OpenError::Directory { path: path.to_owned(), source };
        create_private_dir(path).map_err(failed)?;
        let lock = private().open(path.join(TRACKER_LOCK)).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(OpenError::Locked(path.to_owned())),
            Err(TryLockError::Error(source)) => Err(failed(source)),
        }
    }

    fn file(&self) -> PathBuf {
        self.path.join(TRACKER_DATABASE)
    }

    /// The one connection that writes, to a database that is up to date; and whether every page of it was looked at, as
    /// before it is changed: else it is to be [checked](Self::check) behind.
    pub(super) fn writer(&self) -> Result<(Connection, bool), OpenError> {
        let path = self.file();
        read_ahead(&path);
        let was_killed = has_log(&path);
        // SQLite gives the files beside it the same mode.
        private().open(&path).map_err(|source| OpenError::Directory { path: path.clone(), source })?;
        let mut conn = connect(&path, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(|e| sort(&path, e))?;
        let known = newest_schema();
        let check_first = was_killed || schema_version(&conn).map_err(|e| sort(&path, e))? < known;
        if check_first {
            // Until the two are known to belong together, the log is not to be written into the file.
            keep_log(&conn, true).map_err(|e| sort(&path, e))?;
            check(&path, &conn)?;
            keep_log(&conn, false).map_err(|e| sort(&path, e))?;
        }
        migrate(&path, &mut conn)?;
        durable(&conn).map_err(|e| sort(&path, e))?;
        Ok((conn, check_first))
    }

    /// A connection that only reads.
    pub(super) fn reader(&self) -> Result<Connection, OpenError> {
        let path = self.file();
        let conn = connect(&path, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(|e| sort(&path, e))?;
        Ok(conn)
    }
}

/// Has the system read the file from its beginning to its end, meanwhile: the tables lie in it in the order of random keys, which
/// is slow on a disk that has to be waited for.
#[cfg(target_os = "linux")]
fn read_ahead(path: &Path) {
    let path = path.to_owned();
    let read = move || {
        let advised =
            File::open(&path).and_then(|file| Ok(rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::WillNeed)?));
        if let Err(e) = advised {
            tracing::debug!("the database is not read ahead: {e}");
        }
    };
    // Without it everything takes longer, and nothing else changes.
    let _ = thread::Builder::new().name("store read ahead".into()).spawn(read);
}

#[cfg(not(target_os = "linux"))]
fn read_ahead(_: &Path) {}

#[cfg(unix)]
fn create_private_dir(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

#[cfg(not(unix))]
fn create_private_dir(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path)
}

/// Opens for reading and writing, or makes the file for its owner alone.
pub(super) fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

pub(super) fn connect(path: &Path, access: OpenFlags) -> rusqlite::Result<Connection> {
    let conn = Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    conn.busy_timeout(BUSY)?;
    // Without it SQLite plans a statement anew whenever other values are bound (it is built with SQLITE_ENABLE_STAT4):
    // each time that one is run.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    conn.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(conn)
}

/// Whether the write-ahead log stays as it is when the connection is closed.
fn keep_log(conn: &Connection, keep: bool) -> rusqlite::Result<()> {
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, keep).map(|_| ())
}

/// What the operator of a damaged database can do.
fn mend(path: &Path, log: bool) -> String {
    let mend = "restore it from a backup, or move it away to begin empty";
    if !log {
        return mend.to_owned();
    }
    let path = path.display();
    format!(
        "if you have just put a backup there, the log beside it is that of the old database: remove {path}-wal and \
         {path}-shm and start again; otherwise remove both and {mend}"
    )
}

fn damaged(path: &Path, reason: String) -> OpenError {
    OpenError::Damaged { path: path.to_owned(), reason, log: has_log(path) }
}

/// Whether a write-ahead log lies beside the file: its tracker was killed, or it is another file's.
fn has_log(path: &Path) -> bool {
    PathBuf::from(format!("{}-wal", path.display())).metadata().is_ok_and(|m| m.len() > 0)
}

fn durable(conn: &Connection) -> rusqlite::Result<()> {
    conn.pragma_update(None, "journal_mode", "wal")?;
    conn.pragma_update(None, "synchronous", "full")?;
    conn.pragma_update(None, "journal_size_limit", WAL_BYTES)?;
    conn.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    conn.pragma_update(None, "cache_size", -WRITER_CACHE_KIB)
}

/// Reads every page of the database in `data_dir` once, which takes a while.
pub(super) fn check_behind(data_dir: &Path) -> Result<(), OpenError> {
    let path = data_dir.join(TRACKER_DATABASE);
    let conn = connect(&path, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(|e| sort(&path, e))?;
    check(&path, &conn)
}

/// Why the state cannot be read.
pub(super) fn unreadable(data_dir: &Path, e: &StoreError) -> OpenError {
    match e {
        StoreError::Sqlite(e) if is_damage(e) => damaged(&data_dir.join(TRACKER_DATABASE), e.to_string()),
        e => OpenError::Migration { path: data_dir.to_owned(), reason: e.to_string() },
    }
}

fn is_damage(e: &rusqlite::Error) -> bool {
    matches!(e.sqlite_error_code(), Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt))
}

/// A torn file is noticed so, and not at some later command.
fn check(path: &Path, conn: &Connection) -> Result<(), OpenError> {
    let verdict: String = conn.query_row("PRAGMA quick_check(1)", [], |r| r.get(0)).map_err(|e| sort(path, e))?;
    match verdict.as_str() {
        "ok" => Ok(()),
        _ => Err(damaged(path, verdict.lines().last().unwrap_or_default().to_owned())),
    }
}

fn migrate(path: &Path, conn: &mut Connection) -> Result<(), OpenError> {
    let (runner, known) = (embedded::migrations::runner(), newest_schema());
    let found = schema_version(conn).map_err(|e| sort(path, e))?;
    if found > known {
        return Err(OpenError::Newer { path: path.to_owned(), found, known });
    }
    let failed = |e: refinery::Error| OpenError::Migration { path: path.to_owned(), reason: e.to_string() };
    runner.run(conn).map(|_| ()).map_err(failed)
}

/// The newest migration that we know.
fn newest_schema() -> i64 {
    let runner = embedded::migrations::runner();
    runner.get_migrations().iter().map(|m| i64::from(m.version())).max().unwrap_or_default()
}

/// The newest migration that was applied; 0 for an empty database.
fn schema_version(conn: &Connection) -> rusqlite::Result<i64> {
    let history = "SELECT 1 FROM sqlite_schema WHERE name = 'refinery_schema_history'";
    if conn.query_row(history, [], |_| Ok(())).optional()?.is_none() {
        return Ok(0);
    }
    conn.query_row("SELECT coalesce(max(version), 0) FROM refinery_schema_history", [], |r| r.get(0))
}

fn sort(path: &Path, e: rusqlite::Error) -> OpenError {
    match is_damage(&e) {
        true => damaged(path, e.to_string()),
        false => OpenError::Sqlite { path: path.to_owned(), source: e },
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::StatementStatus;

    use super::*;

    fn opened(dir: &Path) -> Result<Connection, OpenError> {
        Ok(DataDir::lock(dir)?.writer()?.0)
    }

    #[test]
    fn a_missing_directory_is_made_and_private() {
        let dir = tempfile::tempdir().expect("directory");
        let data = dir.path().join("a/b");
        drop(opened(&data).expect("opened"));
        drop(opened(&data).expect("opened again"));
        #[cfg(unix)]
        for file in [TRACKER_DATABASE, TRACKER_LOCK] {
            use std::os::unix::fs::PermissionsExt;
            let mode = fs::metadata(data.join(file)).expect("file").permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{file}");
        }
    }

    #[test]
    fn a_statement_is_planned_once_whatever_is_bound() {
        let dir = tempfile::tempdir().expect("directory");
        let data = DataDir::lock(dir.path()).expect("locked");
        let (writer, reader) = (data.writer().expect("opened").0, data.reader().expect("opened"));
        let statements = [
            "SELECT name FROM users WHERE id = ?1",
            "SELECT answer FROM requests WHERE device = ?1 AND request_id = ?1",
            "SELECT pieces FROM manifest_pieces WHERE manifest = ?1 AND first = 0",
        ];
        for conn in [&writer, &reader] {
            for sql in statements {
                let mut run = |n: u8| {
                    let mut statement = conn.prepare_cached(sql).expect("prepared");
                    statement.exists([[n; 16]]).expect("asked");
                    statement.get_status(StatementStatus::RePrepare)
                };
                assert_eq!((0..10).map(&mut run).max(), Some(0), "{sql}");
            }
        }
    }

    /// The schema of the first release, with what its tables may hold.
    #[tokio::test]
    async fn a_database_of_the_first_release_is_carried_over() {
        let dir = tempfile::tempdir().expect("directory");
        let mut conn = Connection::open(dir.path().join(TRACKER_DATABASE)).expect("made");
        embedded::migrations::runner().set_target(refinery::Target::Version(3)).run(&mut conn).expect("its schema");
        conn.execute_batch(
            "INSERT INTO users VALUES (zeroblob(16), 'alice', 1, zeroblob(16));
             INSERT INTO groups VALUES (zeroblob(16), 'lab', zeroblob(16), 2, zeroblob(16));
             INSERT INTO memberships VALUES (zeroblob(16), zeroblob(16), zeroblob(16), 2, zeroblob(16));
             INSERT INTO accepts VALUES (zeroblob(16), 2, zeroblob(16));
             INSERT INTO live VALUES (zeroblob(16), zeroblob(16), zeroblob(16), 2, zeroblob(16));
             INSERT INTO manifests VALUES (zeroblob(32), zeroblob(32), 10, 16384, zeroblob(20));
             INSERT INTO publications SELECT unhex(k), zeroblob(16), n, zeroblob(32), zeroblob(32), zeroblob(16),
                 zeroblob(16), h, zeroblob(16)
             FROM (SELECT '000000000000000000000000000000aa' k, '-rf' n, 3 h
                   UNION ALL SELECT '000000000000000000000000000000bb', 'withdrawn', 4);
             INSERT INTO withdrawals VALUES (unhex('000000000000000000000000000000bb'), 5, zeroblob(16));",
        )
        .expect("filled");
        drop(conn);
        let store = super::super::Store::open(dir.path(), std::sync::Arc::new(|| 1_700_000_000_000)).expect("opened");
        let group = common::id::GroupId::new([0; 16]);
        let shares =
            store.read(move |state| Ok::<_, super::super::StoreError>(state.shares_after(group, None, 10))).await;
        let names: Vec<String> =
            shares.expect("read").iter().map(|share: &super::super::Share| share.name.as_str().to_owned()).collect();
        assert_eq!(names, ["-rf"], "what was withdrawn is not seen, and what would not be new stays");
        assert_eq!(store.verify().await.expect("read"), Vec::<String>::new(), "tables and memory say the same");
        store.close().await;
    }

    #[test]
    fn a_second_tracker_is_refused() {
        let dir = tempfile::tempdir().expect("directory");
        let held = DataDir::lock(dir.path()).expect("locked");
        assert!(matches!(DataDir::lock(dir.path()), Err(OpenError::Locked(_))));
        drop(held);
        assert!(DataDir::lock(dir.path()).is_ok());
    }

    /// Waits until a tracker has noticed that its database is damaged.
    async fn noticed(dir: &Path) {
        match super::super::Store::open(dir, std::sync::Arc::new(|| 1_700_000_000_000)) {
            Err(e) => assert!(matches!(e, OpenError::Damaged { .. }), "{e}"),
            Ok(store) => {
                let ended = tokio::time::timeout(Duration::from_secs(20), store.writer_ended()).await;
                ended.expect("it ends by itself");
            }
        }
    }

    #[tokio::test]
    async fn a_damaged_database_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().expect("directory");
        drop(opened(dir.path()).expect("opened"));
        let file = dir.path().join(TRACKER_DATABASE);
        let good = fs::read(&file).expect("read");
        let mut torn = good.clone();
        torn[4096..12_288].fill(0x5a);
        for bad in [b"this is not a database, it is a text\n".repeat(200), torn, good[..good.len() / 2].to_vec()] {
            fs::write(&file, &bad).expect("written");
            noticed(dir.path()).await;
            assert_eq!(fs::read(&file).expect("read"), bad);
        }
        fs::write(&file, &good).expect("written");
        assert!(opened(dir.path()).is_ok());
    }

    #[tokio::test]
    async fn damage_where_nothing_is_read_is_noticed_behind() {
        let dir = tempfile::tempdir().expect("directory");
        opened(dir.path())
            .expect("opened")
            .execute_batch("CREATE TABLE t AS SELECT randomblob(9999) b")
            .expect("filled");
        let file = dir.path().join(TRACKER_DATABASE);
        let mut bytes = fs::read(&file).expect("read");
        let end = bytes.len() - 8192;
        bytes[end..].fill(0x5a);
        fs::write(&file, &bytes).expect("written");
        noticed(dir.path()).await;
    }

    #[test]
    fn a_backup_beside_the_log_of_the_old_database_is_left_alone_and_the_log_named() {
        let dir = tempfile::tempdir().expect("directory");
        let data = dir.path().join("data");
        let backup = dir.path().join("backup.db");
        drop(opened(&data).expect("opened"));
        super::super::back_up(&data, &backup).expect("saved");
        let change = |sql, keep| {
            let conn = Connection::open(data.join(TRACKER_DATABASE)).expect("opened");
            keep_log(&conn, keep).expect("set");
            conn.execute_batch(sql).expect("written");
        };
        // Little: SQLite itself does not write a log into a file that is far shorter than the log says.
        change("CREATE TABLE later AS SELECT randomblob(39999) AS b", false);
        // What is written from here on stays in the log, as after a kill.
        change("CREATE TABLE last AS SELECT 1 AS b", true);
        let file = data.join(TRACKER_DATABASE);
        let log = data.join("tracker.db-wal");
        let old_log = fs::read(&log).expect("a log");
        let good = fs::read(&backup).expect("a backup");
        fs::write(&file, &good).expect("put back");
        let refused = opened(&data).expect_err("two that do not belong together").to_string();
        for part in ["tracker.db-wal", "tracker.db-shm", "remove"] {
            assert!(refused.contains(part), "{refused}");
        }
        assert_eq!(fs::read(&file).expect("read"), good, "the backup is as it was");
        assert!(fs::read(&log).expect("read") == old_log, "and so is the log");
        fs::remove_file(&log).expect("removed");
        let _ = fs::remove_file(data.join("tracker.db-shm"));
        opened(&data).expect("restored");
    }

    #[test]
    fn a_newer_schema_is_refused() {
        let dir = tempfile::tempdir().expect("directory");
        let conn = opened(dir.path()).expect("opened");
        conn.execute(
            "INSERT INTO refinery_schema_history (version, name, applied_on, checksum) VALUES (99, 'later', '', '0')",
            [],
        )
        .expect("inserted");
        drop(conn);
        assert!(matches!(opened(dir.path()), Err(OpenError::Newer { found: 99, .. })));
    }

    #[test]
    fn a_file_in_place_of_the_directory_is_refused() {
        let file = tempfile::NamedTempFile::new().expect("file");
        assert!(matches!(DataDir::lock(file.path()), Err(OpenError::Directory { .. })));
    }
}
