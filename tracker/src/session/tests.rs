use std::sync::Arc;

use common::id::{DeviceId, MembershipId, RequestId};
use common::wire::client::{Call as WireCall, REVISION, Response};
use common::wire::sync::VersionVector;
use tokio::io::{DuplexStream, duplex};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::admission::{Admission, Limits};
use crate::command::tests::{Fixture, group, password};
use crate::fact::{EndReason, Fact};
use crate::limits::receive_budget::Bounds;
use crate::store::{Change, StoreError};

/// A client at the other end of a pipe.
struct Client {
    reader: FrameReader<ReadHalf<DuplexStream>, ServerFrame>,
    writer: FrameWriter<WriteHalf<DuplexStream>, ClientFrame>,
    number: u64,
    pushes: Vec<Push>,
}

struct World {
    fixture: Fixture,
    context: Context,
    admission: Arc<Admission>,
}

impl World {
    async fn new() -> Self {
        Self::with(ReceiveBudget::default()).await
    }

    async fn with(receive_budget: ReceiveBudget) -> Self {
        let fixture = Fixture::new().await;
        let (tasks, draining) = (TaskGroup::new(), CancellationToken::new());
        let context = Context {
            services: fixture.shared(),
            receive_budget: Arc::new(receive_budget),
            seen_waits: Arc::default(),
            tasks,
            draining,
        };
        Self { fixture, context, admission: Admission::new(Limits::default(), None) }
    }

    /// A connection whose greeting is still to come; resolves to `true` when it was ended by the tracker's own choice.
    fn raw(&self, device: u8, pipe: usize) -> (Client, tokio::task::JoinHandle<Option<bool>>) {
        let (ours, theirs) = duplex(pipe);
        let (address, context) = ([10, 0, 0, 1].into(), self.context.clone());
        let slot = self.admission.admit(address);
        let serving = self.context.tasks.spawn("connection", async move {
            let peer = Peer { device: DeviceId::new([device; 32]), address };
            let killed = slot.kill().clone();
            killed.run_until_cancelled(serve(theirs, peer, context, &slot)).await.is_none()
        });
        let (reader, writer) = connection::split(ours, MAX_FRAME);
        (Client { reader, writer, number: 0, pushes: Vec::new() }, serving)
    }

    async fn client(&self, device: u8) -> Client {
        let mut client = self.raw(device, 8).0;
        client.greet().await;
        client
    }

    /// Two members of `lab`: alice, who is its admin, and bob.
    async fn lab(&self) -> (Client, Client) {
        let (mut a, mut b) = (self.client(1).await, self.client(2).await);
        a.sign_up("alice").await;
        b.sign_up("bob").await;
        a.ask(Request::CreateGroup { group: group("lab") }).await.expect("created");
        b.ask(Request::JoinGroup { group: group("lab") }).await.expect("asked");
        let bob = "bob".parse().expect("a name");
        a.ask(Request::AcceptRequest { group: group("lab"), user: bob }).await.expect("accepted");
        (a, b)
    }
}

impl Client {
    async fn greet(&mut self) {
        self.writer.send(&ClientFrame::Hello(Hello { version: VERSION })).await.expect("sent");
        let welcome = self.reader.next().await.expect("a frame");
        let Some(ServerFrame::Welcome(welcome)) = welcome else { panic!("not a welcome: {welcome:?}") };
        assert_eq!((welcome.version, welcome.revision()), (VERSION, REVISION));
    }

    async fn send(&mut self, request: Request) -> u64 {
        self.send_having_seen(VersionVector::default(), request).await
    }

    async fn send_having_seen(&mut self, seen: VersionVector, request: Request) -> u64 {
        self.number += 1;
        let (number, request_id) = (self.number, RequestId::random());
        let call = WireCall { number, request_id, seen, request };
        self.writer.send(&ClientFrame::Call(call)).await.expect("sent");
        number
    }

    /// The next reply; pushes on the way are kept.
    async fn reply(&mut self) -> Option<Reply> {
        loop {
            match self.reader.next().await.ok()?? {
                ServerFrame::Reply(reply) => return Some(reply),
                ServerFrame::Push(push) => self.pushes.push(push),
                ServerFrame::Welcome(_) => panic!("a second welcome"),
            }
        }
    }

    async fn ask(&mut self, request: Request) -> Result<Response, Refusal> {
        let number = self.send(request).await;
        let reply = self.reply().await.expect("a reply");
        assert_eq!(reply.number, number);
        reply.result
    }

