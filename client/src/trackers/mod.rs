//! The trackers, as everything else in the client sees them: one place to ask, whichever answers.
//!
//! [`Trackers`] is a handle. Behind it one task, the hub, drives a state machine that owns all that changes: the calls
//! that wait for an answer, the connections, the login. One keeper per tracker of the list keeps a connection
//! to it. Calls go to one tracker, the *current* one: the first that answers, and when it is lost,
//! another, with the same request ids, so that no command is lost or doubled. Signs of life go to
//! every tracker that knows the login, and pushes come from all of them.
//!
//! Does not know what the commands mean to the user, nor shares, downloads or the prompt.

pub mod acknowledged;
mod calls;
mod clock;
mod directory;
#[cfg(test)]
pub(crate) mod fake;
pub(crate) mod group_names;
mod hub;
mod journal;
mod keeper;
mod link;
pub mod machine;
mod revocations;
mod serial;
mod session;
mod tickets;
mod trust;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use common::address::HostPort;
use common::id::{DeviceId, GroupName};
use common::secret::{ClusterPin, ClusterPublic};
use common::task::TaskGroup;
use common::ticket::{Signed, Ticket, UnixSeconds};
use common::tls::DeviceKey;
use common::tracker_info::TrackerInfo;
use common::wire::client::{FileSelector, Mode, OpenedFile, OpenedShare, Push, Request, Response};
use tokio::sync::{broadcast, mpsc, oneshot, watch};

pub use self::clock::TrackerClock;
pub use self::directory::Directory;
use self::hub::{Answer, Answered, Hub, Job};
use self::machine::View;
pub(crate) use self::revocations::Known;
pub use self::revocations::Revocations;
pub use self::session::LoggedIn;
use self::session::SessionFile;
use self::tickets::Tickets;
use self::trust::Trust;
use crate::error::Error;
pub(crate) use crate::error::unexpected;

/// Calls that may wait for the hub.
const JOBS: usize = 64;
/// Pushes that a slow listener may lag behind before it loses some.
const PUSHES: usize = 1024;
/// Questions of others that a slow listener may lag behind.
const PROBES: usize = 16;
/// Notices that may wait to be shown; further ones are dropped.
const NOTICES: usize = 64;
/// How long [`Trackers::status`] and [`Trackers::ask_others`] wait for trackers that do not answer.
const PROBE_TIMEOUT: Duration = Duration::from_millis(2500);

/// What [`Trackers::start`] needs.
#[derive(Debug)]
pub struct TrackersConfig {
    /// Where known trackers and the login are kept.
    pub data_dir: PathBuf,
    /// The list of trackers.
    pub info: TrackerInfo,
    /// The file that the list was read from, for messages.
    pub info_path: PathBuf,
    /// This device.
    pub device: DeviceKey,
    /// Where tasks live.
    pub tasks: TaskGroup,
}

/// Something about the connection that a person should know.
#[derive(Debug, Clone)]
pub enum Notice {
    /// A cluster was met for the first time and is remembered.
    FirstContact(ClusterPin),
    /// Calls go to this tracker now; there was none before.
    Connected(HostPort),
    /// Calls go to another tracker now.
    Switched {
        /// The one that was left or lost.
        from: HostPort,
        /// The one that took over.
        to: HostPort,
        /// Why.
        reason: String,
    },
    /// This tracker lacks what was acknowledged by one that is away; it has been told of our own commands.
    Behind(HostPort),
    /// The only tracker was lost.
    Lost {
        /// Which.
        address: HostPort,
        /// Why.
        reason: String,
    },
    /// A tracker may not be used: an untrusted key or another release.
    Unusable(Error),
    /// The login was ended elsewhere, or has expired.
    SessionEnded,
    /// The login could not be stored, or its removal failed.
    SessionFile(Error),
    /// This machine's clock differs from the tracker's by so many seconds.
    ClockOff(u64),
}

