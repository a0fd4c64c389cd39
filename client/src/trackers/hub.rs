//! The task behind [`super::Trackers`]: owns the calls, the connections and the login.
//!
//! Invariants: calls go out only on the current connection, and only once that connection knows the
//! login (or has refused it); whoever is told of a login can rely on its being stored.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use common::id::UserName;
use common::task::TaskGroup;
use common::ticket::now as unix_now;
use common::tls::DeviceKey;
use common::wire::client::{Call, Push, Reply, Request, Response, ServerFrame, Welcome};
use common::wire::refusal::Refusal;
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

use super::calls::{Calls, Purpose};
use super::keeper::{Event, Keeper};
use super::link::DialError;
use super::session::{LoggedIn, Session};
use super::trust::Learnt;
use super::{Notice, Shared};
use crate::error::Error;

/// How often time-outs are looked at.
const TICK: Duration = Duration::from_millis(250);
/// Head start of each tracker over the next one of the list.
const HEAD_START: Duration = Duration::from_millis(200);
/// Events that may wait for the hub.
const EVENTS: usize = 256;
/// Calls that may wait for an answer.
const MAX_CALLS: usize = 1024;
/// How often a tracker hears from us.
const SIGN_OF_LIFE: Duration = Duration::from_secs(10);
/// Silence after which a tracker that owes an answer is asked whether it is there.
const DOUBT: Duration = Duration::from_millis(1500);
/// Silence after which it is given up.
const GIVEN_UP: Duration = Duration::from_millis(2500);
/// How long calls wait for a tracker to come back before they fail.
const GRACE: Duration = Duration::from_secs(3);
/// Delay before something is asked again of a tracker that was not ready for it.
const AGAIN: Duration = Duration::from_millis(200);
/// A difference between two clocks that people should know of.
const CLOCK_OFF: u64 = 30;
/// Pushes that are compared with those of the other trackers, and for how long.
const RECENT: (usize, Duration) = (64, Duration::from_secs(10));

/// What a handle wants.
#[derive(Debug)]
pub(super) enum Job {
    /// An answer.
    Call(Request, Purpose),
    /// A fresh look at trackers without a connection.
    Probe,
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
#[derive(Default)]
struct Slot {
    wake: Arc<Notify>,
    up: Option<Up>,
    /// When the last attempt failed, and how.
    failed: Option<(Instant, DialError)>,
}

/// One connection.
struct Up {
    outbox: mpsc::Sender<Call>,
    tasks: TaskGroup,
    binding: Binding,
    /// Since when it owes us a frame.
    silent_since: Option<Instant>,
    doubted: bool,
    last_life: Option<Instant>,
}

pub(super) struct Hub {
    shared: Arc<Shared>,
    notices: mpsc::Sender<Notice>,
    slots: Vec<Slot>,
    current: Option<usize>,
    calls: Calls,
    session: Option<Session>,
    recent: VecDeque<(usize, Instant, Push)>,
    /// Since when there is no connection; `None` while there is one, or was none yet.
    lost_since: Option<Instant>,
    met: bool,
}

impl Hub {
    pub(super) fn new(shared: Arc<Shared>, session: Option<Session>, notices: mpsc::Sender<Notice>) -> Self {
        let slots = shared.addresses.iter().map(|_| Slot::default()).collect();
        Self {
            shared,
            notices,
            slots,
            current: None,
            calls: Calls::default(),
            session,
            recent: VecDeque::new(),
            lost_since: None,
            met: false,
        }
    }

    /// Runs for ever.
    pub(super) async fn run(mut self, mut jobs: mpsc::Receiver<Job>, device: DeviceKey, tasks: TaskGroup) {
        let mut events = self.start_keepers(&device, &tasks);
        let mut listen = self.shared.listen.subscribe();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let open = self.calls.len() < MAX_CALLS;
            tokio::select! {
                Some(event) = events.recv() => self.on_event(event).await,
                Some(job) = jobs.recv(), if open => self.on_job(job),
                Ok(()) = listen.changed() => self.announce_now(),
                _ = tick.tick() => self.on_tick(Instant::now()),
            }
        }
    }

