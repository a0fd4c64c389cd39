//! The login: shown to every connection, kept in its file, ended everywhere.

use std::time::Duration;

use common::id::UserName;
use common::ticket::{Revocation, Signed};
use common::wire::client::{Push, Request, Response};
use common::wire::refusal::Refusal;
use tokio::time::Instant;

use super::{AGAIN, Binding, Hub};
use crate::trackers::Notice;
use crate::trackers::calls::Purpose;
use crate::trackers::session::{LoggedIn, Session};

/// Pushes that are compared with those of the other trackers, and for how long.
const RECENT: (usize, Duration) = (64, Duration::from_secs(10));

impl Hub {
    /// Shows the token to a tracker, so that the connection is the user's.
    pub(super) fn resume(&mut self, now: Instant, index: usize) {
        let Some(token) = self.session.as_ref().map(|s| s.token.clone()) else { return };
        let sent = self.send_own(now, index, Request::Resume { token }, Purpose::Resume);
        self.bind(index, Binding::Resuming(if sent { None } else { Some(now + AGAIN) }));
    }

    pub(super) async fn on_resumed(&mut self, now: Instant, index: usize, result: Result<Response, Refusal>) {
        match result {
            Ok(Response::LoggedIn { user, user_id, token }) => {
                self.bind(index, Binding::Bound);
                let session = Session { who: LoggedIn { user, user_id }, token };
                if self.current == Some(index) {
                    self.show_session(Some(session.who.clone()));
                    if self.session.as_ref() != Some(&session) {
                        self.store(session).await;
                    }
                }
                self.give_life(now, index);
            }
            Err(
                Refusal::Busy
                | Refusal::Stale
                | Refusal::RateLimited { .. }
                | Refusal::Internal
                | Refusal::TrackerDiskFull,
            ) => {
                self.bind(index, Binding::Resuming(Some(now + AGAIN)));
            }
            _ => {
                self.bind(index, Binding::Refused);
                if self.current == Some(index) {
                    self.notify(Notice::SessionEnded);
                    self.show_session(None);
                }
            }
        }
        self.flush(now);
    }

    /// A new login, made on connection `index`.
    pub(super) async fn adopt(&mut self, now: Instant, index: usize, session: Session) {
        let who = session.who.clone();
        if self.session.as_ref().is_some_and(|before| before.who.user_id != who.user_id) {
            self.journal.clear();
        }
        self.store(session).await;
        self.shared.tickets.clear();
        self.bind(index, Binding::Bound);
        self.show_session(Some(who));
        self.give_life(now, index);
        let others = (0..self.slots.len()).filter(|i| *i != index).collect::<Vec<_>>();
        others.into_iter().for_each(|i| self.resume(now, i));
    }

    /// The login has been ended on connection `index`.
    pub(super) async fn forget(&mut self, now: Instant, index: usize) {
        self.session = None;
        self.journal.clear();
        self.shared.tickets.clear();
        let file = self.shared.session_file.clone();
        let removed = tokio::task::spawn_blocking(move || file.remove()).await;
        if let Ok(Err(e)) = removed {
            self.notify(Notice::SessionFile(e));
        }
        self.bind(index, Binding::Unbound);
        self.show_session(None);
        // The others may not have heard: a new connection to them is nobody's.
        (0..self.slots.len()).filter(|i| *i != index).for_each(|i| self.on_down(now, i, "logged out"));
    }

    pub(super) async fn store(&mut self, session: Session) {
        self.session = Some(session.clone());
        let file = self.shared.session_file.clone();
        let saved = tokio::task::spawn_blocking(move || file.save(&session)).await;
        if let Ok(Err(e)) = saved {
            self.notify(Notice::SessionFile(e));
        }
    }

    /// A refusal that speaks of the login is checked with the token before it is believed.
    pub(super) fn heed(&mut self, now: Instant, index: usize, refusal: Option<&Refusal>) {
        let ended = matches!(refusal, Some(Refusal::NotLoggedIn | Refusal::SessionEnded));
        if ended && self.binding(index) == Some(Binding::Bound) {
            self.resume(now, index);
        }
    }

    /// The name that was claimed went to somebody else.
    pub(super) async fn rename(&mut self, claimed: &UserName, now: &UserName) {
        if let Some(mut session) = self.session.clone().filter(|s| s.who.user == *claimed) {
            session.who.user = now.clone();
            self.show_session(Some(session.who.clone()));
            self.store(session).await;
        }
    }

    fn cut_off(&self, signed: &Signed<Revocation>) {
        if let Some(cluster) = self.shared.trust.public() {
            self.shared.revocations.add(signed.clone(), &cluster);
        }
    }

    pub(super) async fn on_push(&mut self, now: Instant, index: usize, push: Push) {
        match &push {
            Push::SessionEnded => return self.resume(now, index),
            Push::Accepted { .. } | Push::Removed { .. } => self.shared.tickets.clear(),
            Push::UserRenamed { claimed, now } => self.rename(claimed, now).await,
            // Not left to those who listen: one of them may be behind, and a cut-off must never be lost.
            Push::Revoked(signed) => self.cut_off(signed),
            _ => {}
        }
        let (most, age) = RECENT;
        self.recent.retain(|(_, at, _)| now < *at + age);
        let heard = self.recent.iter().any(|(from, _, p)| *from != index && *p == push);
        if heard {
            return; // Another tracker has said so already.
        }
        if self.recent.len() == most {
            self.recent.pop_front();
        }
        self.recent.push_back((index, now, push.clone()));
        let _ = self.shared.pushes.send(push); // Nobody may be listening.
    }
}
