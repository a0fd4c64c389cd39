//! The handle against a small tracker on a real socket, with the real encryption.

use std::collections::{HashMap, HashSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::connection;
use common::id::{DeviceId, RequestId, SessionId, UserId};
use common::secret::{ClusterKey, ClusterSecret};
use common::task::TaskGroup;
use common::ticket::{Revocation, Revoked, SessionToken, Signed, now};
use common::tls::{DeviceKey, Identity, TrackerAcceptor};
use common::tracker_info::TrackerInfo;
use common::wire::client::{
    Call, ClientFrame, Mode, Password, Push, Reply, Request, Response, ServerFrame, VERSION, Welcome,
};
use common::wire::limits::MAX_FRAME;
use common::wire::refusal::Refusal;
use common::wire::sync::VersionVector;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{broadcast, mpsc};
use tokio::time::timeout;

use super::{Notice, Trackers, TrackersConfig};
use crate::error::Error;

/// What a cluster's trackers have in common.
#[derive(Default)]
struct Truth {
    calls: Vec<Call>,
    answers: HashMap<RequestId, Response>,
    effects: usize,
    ended: HashSet<SessionId>,
    /// Requests that are carried out, and then the connection is cut before the answer.
    cut: usize,
}

/// A tracker that knows one user, `alice`, and one password, `password`.
#[derive(Clone)]
struct Fake {
    key: ClusterKey,
    truth: Arc<Mutex<Truth>>,
    pushes: broadcast::Sender<Push>,
    /// Set: it listens, and says nothing any more.
    mute: Arc<AtomicBool>,
}

impl Fake {
    fn new() -> Self {
        let key = ClusterSecret::generate().cluster_key();
        Self { key, truth: Arc::default(), pushes: broadcast::channel(16).0, mute: Arc::default() }
    }

    /// Serves on `listener` until the group is stopped.
    fn serve(&self, listener: TcpListener) -> TaskGroup {
        let tasks = TaskGroup::new();
        let (fake, group) = (self.clone(), tasks.clone());
        tasks.spawn("fake tracker", async move {
            let acceptor = TrackerAcceptor::new(&fake.key).expect("an acceptor");
            while let Ok((socket, _)) = listener.accept().await {
                group.spawn("fake session", fake.clone().session(acceptor.clone(), socket));
            }
        });
        tasks
    }

    async fn session(self, acceptor: TrackerAcceptor, socket: TcpStream) {
        let Ok((stream, Identity::Device(device))) = acceptor.accept(socket).await else { return };
        let (mut reader, mut writer) = connection::split::<_, ClientFrame, ServerFrame>(stream, MAX_FRAME);
        let mut pushes = self.pushes.subscribe();
        let mut bound = None;
        loop {
            let answer = tokio::select! {
                frame = reader.next() => match frame {
                    Ok(Some(ClientFrame::Hello(_))) => {
                        ServerFrame::Welcome(Welcome { version: VERSION, tracker_no: 1, now: now() })
                    }
                    Ok(Some(ClientFrame::Call(call))) => match self.answer(call, device, &mut bound) {
                        Some(reply) => ServerFrame::Reply(reply),
                        None => return,
                    },
                    _ => return,
                },
                Ok(push) = pushes.recv() => ServerFrame::Push(push),
            };
            if self.mute.load(Ordering::Relaxed) {
                return std::future::pending().await;
            }
            if writer.send(&answer).await.is_err() {
                return;
            }
        }
    }

    fn answer(&self, call: Call, device: DeviceId, bound: &mut Option<SessionId>) -> Option<Reply> {
        let mut truth = self.truth.lock().expect("the truth");
        let number = call.number;
        let recorded = truth.answers.get(&call.request_id).cloned();
        let result = match recorded {
            Some(response) => Ok(response),
            None => self.carry_out(&mut truth, &call, device, bound),
        };
        if let Ok(response) = &result {
            truth.answers.insert(call.request_id, response.clone());
        }
        let counts = matches!(call.request, Request::CreateGroup { .. });
        truth.calls.push(call);
        if counts && truth.cut > 0 {
            truth.cut -= 1;
            return None;
        }
        Some(Reply { number, mode: Mode::Solo, seen: VersionVector::default(), result })
    }

    fn carry_out(
        &self,
        truth: &mut Truth,
        call: &Call,
        device: DeviceId,
        bound: &mut Option<SessionId>,
    ) -> Result<Response, Refusal> {
        let alive = bound.is_some_and(|s| !truth.ended.contains(&s));
        match &call.request {
            Request::Login { password, .. } if password.as_str() != "password" => Err(Refusal::BadCredentials),
            Request::Login { user, .. } => {
                let session = SessionId::random();
                *bound = Some(session);
                let user_id = UserId::random();
                let token = SessionToken { session, user: user_id, device, credentials: 1, expires: u64::MAX };
                let token = Signed::sign(&token, &self.key).expect("signed");
                Ok(Response::LoggedIn { user: user.clone(), user_id, token })
            }
            Request::Resume { token } => {
                let shown = token.verify(&self.key.public()).map_err(|_| Refusal::SessionEnded)?;
                if truth.ended.contains(&shown.session) || shown.device != device {
                    return Err(Refusal::SessionEnded);
                }
                *bound = Some(shown.session);
                let user = "alice".parse().expect("a name");
                Ok(Response::LoggedIn { user, user_id: shown.user, token: token.clone() })
            }
            _ if !alive => Err(Refusal::NotLoggedIn),
            Request::Logout => {
                truth.ended.extend(bound.take());
                Ok(Response::Done)
            }
            Request::CreateGroup { .. } => {
                truth.effects += 1;
                Ok(Response::Done)
            }
            _ => Ok(Response::Done),
        }
    }

    fn calls(&self, which: impl Fn(&Request) -> bool) -> usize {
        self.truth.lock().expect("the truth").calls.iter().filter(|c| which(&c.request)).count()
    }
}

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    let address = listener.local_addr().expect("an address");
    (listener, address)
}

