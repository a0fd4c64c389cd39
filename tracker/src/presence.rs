//! Who is here, and where. A device announces itself and is here for a lease; when the connection on
//! which it did ends, it is gone at once. What it says to one tracker the other is told, so that a device that reaches
//! one alone is known to both.
//!
//! Invariant: of two announcements of a device the one with the higher serial holds, whichever tracker it was made
//! to. Time is passed in, and monotonic: no clock of the sibling's counts. What is here is noted in the database in
//! batches, so that a restarted tracker can answer before everybody has come back. Knows no groups and no files.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use common::id::{DeviceId, UserId};
use common::wire::limits::List;
use common::wire::sync::{self, Announcement};
use tokio::sync::Notify;

use crate::hub::ConnectionId;
use crate::store::PresenceRow;

/// How long an announcement holds. Clients repeat it three times as often.
pub const LEASE: Duration = Duration::from_secs(30);
/// Devices of the sibling that are known here at most.
const MAX_FORWARDED: usize = 1 << 16;

/// What became of an announcement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Announced {
    /// The device was not here, or elsewhere, or another user's.
    News,
    /// It is where it was.
    Renewed,
    /// A later announcement is known.
    Outdated,
}

/// What a device said to this tracker.
#[derive(Debug, Clone, Copy)]
struct Entry {
    row: PresenceRow,
    seen: Instant,
    /// Who said so; nobody, if it was read from the database.
    said_on: Option<ConnectionId>,
}

/// What a device said to the sibling.
#[derive(Debug, Clone, Copy)]
struct Forwarded {
    row: PresenceRow,
    /// On which connection of the two trackers it came.
    link: u64,
    /// When the sibling was last heard on that, if it is over.
    seen: Instant,
}

/// Everyone who is here.
#[derive(Debug, Default)]
pub struct Presence {
    /// Guards everything.
    inner: Mutex<Inner>,
    /// There is something to tell the sibling.
    changed: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    here: HashMap<DeviceId, Entry>,
    /// Not yet in the database.
    unsaved: HashSet<DeviceId>,
    // Of the sibling.
    forwarded: HashMap<DeviceId, Forwarded>,
    /// Counts the connections to it.
    link: u64,
    /// When it was last heard, while there is one.
    heard: Option<Instant>,
    /// Not yet told to it; nothing, while it does not listen.
    untold: HashSet<DeviceId>,
}

/// Everyone who is here or at the sibling, at one moment.
#[derive(Debug)]
pub struct Here<'a> {
    inner: MutexGuard<'a, Inner>,
    now: Instant,
}

impl Here<'_> {
    /// Where a user's device is, if it is here or at the sibling.
    pub fn address(&self, device: DeviceId, user: UserId) -> Option<SocketAddr> {
        self.inner.latest(device, self.now).filter(|row| row.user == user).map(|row| row.address)
    }
}

impl Presence {
    /// Begins with what was noted before the restart: it holds for one lease from `now`.
    pub fn restored(rows: Vec<PresenceRow>, now: Instant) -> Self {
        let here = rows.into_iter().map(|row| (row.device, Entry { row, seen: now, said_on: None })).collect();
        Self { inner: Mutex::new(Inner { here, ..Inner::default() }), changed: Notify::new() }
    }

    /// A device says where it is.
    pub fn announce(&self, row: PresenceRow, connection: ConnectionId, now: Instant) -> Announced {
        let mut inner = self.lock();
        let before = inner.latest(row.device, now);
        let here = inner.here.get(&row.device).filter(|e| holds(e, now)).copied();
        if here.is_some_and(|e| e.row.serial > row.serial) {
            return Announced::Outdated;
        }
        inner.here.insert(row.device, Entry { row, seen: now, said_on: Some(connection) });
        inner.unsaved.insert(row.device);
        // What was said to the sibling later holds, and this is known besides: the device may leave there.
        let news = before.is_none_or(|b| b.serial <= row.serial && !b.said(&row));
        // As long as nothing has changed, the sibling goes on believing what it was told.
        if news || here.is_none_or(|e| e.said_on.is_none() || !e.row.said(&row)) {
            self.tell(&mut inner, row.device);
        }
        if news { Announced::News } else { Announced::Renewed }
    }

