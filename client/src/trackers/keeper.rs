//! Keeps one tracker connected: dials, carries frames to the hub, and dials again when the
//! connection ends, at growing intervals.
//!
//! Knows nothing of calls or logins.

use std::sync::Arc;
use std::time::Duration;

use common::address::HostPort;
use common::backoff::Backoff;
use common::task::TaskGroup;
use common::tls::DeviceKey;
use common::wire::client::{Call, ServerFrame, Welcome};
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

use super::link::{DialError, Heard, Link, OUTBOX};
use super::trust::{Learnt, Trust};

/// First delay between two attempts.
const RETRY_FIRST: Duration = Duration::from_millis(200);
/// Longest delay between two attempts.
const RETRY_MOST: Duration = Duration::from_secs(5);
/// A connection that lasted this long was a good one: the next delay is short again.
const GOOD: Duration = Duration::from_secs(2);

/// What a keeper tells the hub.
pub(super) enum Event {
    /// Connected and greeted.
    Up {
        /// Which tracker, by its place in the list, from 0.
        index: usize,
        /// Where calls go.
        outbox: mpsc::Sender<Call>,
        /// Ends the connection when cancelled.
        tasks: TaskGroup,
        /// What the tracker said of itself.
        welcome: Welcome,
        /// What its key told us.
        learnt: Learnt,
    },
    /// A frame has come.
    Frame(usize, ServerFrame),
    /// A part of a frame has come.
    Part(usize),
    /// The connection has ended, for this reason.
    Down(usize, String),
    /// The tracker could not be reached.
    Failed(usize, DialError),
}

/// One tracker of the list.
pub(super) struct Keeper {
    pub(super) index: usize,
    pub(super) address: HostPort,
    pub(super) device: DeviceKey,
    pub(super) trust: Arc<Trust>,
    pub(super) events: mpsc::Sender<Event>,
    /// Ends a wait between two attempts.
    pub(super) wake: Arc<Notify>,
    pub(super) tasks: TaskGroup,
}

impl Keeper {
    /// Runs for ever, after `head_start` for the trackers before it in the list.
    pub(super) async fn run(self, head_start: Duration) {
        let mut backoff = Backoff::new(RETRY_FIRST, RETRY_MOST);
        self.pause(head_start).await;
        loop {
            match Link::dial(&self.address, &self.device, &self.trust).await {
                Ok(link) => {
                    let begun = Instant::now();
                    self.carry(link).await;
                    if begun.elapsed() > GOOD {
                        backoff.reset();
                    }
                }
                Err(e) => self.tell(Event::Failed(self.index, e)).await,
            }
            self.pause(backoff.next_delay()).await;
        }
    }

    async fn carry(&self, link: Link) {
        let (outbox, calls) = mpsc::channel(OUTBOX);
        let (index, tasks) = (self.index, self.tasks.child());
        let (welcome, learnt) = (link.welcome.clone(), link.learnt);
        self.tell(Event::Up { index, outbox, tasks: tasks.clone(), welcome, learnt }).await;
        let mut frames = link.start(calls, tasks);
        let reason = loop {
            match frames.next().await {
                Ok(Heard::Frame(frame)) => self.tell(Event::Frame(index, *frame)).await,
                Ok(Heard::Part) => self.tell(Event::Part(index)).await,
                Err(reason) => break reason,
            }
        };
        // At the end of the client every connection ends; that is no news.
        if !self.tasks.is_cancelled() {
            self.tell(Event::Down(index, reason)).await;
        }
    }

    async fn pause(&self, delay: Duration) {
        tokio::select! {
            () = tokio::time::sleep(delay) => {}
            () = self.wake.notified() => {}
        }
    }

    async fn tell(&self, event: Event) {
        // The hub lives as long as the client; when it is gone, this task is about to end too.
        let _ = self.events.send(event).await;
    }
}
