//! Two trackers' stores and links over real sockets.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::id::{DeviceId, RequestId, UserId};
use common::secret::{ClusterKey, ClusterSecret};
use common::task::TaskGroup;
use common::tls::{Identity, SiblingConnector, TrackerAcceptor};
use common::wire::client::Mode;
use common::wire::sync::NameKind;
use tokio::net::{TcpListener, TcpSocket};

use super::link::{self, Handles, Place};
use super::{Replica, View};
use crate::fact::Fact;
use crate::hub::ConnectionId;
use crate::presence::Presence;
use crate::store::{Asked, Change, PresenceRow, Store, StoreError, Written};

struct Tracker {
    store: Store,
    handles: Handles,
    presence: Arc<Presence>,
    tasks: TaskGroup,
}

/// Two addresses that are free now.
fn addresses() -> [SocketAddr; 2] {
    let free = || std::net::TcpListener::bind("127.0.0.1:0").expect("bound").local_addr().expect("address");
    [free(), free()]
}

async fn tracker(dir: &Path, number: u16, addresses: [SocketAddr; 2], key: &ClusterKey) -> Tracker {
    let clock = Arc::new(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
        u64::try_from(now.as_millis()).expect("before the end of time")
    });
    let store = Store::open(&dir.join(format!("{number}")), clock).expect("opened");
    let tasks = TaskGroup::new();
    let own = usize::from(number - 1);
    let place = Place { number, sibling_number: 3 - number, sibling: addresses[1 - own].into() };
    let connector = SiblingConnector::new(key).expect("connector");
    let presence = Arc::new(Presence::default());
    let handles = link::start(place, store.clone(), connector, Arc::clone(&presence), &tasks);
    let socket = TcpSocket::new_v4().expect("socket");
    socket.set_reuseaddr(true).expect("set");
    socket.bind(addresses[own]).expect("bound");
    let listener = socket.listen(16).expect("listening");
    tasks.spawn("accept", accept(listener, TrackerAcceptor::new(key).expect("acceptor"), handles.accepted.clone()));
    Tracker { store, handles, presence, tasks }
}

async fn accept(listener: TcpListener, acceptor: TrackerAcceptor, to: tokio::sync::mpsc::Sender<link::Accepted>) {
    while let Ok((socket, _)) = listener.accept().await {
        if let Ok((stream, Identity::Sibling)) = acceptor.accept(socket).await {
            let _ = to.send(Box::new(stream)).await;
        }
    }
}

impl Tracker {
    async fn user(&self, n: u8) -> (UserId, Mode) {
        let id = UserId::random();
        let asked = Asked { device: DeviceId::new([n; 32]), request: RequestId::random() };
        let name = format!("user{n}-{id:.6}").parse().expect("a name");
        let done = self.store.write(asked, move |_| {
            let facts = vec![Fact::User { id, name }];
            Ok::<_, StoreError>(Change { facts, manifest: None, answer: vec![1], value: () })
        });
        assert!(matches!(done.await.expect("written"), Written::Done(())));
        (id, self.handles.replica.settled().await)
    }

    async fn claim(&self, n: u8, name: &str) -> UserId {
        let id = UserId::new([n; 16]);
        let asked = Asked { device: DeviceId::new([n; 32]), request: RequestId::random() };
        let name = name.parse().expect("a name");
        let done = self.store.write(asked, move |_| {
            let facts = vec![Fact::User { id, name }];
            Ok::<_, StoreError>(Change { facts, manifest: None, answer: vec![1], value: () })
        });
        assert!(matches!(done.await.expect("written"), Written::Done(())));
        id
    }

    async fn named(&self, name: &str) -> Option<UserId> {
        let name = name.parse().expect("a name");
        self.store.read::<_, StoreError, _>(move |s| Ok(s.user(&name))).await.expect("read")
    }

    async fn name_of(&self, user: UserId) -> String {
        let name = self.store.read::<_, StoreError, _>(move |s| Ok(s.user_name(user))).await.expect("read");
        name.expect("a user").to_string()
    }

    async fn knows(&self, user: UserId) -> bool {
        self.store.read::<_, StoreError, _>(move |s| Ok(s.user_name(user))).await.expect("read").is_some()
    }

    /// Who has come to the other tracker, next.
    async fn arrival(&mut self) -> Vec<PresenceRow> {
        let arrived = tokio::time::timeout(Duration::from_secs(10), self.handles.arrivals.recv());
        arrived.await.expect("in time").expect("running")
    }

    async fn dual(&self) {
        let mut view = self.handles.replica.view.clone();
        let dual = view.wait_for(|v| v.mode == Mode::Dual);
        tokio::time::timeout(Duration::from_secs(10), dual).await.expect("dual in time").expect("running");
    }

