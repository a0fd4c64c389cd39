//! A real tracker process, and clients that say to it whatever they like.

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};

use common::connection::{FrameReader, FrameWriter, split};
use common::id::{GroupName, RequestId, Sha1Digest, UserName};
use common::manifest::{Manifest, PieceHash};
use common::pieces::PieceLayout;
use common::ticket::{SessionToken, Signed};
use common::tls::{ClusterTrust, DeviceKey, Stream, TrackerConnector};
use common::wire::client::{Call, ClientFrame, Hello, Password, Reply, Request, Response, ServerFrame, VERSION};
use common::wire::limits::{List, MAX_FRAME};
use common::wire::refusal::Refusal;
use common::wire::sync::VersionVector;
use tokio::io::{AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::{TcpSocket, TcpStream};

pub(super) struct Tracker {
    pub(super) process: Child,
    pub(super) address: SocketAddr,
    _dir: tempfile::TempDir,
}

impl Tracker {
    pub(super) fn start() -> Self {
        raise_file_limit();
        let dir = tempfile::tempdir().expect("directory");
        let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("address").port();
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        std::fs::write(dir.path().join("tracker_info.txt"), address.to_string()).expect("written");
        let mut process = Command::new(env!("CARGO_BIN_EXE_tracker"))
            .current_dir(dir.path())
            .args(["tracker_info.txt", "1"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("started");
        let mut line = String::new();
        BufReader::new(process.stdout.take().expect("stdout")).read_line(&mut line).expect("a line");
        assert_eq!(line.trim(), format!("tracker 1 ready on {address}"));
        Self { process, address, _dir: dir }
    }

    /// A figure of /proc, in bytes.
    pub(super) fn memory(&self, field: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).expect("status");
        let line = status.lines().find_map(|l| l.strip_prefix(field)).expect("field");
        line.trim_start_matches(':').trim().trim_end_matches(" kB").parse::<u64>().expect("a number") << 10
    }

    /// From now on `VmHWM` is the most since now.
    pub(super) fn forget_peak(&self) {
        std::fs::write(format!("/proc/{}/clear_refs", self.process.id()), "5").expect("reset");
    }

    pub(super) async fn socket(&self, from: Ipv4Addr) -> TcpStream {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind((from, 0).into()).expect("bound");
        socket.connect(self.address).await.expect("connected")
    }

    /// A greeted client whose connection comes from `from`.
    pub(super) async fn client_from(&self, from: Ipv4Addr) -> Client {
        self.device_from(from, &DeviceKey::generate().expect("a key")).await
    }

    pub(super) async fn device_from(&self, from: Ipv4Addr, device: &DeviceKey) -> Client {
        let connector = TrackerConnector::new(device, ClusterTrust::FirstContact).expect("connector");
        let (stream, _) = connector.connect(self.socket(from).await).await.expect("encrypted");
        let (reader, mut writer) = split(stream, MAX_FRAME);
        writer.send(&ClientFrame::Hello(Hello { version: VERSION })).await.expect("sent");
        let mut client = Client { reader, writer };
        assert!(matches!(client.reader.next().await, Ok(Some(ServerFrame::Welcome(_)))));
        client
    }

    pub(super) async fn client(&self) -> Client {
        self.client_from(Ipv4Addr::LOCALHOST).await
    }
}

impl Drop for Tracker {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

pub(super) fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let most = getrlimit(Resource::Nofile).maximum;
    let _ = setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most });
}

pub(super) struct Client {
    pub(super) reader: FrameReader<ReadHalf<Stream<TcpStream>>, ServerFrame>,
    pub(super) writer: FrameWriter<WriteHalf<Stream<TcpStream>>, ClientFrame>,
}

impl Client {
    pub(super) async fn ask(&mut self, request: Request) -> Result<Response, Refusal> {
        let call = Call { number: 1, request_id: RequestId::random(), seen: VersionVector::default(), request };
        self.writer.send(&ClientFrame::Call(call)).await.expect("sent");
        loop {
            match self.reader.next().await {
                Ok(Some(ServerFrame::Reply(Reply { number: 1, result, .. }))) => return result,
                Ok(Some(ServerFrame::Push(_))) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    pub(super) async fn create(&mut self, user: &str) -> Result<Response, Refusal> {
        self.ask(Request::CreateUser { user: name(user), password: password("password of somebody") }).await
    }

    /// Sends a request and does not wait for what comes of it.
    pub(super) async fn begin(&mut self, request: Request) {
        let call = Call { number: 2, request_id: RequestId::random(), seen: VersionVector::default(), request };
        self.writer.send(&ClientFrame::Call(call)).await.expect("sent");
    }

    /// A new account, logged in.
    pub(super) async fn sign_up(&mut self, user: &str) -> Signed<SessionToken> {
        self.create(user).await.expect("created");
        match self.login(user, "password of somebody").await.expect("logged in") {
            Response::LoggedIn { token, .. } => token,
            other => panic!("{other:?}"),
        }
    }

    /// Whether the connection is still there.
    pub(super) async fn lives(&mut self) -> bool {
        let call = Call {
            number: 3,
            request_id: RequestId::random(),
            seen: VersionVector::default(),
            request: Request::Status,
        };
        if self.writer.send(&ClientFrame::Call(call)).await.is_err() {
            return false;
        }
        loop {
            match self.reader.next().await {
                Ok(Some(ServerFrame::Reply(Reply { number: 3, .. }))) => return true,
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => return false,
            }
        }
    }

    pub(super) async fn login(&mut self, user: &str, secret: &str) -> Result<Response, Refusal> {
        self.ask(Request::Login { user: name(user), password: password(secret) }).await
    }
}

pub(super) fn lab() -> GroupName {
    "lab".parse().expect("a name")
}

pub(super) fn name(s: &str) -> UserName {
    s.parse().expect("a name")
}

pub(super) fn password(s: &str) -> Password {
    Password::try_from(s.to_owned()).expect("a password")
}

/// A connection that begins a handshake and never goes on.
pub(super) async fn hold(tracker: &Tracker, from: Ipv4Addr) -> TcpStream {
    let mut socket = tracker.socket(from).await;
    socket.write_all(&[0x16, 3, 1, 2, 0, 1, 0]).await.expect("sent");
    socket
}

/// A manifest of so many pieces of no particular content.
pub(super) fn manifest(pieces: u32) -> Manifest {
    let layout = PieceLayout::new(u64::from(pieces) << 14, 1 << 14).expect("layout");
    let piece =
        |n: u32| PieceHash { sha1: Sha1Digest::new([n as u8; 20]), chain: *blake3::hash(&n.to_le_bytes()).as_bytes() };
    Manifest::of_hashed(layout, Sha1Digest::new([0; 20]), (0..pieces).map(piece).collect()).expect("manifest")
}

impl Client {
    /// Publishes a file.
    pub(super) async fn publish(&mut self, group: GroupName, file: &str, manifest: &Manifest) -> common::id::FileId {
        let file_id = manifest.file_id();
        let pieces = List::new(manifest.pieces().to_vec()).expect("fits");
        self.ask(Request::StageManifest { file_id, first: 0, pieces }).await.expect("staged");
        let upload = Request::UploadFile {
            group,
            name: file.parse().expect("a name"),
            file_id,
            layout: manifest.layout(),
            sha1: manifest.sha1(),
        };
        self.ask(upload).await.expect("published");
        file_id
    }
}