    async fn sign_up(&mut self, name: &str) {
        let user: common::id::UserName = name.parse().expect("a name");
        let secret = || password("password of somebody");
        self.ask(Request::CreateUser { user: user.clone(), password: secret() }).await.expect("created");
        self.ask(Request::Login { user, password: secret() }).await.expect("logged in");
    }

    async fn push(&mut self) -> Push {
        if !self.pushes.is_empty() {
            return self.pushes.remove(0);
        }
        match self.reader.next().await {
            Ok(Some(ServerFrame::Push(push))) => push,
            other => panic!("not a push: {other:?}"),
        }
    }
}

const LIST: Request = Request::ListGroups { after: None };

#[tokio::test]
async fn a_story_through_pipes_of_eight_bytes() {
    let world = World::new().await;
    let (_a, mut b) = world.lab().await;
    assert!(matches!(b.push().await, Push::Accepted { .. }));
    assert!(matches!(b.ask(Request::GetTicket { group: group("lab") }).await, Ok(Response::Ticket(_))));
}

#[tokio::test]
async fn another_version_is_told_so() {
    let world = World::new().await;
    let (mut c, _) = world.raw(1, 64);
    c.writer.send(&ClientFrame::Hello(Hello { version: 99 })).await.expect("sent");
    let reply = c.reply().await.expect("a reply");
    assert_eq!((reply.number, reply.result), (0, Err(Refusal::Version { ours: 99, theirs: VERSION })));
    assert!(c.reply().await.is_none(), "and that is the end");
}

#[tokio::test]
async fn who_does_not_greet_is_not_served() {
    let world = World::new().await;
    let (mut c, serving) = world.raw(1, 64);
    c.send(LIST).await;
    assert!(c.reply().await.is_none());
    assert_eq!(serving.await.expect("ended"), Some(false));
}

#[tokio::test(start_paused = true)]
async fn who_does_not_take_its_greeting_is_left() {
    let w = World::new().await;
    for version in [VERSION, VERSION + 1] {
        let (mut client, serving) = w.raw(1, 2);
        client.writer.send(&ClientFrame::Hello(Hello { version })).await.expect("sent");
        let ended = timeout(2 * WRITE_TIMEOUT + HELLO_TIMEOUT, serving).await;
        assert!(ended.is_ok(), "a client of version {version} holds a connection for good");
    }
}

#[tokio::test(start_paused = true)]
async fn silence_ends_it() {
    let world = World::new().await;
    let (_c, serving) = world.raw(1, 64);
    let begun = tokio::time::Instant::now();
    serving.await.expect("ended");
    assert_eq!(begun.elapsed(), HELLO_TIMEOUT, "before the greeting");
}

#[tokio::test(start_paused = true)]
async fn a_frame_that_does_not_go_on_ends_it() {
    let world = World::new().await;
    let (mut c, serving) = world.raw(1, 64);
    c.greet().await;
    c.writer.write_raw(&[0, 0, 1, 0, 7]).await.expect("sent");
    let begun = tokio::time::Instant::now();
    assert_eq!(serving.await.expect("ended"), Some(false));
    // The clock of a frame is rounded up to the timer's step.
    assert!(begun.elapsed() >= FRAME_TIMEOUT && begun.elapsed() < FRAME_TIMEOUT + Duration::from_secs(1));
}

#[tokio::test]
async fn half_frames_of_many_connections_make_way_for_each_other() {
    const HALF: usize = 100 << 10;
    let world = World::with(ReceiveBudget::new(Bounds { all: 4 * HALF, of_one: HALF + HALF / 2 })).await;
    let (mut slow, ended) = world.raw(1, 4096);
    slow.greet().await;
    slow.sign_up("alice").await;
    let mut other = world.client(2).await;
    other.sign_up("bob").await;
    for c in [&mut slow, &mut other] {
        c.writer.write_raw(&(2 * HALF as u32).to_be_bytes()).await.expect("sent");
        // As far as the other end takes it.
        let _ = c.writer.write_raw(&vec![0; HALF]).await;
    }
    assert_eq!(ended.await.expect("ended"), Some(true), "the first of the two, which is over the bound");
}

#[tokio::test]
async fn strangers_send_short_frames_only() {
    let world = World::new().await;
    let (mut c, _) = world.raw(1, 64 << 10);
    c.greet().await;
    let mut raw = c.writer;
    raw.write_raw(&((MAX_FRAME_BEFORE_LOGIN as u32 + 1).to_be_bytes())).await.expect("sent");
    raw.flush().await.expect("sent");
    let refused = c.reader.next().await.expect("a frame");
    assert!(matches!(refused, Some(ServerFrame::Reply(Reply { number: 0, result: Err(Refusal::Invalid(_)), .. }))));
    assert!(!matches!(c.reader.next().await, Ok(Some(_))), "and that is the end");
}

