//! Which tracker is asked what, and what becomes of a call when that one is lost: a state machine without I/O.
//!
//! It is told of calls, connections, frames, finished saves and the time, and says what to send
//! ([`Machine::poll_transmit`]), what else to do ([`Machine::poll_effect`]) and when to wake it
//! ([`Machine::poll_timeout`]). The client drives it with sockets ([`hub`](super::hub)), the simulation with a scheduler.
//!
//! Invariants: calls go out only on the current connection, and only once that connection knows the login (or has refused
//! it), but for what one tracker is asked for itself; whoever is told of a login can rely on its being stored; the version
//! vector that calls carry is what answers to the user's own questions have shown, and never what else a tracker said.
//! Times and random ids are passed in.

mod connections;
mod login;
mod recover;
mod traffic;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use common::id::{DeviceId, RequestId};
use common::ticket::{Signed, Ticket};
use common::wire::client::{Mode, Push, Request, Response};
use common::wire::sync::VersionVector;

pub use super::calls::CALL_TIMEOUT;
use super::calls::{Calls, Purpose, revision};
use super::journal::Journal;
pub use super::link::DialError;
pub use super::session::{LoggedIn, Session};
use crate::error::Error;

/// Calls that may wait for an answer.
const MAX_CALLS: usize = 1024;
/// Delay before something is asked again of a tracker that was not ready for it.
const AGAIN: Duration = Duration::from_millis(200);

/// What the machine wants done besides sending.
#[derive(Debug)]
pub enum Effect {
    /// To tell whoever made this call.
    Answer(u64, Result<Response, Error>),
    /// To note that what this call has changed only the tracker that answers has on disk, though there is another. Its answer follows.
    Solo(u64),
    /// To end the connection to this tracker. No [`Machine::disconnected`] has to follow.
    Close(usize),
    /// To dial this tracker without further delay, if it is not being dialled.
    Redial(usize),
    /// To store this login, or that there is none; then to call [`Machine::saved`] with the number.
    Save(u64, Option<Session>),
    /// To show who is logged in.
    Show(Option<LoggedIn>),
    /// To forget the tickets at hand.
    ForgetTickets,
    /// To pass this on to whoever listens.
    News(Push),
    /// To find out for others whether a device can be reached; this tracker has asked.
    Probe(usize, u64, DeviceId, SocketAddr),
    /// To note what the clock of this tracker says, by a ticket that it has just issued.
    Dated(usize, Signed<Ticket>),
    /// To tell a person.
    Tell(Tell),
}

/// Something about the connections that a person should know. Trackers are named by their place in the list.
#[derive(Debug, Clone)]
pub enum Tell {
    /// Calls go to this tracker now; there was none before.
    Connected(usize),
    /// Calls go to another tracker now.
    Switched {
        /// The one that was left or lost.
        from: usize,
        /// The one that took over.
        to: usize,
        /// Why.
        reason: String,
    },
    /// This tracker lacks what was acknowledged by one that is away; the client goes on without.
    Behind(usize),
    /// The only tracker was lost.
    Lost {
        /// Which.
        tracker: usize,
        /// Why.
        reason: String,
    },
    /// A tracker may not be used: an untrusted key or another release.
    Unusable(Error),
    /// The login was ended elsewhere, or has expired.
    SessionEnded,
    /// The login could not be stored, or its removal failed.
    NotSaved(Error),
}

/// What everybody may see.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct View {
    /// For each tracker: connected, not connected, or not known yet.
    pub up: Vec<Option<bool>>,
    /// Trackers that have refused something because their disk is full.
    pub full: Vec<bool>,
    /// What each tracker that is connected knows beyond the first release.
    pub revisions: Vec<Option<u8>>,
    /// Where calls go.
    pub current: Option<usize>,
    /// Counts the times that another connection became current.
    pub connection: u64,
    /// Whether both trackers had the last thing that the current one acknowledged.
    pub mode: Option<Mode>,
}

/// What one connection knows of the login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Binding {
    /// Nothing.
    Unbound,
    /// It has been, or is to be, shown the token; not before the time, if there is one.
    Resuming(Option<Instant>),
    /// It goes on with it.
    Bound,
    /// It does not accept the token.
    Refused,
}

/// One tracker of the list.
#[derive(Debug, Default)]
struct Slot {
    up: Option<Up>,
    /// When the last attempt failed, and how.
    failed: Option<(Instant, DialError)>,
    /// Whether there is a connection, once that is known.
    known: Option<bool>,
    /// When it last refused something because its disk is full.
    full_at: Option<Instant>,
}

