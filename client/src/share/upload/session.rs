//! A leecher that was let in: whether it may stay, and what it says.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::id::{DeviceId, UserId};
use common::ticket::{Revocation, Signed, Ticket};
use common::wire::peer::{Goodbye, Hello, LeecherFrame, VERSION};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::allowance::Statements;
use super::block_sender::BlockSender;
use super::pace::{LOOK, Pace};
use super::{End, Host, Reader, Writer};
use crate::share::connection_limiter::ConnectionSlot;
use crate::share::offer::{Key, Offer};
use crate::share::queue::{Asked, Queue};
use crate::share::stats::Connected;
use crate::transfer::rate::RateLimits;

/// How long the writer may take to finish what a leecher that rests has got already.
const RESTS_WITHIN: Duration = Duration::from_secs(1);
/// How often a ticket is looked at again, whatever timers say.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// A leecher that was let in.
pub(super) struct UploadSession<'a> {
    // Immutable.
    pub(super) host: &'a Host,
    pub(super) connection_slot: &'a ConnectionSlot,
    pub(super) offer: Arc<Offer>,
    pub(super) connected: Connected,
    device: DeviceId,
    /// How fast it may be served.
    pub(super) up: RateLimits,
    /// Whose memory and places it takes from.
    pub(super) user: UserId,
    /// The ticket it came with.
    shown: Signed<Ticket>,
    // Each guards itself.
    ticket: watch::Sender<Ticket>,
    pub(super) queue: Queue,
    /// Set while a frame or run is partly written.
    pub(super) writing: AtomicBool,
    /// Set while we wait for the leecher to take something.
    pub(super) pushing: AtomicBool,
}

impl<'a> UploadSession<'a> {
    pub(super) fn admit(
        hello: Hello,
        device: DeviceId,
        host: &'a Host,
        connection_slot: &'a ConnectionSlot,
    ) -> Result<Self, Goodbye> {
        if hello.version != VERSION {
            return Err(Goodbye::Version(VERSION));
        }
        let cluster = (host.cluster)().ok_or(Goodbye::Ticket)?;
        let ticket = hello.ticket.admit(&cluster, device, hello.group, host.clock.span()).map_err(|error| {
            tracing::debug!(%error, "a leecher's ticket was refused");
            Goodbye::Ticket
        })?;
        if host.revocations.cover(&ticket) {
            return Err(Goodbye::Revoked);
        }
        let offer = host.offers.get(Key { group: hello.group, file_id: hello.file_id }).ok_or(Goodbye::NotShared)?;
        if !connection_slot.admit(ticket.user) {
            return Err(Goodbye::Busy);
        }
        host.reached.note(connection_slot.origin);
        Ok(Self {
            host,
            connection_slot,
            connected: host.stats.connect(offer.key),
            up: RateLimits::of([
                host.limits.up_of((hello.group, hello.file_id)),
                host.limits.of(hello.group).up,
                host.limits.up.clone(),
            ]),
            offer,
            device,
            user: ticket.user,
            shown: hello.ticket,
            ticket: watch::Sender::new(ticket),
            queue: Queue::default(),
            writing: AtomicBool::new(false),
            pushing: AtomicBool::new(false),
        })
    }

    /// Until the end; says also whether the writer is between two frames.
    pub(super) async fn stay<S: AsyncRead + AsyncWrite>(
        &self,
        reader: &mut Reader<S>,
        writer: &mut Writer<S>,
        statements: &mut Statements,
    ) -> (End, bool) {
        statements.greeted(&self.shown);
        let end = tokio::select! {
            biased;
            goodbye = self.gate() => goodbye.into(),
            end = self.intake(reader, statements) => end,
            end = BlockSender::new(self, writer).run() => end,
            () = self.pace() => End::Slow,
        };
        (end, !self.writing.load(Ordering::Relaxed))
    }