    fn start_keepers(&self, device: &DeviceKey, tasks: &TaskGroup) -> mpsc::Receiver<Event> {
        let (events, events_out) = mpsc::channel(EVENTS);
        for (index, (slot, &address)) in self.slots.iter().zip(&self.shared.addresses).enumerate() {
            let keeper = Keeper {
                index,
                address,
                device: device.clone(),
                trust: Arc::clone(&self.shared.trust),
                events: events.clone(),
                wake: Arc::clone(&slot.wake),
                tasks: tasks.clone(),
            };
            let head_start = HEAD_START.saturating_mul(u32::try_from(index).unwrap_or(u32::MAX));
            tasks.spawn("tracker", keeper.run(head_start));
        }
        events_out
    }

    fn on_job(&mut self, job: Job) {
        let now = Instant::now();
        match job {
            Job::Call(request, purpose) => {
                self.calls.add(now, request, purpose);
                self.flush(now);
                self.seek();
            }
            Job::Probe => {
                self.shared.view.send_modify(|v| v.up.iter_mut().for_each(|up| *up = up.filter(|up| *up)));
                self.slots.iter().filter(|s| s.up.is_none()).for_each(|s| s.wake.notify_one());
            }
        }
    }

    async fn on_event(&mut self, event: Event) {
        let now = Instant::now();
        match event {
            Event::Up { index, outbox, tasks, welcome, learnt } => {
                self.on_up(now, index, outbox, tasks, &welcome, learnt)
            }
            Event::Frame(index, frame) => self.on_frame(now, index, frame).await,
            Event::Down(index, reason) => self.on_down(now, index, &reason),
            Event::Failed(index, error) => self.on_failed(now, index, error),
        }
    }

    // --- connections ---

    fn on_up(
        &mut self,
        now: Instant,
        index: usize,
        outbox: mpsc::Sender<Call>,
        tasks: TaskGroup,
        welcome: &Welcome,
        learnt: Learnt,
    ) {
        if let Learnt::FirstContact(pin) = learnt {
            self.notify(Notice::FirstContact(pin));
        }
        let off = welcome.now.abs_diff(unix_now());
        if off > CLOCK_OFF && !self.met {
            self.notify(Notice::ClockOff(off));
        }
        let Some(slot) = self.slots.get_mut(index) else { return };
        let binding = Binding::Unbound;
        slot.up = Some(Up { outbox, tasks, binding, silent_since: None, doubted: false, last_life: Some(now) });
        slot.failed = None;
        self.resume(now, index);
        self.choose(now, None);
        self.show_up(index, true);
        self.flush(now);
    }

    fn on_down(&mut self, now: Instant, index: usize, reason: &str) {
        let Some(up) = self.slots.get_mut(index).and_then(|slot| slot.up.take()) else { return };
        up.tasks.cancel();
        self.calls.release(index);
        self.show_up(index, false);
        if self.current == Some(index) {
            self.current = None;
            self.choose(now, Some((index, reason)));
        }
        self.flush(now);
    }

    fn on_failed(&mut self, now: Instant, index: usize, error: DialError) {
        let Some(slot) = self.slots.get_mut(index) else { return };
        tracing::debug!(tracker = index + 1, ?error, "not reached");
        let before = slot.failed.replace((now, error.clone()));
        if let DialError::Unusable(error) = error
            && !matches!(before, Some((_, DialError::Unusable(_))))
        {
            self.notify(Notice::Unusable(error));
        }
        self.show_up(index, false);
        if let Some(next) = self.slots.get(index + 1).filter(|s| s.up.is_none() && s.failed.is_none()) {
            next.wake.notify_one(); // Its head start is over.
        }
        self.fail_stranded(now);
    }

