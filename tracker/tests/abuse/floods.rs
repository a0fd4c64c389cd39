//! One member floods the tracker with what its quotas allow, and the others go on. While each flood lasts, an honest
//! member asks one thing after another, and memberships and logins are ended; the slowest of either is printed.
//!
//! The bounds that the product promises (a quarter of a second, and a tenth) are asserted of a release build in the
//! long versions. The short ones run on machines that are busy with other things.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use common::id::{FileId, FileName, OriginId};

use super::*;

/// Connections that one user may have, but for mallory's first.
const ALL_CONNECTIONS: usize = 63;
/// Calls of one connection that run side by side.
const IN_FLIGHT: usize = 8;

/// How much of an attack, and what may come of it.
#[derive(Clone, Copy)]
struct Scale {
    /// Of what the quota bounds.
    count: usize,
    connections: usize,
    lasts: Duration,
    /// An honest member's slowest call, and the slowest end of a membership or login.
    bounds: (Duration, Duration),
}

impl Scale {
    fn short(count: usize) -> Self {
        let bounds = (Duration::from_secs(5), Duration::from_secs(5));
        Self { count, connections: 8, lasts: Duration::from_secs(2), bounds }
    }

    fn full(count: usize) -> Self {
        let short = Self::short(count);
        let promised = (Duration::from_millis(250), Duration::from_millis(100));
        let bounds = if cfg!(debug_assertions) { short.bounds } else { promised };
        Self { connections: ALL_CONNECTIONS, lasts: Duration::from_secs(10), bounds, ..short }
    }
}

fn group(name: &str) -> GroupName {
    name.parse().expect("a name")
}

fn file(name: &str) -> FileName {
    name.parse().expect("a name")
}

/// An empty file: one content, which anybody has.
fn empty() -> Manifest {
    let layout = PieceLayout::new(0, 1 << 14).expect("layout");
    let sha1 = "da39a3ee5e6b4b0d3255bfef95601890afd80709".parse().expect("a digest");
    Manifest::of_hashed(layout, sha1, Vec::new()).expect("manifest")
}

/// A file of one piece of no particular content.
fn content(n: u32) -> Manifest {
    let layout = PieceLayout::new(1 << 14, 1 << 14).expect("layout");
    let piece = PieceHash { sha1: Sha1Digest::new([0; 20]), chain: *blake3::hash(&n.to_le_bytes()).as_bytes() };
    Manifest::of_hashed(layout, Sha1Digest::new([0; 20]), vec![piece]).expect("manifest")
}

fn upload(group: &GroupName, name: &str, manifest: &Manifest) -> Request {
    Request::UploadFile {
        group: group.clone(),
        name: file(name),
        file_id: manifest.file_id(),
        layout: manifest.layout(),
        sha1: manifest.sha1(),
    }
}

impl Client {
    /// Asks all this, several at a time.
    async fn ask_all(&mut self, requests: impl Iterator<Item = Request>) {
        let (mut requests, mut open) = (requests.fuse(), 0);
        loop {
            while open < IN_FLIGHT
                && let Some(request) = requests.next()
            {
                self.begin(request).await;
                open += 1;
            }
            if open == 0 {
                return;
            }
            self.next_reply().await.expect("a reply").expect("served");
            open -= 1;
        }
    }

    /// The next reply, whatever it answers; none when the connection is over.
    async fn next_reply(&mut self) -> Option<Result<Response, Refusal>> {
        loop {
            match self.reader.next().await {
                Ok(Some(ServerFrame::Reply(Reply { result, .. }))) => return Some(result),
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => return None,
            }
        }
    }
}

/// The tracker, and those who are there.
struct Stage {
    tracker: Tracker,
    admin: Client,
    honest: Client,
    /// Who does it, and with what it makes more connections.
    mallory: Client,
    device: DeviceKey,
    token: Signed<SessionToken>,
    /// Members whose memberships and logins are ended meanwhile.
    others: Vec<(String, Client)>,
}

