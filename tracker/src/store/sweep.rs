//! Forgets what nobody can refer to any more: manifests of shares that are gone for good, and logins that
//! have expired.
//!
//! Neither is done in common with the sibling, and neither shows in the digest: manifests are not part of it, and it
//! leaves expired logins out (see `facts`). Everything else that was ever stated stays, what was ended too:
//! a tracker that comes back with an older disk would revive it.
//!
//! Invariant: no event of the log, and no share that can be seen again, lacks its manifest. An end of a login
//! stays until its token has run out, by the count of this tracker's own sweeps: clocks jump.

use common::id::SessionId;
use common::ticket::UnixSeconds;
use rusqlite::Connection;

use super::Store;
use super::error::Result;
use super::mutation::{Mutation, Mutations};
use crate::fact::ManifestId;
use crate::limits::Caller;

/// Sweeps are counted when the last one was at least so long ago, in seconds.
const APART: u64 = 1800;
/// An expired login is forgotten when it has been seen expired in so many sweeps on end: a week of hours.
const EXPIRED: u64 = 7 * 24;
/// An end whose login is not known here may be of any that has not run out: four months of hours, longer than
/// [`common::ticket::SESSION_LIFE`].
const UNKNOWN: u64 = 120 * 24;
/// Looking for such ends takes a while: it is done every so many sweeps.
const LOOK_FOR_UNKNOWN: u64 = 24;
/// Rows that go in one transaction, so that commands do not wait for long.
const AT_ONCE: u32 = 200;
/// Manifests that one sweep looks up at most.
const MANIFESTS: u32 = 10_000;

/// A manifest that some share names, while each of those is withdrawn, or its member's membership is
/// over, for good, and the event that stated it is in the log no more. One that nothing names yet was
/// fetched for an event that is about to be applied.
const UNUSED: &str = "
    EXISTS (SELECT 1 FROM publications p WHERE p.manifest = m.id)
    AND NOT EXISTS (
        SELECT 1 FROM publications p WHERE p.manifest = m.id AND (
            (NOT EXISTS (SELECT 1 FROM withdrawals w WHERE w.publication = p.id)
             AND NOT EXISTS (SELECT 1 FROM ends e WHERE e.membership = p.membership))
            OR EXISTS (SELECT 1 FROM events v WHERE v.hlc = p.hlc AND v.origin = p.origin)))";

/// What a sweep has taken away.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    /// Manifests.
    pub manifests: usize,
    /// Logins.
    pub sessions: usize,
}

impl Store {
    /// Forgets what nobody can refer to any more, a little at a time. To be called every hour or so.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn sweep(&self, now: UnixSeconds) -> Result<Swept> {
        let unused = self.readers.read(&Caller::tracker(), |s| unused(s.conn)).await?;
        let mut swept = Swept::default();
        for some in unused.chunks(AT_ONCE as usize) {
            let some = some.to_vec();
            swept.manifests +=
                self.upkeep_of_facts(move |tx, mutations| forget_manifests(tx, &some, mutations)).await?;
        }
        self.sweep_trees().await?;
        let number = self.upkeep(move |tx| count(tx, now)).await?;
        self.upkeep_of_facts(move |tx, _| mark(tx, number, now)).await?;
        loop {
            let gone = self.upkeep_of_facts(move |tx, mutations| forget_sessions(tx, number, mutations)).await?;
            swept.sessions += gone;
            if gone < AT_ONCE as usize {
                return Ok(swept);
            }
        }
    }
}

fn unused(conn: &Connection) -> Result<Vec<ManifestId>> {
    let mut find = conn.prepare_cached(&format!("SELECT id FROM manifests m WHERE {UNUSED} LIMIT {MANIFESTS}"))?;
    let found = find.query_map([], |r| r.get(0).map(ManifestId))?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

/// Those of `candidates` that are still unused go.
fn forget_manifests(tx: &Connection, candidates: &[ManifestId], mutations: &mut Mutations) -> Result<usize> {
    let mut gone = 0;
    let mut delete = tx.prepare_cached(&format!("DELETE FROM manifests AS m WHERE id = ?1 AND {UNUSED}"))?;
    for id in candidates {
        if delete.execute([id.0])? == 1 {
            tx.prepare_cached("DELETE FROM manifest_pieces WHERE manifest = ?1")?.execute([id.0])?;
            mutations.push(Mutation::ManifestRemoved(*id));
            gone += 1;
        }
    }
    Ok(gone)
}

/// Counts this sweep, unless the last one has just been, as when the tracker starts again and again.
fn count(tx: &Connection, now: UnixSeconds) -> Result<u64> {
    let sql = "UPDATE sweeps SET number = number + 1, at = ?1 WHERE abs(at - ?1) >= ?2";
    tx.prepare_cached(sql)?.execute((now.cast_signed(), APART))?;
    Ok(tx.prepare_cached("SELECT number FROM sweeps")?.query_row([], |r| r.get(0))?)
}

/// Notes which logins are expired now. Where the clock was put back, what it had said is forgotten.
fn mark(tx: &Connection, number: u64, now: UnixSeconds) -> Result<()> {
    let now = now.cast_signed();
    let valid = "DELETE FROM fading WHERE EXISTS (SELECT 1 FROM sessions s WHERE s.id = session AND s.expires > ?1)";
    tx.prepare_cached(valid)?.execute([now])?;
    let expired = "INSERT OR IGNORE INTO fading (session, since) SELECT id, ?2 FROM sessions WHERE expires <= ?1";
    tx.prepare_cached(expired)?.execute((now, number))?;
    if number.is_multiple_of(LOOK_FOR_UNKNOWN) {
        let unknown = "INSERT OR IGNORE INTO fading (session, since)
            SELECT session, ?1 FROM session_ends e WHERE NOT EXISTS (SELECT 1 FROM sessions s WHERE s.id = e.session)";
        tx.prepare_cached(unknown)?.execute([number])?;
    }
    Ok(())
}

/// Forgets logins that have been expired for long. Returns how many.
fn forget_sessions(tx: &Connection, number: u64, mutations: &mut Mutations) -> Result<usize> {
    let sql = "SELECT session FROM fading f WHERE since <= ?1 - CASE
                   WHEN EXISTS (SELECT 1 FROM sessions s WHERE s.id = f.session) THEN ?2 ELSE ?3 END LIMIT ?4";
    let mut find = tx.prepare_cached(sql)?;
    let found = find.query_map((number, EXPIRED, UNKNOWN, AT_ONCE), |r| r.get(0))?;
    let found: Vec<[u8; 16]> = found.collect::<rusqlite::Result<_>>()?;
    for session in &found {
        for sql in [
            "DELETE FROM sessions WHERE id = ?1",
            "DELETE FROM session_bindings WHERE session = ?1",
            "DELETE FROM session_ends WHERE session = ?1",
            "DELETE FROM fading WHERE session = ?1",
        ] {
            tx.prepare_cached(sql)?.execute([session])?;
        }
        mutations.push(Mutation::SessionForgotten(SessionId::new(*session)));
    }
    Ok(found.len())
}

#[cfg(test)]
mod tests;
