//! Joins one fact to the state. The one path by which state changes, whether the fact was decided
//! here or came from the sibling.
//!
//! Invariant: the state is a function of the *set* of stamped facts. Each statement below keeps the least stamp
//! (facts that cannot differ but by mistake), or the largest (registers: the last one holds), or only adds.
//! So order, repetition and grouping do not matter. `live` is recomputed from its inputs.

use rusqlite::{Connection, ToSql};

use super::error::Result;
use crate::fact::{Delta, Stamp};
use common::id::{GroupId, MembershipId, UserId};

/// Adds `delta`, stated at `stamp`, to the state that `tx` writes. Says whether that was anything new.
pub(crate) fn join(tx: &Connection, delta: &Delta, stamp: Stamp) -> Result<bool> {
    let at = (stamp.hlc.to_stored(), stamp.origin.as_bytes());
    let run = |sql: &str, keys: &[&dyn ToSql]| run(tx, sql, keys, at);
    match delta {
        Delta::User { id, name } => run(USER, &[id.as_bytes(), &name.as_str()]),
        Delta::Credential { id, user, phc } => run(CREDENTIAL, &[&id.0, user.as_bytes(), phc]),
        Delta::Session { id, user, device, expires } => {
            run(SESSION, &[id.as_bytes(), user.as_bytes(), device.as_bytes(), &seconds(*expires)])
        }
        Delta::SessionBound { session, credentials } => {
            Ok(tx.prepare_cached(SESSION_BOUND)?.execute((session.as_bytes(), credentials))? > 0)
        }
        Delta::SessionEnded { session } => run(SESSION_ENDED, &[session.as_bytes()]),
        Delta::Group { id, name, creator } => run(GROUP, &[id.as_bytes(), &name.as_str(), creator.as_bytes()]),
        Delta::Admin { group, user, membership } => {
            run(ADMIN, &[group.as_bytes(), user.as_bytes(), membership.as_bytes()])
        }
        Delta::Requested { membership, group, user } => {
            let new = run(REQUESTED, &[membership.as_bytes(), group.as_bytes(), user.as_bytes()])?;
            refresh_of(tx, *membership).map(|()| new)
        }
        Delta::Accepted { membership, kicks_seen } => {
            let mut new = run(ACCEPTED, &[membership.as_bytes()])?;
            for kick in kicks_seen {
                new |= run(ACCEPT_KICK, &[membership.as_bytes(), &kick.0])?;
            }
            refresh_of(tx, *membership).map(|()| new)
        }
        Delta::Ended { membership, reason } => {
            let new = run(ENDED, &[membership.as_bytes(), &reason.to_stored()])?;
            refresh_of(tx, *membership).map(|()| new)
        }
        Delta::Kicked { id, group, user } => {
            let new = run(KICKED, &[&id.0, group.as_bytes(), user.as_bytes()])?;
            refresh(tx, *group, *user).map(|()| new)
        }
        Delta::Published { id, group, name, file, manifest, user, membership } => run(
            PUBLISHED,
            &[
                id.as_bytes(),
                group.as_bytes(),
                &name.as_str(),
                file.as_bytes(),
                &manifest.0,
                user.as_bytes(),
                membership.as_bytes(),
            ],
        ),
        Delta::Withdrawn { publication } => run(WITHDRAWN, &[publication.as_bytes()]),
        Delta::Seeding { group, file, device, user, membership, on } => run(
            SEEDING,
            &[group.as_bytes(), file.as_bytes(), device.as_bytes(), user.as_bytes(), membership.as_bytes(), on],
        ),
    }
}

/// Runs `sql` with the keys as ?1, ?2 … and the stamp as the last two parameters. Says whether that changed a row.
fn run(tx: &Connection, sql: &str, keys: &[&dyn ToSql], (hlc, origin): (i64, &[u8; 16])) -> Result<bool> {
    let stamp: [&dyn ToSql; 2] = [&hlc, origin];
    Ok(tx.prepare_cached(sql)?.execute(rusqlite::params_from_iter(keys.iter().chain(&stamp)))? > 0)
}

/// SQLite's integers have a sign; a time beyond them is as good as never.
fn seconds(t: u64) -> i64 {
    i64::try_from(t).unwrap_or(i64::MAX)
}

/// Recomputes which memberships of the holder of `membership` are live, if it is known whose it is.
fn refresh_of(tx: &Connection, membership: MembershipId) -> Result<()> {
    let mut whose = tx.prepare_cached("SELECT group_id, user_id FROM memberships WHERE id = ?1")?;
    let mut rows = whose.query([membership.as_bytes()])?;
    match rows.next()? {
        Some(row) => {
            let (group, user): ([u8; 16], [u8; 16]) = (row.get(0)?, row.get(1)?);
            refresh(tx, group.into(), user.into())
        }
        None => Ok(()),
    }
}

fn refresh(tx: &Connection, group: GroupId, user: UserId) -> Result<()> {
    let whose = (group.as_bytes(), user.as_bytes());
    tx.prepare_cached("DELETE FROM live WHERE group_id = ?1 AND user_id = ?2")?.execute(whose)?;
    tx.prepare_cached(REFRESH)?.execute(whose)?;
    Ok(())
}

const USER: &str = "
    INSERT INTO users (id, name, hlc, origin) VALUES (?1, ?2, ?3, ?4)
    ON CONFLICT DO UPDATE SET name = excluded.name, hlc = excluded.hlc, origin = excluded.origin
    WHERE (excluded.hlc, excluded.origin) < (hlc, origin)";
