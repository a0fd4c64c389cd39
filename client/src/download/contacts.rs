//! Whom to ask: the seeders that the trackers name, and when to try each of them (again).
//!
//! Pure: time is passed in. Invariant: a device is dialled at most once at a time, and one that lied is never
//! dialled again by this download.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use common::backoff::Backoff;
use common::id::DeviceId;
use common::wire::client::PeerRow;

/// Delays before a seeder is tried again.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(15));

/// The seeders that one download knows of.
#[derive(Debug)]
pub(crate) struct Contacts {
    own: DeviceId,
    known: HashMap<DeviceId, Contact>,
}

#[derive(Debug)]
struct Contact {
    row: PeerRow,
    backoff: Backoff,
    state: Standing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// To be dialled from then on.
    Idle(Instant),
    /// Dialled or connected.
    Engaged,
    /// Another device or program is there; a new address is a new chance.
    Useless,
    /// Never again.
    Banned,
}

impl Contacts {
    /// Nobody yet; `own` is this device, which is of no help to itself.
    pub(crate) fn new(own: DeviceId) -> Self {
        Self { own, known: HashMap::new() }
    }

    /// The trackers name exactly these: others that are not in use are forgotten.
    pub(crate) fn replace(&mut self, now: Instant, rows: Vec<PeerRow>) {
        let named = |device: &DeviceId| rows.iter().any(|r| r.device == *device);
        self.known.retain(|device, c| named(device) || matches!(c.state, Standing::Engaged | Standing::Banned));
        rows.into_iter().for_each(|row| self.add(now, row));
    }

    /// One more, or news of one that is known.
    pub(crate) fn add(&mut self, now: Instant, row: PeerRow) {
        if row.device == self.own {
            return;
        }
        let fresh =
            || Contact { row: row.clone(), backoff: Backoff::new(RETRY.0, RETRY.1), state: Standing::Idle(now) };
        let contact = self.known.entry(row.device).or_insert_with(fresh);
        if contact.row.address != row.address {
            contact.row = row;
            contact.backoff.reset();
            if matches!(contact.state, Standing::Idle(_) | Standing::Useless) {
                contact.state = Standing::Idle(now);
            }
        }
    }

    /// A device that has just said that it serves: whatever kept us from it may be over.
    pub(crate) fn appeared(&mut self, now: Instant, row: PeerRow) {
        let device = row.device;
        self.add(now, row);
        if let Some(contact) = self.known.get_mut(&device)
            && matches!(contact.state, Standing::Idle(_))
        {
            contact.state = Standing::Idle(now);
        }
    }

    /// Up to `room` seeders to dial now; they are engaged from here on.
    pub(crate) fn due(&mut self, now: Instant, room: usize) -> Vec<PeerRow> {
        let is_due = |c: &&mut Contact| matches!(c.state, Standing::Idle(from) if from <= now);
        let due = self.known.values_mut().filter(is_due).take(room);
        due.map(|c| {
            c.state = Standing::Engaged;
            c.row.clone()
        })
        .collect()
    }

    /// When the next one is due.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.known.values().filter_map(|c| if let Standing::Idle(from) = c.state { Some(from) } else { None }).min()
    }

    /// It serves us: the next trouble is a first one again.
    pub(crate) fn useful(&mut self, device: DeviceId) {
        if let Some(contact) = self.known.get_mut(&device) {
            contact.backoff.reset();
        }
    }

    /// The connection ended: it is tried again after a while.
    pub(crate) fn lost(&mut self, now: Instant, device: DeviceId) {
        if let Some(contact) = self.known.get_mut(&device)
            && contact.state == Standing::Engaged
        {
            contact.state = Standing::Idle(now + contact.backoff.next_delay());
        }
    }

    /// There is no use in trying again at the same address.
    pub(crate) fn useless(&mut self, device: DeviceId) {
        if let Some(contact) = self.known.get_mut(&device)
            && contact.state != Standing::Banned
        {
            contact.state = Standing::Useless;
        }
    }

    /// It lied or broke the protocol: never again.
    pub(crate) fn ban(&mut self, device: DeviceId) {
        if let Some(contact) = self.known.get_mut(&device) {
            contact.state = Standing::Banned;
        }
    }

    /// How many may be of help, now or later.
    pub(crate) fn hopeful(&self) -> usize {
        self.known.values().filter(|c| matches!(c.state, Standing::Idle(_) | Standing::Engaged)).count()
    }

    /// How many are dialled or connected.
    pub(crate) fn engaged(&self) -> usize {
        self.known.values().filter(|c| c.state == Standing::Engaged).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(n: u8, port: u16) -> PeerRow {
        PeerRow {
            device: DeviceId::new([n; 32]),
            user: "u".parse().expect("a name"),
            address: ([127, 0, 0, 1], port).into(),
        }
    }

    #[test]
    fn each_is_dialled_once_and_again_after_a_while() {
        let now = Instant::now();
        let mut c = Contacts::new(row(0, 0).device);
        c.replace(now, vec![row(0, 9), row(1, 1), row(2, 2)]);
        assert_eq!(c.due(now, 9).len(), 2, "not our own device");
        assert!(c.due(now, 9).is_empty());
        c.lost(now, row(1, 1).device);
        assert!(c.due(now, 9).is_empty());
        let later = c.next_due().expect("one is to be tried again");
        assert!(later > now);
        assert_eq!(c.due(later, 9), [row(1, 1)]);
    }

    #[test]
    fn a_liar_stays_out_whatever_the_trackers_say() {
        let now = Instant::now();
        let mut c = Contacts::new(row(0, 0).device);
        c.replace(now, vec![row(1, 1)]);
        c.due(now, 9);
        c.ban(row(1, 1).device);
        c.replace(now, vec![]);
        c.appeared(now, row(1, 2));
        c.replace(now, vec![row(1, 3)]);
        assert!(c.due(now, 9).is_empty() && c.hopeful() == 0);
    }

    #[test]
    fn a_new_address_or_sign_of_life_is_a_new_chance() {
        let now = Instant::now();
        let mut c = Contacts::new(row(0, 0).device);
        c.replace(now, vec![row(1, 1), row(2, 2)]);
        c.due(now, 9);
        c.useless(row(1, 1).device);
        c.lost(now, row(2, 2).device);
        c.add(now, row(1, 1));
        assert!(c.due(now, 9).is_empty());
        c.add(now, row(1, 5));
        c.appeared(now, row(2, 2));
        assert_eq!(c.due(now, 9).len(), 2);
    }
}