    /// Resolves when the leecher may be here no longer.
    async fn gate(&self) -> Goodbye {
        let mut ticket = self.ticket.subscribe();
        let mut revocations = self.host.revocations.watch();
        loop {
            let left = {
                let ticket = ticket.borrow_and_update();
                if revocations.borrow_and_update().cover(&ticket) {
                    return Goodbye::Revoked;
                }
                self.remaining(&ticket)
            };
            if left.is_zero() {
                return Goodbye::Ticket;
            }
            tokio::select! {
                _ = ticket.changed() => {}
                _ = revocations.changed() => {}
                // By the trackers' time, which goes on while the machine sleeps, as timers do not.
                () = sleep(left.min(LOOK_AGAIN)) => {}
                () = self.offer.ended() => return Goodbye::NotShared,
                () = self.connection_slot.evicted() => return Goodbye::Busy,
            }
        }
    }

    /// How long `ticket` still holds, by the trackers' time. That goes on while no tracker can be reached: a seeder that is
    /// cut off serves on, because each ticket shows that a tracker let its holder in within the last two minutes, and
    /// serves nobody for longer than that whom it ought to have heard of.
    fn remaining(&self, ticket: &Ticket) -> Duration {
        let (earliest, _) = self.host.clock.span();
        Duration::from_secs(ticket.honoured_until().saturating_add(1).saturating_sub(earliest))
    }

    /// Resolves when the leecher takes too little of what is sent.
    async fn pace(&self) {
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut pace: Option<Pace> = None;
        loop {
            look.tick().await;
            if !self.pushing.load(Ordering::Relaxed) {
                pace = None;
                continue;
            }
            let (now, taken) = (Instant::now(), self.connection_slot.taken.bytes());
            let pace = pace.get_or_insert_with(|| Pace::new(now, taken));
            if pace.is_too_slow(now, taken, self.host.memory.is_short_because_of(self.user)) {
                return;
            }
        }
    }

    /// Reads what the leecher says.
    async fn intake<S: AsyncRead + AsyncWrite>(&self, reader: &mut Reader<S>, statements: &mut Statements) -> End {
        loop {
            let heard = match reader.next().await {
                Ok(Some(LeecherFrame::Rest)) => return self.come_to_rest().await,
                Ok(Some(message)) => self.hear(message, statements),
                Ok(None) => return End::Left,
                Err(e) => return e.into(),
            };
            if let Err(goodbye) = heard {
                return goodbye.into();
            }
        }
    }

    /// The leecher has all that it asked for. The writer may not have noticed yet that the last of it has left.
    async fn come_to_rest(&self) -> End {
        let by = Instant::now() + RESTS_WITHIN;
        while self.writing.load(Ordering::Relaxed) || !self.queue.is_empty() {
            if Instant::now() > by {
                return Goodbye::Violation.into();
            }
            sleep(Duration::from_millis(1)).await;
        }
        End::Rests
    }

    fn hear(&self, message: LeecherFrame, statements: &mut Statements) -> Result<(), Goodbye> {
        match message {
            LeecherFrame::Request { number, block } => {
                let (_, block) = self.offer.layout.check(block).ok_or(Goodbye::Violation)?;
                self.queue.push(Asked { number, block, sent: 0, cancelled: false })
            }
            LeecherFrame::Cancel { number } => {
                self.queue.cancel(number);
                Ok(())
            }
            LeecherFrame::Renew(newer) => self.renew(&newer, statements),
            LeecherFrame::Revoked(signed) => self.hear_revoked(signed, statements),
            LeecherFrame::Hello(_) | LeecherFrame::Rest => Err(Goodbye::Violation),
        }
    }

    fn renew(&self, newer: &Signed<Ticket>, statements: &mut Statements) -> Result<(), Goodbye> {
        if !statements.renewal(newer, Instant::now()).ok_or(Goodbye::Violation)? {
            return Ok(());
        }
        let cluster = (self.host.cluster)().ok_or(Goodbye::Ticket)?;
        let newer = newer.admit(&cluster, self.device, self.offer.key.group, self.host.clock.span());
        self.ticket.send_replace(newer.map_err(|_| Goodbye::Ticket)?);
        Ok(())
    }

    /// One that is known already costs a look; the others a signature each, so they are counted.
    fn hear_revoked(&self, signed: Signed<Revocation>, statements: &mut Statements) -> Result<(), Goodbye> {
        if self.host.revocations.knows(&signed) {
            return Ok(());
        }
        if !statements.revocation(Instant::now()) {
            return Err(Goodbye::Violation);
        }
        if let Some(cluster) = (self.host.cluster)() {
            self.host.revocations.add_gossiped(signed, &cluster);
        }
        Ok(())
    }
}
