//! What an operator must know of the other tracker, said once per change. Pure: gives the sentences; time is passed in.

use std::time::{Duration, Instant};

use common::wire::client::Mode;

use super::machine::View;

/// A shorter time in solo is not worth a line: it is what a restart of the other tracker takes, and each start.
const WORTH_SAYING: Duration = Duration::from_secs(2);
/// Clocks that differ by fewer seconds are right; slow lines do not let it be known more exactly.
const CLOCKS_APART_S: u64 = 10;

/// What has been said.
#[derive(Debug, Default)]
pub(super) struct OperatorLog {
    /// Since when it is solo, if that was said.
    solo: Option<Instant>,
    /// Whether it was said that the other tracker is back and behind.
    behind: bool,
    clocks_apart: bool,
}

impl OperatorLog {
    /// What is to be said now that things are so.
    pub(super) fn sentences(&mut self, now: Instant, view: &View) -> Vec<String> {
        let mode = self.mode(now, view);
        let behind = self.behind(view);
        mode.into_iter().chain(behind).chain(self.clocks(view)).collect()
    }

    /// When to look again, though nothing else happens.
    pub(super) fn wake(&self, view: &View) -> Option<Instant> {
        (view.mode == Mode::Solo && self.solo.is_none()).then(|| view.mode_since + WORTH_SAYING)
    }

    fn mode(&mut self, now: Instant, view: &View) -> Option<String> {
        match (view.mode, self.solo) {
            (Mode::Solo, None) if now >= view.mode_since + WORTH_SAYING => {
                self.solo = Some(view.mode_since);
                let why = if view.linked { "keeps up too slowly" } else { "is away" };
                Some(format!(
                    "solo: the other tracker {why}; what is acknowledged now is on this tracker's disk alone until it \
                     has caught up"
                ))
            }
            (Mode::Dual, Some(since)) => {
                self.solo = None;
                self.behind = false;
                let lasted = now.saturating_duration_since(since).as_secs();
                Some(format!("dual again, after {lasted} s in solo: what is acknowledged now is on both disks"))
            }
            _ => None,
        }
    }

    fn behind(&mut self, view: &View) -> Option<String> {
        if !view.linked {
            self.behind = false;
        }
        let new = self.solo.is_some() && view.linked && view.lag > 0 && !self.behind;
        self.behind |= new;
        new.then(|| format!("the other tracker is connected and lacks {} events: they are being sent", view.lag))
    }

    fn clocks(&mut self, view: &View) -> Option<String> {
        let ahead = view.alarms.clock_ahead_s?;
        let apart = clocks_apart(ahead);
        if std::mem::replace(&mut self.clocks_apart, apart.is_some()) == apart.is_some() {
            return None;
        }
        Some(match apart {
            Some(text) => format!("{text}; set both by NTP: tickets and logins are dated by them"),
            None => "the clocks of both trackers agree again".to_owned(),
        })
    }
}

/// By how much the clocks differ, if that is more than it should be.
pub(crate) fn clocks_apart(ahead_s: i64) -> Option<String> {
    let by = ahead_s.unsigned_abs();
    let way = if ahead_s > 0 { "ahead of" } else { "behind" };
    (by >= CLOCKS_APART_S).then(|| format!("the other tracker's clock is {by} s {way} this one's"))
}

#[cfg(test)]
mod tests {
    use super::super::Alarms;
    use super::*;

    fn view(mode: Mode, mode_since: Instant) -> View {
        View { mode, linked: mode == Mode::Dual, ..View::alone(mode_since) }
    }

    #[test]
    fn solo_is_told_once_with_its_end_and_what_is_lacking() {
        let (t, mut log) = (Instant::now(), OperatorLog::default());
        let solo = view(Mode::Solo, t);
        assert_eq!(log.sentences(t, &solo), [""; 0]);
        assert_eq!(log.wake(&solo), Some(t + WORTH_SAYING));
        let told = log.sentences(t + WORTH_SAYING, &solo);
        assert!(told.len() == 1 && told[0].starts_with("solo: the other tracker is away"), "{told:?}");
        assert_eq!(log.sentences(t + 9 * WORTH_SAYING, &solo), [""; 0]);
        let back = View { linked: true, lag: 812, ..solo.clone() };
        assert_eq!(
            log.sentences(t, &back),
            ["the other tracker is connected and lacks 812 events: they are being sent"]
        );
        assert_eq!(log.sentences(t, &View { lag: 400, ..back }), [""; 0]);
        let later = t + Duration::from_secs(35);
        let dual = log.sentences(later, &view(Mode::Dual, later));
        assert_eq!(dual, ["dual again, after 35 s in solo: what is acknowledged now is on both disks"]);
        assert_eq!(log.sentences(later, &view(Mode::Dual, later)), [""; 0]);
    }

    #[test]
    fn clocks_that_differ_are_told_when_they_begin_to_and_cease_to() {
        let (t, mut log) = (Instant::now(), OperatorLog::default());
        let apart = |s| {
            let alarms = Alarms { clock_ahead_s: Some(s), ..Alarms::default() };
            View { alarms, ..view(Mode::Dual, t) }
        };
        assert_eq!(log.sentences(t, &apart(-9)), [""; 0]);
        assert!(log.sentences(t, &apart(-90))[0].contains("90 s behind"));
        assert_eq!(log.sentences(t, &apart(-91)), [""; 0]);
        assert!(log.sentences(t, &apart(3))[0].contains("agree again"));
        assert!(log.sentences(t, &apart(12))[0].contains("12 s ahead"));
    }
}
