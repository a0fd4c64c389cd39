//! Drives the [`Machine`]: a socket, the database, the time.
//!
//! One task per tracker. The tracker with the lower number dials; the other takes what its server
//! accepted. A connection is served until it breaks or the machine has enough of it; jobs that it began are
//! finished before the next one begins, so that nothing of an older connection is ever handled late.

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::address::HostPort;
use common::backoff::Backoff;
use common::connection::{self, FrameReader, FrameWriter, Step};
use common::task::TaskGroup;
use common::tls::{SOCKET_BUFFER_BYTES, SiblingConnector, Stream};
use common::wire::limits::MAX_FRAME;
use common::wire::sync::SyncFrame;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite, BufReader, ReadHalf, WriteHalf};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use super::Replica;
use super::machine::{Done, Job, Machine, View};
use super::notification_queue::NotificationQueue;
use super::operator_log::OperatorLog;
use crate::failpoint::{self, Point};
use crate::presence::Presence;
use crate::store::{PresenceRow, StampedFact, Store, StoreError};

/// Delays between attempts to reach the sibling.
const FIRST_DELAY: Duration = Duration::from_millis(50);
const MOST_DELAY: Duration = Duration::from_secs(1);
/// How long it may take to reach its machine. A slow line needs longer for the handshake, which has its own limit.
const DIAL: Duration = Duration::from_secs(3);
/// Frames that wait for the socket.
const OUT: usize = 16;
/// Connections of the sibling that wait to be taken.
const ACCEPTED: usize = 2;
/// News that wait to be told.
const NEWS: usize = 1024;
/// Messages on devices that have come that wait to be told; whoever misses one learns of it by asking.
const ARRIVALS: usize = 64;

/// Any encrypted stream.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A connection that the sibling dialled.
pub type Accepted = Box<dyn Io>;

/// Who we are and where the sibling is.
#[derive(Debug, Clone)]
pub struct Place {
    /// Our line in tracker_info.txt, from 1.
    pub number: u16,
    /// The sibling's.
    pub sibling_number: u16,
    /// Where it listens.
    pub sibling: HostPort,
}

/// What the rest of the tracker holds of a running link.
#[derive(Debug)]
pub struct Handles {
    /// To ask.
    pub replica: Replica,
    /// To hand over what the server accepted.
    pub accepted: mpsc::Sender<Accepted>,
    /// What comes from the sibling, to be told to whom it concerns.
    pub news: mpsc::Receiver<Vec<StampedFact>>,
    /// Devices that have come there.
    pub arrivals: mpsc::Receiver<Vec<PresenceRow>>,
}

/// Starts the link's task in `tasks`.
pub fn start(
    place: Place,
    store: Store,
    connector: SiblingConnector,
    presence: Arc<Presence>,
    tasks: &TaskGroup,
) -> Handles {
    let machine = Machine::new(place.number, store.origin(), (*store.versions()).clone(), Instant::now());
    let (say, view) = watch::channel(machine.view());
    let (accepted, incoming) = mpsc::channel(ACCEPTED);
    let (tell, news) = mpsc::channel(NEWS);
    let (arrived, arrivals) = mpsc::channel(ARRIVALS);
    let replica = Replica::linked(view, store.clone());
    let link = Link {
        place,
        store,
        connector,
        machine,
        view: say,
        incoming,
        notifications: NotificationQueue::new(tell),
        presence,
        arrived,
        operator_log: OperatorLog::default(),
    };
    tasks.spawn("replica", link.run());
    Handles { replica, accepted, news, arrivals }
}

struct Link {
    place: Place,
    store: Store,
    connector: SiblingConnector,
    machine: Machine,
    view: watch::Sender<View>,
    incoming: mpsc::Receiver<Accepted>,
    notifications: NotificationQueue,
    presence: Arc<Presence>,
    arrived: mpsc::Sender<Vec<PresenceRow>>,
    operator_log: OperatorLog,
}