    async fn stop(self) {
        self.tasks.stop().await;
        self.store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_acknowledges_both_have() {
    let (dir, key) = (tempfile::tempdir().expect("directory"), ClusterSecret::generate().cluster_key());
    let at = addresses();
    let one = tracker(dir.path(), 1, at, &key).await;
    let (early, mode) = one.user(1).await;
    assert_eq!(mode, Mode::Solo);
    let two = tracker(dir.path(), 2, at, &key).await;
    one.dual().await;
    two.dual().await;
    assert!(two.knows(early).await, "caught up");
    for n in 0..20 {
        let (here, there) = if n % 2 == 0 { (&one, &two) } else { (&two, &one) };
        let mut acknowledged = here.user(n).await;
        // A disk may hold the other one up for longer than it is waited for; not time and again.
        for again in 1..=3 {
            if acknowledged.1 == Mode::Dual {
                break;
            }
            one.dual().await;
            two.dual().await;
            acknowledged = here.user(n + 20 * again).await;
        }
        let (user, mode) = acknowledged;
        assert_eq!(mode, Mode::Dual);
        assert!(there.knows(user).await, "acknowledged as dual, and not at the other");
    }
    let (a, b) = (one.store.digest().await.expect("digest"), two.store.digest().await.expect("digest"));
    assert_eq!(a, b);
    // Without the other, an acknowledgement takes no longer than is promised.
    two.stop().await;
    let began = Instant::now();
    let (user, mode) = one.user(99).await;
    assert_eq!(mode, Mode::Solo);
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    let two = tracker(dir.path(), 2, at, &key).await;
    one.dual().await;
    assert!(two.knows(user).await, "brought when it was back");
    one.stop().await;
    two.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_both_gave_away_has_one_owner() {
    let (dir, key) = (tempfile::tempdir().expect("directory"), ClusterSecret::generate().cluster_key());
    let at = addresses();
    let one = tracker(dir.path(), 1, at, &key).await;
    let earlier = one.claim(1, "alice").await;
    assert!(!one.handles.replica.name_is_confirmed(NameKind::User, "alice").await, "nobody else has agreed");
    one.stop().await;
    let two = tracker(dir.path(), 2, at, &key).await;
    // Nothing listens at the other's address: it serves, although it is empty.
    let later = two.claim(2, "Alice").await;
    assert_eq!(two.named("Alice").await, Some(later));
    let one = tracker(dir.path(), 1, at, &key).await;
    for tracker in [&one, &two] {
        tracker.dual().await;
        assert!(tracker.handles.replica.name_is_confirmed(NameKind::User, "alice").await);
        assert_eq!(tracker.named("alice").await, Some(earlier));
        assert_eq!(tracker.named("Alice").await, None);
        assert_eq!(tracker.name_of(later).await, "Alice~02020202");
        assert_eq!(tracker.named("Alice~02020202").await, Some(later));
    }
    let third = two.claim(3, "carol").await;
    assert!(two.handles.replica.name_is_confirmed(NameKind::User, "carol").await, "with both there, at once");
    assert_eq!(one.named("carol").await, Some(third));
    one.stop().await;
    two.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_sibling_lacks_is_counted_while_it_is_away() {
    let (dir, key) = (tempfile::tempdir().expect("directory"), ClusterSecret::generate().cluster_key());
    let at = addresses();
    for stays in [1, 2] {
        let one = tracker(dir.path(), stays, at, &key).await;
        let two = tracker(dir.path(), 3 - stays, at, &key).await;
        one.dual().await;
        two.stop().await;
        one.user(1).await;
        let mut view = one.handles.replica.view.clone();
        // What it resolves to is a guard: kept, it would stop the link.
        let counted = tokio::time::timeout(Duration::from_secs(10), view.wait_for(|v| v.lag == 1)).await.is_ok();
        assert!(counted, "tracker {stays}: {:?}", one.handles.replica.view());
        one.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_reaches_one_tracker_is_known_to_both() {
    let (dir, key) = (tempfile::tempdir().expect("directory"), ClusterSecret::generate().cluster_key());
    let at = addresses();
    let row = |n: u8| {
        let address = SocketAddr::from(([10, 0, 0, n], 7000));
        PresenceRow { device: DeviceId::new([n; 32]), user: UserId::new([n; 16]), address, serial: 1 }
    };
    let one = tracker(dir.path(), 1, at, &key).await;
    // Before they have met, and after.
    one.presence.announce(row(1), ConnectionId(1), Instant::now());
    let mut two = tracker(dir.path(), 2, at, &key).await;
    assert_eq!(two.arrival().await, [row(1)]);
    one.presence.announce(row(2), ConnectionId(2), Instant::now());
    assert_eq!(two.arrival().await, [row(2)]);
    let known = |n| two.presence.address(row(n).device, row(n).user, Instant::now());
    assert_eq!([known(1), known(2)], [Some(row(1).address), Some(row(2).address)]);
    one.presence.leave(row(1).device, ConnectionId(1));
    let until = Instant::now() + Duration::from_secs(10);
    while known(1).is_some() {
        assert!(Instant::now() < until, "it has left");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(known(2).is_some());
    one.stop().await;
    two.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_two_trackers_claim_is_quarantined_and_the_rest_goes_on() {
    let (dir, key) = (tempfile::tempdir().expect("directory"), ClusterSecret::generate().cluster_key());
    let at = addresses();
    // Both disks were made from one that was copied while it ran, and went on with the same run.
    let shared = common::id::OriginId::new([7; 16]);
    for (number, user) in [(1, 1), (2, 2)] {
        let store = Store::open_as(&dir.path().join(format!("{number}")), Arc::new(|| 1), shared).expect("opened");
        let asked = Asked { device: DeviceId::new([user; 32]), request: RequestId::random() };
        let id = UserId::new([user; 16]);
        let done = store.write(asked, move |_| {
            let facts = (0..user).map(|_| Fact::User { id, name: "user".parse().expect("a name") }).collect();
            Ok::<_, StoreError>(Change { facts, manifest: None, answer: vec![1], value: () })
        });
        assert!(matches!(done.await.expect("written"), Written::Done(())));
        store.close().await;
    }
    let one = tracker(dir.path(), 1, at, &key).await;
    let two = tracker(dir.path(), 2, at, &key).await;
    for (here, there, n) in [(&one, &two, 3), (&two, &one, 4)] {
        let mut view = here.handles.replica.view.clone();
        let alarmed = view.wait_for(|v| v.alarms.forked > 0);
        tokio::time::timeout(Duration::from_secs(10), alarmed).await.expect("in time").expect("running");
        // The alarm is raised when it shows, and noted on disk after that.
        let noted = async {
            loop {
                match here.store.quarantined().await.expect("read") {
                    none if none.is_empty() => tokio::task::yield_now().await,
                    some => break some,
                }
            }
        };
        assert_eq!(tokio::time::timeout(Duration::from_secs(10), noted).await.expect("in time"), [shared]);
        let (user, mode) = here.user(n).await;
        assert_eq!(mode, Mode::Dual, "other runs go on");
        assert!(there.knows(user).await);
    }
    one.stop().await;
    two.stop().await;
}

#[tokio::test]
async fn a_client_is_shown_nothing_in_dual_that_the_sibling_lacks() {
    let dir = tempfile::tempdir().expect("directory");
    let store = Store::open(dir.path(), Arc::new(|| 1)).expect("opened");
    let alone = Replica::alone(store.clone());
    let (say, view) = tokio::sync::watch::channel(View { mode: Mode::Dual, linked: true, ..alone.view() });
    let replica = Replica::linked(view, store.clone());
    let asked = Asked { device: DeviceId::new([1; 32]), request: RequestId::random() };
    let id = UserId::random();
    let done = store.write(asked, move |_| {
        let facts = vec![Fact::User { id, name: "alice".parse().expect("a name") }];
        Ok::<_, StoreError>(Change { facts, manifest: None, answer: vec![1], value: () })
    });
    assert!(matches!(done.await.expect("written"), Written::Done(())));
    let own = |mode| replica.seen(mode).0.iter().find(|(o, _)| *o == store.origin()).map(|(_, seq)| *seq);
    // Somebody else's command waits for the sibling: a sign of life does not speak of it.
    assert_eq!(own(Mode::Dual), Some(0));
    say.send_modify(|v| v.acked = 1);
    assert_eq!((replica.settled().await, own(Mode::Dual)), (Mode::Dual, Some(1)));
    // The sibling is gone: what was acknowledged as dual stays seen, and solo is all that is here.
    say.send_modify(|v| (v.mode, v.acked) = (Mode::Solo, 0));
    assert_eq!((own(Mode::Solo), own(Mode::Dual)), (Some(1), Some(1)));
    store.close().await;
}

#[tokio::test]
async fn a_ticket_of_a_sibling_whose_clock_is_ahead_is_void_when_the_password_is_changed_here() {
    use common::ticket::{Revocation, Revoked, Ticket};
    let dir = tempfile::tempdir().expect("directory");
    let store = Store::open(dir.path(), Arc::new(|| 1)).expect("opened");
    let alone = Replica::alone(store.clone());
    let (say, view) = tokio::sync::watch::channel(alone.view());
    let replica = Replica::linked(view, store.clone());
    let now = 1_700_000_000;
    let user = UserId::new([1; 16]);
    let ticket = Ticket {
        id: common::id::TicketId::new([1; 16]),
        user,
        user_name: "alice".parse().expect("a name"),
        session: common::id::SessionId::new([1; 16]),
        device: DeviceId::new([1; 32]),
        group: common::id::GroupId::new([1; 16]),
        membership: common::id::MembershipId::new([1; 16]),
        issued: now + 90,
        expires: now + 210,
    };
    let what = Revoked::OtherSessions { user, except: None };
    let covered = |replica: &Replica| Revocation { what: what.clone(), at: replica.latest_clock(now) }.covers(&ticket);
    assert!(!covered(&replica), "its clock is not known");
    say.send_modify(|view| view.alarms.clock_ahead_s = Some(90));
    assert!(covered(&replica));
    say.send_modify(|view| view.alarms.clock_ahead_s = Some(-90));
    assert_eq!(replica.latest_clock(now), now, "tickets of its are older still");
    store.close().await;
}