/// One connection.
#[derive(Debug)]
struct Up {
    /// What the tracker knows beyond the first release.
    revision: u8,
    binding: Binding,
    /// Since when it says that it does not know the login's account, and how often it has said so.
    lacking: Option<(Instant, u32)>,
    /// Calls about the connection itself, which go out first.
    own: VecDeque<u64>,
    /// Since when it owes us a byte.
    owed_since: Option<Instant>,
    /// It owes an answer for too long: not used while there is another.
    slow: bool,
    /// The shortest time in which it has answered.
    round_trip: Duration,
    last_life: Instant,
}

/// What is to be stored, and what waits until it is.
#[derive(Debug, Default)]
struct Saves {
    last: u64,
    held: VecDeque<(u64, Effect)>,
}

/// The state machine.
pub struct Machine {
    /// What the trackers are called in texts.
    names: Vec<String>,
    ids: Box<dyn FnMut() -> RequestId + Send>,
    /// The number of the last announcement.
    serial: u64,
    listen: Option<SocketAddr>,
    slots: Vec<Slot>,
    current: Option<usize>,
    connection: u64,
    mode: Option<Mode>,
    calls: Calls,
    journal: Journal,
    /// Trackers that lack what we have seen, when they said so, and what they had then, if they said that.
    behind: BTreeMap<usize, (Instant, Option<VersionVector>)>,
    /// The connection on which what the journal has is asked for again; other calls wait until it is done.
    again: Option<usize>,
    session: Option<Session>,
    saves: Saves,
    recent: VecDeque<(usize, Instant, Push)>,
    /// Since when there is no connection; `None` while there is one, or was none yet.
    lost_since: Option<Instant>,
    /// When the trackers that cannot be reached may be dialled out of turn again.
    seek_at: Option<Instant>,
    /// When it was last woken.
    woken: Option<Instant>,
    met: bool,
    effects: VecDeque<Effect>,
}

impl fmt::Debug for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Machine").field("current", &self.current).field("slots", &self.slots).finish_non_exhaustive()
    }
}

impl Machine {
    /// For the trackers with these `names`, going on with `session`. Announcements are numbered from `serial`; `ids`
    /// gives random request ids.
    pub fn new(
        names: Vec<String>,
        session: Option<Session>,
        serial: u64,
        ids: impl FnMut() -> RequestId + Send + 'static,
    ) -> Self {
        Self {
            slots: names.iter().map(|_| Slot::default()).collect(),
            names,
            ids: Box::new(ids),
            serial,
            listen: None,
            current: None,
            connection: 0,
            mode: None,
            calls: Calls::default(),
            journal: Journal::default(),
            behind: BTreeMap::new(),
            again: None,
            session,
            saves: Saves::default(),
            recent: VecDeque::new(),
            lost_since: None,
            seek_at: None,
            woken: None,
            met: false,
            effects: VecDeque::new(),
        }
    }

    // ---- What it is told ----

    /// Somebody wants an answer; the number under which it will come.
    pub fn call(&mut self, now: Instant, request: Request) -> u64 {
        self.take_in(now, request, Purpose::Caller)
    }

    /// Somebody wants to know when there is a tracker that has judged the login; the number of the answer.
    pub fn ready(&mut self, now: Instant) -> u64 {
        // Never sent; what matters of it is that it needs a login.
        self.take_in(now, Request::Status, Purpose::Ready)
    }

    fn take_in(&mut self, now: Instant, request: Request, purpose: Purpose) -> u64 {
        let id = (self.ids)();
        let number = self.calls.add(now, id, request, purpose);
        self.hurry(now);
        self.settle(now);
        number
    }

    /// Nobody waits for this call any more. What has been sent may be carried out all the same.
    pub fn abandon(&mut self, number: u64) {
        self.calls.abandon(number);
    }

    /// There is a connection to tracker `index`, and it has greeted us as one of `revision`.
    pub fn connected(&mut self, now: Instant, index: usize, revision: u8) {
        self.on_up(now, index, revision);
        self.settle(now);
    }

    /// The connection to tracker `index` has ended.
    pub fn disconnected(&mut self, now: Instant, index: usize, reason: &str) {
        self.on_down(now, index, reason);
        self.settle(now);
    }

    /// Tracker `index` could not be reached.
    pub fn failed(&mut self, now: Instant, index: usize, error: DialError) {
        self.on_failed(now, index, error);
        self.settle(now);
    }

    /// Tracker `index` has sent a part of a frame.
    pub fn heard(&mut self, now: Instant, index: usize) {
        if let Some(up) = self.up_mut(index) {
            up.owed_since = up.owed_since.map(|_| now);
            up.slow = false;
        }
    }

