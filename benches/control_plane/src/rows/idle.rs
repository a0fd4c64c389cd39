//! What a logged-in connection takes that does nothing, how many there may be, and whether their memory is given back.

use futures::StreamExt;
use futures::stream;

use common::wire::client::Request;

use super::Bench;
use crate::Row;
use crate::connection::{Connection, source};
use crate::dataset::{Dataset, Size};
use crate::system;
use crate::tracker::Cluster;

/// Files that a tracker keeps for other things, and a few.
const OTHER_FILES: u64 = 160;
/// Connections that are being opened at the same time.
const AT_ONCE: usize = 32;

pub(crate) fn run(bench: &mut Bench) {
    if !bench.wants(Row::Idle) {
        return;
    }
    let wanted = bench.sized(20_000, 200);
    let number = wanted.min(bench.files.saturating_sub(OTHER_FILES));
    if number < wanted {
        eprintln!(
            "{number} connections instead of {wanted}: a process may open {} files here (ulimit -Hn)",
            bench.files
        );
    }
    let dataset = bench.dataset(Size { users: bench.sized(20_480, 1000), ..Size::SMALL });
    let cluster = Cluster::solo(bench.program(), &dataset);
    let pid = cluster.pid(1);
    let (before, runtime) = (system::memory_of(pid).1, &bench.runtime);
    let mut opened = runtime.block_on(open(&cluster, &dataset, number));
    let tried = opened.len();
    let held = runtime.block_on(alive(&mut opened));
    system::wait_until_idle(pid);
    let during = system::memory_of(pid).1;
    drop(opened);
    system::wait_until_idle(pid);
    let after = system::memory_of(pid).1;
    let kib = |bytes: u64| bytes as f64 / 1024.0;
    let each = kib(during.saturating_sub(before)) / held as f64;
    let kept = after.saturating_sub(before) as f64 / during.saturating_sub(before).max(1) as f64;
    let figures = vec![
        ("kib_each", each),
        ("held", held as f64),
        ("tried", number as f64),
        ("opened", tried as f64),
        ("kept_when_gone", kept),
    ];
    bench.report.add(Row::Idle.name(), "logged in", figures);
}

/// As many of `number` as the tracker takes.
async fn open(cluster: &Cluster, dataset: &Dataset, number: u64) -> Vec<Connection> {
    let one = |n| Connection::of_user(cluster.addresses[0], dataset, n, source(n));
    let opened = stream::iter(0..number).map(one).buffer_unordered(AT_ONCE);
    opened.filter_map(async |opened| opened.ok()).collect().await
}

/// How many of them are still served.
async fn alive(opened: &mut [Connection]) -> usize {
    let asked = stream::iter(opened).map(|c| c.ask(Request::Status)).buffer_unordered(AT_ONCE);
    asked.filter(|answer| std::future::ready(answer.is_ok())).count().await
}
