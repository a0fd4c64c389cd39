//! The task behind [`Trackers`](crate::trackers::Trackers): gives the [`Machine`] its connections, its disk and the time.
//!
//! Decides nothing. One keeper per tracker of the list carries frames; files are saved beside it, one at a time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::id::RequestId;
use common::task::TaskGroup;
use common::ticket::now as unix_now;
use common::tls::DeviceKey;
use common::wire::client::{Call, Push, Request, Response};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinHandle;

use super::keeper::{Event, Keeper};
use super::machine::{Effect, Machine, Session, Tell};
use super::trust::Learnt;
use super::{Notice, Probe, Shared};
use crate::error::Error;

/// Head start of each tracker over the next one of the list.
const HEAD_START: Duration = Duration::from_millis(200);
/// Events that may wait for the hub.
const EVENTS: usize = 256;
/// A difference between two clocks that people should know of, in seconds.
const CLOCK_OFF: u64 = 30;

/// Where an answer is awaited.
pub(super) type Answer = oneshot::Sender<Answered>;

/// What a call came to.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) result: Result<Response, Error>,
    /// Whether it has changed something that one of two trackers has not heard of.
    pub(super) is_solo: bool,
}

/// Whoever waits for an answer, and what is known of it.
struct Waiting {
    answer: Answer,
    /// As in [`Answered`].
    is_solo: bool,
}

/// What a handle wants.
#[derive(Debug)]
pub(super) enum Job {
    /// An answer.
    Call(Request, Answer),
    /// What one tracker says, by its place in the list.
    CallThere(usize, Request, Answer),
    /// To know when there is a tracker that has judged the login.
    Ready(Answer),
    /// A fresh look at trackers without a connection.
    Probe,
    /// To tell one tracker something.
    Say(usize, Request),
}

/// One connection.
struct Connection {
    outbox: mpsc::Sender<Call>,
    tasks: TaskGroup,
}

/// One tracker of the list.
#[derive(Default)]
struct Place {
    wake: Arc<Notify>,
    connection: Option<Connection>,
}

pub(super) struct Hub {
    shared: Arc<Shared>,
    machine: Machine,
    notices: mpsc::Sender<Notice>,
    places: Vec<Place>,
    waiting: BTreeMap<u64, Waiting>,
    to_save: Option<(u64, Option<Session>)>,
    saving: Option<JoinHandle<(u64, Result<(), Error>)>>,
    /// Whether a person has been told that the clocks differ.
    told_of_clock: bool,
}

impl Hub {
    pub(super) fn new(shared: Arc<Shared>, session: Option<Session>, notices: mpsc::Sender<Notice>) -> Self {
        let names = shared.addresses.iter().map(ToString::to_string).collect();
        Self {
            machine: Machine::new(names, session, shared.first_serial, RequestId::random),
            notices,
            places: shared.addresses.iter().map(|_| Place::default()).collect(),
            waiting: BTreeMap::new(),
            to_save: None,
            saving: None,
            told_of_clock: false,
            shared,
        }
    }

    /// Runs for ever.
    pub(super) async fn run(mut self, mut jobs: mpsc::Receiver<Job>, device: DeviceKey, tasks: TaskGroup) {
        let mut events = self.start_keepers(&device, &tasks);
        let mut listen = self.shared.listen.subscribe();
        listen.mark_changed(); // It may have been told before this task began.
        loop {
            self.pump();
            let (open, wake, full) = (self.machine.has_room(), self.machine.poll_timeout(), self.full_outbox());
            tokio::select! {
                biased;
                // What has come is looked at before anybody is found to be late.
                Some(event) = events.recv() => self.on_event(event),
                Ok(()) = listen.changed() => {
                    let listen = *listen.borrow_and_update();
                    listen.into_iter().for_each(|at| self.machine.serve_at(Instant::now(), at));
                }
                Some(job) = jobs.recv(), if open => self.on_job(job),
                (number, result) = saved(&mut self.saving) => {
                    self.saving = None;
                    self.machine.saved(number, result);
                    self.save_next();
                }
                () = has_room(full) => {}
                () = sleep_until(wake) => self.machine.handle_timeout(Instant::now()),
            }
        }
    }

