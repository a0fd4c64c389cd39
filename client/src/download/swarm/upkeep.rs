//! What is done by the clock: counters, memory, syncing, and telling how it goes.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{IDLE_TICK, Swarm, TICK};
use crate::download::disk::SyncEvery;
use crate::download::peer_connection::PeerConnection;
use crate::download::picker::PeerKey;
use crate::download::stats::Moment;
use crate::error::Error;

/// Bytes that may wait to be verified and written while as much is under way as windows allow,
const BEHIND: u64 = 24 << 20;
/// or this many pieces, if they are long.
const BEHIND_PIECES: u64 = 4;
/// How often the picker looks after the peers, in ticks.
const PICKER_TICKS: u32 = 4;

impl Swarm<'_> {
    pub(super) async fn on_tick(&mut self) -> Result<(), Error> {
        let now = Instant::now();
        for (&key, connection) in &mut self.connections {
            let fresh = connection.look(now);
            if fresh > 0 {
                self.picker.on_bytes(now, key, fresh);
            }
            if connection.is_held_back() {
                self.picker.on_held_back(now, key);
            }
        }
        self.ticks = self.ticks.wrapping_add(1);
        if self.ticks.is_multiple_of(PICKER_TICKS) {
            self.picker.tick(now);
            self.mark_starved();
        }
        self.pass_on_revocations(now);
        self.picker.set_memory(self.memory());
        let fruitful = self.is_fruitful();
        self.wishes.send_if_modified(|w| std::mem::replace(&mut w.hungry, !fruitful) == fruitful);
        self.tell_progress(now);
        self.sync_some(now).await
    }

    /// How long to wait before looking again: not long while anything goes on, else until a seeder is to be dialled.
    pub(super) fn until_next_tick(&self, now: Instant) -> Duration {
        let busy = !self.connections.is_empty() || self.assembly.is_busy() || self.syncing.is_some();
        if busy || self.task.disk.unsynced() > 0 {
            return TICK;
        }
        let dial = self.contacts.next_due().map(|due| due.saturating_duration_since(now));
        dial.map_or(IDLE_TICK, |dial| dial.clamp(TICK, IDLE_TICK))
    }

    /// Bytes that unfinished pieces may take: what is under way, and enough behind it to keep the
    /// cores busy, as far as the budget goes.
    pub(super) fn memory(&self) -> u64 {
        let under_way: u64 = self.connections.values().filter(|l| l.is_ready()).map(PeerConnection::window).sum();
        let behind = BEHIND.max(BEHIND_PIECES * self.task.manifest.layout().piece_len());
        (under_way + behind).min(self.account.used() + self.account.free())
    }

    /// Makes durable what has been written, now and then, in the background.
    pub(super) async fn sync_some(&mut self, now: Instant) -> Result<(), Error> {
        if let Some(syncing) = self.syncing.take_if(|s| s.is_finished()) {
            let synced = syncing.await.unwrap_or_else(|e| Err(io::Error::other(e)));
            synced.map_err(|e| self.task.disk.failure(e))?;
        }
        let unsynced = self.task.disk.unsynced();
        let SyncEvery { time, bytes } = self.task.disk.sync_every();
        let due = unsynced >= bytes || (unsynced > 0 && now.duration_since(self.synced) >= time);
        if due && self.syncing.is_none() {
            self.synced = now;
            let disk = Arc::clone(&self.task.disk);
            self.syncing = Some(tokio::task::spawn_blocking(move || disk.sync()));
        }
        Ok(())
    }

    /// Whether anything comes, or could be asked for.
    fn is_fruitful(&self) -> bool {
        let fruitful = |(&key, connection): (&PeerKey, &PeerConnection)| {
            connection.serves_us()
                && !connection.snubbed
                && (self.picker.in_flight(key) > 0 || self.picker.is_interesting(key))
        };
        self.assembly.is_busy() || self.connections.iter().any(fruitful)
    }

    pub(super) fn tell_progress(&mut self, now: Instant) {
        let moment = Moment {
            received: self.connections.values().map(PeerConnection::total).sum(),
            rates: self.connections.values().map(|l| (l.device, l.rate())).collect(),
            fruitful: self.is_fruitful(),
            served: self.connections.values().any(PeerConnection::serves_us),
            hopeful: self.contacts.hopeful() > 0,
        };
        let files = self.task.disk.folder().map(|folder| folder.files());
        self.told.progress.send_modify(|progress| {
            self.stats.tell(now, &moment, progress);
            progress.files = files;
        });
        if self.told.pieces.receiver_count() > 0 {
            self.told.pieces.send_replace(self.picker.survey());
        }
    }
}