impl Link {
    async fn run(mut self) {
        let mut backoff = Backoff::new(FIRST_DELAY, MOST_DELAY);
        let mut said = String::new();
        loop {
            let stream = if self.place.number < self.place.sibling_number {
                match self.dial().await {
                    Ok(stream) => stream,
                    Err(e) => {
                        if said != e {
                            tracing::info!(sibling = %self.place.sibling, "the other tracker cannot be reached: {e}");
                            said = e;
                        }
                        self.wait(backoff.next_delay()).await;
                        continue;
                    }
                }
            } else {
                match self.accept().await {
                    Some(stream) => stream,
                    None => return,
                }
            };
            let began = Instant::now();
            let reason = self.serve(stream).await;
            tracing::info!(sibling = %self.place.sibling, "the connection to the other tracker is over: {reason}");
            said.clear();
            if began.elapsed() > MOST_DELAY {
                backoff.reset();
            }
            if self.place.number < self.place.sibling_number {
                self.wait(backoff.next_delay()).await;
            }
        }
    }

    /// Dials, and keeps the machine's time meanwhile.
    async fn dial(&mut self) -> Result<Accepted, String> {
        let mut reached = Box::pin(reach(self.place.sibling.clone(), self.connector.clone()));
        let reached = loop {
            let wake = self.wake();
            tokio::select! {
                reached = reached.as_mut() => break reached,
                () = sleep_until(wake) => self.tick(),
            }
        };
        reached.map_err(|(absent, e)| {
            if absent {
                self.machine.unreachable();
                self.publish();
            }
            e
        })
    }

    /// Waits for the sibling to dial; `None` when the server is gone. A tracker that is empty looks whether there
    /// is anybody to wait for.
    async fn accept(&mut self) -> Option<Accepted> {
        let mut versions = self.store.watch();
        loop {
            if !self.machine.view().open
                && let Ok(Err(_)) = timeout(DIAL, self.place.sibling.connect()).await
            {
                self.machine.unreachable();
                self.publish();
            }
            let wake = self.wake();
            tokio::select! {
                accepted = self.incoming.recv() => return accepted,
                () = sleep_until(wake) => self.tick(),
                // The sibling lacks more.
                Ok(()) = versions.changed() => self.tick(),
            }
        }
    }

    /// Waits before the next attempt, and keeps the machine's time meanwhile.
    async fn wait(&mut self, delay: Duration) {
        let until = Instant::now() + delay;
        loop {
            let wake = self.wake().map_or(until, |w| w.min(until));
            sleep_until(Some(wake)).await;
            self.tick();
            if Instant::now() >= until {
                return;
            }
        }
    }

    /// When something is to be done though nothing happens.
    fn wake(&self) -> Option<Instant> {
        let log = self.operator_log.wake(&self.view.borrow());
        self.machine.poll_timeout().into_iter().chain(log).min()
    }

    fn tick(&mut self) {
        self.machine.committed(Instant::now(), &self.store.versions());
        self.machine.handle_timeout(Instant::now());
        self.publish();
    }