/// One tracker of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrackerState {
    /// Where it is.
    pub address: HostPort,
    /// Whether there is a connection.
    pub up: bool,
    /// Whether calls go to it.
    pub current: bool,
    /// Whether it has refused something because its disk is full.
    pub disk_full: bool,
    /// What it knows beyond the first release, while there is a connection.
    pub revision: Option<u8>,
}

/// A member of one's groups wants to know whether others can connect to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probe {
    /// Which tracker has asked, by its place in the list.
    pub tracker: usize,
    /// What the answer is about.
    pub id: u64,
    /// Which device has to be there.
    pub device: DeviceId,
    /// Where.
    pub address: SocketAddr,
}

/// How the trackers are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// All of the list, in its order.
    pub trackers: Vec<TrackerState>,
    /// Whether both hold everything; `None` while none can be reached.
    pub mode: Option<Mode>,
    /// Events that the other is known to lack, if there is another and the current one says so.
    pub lag: Option<u64>,
}

/// What handles and hub share.
#[derive(Debug)]
struct Shared {
    // Immutable.
    addresses: Vec<HostPort>,
    trust: Arc<Trust>,
    session_file: SessionFile,
    /// What announcements of this run are numbered from.
    first_serial: u64,
    // Each guards itself.
    tickets: Tickets,
    clock: TrackerClock,
    revocations: Revocations,
    pushes: broadcast::Sender<Push>,
    probes: broadcast::Sender<Probe>,
    session: watch::Sender<Option<LoggedIn>>,
    listen: watch::Sender<Option<SocketAddr>>,
    view: watch::Sender<View>,
}

/// The handle. Cheap to clone; works until its task group is stopped.
#[derive(Debug, Clone)]
pub struct Trackers {
    shared: Arc<Shared>,
    jobs: mpsc::Sender<Job>,
}

impl Trackers {
    /// Begins to connect, and goes on with the login that is stored, if there is one. Does not wait
    /// for either. Blocks on the disk for a moment.
    ///
    /// # Errors
    /// When a file in the data directory cannot be used.
    pub fn start(config: TrackersConfig) -> Result<(Self, mpsc::Receiver<Notice>), Error> {
        let TrackersConfig { data_dir, info, info_path, device, tasks } = config;
        let clock = TrackerClock::default();
        let shared = Arc::new(Shared {
            trust: Arc::new(Trust::open(&data_dir, &info, &info_path)?),
            session_file: SessionFile::new(&data_dir),
            first_serial: serial::begin_run(&data_dir)?,
            tickets: Tickets::default(),
            revocations: Revocations::by(clock.clone()),
            clock,
            pushes: broadcast::channel(PUSHES).0,
            probes: broadcast::channel(PROBES).0,
            session: watch::channel(None).0,
            listen: watch::channel(None).0,
            view: watch::channel(View { up: vec![None; info.trackers.len()], ..View::default() }).0,
            addresses: info.trackers,
        });
        let (notices, notices_out) = mpsc::channel(NOTICES);
        let (jobs, jobs_in) = mpsc::channel(JOBS);
        let hub = Hub::new(Arc::clone(&shared), shared.session_file.load()?, notices);
        tasks.spawn("trackers", hub.run(jobs_in, device, tasks.clone()));
        Ok((Self { shared, jobs }, notices_out))
    }

    /// Asks the current tracker, and the next one if that is lost first.
    ///
    /// Cancel safe in that the command may be carried out all the same.
    ///
    /// # Errors
    /// What the tracker refuses; [`Error::TrackersUnreachable`] or [`Error::UntrustedTracker`] when
    /// there is none to ask; [`Error::Timeout`] when it does not answer.
    pub async fn call(&self, request: Request) -> Result<Response, Error> {
        self.ask(|answer| Job::Call(request, answer)).await
    }