const CREDENTIAL: &str = "
    INSERT INTO credentials (id, user_id, phc, hlc, origin) VALUES (?1, ?2, ?3, ?4, ?5)
    ON CONFLICT DO UPDATE SET user_id = excluded.user_id, phc = excluded.phc, hlc = excluded.hlc, origin = excluded.origin
    WHERE (excluded.hlc, excluded.origin) < (hlc, origin)";
const SESSION: &str = "
    INSERT INTO sessions (id, user_id, device, expires, hlc, origin) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
    ON CONFLICT DO UPDATE SET user_id = excluded.user_id, device = excluded.device, expires = excluded.expires,
        hlc = excluded.hlc, origin = excluded.origin
    WHERE (excluded.hlc, excluded.origin) < (hlc, origin)";
const SESSION_BOUND: &str = "
    INSERT INTO session_bindings (session, credentials) VALUES (?1, ?2)
    ON CONFLICT DO UPDATE SET credentials = excluded.credentials WHERE excluded.credentials > credentials";
const SESSION_ENDED: &str = "
    INSERT INTO session_ends (session, hlc, origin) VALUES (?1, ?2, ?3)
    ON CONFLICT DO UPDATE SET hlc = excluded.hlc, origin = excluded.origin
    WHERE (excluded.hlc, excluded.origin) < (hlc, origin)";
const GROUP: &str = "
    INSERT INTO groups (id, name, creator, hlc, origin) VALUES (?1, ?2, ?3, ?4, ?5)
    ON CONFLICT DO UPDATE SET name = excluded.name, creator = excluded.creator, hlc = excluded.hlc, origin = excluded.origin
    WHERE (excluded.hlc, excluded.origin) < (hlc, origin)";
const ADMIN: &str = "
    INSERT INTO admins (group_id, user_id, membership, hlc, origin) VALUES (?1, ?2, ?3, ?4, ?5)
    ON CONFLICT DO UPDATE SET user_id = excluded.user_id, membership = excluded.membership,
        hlc = excluded.hlc, origin = excluded.origin
    WHERE (excluded.hlc, excluded.origin) > (hlc, origin)";
const REQUESTED: &str = "
    INSERT INTO memberships (id, group_id, user_id, hlc, origin) VALUES (?1, ?2, ?3, ?4, ?5)
    ON CONFLICT DO UPDATE SET hlc = excluded.hlc, origin = excluded.origin
    WHERE (excluded.hlc, excluded.origin) < (hlc, origin)";
const ACCEPTED: &str = "INSERT OR IGNORE INTO accepts (membership, hlc, origin) VALUES (?1, ?2, ?3)";
const ACCEPT_KICK: &str = "INSERT OR IGNORE INTO accept_kicks (membership, kick, hlc, origin) VALUES (?1, ?2, ?3, ?4)";
const ENDED: &str = "
    INSERT INTO ends (membership, reason, hlc, origin) VALUES (?1, ?2, ?3, ?4)
    ON CONFLICT DO UPDATE SET reason = excluded.reason, hlc = excluded.hlc, origin = excluded.origin
    WHERE (excluded.hlc, excluded.origin) < (hlc, origin)";
const KICKED: &str = "
    INSERT INTO kicks (id, group_id, user_id, hlc, origin) VALUES (?1, ?2, ?3, ?4, ?5)
    ON CONFLICT DO UPDATE SET hlc = excluded.hlc, origin = excluded.origin
    WHERE (excluded.hlc, excluded.origin) < (hlc, origin)";
const PUBLISHED: &str = "
    INSERT INTO publications (id, group_id, name, file_id, manifest, user_id, membership, hlc, origin)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
    ON CONFLICT DO UPDATE SET group_id = excluded.group_id, name = excluded.name, file_id = excluded.file_id,
        manifest = excluded.manifest, user_id = excluded.user_id, membership = excluded.membership,
        hlc = excluded.hlc, origin = excluded.origin
    WHERE (excluded.hlc, excluded.origin) < (hlc, origin)";
const WITHDRAWN: &str = "
    INSERT INTO withdrawals (publication, hlc, origin) VALUES (?1, ?2, ?3)
    ON CONFLICT DO UPDATE SET hlc = excluded.hlc, origin = excluded.origin
    WHERE (excluded.hlc, excluded.origin) < (hlc, origin)";
const SEEDING: &str = "
    INSERT INTO seeders (group_id, file_id, device, user_id, membership, seeding, hlc, origin)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
    ON CONFLICT DO UPDATE SET user_id = excluded.user_id, membership = excluded.membership, seeding = excluded.seeding,
        hlc = excluded.hlc, origin = excluded.origin
    WHERE (excluded.hlc, excluded.origin) > (hlc, origin)";

/// An acceptance counts if it knew of every kick; the first that counts dates the membership.
const REFRESH: &str = "
    INSERT INTO live (membership, group_id, user_id, hlc, origin)
    SELECT id, group_id, user_id, since, by FROM (
        SELECT m.id, m.group_id, m.user_id, a.hlc AS since, a.origin AS by,
               row_number() OVER (PARTITION BY m.id ORDER BY a.hlc, a.origin) AS place
        FROM memberships m JOIN accepts a ON a.membership = m.id
        WHERE m.group_id = ?1 AND m.user_id = ?2
          AND NOT EXISTS (SELECT 1 FROM ends e WHERE e.membership = m.id)
          AND NOT EXISTS (
              SELECT 1 FROM kicks k
              WHERE k.group_id = m.group_id AND k.user_id = m.user_id
                AND NOT EXISTS (
                    SELECT 1 FROM accept_kicks s
                    WHERE s.membership = a.membership AND s.hlc = a.hlc AND s.origin = a.origin AND s.kick = k.id))
    ) WHERE place = 1";

#[cfg(test)]
mod tests;
