//! Thousands who log in at once, and what becomes of the others meanwhile. Beside it: how many such hashes both
//! processors can compute with nothing around them, and how long the others wait while that goes on.

use std::time::{Duration, Instant};

use common::wire::client::{FileSelector, Password, Request, Response};
use futures::StreamExt;
use futures::future::join_all;
use futures::stream;
use std::cell::Cell;
use std::pin::pin;

use super::Bench;
use crate::Row;
use crate::beside::argon;
use crate::connection::{Asker, Connection, source, try_again};
use crate::dataset::{Dataset, PASSWORD, SEEDERS, Size, file_name, lab, user_name};
use crate::load::micros;
use crate::system::{self, Meter};
use crate::tracker::Cluster;

/// Those who ask for something else.
const OTHERS: u64 = 4;
/// How often each of them asks.
const EVERY: Duration = Duration::from_millis(25);
/// Who logs in from one address.
const BEHIND_ONE: u64 = 50;
/// Connections that are being opened at the same time.
const AT_ONCE: usize = 32;
/// Users that are not in the lab.
const FIRST: u64 = 200;

pub(crate) fn run(bench: &mut Bench) {
    if !bench.wants(Row::Storm) {
        return;
    }
    let number = bench.sized(5000, 20);
    let dataset = bench.dataset(Size { users: bench.sized(20_480, 1000), ..Size::SMALL });
    let cluster = Cluster::solo(bench.program(), &dataset);
    let first = reference(bench, &cluster, &dataset);
    let (rate, refused, others, used) = bench.runtime.block_on(storm(&cluster, &dataset, number));
    let second = reference(bench, &cluster, &dataset);
    let argon = f64::midpoint(first.0, second.0);
    let calm = first.1.max(second.1);
    let figures = vec![
        ("per_second", rate),
        ("of_argon2", rate / argon),
        ("refused", refused as f64),
        ("cpu_us", micros(used.cpu.div_f64(number as f64))),
        ("others_p99_us", micros(others)),
        ("others", used.others),
    ];
    bench.report.add(Row::Storm.name(), format!("{number} logins"), figures);
    let figures = vec![("per_second", argon), ("others_p99_us", micros(calm))];
    bench.report.add("argon2", "all processors", figures);
}

/// Hashes per second of all processors, and within what time the others had 99 % of their answers meanwhile.
fn reference(bench: &Bench, cluster: &Cluster, dataset: &Dataset) -> (f64, Duration) {
    let time = bench.time;
    let hashing = std::thread::spawn(move || argon::hashes_per_second(system::cores(), time));
    let waited = bench.runtime.block_on(async {
        let mut askers = others(cluster, dataset).await;
        let until = Instant::now() + time;
        within(ask_now_and_then(&mut askers, || Instant::now() < until).await)
    });
    (hashing.join().expect("hashed"), waited)
}

async fn storm(cluster: &Cluster, dataset: &Dataset, number: u64) -> (f64, u64, Duration, crate::system::Used) {
    let tracker = cluster.addresses[0];
    let open = |n| async move {
        let from = source(10_000 + n / BEHIND_ONE);
        (n, Connection::open(tracker, dataset.device(n), from).await.expect("connected"))
    };
    let opened: Vec<_> = stream::iter(FIRST..FIRST + number).map(open).buffer_unordered(AT_ONCE).collect().await;
    let mut askers = others(cluster, dataset).await;
    let refused = Cell::new(0);
    let (meter, began) = (Meter::start(&cluster.pids()), Instant::now());
    let logins = opened.into_iter().map(|(n, connection)| log_in(connection, n, &refused));
    let logins = pin!(join_all(logins));
    let asking = pin!(ask_now_and_then_until(&mut askers, logins));
    let (others, took) = asking.await;
    let (used, rate) = (meter.stop(), number as f64 / (took - began).as_secs_f64());
    (rate, refused.get(), within(others), used)
}

/// Logs in, however often it takes. The connection stays.
async fn log_in(mut connection: Connection, n: u64, refused: &Cell<u64>) -> Connection {
    let mut tries = 0;
    loop {
        let password = Password::try_from(PASSWORD.to_owned()).expect("a password");
        let answer = connection.ask(Request::Login { user: user_name(n), password }).await.expect("answered").result;
        match answer {
            Ok(Response::LoggedIn { .. }) => return connection,
            Ok(other) => panic!("{other:?}"),
            Err(refusal) => {
                refused.set(refused.get() + 1);
                let wait = try_again(&refusal, tries).unwrap_or_else(|| panic!("{refusal}"));
                tries += 1;
                tokio::time::sleep(wait).await;
            }
        }
    }
}

async fn others(cluster: &Cluster, dataset: &Dataset) -> Vec<Asker> {
    let mut askers = Vec::new();
    for n in SEEDERS..SEEDERS + OTHERS {
        let opened = Connection::of_user(cluster.addresses[0], dataset, n, source(n)).await.expect("logged in");
        let file: FileSelector = file_name(n % 20).parse().expect("a name");
        let request = Request::FindFile { group: lab(), file };
        askers.push(Asker::new(opened, vec![request], |r| matches!(r, Response::File(_))));
    }
    askers
}

/// Each asks every so often while `on` says so.
async fn ask_now_and_then(askers: &mut [Asker], on: impl Fn() -> bool) -> Vec<Duration> {
    let on = &on;
    let each = askers.iter_mut().map(|asker| async move {
        let mut times = Vec::new();
        while on() {
            times.extend(asker.ask().await);
            tokio::time::sleep(EVERY).await;
        }
        times
    });
    join_all(each).await.into_iter().flatten().collect()
}

/// The same until `done` is, and when that was.
async fn ask_now_and_then_until<T>(
    askers: &mut [Asker],
    done: impl Future<Output = T> + Unpin,
) -> (Vec<Duration>, Instant) {
    let over = Cell::new(None);
    let noted = async {
        let kept = done.await;
        over.set(Some(Instant::now()));
        kept
    };
    let asking = ask_now_and_then(askers, || over.get().is_none());
    let (times, _kept) = futures::join!(asking, noted);
    (times, over.get().unwrap_or_else(Instant::now))
}

/// The time within which 99 % came.
fn within(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[(times.len() - 1) * 99 / 100]
}
