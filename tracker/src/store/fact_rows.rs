//! Joins one fact to the tables.
//!
//! Invariant: the tables are a function of the *set* of stamped facts. Each statement below keeps the least stamp
//! (facts that cannot differ but by mistake), or the largest (registers: the last one holds), or only adds.
//! So order, repetition and grouping do not matter. It is the same join as that of the state in memory.

use rusqlite::{Connection, ToSql};

use super::error::Result;
use super::log;
use crate::fact::{Fact, Stamp};

/// Adds `fact`, stated at `stamp`, to the tables. Says whether that was anything new.
pub(super) fn join(tx: &Connection, fact: &Fact, stamp: Stamp) -> Result<bool> {
    let at = (stamp.hlc.to_stored(), stamp.origin.as_bytes());
    let run = |sql: &str, keys: &[&dyn ToSql]| run(tx, sql, keys, at);
    match fact {
        Fact::User { id, name } => run(USER, &[id.as_bytes(), &name.as_str()]),
        Fact::Credential { id, user, phc } => run(CREDENTIAL, &[&id.0, user.as_bytes(), phc]),
        Fact::Session { id, user, device, expires } => {
            run(SESSION, &[id.as_bytes(), user.as_bytes(), device.as_bytes(), &seconds(*expires)])
        }
        Fact::SessionBound { session, credentials } => {
            Ok(tx.prepare_cached(SESSION_BOUND)?.execute((session.as_bytes(), credentials))? > 0)
        }
        Fact::SessionEnded { session } => run(SESSION_ENDED, &[session.as_bytes()]),
        Fact::Group { id, name, creator } => run(GROUP, &[id.as_bytes(), &name.as_str(), creator.as_bytes()]),
        Fact::Admin { group, user, membership } => {
            run(ADMIN, &[group.as_bytes(), user.as_bytes(), membership.as_bytes()])
        }
        Fact::Requested { membership, group, user } => {
            run(REQUESTED, &[membership.as_bytes(), group.as_bytes(), user.as_bytes()])
        }
        Fact::Accepted { membership, kicks_seen } => {
            let mut new = run(ACCEPTED, &[membership.as_bytes()])?;
            for kick in kicks_seen {
                new |= run(ACCEPT_KICK, &[membership.as_bytes(), &kick.0])?;
            }
            Ok(new)
        }
        Fact::Ended { membership, reason } => run(ENDED, &[membership.as_bytes(), &reason.to_stored()]),
        Fact::Kicked { id, group, user } => run(KICKED, &[&id.0, group.as_bytes(), user.as_bytes()]),
        Fact::Published { id, group, name, file, manifest, user, membership } => run(
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
        Fact::Withdrawn { publication } => run(WITHDRAWN, &[publication.as_bytes()]),
        Fact::Seeding { group, file, device, user, membership, on } => run(
            SEEDING,
            &[group.as_bytes(), file.as_bytes(), device.as_bytes(), user.as_bytes(), membership.as_bytes(), on],
        ),
        Fact::Invited { id, group, user, number, secret, uses, expires, kicks_seen } => run(
            INVITED,
            &[
                &id.0,
                group.as_bytes(),
                user.as_bytes(),
                number,
                &secret.0,
                uses,
                &seconds(*expires),
                &log::encode(kicks_seen)?,
            ],
        ),
        Fact::InvitationRevoked { invitation } => run(INVITATION_REVOKED, &[&invitation.0]),
        Fact::Redeemed { membership, invitation } => run(REDEEMED, &[membership.as_bytes(), &invitation.0]),
        Fact::Sponsored { user, invitation } => run(SPONSORED, &[user.as_bytes(), &invitation.0]),
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

const INVITED: &str = "
    INSERT INTO invitations (id, group_id, user_id, number, secret, uses, expires, kicks, hlc, origin)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
    ON CONFLICT DO UPDATE SET group_id = excluded.group_id, user_id = excluded.user_id, number = excluded.number,
        secret = excluded.secret, uses = excluded.uses, expires = excluded.expires, kicks = excluded.kicks,
        hlc = excluded.hlc, origin = excluded.origin
    WHERE (excluded.hlc, excluded.origin) < (hlc, origin)";
const INVITATION_REVOKED: &str = "
    INSERT INTO invitation_ends (invitation, hlc, origin) VALUES (?1, ?2, ?3)
    ON CONFLICT DO UPDATE SET hlc = excluded.hlc, origin = excluded.origin
    WHERE (excluded.hlc, excluded.origin) < (hlc, origin)";
const REDEEMED: &str = "
    INSERT INTO redemptions (membership, invitation, hlc, origin) VALUES (?1, ?2, ?3, ?4)
    ON CONFLICT DO UPDATE SET invitation = excluded.invitation, hlc = excluded.hlc, origin = excluded.origin
    WHERE (excluded.hlc, excluded.origin) < (hlc, origin)";
const SPONSORED: &str = "
    INSERT INTO sponsors (user_id, invitation, hlc, origin) VALUES (?1, ?2, ?3, ?4)
    ON CONFLICT DO UPDATE SET invitation = excluded.invitation, hlc = excluded.hlc, origin = excluded.origin
    WHERE (excluded.hlc, excluded.origin) < (hlc, origin)";

#[cfg(test)]
mod tests;
