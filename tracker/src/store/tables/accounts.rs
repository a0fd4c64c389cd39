//! Accounts and logins.

use common::id::{SessionId, UserId, UserName};
use common::ticket::UnixSeconds;

use super::{Tables, id, name, split_reference};
use crate::fact::Hlc;
use crate::state::{Account, LoginRow, SessionRow};
use crate::store::error::Result;

/// Logins of one user that are looked at: many more than may hold at a time, unless trackers were cut off.
const MAX_LOGINS: u32 = 1000;

impl Tables<'_> {
    /// The account that owns this very name, or is told apart by it.
    pub fn user(&self, name: &UserName) -> Result<Option<UserId>> {
        match split_reference(name.as_str()) {
            (name, None) => {
                let sql = "SELECT u.id FROM votes v JOIN users u ON u.id = v.owner
                           WHERE v.kind = 0 AND v.name = lower(?1) AND u.name = ?1";
                self.one(sql, [name], |r| id(r, 0))
            }
            (name, Some(digits)) => {
                // The index is case-insensitive, and a superset.
                let sql = "SELECT id FROM users WHERE name = ?1 COLLATE NOCASE AND name = ?1
                           AND lower(hex(substr(id, 1, 4))) = ?2 ORDER BY hlc, origin LIMIT 1";
                self.one(sql, (name, digits), |r| id(r, 0))
            }
        }
    }

    /// Whether a user's name went to somebody else, and if so what it claimed.
    pub fn user_renamed(&self, user: UserId) -> Result<Option<UserName>> {
        let sql = "SELECT name FROM users u WHERE id = ?1
                   AND NOT EXISTS (SELECT 1 FROM votes v WHERE v.owner = u.id AND v.kind = 0)";
        self.one(sql, [user.as_bytes()], |r| name(r, 0))
    }

    /// Whether a name that differs at most in case is taken.
    pub fn user_name_taken(&self, name: &UserName) -> Result<bool> {
        self.exists("SELECT 1 FROM users WHERE name = ?1 COLLATE NOCASE", [name.as_str()])
    }

    /// The name of a user, as it is shown.
    pub fn user_name(&self, user: UserId) -> Result<Option<UserName>> {
        self.one("SELECT name FROM user_names WHERE id = ?1", [user.as_bytes()], |r| name(r, 0))
    }

    /// The name that a user claimed.
    pub fn user_claim(&self, user: UserId) -> Result<Option<UserName>> {
        self.one("SELECT name FROM users WHERE id = ?1", [user.as_bytes()], |r| name(r, 0))
    }

    /// What a login as `name` is checked against.
    pub fn account(&self, name: &UserName) -> Result<Option<Account>> {
        self.user(name)?.map_or(Ok(None), |user| self.account_of(user))
    }

    /// The same, by id.
    pub fn account_of(&self, user: UserId) -> Result<Option<Account>> {
        let sql = "SELECT phc, (SELECT count(*) FROM credentials WHERE user_id = ?1) FROM credentials
                   WHERE user_id = ?1 ORDER BY hlc DESC, origin DESC LIMIT 1";
        self.one(sql, [user.as_bytes()], |r| Ok(Account { user, phc: r.get(0)?, credentials: r.get(1)? }))
    }

    /// A login.
    pub fn session(&self, session: SessionId) -> Result<Option<SessionRow>> {
        let sql = "
            SELECT s.user_id, s.device, coalesce(b.credentials, 0), s.expires,
                   (SELECT count(*) FROM credentials c WHERE c.user_id = s.user_id),
                   EXISTS (SELECT 1 FROM session_ends e WHERE e.session = s.id)
            FROM sessions s LEFT JOIN session_bindings b ON b.session = s.id WHERE s.id = ?1";
        self.one(sql, [session.as_bytes()], |r| {
            Ok(SessionRow {
                user: id(r, 0)?,
                device: id(r, 1)?,
                bound: r.get(2)?,
                expires: r.get::<_, i64>(3)?.cast_unsigned(),
                credentials: r.get(4)?,
                ended: r.get(5)?,
            })
        })
    }

    /// Logins of a user that hold at `now`, the newest first.
    pub fn logins(&self, user: UserId, now: UnixSeconds) -> Result<Vec<LoginRow>> {
        let sql = "
            SELECT s.id, s.device, s.hlc FROM sessions s JOIN session_bindings b ON b.session = s.id
            WHERE s.user_id = ?1 AND s.expires > ?2
              AND NOT EXISTS (SELECT 1 FROM session_ends e WHERE e.session = s.id)
              AND b.credentials = (SELECT count(*) FROM credentials WHERE user_id = ?1)
            ORDER BY s.hlc DESC, s.id LIMIT ?3";
        self.all(sql, (user.as_bytes(), now.cast_signed(), MAX_LOGINS), |r| {
            Ok(LoginRow { session: id(r, 0)?, device: id(r, 1)?, since: Hlc::from_stored(r.get(2)?).millis() / 1000 })
        })
    }

    /// Whether a login was ended, also one whose beginning is not known here.
    pub fn session_ended(&self, session: SessionId) -> Result<bool> {
        self.exists("SELECT 1 FROM session_ends WHERE session = ?1", [session.as_bytes()])
    }

    /// Logins that were ended since `since`, of users who share a group with `user`: by logout, or by
    /// a change of password. At most `most` of them.
    pub fn sessions_ended_around(&self, user: UserId, since: Hlc, most: u32) -> Result<Vec<SessionId>> {
        let sql = "
            WITH near AS (
                SELECT DISTINCT b.user_id FROM live a JOIN live b USING (group_id) WHERE a.user_id = ?1)
            SELECT s.id FROM near JOIN sessions s USING (user_id)
            LEFT JOIN session_bindings b ON b.session = s.id
            LEFT JOIN session_ends e ON e.session = s.id
            WHERE e.hlc >= ?2
               OR (coalesce(b.credentials, 0) < (SELECT count(*) FROM credentials c WHERE c.user_id = s.user_id)
                   AND (SELECT max(c.hlc) FROM credentials c WHERE c.user_id = s.user_id) >= ?2)
            ORDER BY coalesce(e.hlc, s.hlc) DESC LIMIT ?3";
        self.all(sql, (user.as_bytes(), since.to_stored(), most), |r| id(r, 0))
    }
}
