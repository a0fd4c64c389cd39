//! How a download begins: what waits for what, over a line on which that can be seen.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

use super::*;

/// How long bytes take one way: all that is sent together is seen to come together.
const DELAY: Duration = Duration::from_millis(50);

/// More than a seeder says before the first byte of a file.
const HANDSHAKE_BYTES: usize = 8 << 10;

/// A line to a seeder, on which it shows who waits for whom.
#[derive(Default)]
struct Line {
    connections: AtomicU32,
    /// How often the leecher has spoken after it has heard something, the first time included.
    turns: AtomicU32,
    has_heard: AtomicBool,
    heard_bytes: AtomicUsize,
    /// How often it had spoken when more came than a handshake takes.
    turns_before_content: AtomicU32,
}

impl Line {
    /// To `seeder`, from the address that is returned.
    async fn to(seeder: SocketAddr, delay: Duration) -> (Arc<Self>, SocketAddr) {
        let line = Arc::new(Self { has_heard: AtomicBool::new(true), ..Self::default() });
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let address = listener.local_addr().expect("bound");
        let (tasks, accepting) = (TaskGroup::new(), Arc::clone(&line));
        tasks.clone().spawn("line", async move {
            while let Ok((leecher, _)) = listener.accept().await {
                accepting.connections.fetch_add(1, Ordering::Relaxed);
                let seeder = TcpStream::connect(seeder).await.expect("connected");
                let ((from_leecher, to_leecher), (from_seeder, to_seeder)) =
                    (leecher.into_split(), seeder.into_split());
                let (up, down) = (Arc::clone(&accepting), Arc::clone(&accepting));
                tasks.spawn(
                    "up",
                    carry(from_leecher, to_seeder, delay, move |_| {
                        if up.has_heard.swap(false, Ordering::Relaxed) {
                            up.turns.fetch_add(1, Ordering::Relaxed);
                        }
                    }),
                );
                tasks.spawn(
                    "down",
                    carry(from_seeder, to_leecher, delay, move |bytes| {
                        down.has_heard.store(true, Ordering::Relaxed);
                        if down.heard_bytes.fetch_add(bytes, Ordering::Relaxed) < HANDSHAKE_BYTES {
                            down.turns_before_content.store(down.turns.load(Ordering::Relaxed), Ordering::Relaxed);
                        }
                    }),
                );
            }
        });
        (line, address)
    }
}

/// Carries bytes, each batch `delay` after it was taken; `seen` is told how long each is.
async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, delay: Duration, seen: impl Fn(usize)) {
    let mut batch = vec![0; 1 << 20];
    while let Ok(n @ 1..) = from.read(&mut batch).await {
        seen(n);
        sleep(delay).await;
        if to.write_all(&batch[..n]).await.is_err() {
            return;
        }
    }
}

/// One call, the connection, its encryption, and the request: each a round trip that waits for the one before. More than
/// five would make short files slow over long lines.
#[tokio::test]
async fn the_first_byte_of_a_download_comes_after_four_round_trips() {
    let tracker = FakeTracker::new();
    let (seeder, leecher) = (Device::new(&tracker, "alice").await, Device::new(&tracker, "bob").await);
    seeder.upload("a.bin", &content(100 << 10)).await;
    let (line, address) = Line::to(seeder.shares.listen_addr(), DELAY).await;
    tracker.announce(seeder.key.id(), address);
    let before = tracker.asked_in_all();
    let id = leecher.begin("a.bin").await.expect("begun");
    let mut progress = leecher.downloads.watch(id).expect("on the list");
    progress.wait_for(|p| p.have > 0).await.expect("it goes on");
    let calls = tracker.asked_in_all() - before - tracker.asked("start");
    let (connecting, turns) = (1, line.turns_before_content.load(Ordering::Relaxed));
    assert_eq!((calls, line.connections.load(Ordering::Relaxed)), (1, 1));
    assert!(calls as u32 + connecting + turns <= 4, "{calls} calls, {turns} turns on the connection");
    assert_eq!(leecher.downloads.finished(id).await.expect("complete").size, 100 << 10);
}

