//! The task behind [`Trackers`](crate::trackers::Trackers): owns the calls, the connections and the login.
//!
//! Invariants: calls go out only on the current connection, and only once that connection knows the
//! login (or has refused it); whoever is told of a login can rely on its being stored.

mod connections;
mod login;
mod recover;
mod traffic;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use common::task::TaskGroup;
use common::tls::DeviceKey;
use common::wire::client::{Call, Push, Request, Response};
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

use crate::error::Error;
use crate::trackers::calls::{Calls, Purpose};
use crate::trackers::journal::Journal;
use crate::trackers::keeper::{Event, Keeper};
use crate::trackers::link::DialError;
use crate::trackers::session::{LoggedIn, Session};
use crate::trackers::{Notice, Shared};

/// How often time-outs are looked at.
const TICK: Duration = Duration::from_millis(250);
/// Head start of each tracker over the next one of the list.
const HEAD_START: Duration = Duration::from_millis(200);
/// Events that may wait for the hub.
const EVENTS: usize = 256;
/// Calls that may wait for an answer.
const MAX_CALLS: usize = 1024;
/// Delay before something is asked again of a tracker that was not ready for it.
const AGAIN: Duration = Duration::from_millis(200);

/// What a handle wants.
#[derive(Debug)]
pub(in crate::trackers) enum Job {
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

pub(in crate::trackers) struct Hub {
    shared: Arc<Shared>,
    notices: mpsc::Sender<Notice>,
    slots: Vec<Slot>,
    current: Option<usize>,
    calls: Calls,
    journal: Journal,
    /// Trackers that lack what we have seen, and have not answered anything since they said so.
    behind: BTreeSet<usize>,
    /// The connection on which what the journal has is asked for again; other calls wait until it is done.
    again: Option<usize>,
    session: Option<Session>,
    recent: VecDeque<(usize, Instant, Push)>,
    /// Since when there is no connection; `None` while there is one, or was none yet.
    lost_since: Option<Instant>,
    met: bool,
}

impl Hub {
    pub(in crate::trackers) fn new(
        shared: Arc<Shared>,
        session: Option<Session>,
        notices: mpsc::Sender<Notice>,
    ) -> Self {
        let slots = shared.addresses.iter().map(|_| Slot::default()).collect();
        Self {
            shared,
            notices,
            slots,
            current: None,
            calls: Calls::default(),
            journal: Journal::default(),
            behind: BTreeSet::new(),
            again: None,
            session,
            recent: VecDeque::new(),
            lost_since: None,
            met: false,
        }
    }

    /// Runs for ever.
    pub(in crate::trackers) async fn run(mut self, mut jobs: mpsc::Receiver<Job>, device: DeviceKey, tasks: TaskGroup) {
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
        for (index, (slot, address)) in self.slots.iter().zip(&self.shared.addresses).enumerate() {
            let keeper = Keeper {
                index,
                address: address.clone(),
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

fn answer(purpose: Purpose, result: Result<Response, Error>) {
    if let Purpose::Caller(waits) | Purpose::Ready(waits) = purpose {
        let _ = waits.send(result); // Whoever asked may have gone away.
    }
}