#[tokio::test]
async fn members_may_send_long_ones() {
    let world = World::new().await;
    let (mut a, _b) = world.lab().await;
    let manifest = crate::command::tests::big_manifest(8000);
    let pieces = common::wire::limits::List::new(manifest.pieces().to_vec()).expect("fits");
    let part = Request::StageManifest { file_id: manifest.file_id(), first: 0, pieces };
    assert_eq!(a.ask(part).await, Ok(Response::Done));
    let upload = Request::UploadFile {
        group: group("lab"),
        name: "big".parse().expect("a name"),
        file_id: manifest.file_id(),
        layout: manifest.layout(),
        sha1: manifest.sha1(),
    };
    assert_eq!(a.ask(upload).await, Ok(Response::Done));
}

#[tokio::test]
async fn what_was_staged_outlives_an_attempt_that_comes_before_what_its_client_has_seen() {
    let world = World::new().await;
    let (mut a, _b) = world.lab().await;
    let manifest = crate::command::tests::big_manifest(2);
    let pieces = common::wire::limits::List::new(manifest.pieces().to_vec()).expect("fits");
    let part = Request::StageManifest { file_id: manifest.file_id(), first: 0, pieces };
    assert_eq!(a.ask(part).await, Ok(Response::Done));
    let upload = || Request::UploadFile {
        group: group("lab"),
        name: "big".parse().expect("a name"),
        file_id: manifest.file_id(),
        layout: manifest.layout(),
        sha1: manifest.sha1(),
    };
    let elsewhere = [(common::id::OriginId::random(), 1)];
    let elsewhere = VersionVector(common::wire::limits::List::new(elsewhere.to_vec()).expect("fits"));
    a.send_having_seen(elsewhere, upload()).await;
    assert_eq!(a.reply().await.expect("a reply").result, Err(Refusal::Stale));
    assert_eq!(a.ask(upload()).await, Ok(Response::Done));
}

#[tokio::test]
async fn garbage_ends_it_with_a_reason() {
    let world = World::new().await;
    let (mut c, serving) = world.raw(1, 1024);
    c.greet().await;
    c.writer.write_raw(&[0, 0, 0, 3, 0xff, 0xff, 0xff]).await.expect("sent");
    c.writer.flush().await.expect("sent");
    assert!(matches!(c.reply().await, Some(Reply { number: 0, result: Err(Refusal::Invalid(_)), .. })));
    assert_eq!(serving.await.expect("ended"), Some(false));
}

#[tokio::test]
async fn calls_overlap_and_each_is_answered() {
    let world = World::new().await;
    let mut c = world.client(1).await;
    c.sign_up("alice").await;
    // More than run at once; the pipe is small, so both sides have to go on meanwhile.
    let Client { mut reader, mut writer, .. } = c;
    let all = 100..200u64;
    let sent = all.clone();
    let sending = world.context.tasks.spawn("calls", async move {
        for number in sent {
            let call =
                WireCall { number, request_id: RequestId::random(), seen: VersionVector::default(), request: LIST };
            writer.send(&ClientFrame::Call(call)).await.expect("sent");
        }
        writer
    });
    let mut answered = Vec::new();
    while answered.len() < 100 {
        match reader.next().await.expect("a frame") {
            Some(ServerFrame::Reply(reply)) => {
                assert!(reply.result.is_ok());
                answered.push(reply.number);
            }
            other => panic!("{other:?}"),
        }
    }
    answered.sort();
    assert_eq!(answered, all.collect::<Vec<_>>());
    drop(sending);
}

#[tokio::test]
async fn what_follows_a_login_waits_for_it() {
    let world = World::new().await;
    let mut c = world.raw(1, 4096).0;
    c.greet().await;
    let user: common::id::UserName = "alice".parse().expect("a name");
    let secret = || password("password of alice");
    c.ask(Request::CreateUser { user: user.clone(), password: secret() }).await.expect("created");
    c.send(LIST).await;
    c.send(Request::Login { user, password: secret() }).await;
    c.send(LIST).await;
    c.send(Request::Logout).await;
    c.send(LIST).await;
    let mut results = Vec::new();
    for _ in 0..5 {
        results.push(c.reply().await.expect("a reply").result);
    }
    assert!(matches!(
        &results[..],
        [
            Err(Refusal::NotLoggedIn),
            Ok(Response::LoggedIn { .. }),
            Ok(Response::Groups(_)),
            Ok(Response::Done),
            Err(Refusal::NotLoggedIn)
        ]
    ));
}

