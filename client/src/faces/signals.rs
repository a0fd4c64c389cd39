//! Requests to stop, from the terminal and from the system.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Listens to what asks this process to stop. Keep one for as long as it runs: a signal that comes
/// while nobody waits is delivered to the next wait.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
    ended: CancellationToken,
    put_back: Option<Stop>,
}

/// Who asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Ctrl-C, SIGINT.
    Interrupt,
    /// SIGTERM, or the terminal is gone.
    Terminate,
    /// The client has ended, or is about to: somebody else said `shutdown`, or its process is gone.
    Ended,
}

impl Signals {
    /// From now on none of these signals ends the process by itself.
    pub(crate) fn listen() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
            ended: CancellationToken::new(),
            put_back: None,
        })
    }

    /// From now on the end of a client counts as well.
    pub(crate) fn end_with(&mut self, ended: CancellationToken) {
        self.ended = ended;
    }

    /// What comes next is this one, which was meant for somebody else.
    pub(crate) const fn put_back(&mut self, stop: Stop) {
        self.put_back = Some(stop);
    }

    /// What was put back, if it was, and is then forgotten.
    pub(crate) const fn take_back(&mut self) -> Option<Stop> {
        self.put_back.take()
    }

    /// The next one; an end is told each time. Cancel safe.
    pub(crate) async fn next(&mut self) -> Stop {
        if let Some(stop) = self.put_back.take() {
            return stop;
        }
        tokio::select! {
            _ = self.interrupt.recv() => Stop::Interrupt,
            _ = self.terminate.recv() => Stop::Terminate,
            _ = self.hang_up.recv() => Stop::Terminate,
            () = self.ended.cancelled() => Stop::Ended,
        }
    }
}
