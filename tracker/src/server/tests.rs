//! A real client over real sockets, on a port that the system chose.

use common::connection::{FrameReader, FrameWriter, split};
use common::id::{RequestId, UserName};
use common::secret::ClusterSecret;
use common::ticket::{SessionToken, Signed};
use common::tls::{ClusterTrust, DeviceKey, Stream, TrackerConnector};
use common::wire::client::{
    Call, ClientFrame, Hello, Password, Push, Relation, Reply, Request, Response, ServerFrame, VERSION,
};
use common::wire::limits::MAX_FRAME;
use common::wire::refusal::Refusal;
use common::wire::sync::VersionVector;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::TcpSocket;

use super::*;

struct Tracker {
    server: Server,
    key: ClusterKey,
    dir: tempfile::TempDir,
}

impl Tracker {
    async fn start(limits: Limits) -> Self {
        let (dir, key) = (tempfile::tempdir().expect("directory"), ClusterSecret::generate().cluster_key());
        let server = Self::serve(dir.path(), &key, limits).await;
        Self { server, key, dir }
    }

    async fn serve(dir: &std::path::Path, key: &ClusterKey, limits: Limits) -> Server {
        let listen = "127.0.0.1:0".parse().expect("address");
        let config = Config { limits, ..Config::new(1, listen, dir.join("data"), key.clone()) };
        Server::bind(config).await.expect("started")
    }

    async fn restart(&mut self) {
        self.server.stop().await;
        self.server = Self::serve(self.dir.path(), &self.key, Limits::default()).await;
    }

    async fn connect(&self, device: &DeviceKey) -> Client {
        self.connect_from(1, device).await
    }

    /// From 127.0.0.`host`.
    async fn connect_from(&self, host: u8, device: &DeviceKey) -> Client {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(SocketAddr::from(([127, 0, 0, host], 0))).expect("bound");
        let socket = socket.connect(self.server.local_addr()).await.expect("connected");
        let trust = ClusterTrust::Pinned(self.key.public().pin());
        let connector = TrackerConnector::new(device, trust).expect("connector");
        let (stream, _) = connector.connect(socket).await.expect("encrypted");
        let (reader, mut writer) = split(stream, MAX_FRAME);
        writer.send(&ClientFrame::Hello(Hello { version: VERSION })).await.expect("sent");
        let mut client = Client { reader, writer, pushes: Vec::new() };
        assert!(matches!(client.next().await, Some(ServerFrame::Welcome(_))));
        client
    }

    /// An account, logged in on a device of its own.
    async fn user(&self, name: &str) -> (Client, DeviceKey, Signed<SessionToken>) {
        let device = DeviceKey::generate().expect("a key");
        let mut client = self.connect(&device).await;
        let user: UserName = name.parse().expect("a name");
        client.ask(Request::CreateUser { user: user.clone(), password: password() }).await.expect("created");
        let token = client.log_in(Request::Login { user, password: password() }).await.expect("logged in");
        (client, device, token)
    }
}

fn password() -> Password {
    Password::try_from("password of somebody".to_owned()).expect("a password")
}

struct Client {
    reader: FrameReader<ReadHalf<Stream<TcpStream>>, ServerFrame>,
    writer: FrameWriter<WriteHalf<Stream<TcpStream>>, ClientFrame>,
    pushes: Vec<Push>,
}

impl Client {
    async fn next(&mut self) -> Option<ServerFrame> {
        let frame = timeout(Duration::from_secs(20), self.reader.next()).await.expect("in time");
        frame.ok().flatten()
    }

    async fn ask(&mut self, request: Request) -> Result<Response, Refusal> {
        let call = Call { number: 1, request_id: RequestId::random(), seen: VersionVector::default(), request };
        self.writer.send(&ClientFrame::Call(call)).await.expect("sent");
        loop {
            match self.next().await.expect("a frame") {
                ServerFrame::Reply(Reply { number: 1, mode: Mode::Solo, result, .. }) => return result,
                ServerFrame::Push(push) => self.pushes.push(push),
                other => panic!("{other:?}"),
            }
        }
    }

    async fn log_in(&mut self, request: Request) -> Result<Signed<SessionToken>, Refusal> {
        match self.ask(request).await? {
            Response::LoggedIn { token, .. } => Ok(token),
            other => panic!("{other:?}"),
        }
    }

    async fn push(&mut self) -> Push {
        if !self.pushes.is_empty() {
            return self.pushes.remove(0);
        }
        match self.next().await {
            Some(ServerFrame::Push(push)) => push,
            other => panic!("{other:?}"),
        }
    }
}

fn lab() -> common::id::GroupName {
    "lab".parse().expect("a name")
}

