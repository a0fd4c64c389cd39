//! Who waits for whom in the store, and what becomes of work that nobody waits for any more. Whoever holds up the
//! others here does so until it is told to stop, so that nothing depends on how fast the machine is.

use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use common::id::{DeviceId, RequestId, SessionId, UserId};
use common::task::TaskGroup;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::fact::Fact;
use crate::limits::Payer;

/// Longer than any test takes.
const LONG: Duration = Duration::from_secs(600);
/// Counts for ever, as far as anybody lives to see.
const ENDLESS: &str = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";

fn open() -> (Store, tempfile::TempDir) {
    let dir = tempfile::tempdir().expect("a directory");
    (Store::open(dir.path(), Arc::new(|| 1_700_000_000_000)).expect("opened"), dir)
}

fn user(n: u8, overtakes: bool, patience: Duration) -> (Caller, CancellationToken) {
    let gone = CancellationToken::new();
    (Caller::call(Payer::User(UserId::new([n; 16])), overtakes, patience, gone.clone()), gone)
}

fn asked() -> Asked {
    Asked { device: DeviceId::new([1; 32]), request: RequestId::random() }
}

fn change() -> Change<()> {
    let facts = vec![Fact::SessionEnded { session: SessionId::random() }];
    Change { facts, manifest: None, answer: Vec::new(), value: () }
}

fn endless(tables: &Tables<'_>) -> Result<u64, StoreError> {
    Ok(tables.conn.query_row(ENDLESS, [], |r| r.get(0))?)
}

/// Waits until `so` is true, which something else makes it.
async fn eventually(so: impl Fn() -> bool) {
    while !so() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_whose_caller_is_gone_or_late_is_interrupted_and_forgotten() {
    let (store, _dir) = open();
    let tasks = TaskGroup::new();
    let ends: Vec<_> = (0..6)
        .map(|n| {
            // One that waits in vain for each that runs; half go by themselves, half are late.
            let patience = if n % 2 == 0 { LONG } else { Duration::from_millis(200) };
            let ((caller, gone), store) = (user(1, false, patience), store.clone());
            let read = async move { store.read_tables_for(&caller, endless).await };
            (gone, tasks.spawn("a long query", read))
        })
        .collect();
    eventually(|| store.readers.waiting() == 4).await;
    ends.iter().for_each(|(gone, _)| gone.cancel());
    for (_, read) in ends {
        let outcome = read.await.expect("no panic").expect("not stopped");
        assert!(matches!(outcome, Err(StoreError::Abandoned)), "{outcome:?}");
    }
    assert_eq!(store.readers.waiting(), 0);
    let (caller, _gone) = user(1, false, LONG);
    assert!(store.read_tables_for(&caller, |t| t.log_size()).await.is_ok(), "the connections are as good as new");
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_user_with_many_long_queries_leaves_connections_to_others() {
    let (store, _dir) = open();
    let tasks = TaskGroup::new();
    let gone: Vec<_> = (0..64)
        .map(|n| {
            // Of two users, and a third has more than enough left.
            let ((caller, gone), store) = (user(n % 2, false, LONG), store.clone());
            tasks.spawn("a long query", async move { store.read_tables_for(&caller, endless).await });
            gone
        })
        .collect();
    eventually(|| store.readers.waiting() == 60).await;
    let (honest, _gone) = user(9, false, LONG);
    assert!(store.read_tables_for(&honest, |t| t.log_size()).await.is_ok());
    gone.iter().for_each(CancellationToken::cancel);
    store.close().await;
}

/// Begins a command of user 1 that goes on when it is told to.
async fn hold_the_writer(store: &Store, tasks: &TaskGroup) -> (mpsc::Sender<()>, JoinHandle<Option<()>>) {
    let ((begun, begins), (go_on, goes_on)) = (mpsc::channel(), mpsc::channel());
    let ((caller, _gone), store) = (user(1, false, LONG), store.clone());
    let decide = move |_: &State| {
        begun.send(()).expect("heard");
        goes_on.recv().expect("told");
        Ok::<_, StoreError>(change())
    };
    let held = tasks.spawn("a command", async move {
        store.write_for(&caller, asked(), decide).await.expect("written");
    });
    tokio::task::spawn_blocking(move || begins.recv()).await.expect("no panic").expect("begun");
    (go_on, held)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_overtakes_is_first_and_the_rest_in_fair_order() {
    let (store, _dir) = open();
    let tasks = TaskGroup::new();
    let (go_on, _held) = hold_the_writer(&store, &tasks).await;
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut submitted = Vec::new();
    for (n, who) in [1, 1, 1, 2, 0].into_iter().enumerate() {
        let ((caller, gone), writing, order) = (user(who, who == 0, LONG), store.clone(), Arc::clone(&order));
        let decide = move |_: &State| {
            order.lock().expect("lock").push(who);
            Ok::<_, StoreError>(change())
        };
        let write = async move { writing.write_for(&caller, asked(), decide).await.map(|_| ()) };
        submitted.push((gone, tasks.spawn("a command", write)));
        eventually(|| store.jobs.waiting().0 + store.jobs.waiting().1 == n + 1).await;
    }
    go_on.send(()).expect("heard");
    for (_gone, write) in submitted {
        write.await.expect("no panic").expect("not stopped").expect("written");
    }
    assert_eq!(*order.lock().expect("lock"), [0, 2, 1, 1, 1], "who overtakes, who has taken least, and the rest");
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_nobody_waits_for_is_taken_out_unless_it_overtakes() {
    let (store, _dir) = open();
    let tasks = TaskGroup::new();
    let (go_on, held) = hold_the_writer(&store, &tasks).await;
    let (kick, take, late) = (asked(), asked(), asked());
    let write = |caller: Caller, asked: Asked| {
        let store = store.clone();
        let write = async move { store.write_for(&caller, asked, |_| Ok::<_, StoreError>(change())).await.map(|_| ()) };
        tasks.spawn("a command", write)
    };
    let ((urgent, urgent_gone), (plain, plain_gone)) = (user(1, true, LONG), user(1, false, LONG));
    let (hasty, _hasty_gone) = user(1, false, Duration::from_millis(100));
    let (kicked, taken, too_late) = (write(urgent, kick), write(plain, take), write(hasty, late));
    eventually(|| store.jobs.waiting() == (1, 2) || store.jobs.waiting() == (1, 1)).await;
    plain_gone.cancel();
    urgent_gone.cancel();
    for abandoned in [taken, too_late] {
        let outcome = abandoned.await.expect("no panic").expect("not stopped");
        assert!(matches!(outcome, Err(StoreError::Abandoned)), "{outcome:?}");
    }
    assert_eq!(store.jobs.waiting(), (1, 0));
    go_on.send(()).expect("heard");
    held.await.expect("no panic").expect("not stopped");
    kicked.await.expect("no panic").expect("not stopped").expect("written");
    let recorded = async |asked| store.recorded(&Caller::tracker(), asked).await.expect("read").is_some();
    assert_eq!((recorded(kick).await, recorded(take).await, recorded(late).await), (true, false, false));
    store.close().await;
}
