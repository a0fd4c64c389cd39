//! Durable commands: `create_group`, which states four facts and claims a name, from so many connections that each ask
//! one after the other. First with both trackers, then with the one that is left when the other is killed.

use std::time::{Duration, Instant};

use common::wire::client::{Mode, Request, Response};

use super::Bench;
use crate::Row;
use crate::beside::sqlite;
use crate::connection::{Asker, Connection, source};
use crate::dataset::{Dataset, Size};
use crate::load::Load;
use crate::profile::Profile;
use crate::system;
use crate::tracker::Cluster;

const CONNECTIONS: [u64; 3] = [1, 16, 64];
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) fn run(bench: &mut Bench) {
    let (solo, dual) = (bench.wants(Row::CommandsSolo), bench.wants(Row::CommandsDual));
    if !solo && !dual {
        return;
    }
    let dataset = bench.dataset(Size::SMALL);
    for _ in 0..bench.rounds {
        let mut cluster = Cluster::prepare(bench.program(), &dataset, 2);
        for number in [1, 2] {
            cluster.start(number);
        }
        cluster.pids().into_iter().for_each(system::wait_until_idle);
        for (row, mode, wanted) in [(Row::CommandsDual, Mode::Dual, dual), (Row::CommandsSolo, Mode::Solo, solo)] {
            if mode == Mode::Solo {
                cluster.kill(2);
            }
            if !wanted {
                continue;
            }
            bench.runtime.block_on(until(&cluster, &dataset, mode));
            for connections in CONNECTIONS {
                let beside = sqlite::commits_per_second(cluster.dir(), bench.time / 2);
                bench.report.add("sqlite", "one row a commit", vec![("per_second", beside)]);
                let made = bench.runtime.block_on(make(bench, &cluster, &dataset, connections));
                let mut figures = made.figures();
                figures.push(("of_sqlite", made.per_second() / beside));
                bench.report.add(row.name(), format!("{connections} connections"), figures);
            }
            bench.runtime.block_on(until(&cluster, &dataset, mode));
        }
    }
}

async fn make(bench: &Bench, cluster: &Cluster, dataset: &Dataset, connections: u64) -> Load {
    let mut askers = Vec::new();
    for n in 0..connections {
        let opened = Connection::of_user(cluster.addresses[0], dataset, n, source(n)).await.expect("logged in");
        let alike = fastrand::u64(..);
        let request = move |k| {
            let group = format!("g-{alike:x}-{n}-{k}").parse().expect("a name");
            Request::CreateGroup { group }
        };
        // A name that is not agreed on yet is as durable.
        let judge = |r: &Response| matches!(r, Response::Done | Response::Provisional);
        askers.push(Asker::of_commands(opened, request, judge));
    }
    let pids = cluster.pids();
    let profile = bench.profile(&format!("commands-of-{}-with-{connections}", pids.len()), cluster.pid(1));
    let load = Load::run(&mut askers, bench.time, &pids).await;
    profile.into_iter().for_each(Profile::finish);
    load
}

/// Waits until the first tracker says that it is in `mode`.
async fn until(cluster: &Cluster, dataset: &Dataset, mode: Mode) {
    let mut opened = Connection::of_user(cluster.addresses[0], dataset, 100, source(100)).await.expect("logged in");
    let give_up = Instant::now() + PATIENCE;
    loop {
        let status = opened.ask(Request::Status).await.expect("answered");
        if matches!(&status.result, Ok(Response::Status(status)) if status.mode == mode) {
            return;
        }
        assert!(Instant::now() < give_up, "never {mode:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
