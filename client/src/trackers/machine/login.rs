//! The login: shown to every connection, kept in its file, ended everywhere.

use std::time::{Duration, Instant};

use common::id::UserName;
use common::wire::client::{Push, Request, Response};
use common::wire::refusal::Refusal;

use super::{AGAIN, Binding, Effect, LoggedIn, Machine, Session, Tell};
use crate::trackers::calls::Purpose;

/// Pushes that are compared with those of the other trackers, and for how long.
const RECENT: (usize, Duration) = (64, Duration::from_secs(10));
/// Longest delay before a tracker that does not know the account is asked again.
const LACKING_MOST: Duration = Duration::from_secs(5);

impl Machine {
    /// Shows the token to a tracker, so that the connection is the user's.
    pub(super) fn resume(&mut self, now: Instant, index: usize) {
        let Some(token) = self.session.as_ref().map(|s| s.token.clone()) else { return };
        self.ask_own(now, index, Request::Resume { token }, Purpose::Resume);
        self.bind(index, Binding::Resuming(None));
    }

    pub(super) fn on_resumed(&mut self, now: Instant, index: usize, result: Result<Response, Refusal>) {
        match result {
            Ok(Response::LoggedIn { user, user_id, token }) => {
                self.bind(index, Binding::Bound);
                let session = Session { who: LoggedIn { user, user_id }, token };
                if self.current == Some(index) {
                    self.show(Some(session.who.clone()));
                    if self.session.as_ref() != Some(&session) {
                        self.session = Some(session);
                        self.save([]);
                    }
                }
                self.give_life(now, index);
            }
            Err(Refusal::Stale) => self.on_account_unknown(now, index),
            Err(Refusal::Busy | Refusal::RateLimited { .. } | Refusal::Internal | Refusal::TrackerDiskFull) => {
                self.bind(index, Binding::Resuming(Some(now + AGAIN)));
            }
            _ => {
                self.bind(index, Binding::Refused);
                if self.current == Some(index) {
                    self.tell(Tell::SessionEnded);
                    self.show(None);
                }
            }
        }
    }

    /// The account is not there, and may be at a tracker that is away: it is asked again and again, ever more slowly.
    fn on_account_unknown(&mut self, now: Instant, index: usize) {
        let Some(up) = self.up_mut(index) else { return };
        let (since, times) = up.lacking.unwrap_or((now, 0));
        up.lacking = Some((since, times + 1));
        let delay = AGAIN.saturating_mul(1 << times.min(10)).min(LACKING_MOST);
        up.binding = Binding::Resuming(Some(now + delay));
        self.behind.insert(index, (now, None));
        if self.current == Some(index) && self.instead_of(now, index).is_some() {
            self.leave(now, index, "it does not know your account yet");
        }
    }

    /// A new login, made on connection `index`: `then` follows when it is stored.
    pub(super) fn adopt(&mut self, now: Instant, index: usize, session: Session, then: Effect) {
        if self.session.as_ref().is_some_and(|before| before.who.user_id != session.who.user_id) {
            self.journal.clear();
        }
        let who = session.who.clone();
        self.session = Some(session);
        self.effects.push_back(Effect::ForgetTickets);
        self.save([Effect::Show(Some(who)), then]);
        self.bind(index, Binding::Bound);
        self.give_life(now, index);
        let others = (0..self.slots.len()).filter(|i| *i != index && self.up(*i).is_some()).collect::<Vec<_>>();
        others.into_iter().for_each(|i| self.resume(now, i));
    }

    /// The login has been ended on connection `index`: `then` follows when it is forgotten.
    pub(super) fn forget(&mut self, now: Instant, index: usize, then: Effect) {
        self.session = None;
        self.journal.clear();
        self.effects.push_back(Effect::ForgetTickets);
        self.save([Effect::Show(None), then]);
        self.bind(index, Binding::Unbound);
        // The others may not have heard: a new connection to them is nobody's.
        (0..self.slots.len()).filter(|i| *i != index).for_each(|i| self.close(now, i, "logged out"));
    }

    /// A refusal that speaks of the login is checked with the token before it is believed.
    pub(super) fn heed(&mut self, now: Instant, index: usize, refusal: &Refusal) {
        let ended = matches!(refusal, Refusal::NotLoggedIn | Refusal::SessionEnded);
        if ended && self.binding(index) == Some(Binding::Bound) {
            self.resume(now, index);
        }
    }

    /// The name that was claimed went to somebody else.
    fn rename(&mut self, claimed: &UserName, now: &UserName) {
        if let Some(session) = self.session.as_mut().filter(|s| s.who.user == *claimed) {
            session.who.user = now.clone();
            let who = session.who.clone();
            self.show(Some(who));
            self.save([]);
        }
    }

    pub(super) fn on_push(&mut self, now: Instant, index: usize, push: Push) {
        match &push {
            Push::SessionEnded => return self.resume(now, index),
            Push::Probe { id, device, address } => {
                return self.effects.push_back(Effect::Probe(index, *id, *device, *address));
            }
            Push::Accepted { .. } | Push::Removed { .. } => self.effects.push_back(Effect::ForgetTickets),
            Push::UserRenamed { claimed, now } => self.rename(claimed, now),
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
        self.effects.push_back(Effect::News(push));
    }
}