    /// Where a user's device is, if it is here or at the sibling.
    pub fn address(&self, device: DeviceId, user: UserId, now: Instant) -> Option<SocketAddr> {
        self.here(now).address(device, user)
    }

    /// To ask of many devices. Nobody can announce anything meanwhile.
    pub fn here(&self, now: Instant) -> Here<'_> {
        Here { inner: self.lock(), now }
    }

    /// The connection on which a device announced itself is over, or its login is.
    pub fn leave(&self, device: DeviceId, connection: ConnectionId) {
        let mut inner = self.lock();
        if inner.here.get(&device).is_some_and(|e| e.said_on == Some(connection)) {
            inner.here.remove(&device);
            inner.unsaved.insert(device);
            self.tell(&mut inner, device);
        }
    }

    /// What the database does not know yet: who is here, and who is gone.
    pub fn take_unsaved(&self, now: Instant) -> (Vec<PresenceRow>, Vec<DeviceId>) {
        let mut inner = self.lock();
        let expired: Vec<_> = inner.here.extract_if(|_, e| !holds(e, now)).map(|(device, _)| device).collect();
        for device in &expired {
            self.tell(&mut inner, *device);
        }
        inner.unsaved.extend(expired);
        let (link, heard) = (inner.link, inner.heard);
        inner.forwarded.retain(|_, f| believed(f, link, heard, now));
        let Inner { here, unsaved, .. } = &mut *inner;
        let (mut rows, mut gone) = (Vec::new(), Vec::new());
        for device in unsaved.drain() {
            match here.get(&device) {
                Some(e) => rows.push(e.row),
                None => gone.push(device),
            }
        }
        (rows, gone)
    }

    // ---- The sibling ----

    /// There is a connection to the sibling.
    pub fn sibling_came(&self, now: Instant) {
        let mut inner = self.lock();
        inner.link += 1;
        inner.heard = Some(now);
    }

    /// The sibling gives a sign of life.
    pub fn sibling_lives(&self, now: Instant) {
        self.lock().heard = Some(now);
    }

    /// The connection is over: what the sibling has said holds for one lease from when it was last heard.
    pub fn sibling_went(&self) {
        let mut inner = self.lock();
        let Inner { forwarded, link, heard, untold, .. } = &mut *inner;
        if let Some(heard) = heard.take() {
            forwarded.values_mut().filter(|f| f.link == *link).for_each(|f| f.seen = heard);
        }
        untold.clear();
    }

    /// The sibling listens: it is to be told of everyone who is connected here.
    pub fn tell_everyone(&self) {
        let mut inner = self.lock();
        let connected = inner.here.iter().filter(|(_, e)| e.said_on.is_some()).map(|(device, _)| *device);
        inner.untold = connected.collect();
        self.changed.notify_one();
    }

    /// Up to `most` changes that the sibling has not been told.
    pub fn take_untold(&self, most: usize, now: Instant) -> Option<sync::Presence> {
        let mut inner = self.lock();
        let some: Vec<_> = inner.untold.iter().take(most).copied().collect();
        let (mut here, mut gone) = (Vec::new(), Vec::new());
        for device in some {
            inner.untold.remove(&device);
            match inner.here.get(&device).filter(|e| holds(e, now)) {
                Some(Entry { row, .. }) => here.push(row.announcement()),
                None => gone.push(device),
            }
        }
        let some = !here.is_empty() || !gone.is_empty();
        some.then(|| sync::Presence { here: List::first_of(here), gone: List::first_of(gone) })
    }

    /// Returns when there may be something to tell the sibling. Cancel safe.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// The sibling says who has come there and gone. Returns those who were not here, or elsewhere.
    pub fn hear(&self, changes: sync::Presence, now: Instant) -> Vec<PresenceRow> {
        let mut inner = self.lock();
        for device in changes.gone.into_vec() {
            inner.forwarded.remove(&device);
        }
        let mut news = Vec::new();
        for row in changes.here.into_vec().into_iter().map(PresenceRow::from) {
            let before = inner.latest(row.device, now).filter(|b| b.serial > row.serial || b.said(&row));
            if inner.forwarded.len() >= MAX_FORWARDED && !inner.forwarded.contains_key(&row.device) {
                break;
            }
            let link = inner.link;
            inner.forwarded.insert(row.device, Forwarded { row, link, seen: now });
            if before.is_none() {
                news.push(row);
            }
        }
        news
    }

    /// Notes a change for the sibling, if it listens.
    fn tell(&self, inner: &mut Inner, device: DeviceId) {
        if inner.heard.is_some() {
            inner.untold.insert(device);
            self.changed.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// The latest announcement of a device that holds, whichever tracker it was made to.
    fn latest(&self, device: DeviceId, now: Instant) -> Option<PresenceRow> {
        let here = self.here.get(&device).filter(|e| holds(e, now)).map(|e| e.row);
        let there = self.forwarded.get(&device).filter(|f| believed(f, self.link, self.heard, now)).map(|f| f.row);
        here.into_iter().chain(there).max_by_key(|row| row.serial)
    }
}

impl PresenceRow {
    /// Whether the device is where `other` says, under the same user.
    fn said(&self, other: &Self) -> bool {
        (self.address, self.user) == (other.address, other.user)
    }

    const fn announcement(&self) -> Announcement {
        let Self { device, user, address, serial } = *self;
        Announcement { device, user, address, serial }
    }
}

impl From<Announcement> for PresenceRow {
    fn from(said: Announcement) -> Self {
        let Announcement { device, user, address, serial } = said;
        Self { device, user, address, serial }
    }
}

fn holds(e: &Entry, now: Instant) -> bool {
    now.saturating_duration_since(e.seen) < LEASE
}

/// What the sibling said holds while it gives signs of life on the same connection, and for a lease after.
fn believed(f: &Forwarded, link: u64, heard: Option<Instant>, now: Instant) -> bool {
    let seen = if f.link == link { heard.unwrap_or(f.seen) } else { f.seen };
    now.saturating_duration_since(seen) < LEASE
}

/// Where others can reach a client that says it listens on `listen` and is connected from `remote`. Others will
/// dial it, so it may not name just any machine: from a public address it is the one that it comes from. Within
/// a private network, where a machine may have several, it may say another private one.
pub fn reachable(listen: SocketAddr, remote: IpAddr) -> SocketAddr {
    let (said, seen) = (listen.ip().to_canonical(), remote.to_canonical());
    let believed = match said.is_loopback() {
        true => seen.is_loopback(),
        false => is_private(said) && (seen.is_loopback() || is_private(seen)),
    };
    SocketAddr::new(if believed { said } else { seen }, listen.port())
}

/// Addresses within somebody's own network: RFC 1918, RFC 6598 (behind a provider, or an overlay), RFC 4193.
/// Not the link-local ones, which mean another machine on each link.
fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_private() || (v4.octets()[0] == 100 && v4.octets()[1] & 0xc0 == 64),
        IpAddr::V6(v6) => v6.is_unique_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(serial: u64) -> PresenceRow {
        let address = "10.0.0.1:7000".parse().expect("address");
        PresenceRow { device: DeviceId::new([1; 32]), user: UserId::new([2; 16]), address, serial }
    }

    #[test]
    fn a_device_is_here_for_its_lease() {
        let (p, t) = (Presence::default(), Instant::now());
        let r = row(1);
        assert_eq!(p.announce(r, ConnectionId(1), t), Announced::News);
        assert_eq!(p.announce(r, ConnectionId(1), t), Announced::Renewed);
        assert_eq!(p.address(r.device, r.user, t + LEASE / 2), Some(r.address));
        assert_eq!(p.address(r.device, UserId::new([9; 16]), t), None, "another user's device");
        assert_eq!(p.address(r.device, r.user, t + LEASE), None);
        assert_eq!(p.announce(row(0), ConnectionId(2), t + LEASE), Announced::News, "an old serial, after the lease");
    }

    #[test]
    fn the_highest_serial_holds_and_only_its_connection_ends_it() {
        let (p, t) = (Presence::default(), Instant::now());
        p.announce(row(5), ConnectionId(2), t);
        assert_eq!(p.announce(row(4), ConnectionId(1), t), Announced::Outdated);
        p.leave(row(5).device, ConnectionId(1));
        assert!(p.address(row(5).device, row(5).user, t).is_some());
        p.leave(row(5).device, ConnectionId(2));
        assert!(p.address(row(5).device, row(5).user, t).is_none());
    }

    #[test]
    fn every_change_is_saved_once() {
        let (p, t) = (Presence::default(), Instant::now());
        p.announce(row(1), ConnectionId(1), t);
        assert_eq!(p.take_unsaved(t), (vec![row(1)], vec![]));
        assert_eq!(p.take_unsaved(t), (vec![], vec![]));
        assert_eq!(p.take_unsaved(t + LEASE), (vec![], vec![row(1).device]), "its lease has run out");
        assert_eq!(p.take_unsaved(t + LEASE), (vec![], vec![]));
    }

    /// What one tracker tells the other, until nothing is left.
    fn tell(from: &Presence, to: &Presence, now: Instant) -> Vec<PresenceRow> {
        let changes: Vec<_> = std::iter::from_fn(|| from.take_untold(1, now)).collect();
        changes.into_iter().flat_map(|c| to.hear(c, now)).collect()
    }

    fn linked(now: Instant) -> [Presence; 2] {
        let both = [Presence::default(), Presence::default()];
        both.iter().for_each(|p| p.sibling_came(now));
        both
    }

    #[test]
    fn who_reaches_one_tracker_is_known_to_both() {
        let (t, r) = (Instant::now(), row(1));
        let before = Presence::default();
        before.announce(r, ConnectionId(1), t);
        let other = Presence::default();
        [&before, &other].iter().for_each(|p| p.sibling_came(t));
        before.tell_everyone();
        assert_eq!(tell(&before, &other, t), [r]);
        assert_eq!(other.address(r.device, r.user, t), Some(r.address));
        // Renewals are not told, and need not be: the sibling lives.
        let mut now = t;
        for serial in 2..10 {
            now += LEASE / 2;
            before.announce(row(serial), ConnectionId(1), now);
            assert_eq!(before.take_untold(9, now), None);
            other.sibling_lives(now);
            assert!(other.address(r.device, r.user, now).is_some());
        }
        before.leave(r.device, ConnectionId(1));
        assert_eq!(tell(&before, &other, now), []);
        assert_eq!(other.address(r.device, r.user, now), None);
    }

    #[test]
    fn a_device_that_expires_at_one_tracker_is_gone_at_both() {
        let t = Instant::now();
        let [a, b] = linked(t);
        a.announce(row(1), ConnectionId(1), t);
        assert_eq!(tell(&a, &b, t).len(), 1);
        let later = t + LEASE;
        b.sibling_lives(later);
        a.take_unsaved(later);
        tell(&a, &b, later);
        assert_eq!(b.address(row(1).device, row(1).user, later), None);
    }

    #[test]
    fn what_a_sibling_said_expires_here_when_it_is_silent_or_gone_and_is_not_told_back() {
        let t = Instant::now();
        let [a, b] = linked(t);
        let (r, at) = (row(1), |p: &Presence, now| p.address(row(1).device, row(1).user, now));
        a.announce(r, ConnectionId(1), t);
        tell(&a, &b, t);
        assert!(at(&b, t + LEASE - Duration::from_millis(1)).is_some());
        assert_eq!(at(&b, t + LEASE), None, "silent");
        b.sibling_lives(t + LEASE);
        assert!(at(&b, t + LEASE).is_some());
        b.sibling_went();
        b.sibling_came(t + LEASE + LEASE / 2);
        b.tell_everyone();
        assert_eq!(b.take_untold(9, t), None);
        assert!(at(&b, t + LEASE + LEASE / 2).is_some());
        b.sibling_lives(t + 2 * LEASE);
        assert_eq!(at(&b, t + 2 * LEASE), None, "not said again on the new connection");
    }

    #[test]
    fn of_what_was_said_to_two_trackers_the_later_holds() {
        let t = Instant::now();
        let [a, b] = linked(t);
        let elsewhere = |serial| PresenceRow { address: "10.0.0.2:7000".parse().expect("address"), ..row(serial) };
        a.announce(row(5), ConnectionId(1), t);
        b.announce(elsewhere(7), ConnectionId(2), t);
        assert_eq!(tell(&a, &b, t), [], "older");
        assert_eq!(tell(&b, &a, t), [elsewhere(7)]);
        for p in [&a, &b] {
            assert_eq!(p.address(row(5).device, row(5).user, t), Some(elsewhere(7).address));
        }
        assert_eq!(a.announce(row(6), ConnectionId(1), t), Announced::Renewed, "older than what was said to the other");
        b.leave(row(5).device, ConnectionId(2));
        tell(&b, &a, t);
        for p in [&a, &b] {
            assert_eq!(p.address(row(5).device, row(5).user, t), Some(row(5).address), "it is still there");
        }
    }

    #[test]
    fn what_was_saved_holds_for_one_lease_after_a_restart() {
        let t = Instant::now();
        let p = Presence::restored(vec![row(7)], t);
        assert!(p.address(row(7).device, row(7).user, t).is_some());
        assert!(p.address(row(7).device, row(7).user, t + LEASE).is_none());
    }

    #[test]
    fn addresses_that_mean_nothing_elsewhere_are_replaced() {
        for (listen, remote, expected) in [
            ("0.0.0.0:7", "10.0.0.9", "10.0.0.9:7"),
            ("[::]:7", "::ffff:10.0.0.9", "10.0.0.9:7"),
            ("127.0.0.1:7", "10.0.0.9", "10.0.0.9:7"),
            ("127.0.0.1:7", "127.0.0.1", "127.0.0.1:7"),
            ("192.168.1.5:7", "10.0.0.9", "192.168.1.5:7"),
            ("192.168.1.5:7", "127.0.0.1", "192.168.1.5:7"),
            ("100.100.1.2:7", "192.168.0.2", "100.100.1.2:7"),
            ("[fd00::2]:7", "fd00::1", "[fd00::2]:7"),
        ] {
            let got = reachable(listen.parse().expect("listen"), remote.parse().expect("remote"));
            assert_eq!(got.to_string(), expected, "{listen} from {remote}");
        }
    }

    #[test]
    fn nobody_can_have_others_dial_a_third_party() {
        for (listen, remote) in [
            ("198.51.100.7:443", "203.0.113.9"),
            ("198.51.100.7:443", "192.168.0.2"),
            ("198.51.100.7:443", "127.0.0.1"),
            ("[2001:db8::7]:443", "2001:db8:1::9"),
            ("192.168.0.2:22", "203.0.113.9"),
            ("[::ffff:192.168.0.2]:22", "203.0.113.9"),
            ("[fd00::2]:22", "2001:db8:1::9"),
            ("127.0.0.1:22", "192.168.0.2"),
            ("[::1]:22", "203.0.113.9"),
            ("169.254.169.254:80", "10.0.0.9"),
            ("[fe80::1]:22", "fd00::1"),
            ("255.255.255.255:9", "10.0.0.9"),
            ("224.0.0.1:9", "127.0.0.1"),
            ("100.128.0.1:9", "10.0.0.9"),
        ] {
            let (listen, remote): (SocketAddr, IpAddr) =
                (listen.parse().expect("listen"), remote.parse().expect("remote"));
            assert_eq!(reachable(listen, remote), SocketAddr::new(remote, listen.port()), "{listen}");
        }
    }
}
