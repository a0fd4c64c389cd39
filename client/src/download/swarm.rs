//! One running download: the picker, the connections, and the way of a piece from one to the other.
//!
//! One task owns everything here; connections, hashing, syncing and the scout run beside it and send
//! it events. It never waits for the network or the disk itself. Invariant: every block that comes is either
//! in `parts` (its piece is begun), in a piece that is being verified and written, or dropped.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use common::id::{DeviceId, GroupName};
use common::manifest::Manifest;
use common::pieces::{Bitfield, BlockRange, MAX_BLOCK_LEN, PieceIndex};
use common::task::TaskGroup;
use common::ticket::{Signed, Ticket};
use common::tls::{PeerConnector, TlsError};
use common::wire::client::{PeerRow, Request};
use common::wire::peer::{Goodbye, Hello, VERSION};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::contacts::Contacts;
use super::disk::Disk;
use super::line::Line;
use super::peer::{Event, Fetch, FromPeer, PeerEnd, dial, fetch};
use super::picker::{Action, BlockOutcome, PeerKey, Picker, Strategy};
use super::progress::{PeerProgress, Progress, State, Waiting};
use super::scout::{News, Scout, Wish};
use super::verify::{RawPiece, Rejected, verify};
use crate::error::Error;
use crate::share::{Key, Offer, Shares};
use crate::transfer::Directory;
use crate::transfer::meter::Meter;
use crate::transfer::pool::{Account, Budget, Buffer};
use crate::transfer::rate::RateLimit;

/// Connections of one download.
const MAX_PEERS: usize = 50;
/// Events that connections may be ahead of the swarm.
const EVENTS: usize = 64;
/// Orders that the swarm may be ahead of a connection.
const ORDERS: usize = 256;
/// How often counters are looked at and progress is told.
const TICK: Duration = Duration::from_millis(250);
/// How often the picker looks after the peers, in ticks.
const PICKER_TICKS: u32 = 4;
/// What has been written is synced after this time,
const SYNC_AFTER: Duration = Duration::from_secs(2);
/// or after so many bytes.
const SYNC_BYTES: u64 = 256 << 20;

/// What a download stands on.
#[derive(Clone)]
pub(crate) struct Ground {
    pub(crate) directory: Arc<dyn Directory>,
    pub(crate) shares: Shares,
    pub(crate) own: DeviceId,
    pub(crate) connector: PeerConnector,
    pub(crate) tasks: TaskGroup,
    pub(crate) down: RateLimit,
    pub(crate) budget: Budget,
}

/// What is downloaded, and whereto.
pub(crate) struct Task {
    pub(crate) group: GroupName,
    pub(crate) key: Key,
    pub(crate) strategy: Strategy,
    pub(crate) manifest: Arc<Manifest>,
    pub(crate) disk: Arc<Disk>,
    pub(crate) have: Bitfield,
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

/// A block, where it belongs in its piece, and who gave it.
struct Part {
    offset: u32,
    bytes: Buffer,
    from: DeviceId,
}

/// Who gave what of a complete piece.
struct Origin {
    contributors: Vec<PeerKey>,
    bytes: Vec<(DeviceId, u64)>,
}

/// What became of a complete piece.
struct Checked {
    piece: PieceIndex,
    origin: Origin,
    outcome: Result<(), Trouble>,
}

enum Trouble {
    Rejected(Rejected),
    Disk(io::Error),
}

/// See the module.
pub(crate) struct Swarm<'a> {
    // Immutable.
    ground: &'a Ground,
    task: &'a Task,
    group: TaskGroup,
    progress: &'a watch::Sender<Progress>,
    events: mpsc::Sender<Event>,
    wishes: watch::Sender<Wish>,
    announced: Arc<AtomicBool>,
    hashers: usize,