/// `bob` asks to join and is let in.
async fn admit(a: &mut Client, b: &mut Client) {
    b.ask(Request::JoinGroup { group: lab() }).await.expect("asked");
    assert!(matches!(a.push().await, Push::JoinRequested { .. }));
    let user = "bob".parse().expect("a name");
    a.ask(Request::AcceptRequest { group: lab(), user }).await.expect("accepted");
    assert!(matches!(b.push().await, Push::Accepted { .. }));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_story_and_all_of_it_after_a_restart() {
    let mut tracker = Tracker::start(Limits::default()).await;
    let (mut a, ..) = tracker.user("alice").await;
    let (mut b, device, token) = tracker.user("bob").await;
    a.ask(Request::CreateGroup { group: lab() }).await.expect("created");
    admit(&mut a, &mut b).await;
    tracker.restart().await;
    assert!(b.next().await.is_none(), "told that it is over");
    let mut b = tracker.connect(&device).await;
    b.log_in(Request::Resume { token: token.clone() }).await.expect("still logged in");
    let Ok(Response::Groups(page)) = b.ask(Request::ListGroups { after: None }).await else { panic!("not a list") };
    assert_eq!((page.rows[0].members, page.rows[0].relation), (2, Relation::Member));
    let mut thief = tracker.connect(&DeviceKey::generate().expect("a key")).await;
    assert_eq!(thief.log_in(Request::Resume { token }).await, Err(Refusal::SessionEnded));
    tracker.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kick_is_told_to_every_member_before_it_is_acknowledged() {
    let tracker = Tracker::start(Limits::default()).await;
    let (mut a, ..) = tracker.user("alice").await;
    let (mut b, ..) = tracker.user("bob").await;
    a.ask(Request::CreateGroup { group: lab() }).await.expect("created");
    admit(&mut a, &mut b).await;
    let Ok(Response::Ticket(ticket)) = b.ask(Request::GetTicket { group: lab() }).await else { panic!("no ticket") };
    let ticket = ticket.verify(&tracker.key.public()).expect("ours");
    let begun = Instant::now();
    a.ask(Request::RemoveMember { group: lab(), user: "bob".parse().expect("a name") }).await.expect("removed");
    for member in [&mut a, &mut b] {
        let Push::Revoked(revoked) = member.push().await else { panic!("not a revocation") };
        assert!(revoked.verify(&tracker.key.public()).expect("ours").covers(&ticket));
    }
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    assert!(matches!(b.push().await, Push::Removed { .. }));
    assert!(matches!(b.ask(Request::GetTicket { group: lab() }).await, Err(Refusal::NotAMember(_))));
    tracker.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_that_only_holds_sockets_keeps_nobody_from_logging_in() {
    let limits = Limits { connections: 64, strangers_per_address: 24, users_per_address: 24 };
    let tracker = Tracker::start(limits).await;
    let (mut member, ..) = tracker.user("alice").await;
    let mut crowd = Vec::new();
    for n in 0..300 {
        let mut socket = TcpStream::connect(tracker.server.local_addr()).await.expect("connected");
        if n % 2 == 0 {
            // The beginning of a handshake that never goes on.
            let _ = socket.write_all(&[0x16, 3, 1, 2, 0]).await;
        }
        crowd.push(socket);
    }
    let begun = Instant::now();
    let (mut newcomer, ..) = tracker.user("bob").await;
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    assert!(newcomer.ask(Request::ListGroups { after: None }).await.is_ok());
    assert!(member.ask(Request::ListGroups { after: None }).await.is_ok(), "who was there stays");
    let status = tracker.server.status().await.expect("status");
    assert!(status.connections <= limits.connections && status.logged_in == 2, "{status:?}");
    // The oldest have been sent away.
    let oldest = timeout(Duration::from_secs(5), crowd[1].read(&mut [0; 1])).await.expect("in time");
    assert!(matches!(oldest, Ok(0) | Err(_)));
    tracker.server.stop().await;
}

/// Whether it still answers.
async fn lives(client: &mut Client) -> bool {
    let call =
        Call { number: 1, request_id: RequestId::random(), seen: VersionVector::default(), request: Request::Status };
    client.writer.send(&ClientFrame::Call(call)).await.is_ok()
        && matches!(client.next().await, Some(ServerFrame::Reply(_)))
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn one_address_cannot_take_every_place_by_logging_in() {
    let limits = Limits { connections: 24, strangers_per_address: 24, users_per_address: 8 };
    let tracker = Tracker::start(limits).await;
    let (mut alice, device, token) = tracker.user("alice").await;
    let mut crowd = Vec::new();
    for _ in 0..30 {
        let mut client = tracker.connect_from(2, &device).await;
        client.log_in(Request::Resume { token: token.clone() }).await.expect("logged in");
        crowd.push(client);
    }
    let begun = Instant::now();
    let mut newcomer = tracker.connect_from(3, &DeviceKey::generate().expect("a key")).await;
    assert!(lives(&mut newcomer).await && begun.elapsed() < Duration::from_secs(2));
    let oldest = crowd.len() - limits.users_per_address;
    for (n, client) in crowd.iter_mut().enumerate() {
        assert_eq!(lives(client).await, n >= oldest, "{n}: the oldest have made room");
    }
    assert!(lives(&mut alice).await);
    tracker.server.stop().await;
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn nobody_goes_before_somebody_has_come() {
    let limits = Limits { connections: 8, strangers_per_address: 8, users_per_address: 8 };
    let tracker = Tracker::start(limits).await;
    let (_alice, device, token) = tracker.user("alice").await;
    let mut users = Vec::new();
    for host in 2..2 + limits.users() as u8 - 1 {
        let mut client = tracker.connect_from(host, &device).await;
        client.log_in(Request::Resume { token: token.clone() }).await.expect("logged in");
        users.push(client);
    }
    let key = DeviceKey::generate().expect("a key");
    let mut first = tracker.connect_from(100, &key).await;
    let mut second = tracker.connect_from(101, &key).await;
    assert_eq!(tracker.server.status().await.expect("status").connections, limits.connections, "full");
    assert!(lives(&mut first).await && lives(&mut second).await, "and nobody had to go");
    let mut newcomer = tracker.connect_from(102, &key).await;
    assert!(lives(&mut newcomer).await && !lives(&mut first).await, "the oldest, and only then");
    for client in &mut users {
        assert!(lives(client).await);
    }
    tracker.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_sees_who_is_there() {
    let tracker = Tracker::start(Limits::default()).await;
    let count = async || {
        let status = tracker.server.status().await.expect("status");
        (status.connections, status.logged_in, status.counts.users)
    };
    assert_eq!(count().await, (0, 0, 0));
    let _alice = tracker.user("alice").await;
    let _stranger = tracker.connect(&DeviceKey::generate().expect("a key")).await;
    assert_eq!(count().await, (2, 1, 1));
    tracker.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_tls_ends_at_once() {
    let tracker = Tracker::start(Limits::default()).await;
    for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0xff; 4], &[0; 64]] {
        let mut socket = TcpStream::connect(tracker.server.local_addr()).await.expect("connected");
        socket.write_all(bytes).await.expect("sent");
        let mut rest = Vec::new();
        let ended = timeout(Duration::from_secs(5), socket.read_to_end(&mut rest)).await;
        assert!(ended.is_ok(), "{bytes:?}");
    }
    tracker.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_cluster_is_not_spoken_to() {
    let tracker = Tracker::start(Limits::default()).await;
    let socket = TcpStream::connect(tracker.server.local_addr()).await.expect("connected");
    let other = ClusterSecret::generate().cluster_key().public().pin();
    let connector = TrackerConnector::new(&DeviceKey::generate().expect("a key"), ClusterTrust::Pinned(other));
    let refused = connector.expect("connector").connect(socket).await;
    assert!(matches!(refused, Err(TlsError::UntrustedCluster { .. })));
    tracker.server.stop().await;
}

#[tokio::test]
async fn a_port_in_use_and_a_directory_in_use_are_named() {
    let tracker = Tracker::start(Limits::default()).await;
    let address = tracker.server.local_addr();
    let other = tempfile::tempdir().expect("directory");
    let busy = Server::bind(Config::new(1, address, other.path().join("data"), tracker.key.clone())).await;
    assert!(matches!(busy, Err(StartError::InUse(a)) if a == address));
    let locked = Server::bind(Config::new(1, address, tracker.dir.path().join("data"), tracker.key.clone())).await;
    assert!(matches!(locked, Err(StartError::Open(OpenError::Locked(_)))));
    let far = "192.0.2.1:5000".parse().expect("address");
    let far = Server::bind(Config::new(1, far, other.path().join("data"), tracker.key.clone())).await;
    assert!(matches!(far, Err(StartError::NotOurs(_))));
    tracker.server.stop().await;
}

#[test]
fn status_tells_what_an_operator_must_know() {
    let ago = Instant::now().checked_sub(Duration::from_secs(35)).expect("a machine that runs for longer");
    let alarms = crate::replica::Alarms { clock_ahead_s: Some(-90), ..Default::default() };
    let view = View {
        mode: Mode::Solo,
        mode_since: ago,
        linked: false,
        acked: 0,
        open: true,
        level: false,
        sibling: None,
        lag: 812,
        votes: 0,
        alarms,
    };
    let status = Status {
        connections: 0,
        logged_in: 0,
        counts: Counts { users: 0, groups: 0, events: 0 },
        other: Some((view, "127.0.0.1:1".parse().expect("address"))),
        mode: Mode::Solo,
        log: (0, 0),
        quarantined: 0,
        disk_has_room: false,
    };
    let said = status.to_string();
    for part in ["away, lacks 812 events", "solo for 35 s", "NEARLY FULL", "clock is 90 s behind this one's"] {
        assert!(said.contains(part), "{part}: {said}");
    }
}
