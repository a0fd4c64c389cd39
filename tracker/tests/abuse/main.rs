//! What strangers and users can cost a real tracker process, in memory and in other people's time. Each test
//! prints its figures; those of a release build come from
//! `cargo test --release -p shoal-tracker --test abuse -- --nocapture --include-ignored --test-threads 1`.
#![cfg(target_os = "linux")]
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test: it fails by panicking, and prints figures"
)]

mod clients;
mod floods;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use common::id::{GroupName, RequestId, Sha1Digest};
use common::manifest::{Manifest, PieceHash};
use common::pieces::PieceLayout;
use common::task::TaskGroup;
use common::ticket::{SessionToken, Signed};
use common::tls::DeviceKey;
use common::wire::client::{Call, ClientFrame, Push, Reply, Request, Response, ServerFrame};
use common::wire::limits::{List, MAX_PART};
use common::wire::refusal::Refusal;
use common::wire::sync::VersionVector;
use futures::future::join_all;
use tokio::io::AsyncWriteExt;

use self::clients::{Client, Tracker, hold, lab, manifest, name};

const MIB: u64 = 1 << 20;
/// What the idle tracker and its threads may take besides.
const SLACK: u64 = 24 * MIB;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes a quarter of a minute: thousands of connections"]
async fn five_thousand_slow_connections_leave_login_below_two_seconds() {
    slow_connections(5000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn some_hundred_slow_connections_leave_login_below_two_seconds() {
    slow_connections(500).await;
}

async fn slow_connections(count: u32) {
    let tracker = Tracker::start();
    tracker.client().await.create("alice").await.expect("created");
    let mut member = tracker.client().await;
    member.login("alice", "password of somebody").await.expect("logged in");
    let before = tracker.memory("RssAnon");
    let mut crowd = Vec::new();
    for n in 0..count {
        // From the address of everybody else, and from as many others.
        let from = if n % 2 == 0 { Ipv4Addr::LOCALHOST } else { Ipv4Addr::from(0x7f00_0002 + n % 64) };
        crowd.push(hold(&tracker, from).await);
    }
    let mut slowest = Duration::ZERO;
    for _ in 0..5 {
        let begun = Instant::now();
        let mut newcomer = tracker.client().await;
        newcomer.login("alice", "password of somebody").await.expect("logged in");
        slowest = slowest.max(begun.elapsed());
    }
    let begun = Instant::now();
    member.ask(Request::ListGroups { after: None }).await.expect("who was there is served");
    let grown = tracker.memory("RssAnon").saturating_sub(before);
    println!(
        "{count} slow connections: login {slowest:?} (slowest of five), a member's query {:?}, memory {} KiB",
        begun.elapsed(),
        grown >> 10
    );
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
    assert!(grown < 128 * MIB, "{grown} bytes");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes a quarter of a minute: hundreds of handshakes"]
async fn a_thousand_announcements_of_four_gigabytes_cost_little() {
    announcements(1000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn some_announcements_of_four_gigabytes_cost_little() {
    announcements(100).await;
}

async fn announcements(count: u32) {
    let tracker = Tracker::start();
    tracker.client().await.create("alice").await.expect("created");
    let before = tracker.memory("RssAnon");
    tracker.forget_peak();
    let mut held = Vec::new();
    for n in 0..count {
        if n % 2 == 0 {
            let mut socket = tracker.socket(Ipv4Addr::LOCALHOST).await;
            socket.write_all(&[0xff; 4]).await.expect("sent");
            held.push((Some(socket), None));
        } else {
            // Within the encryption, where frames are.
            let mut client = tracker.client().await;
            client.writer.write_raw(&[0xff; 4]).await.expect("sent");
            client.writer.flush().await.expect("sent");
            held.push((None, Some(client)));
        }
    }
    let mut honest = tracker.client().await;
    honest.login("alice", "password of somebody").await.expect("logged in");
    let grown = tracker.memory("RssAnon").saturating_sub(before);
    println!("{count} announcements of 4 GiB: memory {} KiB", grown >> 10);
    assert!(grown < 64 * MIB, "{grown} bytes");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes half a minute: a thousand handshakes"]
async fn a_thousand_greeted_connections_that_stay_cost_little() {
    greeted_connections(1000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn some_greeted_connections_that_stay_cost_little() {
    greeted_connections(100).await;
}

async fn greeted_connections(count: u32) {
    let tracker = Tracker::start();
    let before = tracker.memory("RssAnon");
    let mut held = Vec::new();
    for _ in 0..count {
        let mut client = tracker.client().await;
        // A frame that is announced and does not come.
        client.writer.write_raw(&(16u32 << 10).to_be_bytes()).await.expect("sent");
        client.writer.flush().await.expect("sent");
        held.push(client);
    }
    let grown = tracker.memory("RssAnon").saturating_sub(before);
    println!("{count} greeted connections, each within a frame: memory {} KiB", grown >> 10);
    assert!(grown < 64 * MIB, "{grown} bytes");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes a quarter of a minute: hundreds of handshakes"]
async fn five_hundred_parallel_logins_stay_within_the_cores() {
    parallel_logins(500).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_parallel_logins_stay_within_the_cores() {
    parallel_logins(60).await;
}

async fn parallel_logins(count: u32) {
    let tracker = Tracker::start();
    let mut first = tracker.client().await;
    first.create("alice").await.expect("created");
    let mut clients = Vec::new();
    for n in 0..count {
        // From so many addresses: one alone would be made to wait.
        clients.push(tracker.client_from(Ipv4Addr::from(0x7f01_0000 + n)).await);
    }
    let before = tracker.memory("RssAnon");
    tracker.forget_peak();
    let begun = Instant::now();
    let answers = join_all(clients.iter_mut().map(|c| c.login("alice", "password of somebody"))).await;
    let took = begun.elapsed();
    let served = answers.iter().filter(|a| a.is_ok()).count();
    assert!(answers.iter().all(|a| matches!(a, Ok(_) | Err(Refusal::Busy))));
    let cores = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    let peak = tracker.memory("VmHWM").saturating_sub(tracker.memory("RssFile"));
    let grown = peak.saturating_sub(before);
    println!(
        "{count} parallel logins: {served} served, the others told to come back, {took:?}; memory {} KiB over {cores} cores x 19 MiB",
        grown >> 10
    );
    assert!(served >= 32, "{served}");
    assert!(grown < cores * 19 * MIB + SLACK, "{grown} bytes");
    first.login("alice", "password of somebody").await.expect("and all is well again");
}

/// Two thousand samples, from as many addresses as the limits on guessing demand.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes a minute"]
async fn unknown_and_known_users_take_the_same_time() {
    let tracker = Tracker::start();
    tracker.client().await.create("alice").await.expect("created");
    let mut times = [Vec::new(), Vec::new()];
    let mut by_place = [const { [const { Vec::new() }; 4] }; 2];
    for n in 0..500u32 {
        let mut client = tracker.client_from(Ipv4Addr::from(0x7f00_0100 + n)).await;
        // Each kind is as often in each place: the first call of a connection is not like the others.
        let order = if n % 2 == 0 { [0, 1, 1, 0] } else { [1, 0, 0, 1] };
        for (place, which) in order.into_iter().enumerate() {
            let begun = Instant::now();
            let refused = client.login(["alice", "nobody"][which], "a wrong password").await;
            let took = begun.elapsed();
            assert_eq!(refused, Err(Refusal::BadCredentials));
            times[which].push(took);
            by_place[which][place].push(took);
        }
    }
    let median = |mut t: Vec<Duration>| {
        t.sort();
        t[t.len() / 2]
    };
    let [known, unknown] = times.map(median);
    println!("wrong password, medians of 1,000 each: known {known:?}, unknown {unknown:?}");
    println!("by place in the connection: known, unknown {:?}", by_place.map(|places| places.map(median)));
    let ratio = known.as_secs_f64() / unknown.as_secs_f64();
    assert!((0.95..1.05).contains(&ratio), "{ratio}");
}

/// The next address is another subscriber's: nobody is locked out from there.
#[tokio::test(flavor = "multi_thread")]
async fn guessing_is_slowed_where_it_comes_from() {
    let tracker = Tracker::start();
    tracker.client().await.create("alice").await.expect("created");
    let mut guesser = tracker.client_from(Ipv4Addr::new(127, 0, 0, 9)).await;
    let mut tries = 0;
    let seconds = loop {
        match guesser.login("alice", "a wrong password").await {
            Err(Refusal::BadCredentials) => tries += 1,
            Err(Refusal::RateLimited { seconds }) => break seconds,
            other => panic!("{other:?}"),
        }
    };
    assert!(tries <= 5 && seconds >= 1, "{tries} tries, then {seconds} s");
    tracker.client().await.login("alice", "password of somebody").await.expect("from elsewhere");
}

/// Thirty students behind one address make their accounts and log in, all at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_class_behind_one_address_logs_in_at_once() {
    let tracker = Tracker::start();
    let mut class = Vec::new();
    for _ in 0..30 {
        class.push(tracker.client().await);
    }
    let begun = Instant::now();
    join_all(class.iter_mut().enumerate().map(|(n, c)| async move { c.sign_up(&format!("student{n}")).await })).await;
    println!("30 accounts and logins at once from one address: all served in {:?}", begun.elapsed());
}

/// Right passwords cost a core as much as wrong ones.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_right_passwords_keeps_nobody_else_out() {
    let tracker = Tracker::start();
    tracker.client().await.create("alice").await.expect("created");
    let flood = TaskGroup::new();
    let from = Ipv4Addr::new(127, 0, 0, 9);
    for _ in 0..60 {
        let mut client = tracker.client_from(from).await;
        flood.spawn("flood", async move {
            loop {
                let _ = client.login("alice", "password of somebody").await;
            }
        });
    }
    let mut slowest = Duration::ZERO;
    for n in 0..20 {
        let begun = Instant::now();
        let mut other = tracker.client_from(Ipv4Addr::new(127, 0, 1, n)).await;
        other.login("alice", "password of somebody").await.expect("never refused");
        slowest = slowest.max(begun.elapsed());
    }
    flood.stop().await;
    println!("a flood of right passwords from one address: elsewhere {slowest:?} (slowest of 20)");
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
}

/// As many connections as one address may have and more, all logged in.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes a minute: thousands of handshakes"]
async fn users_of_one_address_cannot_fill_the_tracker() {
    const ACCOUNTS: u32 = 40;
    const EACH: usize = 64;
    let tracker = Tracker::start();
    let device = DeviceKey::generate().expect("a key");
    let mut neighbour = tracker.client().await;
    neighbour.sign_up("neighbour").await;
    let mut elsewhere = tracker.client_from(Ipv4Addr::new(127, 0, 2, 1)).await;
    elsewhere.sign_up("elsewhere").await;
    let before = tracker.memory("RssAnon");
    let mut crowd = Vec::new();
    for account in 0..ACCOUNTS {
        let token = tracker.device_from(Ipv4Addr::from(0x7f03_0000 + account), &device).await;
        let token = { token }.sign_up(&format!("mallory{account}")).await;
        // Who is silent for long is disconnected in any case.
        assert!(neighbour.lives().await && elsewhere.lives().await);
        for _ in 0..EACH {
            let mut client = tracker.device_from(Ipv4Addr::LOCALHOST, &device).await;
            client.ask(Request::Resume { token: token.clone() }).await.expect("logged in");
            crowd.push(client);
        }
    }
    let grown = tracker.memory("RssAnon").saturating_sub(before);
    let begun = Instant::now();
    let mut newcomer = tracker.client_from(Ipv4Addr::new(127, 0, 2, 2)).await;
    newcomer.sign_up("newcomer").await;
    let took = begun.elapsed();
    let mut left = 0;
    for client in &mut crowd {
        left += usize::from(client.lives().await);
    }
    println!(
        "{} logged-in connections from one address: {left} left, memory {} KiB; account and login elsewhere {took:?}",
        crowd.len(),
        grown >> 10
    );
    assert!(left <= 2048, "{left}");
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert!(neighbour.lives().await, "who has little stays, also at that address");
    assert!(elsewhere.lives().await);
}

/// Announcements from ever other ports, seeding begun and ended, requests made and withdrawn; meanwhile the
/// member that all this is told to reads nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_news_pushes_out_nothing_that_matters() {
    let tracker = Tracker::start();
    let (mut alice, mut bob, mut mallory) = (tracker.client().await, tracker.client().await, tracker.client().await);
    alice.sign_up("alice").await;
    bob.sign_up("bob").await;
    mallory.sign_up("mallory").await;
    alice.ask(Request::CreateGroup { group: lab() }).await.expect("created");
    for (who, user) in [(&mut bob, "bob"), (&mut mallory, "mallory")] {
        who.ask(Request::JoinGroup { group: lab() }).await.expect("asked");
        alice.ask(Request::AcceptRequest { group: lab(), user: name(user) }).await.expect("accepted");
    }
    let file_id = mallory.publish(lab(), "bait", &manifest(64)).await;
    let (mut flips, mut limited) = (0, 0);
    let begun = Instant::now();
    for n in 0..600u16 {
        let listen = SocketAddr::from(([0, 0, 0, 0], 1000 + n));
        mallory.ask(Request::Announce { listen, serial: u64::from(n) }).await.expect("announced");
        mallory.ask(Request::StartSeeding { group: lab(), file_id }).await.expect("seeding");
        flips += 1;
    }
    for n in 0..100 {
        let other = format!("other{n}").parse().expect("a name");
        let asked = mallory.ask(Request::LeaveGroup { group: lab() }).await;
        limited += usize::from(matches!(asked, Err(Refusal::RateLimited { .. })));
        let asked = mallory.ask(Request::JoinGroup { group: other }).await;
        limited += usize::from(matches!(asked, Err(Refusal::RateLimited { .. })));
    }
    let took = begun.elapsed();
    alice.ask(Request::RemoveMember { group: lab(), user: name("bob") }).await.expect("removed");
    let (mut hints, mut revoked) = (0, 0);
    loop {
        match bob.reader.next().await {
            Ok(Some(ServerFrame::Push(Push::SeederUp { .. }))) => hints += 1,
            Ok(Some(ServerFrame::Push(Push::Revoked(_)))) => revoked += 1,
            Ok(Some(ServerFrame::Push(Push::Removed { .. }))) => break,
            Ok(Some(_)) => {}
            other => panic!("disconnected: {other:?}"),
        }
    }
    println!(
        "{flips} flips of an address in {took:?}: a member was told {hints} times, and of all {revoked} ends; {limited} of 200 leaves and joins refused"
    );
    assert_eq!(revoked, 2);
    assert!(hints <= 256 + 16 * (took.as_secs() as usize + 1), "{hints}");
    assert!(limited >= 100, "{limited}");
}

/// Long answers that nobody reads.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes half a minute: waits for those who do not read"]
async fn answers_that_are_not_read_take_bounded_memory_and_nobody_elses_time() {
    unread_answers(128).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn some_answers_that_are_not_read_take_nobody_elses_time() {
    unread_answers(24).await;
}

async fn unread_answers(connections: u32) {
    let tracker = Tracker::start();
    let mut owner = tracker.client().await;
    owner.sign_up("alice").await;
    owner.ask(Request::CreateGroup { group: lab() }).await.expect("created");
    let file_id = owner.publish(lab(), "long", &manifest(MAX_PART as u32)).await;
    let part = || Request::GetManifest { group: lab(), file_id, first: 0 };
    let mut tokens = Vec::new();
    let device = DeviceKey::generate().expect("a key");
    for user in ["mallory1", "mallory2"] {
        let mut client = tracker.device_from(Ipv4Addr::new(127, 0, 0, 9), &device).await;
        tokens.push(client.sign_up(user).await);
        client.ask(Request::JoinGroup { group: lab() }).await.expect("asked");
        owner.ask(Request::AcceptRequest { group: lab(), user: name(user) }).await.expect("accepted");
    }
    let before = tracker.memory("RssAnon");
    tracker.forget_peak();
    let mut held = Vec::new();
    for n in 0..connections {
        // From eight addresses, which is more than fit.
        let mut client = tracker.device_from(Ipv4Addr::from(0x7f04_0000 + n % 8), &device).await;
        let token = tokens[n as usize % 2].clone();
        client.ask(Request::Resume { token }).await.expect("logged in");
        for _ in 0..40 {
            client.begin(part()).await;
        }
        held.push(client);
    }
    let mut slowest = Duration::ZERO;
    for n in 0..5 {
        let mut honest = tracker.client_from(Ipv4Addr::from(0x7f05_0000 + n)).await;
        honest.login("alice", "password of somebody").await.expect("logged in");
        let begun = Instant::now();
        honest.ask(part()).await.expect("answered");
        slowest = slowest.max(begun.elapsed());
    }
    let peak = tracker.memory("VmHWM").saturating_sub(tracker.memory("RssFile"));
    let grown = peak.saturating_sub(before);
    println!(
        "{connections} connections that ask for 40 long answers each and read none: memory {} KiB at most; the same asked elsewhere {slowest:?} (slowest of five)",
        grown >> 10
    );
    assert!(grown < 128 * MIB, "{grown} bytes");
    assert!(slowest < Duration::from_secs(8), "{slowest:?}");
}