    fn start_keepers(&self, device: &DeviceKey, tasks: &TaskGroup) -> mpsc::Receiver<Event> {
        let (events, events_out) = mpsc::channel(EVENTS);
        for (index, (place, address)) in self.places.iter().zip(&self.shared.addresses).enumerate() {
            let keeper = Keeper {
                index,
                address: address.clone(),
                device: device.clone(),
                trust: Arc::clone(&self.shared.trust),
                events: events.clone(),
                wake: Arc::clone(&place.wake),
                tasks: tasks.clone(),
            };
            let head_start = HEAD_START.saturating_mul(u32::try_from(index).unwrap_or(u32::MAX));
            tasks.spawn("tracker", keeper.run(head_start));
        }
        events_out
    }

    fn on_job(&mut self, job: Job) {
        let now = Instant::now();
        let (number, answer) = match job {
            Job::Call(request, answer) => (self.machine.call(now, request), answer),
            Job::CallThere(index, request, answer) => (self.machine.ask_there(now, index, request), answer),
            Job::Ready(answer) => (self.machine.ready(now), answer),
            Job::Probe => return self.machine.probe(),
            Job::Say(index, request) => return self.machine.say(now, index, request),
        };
        self.waiting.insert(number, Waiting { answer, is_solo: false });
    }

    fn on_event(&mut self, event: Event) {
        let now = Instant::now();
        match event {
            Event::Up { index, outbox, tasks, welcome, learnt } => {
                self.note_clock(index, welcome.now);
                if let Learnt::FirstContact(pin) = learnt {
                    self.notify(Notice::FirstContact(pin));
                }
                if let Some(place) = self.places.get_mut(index) {
                    place.connection = Some(Connection { outbox, tasks });
                    self.machine.connected(now, index, welcome.revision());
                }
            }
            Event::Frame(index, frame) => self.machine.handle_frame(now, index, frame),
            Event::Part(index) => self.machine.heard(now, index),
            Event::Down(index, reason) => {
                self.close(index);
                self.machine.disconnected(now, index, &reason);
            }
            Event::Failed(index, error) => self.machine.failed(now, index, error),
        }
    }

    /// What the tracker's clock says.
    fn note_clock(&mut self, index: usize, told: u64) {
        self.shared.clock.measured(index, told);
        let off = told.abs_diff(unix_now());
        if off > CLOCK_OFF && !self.told_of_clock {
            self.told_of_clock = true;
            self.notify(Notice::ClockOff(off));
        }
    }

