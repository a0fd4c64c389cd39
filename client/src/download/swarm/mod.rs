//! One running download: the picker, the connections, and the way of a piece from one to the other.
//!
//! One task owns everything here; connections, hashing, syncing and the discovery of peers run beside it and send
//! it [`events`]. It never waits for the network or the disk itself. Invariant: every block that comes is either
//! in `parts` (its piece is begun), in a piece that is being verified and written, or dropped.

mod events;
mod orders;
mod upkeep;

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use common::id::{DeviceId, FileName, GroupName};
use common::manifest::Manifest;
use common::pieces::Bitfield;
use common::task::TaskGroup;
use common::ticket::{Signed, Ticket};
use common::tls::PeerConnector;
use common::wire::client::PeerRow;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;

use super::assembly::Assembly;
use super::contacts::Contacts;
use super::disk::Disk;
use super::idle_connections::IdleConnections;
use super::peer::Event;
use super::peer_connection::PeerConnection;
use super::peer_discovery::{News, PeerDiscovery, Wish};
use super::picker::{PeerKey, Picker, PieceState, Strategy};
use super::progress::Progress;
use super::stats::DownloadStats;
use super::unlisted::Publication;
use crate::error::Error;
use crate::share::{Key, Known, Offer, Shares};
use crate::trackers::Directory;
use crate::transfer::Limits;
use crate::transfer::pool::{Account, Budget};
use crate::transfer::rate::RateLimits;

/// Events that connections may be ahead of the swarm.
const EVENTS: usize = 64;
/// How often counters are looked at and progress is told, while something goes on.
const TICK: Duration = Duration::from_millis(250);
/// The same while nobody is connected and nothing is written. What happens then is an event, and is told at once.
const IDLE_TICK: Duration = Duration::from_secs(15);

/// How long the connections of a complete download may take to come to rest.
const PARTING: Duration = Duration::from_secs(1);

/// What a download stands on.
#[derive(Clone)]
pub(crate) struct Ground {
    pub(crate) directory: Arc<dyn Directory>,
    pub(crate) shares: Shares,
    pub(crate) own: DeviceId,
    pub(crate) connector: PeerConnector,
    pub(crate) idle: IdleConnections,
    pub(crate) tasks: TaskGroup,
    pub(crate) limits: Limits,
    pub(crate) budget: Budget,
}

/// Who seeds a file, and what entitles us to it.
pub(crate) struct Seeded {
    pub(crate) peers: Vec<PeerRow>,
    pub(crate) ticket: Signed<Ticket>,
    /// The connection to the tracker that was asked; another may have answered since.
    pub(crate) connection: u64,
}

/// What is downloaded, and whereto.
pub(crate) struct Task {
    /// What the group was called once; which one it is says the key.
    pub(crate) group: GroupName,
    pub(crate) key: Key,
    /// What the share is called there.
    pub(crate) name: FileName,
    /// How it was published, where that is known.
    pub(crate) publication: Option<Publication>,
    pub(crate) strategy: Strategy,
    pub(crate) manifest: Arc<Manifest>,
    pub(crate) disk: Arc<Disk>,
    pub(crate) have: Bitfield,
    /// The pieces that are to be fetched, whether they are here or not.
    pub(crate) wanted: Bitfield,
    /// How fast they may come.
    pub(crate) down: RateLimits,
}

impl Task {
    /// What is here as the picker sees it: what nobody wants is not asked for.
    fn settled(&self) -> Bitfield {
        let mut settled = self.have.clone();
        self.manifest.layout().pieces().filter(|p| !self.wanted.has(*p)).for_each(|p| _ = settled.set(p));
        settled
    }
}

/// Where a run tells how it stands.
#[derive(Clone, Copy)]
pub(crate) struct Told<'a> {
    pub(crate) progress: &'a watch::Sender<Progress>,
    pub(crate) pieces: &'a watch::Sender<Vec<PieceState>>,
}

/// How a run ended.
#[derive(Debug)]
pub(crate) enum End {
    /// All pieces are there.
    Complete,
    /// It was told to stop.
    Stopped,
    /// It cannot go on.
    Failed(Error),
}

/// A run, at its end.
pub(crate) struct Ran {
    pub(crate) end: End,
    /// What is served of it; ends when the caller says so.
    pub(crate) offer: Option<Arc<Offer>>,
    /// Whether the trackers know that this device seeds it.
    pub(crate) announced: bool,
}

/// See the module.
pub(crate) struct Swarm<'a> {
    // Immutable.
    ground: &'a Ground,
    task: &'a Task,
    group: TaskGroup,
    /// The connections. They end by themselves at the end of a complete download, to be of use to the next.
    fetches: TaskGroup,
    told: Told<'a>,
    events: mpsc::Sender<Event>,
    wishes: watch::Sender<Wish>,
    announced: Arc<AtomicBool>,

    picker: Picker,
    contacts: Contacts,
    connections: HashMap<PeerKey, PeerConnection>,
    revocations: watch::Receiver<Known>,
    last_key: u32,
    assembly: Assembly,
    syncing: Option<JoinHandle<io::Result<()>>>,
    synced: Instant,
    account: Account,
    ticket: Option<Signed<Ticket>>,
    offer: Option<Arc<Offer>>,
    stats: DownloadStats,
    ticks: u32,
}

