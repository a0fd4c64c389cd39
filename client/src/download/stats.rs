//! What a running download tells people: who gave how much, how fast it goes, why it waits.
//!
//! Pure. Knows nothing of connections or pieces but what it is told.

use std::collections::HashMap;
use std::time::Instant;

use common::id::{DeviceId, UserName};

use super::progress::{PeerProgress, Progress, State, Waiting};
use crate::transfer::meter::Meter;

/// Why nobody comes whom the other tracker might name.
const UNLISTED: &str = "the tracker that can be reached does not know this share; the other one may";

/// See the module.
#[derive(Debug)]
pub(crate) struct DownloadStats {
    peers: HashMap<DeviceId, PeerProgress>,
    /// Verified bytes on the disk.
    have: u64,
    /// Bytes over connections that have ended.
    received: u64,
    meter: Meter,
    waiting: Waiting,
    /// The trackers have said who seeds the file.
    asked: bool,
    /// The tracker that answers does not know the share.
    unlisted: bool,
    trouble: Option<String>,
}

/// How things are at the moment.
pub(crate) struct Moment {
    /// Bytes over the connections that there are.
    pub(crate) received: u64,
    /// Bytes per second of each.
    pub(crate) rates: Vec<(DeviceId, u64)>,
    /// Something comes, or could be asked for.
    pub(crate) fruitful: bool,
    /// Some seeder serves us.
    pub(crate) served: bool,
    /// Some seeder may be of help, now or later.
    pub(crate) hopeful: bool,
}

impl DownloadStats {
    /// Begins at `now` with `have` bytes on the disk.
    pub(crate) fn new(now: Instant, have: u64) -> Self {
        Self {
            peers: HashMap::new(),
            have,
            received: 0,
            meter: Meter::new(now, 0),
            waiting: Waiting { since: now, listed: false },
            asked: false,
            unlisted: false,
            trouble: None,
        }
    }

    /// A seeder that is being asked.
    pub(crate) fn meet(&mut self, device: DeviceId, user: UserName) {
        self.peers.entry(device).or_insert(PeerProgress { device, user, bytes: 0, rate: 0, note: None });
    }

    /// A verified piece came from these.
    pub(crate) fn credit(&mut self, origin: &[(DeviceId, u64)]) {
        for (device, bytes) in origin {
            self.have += bytes;
            if let Some(peer) = self.peers.get_mut(device) {
                peer.bytes += bytes;
            }
        }
    }

    /// Something that people should know of a seeder.
    pub(crate) fn note(&mut self, device: DeviceId, note: &'static str) {
        if let Some(peer) = self.peers.get_mut(&device) {
            peer.note = Some(note);
        }
    }

    /// A connection over which `received` bytes came has ended.
    pub(crate) fn ended(&mut self, received: u64) {
        self.received += received;
    }

    /// What went wrong last with a seeder.
    pub(crate) fn peer_trouble(&mut self, device: DeviceId, what: &dyn std::fmt::Display) {
        if let Some(peer) = self.peers.get(&device) {
            self.trouble = Some(format!("the device of `{}`: {what}", peer.user));
        }
    }

    /// The trackers have said who seeds the file.
    pub(crate) fn answered(&mut self) {
        self.asked = true;
        self.unlisted = false;
        self.trouble = None;
    }

    /// The tracker that answers does not know the share, and nothing is known of the other one.
    pub(crate) fn unlisted(&mut self) {
        self.answered();
        self.unlisted = true;
    }

    /// What went wrong last, or that nothing is wrong.
    pub(crate) fn trouble(&mut self, trouble: Option<String>) {
        self.trouble = trouble;
    }

    /// Tells how things are.
    pub(crate) fn tell(&mut self, now: Instant, moment: &Moment, progress: &mut Progress) {
        self.meter.update(now, self.received + moment.received);
        self.peers.values_mut().for_each(|p| p.rate = 0);
        for (device, rate) in &moment.rates {
            if let Some(peer) = self.peers.get_mut(device) {
                peer.rate += rate;
            }
        }
        if moment.fruitful {
            self.waiting.since = now;
        }
        self.waiting.listed = moment.hopeful;
        let beginning = self.is_beginning(moment);
        progress.state = if moment.fruitful || beginning { State::Downloading } else { State::Waiting };
        if progress.state == State::Waiting {
            // Nothing comes: what did is not spread over the time since, nor over what comes later.
            self.meter = Meter::new(now, self.received + moment.received);
        }
        progress.have = self.have;
        progress.rate = self.meter.rate();
        progress.peers = self.shown();
        progress.reason = (!moment.fruitful && !beginning).then(|| self.reason(moment));
        progress.waiting = (!moment.fruitful).then_some(self.waiting);
        progress.error = None;
    }

    /// Whether nothing has gone wrong, and nothing can have come yet: the trackers are being asked, or seeders dialled.
    fn is_beginning(&self, moment: &Moment) -> bool {
        let dialled = moment.hopeful && !moment.served && self.received == 0 && moment.received == 0;
        self.trouble.is_none() && (!self.asked || dialled)
    }