    /// Serves one connection until it is over; says why it is.
    async fn serve(&mut self, stream: Accepted) -> String {
        let (mut reader, writer): (FrameReader<ReadHalf<_>, SyncFrame>, FrameWriter<WriteHalf<_>, SyncFrame>) =
            connection::split(stream, MAX_FRAME);
        let (out, queued) = mpsc::channel(OUT);
        let tasks = TaskGroup::new();
        let guard = tasks.guard();
        let mut writing = tasks.spawn("replica writer", write(writer, queued));
        let mut jobs: FuturesUnordered<BoxFuture<'static, Done>> = FuturesUnordered::new();
        let mut versions = self.store.watch();
        self.machine.connected(Instant::now());
        self.presence.sibling_came(Instant::now());
        let mut told_everyone = false;
        self.machine.committed(Instant::now(), &versions.borrow_and_update().clone());
        let reason = loop {
            if let Some(trouble) = self.machine.wants_drop() {
                break trouble.to_string();
            }
            if self.notifications.is_behind() {
                break "clients here have to hear first of what it has revoked".to_owned();
            }
            self.machine.tell_wall_clock(self.store.wall_ms());
            if self.machine.listens_to_presence() && !std::mem::replace(&mut told_everyone, true) {
                self.presence.tell_everyone();
            }
            self.exchange_presence();
            while out.capacity() > 0
                && let Some(frame) = self.machine.poll_transmit(Instant::now())
            {
                // There is room, or nobody reads any more, which `writing` says.
                let _ = out.try_send(frame);
            }
            while let Some(job) = self.machine.poll_job() {
                jobs.push(Box::pin(carry_out(self.store.clone(), self.place.number, job)));
            }
            self.publish();
            let wake = self.wake();
            tokio::select! {
                step = reader.step(), if self.machine.takes_messages() => match step {
                    Ok(Step::Message(message)) => {
                        self.presence.sibling_lives(Instant::now());
                        self.machine.handle_message(Instant::now(), message);
                    }
                    Ok(Step::Part) => {
                        self.presence.sibling_lives(Instant::now());
                        self.machine.arriving(Instant::now());
                    }
                    Ok(Step::End) => break "it closed the connection".to_owned(),
                    Err(e) => break e.to_string(),
                },
                Some(done) = jobs.next() => self.machine.handle_done(Instant::now(), done),
                changed = versions.changed() => match changed {
                    Ok(()) => {
                        let now = versions.borrow_and_update().clone();
                        self.machine.committed(Instant::now(), &now);
                    }
                    Err(_) => break "this tracker is stopping".to_owned(),
                },
                () = sleep_until(wake) => self.machine.handle_timeout(Instant::now()),
                permit = out.reserve(), if out.capacity() == 0 => drop(permit),
                () = self.presence.changed(), if told_everyone => {}
                () = self.notifications.ready() => self.notifications.tell(Vec::new()),
                ended = &mut writing => break ended.ok().flatten().map_or("it cannot be written to".to_owned(), |e| e),
                Some(newer) = self.incoming.recv() => {
                    // The sibling dials again only when it has given this one up.
                    drop(newer);
                    break "the other tracker has dialled anew".to_owned();
                }
            }
        };
        self.machine.disconnected(Instant::now());
        self.presence.sibling_went();
        self.publish();
        drop(guard);
        // What the machine asked for is done before the next connection; nobody hears of it any more.
        while let Some(done) = jobs.next().await {
            if let Done::Applied(applied) = done {
                self.notifications.tell(applied.facts);
            }
        }
        self.notifications.pay().await;
        reason
    }

    /// Who has come to the sibling and gone from it, and what it has not been told of those here.
    fn exchange_presence(&mut self) {
        let now = Instant::now();
        while let Some(changes) = self.machine.take_presence() {
            let arrived = self.presence.hear(changes, now);
            if !arrived.is_empty() {
                // If nobody has told the earlier ones yet, these are found by asking.
                let _ = self.arrived.try_send(arrived);
            }
        }
        let most = self.machine.wants_presence(now);
        if most > 0
            && let Some(changes) = self.presence.take_untold(most, now)
        {
            self.machine.tell_presence(now, changes);
        }
    }

    fn publish(&mut self) {
        let news = self.machine.take_news();
        self.notifications.tell(news);
        let view = self.machine.view();
        for sentence in self.operator_log.sentences(Instant::now(), &view) {
            tracing::warn!(sibling = %self.place.sibling, "{sentence}");
        }
        self.view.send_if_modified(|old| {
            let changed = *old != view;
            *old = view;
            changed
        });
    }
}

/// A connection to the sibling; or why there is none, and whether nobody listens there.
async fn reach(sibling: HostPort, connector: SiblingConnector) -> Result<Accepted, (bool, String)> {
    let socket = match timeout(DIAL, sibling.connect()).await {
        Ok(socket) => socket.map_err(|e| (true, e.to_string()))?,
        Err(_) => return Err((false, format!("no answer within {} s", DIAL.as_secs()))),
    };
    socket.set_nodelay(true).map_err(|e| (false, e.to_string()))?;
    let socket = BufReader::with_capacity(SOCKET_BUFFER_BYTES, socket);
    let stream: Stream<_> = connector.connect(socket).await.map_err(|e| (false, e.to_string()))?;
    Ok(Box::new(stream))
}

