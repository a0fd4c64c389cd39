//! What goes out after every event: what the picker wants done, new connections, new requests, and the news that
//! this device serves what it has.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use common::pieces::{MAX_BLOCK_LEN, PieceIndex};
use common::ticket::{Signed, Ticket};
use common::wire::client::PeerRow;
use common::wire::peer::{Hello, VERSION};
use tokio::sync::mpsc;

use super::Swarm;
use crate::download::peer::{Fetch, FromPeer, PeerEnd, fetch};
use crate::download::peer_connection::PeerConnection;
use crate::download::peer_stream::dial;
use crate::download::picker::{Action, PeerKey};
use crate::download::striped_peer::fetch_striped;
use crate::share::Key;

/// Seeders of one download that are connected.
const MAX_PEERS: usize = 50;
/// A lone seeder is asked over two connections for files of so many bytes and more.
const LARGE: u64 = 64 << 20;
/// Orders that the swarm may be ahead of a connection.
const ORDERS: usize = 256;

impl Swarm<'_> {
    /// Tells the seeders which tickets are void: one that the trackers cannot reach learns it from us.
    pub(super) fn pass_on_revocations(&mut self, now: Instant) {
        let known = self.revocations.borrow_and_update();
        self.connections.values_mut().filter(|l| l.is_ready()).for_each(|l| l.tell_of(now, &known));
    }

    /// After every event: what the picker wants done, new connections, new requests.
    pub(super) fn follow_up(&mut self) {
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
                    if let Some(connection) = self.connections.get_mut(&key) {
                        connection.cancel(block);
                    }
                }
                Action::Snubbed(key) => {
                    if let Some(connection) = self.connections.get_mut(&key) {
                        connection.snubbed = true;
                    }
                }
                Action::Release(piece) => self.assembly.release(piece),
            }
        }
    }

    fn request_some(&mut self, now: Instant) {
        let layout = self.task.manifest.layout();
        let block = layout.piece_len().min(u64::from(MAX_BLOCK_LEN));
        let ready = self.connections.values().filter(|l| l.is_ready()).count().max(1) as u64;
        let most = (self.account.used() + self.account.free()) / ready;
        let mut deaf = Vec::new();
        for (&key, connection) in &mut self.connections {
            if !connection.starved || !connection.is_ready() {
                continue;
            }
            let room = connection.room(most, block);
            if room < block {
                connection.starved = false;
                continue;
            }
            let blocks = self.picker.next(now, key, room);
            connection.starved = false;
            if !blocks.is_empty() && !connection.request(blocks) {
                deaf.push(key);
            }
        }
        for key in deaf {
            let end = PeerEnd::Violation("it does not read what it is sent");
            self.on_ended(now, key, &end);
        }
    }

    /// Something may have become available for those who had nothing to do.
    pub(super) fn mark_starved(&mut self) {
        self.connections.values_mut().for_each(|l| l.starved = true);
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
        let gauge = Arc::default();
        let two = self.task.manifest.layout().len() >= LARGE && self.contacts.hopeful() == 1;
        self.connections.insert(
            key,
            PeerConnection::new(now, row.device, 1 + u64::from(two), ticket.clone(), orders, Arc::clone(&gauge)),
        );
        let PeerRow { device, user, address } = row;
        self.stats.meet(device, user);
        let Key { group, file_id } = self.task.key;
        let hello = Hello { version: VERSION, group, file_id, ticket };
        let (connector, idle) = (self.ground.connector.clone(), self.ground.idle.clone());
        let (layout, pool) = (self.task.manifest.layout(), self.ground.shares.pool().clone());
        let (down, events) = (self.task.down.clone(), self.events.clone());
        let (tasks, keepers) = (self.fetches.child(), self.ground.tasks.clone());
        self.fetches.spawn("fetch", async move {
            let stream = match idle.take(device, address).await {
                Some(stream) => Ok(stream),
                None => dial(&connector, address, device).await,
            };
            let (end, rests) = match stream {
                Ok(stream) => {
                    let this = Fetch { key, layout, pool, down, gauge, events: events.clone() };
                    if two {
                        let again = async move { dial(&connector, address, device).await };
                        fetch_striped(stream, again, hello, this, orders_in, tasks).await
                    } else {
                        fetch(stream, hello, this, orders_in).await
                    }
                }
                Err(end) => (end, None),
            };
            if let Some(stream) = rests {
                idle.keep(device, address, stream, &keepers);
            }
            // A swarm that has gone does not care.
            let _ = events.send((key, FromPeer::Ended(end))).await;
        });
    }

    /// Serves what is there, unless this device shares the whole file already, and says so.
    pub(super) fn put_on_offer(&mut self) {
        if self.offer.is_some() || self.ground.shares.offers(self.task.key) {
            return;
        }
        let layout = self.task.manifest.layout();
        let mut have = self.picker.have().clone();
        let is_here = |p: &PieceIndex| self.task.wanted.has(*p) || self.task.have.has(*p);
        layout.pieces().filter(|p| !is_here(p)).for_each(|p| _ = have.clear(p));
        self.offer = Some(self.ground.shares.offer_partial(self.task.key, layout, self.task.disk.opened(), have));
        let (shares, announced) = (self.ground.shares.clone(), Arc::clone(&self.announced));
        let (group, key) = (self.task.group.clone(), self.task.key);
        self.group.spawn("announce", async move {
            match shares.tell_seeding(&group, key).await {
                Ok(told) => announced.store(told, Ordering::Relaxed),
                // The end of the download tries again.
                Err(error) => tracing::debug!(%error, "a partial share could not be announced"),
            }
        });
    }
}