/// A client, and its end: every task of it is over when the group has stopped.
struct Client {
    trackers: Trackers,
    notices: mpsc::Receiver<Notice>,
    tasks: TaskGroup,
}

fn client(dir: &Path, addresses: &[SocketAddr]) -> Client {
    let tasks = TaskGroup::new();
    let config = TrackersConfig {
        data_dir: dir.to_owned(),
        info: TrackerInfo { trackers: addresses.iter().map(|&a| a.into()).collect(), pin: None },
        info_path: "tracker_info.txt".into(),
        device: DeviceKey::load_or_create(&dir.join("device.key")).expect("a key"),
        tasks: tasks.clone(),
    };
    let (trackers, notices) = Trackers::start(config).expect("started");
    Client { trackers, notices, tasks }
}

fn login(password: &str) -> Request {
    let password = Password::try_from(password.to_owned()).expect("a password");
    Request::Login { user: "alice".parse().expect("a name"), password }
}

fn create_group(name: &str) -> Request {
    Request::CreateGroup { group: name.parse().expect("a name") }
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(10), future).await.expect("in time")
}

#[tokio::test]
async fn a_login_outlives_the_process_until_logout() {
    let dir = tempfile::tempdir().expect("a directory");
    let fake = Fake::new();
    let (listener, address) = listener().await;
    let server = fake.serve(listener);

    let mut first = client(dir.path(), &[address]);
    assert_eq!(first.trackers.cluster(), None);
    assert_eq!(within(first.trackers.ready()).await.expect("a tracker"), None);
    assert!(matches!(first.notices.recv().await, Some(Notice::FirstContact(pin)) if pin == fake.key.public().pin()));
    assert_eq!(first.trackers.cluster(), Some(fake.key.public()));
    let refused = within(first.trackers.call(login("wrong password"))).await.expect_err("refused");
    assert_eq!(refused.code(), "bad_credentials");
    within(first.trackers.call(login("password"))).await.expect("logged in");
    assert!(first.trackers.session().borrow().is_some());
    first.tasks.stop().await;

    let mut second = client(dir.path(), &[address]);
    let who = within(second.trackers.ready()).await.expect("a tracker").expect("still logged in");
    assert_eq!(who.user.as_str(), "alice");
    assert!(matches!(second.notices.recv().await, Some(Notice::Connected(_))), "no second first contact");
    within(second.trackers.call(create_group("lab"))).await.expect("as alice");
    within(second.trackers.call(Request::Logout)).await.expect("logged out");
    assert!(second.trackers.session().borrow().is_none());
    assert!(!dir.path().join("session").exists());
    second.tasks.stop().await;
    server.stop().await;
}

