//! Requests that change nothing, and logins one at a time, in a state of some size.

use std::net::{Ipv4Addr, SocketAddr};

use common::wire::client::{FileSelector, Password, Request, Response};

use super::Bench;
use crate::Row;
use crate::beside::redis::Redis;
use crate::connection::{Asker, Connection, Judge, source};
use crate::dataset::{Dataset, MOST_LOGINS, PASSWORD, SEEDERS, Size, file_id, file_name, lab, user_name};
use crate::load::{Load, micros};
use crate::profile::Profile;
use crate::tracker::Cluster;

/// Connections that ask.
const CONNECTIONS: u64 = 50;
/// Connections that ask for what takes long: more of them would only wait for each other.
const FEW: u64 = 4;
/// Shares of the lab, which are one page.
const SHARES: u64 = 20;
/// A user who is in the crowd and not in the lab.
const IN_CROWD: u64 = 100;

/// What is asked, by how many, and what the answer must be.
struct Question {
    row: Row,
    connections: u64,
    request: Request,
    judge: Judge,
}

fn questions() -> Vec<Question> {
    let file: FileSelector = file_name(7).parse().expect("a name");
    let question = |row, request, judge| Question { row, connections: CONNECTIONS, request, judge };
    vec![
        question(Row::Status, Request::Status, |r| matches!(r, Response::Status(_))),
        question(
            Row::FindPeers,
            Request::FindPeers { group: lab(), file_id: file_id(0) },
            |r| matches!(r, Response::Peers(peers) if peers.len() as u64 == SEEDERS),
        ),
        question(Row::FindFile, Request::FindFile { group: lab(), file }, |r| matches!(r, Response::File(_))),
        question(
            Row::ListFiles,
            Request::ListFiles { group: lab(), after: None },
            |r| matches!(r, Response::Files(page) if page.rows.len() as u64 == SHARES),
        ),
        question(Row::GetTicket, Request::GetTicket { group: lab() }, |r| matches!(r, Response::Ticket(_))),
        Question {
            row: Row::ListGroups,
            connections: FEW,
            request: Request::ListGroups { after: None },
            judge: |r| matches!(r, Response::Groups(page) if page.more),
        },
    ]
}

/// The state: many groups, one of them with a crowd of members, and the lab with a page of shares.
fn size(bench: &Bench) -> Size {
    let crowd = bench.sized(10_000, 300);
    let (users, groups) = (bench.sized(20_000, 1000), bench.sized(100_000, 1200));
    Size { users, groups, crowds: 1, crowd, shares: SHARES, logins: 1 }
}

pub(crate) fn run(bench: &mut Bench) {
    let questions: Vec<_> = questions().into_iter().filter(|q| bench.wants(q.row)).collect();
    let login = bench.wants(Row::Login);
    if questions.is_empty() && !login {
        return;
    }
    let dataset = bench.dataset(size(bench));
    let cluster = Cluster::solo(bench.program(), &dataset);
    let scratch = tempfile::tempdir().expect("a directory");
    let redis = Redis::start(scratch.path());
    if redis.is_none() {
        eprintln!("no redis-server and redis-benchmark with TLS here: nothing to compare reads with");
    }
    for round in 0..bench.rounds {
        for question in &questions {
            // Before each of them: what else the machine does changes from minute to minute.
            let beside = redis.as_ref().map(|r| r.smembers(CONNECTIONS as usize, bench.time));
            if let Some(rate) = beside {
                let cpu = ("cpu_us", micros(rate.cpu));
                let figures = vec![("per_second", rate.per_second), cpu, ("p99_us", micros(rate.p99))];
                bench.report.add("redis", "SMEMBERS of 20, TLS", figures);
            }
            let load = ask(bench, &cluster, &dataset, question);
            let mut figures = load.figures();
            if let Some(rate) = beside {
                figures.push(("of_redis", load.per_second() / rate.per_second));
            }
            bench.report.add(question.row.name(), format!("{} connections", question.connections), figures);
        }
        if login {
            logins(bench, &cluster, &dataset, u64::from(round));
        }
    }
    for complaint in cluster.complaints(1) {
        eprintln!("tracker: {complaint}");
    }
}

fn ask(bench: &Bench, cluster: &Cluster, dataset: &Dataset, question: &Question) -> Load {
    let (tracker, time, pid) = (cluster.addresses[0], bench.time, cluster.pid(1));
    bench.runtime.block_on(async {
        // Here for as long as their connections are; longer than a load runs they need not say so again.
        let _seeders = seeders(tracker, dataset).await;
        let mut askers = Vec::new();
        // Members of the lab that seed nothing.
        for n in SEEDERS..SEEDERS + question.connections {
            let opened = Connection::of_user(tracker, dataset, n, source(n)).await.expect("logged in");
            askers.push(Asker::new(opened, vec![question.request.clone()], question.judge));
        }
        let profile = bench.profile(question.row.name(), pid);
        let load = Load::run(&mut askers, time, &[pid]).await;
        profile.into_iter().for_each(Profile::finish);
        load
    })
}

/// Connections of those who seed, which have said where they are.
pub(crate) async fn seeders(tracker: SocketAddr, dataset: &Dataset) -> Vec<Connection> {
    let mut seeders = Vec::new();
    for n in 0..SEEDERS {
        let mut opened = Connection::of_user(tracker, dataset, n, source(n)).await.expect("logged in");
        let listen = (Ipv4Addr::LOCALHOST, 9000 + n as u16).into();
        let announced = opened.ask(Request::Announce { listen, serial: 1 }).await.expect("answered");
        assert_eq!(announced.result, Ok(Response::Done));
        seeders.push(opened);
    }
    seeders
}

/// One login after the other of a member of the crowd, who has as many logins as one may have, so that each ends the
/// oldest; and of somebody who is in no crowd. What the first costs more is the crowd's part.
fn logins(bench: &mut Bench, cluster: &Cluster, dataset: &Dataset, round: u64) {
    let last = dataset.size.users - 1;
    let crowd = login(bench, cluster, dataset, IN_CROWD + round);
    let alone = login(bench, cluster, dataset, last - round);
    let part = vec![("cpu_us", micros(crowd.cpu()) - micros(alone.cpu()))];
    for (case, load) in [("in a crowd", crowd), ("in no crowd", alone)] {
        bench.report.add(Row::Login.name(), case, load.figures());
    }
    bench.report.add(Row::Login.name(), "the crowd's part", part);
}

fn login(bench: &Bench, cluster: &Cluster, dataset: &Dataset, user: u64) -> Load {
    let request = move |_| {
        let password = Password::try_from(PASSWORD.to_owned()).expect("a password");
        Request::Login { user: user_name(user), password }
    };
    let (tracker, time, pid) = (cluster.addresses[0], bench.time, cluster.pid(1));
    bench.runtime.block_on(async {
        // From an address of its own: a tracker slows down who has many passwords checked.
        let opened = Connection::open(tracker, dataset.device(user), source(5000 + user)).await.expect("connected");
        let mut asker = Asker::of_commands(opened, request, |r| matches!(r, Response::LoggedIn { .. }));
        for _ in 0..bench.sized(MOST_LOGINS, 1) {
            asker.ask().await;
        }
        Load::run(std::slice::from_mut(&mut asker), time, &[pid]).await
    })
}
