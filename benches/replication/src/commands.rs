//! Durable commands per second: `create_group`, the heaviest of the small ones (four facts, and a name on which
//! both trackers vote), by so many connections that each ask one after the other.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use common::wire::client::{Mode, Request};
use futures::future::join_all;
use harness::{Cluster, until_dual};
use tokio::runtime::Runtime;

use crate::plain;
use crate::raw::Raw;

const CONNECTIONS: [u32; 3] = [1, 16, 64];
const PLAIN: Duration = Duration::from_secs(2);

pub(crate) fn run(runtime: &Runtime, each: u32, rounds: u32) {
    for round in 1..=rounds {
        for (name, trackers) in [("solo", 1), ("dual", 2)] {
            let mut cluster = Cluster::start(2);
            let witness = cluster.user("witness");
            until_dual(&witness, Duration::from_secs(30));
            if trackers == 1 {
                cluster.kill_tracker(2);
            }
            let plain = plain::commits_per_second(cluster.dir(), PLAIN);
            println!("round {round}  plain SQLite                  {plain:>8.0} commits/s");
            for connections in CONNECTIONS {
                let measured = runtime.block_on(measure(&cluster, name, connections, each));
                println!("round {round}  {name}, {connections:>2} connections          {measured}");
            }
        }
    }
}

async fn measure(cluster: &Cluster, name: &str, connections: u32, each: u32) -> String {
    let mut raws = Vec::new();
    for n in 0..connections {
        // Addresses of their own: a tracker slows down who has many passwords checked.
        let from = Ipv4Addr::from(0x7f00_0100 + connections * 256 + n);
        raws.push(Raw::user(cluster.addresses[0], from, &format!("user-{connections}-{n}")).await);
    }
    let began = Instant::now();
    let answers = join_all(raws.into_iter().enumerate().map(|(n, mut raw)| async move {
        let mut times = Vec::new();
        let mut other = 0;
        for k in 0..each {
            let group = format!("g-{connections}-{n}-{k}").parse().expect("a name");
            let asked = Instant::now();
            let (answer, mode) = raw.ask(Request::CreateGroup { group }).await;
            answer.expect("made");
            times.push(asked.elapsed());
            other += u32::from((mode == Mode::Dual) != (name == "dual"));
        }
        (times, other)
    }))
    .await;
    let took = began.elapsed();
    let other: u32 = answers.iter().map(|(_, other)| other).sum();
    let mut times: Vec<_> = answers.into_iter().flat_map(|(times, _)| times).collect();
    times.sort_unstable();
    let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize].as_secs_f64() * 1e3;
    let rate = times.len() as f64 / took.as_secs_f64();
    let note = if other > 0 { format!(", {other} answered in the other mode") } else { String::new() };
    format!("{rate:>8.0} commands/s   median {:.1} ms, 99 % {:.1} ms{note}", at(0.5), at(0.99))
}
