//! What the disk gives: one row a commit, in WAL mode with synchronous=FULL, one after the other.

use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::Connection;

/// Commits per second in `dir`, measured for `time`.
pub(crate) fn commits_per_second(dir: &Path, time: Duration) -> f64 {
    let conn = Connection::open(dir.join("plain.db")).expect("opened");
    conn.pragma_update(None, "journal_mode", "wal").expect("set");
    conn.pragma_update(None, "synchronous", "full").expect("set");
    conn.execute_batch("CREATE TABLE IF NOT EXISTS t (n INTEGER PRIMARY KEY, body BLOB)").expect("made");
    let mut insert = conn.prepare("INSERT INTO t (body) VALUES (?1)").expect("prepared");
    let (began, mut count) = (Instant::now(), 0u32);
    while began.elapsed() < time {
        insert.execute([[0u8; 200]]).expect("done");
        count += 1;
    }
    f64::from(count) / began.elapsed().as_secs_f64()
}