    /// Makes the first connection of the list the current one, if there is none. `lost` is the one
    /// that was current before, with the reason why it no longer is.
    fn choose(&mut self, now: Instant, lost: Option<(usize, &str)>) {
        if self.current.is_some() {
            return;
        }
        let address = |index: usize| self.shared.addresses.get(index).copied();
        let lost = lost.and_then(|(index, reason)| Some((address(index)?, reason)));
        self.current = self.slots.iter().position(|s| s.up.is_some());
        let chosen = self.current.and_then(address);
        let notice = match (chosen, lost) {
            (Some(to), Some((from, _))) => Some(Notice::Switched { from, to }),
            (Some(to), None) => Some(Notice::Connected(to)),
            (None, Some((address, reason))) => Some(Notice::Lost { address, reason: reason.to_owned() }),
            (None, None) => None,
        };
        self.lost_since = if chosen.is_some() { None } else { self.lost_since.or(Some(now)) };
        self.met |= chosen.is_some();
        let current = self.current;
        self.shared.view.send_modify(|v| {
            v.connection += u64::from(current.is_some());
            v.current = current;
        });
        notice.into_iter().for_each(|n| self.notify(n));
        if let Some(index) = self.current {
            match self.binding(index) {
                Some(Binding::Refused) => self.resume(now, index), // It may have caught up since.
                Some(Binding::Bound) => self.show_session(self.session.as_ref().map(|s| s.who.clone())),
                _ => {}
            }
        }
    }

    /// Somebody waits and there is no connection: the keepers are not to wait any longer.
    fn seek(&self) {
        if self.current.is_none() && self.calls.any_waiting() {
            self.slots.iter().filter(|s| s.failed.is_some()).for_each(|s| s.wake.notify_one());
        }
    }

    /// Gives up calls that every tracker has failed since they were made.
    fn fail_stranded(&mut self, now: Instant) {
        let grace_over = self.lost_since.is_some_and(|since| now >= since + GRACE);
        let failures = self.slots.iter().map(|s| s.failed.as_ref().filter(|_| s.up.is_none()));
        let Some(failures) = failures.collect::<Option<Vec<_>>>() else { return };
        let Some(since) = failures.iter().map(|(at, _)| *at).min() else { return };
        let error = why_none(failures.iter().map(|(_, e)| e), &self.shared.addresses);
        if self.met && !grace_over && matches!(error, Error::TrackersUnreachable(_)) {
            return;
        }
        for call in self.calls.stranded(since) {
            answer(call.purpose, Err(error.clone()));
        }
    }

    // --- time ---

    fn on_tick(&mut self, now: Instant) {
        for index in 0..self.slots.len() {
            self.watch_over(now, index);
        }
        for call in self.calls.expired(now) {
            let text = "the tracker did not answer in time; the command may have been carried out all the same";
            answer(call.purpose, Err(Error::Timeout(text.to_owned())));
        }
        self.fail_stranded(now);
        self.seek();
        self.flush(now);
    }

    fn watch_over(&mut self, now: Instant, index: usize) {
        let owes = self.calls.any_on(index);
        let Some(up) = self.slots.get_mut(index).and_then(|slot| slot.up.as_mut()) else { return };
        if !owes {
            up.silent_since = None;
        }
        let silence = up.silent_since.map_or(Duration::ZERO, |since| now.duration_since(since));
        let life_due = up.last_life.is_none_or(|at| now >= at + SIGN_OF_LIFE);
        if silence >= GIVEN_UP {
            self.on_down(now, index, "it does not answer");
        } else if silence >= DOUBT && !up.doubted {
            up.doubted = true;
            self.send_own(now, index, Request::Status, Purpose::Life);
        } else if let Binding::Resuming(Some(at)) = up.binding
            && now >= at
        {
            self.resume(now, index);
        } else if life_due {
            self.give_life(now, index);
        }
    }

    fn announce_now(&mut self) {
        let now = Instant::now();
        (0..self.slots.len()).for_each(|index| self.give_life(now, index));
    }

    /// Announces this device, or at least keeps the connection from looking idle.
    fn give_life(&mut self, now: Instant, index: usize) {
        let listen = *self.shared.listen.borrow();
        let Some(up) = self.slots.get_mut(index).and_then(|slot| slot.up.as_mut()) else { return };
        up.last_life = Some(now);
        let request = match listen.filter(|_| up.binding == Binding::Bound) {
            Some(listen) => Request::Announce { listen, serial: self.shared.serial.next() },
            None => Request::Status,
        };
        self.send_own(now, index, request, Purpose::Life);
    }

