//! What a client's user sees when the tracker is killed: how long the next command takes, counted from the kill.

use std::time::{Duration, Instant};

use harness::{Cluster, Live, until_dual};

const DUAL: Duration = Duration::from_secs(120);

pub(crate) fn run(kills: u32) {
    let mut cluster = Cluster::start(2);
    let (user, witness) = (cluster.user("user"), cluster.user("witness"));
    let mut live = user.live();
    let mut usual = Vec::new();
    let mut times = Vec::new();
    for n in 0..kills {
        until_dual(&witness, DUAL);
        let asked = Instant::now();
        live.ok(&format!("create_group before-{n}"));
        usual.push(asked.elapsed());
        let number = current(&mut live);
        cluster.kill_tracker(number);
        let killed = Instant::now();
        live.ok(&format!("create_group after-{n}"));
        times.push(killed.elapsed());
        cluster.start_tracker(number);
    }
    live.stop();
    println!("a command while both are there      {}", summary(usual));
    println!("the first one after kill -9         {}", summary(times));
}

fn current(live: &mut Live) -> usize {
    let status = live.ok("status");
    let rows = status["trackers"].as_array().expect("rows");
    1 + rows.iter().position(|row| row["current"] == true).expect("a tracker")
}

fn summary(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let ms = |t: Duration| t.as_secs_f64() * 1e3;
    let worst = times.last().copied().unwrap_or_default();
    format!("median {:.0} ms, worst of {} {:.0} ms", ms(times[times.len() / 2]), times.len(), ms(worst))
}
