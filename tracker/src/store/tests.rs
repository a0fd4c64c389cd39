use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use common::id::{RequestId, UserId, UserName};

use super::*;
use crate::fact::Fact;

fn open(dir: &Path) -> Store {
    Store::open(dir, Arc::new(|| 1_700_000_000_000)).expect("opened")
}

fn asked(n: u64) -> Asked {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&n.to_le_bytes());
    Asked { device: DeviceId::new([1; 32]), request: RequestId::new(id) }
}

fn name(n: u64) -> UserName {
    format!("user{n}").parse().expect("a name")
}

/// States one account.
fn account(n: u64) -> Change<u64> {
    let id = UserId::new(*asked(n).request.as_bytes());
    Change { facts: vec![Fact::User { id, name: name(n) }], manifest: None, answer: n.to_le_bytes().to_vec(), value: n }
}

async fn put(store: &Store, n: u64) -> Result<Written<u64>, StoreError> {
    store.write(asked(n), move |_| Ok(account(n))).await
}

async fn has(store: &Store, n: u64) -> bool {
    store.read(move |s| Ok::<_, StoreError>(s.user(&name(n)))).await.expect("read").is_some()
}

async fn count(store: &Store) -> u64 {
    store.counts().expect("read").users
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_a_restart() {
    let dir = tempfile::tempdir().expect("directory");
    let first = open(dir.path());
    put(&first, 1).await.expect("written");
    let seen = first.versions();
    first.close().await;
    assert!(matches!(put(&first, 2).await, Err(StoreError::Closed)));
    drop(first);
    let again = open(dir.path());
    assert!(has(&again, 1).await && !has(&again, 2).await);
    assert_eq!(again.versions(), seen);
    put(&again, 3).await.expect("written");
    assert_eq!(again.versions().len(), 2, "a run has an origin of its own");
}

#[tokio::test]
async fn the_same_request_has_one_effect_and_one_answer() {
    let dir = tempfile::tempdir().expect("directory");
    let store = open(dir.path());
    assert!(matches!(put(&store, 7).await, Ok(Written::Done(7))));
    let again = store.write(asked(7), |_| Ok::<_, StoreError>(account(8))).await;
    assert!(matches!(again, Ok(Written::Repeated(answer)) if answer == 7u64.to_le_bytes()));
    assert!(!has(&store, 8).await);
    let other = Asked { device: DeviceId::new([2; 32]), ..asked(7) };
    let other = store.write(other, |_| Ok::<_, StoreError>(account(9))).await;
    assert!(matches!(other, Ok(Written::Done(9))), "another device's request is another request");
    store.prune_requests(u64::from(u32::MAX)).await.expect("pruned");
    assert_eq!(store.recorded(&crate::limits::Caller::tracker(), asked(7)).await.expect("read"), None);
}

#[tokio::test]
async fn many_at_once_share_transactions_and_none_is_lost() {
    let dir = tempfile::tempdir().expect("directory");
    let store = open(dir.path());
    let all = futures::future::join_all((0..2000).map(|n| put(&store, n))).await;
    assert!(all.iter().all(|w| matches!(w, Ok(Written::Done(_)))));
    assert_eq!(count(&store).await, 2000);
    assert_eq!(store.versions().values().sum::<u64>(), 2000);
}

#[tokio::test]
async fn a_refusal_and_a_panic_leave_no_trace_and_harm_nobody() {
    let dir = tempfile::tempdir().expect("directory");
    let store = open(dir.path());
    let refused = store.write(asked(2), |_| Err::<Change<()>, _>(StoreError::Content("no")));
    let panicked = store.write(asked(3), |_| -> Result<Change<()>, StoreError> { panic!("on purpose") });
    let (a, refused, panicked, b) = tokio::join!(put(&store, 1), refused, panicked, put(&store, 4));
    assert!(a.is_ok() && b.is_ok());
    assert!(matches!(refused, Err(StoreError::Content("no"))));
    assert!(matches!(panicked, Err(StoreError::Panicked)));
    assert_eq!(count(&store).await, 2);
    assert_eq!(store.versions().values().sum::<u64>(), 2, "numbers without gaps");
}

#[tokio::test]
async fn a_full_disk_is_told_and_lived_with() {
    let dir = tempfile::tempdir().expect("directory");
    let store = open(dir.path());
    let pages: i64 = store.upkeep(|c| Ok(c.query_row("PRAGMA page_count", [], |r| r.get(0))?)).await.expect("pages");
    let limit = move |most: i64| {
        move |c: &rusqlite::Connection| {
            Ok(c.query_row(&format!("PRAGMA max_page_count = {most}"), [], |r| r.get::<_, i64>(0))?)
        }
    };
    store.upkeep(limit(pages + 4)).await.expect("limited");
    let results = futures::future::join_all((0..1000).map(|n| put(&store, n))).await;
    let acknowledged = results.iter().filter(|r| r.is_ok()).count() as u64;
    assert!(results.iter().all(|r| matches!(r, Ok(Written::Done(_)) | Err(StoreError::Full))));
    assert!(acknowledged < 1000);
    assert_eq!(count(&store).await, acknowledged, "neither more nor less than was acknowledged");
    store.upkeep(limit(1 << 20)).await.expect("room again");
    put(&store, 5000).await.expect("written");
    assert_eq!(store.versions().values().sum::<u64>(), acknowledged + 1, "numbers without gaps");
}

#[tokio::test]
async fn time_goes_on_after_the_largest_that_was_stored() {
    let dir = tempfile::tempdir().expect("directory");
    let now = Arc::new(AtomicU64::new(2_000_000));
    let clock = || -> WallClock {
        let now = Arc::clone(&now);
        Arc::new(move || now.load(Ordering::Relaxed))
    };
    let latest = async |s: &Store| -> i64 {
        s.upkeep(|c| Ok(c.query_row("SELECT max(hlc) FROM events", [], |r| r.get(0))?)).await.expect("read")
    };
    let store = Store::open(dir.path(), clock()).expect("opened");
    put(&store, 1).await.expect("written");
    let before = latest(&store).await;
    store.close().await;
    drop(store);
    now.store(1_000, Ordering::Relaxed);
    let store = Store::open(dir.path(), clock()).expect("opened");
    put(&store, 2).await.expect("written");
    assert!(latest(&store).await > before, "though the wall clock went back");
}

/// Each event of an origin follows on the one before it.
#[tokio::test]
async fn the_chain_is_whole() {
    let dir = tempfile::tempdir().expect("directory");
    let store = open(dir.path());
    for n in 0..20 {
        put(&store, n).await.expect("written");
    }
    let (hashes, head) = store
        .upkeep(|c| {
            let mut rows = c.prepare("SELECT prev_hash FROM events ORDER BY seq")?;
            let hashes = rows.query_map([], |r| r.get(0))?.collect::<rusqlite::Result<Vec<[u8; 32]>>>()?;
            Ok((hashes, c.query_row("SELECT hash FROM versions", [], |r| r.get::<_, [u8; 32]>(0))?))
        })
        .await
        .expect("read");
    assert_eq!(hashes[0], [0; 32]);
    let distinct: std::collections::HashSet<_> = hashes.iter().chain([&head]).collect();
    assert_eq!(distinct.len(), 21);
}

#[tokio::test]
async fn a_writer_that_ends_by_a_panic_is_noticed() {
    let dir = tempfile::tempdir().expect("directory");
    let calls = Arc::new(AtomicU64::new(0));
    let clock = Arc::clone(&calls);
    let now = move || match clock.load(Ordering::Relaxed) {
        0 => 1_700_000_000_000,
        _ => panic!("a defect outside any command"),
    };
    let store = Store::open(dir.path(), Arc::new(now)).expect("opened");
    put(&store, 1).await.expect("written");
    let ended = store.writer_ended();
    tokio::pin!(ended);
    assert!(futures::poll!(ended.as_mut()).is_pending(), "it works");
    calls.store(1, Ordering::Relaxed);
    assert!(put(&store, 2).await.is_err());
    tokio::time::timeout(std::time::Duration::from_secs(10), ended).await.expect("noticed");
}

/// Keeps the writer busy until `go_on` is dropped, so that what is asked meanwhile is one batch.
async fn hold(store: &Store, held: tokio::sync::oneshot::Receiver<()>) {
    let wait = store.upkeep(|_| {
        let _ = held.blocking_recv();
        Ok(())
    });
    wait.await.expect("held");
}

#[tokio::test]
async fn events_whose_log_ends_in_their_own_batch_are_in_the_tables() {
    let (one, two) = (tempfile::tempdir().expect("directory"), tempfile::tempdir().expect("directory"));
    let a = open(one.path());
    for n in 1..=3 {
        put(&a, n).await.expect("written");
    }
    let first = a.outbox(Versions::new(), (0, 0), 1 << 19).await.expect("read");
    put(&a, 4).await.expect("written");
    let heads = a.heads().await.expect("heads");
    let (packed, _) = a.facts(Cursor::default(), 1 << 19).await.expect("facts");
    let b = open(two.path());
    let (go_on, held) = oneshot::channel();
    let submitted = async {
        while b.jobs.waiting().0 + b.jobs.waiting().1 < 2 {
            tokio::task::yield_now().await;
        }
        drop(go_on);
    };
    let apply = b.apply(first.events.into(), first.votes, Absent::default());
    let adopt = b.join_facts(packed.into(), Some(heads.into()), Absent::default());
    let (_, applied, joined, ()) = tokio::join!(hold(&b, held), apply, adopt, submitted);
    assert!(applied.is_ok() && joined.is_ok());
    b.crash().await;
    drop(b);
    let b = open(two.path());
    assert_eq!((count(&b).await, b.versions().values().sum::<u64>()), (4, 4));
}

#[tokio::test]
async fn what_is_behind_is_bounded_however_much_a_batch_brings() {
    let dir = tempfile::tempdir().expect("directory");
    let store = open(dir.path());
    let many = |n: u64| {
        let mut change = account(n);
        let withdrawn =
            |k: u64| Fact::Withdrawn { publication: (u128::from(n) << 64 | u128::from(k)).to_le_bytes().into() };
        change.facts.extend((0..1000).map(withdrawn));
        change
    };
    for n in 0..300 {
        store.write(asked(n), move |_| Ok::<_, StoreError>(many(n))).await.expect("written");
    }
    let sql = "SELECT (SELECT sum(seq) FROM versions) - coalesce((SELECT sum(seq) FROM checkpoints), 0)";
    let behind: i64 = store.upkeep(move |c| Ok(c.query_row(sql, [], |r| r.get(0))?)).await.expect("read");
    assert!(behind <= 70, "{behind} events of 1,001 facts");
}

/// An invitation into a group, and who came by it.
fn redeemed(n: u64) -> Vec<Fact> {
    let id = |kind: u8| {
        let mut id = *asked(n).request.as_bytes();
        id[15] = kind;
        id
    };
    let (group, user, membership) = (id(1).into(), id(2).into(), id(3).into());
    let invitation = crate::fact::InvitationId(id(4));
    vec![
        Fact::Invited {
            id: invitation,
            group,
            user,
            number: 1,
            secret: common::invitation::InviteDigest([9; 32]),
            uses: 1,
            expires: u64::MAX,
            kicks_seen: vec![(OriginId::new([7; 16]), crate::fact::Hlc::from_stored(5))],
        },
        Fact::Requested { membership, group, user },
        Fact::Accepted { membership, kicks_seen: Vec::new() },
        Fact::Redeemed { membership, invitation },
        Fact::Sponsored { user, invitation },
    ]
}

async fn said(store: &Store) -> std::collections::BTreeSet<String> {
    store.read(|state| Ok::<_, StoreError>(state.said())).await.expect("read")
}

#[tokio::test]
async fn what_an_earlier_release_did_not_understand_is_taken_from_the_log() {
    let dir = tempfile::tempdir().expect("directory");
    let store = open(dir.path());
    put(&store, 1).await.expect("written");
    let change = Change { facts: redeemed(2), manifest: None, answer: vec![], value: () };
    store.write(asked(2), move |_| Ok::<_, StoreError>(change)).await.expect("written");
    put(&store, 3).await.expect("written");
    store.checkpoint().await.expect("written");
    let whole = said(&store).await;
    // As that release leaves it: the events are counted as written, and the tables have nothing of them.
    let forget = |tx: &rusqlite::Connection| {
        for table in ["invitations", "redemptions", "sponsors", "memberships", "accepts"] {
            tx.execute(&format!("DELETE FROM {table}"), [])?;
        }
        Ok(tx.execute("UPDATE understood SET ver = 1", [])?)
    };
    store.upkeep(forget).await.expect("as before");
    store.close().await;
    drop(store);
    let again = open(dir.path());
    assert_eq!(said(&again).await, whole);
    assert!(again.verify().await.expect("read").is_empty());
}

#[tokio::test]
async fn an_earlier_release_is_told_nothing_that_it_does_not_know() {
    let dir = tempfile::tempdir().expect("directory");
    let store = open(dir.path());
    let change = Change { facts: redeemed(1), manifest: None, answer: vec![], value: () };
    store.write(asked(1), move |_| Ok::<_, StoreError>(change)).await.expect("written");
    put(&store, 2).await.expect("written");
    store.checkpoint().await.expect("written");
    let out = store.outbox(Versions::new(), (0, 0), 1 << 19).await.expect("read");
    let versions: Vec<_> = out.events.iter().map(|event| event.ver).collect();
    assert_eq!(versions, [2, 1], "what is not understood is kept and passed on by its version");
    for (revision, known) in [(2, 3), (3, 6)] {
        let (packed, next) = store.facts(Cursor::for_revision(revision), 1 << 19).await.expect("read");
        assert!(next.is_none());
        let facts: Vec<StampedFact> = common::codec::decode(&packed, 1 << 20).expect("facts");
        assert_eq!(facts.len(), known, "{revision}: {facts:?}");
        assert!(revision == 3 || facts.iter().all(|(_, fact)| fact.version() == 1));
    }
}