    // --- calls ---

    /// Sends what may go out.
    fn flush(&mut self, now: Instant) {
        let Some(index) = self.current else { return };
        if matches!(self.binding(index), None | Some(Binding::Resuming(_))) {
            return;
        }
        for call in self.calls.ready() {
            answer(call.purpose, Ok(Response::Done));
        }
        for number in self.calls.due(now) {
            // A full outbox is tried again at the next tick; a closed one is about to be reported.
            let _ = self.send(now, index, number);
        }
    }

    /// Hands a call to the connection's writer: whether there was room for it.
    fn send(&mut self, now: Instant, index: usize, number: u64) -> bool {
        let Some(up) = self.slots.get_mut(index).and_then(|slot| slot.up.as_mut()) else { return false };
        let Some(frame) = self.calls.frame(number) else { return false };
        let taken = up.outbox.try_send(frame).is_ok();
        if taken {
            self.calls.sent(number, index);
            up.silent_since.get_or_insert(now);
        }
        taken
    }

    /// Sends a call of the hub's own on one connection, if there is room for it.
    fn send_own(&mut self, now: Instant, index: usize, request: Request, purpose: Purpose) -> bool {
        let number = self.calls.add(now, request, purpose);
        let sent = self.send(now, index, number);
        if !sent {
            self.calls.cancel(number);
        }
        sent
    }

    async fn on_frame(&mut self, now: Instant, index: usize, frame: ServerFrame) {
        let Some(up) = self.slots.get_mut(index).and_then(|slot| slot.up.as_mut()) else { return };
        up.silent_since = Some(now);
        up.doubted = false;
        match frame {
            ServerFrame::Reply(reply) => self.on_reply(now, index, reply).await,
            ServerFrame::Push(push) => self.on_push(now, index, push).await,
            ServerFrame::Welcome(_) => {}
        }
    }

    async fn on_reply(&mut self, now: Instant, index: usize, reply: Reply) {
        self.calls.merge(&reply.seen);
        if self.current == Some(index) {
            self.shared.view.send_modify(|v| v.mode = Some(reply.mode));
        }
        let Some(call) = self.calls.take(reply.number, index) else {
            return tracing::debug!(tracker = index + 1, number = reply.number, "a reply to no call");
        };
        match call.purpose {
            Purpose::Resume => self.on_resumed(now, index, reply.result).await,
            Purpose::Life | Purpose::Ready(_) => self.heed(now, index, reply.result.as_ref().err()),
            Purpose::Caller(_) if reply.result == Err(Refusal::Stale) && Calls::in_time(&call, now) => {
                self.calls.retry(reply.number, call, now, AGAIN);
            }
            Purpose::Caller(waits) => {
                let result = self.take_note(now, index, &call.request, reply.result).await;
                // Whoever asked may have gone away; what was done is done.
                let _ = waits.send(result.map_err(Error::from));
            }
        }
    }

    /// What an answer means for the login, before its caller sees it.
    async fn take_note(
        &mut self,
        now: Instant,
        index: usize,
        request: &Request,
        result: Result<Response, Refusal>,
    ) -> Result<Response, Refusal> {
        match (request, &result) {
            (_, Ok(Response::LoggedIn { user, user_id, token })) => {
                let who = LoggedIn { user: user.clone(), user_id: *user_id };
                self.adopt(now, index, Session { who, token: token.clone() }).await;
            }
            (Request::Logout, Ok(_)) => self.forget(now, index).await,
            (Request::Logout, Err(Refusal::NotLoggedIn | Refusal::SessionEnded)) if self.session.is_some() => {
                self.forget(now, index).await; // It had ended already, by this very command or otherwise.
                return Ok(Response::Done);
            }
            (_, Ok(Response::Left { .. })) => self.shared.tickets.clear(),
            (_, Err(refusal)) => self.heed(now, index, Some(refusal)),
            _ => {}
        }
        result
    }

    // --- the login ---