#[tokio::test]
async fn a_command_that_is_cut_off_has_one_effect_and_one_answer() {
    let dir = tempfile::tempdir().expect("a directory");
    let fake = Fake::new();
    let ((one, first), (two, second)) = (listener().await, listener().await);
    let servers = [fake.serve(one), fake.serve(two)];
    let client = client(dir.path(), &[first, second]);
    within(client.trackers.call(login("password"))).await.expect("logged in");
    let before = client.trackers.connection();
    fake.truth.lock().expect("the truth").cut = 1;
    within(client.trackers.call(create_group("lab"))).await.expect("answered in the end");
    assert_eq!(fake.truth.lock().expect("the truth").effects, 1);
    assert_eq!(fake.calls(|r| matches!(r, Request::CreateGroup { .. })), 2, "it was sent twice");
    assert_ne!(client.trackers.connection(), before);
    client.tasks.stop().await;
    for server in servers {
        server.stop().await;
    }
}

#[tokio::test]
async fn a_lost_tracker_is_replaced_without_a_new_login() {
    let dir = tempfile::tempdir().expect("a directory");
    let fake = Fake::new();
    let ((one, first), (two, second)) = (listener().await, listener().await);
    let server = fake.serve(one);
    let sibling = fake.serve(two);
    let client = client(dir.path(), &[first, second]);
    within(client.trackers.call(login("password"))).await.expect("logged in");
    let status = within(client.trackers.status()).await;
    assert!(status.trackers.iter().all(|t| t.up) && status.trackers[0].current, "{status:?}");
    server.stop().await;
    within(client.trackers.call(create_group("lab"))).await.expect("by the other");
    let status = within(client.trackers.status()).await;
    assert!(!status.trackers[0].up && status.trackers[1].current, "{status:?}");
    assert!(client.trackers.session().borrow().is_some());
    client.tasks.stop().await;
    sibling.stop().await;
}

#[tokio::test]
async fn a_tracker_that_falls_silent_is_replaced() {
    let dir = tempfile::tempdir().expect("a directory");
    let fake = Fake::new();
    let sibling = Fake { mute: Arc::default(), ..fake.clone() };
    let ((one, first), (two, second)) = (listener().await, listener().await);
    let servers = [fake.serve(one), sibling.serve(two)];
    let client = client(dir.path(), &[first, second]);
    within(client.trackers.call(login("password"))).await.expect("logged in");
    within(client.trackers.status()).await;
    fake.mute.store(true, Ordering::Relaxed);
    within(client.trackers.call(create_group("lab"))).await.expect("by the other");
    assert_eq!(fake.truth.lock().expect("the truth").effects, 1);
    assert!(within(client.trackers.status()).await.trackers[1].current);
    client.tasks.stop().await;
    for server in servers {
        server.stop().await;
    }
}

#[tokio::test]
async fn a_command_waits_for_a_tracker_that_restarts() {
    let dir = tempfile::tempdir().expect("a directory");
    let fake = Fake::new();
    let (socket, address) = listener().await;
    let server = fake.serve(socket);
    let mut client = client(dir.path(), &[address]);
    within(client.trackers.call(login("password"))).await.expect("logged in");
    server.stop().await;
    while !matches!(within(client.notices.recv()).await, Some(Notice::Lost { .. })) {}
    let command = client.trackers.call(create_group("lab"));
    let restart = async {
        let again = TcpListener::bind(address).await.expect("the same port");
        fake.serve(again)
    };
    let (done, server) = within(async { tokio::join!(command, restart) }).await;
    done.expect("after the restart");
    client.tasks.stop().await;
    server.stop().await;
}

#[tokio::test]
async fn nobody_there_is_said_at_once() {
    let dir = tempfile::tempdir().expect("a directory");
    let (listener, address) = listener().await;
    drop(listener);
    let client = client(dir.path(), &[address]);
    let error = within(client.trackers.call(login("password"))).await.expect_err("nobody");
    assert!(matches!(error, Error::TrackersUnreachable(_)), "{error}");
    assert!(error.to_string().contains(&address.to_string()));
    let status = within(client.trackers.status()).await;
    assert!(!status.trackers[0].up && !status.trackers[0].current);
    assert_eq!(status.mode, None, "neither dual nor solo");
    client.tasks.stop().await;
}

/// `status` said `dual`, as it had been, with both trackers down.
#[tokio::test]
async fn the_mode_of_trackers_that_are_gone_is_not_told() {
    let dir = tempfile::tempdir().expect("a directory");
    let fake = Fake::new();
    let (socket, address) = listener().await;
    let server = fake.serve(socket);
    let mut client = client(dir.path(), &[address]);
    within(client.trackers.call(login("password"))).await.expect("logged in");
    assert_eq!(within(client.trackers.status()).await.mode, Some(Mode::Solo));
    server.stop().await;
    while !matches!(within(client.notices.recv()).await, Some(Notice::Lost { .. })) {}
    assert_eq!(within(client.trackers.status()).await.mode, None);
    client.tasks.stop().await;
}

