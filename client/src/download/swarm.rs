//! One running download: the picker, the connections, and the way of a piece from one to the other.
//!
//! One task owns everything here; connections, hashing, syncing and the scout run beside it and send
//! it events. It never waits for the network or the disk itself. Invariant: every block that comes is either
//! in `parts` (its piece is begun), in a piece that is being verified and written, or dropped.

use std::collections::HashMap;
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
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::assembly::{Assembly, Checked, Origin, Trouble};
use super::contacts::Contacts;
use super::disk::Disk;
use super::line::Line;
use super::peer::{Event, Fetch, FromPeer, PeerEnd, ToPeer, dial, fetch};
use super::picker::{Action, BlockOutcome, PeerKey, Picker, Strategy};
use super::progress::Progress;
use super::scout::{News, Scout, Wish};
use super::tally::{Moment, Tally};
use super::verify::Rejected;
use crate::error::Error;
use crate::share::{Key, Offer, Shares};
use crate::transfer::Directory;
use crate::transfer::pool::{Account, Budget, Buffer};
use crate::transfer::rate::RateLimit;

/// Connections of one download.
const MAX_PEERS: usize = 50;
/// Events that connections may be ahead of the swarm.
const EVENTS: usize = 64;
/// Orders that the swarm may be ahead of a connection.
const ORDERS: usize = 256;
/// Bytes that may wait to be verified and written while as much is under way as windows allow,
const BEHIND: u64 = 12 << 20;
/// or this many pieces, if they are long.
const BEHIND_PIECES: u64 = 4;
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

    picker: Picker,
    contacts: Contacts,
    lines: HashMap<PeerKey, Line>,
    last_key: u32,
    assembly: Assembly,
    syncing: Option<JoinHandle<io::Result<()>>>,
    synced: Instant,
    account: Account,
    ticket: Option<Signed<Ticket>>,
    offer: Option<Arc<Offer>>,
    tally: Tally,
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
        let have = layout.pieces().filter(|&p| task.have.has(p)).map(|p| u64::from(layout.len_of(p))).sum();
        Self {
            ground,
            task,
            group: ground.tasks.child(),
            progress,
            events,
            wishes: watch::Sender::new(Wish { hungry: true, void_tickets: 0 }),
            announced: Arc::default(),
            picker: Picker::new(layout, task.have.clone(), task.strategy, rand::random()),
            contacts: Contacts::new(ground.own),
            lines: HashMap::new(),
            last_key: 0,
            assembly: Assembly::new(Arc::clone(&task.manifest), Arc::clone(&task.disk)),
            syncing: None,
            synced: now,
            account: ground.budget.account(),
            ticket: None,
            offer: None,
            tally: Tally::new(now, have),
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
                // The rare ones first: blocks may come without a pause.
                () = stop.cancelled() => return End::Stopped,
                _ = tick.tick() => self.on_tick().await,
                Some(news) = news.recv() => self.on_news(news),
                _ = revocations.changed() => {
                    let latest = revocations.borrow_and_update().latest().map(|e| e.signed.clone());
                    latest.into_iter().for_each(|signed| self.order_all(|| ToPeer::Revoked(signed.clone())));
                    Ok(())
                }
                Some(checked) = self.assembly.next() => checked.and_then(|c| self.on_checked(c)),
                Some((key, event)) = events.recv() => {
                    self.on_event(key, event);
                    Ok(())
                }
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
        self.assembly.stop();
        while let Some(checked) = self.assembly.next().await {
            // An error here is met again by whoever goes on.
            let _ = checked.and_then(|c| self.on_checked(c));
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
                if let Some(ticket) = &self.ticket {
                    // It may have been renewed while we dialled.
                    line.order(ToPeer::Renew(ticket.clone()));
                }
                self.picker.add_peer(key, &has);
                self.picker.set_memory(self.memory());
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
            self.assembly.add(piece, block, bytes, device);
        }
        if let Some(piece) = complete {
            self.assembly.complete(piece, self.picker.contributors(piece));
        }
    }

    fn on_checked(&mut self, checked: Checked) -> Result<(), Error> {
        let Checked { piece, origin, outcome } = checked;
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
        self.tally.credit(&origin.bytes);
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
        self.tally.note(device, "sent wrong data and is not asked again");
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
        if let Some(note) = note {
            self.tally.note(device, note);
        }
        self.tally.peer_trouble(device, end);
        tracing::debug!(device = %format_args!("{device:.16}"), "a seeder is gone: {end}");
        self.drop_line(key);
    }

    fn drop_line(&mut self, key: PeerKey) {
        if let Some(line) = self.lines.remove(&key) {
            self.tally.ended(line.total());
        }
        self.picker.remove_peer(key);
        self.mark_starved();
    }

    fn on_news(&mut self, news: News) -> Result<(), Error> {
        let now = Instant::now();
        match news {
            News::Peers(rows) => {
                self.contacts.replace(now, rows);
                self.tally.trouble(None);
            }
            News::Peer(row) => self.contacts.appeared(now, row),
            News::Ticket(ticket) => {
                self.order_all(|| ToPeer::Renew(ticket.clone()));
                self.ticket = Some(ticket);
            }
            News::Trouble(error) => self.tally.trouble(Some(error.to_string())),
            News::Fatal(error) => return Err(error),
        }
        Ok(())
    }

    fn order_all(&self, order: impl Fn() -> ToPeer) {
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
        self.picker.set_memory(self.memory());
        let fruitful = self.is_fruitful();
        self.wishes.send_if_modified(|w| std::mem::replace(&mut w.hungry, !fruitful) == fruitful);
        self.tell_progress(now);
        self.sync_some(now).await
    }

    /// Bytes that unfinished pieces may take: what is under way, and enough behind it to keep the
    /// cores busy, as far as the budget goes.
    fn memory(&self) -> u64 {
        let under_way: u64 = self.lines.values().filter(|l| l.is_ready()).map(Line::window).sum();
        let behind = BEHIND.max(BEHIND_PIECES * self.task.manifest.layout().piece_len());
        (under_way + behind).min(self.account.used() + self.account.free())
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
                Action::Release(piece) => self.assembly.release(piece),
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
        self.tally.meet(device, user);
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
        self.assembly.is_busy() || self.lines.iter().any(fruitful)
    }

    fn tell_progress(&mut self, now: Instant) {
        let moment = Moment {
            received: self.lines.values().map(Line::total).sum(),
            rates: self.lines.values().map(|l| (l.device, l.rate())).collect(),
            fruitful: self.is_fruitful(),
            served: self.lines.values().any(Line::is_ready),
            hopeful: self.contacts.hopeful() > 0,
        };
        self.progress.send_modify(|progress| self.tally.tell(now, &moment, progress));
    }
}