    /// Asks each tracker but the current one; what each says, within a few seconds. Calls go on at one that has shown something: the
    /// current one may lack it. A client that has just been started waits a moment for those it has not met yet.
    pub async fn ask_others(&self, request: &Request) -> Vec<Result<Response, Error>> {
        let mut view = self.shared.view.subscribe();
        let met = view.wait_for(|v| v.up.iter().all(Option::is_some));
        let _ = tokio::time::timeout(PROBE_TIMEOUT, met).await; // One that is not met does not answer.
        let current = view.borrow().current;
        let others = (0..self.shared.addresses.len()).filter(|index| Some(*index) != current);
        let ask = |index| {
            let asked = self.ask(move |answer| Job::CallThere(index, request.clone(), answer));
            let late = |_| Err(Error::Timeout("the tracker did not answer in time".to_owned()));
            async move { tokio::time::timeout(PROBE_TIMEOUT, asked).await.unwrap_or_else(late) }
        };
        futures::future::join_all(others.map(ask)).await
    }

    /// Waits until there is a current tracker and it has said whether the stored login still
    /// counts; then tells who is logged in.
    ///
    /// # Errors
    /// When no tracker can be reached or trusted.
    pub async fn ready(&self) -> Result<Option<LoggedIn>, Error> {
        self.ask(Job::Ready).await?;
        Ok(self.shared.session.borrow().clone())
    }

    /// News from the trackers, from now on.
    pub fn pushes(&self) -> broadcast::Receiver<Push> {
        self.shared.pushes.subscribe()
    }

    /// Whom this device is to dial for others, from now on. What comes of it is to be [said](Trackers::say) to the tracker
    /// that has asked.
    pub fn probes(&self) -> broadcast::Receiver<Probe> {
        self.shared.probes.subscribe()
    }

    /// Tells one tracker something, by its place in the list; nobody learns whether it has heard.
    pub async fn say(&self, tracker: usize, request: Request) {
        let _ = self.jobs.send(Job::Say(tracker, request)).await; // The client is about to end.
    }

    /// The tickets that are known to be void: complete, however far a listener to the news is behind.
    pub fn revocations(&self) -> Revocations {
        self.shared.revocations.clone()
    }

    /// A ticket for `group`, at most [`common::ticket::TICKET_RENEW`] old while a tracker answers.
    ///
    /// # Errors
    /// As [`Trackers::call`].
    pub async fn ticket(&self, group: &GroupName) -> Result<Signed<Ticket>, Error> {
        let fetch = async {
            match self.call(Request::GetTicket { group: group.clone() }).await? {
                Response::Ticket(ticket) => Ok(ticket),
                _ => Err(unexpected()),
            }
        };
        self.shared.tickets.get(group, fetch).await
    }

    /// What a download needs to begin, in one call; its ticket is at hand from then on.
    ///
    /// # Errors
    /// As [`Trackers::call`]; [`Error::OldTracker`] when the tracker in use does not know this call.
    pub async fn open_file(&self, group: &GroupName, file: FileSelector) -> Result<OpenedFile, Error> {
        let reserved = self.shared.tickets.reserve(group);
        match self.call(Request::OpenFile { group: group.clone(), file }).await? {
            Response::Opened(opened) => {
                reserved.fill(opened.ticket.clone()).await;
                Ok(*opened)
            }
            _ => Err(unexpected()),
        }
    }

    /// As [`Trackers::open_file`], of a share that may be a folder.
    ///
    /// # Errors
    /// The same.
    pub async fn open_share(&self, group: &GroupName, file: FileSelector) -> Result<OpenedShare, Error> {
        let reserved = self.shared.tickets.reserve(group);
        match self.call(Request::OpenShare { group: group.clone(), file }).await? {
            Response::OpenedShare(opened) => {
                reserved.fill(opened.ticket.clone()).await;
                Ok(*opened)
            }
            _ => Err(unexpected()),
        }
    }

    /// Drops the ticket at hand for `group`: a seeder has said that it is void.
    pub fn forget_ticket(&self, group: &GroupName) {
        self.shared.tickets.forget(group);
    }

    /// Now, by the trackers' clock: what tickets are dated by. See [`TrackerClock`] for two that differ.
    pub fn now(&self) -> UnixSeconds {
        self.shared.clock.now()
    }

