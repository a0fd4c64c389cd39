//! The tracker as a whole: opens the database, listens, lets connections in, drains.
//!
//! Whoever has come gets a place, if need be another's (see `admission`), so that a crowd that only holds
//! sockets open does not keep anybody from logging in. Its permit is free when the other's socket is closed;
//! until then no further connection is accepted. Nobody has to go before somebody has come.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::address::HostPort;
use common::backoff::Backoff;
use common::id::UserName;
use common::reset_code::ResetCode;
use common::secret::ClusterKey;
use common::task::TaskGroup;
use common::ticket;
use common::tls::{Identity, SiblingConnector, TlsError, TrackerAcceptor};
use common::wire::client::Mode;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{interval, timeout};
use tokio_util::sync::CancellationToken;

pub use crate::admission::Limits;
use crate::admission::{Admission, Slot};
use crate::command::{self, Services};
use crate::hub::Hub;
use crate::password::{PasswordError, Passwords};
use crate::presence::{LEASE, Presence};
use crate::quota::Quota;
use crate::replica::link::{self, Handles, Place};
use crate::replica::{Replica, View, clocks_apart};
use crate::rules::Registration;
use crate::session::{self, Context, Peer};
use crate::store::{BackupError, Counts, LogBounds, OpenError, Store, StoreError, WallClock};
use crate::throttle::Throttle;

/// Connections that the system may hold for us to accept.
const BACKLOG: i32 = 4096;
/// How often who is here is noted in the database.
const SAVE_PRESENCE: Duration = Duration::from_secs(5);
/// After a longer stop than this, nobody is believed to be where they were.
const OLD_PRESENCE: Duration = Duration::from_secs(600);
/// How long an answer is remembered for whoever asks again.
const REMEMBER: Duration = Duration::from_secs(24 * 3600);
/// How often older ones are forgotten.
const FORGET: Duration = Duration::from_secs(3600);
/// How long connections have to finish when the server stops.
const DRAIN: Duration = Duration::from_secs(5);
/// Delays after a failing accept: the system is out of something that others have to give back.
const ACCEPT_FIRST: Duration = Duration::from_millis(10);
const ACCEPT_MOST: Duration = Duration::from_secs(1);

/// What a tracker is started with.
#[derive(Clone)]
pub struct Config {
    /// Its line in tracker_info.txt, from 1.
    pub number: u16,
    /// Where it listens; port 0 lets the system choose.
    pub listen: SocketAddr,
    /// Where its database is.
    pub data_dir: PathBuf,
    /// The cluster's key.
    pub key: ClusterKey,
    /// The other tracker: its line in tracker_info.txt, and where it listens.
    pub sibling: Option<(u16, HostPort)>,
    /// How many connections it takes.
    pub limits: Limits,
    /// How much one user may take.
    pub quota: Quota,
    /// Who may make an account.
    pub registration: Registration,
    /// Milliseconds since 1970.
    pub clock: WallClock,
}

impl Config {
    /// A tracker with the usual limits and the machine's clock.
    pub fn new(number: u16, listen: SocketAddr, data_dir: PathBuf, key: ClusterKey) -> Self {
        let (limits, quota) = (Limits::default(), Quota::default());
        let (registration, clock) = (Registration::default(), Arc::new(wall_clock));
        Self { number, listen, data_dir, key, sibling: None, limits, quota, registration, clock }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config").field("number", &self.number).field("listen", &self.listen).finish_non_exhaustive()
    }
}