    /// From now on trackers are told that this device serves at `listen`.
    pub fn serve_at(&mut self, now: Instant, listen: SocketAddr) {
        self.listen = Some(listen);
        (0..self.slots.len()).for_each(|index| self.give_life(now, index));
    }

    /// Somebody wants a fresh look at the trackers without a connection.
    pub fn probe(&mut self) {
        for (index, slot) in self.slots.iter_mut().enumerate().filter(|(_, slot)| slot.up.is_none()) {
            slot.known = None;
            self.effects.push_back(Effect::Redial(index));
        }
    }

    /// What [`Effect::Save`] asked for under this number, and under every lower one, has been done or has failed.
    pub fn saved(&mut self, number: u64, result: Result<(), Error>) {
        if let Err(e) = result {
            self.tell(Tell::NotSaved(e));
        }
        while self.saves.held.front().is_some_and(|(after, _)| *after <= number) {
            self.effects.extend(self.saves.held.pop_front().map(|(_, effect)| effect));
        }
    }

    // ---- What it wants ----

    /// The next thing to do.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// Whether another call may be made.
    pub fn has_room(&self) -> bool {
        self.calls.len() < MAX_CALLS
    }

    /// What everybody may see.
    pub fn view(&self) -> View {
        View {
            up: self.slots.iter().map(|slot| slot.known).collect(),
            full: self.slots.iter().map(|slot| slot.full_at.is_some()).collect(),
            revisions: self.slots.iter().map(|slot| slot.up.as_ref().map(|up| up.revision)).collect(),
            current: self.current,
            connection: self.connection,
            mode: self.mode.filter(|_| self.current.is_some()),
        }
    }

    /// Somebody wants to know what tracker `index` says, the one in use or not; the number of the answer. There is none if the
    /// connection ends first.
    pub fn ask_there(&mut self, now: Instant, index: usize, request: Request) -> u64 {
        let (id, needed) = ((self.ids)(), revision(&request));
        let number = self.calls.add(now, id, request, Purpose::There);
        let refused = match self.up_mut(index) {
            Some(up) if up.revision >= needed => {
                up.own.push_back(number);
                return number;
            }
            Some(_) => Error::OldTracker,
            None => Error::TrackersUnreachable(self.names.get(index).cloned().unwrap_or_default()),
        };
        self.calls.cancel(number);
        self.answer(number, Err(refused));
        number
    }

    /// Tells one tracker something, if it is connected: nobody waits for the answer.
    pub fn say(&mut self, now: Instant, index: usize, request: Request) {
        self.ask_own(now, index, request, Purpose::Life);
    }

    // ---- Within ----

    /// What may have changed with anything that it was told.
    fn settle(&mut self, now: Instant) {
        self.reconsider(now);
        if self.current.and_then(|index| self.binding(index)).is_some_and(|b| !matches!(b, Binding::Resuming(_))) {
            for call in self.calls.ready() {
                self.answer(call.number, Ok(Response::Done));
            }
        }
        self.refuse_unknown(now);
        self.seek(now);
    }

    fn answer(&mut self, number: u64, result: Result<Response, Error>) {
        self.effects.push_back(Effect::Answer(number, result));
    }

    fn tell(&mut self, what: Tell) {
        self.effects.push_back(Effect::Tell(what));
    }

    /// Shows who is logged in, in its order among what waits for a save.
    fn show(&mut self, who: Option<LoggedIn>) {
        match self.saves.held.back() {
            Some((after, _)) => self.saves.held.push_back((*after, Effect::Show(who))),
            None => self.effects.push_back(Effect::Show(who)),
        }
    }

    /// Has the present login stored; `then` follows when it is.
    fn save(&mut self, then: impl IntoIterator<Item = Effect>) {
        self.saves.last += 1;
        let number = self.saves.last;
        self.effects.push_back(Effect::Save(number, self.session.clone()));
        self.saves.held.extend(then.into_iter().map(|effect| (number, effect)));
    }

    fn up(&self, index: usize) -> Option<&Up> {
        self.slots.get(index)?.up.as_ref()
    }

    fn up_mut(&mut self, index: usize) -> Option<&mut Up> {
        self.slots.get_mut(index)?.up.as_mut()
    }

    fn bind(&mut self, index: usize, binding: Binding) {
        if let Some(up) = self.up_mut(index) {
            up.binding = binding;
            if !matches!(binding, Binding::Resuming(_)) {
                up.lacking = None;
            }
        }
    }

    fn binding(&self, index: usize) -> Option<Binding> {
        self.up(index).map(|up| up.binding)
    }
}

#[cfg(test)]
mod tests;