    /// The trackers' time.
    pub fn clock(&self) -> TrackerClock {
        self.shared.clock.clone()
    }

    /// The key that signs tickets and revocations, once a tracker has been met.
    pub fn cluster(&self) -> Option<ClusterPublic> {
        self.shared.trust.public()
    }

    /// The list of trackers, and the key by which they are known; `None` before one has been met, unless the list pins it.
    pub fn list(&self) -> Option<(Vec<HostPort>, ClusterPin)> {
        Some((self.shared.addresses.clone(), self.shared.trust.expected()?))
    }

    /// Who is logged in, and every change of it. `None` also before the first contact.
    pub fn session(&self) -> watch::Receiver<Option<LoggedIn>> {
        self.shared.session.subscribe()
    }

    /// A number that changes when calls go to another connection: what a tracker keeps for one
    /// connection only (staged manifests) has to be done again then.
    pub fn connection(&self) -> u64 {
        self.shared.view.borrow().connection
    }

    /// From now on tells the trackers, while logged in, that this device serves at `listen`.
    pub fn serve_at(&self, listen: SocketAddr) {
        self.shared.listen.send_replace(Some(listen));
    }

    /// How the trackers are; looks after those without a connection first.
    pub async fn status(&self) -> Status {
        let mut view = self.shared.view.subscribe();
        // A hub that has ended answers nothing, and its last view is as good as any.
        let _ = self.jobs.send(Job::Probe).await;
        let settled = view.wait_for(|v| v.up.iter().all(Option::is_some));
        let _ = tokio::time::timeout(PROBE_TIMEOUT, settled).await; // Silence says: down.
        let mut lag = None;
        if view.borrow().up.contains(&Some(true))
            // Whatever is answered shows the mode, also a refusal.
            && let Ok(Response::Cluster(cluster)) = self.call(Request::Cluster).await
        {
            lag = cluster.other.map(|_| cluster.lag);
        }
        Status { lag, ..self.known() }
    }

    /// How the trackers are as far as is known without asking them.
    pub fn known(&self) -> Status {
        let view = self.shared.view.borrow().clone();
        let state = |(index, address): (usize, &HostPort)| TrackerState {
            address: address.clone(),
            up: view.up.get(index).copied().flatten().unwrap_or(false),
            current: view.current == Some(index),
            disk_full: view.full.get(index).copied().unwrap_or(false),
            revision: view.revisions.get(index).copied().flatten(),
        };
        let trackers = self.shared.addresses.iter().enumerate().map(state).collect();
        let mode = view.current.map(|_| view.mode.unwrap_or(Mode::Solo));
        Status { trackers, mode, lag: None }
    }

    /// Tells when [`Trackers::known`] may have become different.
    pub fn view(&self) -> ViewChanges {
        ViewChanges(self.shared.view.subscribe())
    }

    /// Whether both trackers had the last thing that was acknowledged.
    pub fn mode(&self) -> Option<Mode> {
        self.shared.view.borrow().mode
    }

    /// Whether there is another tracker that may know more than the one that answers.
    pub fn is_apart(&self) -> bool {
        let view = self.shared.view.borrow();
        self.shared.addresses.len() > 1 && (view.current.is_none() || view.mode != Some(Mode::Dual))
    }

    async fn ask(&self, job: impl FnOnce(Answer) -> Job) -> Result<Response, Error> {
        let (answer, answered) = oneshot::channel();
        let ended = || Error::Internal("the client is about to stop".to_owned());
        self.jobs.send(job(answer)).await.map_err(|_| ended())?;
        let Answered { result, is_solo } = answered.await.map_err(|_| ended())?;
        if is_solo {
            acknowledged::by_one();
        }
        result
    }
}

/// Changes of what is known of the trackers.
#[derive(Debug)]
pub struct ViewChanges(watch::Receiver<View>);

impl ViewChanges {
    /// Waits for the next one; `false` when there will be none any more. Cancel safe.
    pub async fn changed(&mut self) -> bool {
        self.0.changed().await.is_ok()
    }
}
