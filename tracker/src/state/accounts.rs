//! Passwords and logins.

use std::ops::Bound;

use common::id::{DeviceId, SessionId, UserId, UserName};
use common::ticket::UnixSeconds;

use super::keys::{CredentialKey, Key, SessionKey, UserKey};
use super::rows::{At, Credential, Session};
use super::undo::{Earlier, Undo};
use super::{State, push, take_out};
use crate::fact::Hlc;

/// Logins of a user that are looked at, the newest: the bound on those that hold is kept at each login, so
/// that older ones have been ended or have been looked at often.
const RECENT: usize = 1024;

/// What a login is checked against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Who.
    pub user: UserId,
    /// The hash of the present password, in PHC form.
    pub phc: String,
    /// How many passwords there have been.
    pub credentials: u32,
}

/// A login as it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionRow {
    /// Whose.
    pub user: UserId,
    /// Where.
    pub device: DeviceId,
    /// How many passwords there had been when it was last bound.
    pub bound: u32,
    /// How many there are.
    pub credentials: u32,
    /// Until when it lasts.
    pub expires: UnixSeconds,
    /// Whether it was ended.
    pub ended: bool,
}

/// A login that holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoginRow {
    /// It.
    pub session: SessionId,
    /// Where.
    pub device: DeviceId,
    /// When it was made.
    pub since: UnixSeconds,
}

/// Logins of one user that are named at most: many more than may hold at a time, unless trackers were cut off.
const MAX_LOGINS: usize = 1000;

impl State {
    pub(super) fn set_credential(&mut self, credential: CredentialKey, fact: Option<Credential>) -> Undo {
        let before = std::mem::replace(&mut self.credentials[credential].fact, fact);
        if let Some(before) = &before {
            take_out(&mut self.users[before.user].credentials, &credential);
            // Another of the same user and time may be left.
            if !self.has_password_of(before.user, before.at.hlc()) {
                self.passwords.remove(&(before.at.hlc(), before.user));
            }
        }
        if let Some(fact) = &self.credentials[credential].fact {
            push(&mut self.users[fact.user].credentials, credential);
            self.passwords.insert((fact.at.hlc(), fact.user));
        }
        Undo(Earlier::Credential(credential, before))
    }

    fn has_password_of(&self, user: UserKey, hlc: Hlc) -> bool {
        let of = |c: &CredentialKey| self.credentials[*c].fact.as_ref().map(|c| c.at.hlc());
        self.users[user].credentials.iter().any(|c| of(c) == Some(hlc))
    }

    pub(super) fn set_session(&mut self, session: SessionKey, fact: Option<Session>) -> Undo {
        let before = std::mem::replace(&mut self.sessions[session].fact, fact);
        match (before.map(|s| s.user), fact.map(|s| s.user)) {
            (was, now) if was == now => {}
            (was, now) => {
                if let Some(user) = was {
                    take_out(&mut self.users[user].sessions, &session);
                }
                if let Some(user) = now {
                    push(&mut self.users[user].sessions, session);
                }
            }
        }
        Undo(Earlier::Session(session, before))
    }

    pub(super) fn set_session_end(&mut self, session: SessionKey, end: Option<At>) -> Undo {
        let before = std::mem::replace(&mut self.sessions[session].end, end);
        if let Some(before) = before {
            self.logouts.remove(&(before.hlc(), session));
        }
        if let Some(end) = end {
            self.logouts.insert((end.hlc(), session));
        }
        Undo(Earlier::SessionEnd(session, before))
    }

    /// Forgets a login that nobody can refer to any more: all that was stated of it.
    pub fn forget_session(&mut self, session: SessionId) {
        if let Some(key) = self.sessions.find(&session) {
            let _ = self.set_session(key, None);
            let _ = self.set_session_end(key, None);
            self.sessions.vacate(key);
        }
    }

    fn credential_count(&self, user: UserKey) -> u32 {
        u32::try_from(self.users[user].credentials.len()).unwrap_or(u32::MAX)
    }

    /// What a login as `name` is checked against.
    pub fn account(&self, name: &UserName) -> Option<Account> {
        self.account_of(self.user(name)?)
    }

    /// The same, by id.
    pub fn account_of(&self, user: UserId) -> Option<Account> {
        let (key, row) = self.users.get(&user)?;
        let facts = row.credentials.iter().filter_map(|c| self.credentials[*c].fact.as_ref());
        let present = facts.max_by_key(|c| self.stamp(c.at))?;
        Some(Account { user, phc: present.phc.to_string(), credentials: self.credential_count(key) })
    }

