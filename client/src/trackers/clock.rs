//! The trackers' time, as this device measures it: tickets and revocations are dated by the trackers, so they are judged
//! by the trackers' clocks and never by this machine's.
//!
//! Each tracker tells its time when a connection is greeted, and again in each ticket that it issues. From there this
//! machine's monotonic clock counts on, so that a wall clock that is wrong, or is set, changes nothing. Before the first
//! tracker is met, the wall clock has to do.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use common::ticket::{self, UnixSeconds};
use tokio::time::Instant;

/// How old a ticket that a tracker hands out may be, in seconds: it gives the last one out again for a while, and its time
/// and ours are whole seconds.
const HANDED_OUT_FOR: UnixSeconds = 6;

/// The trackers' time. Clones are the same clock.
#[derive(Debug, Clone, Default)]
pub struct TrackerClock(Arc<Mutex<Vec<Reading>>>);

/// What one tracker said.
#[derive(Debug, Clone, Copy)]
struct Reading {
    /// Its place in the list.
    tracker: usize,
    told: UnixSeconds,
    at: Instant,
    /// The same moment by a clock that also counts while the machine sleeps.
    booted: Duration,
}

impl Reading {
    fn now(&self) -> UnixSeconds {
        let passed = self.at.elapsed().max(since_boot().saturating_sub(self.booted));
        self.told.saturating_add(passed.as_secs())
    }
}

/// Time since the machine was started, sleep included; the monotonic clock of most systems stands still meanwhile.
#[cfg(target_os = "linux")]
fn since_boot() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::new(u64::try_from(now.tv_sec).unwrap_or_default(), u32::try_from(now.tv_nsec).unwrap_or_default())
}

/// Not known: the monotonic clock has to do.
#[cfg(not(target_os = "linux"))]
fn since_boot() -> Duration {
    Duration::ZERO
}

impl TrackerClock {
    /// Notes that `tracker`, by its place in the list, has just said that it is `told`.
    pub(crate) fn measured(&self, tracker: usize, told: UnixSeconds) {
        let mut readings = self.lock();
        readings.retain(|r| r.tracker != tracker);
        readings.push(Reading { tracker, told, at: Instant::now(), booted: since_boot() });
    }

    /// Notes that `tracker` has just handed out a ticket that it dated `issued`. That may be one that it gave out a moment
    /// ago, so that an earlier date says nothing new, unless the tracker's clock was put back by more.
    pub(crate) fn dated(&self, tracker: usize, issued: UnixSeconds) {
        let reading = self.lock().iter().find(|r| r.tracker == tracker).map(Reading::now);
        let is_old_news = reading.is_some_and(|now| issued <= now && now - issued <= HANDED_OUT_FOR);
        if !is_old_news {
            self.measured(tracker, issued);
        }
    }

    /// Now, by the tracker that was heard last; by this machine's clock before the first.
    pub fn now(&self) -> UnixSeconds {
        self.lock().last().map_or_else(ticket::now, Reading::now)
    }

    /// Now, by the tracker whose clock is behind and by the one whose clock is ahead: the same when they agree. A
    /// statement that any of them may have dated is too old only by the first, and from the future only by the second.
    pub fn span(&self) -> (UnixSeconds, UnixSeconds) {
        let readings = self.lock();
        let times = || readings.iter().map(Reading::now);
        match (times().min(), times().max()) {
            (Some(first), Some(last)) => (first, last),
            _ => (ticket::now(), ticket::now()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Reading>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_trackers_time_goes_on_whatever_this_machine_thinks() {
        let clock = TrackerClock::default();
        assert!(clock.now().abs_diff(ticket::now()) <= 1, "nobody has said anything else");
        clock.measured(0, 1000);
        assert_eq!((clock.now(), clock.span()), (1000, (1000, 1000)));
        tokio::time::advance(Duration::from_secs(40)).await;
        assert_eq!(clock.now(), 1040);
        clock.measured(1, 1130);
        assert_eq!((clock.now(), clock.span()), (1130, (1040, 1130)));
        clock.measured(0, 1041);
        assert_eq!((clock.now(), clock.span()), (1041, (1041, 1130)), "the latest word of each counts");
    }

    #[tokio::test(start_paused = true)]
    async fn a_ticket_that_is_given_out_again_does_not_put_the_clock_back() {
        let clock = TrackerClock::default();
        clock.measured(0, 1000);
        tokio::time::advance(Duration::from_secs(30)).await;
        clock.dated(0, 1026);
        assert_eq!(clock.span(), (1030, 1030), "issued a moment ago");
        clock.dated(0, 1032);
        assert_eq!(clock.span(), (1032, 1032), "the tracker is ahead");
        clock.dated(0, 900);
        assert_eq!(clock.span(), (900, 900), "its clock was put back");
        clock.dated(1, 950);
        assert_eq!(clock.span(), (900, 950), "met for the first time");
    }

    /// Tickets from before a laptop was shut were honoured for two minutes after it was opened.
    #[cfg(target_os = "linux")]
    #[test]
    fn time_goes_on_while_the_machine_sleeps() {
        let hour = Duration::from_secs(3600);
        let slept = Reading { tracker: 0, told: 1000, at: Instant::now(), booted: since_boot().saturating_sub(hour) };
        let since = slept.now() - 1000;
        let all = since_boot().min(hour).as_secs();
        assert!((all..=all + 1).contains(&since), "{since} of {all}");
    }
}