    picker: Picker,
    contacts: Contacts,
    lines: HashMap<PeerKey, Line>,
    last_key: u32,
    parts: HashMap<PieceIndex, Vec<Part>>,
    /// Complete pieces, until a core is free for them.
    unverified: VecDeque<(RawPiece, Origin)>,
    verifying: FuturesUnordered<JoinHandle<Checked>>,
    syncing: Option<JoinHandle<io::Result<()>>>,
    synced: Instant,
    account: Account,
    ticket: Option<Signed<Ticket>>,
    offer: Option<Arc<Offer>>,

    // For people.
    have_bytes: u64,
    given: HashMap<DeviceId, PeerProgress>,
    meter: Meter,
    received: u64,
    waiting: Waiting,
    trouble: Option<String>,
    ticks: u32,
}

impl<'a> Swarm<'a> {
    /// Runs `task` until it is complete, cannot go on, or `stop` is cancelled. When this returns,
    /// nothing is being written any more.
    pub(crate) async fn run(
        ground: &'a Ground,
        task: &'a Task,
        progress: &'a watch::Sender<Progress>,
        stop: &CancellationToken,
    ) -> Ran {
        let (events, mut events_in) = mpsc::channel(EVENTS);
        let (news, mut news_in) = mpsc::channel(EVENTS);
        let mut swarm = Self::new(ground, task, progress, events);
        let _guard = swarm.group.guard();
        swarm.group.spawn("scout", swarm.scout(news).run());
        if task.have.ones() > 0 {
            swarm.put_on_offer();
        }
        let end = swarm.turn(&mut events_in, &mut news_in, stop).await;
        swarm.wind_up().await;
        Ran { end, offer: swarm.offer.take(), announced: swarm.announced.load(Ordering::Relaxed) }
    }

    fn new(
        ground: &'a Ground,
        task: &'a Task,
        progress: &'a watch::Sender<Progress>,
        events: mpsc::Sender<Event>,
    ) -> Self {
        let (now, layout) = (Instant::now(), task.manifest.layout());
        let have_bytes = layout.pieces().filter(|&p| task.have.has(p)).map(|p| u64::from(layout.len_of(p))).sum();
        Self {
            ground,
            task,
            group: ground.tasks.child(),
            progress,
            events,
            wishes: watch::Sender::new(Wish { hungry: true, void_tickets: 0 }),
            announced: Arc::default(),
            hashers: std::thread::available_parallelism().map_or(2, usize::from),
            picker: Picker::new(layout, task.have.clone(), task.strategy, rand::random()),
            contacts: Contacts::new(ground.own),
            lines: HashMap::new(),
            last_key: 0,
            parts: HashMap::new(),
            unverified: VecDeque::new(),
            verifying: FuturesUnordered::new(),
            syncing: None,
            synced: now,
            account: ground.budget.account(),
            ticket: None,
            offer: None,
            have_bytes,
            given: HashMap::new(),
            meter: Meter::new(now, 0),
            received: 0,
            waiting: Waiting { since: now, listed: false },
            trouble: None,
            ticks: 0,
        }
    }

