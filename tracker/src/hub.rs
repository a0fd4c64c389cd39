//! Who is connected and logged in, and how news reach them.
//!
//! Nobody waits for a slow reader: each connection has a bounded queue, and one that does not empty it is
//! closed. Its client comes back and is told again what matters still. Half of the queue is closed to hints,
//! which may be missed: however many there are, they push out nothing. Knows nothing of the database.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use common::id::{DeviceId, SessionId, UserId};
use common::wire::client::Push;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Connections that one user may have; a further one replaces the oldest.
pub const MAX_PER_USER: usize = 64;

/// One connection, for as long as this process runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(pub(crate) u64);

/// A connection that is logged in.
#[derive(Debug, Clone)]
pub(crate) struct Online {
    pub(crate) connection: ConnectionId,
    pub(crate) device: DeviceId,
    pub(crate) user: UserId,
    pub(crate) session: SessionId,
    /// Which pushes its client knows: those up to this revision, as far as it has said so.
    pub(crate) revision: u8,
    pub(crate) pushes: mpsc::Sender<Arc<Push>>,
    /// Whether its client knows hints that there are news: it has asked for news here.
    pub(crate) hears_hints: Arc<AtomicBool>,
    /// Ends the connection.
    pub(crate) kill: CancellationToken,
}

/// All connections that are logged in.
#[derive(Debug, Default)]
pub(crate) struct Hub {
    next: AtomicU64,
    /// Guards the connections of each user, the oldest first.
    online: Mutex<HashMap<UserId, Vec<Online>>>,
}

/// Whose logins have ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ended {
    /// This one.
    Only(SessionId),
    /// All of the user but these.
    AllBut(Vec<SessionId>),
}

impl Hub {
    /// A number for a new connection.
    pub(crate) fn number(&self) -> ConnectionId {
        ConnectionId(self.next.fetch_add(1, Ordering::Relaxed))
    }

    /// From now on news reach this connection, until the guard is dropped.
    pub(crate) fn register(self: &Arc<Self>, online: Online) -> Registered {
        let registered = Registered { hub: Arc::clone(self), user: online.user, connection: online.connection };
        let mut all = self.lock();
        let of_user = all.entry(online.user).or_default();
        if of_user.len() >= MAX_PER_USER {
            of_user.remove(0).kill.cancel();
        }
        of_user.push(online);
        registered
    }

    /// Sends `push` to every connection of `users` but those of the device `except`.
    pub(crate) fn push(&self, users: &[UserId], except: Option<DeviceId>, push: &Push) {
        let push = Arc::new(push.clone());
        let all = self.lock();
        let online = users.iter().filter_map(|u| all.get(u)).flatten();
        online.filter(|o| Some(o.device) != except).for_each(|o| send(o, &push));
    }

    /// The client at the other end of a connection knows pushes up to this revision.
    pub(crate) fn set_revision(&self, user: UserId, connection: ConnectionId, revision: u8) {
        let mut all = self.lock();
        let of_user = all.get_mut(&user).into_iter().flatten();
        of_user.filter(|o| o.connection == connection).for_each(|o| o.revision = revision);
    }

