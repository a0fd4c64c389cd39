//! Named points at which a tracker kills itself, for tests with real processes. Only with the feature
//! `failpoints`, which no released program is built with: without it nothing of this is there.
//!
//! `SHOAL_FAILPOINT=after-commit:20` ends the process with SIGKILL when it comes by for the twentieth time.

/// Where a tracker can be made to die.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Point {
    /// A transaction is complete, and not committed.
    BeforeCommit,
    /// It is on disk, and nobody knows: it is not in the state, and neither who asked nor who ships it has been told.
    AfterCommit,
    /// Facts are in their tables, and that is not committed.
    InCheckpoint,
    /// It is, and the log still has their events.
    AfterCheckpoint,
    /// Events are on their way to the sibling, which has not acknowledged them.
    AfterShip,
    /// The sibling's events are on disk here, and not acknowledged.
    BeforeAcknowledgement,
    /// Some of the facts that stand for a log have been sent, and not all.
    SendingSnapshot,
    /// Some of them have been joined, and not all.
    JoiningSnapshot,
}

/// Comes by `point`; does not return if it is the one, and the time has come.
#[cfg(not(feature = "failpoints"))]
pub(crate) const fn reach(_: Point) {}

/// Comes by `point`; does not return if it is the one, and the time has come.
#[cfg(feature = "failpoints")]
pub(crate) fn reach(point: Point) {
    armed::reach(point);
}

#[cfg(feature = "failpoints")]
mod armed {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::Point;

    /// What the process is started with.
    const VARIABLE: &str = "SHOAL_FAILPOINT";

    struct Armed {
        point: Point,
        left: AtomicU32,
    }

    pub(super) fn reach(point: Point) {
        static ARMED: OnceLock<Option<Armed>> = OnceLock::new();
        let armed = ARMED.get_or_init(|| std::env::var(VARIABLE).ok().and_then(|text| parse(&text)));
        let Some(armed) = armed.as_ref().filter(|a| a.point == point) else { return };
        if armed.left.fetch_sub(1, Ordering::SeqCst) == 1 {
            die();
        }
    }

    fn parse(text: &str) -> Option<Armed> {
        let (name, times) = text.split_once(':')?;
        let point = match name {
            "before-commit" => Point::BeforeCommit,
            "after-commit" => Point::AfterCommit,
            "in-checkpoint" => Point::InCheckpoint,
            "after-checkpoint" => Point::AfterCheckpoint,
            "after-ship" => Point::AfterShip,
            "before-acknowledgement" => Point::BeforeAcknowledgement,
            "sending-snapshot" => Point::SendingSnapshot,
            "joining-snapshot" => Point::JoiningSnapshot,
            _ => return None,
        };
        Some(Armed { point, left: AtomicU32::new(times.parse().ok()?) })
    }

    /// As `kill -9` does it: no destructor, no flush, no farewell.
    fn die() -> ! {
        #[cfg(unix)]
        {
            use rustix::process::{Signal, getpid, kill_process};
            let _ = kill_process(getpid(), Signal::KILL);
        }
        std::process::abort()
    }
}