impl Stage {
    async fn new() -> Self {
        let (tracker, device) = (Tracker::start(), DeviceKey::generate().expect("a key"));
        let (mut admin, mut honest) = (tracker.client().await, tracker.client().await);
        let mut mallory = tracker.device_from(Ipv4Addr::LOCALHOST, &device).await;
        admin.sign_up("alice").await;
        admin.ask(Request::CreateGroup { group: lab() }).await.expect("created");
        honest.sign_up("bob").await;
        let token = mallory.sign_up("mallory").await;
        let mut others = Vec::new();
        for n in 0..9 {
            let mut other = tracker.client().await;
            other.sign_up(&format!("other{n}")).await;
            others.push((format!("other{n}"), other));
        }
        let mut stage = Self { tracker, admin, honest, mallory, device, token, others };
        for n in 0..stage.others.len() {
            let (user, other) = &mut stage.others[n];
            other.ask(Request::JoinGroup { group: lab() }).await.expect("asked");
            stage.admin.ask(Request::AcceptRequest { group: lab(), user: name(user) }).await.expect("accepted");
        }
        for (user, member) in [("bob", &mut stage.honest), ("mallory", &mut stage.mallory)] {
            member.ask(Request::JoinGroup { group: lab() }).await.expect("asked");
            stage.admin.ask(Request::AcceptRequest { group: lab(), user: name(user) }).await.expect("accepted");
        }
        stage
    }

    /// Has mallory ask all this. Who is silent for long is disconnected: the others show signs of life meanwhile.
    async fn prepare(&mut self, requests: impl Iterator<Item = Request>) {
        let mut requests = requests.peekable();
        while requests.peek().is_some() {
            self.mallory.ask_all(requests.by_ref().take(500)).await;
            self.keep_alive().await;
        }
    }

    async fn keep_alive(&mut self) {
        let others = self.others.iter_mut().map(|(_, other)| other);
        for client in others.chain([&mut self.admin, &mut self.honest, &mut self.mallory]) {
            assert!(client.lives().await, "still here");
        }
    }

    /// A further connection of mallory's.
    async fn another(&self) -> Client {
        let mut client = self.tracker.device_from(Ipv4Addr::LOCALHOST, &self.device).await;
        client.ask(Request::Resume { token: self.token.clone() }).await.expect("logged in");
        client
    }