fn wall_clock() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Why a tracker cannot start. Each is one sentence for its operator.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The database.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The database, once open.
    #[error("cannot read the database: {0}")]
    Store(#[from] StoreError),
    /// The address is taken.
    #[error(
        "{0} is in use by another program; stop that program, or change this tracker's line in the list of trackers"
    )]
    InUse(SocketAddr),
    /// The address is another machine's.
    #[error("{0} is not an address of this machine; check this tracker's line in the list of trackers, and its number")]
    NotOurs(SocketAddr),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// No certificate could be made.
    #[error("cannot prepare for encrypted connections: {0}")]
    Tls(#[from] TlsError),
    /// There is no memory for even one password.
    #[error("cannot hash passwords: {0}")]
    Passwords(#[from] PasswordError),
}

/// How a tracker is, for its operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Connections, logged in or not.
    pub connections: usize,
    /// Those that are logged in.
    pub logged_in: usize,
    /// What is stored.
    pub counts: Counts,
    /// How the other tracker is; `None` if there is none.
    pub other: Option<(View, HostPort)>,
    /// Whether both have everything.
    pub mode: Mode,
    /// Events in the log, and their weight in bytes.
    pub log: (u64, u64),
    /// Runs of trackers whose events are refused.
    pub quarantined: usize,
    /// Whether the disk has room for commands that add.
    pub disk_has_room: bool,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { connections, logged_in, counts, other, mode, log, quarantined, disk_has_room } = self;
        let mode = match mode {
            Mode::Dual => "dual",
            Mode::Solo => "solo",
        };
        write!(
            f,
            "connections {connections} ({logged_in} logged in) · users {} · groups {} · events {} · mode {mode} · log {} events, {} KiB",
            counts.users,
            counts.groups,
            counts.events,
            log.0,
            log.1 / 1024
        )?;
        match other {
            None => write!(f, " · no other tracker")?,
            Some((view, address)) if view.linked => write!(f, " · other tracker {address}, lacks {} events", view.lag)?,
            Some((view, address)) => write!(f, " · other tracker {address} is away, lacks {} events", view.lag)?,
        }
        if let Some((view, _)) = other.as_ref().filter(|(view, _)| view.mode == Mode::Solo) {
            write!(f, " · solo for {} s", view.mode_since.elapsed().as_secs())?;
        }
        if !disk_has_room {
            write!(f, " · the disk is NEARLY FULL: nothing can be created, joined or shared")?;
        }
        if *quarantined > 0 {
            write!(f, " · {quarantined} run(s) of a tracker QUARANTINED, see the log")?;
        }
        let Some(alarms) = other.as_ref().map(|(view, _)| &view.alarms) else { return Ok(()) };
        match alarms.clock_ahead_s {
            Some(ahead) => clocks_apart(ahead).map_or(Ok(()), |text| write!(f, " · {text}")),
            None if alarms.skew_ms > 0 => {
                write!(f, " · the other tracker's clock was {} s ahead", alarms.skew_ms / 1000)
            }
            None => Ok(()),
        }
    }
}

/// What in a stopped tracker's database contradicts itself, each in one sentence.
///
/// # Errors
/// See [`StartError`].
pub async fn verify(config: Config) -> Result<Vec<String>, StartError> {
    let Config { data_dir, clock, .. } = config;
    let store = blocking(move || Store::open(&data_dir, clock)).await??;
    let (state, log) = (store.verify().await, store.log_flaw().await);
    store.close().await;
    let mut flaws = state?;
    flaws.extend(log?);
    Ok(flaws)
}

/// A running tracker. Clones are the same one.
#[derive(Clone)]
pub struct Server {
    address: SocketAddr,
    context: Context,
    permits: Arc<Semaphore>,
    connections: usize,
    /// Takes the connections that the other tracker dials.
    sibling: Option<mpsc::Sender<link::Accepted>>,
    /// Where it listens.
    other: Option<HostPort>,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Server({})", self.address)
    }
}

