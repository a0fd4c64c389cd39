//! What the page remembers of what happened: lines for people, and the rates of the last minutes.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use common::escape::Escaped;

use crate::download::State;
use crate::engine::Event;
use crate::engine::events::{DownloadChange, ShareChange};
use crate::engine::news::{Happening, News};

/// Lines that are kept.
const LINES: usize = 200;
/// How often rates are looked at.
pub(super) const SAMPLE: Duration = Duration::from_secs(2);
/// Rates that are kept of each download: three minutes.
pub(super) const SAMPLES: usize = 90;

/// A line of the log.
#[derive(Debug, Clone)]
pub(super) struct Line {
    pub(super) at: SystemTime,
    pub(super) text: String,
    /// Whether somebody has to do something about it.
    pub(super) bad: bool,
}

/// See the module.
#[derive(Default)]
pub(super) struct Log(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    lines: VecDeque<Line>,
    /// Counts all lines there ever were.
    count: u64,
    rates: BTreeMap<u64, VecDeque<u64>>,
}

impl Log {
    /// Takes note of an event.
    pub(super) fn note(&self, event: &Event) {
        let line = match event {
            Event::News(news) => Some(told(news)),
            Event::Download(change) => download(change),
            Event::Share(ShareChange { group, name, seeded: true, .. }) => {
                Some((format!("{name} is shared with {group}"), false))
            }
            // What ended by itself is news, and told as such.
            Event::Share(_) | Event::Progress(_) | Event::Status(_) => None,
        };
        if let Some((text, bad)) = line {
            self.say(text, bad);
        }
    }

    /// Adds a line.
    pub(super) fn say(&self, text: String, bad: bool) {
        let mut kept = self.locked();
        kept.count += 1;
        kept.lines.push_front(Line { at: SystemTime::now(), text, bad });
        kept.lines.truncate(LINES);
    }

    /// The newest lines first.
    pub(super) fn lines(&self, most: usize) -> Vec<Line> {
        self.locked().lines.iter().take(most).cloned().collect()
    }

    /// The lines that came since there were `seen`, oldest first, and how many there are now.
    pub(super) fn since(&self, seen: u64) -> (Vec<Line>, u64) {
        let kept = self.locked();
        let new = usize::try_from(kept.count.saturating_sub(seen)).unwrap_or(LINES);
        (kept.lines.iter().take(new).rev().cloned().collect(), kept.count)
    }

    /// How many lines there ever were.
    pub(super) fn count(&self) -> u64 {
        self.locked().count
    }

    /// Takes note of the rates of all downloads that are on the list, in bytes per second.
    pub(super) fn sample(&self, rates: &[(u64, u64)]) {
        let mut kept = self.locked();
        kept.rates.retain(|n, _| rates.iter().any(|(listed, _)| listed == n));
        for (n, rate) in rates {
            let of = kept.rates.entry(*n).or_default();
            of.push_back(*rate);
            if of.len() > SAMPLES {
                of.pop_front();
            }
        }
    }

    /// The last rates of a download, oldest first.
    pub(super) fn rates(&self, n: u64) -> Vec<u64> {
        self.locked().rates.get(&n).map(|rates| rates.iter().copied().collect()).unwrap_or_default()
    }

    fn locked(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// News in the words of the page: elsewhere they name the command to type next.
fn told(news: &News) -> (String, bool) {
    let group = news.group.as_ref().map(ToString::to_string).unwrap_or_default();
    let user = news.user.as_ref().map(ToString::to_string).unwrap_or_default();
    match news.event {
        Happening::JoinRequested => (format!("{user} asks to join {group}"), false),
        Happening::Accepted => (format!("you are a member of {group} now"), false),
        Happening::SessionEnded => ("your login has ended; log in again".to_owned(), true),
        Happening::GoingOn => ("unfinished downloads of an earlier run go on".to_owned(), false),
        Happening::ShutDown
        | Happening::Removed
        | Happening::Lost
        | Happening::Unusable
        | Happening::SessionFile
        | Happening::SubscriptionProblem
        | Happening::SubscriptionEnded
        | Happening::ClockOff => (plain(&news.text), true),
        // The first sentence: what follows is a line to type.
        Happening::FileShared | Happening::Missed => (plain(news.text.split(": ").next().unwrap_or_default()), false),
        Happening::Rejected
        | Happening::Downloaded
        | Happening::MadeAdmin
        | Happening::UserRenamed
        | Happening::GroupRenamed
        | Happening::FirstContact
        | Happening::Connected
        | Happening::Switched
        | Happening::Behind
        | Happening::InvitationUsed
        | Happening::ShareEnded
        | Happening::ShareRenamed => (plain(&news.text), false),
    }
}

/// A text of the prompt for the page: without its quotation marks.
pub(super) fn plain(text: &str) -> String {
    text.replace('`', "")
}

/// A change of a download, if people should read of it.
fn download(change: &DownloadChange) -> Option<(String, bool)> {
    let row = &change.row;
    let name = format!("{} from {}", row.label(), row.group);
    let because = row.reason.as_ref().map(|r| format!(": {}", Escaped(r))).unwrap_or_default();
    Some(match row.state {
        _ if change.removed => return None,
        State::Downloading => (format!("downloading {name}"), false),
        State::Paused => (format!("paused {name}{because}"), row.reason.is_some()),
        State::Waiting => (format!("waiting for {name}{because}"), false),
        State::Complete => (format!("{name} is complete and verified"), false),
        State::Failed => (format!("{name} has failed{because}"), true),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_bounded_and_what_is_new_can_be_told() {
        let log = Log::default();
        (0..LINES + 5).for_each(|n| log.say(n.to_string(), false));
        assert_eq!(log.lines(LINES * 2).len(), LINES);
        let (new, count) = log.since(LINES as u64 + 3);
        assert_eq!(new.iter().map(|l| l.text.as_str()).collect::<Vec<_>>(), ["203", "204"]);
        assert!(log.since(count).0.is_empty());
    }

    #[test]
    fn rates_are_of_the_downloads_on_the_list_and_of_the_last_minutes() {
        let log = Log::default();
        (0..SAMPLES as u64 + 2).for_each(|rate| log.sample(&[(1, rate), (2, 0)]));
        assert_eq!((log.rates(1).len(), log.rates(1)[0]), (SAMPLES, 2));
        log.sample(&[(1, 7)]);
        assert!(log.rates(2).is_empty());
    }
}
