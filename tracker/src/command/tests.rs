//! What the commands' tests stand on: real services over a database in a temporary directory, and devices that
//! ask them as sessions do.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use common::id::{DeviceId, FileId, RequestId, SessionId, Sha1Digest};
use common::manifest::{Manifest, PieceHash, hash_piece};
use common::pieces::PieceLayout;
use common::secret::ClusterSecret;
use common::ticket::{SessionToken, Signed, Ticket};
use common::wire::client::{FileInfo, GroupRow, Password, Push};
use common::wire::limits::MAX_PART;
use sha1::{Digest, Sha1};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::hub::{Online, Registered};
use crate::limits::{Caller, Payer};
use crate::store::{Absent, Versions};

/// How long a call is of use.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);
pub(crate) const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));

pub(crate) struct Fixture {
    services: Arc<Services>,
    devices: AtomicU8,
    /// What the disk has free, in bytes.
    free: Arc<AtomicU64>,
    _dir: tempfile::TempDir,
}

impl Fixture {
    pub(crate) async fn new() -> Self {
        Self::with(Quota::default()).await
    }

    pub(crate) async fn with(quota: Quota) -> Self {
        Self::of(quota, Registration::Open, ClusterSecret::generate().cluster_key()).await
    }

    /// A tracker where accounts are for those who are invited.
    pub(crate) async fn by_invitation() -> Self {
        Self::of(Quota::default(), Registration::Invite, ClusterSecret::generate().cluster_key()).await
    }

    /// Two trackers of one cluster, whose link is [`Self::sync`].
    pub(crate) async fn pair() -> [Self; 2] {
        let secret = ClusterSecret::generate();
        let one = || Self::of(Quota::default(), Registration::Open, secret.cluster_key());
        [one().await, one().await]
    }

    /// What was decided at `from` is on disk here, and clients here have been told.
    pub(crate) async fn sync(&self, from: &Self) {
        let no_votes = (u64::MAX >> 1, 0);
        let have = (*self.versions()).clone();
        let out = from.services.store.outbox(have, no_votes, usize::MAX).await.expect("read");
        let events = out.events.into();
        let applied = self.services.store.apply(events, Vec::new(), Absent::default()).await.expect("applied");
        let (tell, heard) = mpsc::channel(1);
        tell.send(applied.facts).await.expect("sent");
        drop(tell);
        pass_on(self.shared(), heard).await;
    }

    async fn of(quota: Quota, registration: Registration, key: ClusterKey) -> Self {
        let dir = tempfile::tempdir().expect("directory");
        let wall = Arc::new(|| common::ticket::now() * 1000);
        let free = Arc::new(AtomicU64::new(u64::MAX));
        let said = Arc::clone(&free);
        let said = Arc::new(move || Some(said.load(Ordering::Relaxed)));
        let store = Store::open_with(dir.path(), wall, common::id::OriginId::random(), said).expect("opened");
        let services = Services {
            replica: crate::replica::Replica::alone(store.clone()),
            tracker_no: 1,
            quota,
            registration,
            recent_revocations: RecentRevocations::default(),
            signed_ends: SignedEnds::default(),
            probes: Probes::default(),
            new_files: NewFiles::default(),
            key,
            store,
            passwords: Passwords::new(2).expect("passwords"),
            throttle: Throttle::default(),
            tickets: Tickets::default(),
            replies: Arc::default(),
            presence: Arc::default(),
            hub: Arc::default(),
            staging: StagingRoom::default(),
        };
        Self { services: Arc::new(services), devices: AtomicU8::new(1), free, _dir: dir }
    }

    pub(crate) fn set_free(&self, bytes: u64) {
        self.free.store(bytes, Ordering::Relaxed);
    }

    pub(crate) fn services(&self) -> &Services {
        &self.services
    }

    pub(crate) fn shared(&self) -> Arc<Services> {
        Arc::clone(&self.services)
    }