impl Server {
    /// Opens the database and listens; from here on connections are accepted.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn bind(config: Config) -> Result<Self, StartError> {
        let Config { number, listen, data_dir, key, sibling, limits, quota, registration, clock } = config;
        // First, so that a tracker that runs already is named as such, and not as a busy port.
        let store = blocking(move || Store::open(&data_dir, clock)).await??;
        let rules = (limits, quota, registration);
        let opened = Self::start(number, listen, key, sibling, rules, store.clone()).await;
        if opened.is_err() {
            store.close().await;
        }
        opened
    }

    async fn start(
        number: u16,
        listen: SocketAddr,
        key: ClusterKey,
        sibling: Option<(u16, HostPort)>,
        (limits, quota, registration): (Limits, Quota, Registration),
        store: Store,
    ) -> Result<Self, StartError> {
        let listener = bind(listen)?;
        let address = listener.local_addr().map_err(|source| StartError::Listen { address: listen, source })?;
        let acceptor = TrackerAcceptor::new(&key)?;
        let connector = SiblingConnector::new(&key)?;
        let tasks = TaskGroup::new();
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let passwords = blocking(move || Passwords::new(cores)).await??;
        let since = ticket::now().saturating_sub(OLD_PRESENCE.as_secs());
        let here = store.read_tables(move |tables| tables.presence(LEASE, since)).await?;
        let presence = Arc::new(Presence::restored(here, Instant::now()));
        let other = sibling.as_ref().map(|(_, address)| address.clone());
        let link = sibling.map(|(sibling_number, sibling)| {
            let place = Place { number, sibling_number, sibling };
            link::start(place, store.clone(), connector, Arc::clone(&presence), &tasks)
        });
        let (replica, accepted, heard) = match link {
            Some(Handles { replica, accepted, news, arrivals }) => (replica, Some(accepted), Some((news, arrivals))),
            None => (Replica::alone(store.clone()), None, None),
        };
        tasks.spawn("search", store.clone().follow_search());
        let services = Arc::new(Services {
            replica,
            tracker_no: number,
            quota,
            registration,
            recent_revocations: Default::default(),
            signed_ends: Default::default(),
            probes: Default::default(),
            new_files: Default::default(),
            key,
            store,
            passwords,
            throttle: Throttle::default(),
            tickets: Default::default(),
            replies: Arc::default(),
            presence,
            hub: Arc::new(Hub::default()),
            staging: Default::default(),
        });
        let connections = limits.connections.max(4);
        let permits = Arc::new(Semaphore::new(connections));
        let context = Context {
            services,
            receive_budget: Arc::default(),
            seen_waits: Arc::default(),
            tasks,
            draining: CancellationToken::new(),
        };
        let server = Self { address, context, permits, connections, sibling: accepted, other };
        let admission = Admission::new(Limits { connections, ..limits }, server.other_ip().await);
        server.context.tasks.spawn("accept", server.clone().accept(listener, acceptor, admission));
        if let Some((heard, arrivals)) = heard {
            let services = &server.context.services;
            let (telling, hinting) = (Arc::clone(services), Arc::clone(services));
            server.context.tasks.spawn("news of the other tracker", command::pass_on(telling, heard));
            server.context.tasks.spawn("seeders at the other tracker", command::hint_arrivals(hinting, arrivals));
        }
        server.context.tasks.spawn("new files", command::tell_new_files(Arc::clone(&server.context.services)));
        server.context.tasks.spawn("upkeep", upkeep(Arc::clone(&server.context.services)));
        Ok(server)
    }

    /// Where it listens.
    pub const fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// The other tracker's machine. If its name cannot be looked up now, its connections have no privilege.
    async fn other_ip(&self) -> Option<IpAddr> {
        let found = self.other.as_ref()?.resolve().await;
        found.inspect_err(|e| tracing::warn!("the other tracker: {e}")).ok()?.first().map(SocketAddr::ip)
    }

    /// How it is.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn status(&self) -> Result<Status, StoreError> {
        let services = &self.context.services;
        Ok(Status {
            connections: self.connections - self.permits.available_permits(),
            logged_in: services.hub.len(),
            counts: services.store.counts()?,
            other: self.other.clone().map(|address| (services.replica.view(), address)),
            mode: services.mode(),
            log: services.store.read_tables(|tables| tables.log_size()).await?,
            quarantined: services.store.quarantined().await?.len(),
            disk_has_room: services.store.disk_has_room(),
        })
    }

    /// Copies the database to the new file `to`; its length in bytes. Commands go on meanwhile.
    ///
    /// # Errors
    /// See [`BackupError`]; nothing is left behind then.
    pub async fn back_up(&self, to: &Path) -> Result<u64, BackupError> {
        self.context.services.store.back_up(to).await
    }

    /// A code by which `user` may set a new password once, within `life` seconds. `None` if there is no such user.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn reset_code(&self, user: &UserName, life: u64) -> Result<Option<ResetCode>, StoreError> {
        let (services, name) = (&self.context.services, user.clone());
        let account = services.store.read(move |state| Ok::<_, StoreError>(state.account(&name))).await?;
        Ok(account.map(|a| ResetCode::new(&services.key, a.user, &a.phc, ticket::now() + life)))
    }

    /// Returns when this tracker can no longer change anything. It had better end then: clients go to the other one.
    pub async fn failed(&self) {
        self.context.services.store.writer_ended().await;
    }

    /// Stops taking connections and calls, finishes those that run, and closes the database.
    pub async fn stop(&self) {
        let services = &self.context.services;
        // Before connections end: who is here now is who will come back.
        save_presence(services).await;
        self.context.draining.cancel();
        let all = u32::try_from(self.connections).unwrap_or(u32::MAX);
        let drained = timeout(DRAIN, self.permits.acquire_many(all)).await;
        if drained.is_err() {
            tracing::info!("some connections did not finish in time");
        }
        self.context.tasks.stop().await;
        services.store.close().await;
    }

    async fn accept(self, listener: TcpListener, acceptor: TrackerAcceptor, admission: Arc<Admission>) {
        let mut backoff = Backoff::new(ACCEPT_FIRST, ACCEPT_MOST);
        let draining = self.context.draining.clone();
        let accepting = async {
            loop {
                match listener.accept().await {
                    Ok((socket, from)) => {
                        backoff.reset();
                        let from = from.ip().to_canonical();
                        let slot = admission.admit(from);
                        let Ok(permit) = Arc::clone(&self.permits).acquire_owned().await else { return };
                        self.begin(socket, from, permit, &acceptor, slot);
                    }
                    Err(e) => {
                        tracing::warn!("cannot accept a connection: {e}");
                        admission.evict_one();
                        tokio::time::sleep(backoff.next_delay()).await;
                    }
                }
            }
        };
        tokio::select! {
            () = draining.cancelled() => {}
            () = accepting => {}
        }
    }

    fn begin(
        &self,
        socket: TcpStream,
        from: IpAddr,
        permit: OwnedSemaphorePermit,
        acceptor: &TrackerAcceptor,
        slot: Slot,
    ) {
        let (context, acceptor) = (self.context.clone(), acceptor.clone());
        let sibling = self.sibling.clone();
        self.context.tasks.spawn("connection", async move {
            let ended = slot.kill().clone();
            // Boxed: each layer around a future has room for it twice, and there are thousands of these.
            let serving = Box::pin(connection(socket, from, &acceptor, context, &slot, sibling));
            if let Some(Err(e)) = ended.run_until_cancelled(serving).await {
                tracing::debug!(%from, "{e}");
            }
            // Only now may another be accepted in its place: this socket is closed.
            drop(permit);
        });
    }
}

