//! Whether a request takes longer where there is more: shares of one group, and groups and users.

use common::id::FileName;
use common::wire::client::{FileSelector, Request, Response};

use super::Bench;
use super::reads::seeders;
use crate::Row;
use crate::connection::{Asker, Connection, Judge, source};
use crate::dataset::{DEVICES, Dataset, SEEDERS, Size, file_id, file_name, group_name, lab};
use crate::load::{Load, micros};
use crate::tracker::Cluster;

/// Connections that ask.
const CONNECTIONS: u64 = 4;
/// Different things that each asks.
const VARIETY: u64 = 5000;

/// What is asked, as a function of a number below the number of things that there are.
struct Question {
    what: &'static str,
    /// The step that later ones are compared with. After a name by chance a page is only full where there is far more than
    /// a page.
    base: usize,
    request: fn(&Dataset, u64) -> Request,
    judge: Judge,
}

const OF_SHARES: [Question; 3] = [
    Question {
        what: "find file",
        base: 0,
        request: |_, n| {
            let file: FileSelector = file_name(n).parse().expect("a name");
            Request::FindFile { group: lab(), file }
        },
        judge: |r| matches!(r, Response::File(_)),
    },
    Question {
        what: "find peers",
        base: 0,
        request: |_, n| Request::FindPeers { group: lab(), file_id: file_id(n) },
        judge: |r| matches!(r, Response::Peers(peers) if !peers.is_empty()),
    },
    Question {
        what: "list files",
        base: 1,
        request: |_, n| {
            let after: FileName = file_name(n).parse().expect("a name");
            Request::ListFiles { group: lab(), after: Some(after) }
        },
        judge: |r| matches!(r, Response::Files(_)),
    },
];

const OF_USERS: [Question; 3] = [
    Question {
        what: "resume",
        base: 0,
        request: |dataset, n| Request::Resume { token: dataset.token(n) },
        judge: |r| matches!(r, Response::LoggedIn { .. }),
    },
    Question {
        what: "ticket",
        base: 0,
        request: |_, _| Request::GetTicket { group: lab() },
        judge: |r| matches!(r, Response::Ticket(_)),
    },
    Question {
        what: "list groups",
        base: 1,
        request: |_, n| Request::ListGroups { after: Some(group_name(n)) },
        judge: |r| matches!(r, Response::Groups(_)),
    },
];

pub(crate) fn run(bench: &mut Bench) {
    let steps: &[u64] = if bench.quick { &[1000] } else { &[1000, 10_000, 100_000, 1_000_000] };
    if bench.wants(Row::GrowthShares) {
        let size = |shares| Size { shares, ..Size::SMALL };
        grow(bench, Row::GrowthShares, steps, size, &OF_SHARES);
    }
    if bench.wants(Row::GrowthUsers) {
        let size = |n| Size { users: n, groups: n, ..Size::SMALL };
        grow(bench, Row::GrowthUsers, steps, size, &OF_USERS);
    }
}

fn grow(bench: &mut Bench, row: Row, steps: &[u64], size: fn(u64) -> Size, questions: &[Question]) {
    for step in steps {
        let dataset = bench.dataset(size(*step));
        let cluster = Cluster::solo(bench.program(), &dataset);
        for Question { what, base, request, judge } in questions {
            let (tracker, pid, time) = (cluster.addresses[0], cluster.pid(1), bench.time);
            let load = bench.runtime.block_on(async {
                let _seeders = seeders(tracker, &dataset).await;
                let mut askers = Vec::new();
                for n in SEEDERS..SEEDERS + CONNECTIONS {
                    let opened = Connection::of_user(tracker, &dataset, n, source(n)).await.expect("logged in");
                    // Of those that are on the same device.
                    let any = || fastrand::u64(..*step / DEVICES) * DEVICES + n;
                    let requests = (0..VARIETY.min(*step)).map(|_| request(&dataset, any())).collect();
                    askers.push(Asker::new(opened, requests, *judge));
                }
                Load::run(&mut askers, time, &[pid]).await
            });
            bench.report.add(row.name(), format!("{what}, {step}"), load.figures());
            let base = steps.get(*base).filter(|base| *base < step);
            let first = base.and_then(|n| bench.report.median(row.name(), &format!("{what}, {n}"), "p50_us"));
            if let Some(first) = first.filter(|first| first.is_finite()) {
                let times = micros(load.within(0.5)) / first;
                bench.report.add(row.name(), format!("{what}, {step}: growth"), vec![("of_first", times)]);
            }
        }
    }
}