    /// Runs the flood, and ends it with mallory's own kick. `next` says what a connection asks as its nth call.
    async fn flood(mut self, what: &str, scale: Scale, next: impl Fn(usize, u64) -> Request + Send + Sync + 'static) {
        let (next, stop, served) = (Arc::new(next), Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let tasks = TaskGroup::new();
        for connection in 0..scale.connections {
            let mut client = self.another().await;
            let (next, stop, served) = (Arc::clone(&next), Arc::clone(&stop), Arc::clone(&served));
            tasks.spawn("flood", async move {
                for n in 0.. {
                    client.begin(next(connection, n)).await;
                    // Eight at a time from then on.
                    if n + 1 < IN_FLIGHT as u64 {
                        continue;
                    }
                    if client.next_reply().await.is_none() || stop.load(Ordering::Relaxed) {
                        return;
                    }
                    served.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let begun = Instant::now();
        let (mut slowest, mut slowest_end) = (Duration::ZERO, Duration::ZERO);
        let mut asked = 0;
        while begun.elapsed() < scale.lasts {
            let listen = SocketAddr::from(([0, 0, 0, 0], 7000));
            let all = [
                Request::GetTicket { group: lab() },
                Request::ListGroups { after: None },
                Request::Announce { listen, serial: asked },
                Request::FindFile { group: lab(), file: "own".parse().expect("a selector") },
                Request::StartSeeding { group: lab(), file_id: content(0).file_id() },
                Request::StopSeeding { group: lab(), file_id: content(0).file_id() },
            ];
            for request in all {
                slowest = slowest.max(timed(&mut self.honest, request).await);
                asked += 1;
            }
            if let Some((user, mut other)) = self.others.pop() {
                let end = match self.others.len() % 3 {
                    0 => timed(&mut self.admin, Request::RemoveMember { group: lab(), user: name(&user) }).await,
                    1 => timed(&mut other, Request::LeaveGroup { group: lab() }).await,
                    _ => timed(&mut other, Request::Logout).await,
                };
                slowest_end = slowest_end.max(end);
            }
        }
        let kick = timed(&mut self.admin, Request::RemoveMember { group: lab(), user: name("mallory") }).await;
        let refused = self.mallory.ask(Request::GetTicket { group: lab() }).await;
        assert!(matches!(refused, Err(Refusal::NotAMember(_))), "{refused:?}");
        stop.store(true, Ordering::Relaxed);
        println!(
            "{what}, {} connections: {} calls served; of an honest member's {asked} the slowest {slowest:?}; ends of \
             memberships and logins {slowest_end:?}, mallory's own kick {kick:?}",
            scale.connections,
            served.load(Ordering::Relaxed)
        );
        tasks.stop().await;
        assert!(slowest < scale.bounds.0, "{slowest:?}");
        assert!(slowest_end.max(kick) < scale.bounds.1, "{slowest_end:?}, {kick:?}");
    }
}

/// How long the answer takes, which is no refusal.
async fn timed(client: &mut Client, request: Request) -> Duration {
    let begun = Instant::now();
    client.ask(request).await.expect("served");
    begun.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes a minute: ten thousand shares"]
async fn one_content_under_ten_thousand_names_holds_nobody_up() {
    one_content_under_many_names(Scale::full(10_000)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_content_under_many_names_holds_nobody_up() {
    one_content_under_many_names(Scale::short(500)).await;
}

async fn one_content_under_many_names(scale: Scale) {
    let mut stage = Stage::new().await;
    stage.honest.publish(lab(), "own", &content(0)).await;
    let manifest = empty();
    // As many as the quota allows but for what the flood still tries.
    stage.prepare((0..scale.count).map(|n| upload(&lab(), &format!("name{n}"), &manifest))).await;
    let id = manifest.file_id();
    let what = format!("the empty file under {} names, listed, found and published", scale.count);
    stage
        .flood(&what, scale, move |connection, n| match (connection as u64 + n) % 4 {
            0 => Request::ListFiles { group: lab(), after: None },
            1 => Request::ListFiles { group: lab(), after: Some(file("name5")) },
            2 => Request::FindFile { group: lab(), file: format!("id:{id}").parse().expect("a selector") },
            _ => upload(&lab(), &format!("more{connection}-{n}"), &empty()),
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: forty thousand shares"]
async fn leaving_groups_with_ten_thousand_names_each_holds_nobody_up() {
    leaving_with_many_names(Scale::full(10_000)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn leaving_groups_with_many_names_each_holds_nobody_up() {
    leaving_with_many_names(Scale::short(200)).await;
}

async fn leaving_with_many_names(scale: Scale) {
    const GROUPS: usize = 4;
    let mut stage = Stage::new().await;
    stage.honest.publish(lab(), "own", &content(0)).await;
    let manifest = empty();
    for g in 0..GROUPS {
        let name = group(&format!("g{g}"));
        stage.mallory.ask(Request::CreateGroup { group: name.clone() }).await.expect("created");
        stage.prepare((0..scale.count).map(|n| upload(&name, &format!("name{n}"), &manifest))).await;
    }
    let left: Vec<_> = {
        let mut first = stage.another().await;
        let leaves = (0..GROUPS).map(|g| Request::LeaveGroup { group: group(&format!("g{g}")) });
        for leave in leaves {
            first.begin(leave).await;
        }
        let begun = Instant::now();
        let kick = timed(&mut stage.admin, Request::RemoveMember { group: lab(), user: name("other0") }).await;
        stage.others.remove(0);
        let mut left = Vec::new();
        for _ in 0..GROUPS {
            left.push(first.next_reply().await.expect("a reply"));
        }
        println!(
            "{GROUPS} groups left with {} shares each: {:?}; a kick meanwhile {kick:?}",
            scale.count,
            begun.elapsed()
        );
        assert!(kick < scale.bounds.1, "{kick:?}");
        left
    };
    let withdrawn = scale.count as u32;
    assert!(left.iter().all(|l| *l == Ok(Response::Left { withdrawn })), "{left:?}");
    // What was left is still in the database, and is asked for again and again, within the allowance or not.
    stage
        .flood("leaving and joining again and again", scale, |_, n| match n % 4 {
            0 => Request::LeaveGroup { group: group("g0") },
            1 => Request::JoinGroup { group: group("g1") },
            2 => Request::ListFiles { group: lab(), after: None },
            _ => Request::CreateGroup { group: group(&format!("again{}", n % 64)) },
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes a minute: twelve thousand groups"]
async fn listing_twelve_thousand_groups_holds_nobody_up() {
    listing_many_groups(Scale::full(12_000)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn listing_many_groups_holds_nobody_up() {
    listing_many_groups(Scale::short(500)).await;
}

async fn listing_many_groups(scale: Scale) {
    const EACH: usize = 250;
    let mut stage = Stage::new().await;
    stage.honest.publish(lab(), "own", &content(0)).await;
    for account in 0..scale.count.div_ceil(EACH) {
        let mut owner = stage.tracker.client().await;
        owner.sign_up(&format!("owner{account}")).await;
        owner.ask_all((0..EACH).map(|n| Request::CreateGroup { group: group(&format!("group{account}-{n}")) })).await;
    }
    let what = format!("{} groups, listed from the beginning, the middle and the end", scale.count);
    stage
        .flood(&what, scale, |_, n| Request::ListGroups {
            after: [None, Some(group("group3")), Some(group("zzz"))][n as usize % 3].clone(),
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes a minute: twenty thousand replacements"]
async fn a_name_that_was_replaced_twenty_thousand_times_holds_nobody_up() {
    a_name_replaced_often(Scale::full(20_000)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_was_replaced_often_holds_nobody_up() {
    a_name_replaced_often(Scale::short(300)).await;
}

async fn a_name_replaced_often(scale: Scale) {
    let mut stage = Stage::new().await;
    stage.honest.publish(lab(), "own", &content(0)).await;
    let replace = async |stage: &mut Stage, name, n| {
        let begun = Instant::now();
        let file_id = stage.mallory.publish(lab(), name, &content(n)).await;
        let took = begun.elapsed();
        stage.mallory.ask(Request::StopSeeding { group: lab(), file_id }).await.expect("stopped");
        took
    };
    let count = scale.count as u32;
    let mut first = Vec::new();
    for n in 1..=count {
        let took = replace(&mut stage, "again", n).await;
        if n <= 30 {
            first.push(took);
        }
        if n % 500 == 0 {
            stage.keep_alive().await;
        }
    }
    // In turn with a name that has few versions: whatever runs beside this slows both.
    let (mut few, mut many) = (Vec::new(), Vec::new());
    for n in (count + 1..).step_by(2).take(30) {
        few.push(replace(&mut stage, "seldom", n).await);
        many.push(replace(&mut stage, "again", n + 1).await);
    }
    let median = |mut some: Vec<Duration>| {
        some.sort();
        some[some.len() / 2]
    };
    let best = |some: &[&Vec<Duration>]| some.iter().copied().flatten().min().copied().unwrap_or_default();
    let (best_first, best_last) = (best(&[&first]), best(&[&few, &many]));
    let (first, few, many) = (median(first), median(few), median(many));
    println!(
        "one name replaced {count} times: a replacement {many:?}, of one with few versions {few:?}, {first:?} at first"
    );
    assert!(many < 3 * few, "{few:?}, {many:?}");
    // Nor do all become slower with what was replaced. What runs beside it can only make it slower: the best of each.
    assert!(best_last < 3 * best_first, "{best_first:?}, {best_last:?}");
    let what = format!("a name that was replaced {} times, listed and found", scale.count);
    stage
        .flood(&what, scale, |_, n| match n % 3 {
            0 => Request::ListFiles { group: lab(), after: None },
            1 => Request::FindFile { group: lab(), file: "again".parse().expect("a selector") },
            _ => Request::StartSeeding { group: lab(), file_id: FileId::new([9; 32]) },
        })
        .await;
}

/// Callers that ask for what costs most and disconnect: nothing of it goes on.
#[tokio::test(flavor = "multi_thread")]
async fn who_asks_and_disconnects_leaves_nothing_behind() {
    let mut stage = Stage::new().await;
    stage.honest.publish(lab(), "own", &content(0)).await;
    let manifest = empty();
    stage.mallory.ask_all((0..500).map(|n| upload(&lab(), &format!("name{n}"), &manifest))).await;
    let begun = Instant::now();
    let mut slowest = Duration::ZERO;
    for _ in 0..8 {
        for _ in 0..8 {
            let mut client = stage.another().await;
            for _ in 0..IN_FLIGHT {
                client.begin(Request::ListFiles { group: lab(), after: None }).await;
            }
        }
        slowest = slowest.max(timed(&mut stage.honest, Request::GetTicket { group: lab() }).await);
    }
    println!("64 connections that ask 8 things each and are gone, in {:?}: others {slowest:?}", begun.elapsed());
    assert!(slowest < Duration::from_secs(5), "{slowest:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes half a minute: hundreds of connections"]
async fn calls_that_wait_for_what_never_comes_cost_little() {
    calls_that_wait(256).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn some_calls_that_wait_for_what_never_comes_cost_little() {
    calls_that_wait(32).await;
}

async fn calls_that_wait(connections: usize) {
    let mut stage = Stage::new().await;
    let mut clients = Vec::new();
    // Of four users, who may have so many each.
    for user in 0..4 {
        let token = match user {
            0 => stage.token.clone(),
            _ => {
                let mut client = stage.tracker.device_from(Ipv4Addr::LOCALHOST, &stage.device).await;
                client.sign_up(&format!("mallory{user}")).await
            }
        };
        for _ in 0..connections / 4 {
            let mut client = stage.tracker.device_from(Ipv4Addr::LOCALHOST, &stage.device).await;
            client.ask(Request::Resume { token: token.clone() }).await.expect("logged in");
            clients.push(client);
        }
    }
    let before = stage.tracker.memory("RssAnon");
    stage.tracker.forget_peak();
    let seen = |n: usize| {
        // As many as fit, of which the tracker has none.
        let origins = (0..4096u32).map(|o| {
            let mut id = [0; 16];
            id[..4].copy_from_slice(&o.to_le_bytes());
            id[4..12].copy_from_slice(&(n as u64).to_le_bytes());
            (OriginId::new(id), u64::MAX)
        });
        VersionVector(List::new(origins.collect()).expect("fits"))
    };
    let few = |n: usize| VersionVector(List::first_of(seen(n).0.iter().copied().take(60)));
    let mut refused = [0; 2];
    for (vector, refused) in [&seen as &dyn Fn(usize) -> VersionVector, &few].into_iter().zip(&mut refused) {
        for (n, client) in clients.iter_mut().enumerate() {
            for _ in 0..IN_FLIGHT {
                let request = Request::FindPeers { group: lab(), file_id: FileId::new([1; 32]) };
                let call = Call { number: 5, request_id: RequestId::random(), seen: vector(n), request };
                client.writer.send(&ClientFrame::Call(call)).await.expect("sent");
            }
        }
        let ticket = timed(&mut stage.honest, Request::GetTicket { group: lab() }).await;
        for client in &mut clients {
            for _ in 0..IN_FLIGHT {
                let answer = client.next_reply().await.expect("a reply");
                assert!(matches!(answer, Err(Refusal::Stale | Refusal::Busy)), "{answer:?}");
                *refused += usize::from(answer == Err(Refusal::Busy));
            }
        }
        println!("an honest member's ticket meanwhile {ticket:?}");
    }
    let peak = stage.tracker.memory("VmHWM").saturating_sub(stage.tracker.memory("RssFile"));
    let grown = peak.saturating_sub(before);
    println!(
        "{connections} connections with {IN_FLIGHT} calls each that wait for 4,096 events, then 60: memory {} KiB at \
         most; of {} calls {refused:?} told to come back",
        grown >> 10,
        connections * IN_FLIGHT
    );
    assert!(grown < 96 * MIB, "{grown} bytes");
    // 64 calls of one user wait; whoever has more is told so.
    let over = (connections * IN_FLIGHT).saturating_sub(4 * 64);
    assert!(refused[1] >= over / 2, "{refused:?} of {over}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes half a minute: three hundred logins"]
async fn coming_back_after_three_hundred_logins_costs_little() {
    coming_back(300).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn coming_back_after_many_logins_costs_little() {
    coming_back(80).await;
}

/// A user logs in again and again, which ends the oldest logins, and then comes back to be told so, for ever.
async fn coming_back(logins: usize) {
    let mut stage = Stage::new().await;
    for _ in 0..logins {
        let mut client = stage.tracker.device_from(Ipv4Addr::LOCALHOST, &stage.device).await;
        match client.login("mallory", "password of somebody").await.expect("logged in") {
            Response::LoggedIn { token, .. } => stage.token = token,
            other => panic!("{other:?}"),
        }
    }
    let (mut served, mut limited, mut slowest) = (0, 0, Duration::ZERO);
    let begun = Instant::now();
    while limited < 100 {
        let mut client = stage.tracker.device_from(Ipv4Addr::LOCALHOST, &stage.device).await;
        match client.ask(Request::Resume { token: stage.token.clone() }).await {
            Ok(_) => served += 1,
            Err(Refusal::RateLimited { .. }) => limited += 1,
            Err(other) => panic!("{other:?}"),
        }
        if served % 8 == 0 {
            slowest = slowest.max(timed(&mut stage.honest, Request::GetTicket { group: lab() }).await);
        }
        assert!(served < 5000, "for ever");
    }
    let took = begun.elapsed();
    println!(
        "coming back after {logins} logins: {served} served in {took:?}, then {limited} refused; others {slowest:?}"
    );
    assert!(served <= 128 + 2 * (took.as_secs() as usize + 1), "{served}");
}