async fn sleep_until(wake: Option<Instant>) {
    match wake {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

async fn write(
    mut writer: FrameWriter<WriteHalf<Accepted>, SyncFrame>,
    mut queued: mpsc::Receiver<SyncFrame>,
) -> String {
    while let Some(frame) = queued.recv().await {
        if let Err(e) = writer.send(&frame).await {
            return e.to_string();
        }
        reach_shipped(&frame);
    }
    "closed".to_owned()
}

/// Does with the database what the machine asks for.
pub async fn carry_out(store: Store, tracker_no: u16, job: Job) -> Done {
    let leads_to = point_after(&job);
    let done: Result<Done, StoreError> = async {
        Ok(match job {
            Job::Introduce => {
                let (hello, floors, votes) = store.introduction(tracker_no).await?;
                Done::Introduced { hello, floors, votes, quarantined: store.quarantined().await? }
            }
            Job::Compare(heads) => Done::Compared(store.compare(heads).await?),
            Job::Outbox { after, votes_after, agreed, room } => {
                Done::Outbox(store.outbox(after, (votes_after, agreed), room).await?)
            }
            Job::Apply(events, votes, absent) => Done::Applied(store.apply(events, votes, absent).await?),
            Job::Join(packed, complete, absent) => Done::Applied(store.join_facts(packed, complete, absent).await?),
            Job::Heads => Done::Heads(store.heads().await?),
            Job::Facts(cursor, room) => {
                let (packed, next) = store.facts(cursor, room).await?;
                Done::Facts(packed, next)
            }
            Job::ReadManifest { id, first, pieces, folders } => {
                Done::Manifest(store.manifest_frame(id, first, pieces, folders).await?)
            }
            Job::ReadTree(tree, offset, most) => Done::Manifest(store.tree_frame(tree, offset, most).await?),
            Job::StoreManifest(id, parts, tree) => {
                store.store_manifest(id, parts, tree).await?;
                Done::Stored
            }
            Job::FindTree(tree) => Done::TreeFound(store.sibling_tree(tree).await?),
            Job::StageTree { tree, offset, bytes } => {
                store.stage_sibling_tree(tree, offset, bytes).await?;
                Done::TreeFound(store.sibling_tree(tree).await?)
            }
            Job::FindLacking => Done::Lacking(store.lacking_manifests().await?),
            Job::Quarantine(origin) => {
                store.quarantine(origin).await?;
                Done::Quarantined
            }
            Job::Digest => {
                let (versions, buckets) = store.digest().await?;
                Done::Digest(versions, if store.comparable() { buckets } else { Vec::new() })
            }
            Job::ReadParts(parts) => Done::Parts(store.parts(parts).await?),
            Job::Mend(packed) => Done::Mended(store.mend(packed).await?),
        })
    }
    .await;
    let done = done.unwrap_or_else(|e| Done::Failed(e.to_string()));
    reach_done(leads_to, &done);
    done
}

/// What is on its way to the sibling now.
fn reach_shipped(frame: &SyncFrame) {
    match frame {
        SyncFrame::Batch(batch) if !batch.events.is_empty() => failpoint::reach(Point::AfterShip),
        SyncFrame::Facts(facts) if facts.complete.is_none() => failpoint::reach(Point::SendingSnapshot),
        _ => {}
    }
}

/// Where a job that has been done leads to.
fn point_after(job: &Job) -> Option<Point> {
    match job {
        Job::Apply(events, ..) if !events.is_empty() => Some(Point::BeforeAcknowledgement),
        Job::Join(_, None, _) => Some(Point::JoiningSnapshot),
        _ => None,
    }
}

/// A job is done, and nothing has come of it yet.
fn reach_done(at: Option<Point>, done: &Done) {
    if let (Some(point), Done::Applied(_)) = (at, done) {
        failpoint::reach(point);
    }
}