#[tokio::test]
async fn another_cluster_is_sent_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let (genuine, impostor) = (Fake::new(), Fake::new());
    let (socket, address) = listener().await;
    let server = genuine.serve(socket);
    let first = client(dir.path(), &[address]);
    within(first.trackers.call(login("password"))).await.expect("logged in");
    first.tasks.stop().await;
    server.stop().await;

    let server = impostor.serve(TcpListener::bind(address).await.expect("the same port"));
    let second = client(dir.path(), &[address]);
    let error = within(second.trackers.call(create_group("lab"))).await.expect_err("not trusted");
    assert_eq!(error.code(), "untrusted_tracker");
    assert_eq!(impostor.calls(|_| true), 0);
    second.tasks.stop().await;
    server.stop().await;
}

#[tokio::test]
async fn the_end_of_a_session_is_believed_only_when_it_is_true() {
    let dir = tempfile::tempdir().expect("a directory");
    let fake = Fake::new();
    let (socket, address) = listener().await;
    let server = fake.serve(socket);
    let mut client = client(dir.path(), &[address]);
    within(client.trackers.call(login("password"))).await.expect("logged in");
    let mut pushes = client.trackers.pushes();
    fake.pushes.send(Push::SessionEnded).expect("a session");
    let group = "lab".parse().expect("a name");
    fake.pushes.send(Push::Accepted { group }).expect("a session");
    assert!(matches!(within(pushes.recv()).await, Ok(Push::Accepted { .. })));
    within(client.trackers.call(create_group("lab"))).await.expect("still logged in");

    let session = fake.truth.lock().expect("the truth").calls.iter().rev().find_map(|c| match &c.request {
        Request::Resume { token } => token.verify(&fake.key.public()).ok(),
        _ => None,
    });
    fake.truth.lock().expect("the truth").ended.insert(session.expect("it was resumed").session);
    fake.pushes.send(Push::SessionEnded).expect("a session");
    while !matches!(within(client.notices.recv()).await, Some(Notice::SessionEnded)) {}
    assert!(client.trackers.session().borrow().is_none());
    client.tasks.stop().await;
    server.stop().await;
}

#[tokio::test]
async fn a_cut_off_is_known_however_far_listeners_are_behind() {
    let dir = tempfile::tempdir().expect("a directory");
    let fake = Fake::new();
    let (socket, address) = listener().await;
    let server = fake.serve(socket);
    let client = client(dir.path(), &[address]);
    within(client.trackers.call(login("password"))).await.expect("logged in");
    let (mut behind, mut pushes) = (client.trackers.pushes(), client.trackers.pushes());
    let revocation = Revocation { what: Revoked::Session(SessionId::random()), at: now() };
    let signed = Signed::sign(&revocation, &fake.key).expect("signed");
    fake.pushes.send(Push::Revoked(signed.clone())).expect("a session");
    assert!(matches!(within(pushes.recv()).await, Ok(Push::Revoked(_))));
    assert!(client.trackers.revocations().knows(&signed), "before it is news");
    for _ in 0..=super::PUSHES {
        fake.pushes.send(Push::MadeAdmin { group: "lab".parse().expect("a name") }).expect("a session");
        assert!(matches!(within(pushes.recv()).await, Ok(Push::MadeAdmin { .. })));
    }
    assert!(matches!(behind.recv().await, Err(broadcast::error::RecvError::Lagged(_))));
    assert!(client.trackers.revocations().knows(&signed));
    client.tasks.stop().await;
    server.stop().await;
}

#[tokio::test]
async fn a_device_that_serves_is_announced_after_login() {
    let dir = tempfile::tempdir().expect("a directory");
    let fake = Fake::new();
    let (socket, address) = listener().await;
    let server = fake.serve(socket);
    let client = client(dir.path(), &[address]);
    let listen: SocketAddr = "0.0.0.0:7000".parse().expect("an address");
    client.trackers.serve_at(listen);
    within(client.trackers.call(login("password"))).await.expect("logged in");
    within(client.trackers.call(create_group("lab"))).await.expect("done");
    // Calls of one connection arrive in order: the announcement went out with the login's answer.
    assert_eq!(
        fake.calls(
            |r| matches!(r, Request::Announce { listen: l, .. } | Request::AnnounceAs { listen: l, .. } if *l == listen)
        ),
        1
    );
    client.tasks.stop().await;
    server.stop().await;
}