    pub(crate) fn key(&self) -> &ClusterKey {
        &self.services.key
    }

    pub(crate) fn versions(&self) -> Arc<Versions> {
        self.services.store.versions()
    }

    /// A device that nobody has logged in on.
    pub(crate) fn device(&self) -> Device {
        let n = self.devices.fetch_add(1, Ordering::Relaxed);
        Device {
            services: Arc::clone(&self.services),
            device: DeviceId::new([n; 32]),
            connection: self.services.hub.number(),
            inner: Mutex::default(),
        }
    }

    /// A new account, logged in on a device of its own; the password is `password of NAME`.
    pub(crate) async fn user(&self, name: &str) -> Device {
        let device = self.device();
        let password = format!("password of {name}");
        device.create(name, &password).await.expect("created");
        device.login(name, &password).await.expect("logged in");
        device
    }

    /// States facts as if they had been decided at the other tracker.
    pub(crate) async fn state(&self, facts: Vec<Fact>) {
        let asked = Asked { device: DeviceId::new([0xee; 32]), request: RequestId::random() };
        let change = Change { facts, manifest: None, answer: Vec::new(), value: () };
        self.services.store.write(asked, move |_| Ok::<_, StoreError>(change)).await.expect("stated");
    }

    /// Joins facts of the other tracker that were stated at that time.
    pub(crate) async fn state_at(&self, at: common::ticket::UnixSeconds, facts: Vec<Fact>) {
        let hlc = crate::fact::Hlc::at_millis(at * 1000);
        let stamp = crate::fact::Stamp { hlc, origin: common::id::OriginId::new([9; 16]) };
        let facts: Vec<_> = facts.into_iter().map(|fact| (stamp, fact)).collect();
        let packed = common::codec::encode(&facts, common::wire::limits::MAX_FRAME).expect("encoded");
        self.services.store.join_facts(packed.into(), None, Absent::default()).await.expect("joined");
    }

    /// As if the state had come from the other tracker without the log.
    pub(crate) async fn forget_answers(&self) {
        self.services.store.prune_requests(i64::MAX.cast_unsigned()).await.expect("pruned");
    }

    /// Shares of `user` whose manifests take as much as all of a user's may. Only their lengths are there.
    pub(crate) async fn outgrow_manifests(&self, user: UserId) {
        let mut pieces = crate::quota::MANIFEST_BYTES / PieceHash::LEN as u64;
        for number in 100.. {
            let some = pieces.min(common::pieces::MAX_PIECES);
            let layout = PieceLayout::new(some << 14, 1 << 14).expect("a layout");
            let manifest = self.services.store.claim_manifest(number, layout).await.expect("claimed");
            let (id, membership) = (common::id::PublicationId::random(), MembershipId::random());
            let (group, file, name) = (GroupId::random(), FileId::new([9; 32]), "vast".parse().expect("a name"));
            self.state(vec![Fact::Published { id, group, name, file, manifest, user, membership }]).await;
            pieces -= some;
            if pieces == 0 {
                return;
            }
        }
    }

    /// So many more logins of a user who has had one password.
    pub(crate) async fn sessions(&self, user: UserId, count: u32) {
        let login = |_| {
            let (id, expires) = (SessionId::random(), ticket::now() + 1000);
            let login = Fact::Session { id, user, device: DeviceId::new([0xdd; 32]), expires };
            [login, Fact::SessionBound { session: id, credentials: 1 }]
        };
        self.state((0..count).flat_map(login).collect()).await;
    }

    pub(crate) async fn admit(&self, admin: &Device, user: &Device, group: &str) {
        user.join(group).await.expect("asked");
        admin.accept(group, user.name().as_str()).await.expect("accepted");
    }
}

type Pushes = mpsc::Receiver<Arc<Push>>;

#[derive(Default)]
struct Inner {
    hears_hints: Arc<std::sync::atomic::AtomicBool>,
    login: Option<(Login, Signed<SessionToken>, Registered, Pushes)>,
    staging: Staging,
    heard: Vec<Push>,
}