#[tokio::test]
async fn who_does_not_read_its_news_is_disconnected() {
    let world = World::new().await;
    let (mut c, serving) = world.raw(1, 256);
    c.greet().await;
    c.sign_up("alice").await;
    let alice =
        world.fixture.services().store.read(|s| Ok::<_, StoreError>(s.user(&"alice".parse().expect("a name")))).await;
    let alice = alice.expect("read").expect("alice");
    for _ in 0..2 * PUSHES {
        world.context.services.hub.push(&[alice], None, &Push::Accepted { group: group("lab") });
        tokio::task::yield_now().await;
    }
    assert_eq!(serving.await.expect("ended"), Some(true), "killed");
    assert_eq!(world.context.services.hub.len(), 0);
}

#[tokio::test]
async fn what_was_committed_is_told_though_the_asker_is_gone() {
    let world = World::new().await;
    let (mut a, mut b) = world.lab().await;
    assert!(matches!(b.push().await, Push::Accepted { .. }));
    let bob = "bob".parse().expect("a name");
    a.send(Request::RemoveMember { group: group("lab"), user: bob }).await;
    drop(a);
    let told = [b.push().await, b.push().await];
    assert!(matches!(told, [Push::Revoked(_), Push::Removed { .. }]));
}

#[tokio::test]
async fn draining_finishes_what_runs() {
    let world = World::new().await;
    let (mut c, serving) = world.raw(1, 4096);
    c.greet().await;
    let user = "alice".parse().expect("a name");
    c.send(Request::CreateUser { user, password: password("password of alice") }).await;
    // Answered out of turn, which shows that the call before it has been read; hashing takes longer.
    let status = c.ask(Request::Status).await;
    assert!(matches!(status, Ok(Response::Status(_))));
    world.context.draining.cancel();
    assert_eq!(c.reply().await.expect("a reply").result, Ok(Response::Done));
    assert!(c.reply().await.is_none());
    assert_eq!(serving.await.expect("ended"), Some(false));
}

#[tokio::test]
async fn presence_ends_with_the_connection() {
    let world = World::new().await;
    let (_a, mut b) = world.lab().await;
    let listen = "0.0.0.0:7000".parse().expect("address");
    b.ask(Request::Announce { listen, serial: 1 }).await.expect("announced");
    let services = &world.context.services;
    let bob = services
        .store
        .read(|s| Ok::<_, StoreError>(s.user(&"bob".parse().expect("a name"))))
        .await
        .expect("read")
        .expect("bob");
    let here = || services.presence.address(DeviceId::new([2; 32]), bob, Instant::now());
    assert_eq!(here().map(|a| a.to_string()).as_deref(), Some("10.0.0.1:7000"));
    let Client { mut reader, mut writer, .. } = b;
    writer.shutdown().await.expect("closed");
    while let Ok(Some(_)) = reader.next().await {}
    assert_eq!(here(), None);
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_takes_nothing_is_dropped() {
    let world = World::new().await;
    let (mut c, serving) = world.raw(1, 8);
    c.greet().await;
    c.send(Request::Status).await;
    let begun = tokio::time::Instant::now();
    serving.await.expect("ended");
    assert_eq!(begun.elapsed(), WRITE_TIMEOUT, "and not only when it has been silent for long");
}

/// More than wait for a reader at a time.
#[tokio::test]
async fn who_comes_back_hears_of_every_recent_end() {
    let world = World::new().await;
    let (mut a, _b) = world.lab().await;
    let services = &world.context.services;
    let ids =
        services.store.read(|s| Ok::<_, StoreError>((s.user(&"bob".parse().expect("a name")), s.group(&group("lab")))));
    let (Some(user), Some(group)) = ids.await.expect("read") else { panic!("not there") };
    let ended = |_| {
        let membership = MembershipId::random();
        [
            Fact::Requested { membership, group, user },
            Fact::Accepted { membership, kicks_seen: Vec::new() },
            Fact::Ended { membership, reason: EndReason::Left },
        ]
    };
    let all = PUSHES + PUSHES / 2;
    let asked = Asked { device: DeviceId::new([9; 32]), request: RequestId::random() };
    let facts = (0..all).flat_map(ended).collect();
    let change = Change { facts, manifest: None, answer: Vec::new(), value: () };
    services.store.write(asked, move |_| Ok::<_, StoreError>(change)).await.expect("written");
    let (user, password) = ("alice".parse().expect("a name"), password("password of somebody"));
    a.ask(Request::Login { user, password }).await.expect("logged in again");
    a.pushes.clear();
    for n in 0..all {
        assert!(matches!(a.push().await, Push::Revoked(_)), "{n}");
    }
}
