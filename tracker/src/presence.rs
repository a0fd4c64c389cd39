//! Who is here, and where. A device announces itself and is here for a lease; when the connection on
//! which it did ends, it is gone at once.
//!
//! Invariant: of two announcements of a device the one with the higher serial holds. Time is passed
//! in, and monotonic. What is here is noted in the database in batches, so that a restarted tracker
//! can answer before everybody has come back. Knows no groups and no files.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use common::id::{DeviceId, UserId};

use crate::hub::ConnectionId;
use crate::store::PresenceRow;

/// How long an announcement holds. Clients repeat it three times as often.
pub const LEASE: Duration = Duration::from_secs(30);

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

#[derive(Debug, Clone, Copy)]
struct Entry {
    row: PresenceRow,
    seen: Instant,
    /// Who said so; nobody, if it was read from the database.
    said_on: Option<ConnectionId>,
}

/// Everyone who is here.
#[derive(Debug, Default)]
pub struct Presence {
    /// Guards everything.
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    here: HashMap<DeviceId, Entry>,
    /// Not yet in the database.
    unsaved: HashSet<DeviceId>,
}

impl Presence {
    /// Begins with what was noted before the restart: it holds for one lease from `now`.
    pub fn restored(rows: Vec<PresenceRow>, now: Instant) -> Self {
        let here = rows.into_iter().map(|row| (row.device, Entry { row, seen: now, said_on: None })).collect();
        Self { inner: Mutex::new(Inner { here, unsaved: HashSet::new() }) }
    }

    /// A device says where it is.
    pub fn announce(&self, row: PresenceRow, connection: ConnectionId, now: Instant) -> Announced {
        let mut inner = self.lock();
        let before = inner.here.get(&row.device).filter(|e| holds(e, now)).copied();
        if before.is_some_and(|e| e.row.serial > row.serial) {
            return Announced::Outdated;
        }
        inner.here.insert(row.device, Entry { row, seen: now, said_on: Some(connection) });
        inner.unsaved.insert(row.device);
        match before {
            Some(e) if e.row.address == row.address && e.row.user == row.user => Announced::Renewed,
            _ => Announced::News,
        }
    }

    /// Where a user's device is, if it is here.
    pub fn address(&self, device: DeviceId, user: UserId, now: Instant) -> Option<SocketAddr> {
        let inner = self.lock();
        inner.here.get(&device).filter(|e| e.row.user == user && holds(e, now)).map(|e| e.row.address)
    }

    /// The connection on which a device announced itself is over, or its login is.
    pub fn leave(&self, device: DeviceId, connection: ConnectionId) {
        let mut inner = self.lock();
        if inner.here.get(&device).is_some_and(|e| e.said_on == Some(connection)) {
            inner.here.remove(&device);
            inner.unsaved.insert(device);
        }
    }

    /// What the database does not know yet: who is here, and who is gone.
    pub fn take_unsaved(&self, now: Instant) -> (Vec<PresenceRow>, Vec<DeviceId>) {
        let mut inner = self.lock();
        let Inner { here, unsaved } = &mut *inner;
        let expired = here.extract_if(|_, e| !holds(e, now)).map(|(device, _)| device);
        unsaved.extend(expired);
        let (mut rows, mut gone) = (Vec::new(), Vec::new());
        for device in unsaved.drain() {
            match here.get(&device) {
                Some(e) => rows.push(e.row),
                None => gone.push(device),
            }
        }
        (rows, gone)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn holds(e: &Entry, now: Instant) -> bool {
    now.saturating_duration_since(e.seen) < LEASE
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