/// A device with one connection.
pub(crate) struct Device {
    services: Arc<Services>,
    device: DeviceId,
    connection: ConnectionId,
    inner: Mutex<Inner>,
}

pub(crate) fn request_id(n: u8) -> RequestId {
    RequestId::new([n; 16])
}

pub(crate) fn password(s: &str) -> Password {
    Password::try_from(s.to_owned()).expect("a password")
}

pub(crate) fn group(s: &str) -> GroupName {
    s.parse().expect("a name")
}

pub(crate) fn user(s: &str) -> UserName {
    s.parse().expect("a name")
}

pub(crate) fn manifest_of(bytes: &[u8], piece_len: u64) -> Manifest {
    let layout = PieceLayout::new(bytes.len() as u64, piece_len).expect("layout");
    let piece = |p| {
        let r = layout.range(p);
        hash_piece(layout, p, &bytes[r.start as usize..r.end as usize])
    };
    let sha1 = Sha1::digest(bytes);
    Manifest::of_hashed(layout, Sha1Digest::new(sha1.into()), layout.pieces().map(piece).collect()).expect("manifest")
}

/// A manifest of so many pieces of no particular content.
pub(crate) fn big_manifest(pieces: u32) -> Manifest {
    let layout = PieceLayout::new(u64::from(pieces) << 14, 1 << 14).expect("layout");
    let piece =
        |n: u32| PieceHash { sha1: Sha1Digest::new([n as u8; 20]), chain: *blake3::hash(&n.to_le_bytes()).as_bytes() };
    Manifest::of_hashed(layout, Sha1Digest::new([0; 20]), (0..pieces).map(piece).collect()).expect("manifest")
}

impl Device {
    pub(crate) async fn ask(&self, request: Request) -> Result<Response, Refusal> {
        self.ask_as(RequestId::random(), request).await
    }

    /// Asks as a session does, under this id.
    pub(crate) async fn ask_as(&self, id: RequestId, request: Request) -> Result<Response, Refusal> {
        let (login, handed) = {
            let mut state = self.inner.lock().expect("lock");
            let login = state.login.as_ref().map(|l| l.0.clone());
            let handed = match (&request, &login) {
                (Request::UploadFile { .. } | Request::Publish { .. }, _) => {
                    Handed::Staging(std::mem::take(&mut state.staging))
                }
                (Request::StageTree { .. }, None) => return Err(Refusal::NotLoggedIn),
                (Request::StageTree { tree, offset, bytes }, Some(me)) => {
                    let whose = (&self.services.store, me.user);
                    Handed::Part(state.staging.add_tree_part(whose, *tree, *offset, bytes.len(), Instant::now())?)
                }
                _ => Handed::Nothing,
            };
            (login, handed)
        };
        let payer = Payer::of(login.as_ref().map(|login| login.user), HERE);
        let overtakes = properties(&request).overtakes;
        let call = Call {
            services: Arc::clone(&self.services),
            asked: Asked { device: self.device, request: id },
            caller: Caller::call(payer, overtakes, PATIENCE, CancellationToken::new()),
            address: HERE,
            connection: self.connection,
        };
        let (response, change, _) = carry_out(call, login, request, handed).await?;
        match change {
            LoginChange::Same => {}
            LoginChange::Gone => self.log_out(),
            LoginChange::Now(_) => self.adopt(&response),
        }
        Ok(response)
    }

    /// The same device's connection to the other tracker, under the same login.
    pub(crate) fn twin(&self, at: &Fixture) -> Self {
        let twin = Self {
            services: Arc::clone(&at.services),
            device: self.device,
            connection: at.services.hub.number(),
            inner: Mutex::default(),
        };
        let token = self.token();
        twin.adopt(&Response::LoggedIn { user: self.name(), user_id: self.user(), token });
        twin
    }

