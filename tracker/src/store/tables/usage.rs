//! How much a user takes of what `quota` bounds. Each counts along an index.

use common::id::{GroupId, SessionId, UserId};
use common::manifest::PieceHash;
use common::ticket::UnixSeconds;

use super::{Tables, id};
use crate::store::error::Result;

/// Logins of a user that are looked at, the newest: the bound on those that hold is kept at each login, so
/// that older ones have been ended or have been looked at often.
const RECENT: u32 = 1024;

impl Tables<'_> {
    fn number(&self, sql: &str, params: impl rusqlite::Params) -> Result<u32> {
        Ok(self.one(sql, params, |r| r.get(0))?.unwrap_or_default())
    }

    /// Open groups that a user is the admin of. If the user's memberships there are fewer than `enough`, their number.
    pub fn groups_run(&self, user: UserId, enough: u32) -> Result<u32> {
        let all = self.number("SELECT count(*) FROM live WHERE user_id = ?1", [user.as_bytes()])?;
        if all < enough {
            return Ok(all);
        }
        let sql = "
            SELECT count(*) FROM (SELECT DISTINCT group_id FROM live WHERE user_id = ?1) mine
            WHERE ?1 = coalesce(
                (SELECT l.user_id FROM admins a JOIN live l ON l.membership = a.membership
                 WHERE a.group_id = mine.group_id AND l.group_id = mine.group_id),
                (SELECT l.user_id FROM live l WHERE l.group_id = mine.group_id
                 ORDER BY l.hlc, l.origin, l.membership LIMIT 1))";
        self.number(sql, [user.as_bytes()])
    }

    /// Groups that a user has made, closed ones included.
    pub fn groups_made(&self, user: UserId) -> Result<u32> {
        self.number("SELECT count(*) FROM groups WHERE creator = ?1", [user.as_bytes()])
    }

    /// Memberships and requests of a user that are not over. If all that there ever were are fewer than `enough`, that
    /// number.
    pub fn memberships_open(&self, user: UserId, enough: u32) -> Result<u32> {
        let all = self.memberships_made(user)?;
        if all < enough {
            return Ok(all);
        }
        let sql = "SELECT count(*) FROM memberships m WHERE m.user_id = ?1
                   AND NOT EXISTS (SELECT 1 FROM ends e WHERE e.membership = m.id)";
        self.number(sql, [user.as_bytes()])
    }

    /// Memberships and requests of a user, those that are over included.
    pub fn memberships_made(&self, user: UserId) -> Result<u32> {
        self.number("SELECT count(*) FROM memberships WHERE user_id = ?1", [user.as_bytes()])
    }

    /// Shares that a user has in a group. If all that were ever published there are fewer than `enough`, that number.
    pub fn shares_in(&self, group: GroupId, user: UserId, enough: u32) -> Result<u32> {
        let ever = "SELECT count(*) FROM (SELECT 1 FROM publications WHERE user_id = ?1 AND group_id = ?2 LIMIT ?3)";
        let ever = self.number(ever, (user.as_bytes(), group.as_bytes(), enough))?;
        if ever < enough {
            return Ok(ever);
        }
        let sql = "SELECT count(*) FROM publications p INDEXED BY publications_in_group
                   CROSS JOIN live l ON l.membership = p.membership
                   WHERE p.user_id = ?1 AND p.group_id = ?2 AND p.withdrawn = 0";
        self.number(sql, (user.as_bytes(), group.as_bytes()))
    }

    /// Shares that a user has published, wherever, those that are gone included.
    pub fn shares_made(&self, user: UserId) -> Result<u32> {
        self.number("SELECT count(*) FROM publications WHERE user_id = ?1", [user.as_bytes()])
    }

    /// What the manifests that a user's shares refer to take, in bytes, as long as they are kept.
    pub fn manifest_bytes(&self, user: UserId) -> Result<u64> {
        let sql = "SELECT coalesce(sum((len + piece_len - 1) / piece_len), 0) FROM manifests
                   WHERE id IN (SELECT manifest FROM publications WHERE user_id = ?1)";
        let pieces: Option<u64> = self.one(sql, [user.as_bytes()], |r| r.get(0))?;
        Ok(pieces.unwrap_or_default().saturating_mul(PieceHash::LEN as u64))
    }

    /// Logins of a user that hold at `now`, but for the newest `keep`.
    pub fn sessions_beyond(&self, user: UserId, keep: u32, now: UnixSeconds) -> Result<Vec<SessionId>> {
        let sql = "
            SELECT s.id FROM (
                SELECT id, expires, hlc FROM sessions WHERE user_id = ?1 ORDER BY hlc DESC LIMIT ?4) s
            JOIN session_bindings b ON b.session = s.id
            WHERE s.expires > ?3 AND NOT EXISTS (SELECT 1 FROM session_ends e WHERE e.session = s.id)
              AND b.credentials = (SELECT count(*) FROM credentials WHERE user_id = ?1)
            ORDER BY s.hlc DESC LIMIT -1 OFFSET ?2";
        self.all(sql, (user.as_bytes(), keep, now.cast_signed(), RECENT), |r| id(r, 0))
    }

    /// Logins of a user that hold at `now`, the newest first. At most [`quota::SESSIONS`](crate::quota::SESSIONS)
    /// unless trackers were cut off from each other.
    pub fn sessions_that_hold(&self, user: UserId, now: UnixSeconds) -> Result<Vec<SessionId>> {
        self.sessions_beyond(user, 0, now)
    }
}
