//! Requests to stop, from the terminal and from the system.

use std::io;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// How long a line that was typed may take from the line editor to whoever asked, on a busy machine.
const ON_ITS_WAY: Duration = Duration::from_millis(500);

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

    /// What was typed at a terminal, after an interrupt has come as a signal. While a line is edited Ctrl-C is a key, so it was
    /// pressed between Enter and the line's arrival here: if the line `begins` something it is meant for that, and comes next
    /// again. `None` when no line arrives.
    pub(crate) async fn on_its_way<T>(
        &mut self,
        line: impl Future<Output = T>,
        begins: impl FnOnce(&T) -> bool,
    ) -> Option<T> {
        let typed = tokio::time::timeout(ON_ITS_WAY, line).await.ok()?;
        if begins(&typed) {
            self.put_back = Some(Stop::Interrupt);
        }
        Some(typed)
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

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    #[tokio::test]
    async fn an_interrupt_between_enter_and_the_line_is_for_what_the_line_begins() {
        let mut signals = Signals::listen().unwrap();
        let line = async {
            tokio::task::yield_now().await;
            "upload_file big lab"
        };
        assert_eq!(signals.on_its_way(line, |_| true).await, Some("upload_file big lab"));
        assert_eq!(signals.next().await, Stop::Interrupt);
        assert_eq!(signals.take_back(), None, "once");
    }

    #[tokio::test]
    async fn an_interrupt_while_nothing_was_entered_is_told_by_whoever_took_it() {
        let mut signals = Signals::listen().unwrap();
        assert_eq!(signals.on_its_way(async { "" }, |line| !line.is_empty()).await, Some(""));
        assert_eq!(signals.take_back(), None);
        assert_eq!(signals.on_its_way(pending::<()>(), |()| true).await, None);
        assert_eq!(signals.take_back(), None);
    }
}