    /// Takes the login of `response` for this connection's.
    pub(crate) fn adopt(&self, response: &Response) {
        let Response::LoggedIn { user: name, token, .. } = response else { panic!("not a login") };
        let SessionToken { session, user, .. } = token.verify(&self.services.key.public()).expect("ours");
        self.log_out();
        let (pushes, received) = mpsc::channel(64);
        let (connection, device) = (self.connection, self.device);
        let hears_hints = Arc::clone(&self.inner.lock().expect("lock").hears_hints);
        let registered = self.services.hub.register(Online {
            connection,
            device,
            user,
            session,
            revision: 0,
            pushes,
            hears_hints,
            kill: CancellationToken::new(),
        });
        let login = Login { user, name: name.clone(), session, device };
        self.inner.lock().expect("lock").login = Some((login, token.clone(), registered, received));
    }

    fn log_out(&self) {
        self.heard();
        self.inner.lock().expect("lock").login = None;
    }

    /// As if news had been asked for in a session.
    pub(crate) fn hears_hints(&self) {
        self.inner.lock().expect("lock").hears_hints.store(true, Ordering::Relaxed);
    }

    /// The news since this was last asked.
    pub(crate) fn heard(&self) -> Vec<Push> {
        let mut inner = self.inner.lock().expect("lock");
        let mut new = Vec::new();
        if let Some((.., received)) = &mut inner.login {
            new.extend(std::iter::from_fn(|| received.try_recv().ok().map(Arc::unwrap_or_clone)));
        }
        inner.heard.extend(new.iter().cloned());
        new
    }

    /// All news so far.
    pub(crate) fn ever_heard(&self) -> Vec<Push> {
        self.heard();
        self.inner.lock().expect("lock").heard.clone()
    }

    pub(crate) fn device(&self) -> DeviceId {
        self.device
    }

    fn login_now(&self) -> Login {
        self.inner.lock().expect("lock").login.as_ref().expect("logged in").0.clone()
    }

    pub(crate) fn token(&self) -> Signed<SessionToken> {
        self.inner.lock().expect("lock").login.as_ref().expect("logged in").1.clone()
    }

    pub(crate) fn session(&self) -> SessionId {
        self.login_now().session
    }

    pub(crate) fn user(&self) -> UserId {
        self.login_now().user
    }

    pub(crate) fn name(&self) -> UserName {
        self.login_now().name
    }

    pub(crate) async fn create(&self, name: &str, secret: &str) -> Result<Response, Refusal> {
        self.ask(Request::CreateUser { user: user(name), password: password(secret) }).await
    }

    pub(crate) fn login_request(&self, name: &str, secret: &str) -> Request {
        Request::Login { user: user(name), password: password(secret) }
    }

    pub(crate) async fn login(&self, name: &str, secret: &str) -> Result<Response, Refusal> {
        self.ask(self.login_request(name, secret)).await
    }

    pub(crate) async fn logout(&self) -> Result<Response, Refusal> {
        self.ask(Request::Logout).await
    }

    pub(crate) async fn create_group(&self, name: &str) -> Result<Response, Refusal> {
        self.ask(Request::CreateGroup { group: group(name) }).await
    }

    pub(crate) async fn join(&self, name: &str) -> Result<Response, Refusal> {
        self.ask(Request::JoinGroup { group: group(name) }).await
    }

    pub(crate) async fn leave(&self, name: &str) -> Result<Response, Refusal> {
        self.ask(Request::LeaveGroup { group: group(name) }).await
    }

    pub(crate) async fn accept(&self, name: &str, whom: &str) -> Result<Response, Refusal> {
        self.ask(Request::AcceptRequest { group: group(name), user: user(whom) }).await
    }

    pub(crate) async fn reject(&self, name: &str, whom: &str) -> Result<Response, Refusal> {
        self.ask(Request::RejectRequest { group: group(name), user: user(whom) }).await
    }