    fn scout(&self, news: mpsc::Sender<News>) -> Scout {
        Scout {
            directory: Arc::clone(&self.ground.directory),
            group: self.task.group.clone(),
            group_id: self.task.key.group,
            file_id: self.task.key.file_id,
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
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut revocations = self.ground.shares.revocations().watch();
        while !self.picker.is_complete() {
            let outcome = tokio::select! {
                biased;
                () = stop.cancelled() => return End::Stopped,
                Some(checked) = self.verifying.next() => self.on_checked(checked),
                Some((key, event)) = events.recv() => {
                    self.on_event(key, event);
                    Ok(())
                }
                Some(news) = news.recv() => self.on_news(news),
                _ = revocations.changed() => {
                    let latest = revocations.borrow_and_update().latest().map(|e| e.signed.clone());
                    latest.into_iter().for_each(|signed| self.order_all(|| super::peer::ToPeer::Revoked(signed.clone())));
                    Ok(())
                }
                _ = tick.tick() => self.on_tick().await,
            };
            if let Err(error) = outcome {
                return End::Failed(error);
            }
            self.follow_up();
        }
        End::Complete
    }

    /// Lets go of the connections, and waits for what is still being written.
    async fn wind_up(&mut self) {
        self.group.cancel();
        while let Some(checked) = self.verifying.next().await {
            // An error here is met again by whoever goes on.
            let _ = self.on_checked(checked);
        }
        if let Some(syncing) = self.syncing.take() {
            let _ = syncing.await;
        }
        self.lines.clear();
        self.tell_progress(Instant::now());
    }

    fn on_event(&mut self, key: PeerKey, event: FromPeer) {
        let now = Instant::now();
        match event {
            FromPeer::Ready { has, round_trip } => {
                let Some(line) = self.lines.get_mut(&key) else { return };
                line.ready(now, round_trip);
                self.contacts.useful(line.device);
                self.picker.add_peer(key, &has);
                if let Some(ticket) = &self.ticket {
                    // It may have been renewed while we dialled.
                    line.order(super::peer::ToPeer::Renew(ticket.clone()));
                }
            }
            FromPeer::Have(piece) => {
                self.picker.peer_have(key, piece);
                if let Some(line) = self.lines.get_mut(&key) {
                    line.starved = true;
                }
            }
            FromPeer::Lost(piece) => self.picker.peer_lost(key, piece),
            FromPeer::Block(block, bytes) => self.on_block(now, key, block, bytes),
            FromPeer::Cancelled(block) => {
                let ours = self.lines.get_mut(&key).is_some_and(|l| l.answered(block));
                if !ours && let Some(piece) = self.task.manifest.layout().piece(block.piece) {
                    self.picker.peer_lost(key, piece);
                }
                self.mark_starved();
            }
            FromPeer::Ended(end) => self.on_ended(now, key, &end),
        }
    }

    fn on_block(&mut self, now: Instant, key: PeerKey, block: BlockRange, bytes: Buffer) {
        let Some(line) = self.lines.get_mut(&key) else { return };
        let fresh = line.look(now);
        line.answered(block);
        line.starved = true;
        line.snubbed = false;
        let device = line.device;
        self.picker.on_bytes(now, key, fresh);
        let BlockOutcome::Accepted { complete } = self.picker.on_block(now, key, block) else { return };
        if let Some(piece) = self.task.manifest.layout().piece(block.piece) {
            self.parts.entry(piece).or_default().push(Part { offset: block.offset, bytes, from: device });
        }
        if let Some(piece) = complete {
            let mut parts = self.parts.remove(&piece).unwrap_or_default();
            parts.sort_by_key(|p| p.offset);
            let bytes = parts.iter().map(|p| (p.from, p.bytes.len() as u64)).collect();
            let origin = Origin { contributors: self.picker.contributors(piece), bytes };
            let parts = parts.into_iter().map(|p| p.bytes).collect();
            self.unverified.push_back((RawPiece { piece, parts }, origin));
        }
    }

    /// Starts verifying while cores are free.
    fn verify_some(&mut self) {
        while self.verifying.len() < self.hashers {
            let Some((raw, origin)) = self.unverified.pop_front() else { return };
            let (manifest, disk) = (Arc::clone(&self.task.manifest), Arc::clone(&self.task.disk));
            self.verifying.push(tokio::task::spawn_blocking(move || {
                let piece = raw.piece;
                let verified = verify(&manifest, raw).map_err(Trouble::Rejected);
                let outcome = verified.and_then(|v| disk.write(&v).map_err(Trouble::Disk));
                Checked { piece, origin, outcome }
            }));
        }
    }

    fn on_checked(&mut self, checked: Result<Checked, tokio::task::JoinError>) -> Result<(), Error> {
        let Checked { piece, origin, outcome } =
            checked.map_err(|e| Error::Internal(format!("a piece was not verified: {e}")))?;
        match outcome {
            Ok(()) => self.on_written(piece, &origin),
            Err(Trouble::Rejected(Rejected::Bad)) => self.on_bad(piece, &origin.contributors),
            Err(Trouble::Rejected(Rejected::ManifestLies)) => {
                let text = "the share's list of SHA-1 sums is wrong, so it can never be verified; its publisher has to upload it again";
                return Err(Error::Integrity(text.to_owned()));
            }
            Err(Trouble::Disk(e)) => {
                self.picker.forget(piece);
                return Err(Error::from_io("write", &self.task.disk.destination().path(), e));
            }
        }
        self.mark_starved();
        Ok(())
    }

    fn on_written(&mut self, piece: PieceIndex, origin: &Origin) {
        self.picker.on_written(piece);
        for (device, bytes) in &origin.bytes {
            if let Some(peer) = self.given.get_mut(device) {
                peer.bytes += bytes;
            }
        }
        self.have_bytes += u64::from(self.task.manifest.layout().len_of(piece));
        match &self.offer {
            Some(offer) => offer.add(piece),
            None => self.put_on_offer(),
        }
    }

    fn on_bad(&mut self, piece: PieceIndex, contributors: &[PeerKey]) {
        self.picker.on_bad(piece, contributors);
        let [liar] = *contributors else { return };
        let Some(line) = self.lines.get(&liar) else { return };
        let device = line.device;
        tracing::warn!(device = %format_args!("{device:.16}"), piece = piece.get(), "a seeder sent a bad piece, and is dropped");
        self.contacts.ban(device);
        if let Some(peer) = self.given.get_mut(&device) {
            peer.note = Some("sent wrong data and is not asked again");
        }
        self.drop_line(liar);
    }

    fn on_ended(&mut self, now: Instant, key: PeerKey, end: &PeerEnd) {
        let Some(line) = self.lines.get(&key) else { return };
        let device = line.device;
        let note = match end {
            PeerEnd::Violation(_) => {
                self.contacts.ban(device);
                Some("broke the protocol and is not asked again")
            }
            PeerEnd::Tls(TlsError::UnexpectedDevice { .. } | TlsError::WrongProtocol)
            | PeerEnd::Goodbye(Goodbye::Version(_)) => {
                self.contacts.useless(device);
                None
            }
            PeerEnd::Goodbye(Goodbye::Ticket | Goodbye::Revoked) => {
                self.wishes.send_modify(|w| w.void_tickets += 1);
                self.contacts.lost(now, device);
                None
            }
            _ => {
                self.contacts.lost(now, device);
                None
            }
        };
        if let Some(peer) = self.given.get_mut(&device) {
            peer.note = note.or(peer.note);
            self.trouble = Some(format!("the device of `{}`: {end}", peer.user));
        }
        tracing::debug!(device = %format_args!("{device:.16}"), "a seeder is gone: {end}");
        self.drop_line(key);
    }

    fn drop_line(&mut self, key: PeerKey) {
        if let Some(line) = self.lines.remove(&key) {
            self.received += line.total();
        }
        self.picker.remove_peer(key);
        self.mark_starved();
    }

    fn on_news(&mut self, news: News) -> Result<(), Error> {
        let now = Instant::now();
        match news {
            News::Peers(rows) => {
                self.contacts.replace(now, rows);
                self.trouble = None;
            }
            News::Peer(row) => self.contacts.appeared(now, row),
            News::Ticket(ticket) => {
                self.order_all(|| super::peer::ToPeer::Renew(ticket.clone()));
                self.ticket = Some(ticket);
            }
            News::Trouble(error) => self.trouble = Some(error.to_string()),
            News::Fatal(error) => return Err(error),
        }
        Ok(())
    }

    fn order_all(&self, order: impl Fn() -> super::peer::ToPeer) {
        self.lines.values().filter(|l| l.is_ready()).for_each(|l| {
            l.order(order());
        });
    }

    async fn on_tick(&mut self) -> Result<(), Error> {
        let now = Instant::now();
        for (&key, line) in &mut self.lines {
            let fresh = line.look(now);
            if fresh > 0 {
                self.picker.on_bytes(now, key, fresh);
            }
        }
        self.ticks = self.ticks.wrapping_add(1);
        if self.ticks.is_multiple_of(PICKER_TICKS) {
            self.picker.tick(now);
            self.mark_starved();
        }
        self.picker.set_memory(self.account.used() + self.account.free());
        let fruitful = self.is_fruitful();
        self.wishes.send_if_modified(|w| std::mem::replace(&mut w.hungry, !fruitful) == fruitful);
        self.tell_progress(now);
        self.sync_some(now).await
    }

    /// Makes durable what has been written, now and then, in the background.
    async fn sync_some(&mut self, now: Instant) -> Result<(), Error> {
        if let Some(syncing) = self.syncing.take_if(|s| s.is_finished()) {
            let synced = syncing.await.unwrap_or_else(|e| Err(io::Error::other(e)));
            synced.map_err(|e| Error::from_io("write", &self.task.disk.destination().path(), e))?;
        }
        let unsynced = self.task.disk.unsynced();
        let due = unsynced >= SYNC_BYTES || (unsynced > 0 && now.duration_since(self.synced) >= SYNC_AFTER);
        if due && self.syncing.is_none() {
            self.synced = now;
            let disk = Arc::clone(&self.task.disk);
            self.syncing = Some(tokio::task::spawn_blocking(move || disk.sync()));
        }
        Ok(())
    }

    /// After every event: what the picker wants done, new connections, new requests.
    fn follow_up(&mut self) {
        let now = Instant::now();
        self.verify_some();
        self.dial_some(now);
        self.act();
        self.request_some(now);
        self.act();
        self.account.set(self.picker.unfinished());
    }

    fn act(&mut self) {
        while let Some(action) = self.picker.poll_action() {
            match action {
                Action::Cancel(key, block) => {
                    if let Some(line) = self.lines.get_mut(&key) {
                        line.cancel(block);
                    }
                }
                Action::Snubbed(key) => {
                    if let Some(line) = self.lines.get_mut(&key) {
                        line.snubbed = true;
                    }
                }
                Action::Release(piece) => drop(self.parts.remove(&piece)),
            }
        }
    }

    fn request_some(&mut self, now: Instant) {
        let layout = self.task.manifest.layout();
        let block = layout.piece_len().min(u64::from(MAX_BLOCK_LEN));
        let ready = self.lines.values().filter(|l| l.is_ready()).count().max(1) as u64;
        let most = (self.account.used() + self.account.free()) / ready;
        let mut deaf = Vec::new();
        for (&key, line) in &mut self.lines {
            if !line.starved || !line.is_ready() {
                continue;
            }
            let room = line.room(most, block);
            if room < block {
                line.starved = false;
                continue;
            }
            let blocks = self.picker.next(now, key, room);
            line.starved = false;
            if !blocks.is_empty() && !line.request(blocks) {
                deaf.push(key);
            }
        }
        for key in deaf {
            let end = PeerEnd::Violation("it does not read what it is sent");
            self.on_ended(now, key, &end);
        }
    }

    /// Something may have become available for those who had nothing to do.
    fn mark_starved(&mut self) {
        self.lines.values_mut().for_each(|l| l.starved = true);
    }

    fn dial_some(&mut self, now: Instant) {
        let Some(ticket) = &self.ticket else { return };
        let room = MAX_PEERS.saturating_sub(self.contacts.engaged());
        if room == 0 {
            return;
        }
        let ticket = ticket.clone();
        for row in self.contacts.due(now, room) {
            self.dial(now, row, ticket.clone());
        }
    }

    fn dial(&mut self, now: Instant, row: PeerRow, ticket: Signed<Ticket>) {
        self.last_key += 1;
        let key = PeerKey(self.last_key);
        let (orders, orders_in) = mpsc::channel(ORDERS);
        let received = Arc::default();
        self.lines.insert(key, Line::new(now, row.device, orders, Arc::clone(&received)));
        let PeerRow { device, user, address } = row;
        self.given.entry(device).or_insert(PeerProgress { device, user, bytes: 0, rate: 0, note: None });
        let Key { group, file_id } = self.task.key;
        let hello = Hello { version: VERSION, group, file_id, ticket };
        let connector = self.ground.connector.clone();
        let (layout, pool) = (self.task.manifest.layout(), self.ground.shares.pool().clone());
        let (down, events) = (self.ground.down.clone(), self.events.clone());
        self.group.spawn("fetch", async move {
            let end = match dial(&connector, address, device).await {
                Ok((stream, round_trip)) => {
                    let this = Fetch { key, layout, round_trip, pool, down, received, events: events.clone() };
                    fetch(stream, hello, this, orders_in).await
                }
                Err(end) => end,
            };
            // A swarm that has gone does not care.
            let _ = events.send((key, FromPeer::Ended(end))).await;
        });
    }

    /// Serves what is there, unless this device shares the whole file already, and says so.
    fn put_on_offer(&mut self) {
        if self.offer.is_some() || self.ground.shares.offers(self.task.key) {
            return;
        }
        let have = self.picker.have().clone();
        self.offer = Some(self.ground.shares.offer_partial(
            self.task.key,
            self.task.manifest.layout(),
            self.task.disk.file(),
            have,
        ));
        let (directory, announced) = (Arc::clone(&self.ground.directory), Arc::clone(&self.announced));
        let request = Request::StartSeeding { group: self.task.group.clone(), file_id: self.task.key.file_id };
        self.group.spawn("announce", async move {
            match directory.call(request).await {
                Ok(_) => announced.store(true, Ordering::Relaxed),
                // The end of the download tries again.
                Err(error) => tracing::debug!(%error, "a partial share could not be announced"),
            }
        });
    }

    /// Whether anything comes, or could be asked for.
    fn is_fruitful(&self) -> bool {
        let fruitful = |(&key, line): (&PeerKey, &Line)| {
            line.is_ready() && !line.snubbed && (self.picker.in_flight(key) > 0 || self.picker.is_interesting(key))
        };
        !self.verifying.is_empty() || self.lines.iter().any(fruitful)
    }

    fn tell_progress(&mut self, now: Instant) {
        let received = self.received + self.lines.values().map(Line::total).sum::<u64>();
        self.meter.update(now, received);
        self.given.values_mut().for_each(|p| p.rate = 0);
        for line in self.lines.values() {
            if let Some(peer) = self.given.get_mut(&line.device) {
                peer.rate += line.rate();
            }
        }
        let fruitful = self.is_fruitful();
        if fruitful {
            self.waiting.since = now;
        }
        self.waiting.listed = self.contacts.hopeful() > 0;
        let reason = (!fruitful).then(|| self.waiting_reason());
        let mut peers: Vec<_> =
            self.given.values().filter(|p| p.bytes > 0 || p.rate > 0 || p.note.is_some()).cloned().collect();
        peers.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.device.cmp(&b.device)));
        self.progress.send_modify(|p| {
            p.state = if fruitful { State::Downloading } else { State::Waiting };
            p.have = self.have_bytes;
            p.rate = self.meter.rate();
            p.peers = peers;
            p.reason = reason;
            p.waiting = (!fruitful).then_some(self.waiting);
            p.error = None;
        });
    }

    fn waiting_reason(&self) -> String {
        let connected = self.lines.values().any(Line::is_ready);
        match &self.trouble {
            Some(trouble) => format!("no seeder can be used at the moment ({trouble})"),
            None if connected => "the seeders that are here have none of the missing pieces".to_owned(),
            None if self.waiting.listed => "connecting to the seeders".to_owned(),
            None => "no seeder of this file is online".to_owned(),
        }
    }
}