async fn connection(
    socket: TcpStream,
    address: IpAddr,
    acceptor: &TrackerAcceptor,
    context: Context,
    slot: &Slot,
    sibling: Option<mpsc::Sender<link::Accepted>>,
) -> Result<(), String> {
    socket.set_nodelay(true).map_err(|e| e.to_string())?;
    // Boxed, so that its room is given back before the session begins.
    let handshake = Box::pin(acceptor.accept(socket));
    let accepted = context.draining.clone().run_until_cancelled_owned(handshake).await;
    match accepted {
        None => Ok(()),
        Some(Ok((stream, Identity::Device(device)))) => {
            let served = Box::pin(session::serve(stream, Peer { device, address }, context, slot));
            served.await.map_err(|e| e.to_string())
        }
        Some(Ok((stream, Identity::Sibling))) => match sibling {
            // It is not a client any more, and needs no permit.
            Some(link) => link.send(Box::new(stream)).await.map_err(|e| e.to_string()),
            None => Err("a tracker of this cluster, of which this one's list does not speak".to_owned()),
        },
        Some(Err(e)) => Err(e.to_string()),
    }
}

/// Listens, also where an earlier run has left connections that are closing.
fn bind(address: SocketAddr) -> Result<TcpListener, StartError> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::AddrInUse => StartError::InUse(address),
        io::ErrorKind::AddrNotAvailable => StartError::NotOurs(address),
        _ => StartError::Listen { address, source },
    };
    let open = || {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        #[cfg(unix)]
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        TcpListener::from_std(socket.into())
    };
    open().map_err(failed)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| StoreError::Panicked)
}

/// What is to be done from time to time.
async fn upkeep(services: Arc<Services>) {
    let (mut presence, mut requests) = (interval(SAVE_PRESENCE), interval(FORGET));
    loop {
        tokio::select! {
            _ = presence.tick() => {
                // Says so when that has changed.
                let _ = services.store.disk_has_room();
                save_presence(&services).await;
            }
            _ = requests.tick() => {
                let before = ticket::now().saturating_sub(REMEMBER.as_secs());
                if let Err(e) = services.store.trim_log(LogBounds::default(), ticket::now() * 1000).await {
                    tracing::warn!("the log could not be cut: {e}");
                }
                if let Err(e) = services.store.prune_requests(before).await {
                    tracing::warn!("old requests could not be pruned: {e}");
                }
                if let Err(e) = services.store.sweep(ticket::now()).await {
                    tracing::warn!("what nobody needs any more could not be swept: {e}");
                }
            }
        }
    }
}

async fn save_presence(services: &Services) {
    let (here, gone) = services.presence.take_unsaved(Instant::now());
    if here.is_empty() && gone.is_empty() {
        return;
    }
    if let Err(e) = services.store.save_presence(here, gone, ticket::now()).await {
        tracing::warn!("who is here could not be noted: {e}");
    }
}

#[cfg(test)]
pub(crate) mod tests;