    pub(crate) async fn remove(&self, name: &str, whom: &str) -> Result<Response, Refusal> {
        self.ask(Request::RemoveMember { group: group(name), user: user(whom) }).await
    }

    pub(crate) async fn make_admin(&self, name: &str, whom: &str) -> Result<Response, Refusal> {
        self.ask(Request::MakeAdmin { group: group(name), user: user(whom) }).await
    }

    pub(crate) async fn groups(&self) -> Vec<GroupRow> {
        match self.ask(Request::ListGroups { after: None }).await {
            Ok(Response::Groups(page)) => page.rows.into_vec(),
            other => panic!("not a list: {other:?}"),
        }
    }

    pub(crate) async fn file_names(&self, name: &str) -> Vec<String> {
        match self.ask(Request::ListFiles { group: group(name), after: None }).await {
            Ok(Response::Files(page)) => page.rows.iter().map(|r| r.name.as_str().to_owned()).collect(),
            other => panic!("not a list: {other:?}"),
        }
    }

    pub(crate) async fn find(&self, name: &str, file: &str) -> Result<FileInfo, Refusal> {
        match self.ask(Request::FindFile { group: group(name), file: file.parse().expect("a selector") }).await? {
            Response::File(info) => Ok(info),
            other => panic!("not a file: {other:?}"),
        }
    }

    pub(crate) fn stage(&self, pieces: &[PieceHash], file: FileId) {
        let user = self.user();
        let mut inner = self.inner.lock().expect("lock");
        for (n, part) in pieces.chunks(MAX_PART).enumerate() {
            let first = (n * MAX_PART) as u32;
            let whose = (&self.services.staging, user);
            inner.staging.add_pieces(whose, file, first, part.to_vec(), Instant::now()).expect("staged");
        }
    }

    pub(crate) async fn publish(&self, name: &str, file: &str, m: &Manifest) -> Result<FileId, Refusal> {
        self.stage(m.pieces(), m.file_id());
        let upload = Request::UploadFile {
            group: group(name),
            name: file.parse().expect("a name"),
            file_id: m.file_id(),
            layout: m.layout(),
            sha1: m.sha1(),
        };
        self.ask(upload).await.map(|_| m.file_id())
    }

    pub(crate) async fn upload(&self, name: &str, file: &str, bytes: &[u8]) -> Result<FileId, Refusal> {
        self.publish(name, file, &manifest_of(bytes, 16 << 10)).await
    }

    pub(crate) async fn start_seeding(&self, name: &str, file_id: FileId) -> Result<Response, Refusal> {
        self.ask(Request::StartSeeding { group: group(name), file_id }).await
    }

    pub(crate) async fn stop_seeding(&self, name: &str, file_id: FileId) -> Result<Response, Refusal> {
        self.ask(Request::StopSeeding { group: group(name), file_id }).await
    }

    pub(crate) async fn announce(&self, serial: u64) -> Result<Response, Refusal> {
        let listen = "0.0.0.0:7000".parse().expect("address");
        self.ask(Request::Announce { listen, serial }).await
    }

    /// Names of the users that seed a file now.
    pub(crate) async fn peers(&self, name: &str, file_id: FileId) -> Vec<String> {
        match self.ask(Request::FindPeers { group: group(name), file_id }).await {
            Ok(Response::Peers(rows)) => {
                let mut names: Vec<String> = rows.iter().map(|p| p.user.as_str().to_owned()).collect();
                names.sort();
                names
            }
            other => panic!("not a list: {other:?}"),
        }
    }

    pub(crate) async fn ticket(&self, name: &str) -> Result<Ticket, Refusal> {
        match self.ask(Request::GetTicket { group: group(name) }).await? {
            Response::Ticket(signed) => Ok(signed.verify(&self.services.key.public()).expect("ours")),
            other => panic!("not a ticket: {other:?}"),
        }
    }
}
