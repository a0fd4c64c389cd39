//! How long an empty tracker takes to have everything that the other has: by the log, and by the state where the log
//! has been cut. The other's history is written beforehand, by its own store.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::id::{DeviceId, GroupId, MembershipId, RequestId, UserId};
use futures::future::join_all;
use harness::Cluster;
use rusqlite::{Connection, OpenFlags};
use tokio::runtime::Runtime;
use tracker::fact::{CredentialId, Fact};
use tracker::store::{Asked, Change, LogBounds, Store, StoreError};

/// Of ten events, one makes an account, one a group, and four a member each in two.
const KINDS: u64 = 10;
const PATIENCE: Duration = Duration::from_secs(600);

pub(crate) fn run(runtime: &Runtime, events: u64) {
    for cut in [false, true] {
        let mut cluster = Cluster::prepare(2);
        runtime.block_on(fill(&cluster.data_of(1), events, cut));
        cluster.start_tracker(1);
        let began = Instant::now();
        cluster.start_tracker(2);
        let (full, empty) = (database(&cluster.data_of(1)), database(&cluster.data_of(2)));
        wait(|| versions(&empty) == versions(&full));
        let has = began.elapsed();
        wait(|| unsettled(&empty) == 0 && unsettled(&full) == 0);
        let way = if cut { "as state, the log being cut" } else { "as events" };
        println!(
            "{events} events, {way}: on disk after {:.1} s ({:.0} events/s), all {} names agreed after {:.1} s",
            has.as_secs_f64(),
            events as f64 / has.as_secs_f64(),
            count(&full, "SELECT count(*) FROM votes"),
            began.elapsed().as_secs_f64()
        );
    }
}

async fn fill(dir: &Path, events: u64, cut: bool) {
    let store = Store::open(dir, Arc::new(|| 1_700_000_000_000)).expect("opened");
    for batch in 0..events.div_ceil(1000) {
        let range = batch * 1000..events.min((batch + 1) * 1000);
        let written = join_all(range.map(|n| {
            let asked = Asked { device: DeviceId::new([1; 32]), request: RequestId::random() };
            let change = Change { facts: facts(n), manifest: None, answer: vec![0; 8], value: () };
            store.write::<(), StoreError, _>(asked, move |_| Ok(change))
        }));
        written.await.into_iter().for_each(|w| drop(w.expect("written")));
    }
    if cut {
        let none = LogBounds { bytes: 0, age_ms: u64::MAX };
        store.trim_log(none, 0).await.expect("cut");
    }
    store.close().await;
}

/// What the `n`th event states.
fn facts(n: u64) -> Vec<Fact> {
    let id = |n: u64, kind: u8| {
        let mut id = [kind; 16];
        id[..8].copy_from_slice(&n.to_be_bytes());
        // Ids are random in life, and an index that is filled in order would be too kind.
        let mut mixed = [0; 16];
        mixed.copy_from_slice(&blake3::hash(&id).as_bytes()[..16]);
        mixed
    };
    let (ten, kind) = (n / KINDS, n % KINDS);
    let user = UserId::new(id(ten, 1));
    let (group, own) = (GroupId::new(id(ten, 2)), MembershipId::new(id(ten, 3)));
    let other = GroupId::new(id(ten.saturating_sub(kind), 2));
    let membership = MembershipId::new(id(n - n % 2, 4));
    match kind {
        0 => vec![
            Fact::User { id: user, name: format!("user{ten}").parse().expect("a name") },
            Fact::Credential { id: CredentialId(id(ten, 5)), user, phc: "$argon2id$".repeat(10) },
        ],
        1 => vec![
            Fact::Group { id: group, name: format!("group{ten}").parse().expect("a name"), creator: user },
            Fact::Requested { membership: own, group, user },
            Fact::Accepted { membership: own, kicks_seen: vec![] },
            Fact::Admin { group, user, membership: own },
        ],
        k if k % 2 == 0 => vec![Fact::Requested { membership, group: other, user }],
        _ => vec![Fact::Accepted { membership, kicks_seen: vec![] }],
    }
}

fn database(dir: &Path) -> Connection {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
    let conn = Connection::open_with_flags(dir.join("tracker.db"), flags).expect("opened");
    conn.busy_timeout(Duration::from_secs(5)).expect("set");
    conn
}

fn versions(conn: &Connection) -> Vec<([u8; 16], i64)> {
    let mut find = conn.prepare_cached("SELECT origin, seq FROM versions ORDER BY origin").expect("prepared");
    let rows = find.query_map([], |r| Ok((r.get(0)?, r.get(1)?))).expect("queried");
    rows.collect::<rusqlite::Result<_>>().expect("rows")
}

fn unsettled(conn: &Connection) -> i64 {
    count(conn, "SELECT count(*) FROM votes WHERE stage <> 2")
}

fn count(conn: &Connection, sql: &str) -> i64 {
    conn.prepare_cached(sql).expect("prepared").query_row([], |r| r.get(0)).expect("counted")
}

fn wait(done: impl Fn() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < until, "it never comes to an end");
        std::thread::sleep(Duration::from_millis(50));
    }
}