impl<'a> Swarm<'a> {
    /// Runs `task` until it is complete, cannot go on, or `stop` is cancelled. When this returns,
    /// nothing is being written any more. `start`: what the trackers have said a moment ago.
    pub(crate) async fn run(
        ground: &'a Ground,
        task: &'a Task,
        start: Option<Seeded>,
        told: Told<'a>,
        stop: &CancellationToken,
    ) -> Ran {
        let (events, mut events_in) = mpsc::channel(EVENTS);
        let (news, mut news_in) = mpsc::channel(EVENTS);
        let mut swarm = Self::new(ground, task, told, events);
        let (_guard, fetches) = (swarm.group.guard(), swarm.fetches.guard());
        let mut discovery = swarm.peer_discovery(news);
        if let Some(Seeded { peers, ticket, connection }) = start {
            swarm.contacts.replace(Instant::now(), peers);
            swarm.ticket = Some(ticket);
            swarm.stats.answered();
            discovery.note_listed(connection);
        }
        swarm.group.spawn("peer_discovery", discovery.run(swarm.ticket.clone()));
        if task.have.ones() > 0 {
            swarm.put_on_offer();
        }
        let end = swarm.turn(&mut events_in, &mut news_in, stop).await;
        if matches!(end, End::Complete) {
            swarm.connections.clear();
            ground.tasks.spawn("parting", async move {
                tokio::time::sleep(PARTING).await;
                drop(fetches);
            });
        }
        swarm.wind_up().await;
        Ran { end, offer: swarm.offer.take(), announced: swarm.announced.load(Ordering::Relaxed) }
    }

    fn new(ground: &'a Ground, task: &'a Task, told: Told<'a>, events: mpsc::Sender<Event>) -> Self {
        let (now, layout) = (Instant::now(), task.manifest.layout());
        let have = layout
            .pieces()
            .filter(|&p| task.have.has(p) && task.wanted.has(p))
            .map(|p| u64::from(layout.len_of(p)))
            .sum();
        Self {
            ground,
            task,
            group: ground.tasks.child(),
            fetches: ground.tasks.child(),
            told,
            events,
            wishes: watch::Sender::new(Wish { hungry: true, void_tickets: 0 }),
            announced: Arc::default(),
            picker: Picker::new(layout, task.settled(), task.strategy, rand::random()),
            contacts: Contacts::new(ground.own),
            connections: HashMap::new(),
            revocations: ground.shares.revocations().watch(),
            last_key: 0,
            assembly: Assembly::new(Arc::clone(&task.manifest), Arc::clone(&task.disk)),
            syncing: None,
            synced: now,
            account: ground.budget.account(),
            ticket: None,
            offer: None,
            stats: DownloadStats::new(now, have),
            ticks: 0,
        }
    }

    fn peer_discovery(&self, news: mpsc::Sender<News>) -> PeerDiscovery {
        PeerDiscovery {
            directory: Arc::clone(&self.ground.directory),
            group: self.task.group.clone(),
            names: self.ground.shares.group_names().clone(),
            group_id: self.task.key.group,
            file_id: self.task.key.file_id,
            name: self.task.name.clone(),
            publication: self.task.publication.clone(),
            listed_at: None,
            wishes: self.wishes.subscribe(),
            news,
        }
    }

    async fn turn(
        &mut self,
        events: &mut mpsc::Receiver<Event>,
        news: &mut mpsc::Receiver<News>,
        stop: &CancellationToken,
    ) -> End {
        let mut tick_at = tokio::time::Instant::now();
        while !self.picker.is_complete() {
            let mut event = true;
            let outcome = tokio::select! {
                biased;
                // The rare ones first: blocks may come without a pause.
                () = stop.cancelled() => return End::Stopped,
                () = sleep_until(tick_at) => {
                    let ticked = self.on_tick().await;
                    tick_at = tokio::time::Instant::now() + self.until_next_tick(Instant::now());
                    event = false;
                    ticked
                }
                Some(news) = news.recv() => self.on_news(news),
                _ = self.revocations.changed() => {
                    self.pass_on_revocations(Instant::now());
                    Ok(())
                }
                Some(checked) = self.assembly.next() => match checked.and_then(|c| self.on_checked(c)) {
                    Ok(()) => self.sync_some(Instant::now()).await,
                    failed => failed,
                },
                Some((key, event)) = events.recv() => {
                    self.on_event(key, event);
                    Ok(())
                }
            };
            if let Err(error) = outcome {
                return End::Failed(error);
            }
            self.follow_up();
            if event {
                // It may have ended the quiet.
                tick_at = tick_at.min(tokio::time::Instant::now() + TICK);
            }
        }
        End::Complete
    }

    /// Lets go of the connections, and waits for what is still being written.
    async fn wind_up(&mut self) {
        self.group.cancel();
        self.assembly.stop();
        while let Some(checked) = self.assembly.next().await {
            // An error here is met again by whoever goes on.
            let _ = checked.and_then(|c| self.on_checked(c));
        }
        if let Some(syncing) = self.syncing.take() {
            let _ = syncing.await;
        }
        self.connections.clear();
        self.tell_progress(Instant::now());
    }
}