    /// The devices of a user whose clients know pushes of this revision, each once.
    pub(crate) fn devices_that_know(&self, user: UserId, revision: u8) -> Vec<DeviceId> {
        let all = self.lock();
        let of_user = all.get(&user).into_iter().flatten().filter(|o| o.revision >= revision);
        of_user.map(|o| o.device).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Sends `push` to the last connection of a user's device whose client knows pushes of this revision.
    pub(crate) fn push_to(&self, user: UserId, device: DeviceId, revision: u8, push: &Push) {
        let all = self.lock();
        let mut of_user = all.get(&user).into_iter().flatten().rev();
        let online = of_user.find(|o| o.device == device && o.revision >= revision);
        online.into_iter().for_each(|o| send(o, &Arc::new(push.clone())));
    }

    /// Tells connections whose login has ended so, but the one where that was asked for, and sends them nothing
    /// more. Returns them.
    pub(crate) fn end_sessions(
        &self,
        user: UserId,
        which: Ended,
        asked_on: Option<ConnectionId>,
    ) -> Vec<(DeviceId, ConnectionId)> {
        let told = Arc::new(Push::SessionEnded);
        let mut all = self.lock();
        let Some(of_user) = all.get_mut(&user) else { return Vec::new() };
        let hit = |o: &mut Online| match &which {
            Ended::Only(session) => o.session == *session,
            Ended::AllBut(sessions) => !sessions.contains(&o.session),
        };
        let ended: Vec<Online> = of_user.extract_if(.., hit).collect();
        if of_user.is_empty() {
            all.remove(&user);
        }
        ended.iter().filter(|o| Some(o.connection) != asked_on).for_each(|o| send(o, &told));
        ended.iter().map(|o| (o.device, o.connection)).collect()
    }

    /// How many connections are logged in.
    pub(crate) fn len(&self) -> usize {
        self.lock().values().map(Vec::len).sum()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<UserId, Vec<Online>>> {
        self.online.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether whoever misses it learns of it by asking: seeders are looked up, and requests listed.
const fn is_hint(push: &Push) -> bool {
    matches!(push, Push::SeederUp { .. } | Push::JoinRequested { .. } | Push::Probe { .. } | Push::NewsHint { .. })
}

/// Whether the client at the other end would understand it: another release would end the connection.
fn is_known(online: &Online, push: &Push) -> bool {
    !matches!(push, Push::NewsHint { .. }) || online.hears_hints.load(Ordering::Relaxed)
}

fn send(online: &Online, push: &Arc<Push>) {
    if !is_known(online, push) {
        return;
    }
    if is_hint(push) && online.pushes.capacity() <= online.pushes.max_capacity() / 2 {
        return;
    }
    if let Err(mpsc::error::TrySendError::Full(_)) = online.pushes.try_send(Arc::clone(push)) {
        tracing::info!(device = %format_args!("{:.8}", online.device), "does not read its news: disconnected");
        online.kill.cancel();
    }
}

/// Takes its connection off the hub when it is dropped.
#[derive(Debug)]
pub(crate) struct Registered {
    hub: Arc<Hub>,
    user: UserId,
    connection: ConnectionId,
}

impl Drop for Registered {
    fn drop(&mut self) {
        let mut all = self.hub.lock();
        if let Some(of_user) = all.get_mut(&self.user) {
            of_user.retain(|o| o.connection != self.connection);
            if of_user.is_empty() {
                all.remove(&self.user);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn online(hub: &Hub, user: u8, session: u8, queue: usize) -> (Online, mpsc::Receiver<Arc<Push>>) {
        let (pushes, received) = mpsc::channel(queue);
        let connection = hub.number();
        let device = DeviceId::new([connection.0 as u8; 32]);
        let (user, session) = (UserId::new([user; 16]), SessionId::new([session; 16]));
        let (revision, hears_hints, kill) = (0, Arc::default(), CancellationToken::new());
        (Online { connection, device, user, session, revision, pushes, hears_hints, kill }, received)
    }

    #[test]
    fn news_reach_whom_they_are_for() {
        let hub = Arc::new(Hub::default());
        let (a, mut to_a) = online(&hub, 1, 1, 4);
        let (b, mut to_b) = online(&hub, 2, 2, 4);
        let (a_user, b_user, b_device) = (a.user, b.user, b.device);
        let _keep = hub.register(a);
        let gone = hub.register(b);
        hub.push(&[a_user], None, &Push::SessionEnded);
        assert!(to_a.try_recv().is_ok() && to_b.try_recv().is_err());
        hub.push(&[a_user, b_user], Some(b_device), &Push::SessionEnded);
        assert!(to_a.try_recv().is_ok() && to_b.try_recv().is_err());
        drop(gone);
        assert_eq!(hub.len(), 1);
        hub.push(&[b_user], None, &Push::SessionEnded);
        assert!(to_b.try_recv().is_err());
    }

    #[test]
    fn a_push_that_came_later_reaches_only_clients_that_know_it() {
        let hub = Arc::new(Hub::default());
        let (a, mut to_a) = online(&hub, 1, 1, 4);
        let (user, device, connection) = (a.user, a.device, a.connection);
        let _keep = hub.register(a);
        assert!(hub.devices_that_know(user, 3).is_empty());
        hub.push_to(user, device, 3, &Push::SessionEnded);
        assert!(to_a.try_recv().is_err());
        hub.set_revision(user, connection, 3);
        assert_eq!((hub.devices_that_know(user, 3), hub.devices_that_know(user, 4)), (vec![device], Vec::new()));
        hub.push_to(user, device, 3, &Push::SessionEnded);
        assert!(to_a.try_recv().is_ok());
    }

    #[test]
    fn who_does_not_read_is_disconnected() {
        let hub = Arc::new(Hub::default());
        let (a, _unread) = online(&hub, 1, 1, 2);
        let (user, kill) = (a.user, a.kill.clone());
        let _keep = hub.register(a);
        for _ in 0..2 {
            hub.push(&[user], None, &Push::SessionEnded);
        }
        assert!(!kill.is_cancelled());
        hub.push(&[user], None, &Push::SessionEnded);
        assert!(kill.is_cancelled());
    }

    #[test]
    fn a_flood_of_hints_pushes_out_nothing_that_matters() {
        let hub = Arc::new(Hub::default());
        let (a, mut to_a) = online(&hub, 1, 1, 8);
        let (user, kill) = (a.user, a.kill.clone());
        let _keep = hub.register(a);
        let (group, who) = ("lab".parse().expect("a name"), "mallory".parse().expect("a name"));
        let hint = Push::JoinRequested { group, user: who };
        for _ in 0..1000 {
            hub.push(&[user], None, &hint);
        }
        hub.push(&[user], None, &Push::SessionEnded);
        assert!(!kill.is_cancelled());
        let heard: Vec<Arc<Push>> = std::iter::from_fn(|| to_a.try_recv().ok()).collect();
        assert_eq!(heard.len(), 5);
        assert_eq!(heard.last().map(|p| &**p), Some(&Push::SessionEnded));
    }

    #[test]
    fn one_user_cannot_hold_all_connections() {
        let hub = Arc::new(Hub::default());
        let first = online(&hub, 1, 1, 2).0;
        let kill = first.kill.clone();
        let _keep: Vec<_> = std::iter::once(first)
            .chain((0..MAX_PER_USER).map(|_| online(&hub, 1, 1, 2).0))
            .map(|o| hub.register(o))
            .collect();
        assert!(kill.is_cancelled());
        assert_eq!(hub.len(), MAX_PER_USER);
    }

    #[test]
    fn ended_logins_are_told_once_and_hear_nothing_more() {
        let hub = Arc::new(Hub::default());
        let (a, mut to_a) = online(&hub, 1, 1, 4);
        let (b, mut to_b) = online(&hub, 1, 2, 4);
        let (user, asked_on, session) = (a.user, a.connection, a.session);
        let _keep = (hub.register(a), hub.register(b));
        assert_eq!(hub.end_sessions(user, Ended::AllBut(vec![session]), Some(asked_on)).len(), 1);
        hub.push(&[user], None, &Push::SessionEnded);
        assert_eq!(to_b.try_recv().as_deref(), Ok(&Push::SessionEnded));
        assert!(to_b.try_recv().is_err() && to_a.try_recv().is_ok());
        assert_eq!(hub.end_sessions(user, Ended::Only(session), Some(asked_on)).len(), 1);
        assert!(to_a.try_recv().is_err(), "who asked for it knows");
    }
}