    /// Those of whom there is something to say, who gave most first.
    fn shown(&self) -> Vec<PeerProgress> {
        let worth = |p: &&PeerProgress| p.bytes > 0 || p.rate > 0 || p.note.is_some();
        let mut peers: Vec<_> = self.peers.values().filter(worth).cloned().collect();
        peers.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.device.cmp(&b.device)));
        peers
    }

    fn reason(&self, moment: &Moment) -> String {
        match &self.trouble {
            Some(trouble) => format!("no seeder can be used at the moment ({trouble})"),
            None if moment.served => "the seeders that are here have none of the missing pieces".to_owned(),
            None if moment.hopeful => "connecting to the seeders".to_owned(),
            None if self.unlisted => UNLISTED.to_owned(),
            None => "no seeder of this file is online".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(fruitful: bool, served: bool, hopeful: bool) -> Moment {
        Moment { received: 0, rates: Vec::new(), fruitful, served, hopeful }
    }

    #[test]
    fn the_reason_names_what_is_missing() {
        let now = Instant::now();
        let mut stats = DownloadStats::new(now, 5);
        let device = DeviceId::new([1; 32]);
        stats.meet(device, "carol".parse().expect("a name"));
        let mut progress = Progress::begun(100);
        stats.answered();
        let mut reason = |stats: &mut DownloadStats, moment| {
            stats.tell(now, &moment, &mut progress);
            assert_eq!(progress.have, 5);
            progress.reason.clone().unwrap_or_default()
        };
        assert_eq!(reason(&mut stats, moment(true, true, true)), "");
        assert!(reason(&mut stats, moment(false, false, false)).contains("no seeder of this file"));
        assert!(reason(&mut stats, moment(false, true, true)).contains("none of the missing pieces"));
        stats.peer_trouble(device, &"it cannot be reached");
        assert!(reason(&mut stats, moment(false, false, true)).contains("the device of `carol`: it cannot be reached"));
    }

    #[test]
    fn a_beginning_is_not_called_waiting_until_something_is_wrong() {
        let now = Instant::now();
        let mut stats = DownloadStats::new(now, 0);
        let device = DeviceId::new([1; 32]);
        let mut progress = Progress::begun(100);
        let mut state = |stats: &mut DownloadStats, moment| {
            stats.tell(now, &moment, &mut progress);
            assert_eq!(progress.reason.is_some(), progress.state == State::Waiting);
            assert!(progress.waiting.is_some(), "scripts count from here all the same");
            progress.state
        };
        assert_eq!(state(&mut stats, moment(false, false, false)), State::Downloading, "nobody has answered yet");
        stats.answered();
        stats.meet(device, "carol".parse().expect("a name"));
        assert_eq!(state(&mut stats, moment(false, false, true)), State::Downloading, "being dialled");
        stats.peer_trouble(device, &"it cannot be reached");
        assert_eq!(state(&mut stats, moment(false, false, true)), State::Waiting);
        stats.answered();
        assert_eq!(state(&mut stats, moment(false, false, false)), State::Waiting, "nobody seeds it");
        let mut unreachable = DownloadStats::new(now, 0);
        unreachable.trouble(Some("no tracker".to_owned()));
        assert_eq!(state(&mut unreachable, moment(false, false, false)), State::Waiting);
    }

    #[test]
    fn what_only_one_tracker_can_be_asked_about_and_it_does_not_know_is_said_to_be_so() {
        let now = Instant::now();
        let mut stats = DownloadStats::new(now, 5);
        let mut progress = Progress::begun(100);
        stats.unlisted();
        stats.tell(now, &moment(false, false, false), &mut progress);
        assert_eq!((progress.state, progress.reason.as_deref()), (State::Waiting, Some(UNLISTED)));
        stats.answered();
        stats.tell(now, &moment(false, false, false), &mut progress);
        assert_eq!(progress.reason.as_deref(), Some("no seeder of this file is online"));
    }

    #[test]
    fn nothing_comes_at_any_rate_while_it_waits() {
        let (start, step) = (Instant::now(), std::time::Duration::from_millis(250));
        let mut stats = DownloadStats::new(start, 0);
        let mut progress = Progress::begun(1 << 30);
        stats.answered();
        let mut tell = |stats: &mut DownloadStats, ticks: u32, received, fruitful| {
            let moment = Moment { received, ..moment(fruitful, fruitful, fruitful) };
            stats.tell(start + ticks * step, &moment, &mut progress);
            progress.rate
        };
        for tick in 1..=8 {
            tell(&mut stats, tick, u64::from(tick) * 100_000, true);
        }
        assert!((390_000..=400_000).contains(&tell(&mut stats, 9, 900_000, true)));
        stats.ended(900_000);
        assert_eq!(tell(&mut stats, 10, 0, false), 0, "at once");
        assert_eq!(tell(&mut stats, 70, 0, false), 0);
        assert!((390_000..=400_000).contains(&tell(&mut stats, 71, 100_000, true)), "at once again");
    }

    #[test]
    fn waiting_counts_from_when_things_last_went_well() {
        let (start, step) = (Instant::now(), std::time::Duration::from_secs(1));
        let mut stats = DownloadStats::new(start, 0);
        let mut progress = Progress::begun(100);
        stats.tell(start + step, &moment(true, true, true), &mut progress);
        assert!(progress.waiting.is_none());
        stats.tell(start + 2 * step, &moment(false, false, true), &mut progress);
        stats.tell(start + 3 * step, &moment(false, false, false), &mut progress);
        assert_eq!(progress.waiting, Some(Waiting { since: start + step, listed: false }));
    }
}
