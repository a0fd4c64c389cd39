//! What comes: from connections, from the cores that verify and write, and from the discovery of peers.
//!
//! Each event changes the picker and what is kept; what is asked for because of it is decided in
//! [`orders`](super::orders), after every event.

use std::time::{Duration, Instant};

use common::pieces::{Bitfield, BlockRange, PieceIndex};
use common::tls::TlsError;
use common::wire::peer::Goodbye;

use super::Swarm;
use crate::download::assembly::{Checked, Origin, Trouble};
use crate::download::peer::{FromPeer, PeerEnd};
use crate::download::peer_connection::PeerConnection;
use crate::download::peer_discovery::News;
use crate::download::picker::{BlockOutcome, PeerKey};
use crate::download::verify::Rejected;
use crate::error::Error;
use crate::transfer::pool::Buffer;

impl Swarm<'_> {
    pub(super) fn on_event(&mut self, key: PeerKey, event: FromPeer) {
        let now = Instant::now();
        match event {
            FromPeer::Greeted { round_trip } => self.on_greeted(now, key, round_trip),
            FromPeer::Ready { has } => self.on_ready(now, key, &has),
            FromPeer::Have(piece) => {
                self.picker.peer_have(key, piece);
                if let Some(connection) = self.connections.get_mut(&key) {
                    connection.starved = true;
                }
            }
            FromPeer::Lost(piece) => self.picker.peer_lost(key, piece),
            FromPeer::Block(block, bytes) => self.on_block(now, key, block, bytes),
            FromPeer::Cancelled(block) => {
                let ours = self.connections.get_mut(&key).is_some_and(|l| l.answered(block));
                if !ours && let Some(piece) = self.task.manifest.layout().piece(block.piece) {
                    self.picker.peer_lost(key, piece);
                }
                self.mark_starved();
            }
            FromPeer::Ended(end) => self.on_ended(now, key, &end),
        }
    }

    /// While nobody serves us, the first to be greeted is asked as if it had everything: most have, and the round trip in
    /// which it says so is not waited for.
    fn on_greeted(&mut self, now: Instant, key: PeerKey, round_trip: Duration) {
        let assumed = !self.connections.values().any(PeerConnection::is_ready);
        let Some(connection) = self.connections.get_mut(&key) else { return };
        connection.greeted(round_trip);
        if assumed {
            connection.assumed = true;
            connection.ready(now);
            self.picker.add_peer(key, &Bitfield::full(self.task.manifest.layout()));
            self.picker.set_memory(self.memory());
        }
    }

    fn on_ready(&mut self, now: Instant, key: PeerKey, has: &Bitfield) {
        let Some(connection) = self.connections.get_mut(&key) else { return };
        self.contacts.useful(connection.device);
        if std::mem::take(&mut connection.assumed) {
            let layout = self.task.manifest.layout();
            layout.pieces().filter(|p| !has.has(*p)).for_each(|p| self.picker.peer_lost(key, p));
        } else {
            connection.ready(now);
            self.picker.add_peer(key, has);
        }
        if let Some(ticket) = &self.ticket {
            // It may have been renewed while we dialled.
            connection.renew(ticket);
        }
        self.picker.set_memory(self.memory());
        self.mark_starved();
    }

    fn on_block(&mut self, now: Instant, key: PeerKey, block: BlockRange, bytes: Buffer) {
        let Some(connection) = self.connections.get_mut(&key) else { return };
        let fresh = connection.look(now);
        connection.answered(block);
        connection.starved = true;
        connection.snubbed = false;
        let device = connection.device;
        self.picker.on_bytes(now, key, fresh);
        let BlockOutcome::Accepted { complete } = self.picker.on_block(now, key, block) else { return };
        if let Some(piece) = self.task.manifest.layout().piece(block.piece) {
            self.assembly.add(piece, block, bytes, device);
        }
        if let Some(piece) = complete {
            self.assembly.complete(piece, self.picker.contributors(piece));
        }
    }

    pub(super) fn on_checked(&mut self, checked: Checked) -> Result<(), Error> {
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
                return Err(self.task.disk.failure(e));
            }
        }
        self.mark_starved();
        Ok(())
    }

    fn on_written(&mut self, piece: PieceIndex, origin: &Origin) {
        self.picker.on_written(piece);
        self.stats.credit(&origin.bytes);
        match &self.offer {
            Some(offer) => offer.add(piece),
            None => self.put_on_offer(),
        }
    }

    fn on_bad(&mut self, piece: PieceIndex, contributors: &[PeerKey]) {
        self.picker.on_bad(piece, contributors);
        let [liar] = *contributors else { return };
        let Some(connection) = self.connections.get(&liar) else { return };
        let device = connection.device;
        tracing::warn!(device = %format_args!("{device:.16}"), piece = piece.get(), "a seeder sent a bad piece, and is dropped");
        self.contacts.ban(device);
        self.stats.note(device, "sent wrong data and is not asked again");
        self.drop_connection(liar);
    }

    pub(super) fn on_ended(&mut self, now: Instant, key: PeerKey, end: &PeerEnd) {
        let Some(connection) = self.connections.get(&key) else { return };
        let device = connection.device;
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
            self.stats.note(device, note);
        }
        self.stats.peer_trouble(device, end);
        tracing::debug!(device = %format_args!("{device:.16}"), "a seeder is gone: {end}");
        self.drop_connection(key);
    }

    fn drop_connection(&mut self, key: PeerKey) {
        if let Some(connection) = self.connections.remove(&key) {
            self.stats.ended(connection.total());
        }
        self.picker.remove_peer(key);
        self.mark_starved();
    }

    pub(super) fn on_news(&mut self, news: News) -> Result<(), Error> {
        let now = Instant::now();
        match news {
            News::Peers(rows) => {
                self.contacts.replace(now, rows);
                self.stats.answered();
            }
            News::Unlisted => {
                self.contacts.replace(now, Vec::new());
                self.stats.unlisted();
            }
            News::Peer(row) => self.contacts.appeared(now, row),
            News::Ticket(ticket) => {
                self.connections.values_mut().filter(|l| l.is_ready()).for_each(|l| l.renew(&ticket));
                self.ticket = Some(ticket);
            }
            News::Trouble(error) => self.stats.trouble(Some(error.to_string())),
            // What has come may be all that was missing.
            News::Withdrawn(_) if !self.connections.is_empty() || self.assembly.is_busy() => {}
            News::Withdrawn(error) | News::Fatal(error) => return Err(error),
        }
        Ok(())
    }
}