    /// A login.
    pub fn session(&self, session: SessionId) -> Option<SessionRow> {
        let (_, row) = self.sessions.get(&session)?;
        let Session { user, device, expires, .. } = row.fact?;
        Some(SessionRow {
            user: self.users[user].id,
            device: self.devices[device].id,
            bound: row.bound.unwrap_or_default(),
            credentials: self.credential_count(user),
            expires,
            ended: row.end.is_some(),
        })
    }

    /// Logins of a user that hold at `now`, the newest first.
    pub fn logins(&self, user: UserId, now: UnixSeconds) -> Vec<LoginRow> {
        let Some((key, row)) = self.users.get(&user) else { return Vec::new() };
        let count = self.credential_count(key);
        let holding = row.sessions.iter().filter_map(|s| {
            let row = &self.sessions[*s];
            let fact = row.fact.filter(|f| f.expires > now && row.end.is_none() && row.bound == Some(count))?;
            Some((fact.at.hlc(), row.id, self.devices[fact.device].id))
        });
        let mut all: Vec<_> = holding.collect();
        all.sort_unstable_by_key(|(hlc, id, _)| (std::cmp::Reverse(*hlc), *id));
        all.truncate(MAX_LOGINS);
        let login = |(hlc, session, device): (Hlc, _, _)| LoginRow { session, device, since: hlc.millis() / 1000 };
        all.into_iter().map(login).collect()
    }

    /// Whether a login was ended, also one whose beginning is not known here.
    pub fn session_ended(&self, session: SessionId) -> bool {
        self.sessions.get(&session).is_some_and(|(_, row)| row.end.is_some())
    }

    /// Logins that were ended since `since`, of users who share a group with `user`: by logout, or by
    /// a change of password. At most `most` of them, the last first.
    pub fn sessions_ended_around(&self, user: UserId, since: Hlc, most: u32) -> Vec<SessionId> {
        let Some(me) = self.users.find(&user) else { return Vec::new() };
        let mut found: Vec<(Hlc, SessionKey)> = Vec::new();
        let from = (Bound::Included((since, SessionKey::MIN)), Bound::Unbounded);
        let ended = self
            .logouts
            .range(from)
            .filter(|(_, s)| self.sessions[*s].fact.is_some_and(|s| self.share_a_group(me, s.user)));
        found.extend(ended);
        for (_, user) in self.passwords.range((Bound::Included((since, UserKey::MIN)), Bound::Unbounded)) {
            let count = self.credential_count(*user);
            if !self.share_a_group(me, *user) {
                continue;
            }
            for session in &self.users[*user].sessions {
                let row = &self.sessions[*session];
                if row.bound.unwrap_or_default() < count && row.end.is_none_or(|end| end.hlc() < since) {
                    let at = row.end.or(row.fact.map(|f| f.at));
                    found.extend(at.map(|at| (at.hlc(), *session)));
                }
            }
        }
        found.sort_unstable_by(|a, b| b.cmp(a));
        // A user may have changed the password more than once.
        found.dedup();
        found.truncate(most as usize);
        found.into_iter().map(|(_, s)| self.sessions[s].id).collect()
    }

    /// Logins of a user that hold at `now`, but for the newest `keep`, the newest first.
    pub fn sessions_beyond(&self, user: UserId, keep: u32, now: UnixSeconds) -> Vec<SessionId> {
        let Some((key, row)) = self.users.get(&user) else { return Vec::new() };
        let count = self.credential_count(key);
        let known = |s: &SessionKey| self.sessions[*s].fact.map(|fact| (fact.at.hlc(), *s, fact.expires));
        let mut newest: Vec<_> = row.sessions.iter().filter_map(known).collect();
        newest.sort_unstable_by(|a, b| b.cmp(a));
        newest.truncate(RECENT);
        let holds = |(_, s, expires): &(Hlc, SessionKey, UnixSeconds)| {
            let row = &self.sessions[*s];
            *expires > now && row.end.is_none() && row.bound == Some(count)
        };
        let holding = newest.into_iter().filter(holds).skip(keep as usize);
        holding.map(|(_, s, _)| self.sessions[s].id).collect()
    }

    /// Logins of a user that hold at `now`, the newest first. At most [`quota::SESSIONS`](crate::quota::SESSIONS)
    /// unless trackers were cut off from each other.
    pub fn sessions_that_hold(&self, user: UserId, now: UnixSeconds) -> Vec<SessionId> {
        self.sessions_beyond(user, 0, now)
    }
}