    /// Lets the machine have what it wants.
    fn pump(&mut self) {
        for (number, _) in self.waiting.extract_if(.., |_, waits| waits.answer.is_closed()) {
            self.machine.abandon(number);
        }
        let now = Instant::now();
        for (index, place) in self.places.iter().enumerate() {
            let Some(connection) = &place.connection else { continue };
            while connection.outbox.capacity() > 0
                && let Some(call) = self.machine.poll_transmit(now, index)
            {
                // There is room, or the connection is about to be reported as lost.
                let _ = connection.outbox.try_send(call);
            }
        }
        while let Some(effect) = self.machine.poll_effect() {
            self.carry_out(effect);
        }
        let view = self.machine.view();
        self.shared.view.send_if_modified(|seen| {
            let changed = *seen != view;
            *seen = view;
            changed
        });
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Answer(number, result) => {
                if let Some(Waiting { answer, is_solo }) = self.waiting.remove(&number) {
                    let _ = answer.send(Answered { result, is_solo }); // Whoever asked may have gone away; what was done is done.
                }
            }
            Effect::Solo(number) => self.waiting.get_mut(&number).into_iter().for_each(|waits| waits.is_solo = true),
            Effect::Close(index) => self.close(index),
            Effect::Redial(index) => self.places.get(index).into_iter().for_each(|place| place.wake.notify_one()),
            Effect::Save(number, session) => {
                self.to_save = Some((number, session));
                self.save_next();
            }
            Effect::Show(who) => {
                self.shared.session.send_if_modified(|seen| {
                    let changed = *seen != who;
                    *seen = who;
                    changed
                });
            }
            Effect::ForgetTickets => self.shared.tickets.clear(),
            Effect::News(push) => self.pass_on(push),
            Effect::Probe(tracker, id, device, address) => {
                let _ = self.shared.probes.send(Probe { tracker, id, device, address }); // Nobody may be listening.
            }
            Effect::Dated(index, ticket) => {
                let issued = self.shared.trust.public().and_then(|cluster| ticket.verify(&cluster).ok());
                issued.into_iter().for_each(|ticket| self.shared.clock.dated(index, ticket.issued));
            }
            Effect::Tell(what) => self.tell(what),
        }
    }

    fn close(&mut self, index: usize) {
        if let Some(connection) = self.places.get_mut(index).and_then(|place| place.connection.take()) {
            connection.tasks.cancel();
        }
    }

    /// Stores the latest login, unless another one is just being stored.
    fn save_next(&mut self) {
        if self.saving.is_none()
            && let Some((number, session)) = self.to_save.take()
        {
            let file = self.shared.session_file.clone();
            let save = move || (number, session.map_or_else(|| file.remove(), |session| file.save(&session)));
            self.saving = Some(tokio::task::spawn_blocking(save));
        }
    }

    fn pass_on(&self, push: Push) {
        // Not left to those who listen: one of them may be behind, and a cut-off must never be lost.
        if let Push::Revoked(signed) = &push
            && let Some(cluster) = self.shared.trust.public()
        {
            self.shared.revocations.add(signed.clone(), &cluster);
        }
        let _ = self.shared.pushes.send(push); // Nobody may be listening.
    }

    fn tell(&self, what: Tell) {
        let address = |index: usize| self.shared.addresses.get(index).cloned();
        let notice = match what {
            Tell::Connected(index) => address(index).map(Notice::Connected),
            Tell::Switched { from, to, reason } => {
                address(from).zip(address(to)).map(|(from, to)| Notice::Switched { from, to, reason })
            }
            Tell::Behind(index) => address(index).map(Notice::Behind),
            Tell::Lost { tracker, reason } => address(tracker).map(|address| Notice::Lost { address, reason }),
            Tell::Unusable(error) => Some(Notice::Unusable(error)),
            Tell::SessionEnded => Some(Notice::SessionEnded),
            Tell::NotSaved(error) => Some(Notice::SessionFile(error)),
        };
        notice.into_iter().for_each(|notice| self.notify(notice));
    }

    fn notify(&self, notice: Notice) {
        // A reader that is behind loses the newest notices; they are for people.
        let _ = self.notices.try_send(notice);
    }

    /// A connection that takes no more at the moment.
    fn full_outbox(&self) -> Option<mpsc::Sender<Call>> {
        let mut outboxes = self.places.iter().filter_map(|place| place.connection.as_ref()).map(|c| &c.outbox);
        outboxes.find(|outbox| outbox.capacity() == 0 && !outbox.is_closed()).cloned()
    }
}

/// When what is being saved is saved; never, if nothing is.
async fn saved(saving: &mut Option<JoinHandle<(u64, Result<(), Error>)>>) -> (u64, Result<(), Error>) {
    match saving {
        Some(saving) => match saving.await {
            Ok(saved) => saved,
            // It panicked: whoever waits for it is not to wait for ever.
            Err(e) => (u64::MAX, Err(Error::Internal(format!("cannot store the session: {e}")))),
        },
        None => std::future::pending().await,
    }
}

async fn has_room(outbox: Option<mpsc::Sender<Call>>) {
    match outbox {
        Some(outbox) => drop(outbox.reserve().await),
        None => std::future::pending().await,
    }
}

async fn sleep_until(wake: Option<Instant>) {
    match wake {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