#[tokio::test]
async fn a_hundred_files_one_after_the_other_take_one_connection() {
    let tracker = FakeTracker::new();
    let (seeder, leecher) = (Device::new(&tracker, "alice").await, Device::new(&tracker, "bob").await);
    let (line, address) = Line::to(seeder.shares.listen_addr(), Duration::ZERO).await;
    tracker.announce(seeder.key.id(), address);
    for n in 0..100 {
        let (name, bytes) = (format!("{n}.bin"), content(1000 + n));
        seeder.upload(&name, &bytes).await;
        leecher.fetch(&name).await.expect("fetched");
        assert_eq!(fs::read(leecher.files().join(&name)).expect("there"), bytes);
    }
    assert_eq!(line.connections.load(Ordering::Relaxed), 1);
}

/// Whoever was thrown out has a connection that was used a moment ago; it is worth nothing without a ticket.
#[tokio::test]
async fn a_connection_that_was_used_serves_nobody_who_was_thrown_out() {
    let tracker = FakeTracker::new();
    let (seeder, leecher) = (Device::new(&tracker, "alice").await, Device::new(&tracker, "bob").await);
    let (first, second) = (content(5000), content(6000));
    seeder.upload("first.bin", &first).await;
    let up = seeder.upload("second.bin", &second).await;
    leecher.fetch("first.bin").await.expect("fetched");
    let ticket = tracker.ticket(leecher.key.id()).expect("a member");
    tracker.kick(leecher.key.id());
    let idle = &leecher.downloads.0.ground.idle;
    let stream = idle.take(seeder.key.id(), seeder.shares.listen_addr()).await.expect("the connection that was used");
    let (events, mut events_in) = tokio::sync::mpsc::channel(8);
    let this = crate::download::peer::Fetch {
        key: picker::PeerKey(1),
        layout: common::pieces::PieceLayout::new(up.size, 16 << 10).expect("a layout"),
        pool: leecher.shares.pool().clone(),
        down: crate::transfer::rate::RateLimits::default(),
        gauge: Arc::default(),
        events,
    };
    let hello = Hello { version: VERSION, group: tracker.group_id(), file_id: up.file_id, ticket };
    let (_orders, orders_in) = tokio::sync::mpsc::channel(1);
    let (end, left) = crate::download::peer::fetch(stream, hello, this, orders_in).await;
    use crate::download::peer::{FromPeer, PeerEnd};
    assert!(matches!(end, PeerEnd::Goodbye(common::wire::peer::Goodbye::Revoked)), "{end}");
    assert!(left.is_none());
    assert!(matches!(events_in.recv().await, Some((_, FromPeer::Greeted { .. }))));
    assert!(events_in.recv().await.is_none(), "nothing came");
    assert!(leecher.fetch("second.bin").await.is_err());
}

#[tokio::test]
async fn a_tracker_of_the_first_release_is_asked_one_thing_after_the_other() {
    let tracker = FakeTracker::new();
    let (seeder, leecher) = (Device::new(&tracker, "alice").await, Device::new(&tracker, "bob").await);
    let bytes = content(100 << 10);
    seeder.upload("a.bin", &bytes).await;
    tracker.grow_old();
    leecher.fetch("a.bin").await.expect("fetched");
    assert_eq!(fs::read(leecher.files().join("a.bin")).expect("there"), bytes);
    assert_eq!((tracker.asked("open"), tracker.asked("manifest")), (0, 1));
    assert!(tracker.asked("peers") >= 1);
}

/// What does not fit the first answer is asked for, and only that.
#[tokio::test]
async fn a_long_manifest_is_fetched_from_where_the_first_answer_ends() {
    let tracker = FakeTracker::new();
    let (seeder, leecher) = (Device::new(&tracker, "alice").await, Device::new(&tracker, "bob").await);
    let bytes = content((common::wire::limits::FIRST_PART + 8) * (16 << 10));
    seeder.upload("a.bin", &bytes).await;
    leecher.fetch("a.bin").await.expect("fetched");
    assert_eq!(fs::read(leecher.files().join("a.bin")).expect("there"), bytes);
    assert_eq!((tracker.asked("open"), tracker.asked("manifest")), (1, 1));
}