    /// Shows the token to a tracker, so that the connection is the user's.
    fn resume(&mut self, now: Instant, index: usize) {
        let Some(token) = self.session.as_ref().map(|s| s.token.clone()) else { return };
        let sent = self.send_own(now, index, Request::Resume { token }, Purpose::Resume);
        self.bind(index, Binding::Resuming(if sent { None } else { Some(now + AGAIN) }));
    }

    async fn on_resumed(&mut self, now: Instant, index: usize, result: Result<Response, Refusal>) {
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
    async fn adopt(&mut self, now: Instant, index: usize, session: Session) {
        let who = session.who.clone();
        self.store(session).await;
        self.shared.tickets.clear();
        self.bind(index, Binding::Bound);
        self.show_session(Some(who));
        self.give_life(now, index);
        let others = (0..self.slots.len()).filter(|i| *i != index).collect::<Vec<_>>();
        others.into_iter().for_each(|i| self.resume(now, i));
    }

    /// The login has been ended on connection `index`.
    async fn forget(&mut self, now: Instant, index: usize) {
        self.session = None;
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

    async fn store(&mut self, session: Session) {
        self.session = Some(session.clone());
        let file = self.shared.session_file.clone();
        let saved = tokio::task::spawn_blocking(move || file.save(&session)).await;
        if let Ok(Err(e)) = saved {
            self.notify(Notice::SessionFile(e));
        }
    }

    /// A refusal that speaks of the login is checked with the token before it is believed.
    fn heed(&mut self, now: Instant, index: usize, refusal: Option<&Refusal>) {
        let ended = matches!(refusal, Some(Refusal::NotLoggedIn | Refusal::SessionEnded));
        if ended && self.binding(index) == Some(Binding::Bound) {
            self.resume(now, index);
        }
    }

    /// The name that was claimed went to somebody else.
    async fn rename(&mut self, claimed: &UserName, now: &UserName) {
        if let Some(mut session) = self.session.clone().filter(|s| s.who.user == *claimed) {
            session.who.user = now.clone();
            self.show_session(Some(session.who.clone()));
            self.store(session).await;
        }
    }

    async fn on_push(&mut self, now: Instant, index: usize, push: Push) {
        match &push {
            Push::SessionEnded => return self.resume(now, index),
            Push::Accepted { .. } | Push::Removed { .. } => self.shared.tickets.clear(),
            Push::UserRenamed { claimed, now } => self.rename(claimed, now).await,
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

    // --- what others see ---

    fn show_session(&self, who: Option<LoggedIn>) {
        self.shared.session.send_if_modified(|seen| {
            let changed = *seen != who;
            *seen = who;
            changed
        });
    }

    fn show_up(&self, index: usize, up: bool) {
        let current = self.current;
        self.shared.view.send_modify(|v| {
            v.current = current;
            v.up.get_mut(index).into_iter().for_each(|seen| *seen = Some(up));
        });
    }

    fn notify(&self, notice: Notice) {
        // A reader that is behind loses the newest notices; they are for people.
        let _ = self.notices.try_send(notice);
    }

    fn bind(&mut self, index: usize, binding: Binding) {
        if let Some(up) = self.slots.get_mut(index).and_then(|slot| slot.up.as_mut()) {
            up.binding = binding;
        }
    }

    fn binding(&self, index: usize) -> Option<Binding> {
        self.slots.get(index)?.up.as_ref().map(|up| up.binding)
    }
}

/// Why there is no tracker to ask: one that answers and may not be used is worth more words than
/// those that do not answer.
fn why_none<'a>(failures: impl Iterator<Item = &'a DialError>, addresses: &[SocketAddr]) -> Error {
    let mut reasons = Vec::new();
    for (failure, address) in failures.zip(addresses) {
        match failure {
            DialError::Unusable(error) => return error.clone(),
            DialError::Unreachable(reason) => reasons.push(format!("{address}: {reason}")),
        }
    }
    Error::TrackersUnreachable(reasons.join("; "))
}

fn answer(purpose: Purpose, result: Result<Response, Error>) {
    if let Purpose::Caller(waits) | Purpose::Ready(waits) = purpose {
        let _ = waits.send(result); // Whoever asked may have gone away.
    }
}
