//! Searches among 1,000,000 names of one group, over the wire: of words that one name has, that some have, and that all have.

use std::time::Duration;

use common::wire::client::{Request, Response};

use super::Bench;
use crate::Row;
use crate::connection::{Asker, Connection, source};
use crate::dataset::{DEVICES, Size, file_name};
use crate::load::Load;
use crate::tracker::Cluster;

/// Connections that ask at once.
const CONNECTIONS: [u64; 2] = [1, 4];
/// Different things that each asks.
const VARIETY: u64 = 500;

/// What is typed, as a function of the number of a share.
type Typed = fn(u64) -> String;

const QUESTIONS: [(&str, Typed); 5] = [
    ("a whole name", file_name),
    ("the end of a name", |n| format!("{n:06}.bin").chars().skip(1).collect()),
    ("three digits", |n| format!("{:03x}", n % 4096)),
    ("two parts", |n| format!("{:03} {:03}", n % 1000, n / 1000)),
    ("what all have", |_| "file bin".to_owned()),
];

pub(crate) fn run(bench: &mut Bench) {
    if !bench.wants(Row::Search) {
        return;
    }
    let shares = bench.sized(1_000_000, 1000);
    let dataset = bench.dataset(Size { shares, ..Size::SMALL });
    let cluster = Cluster::solo(bench.program(), &dataset);
    let (tracker, pid, time) = (cluster.addresses[0], cluster.pid(1), bench.time);
    bench.runtime.block_on(async {
        let mut asker = Connection::of_user(tracker, &dataset, 0, source(0)).await.expect("logged in");
        // The last to be in the index, if that is made anew.
        while !matches!(asker.ask(search(&file_name(shares - 1))).await.expect("answered").result,
            Ok(Response::Hits(ref page)) if !page.rows.is_empty())
        {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    });
    for (what, typed) in QUESTIONS {
        for connections in CONNECTIONS {
            let load = bench.runtime.block_on(async {
                let mut askers = Vec::new();
                for n in 0..connections {
                    let opened = Connection::of_user(tracker, &dataset, n, source(n)).await.expect("logged in");
                    let any = || fastrand::u64(..shares / DEVICES) * DEVICES + n;
                    let requests = (0..VARIETY).map(|_| search(&typed(any()))).collect();
                    askers.push(Asker::new(opened, requests, |r| matches!(r, Response::Hits(_))));
                }
                Load::run(&mut askers, time, &[pid]).await
            });
            bench.report.add(Row::Search.name(), format!("{what}, {connections}"), load.figures());
        }
    }
}

fn search(words: &str) -> Request {
    Request::Search { words: words.to_owned().try_into().expect("short"), page: 0 }
}
