//! How long a tracker with many shares takes until it is ready: with its files in the page cache, and without.

use super::Bench;
use crate::Row;
use crate::dataset::Size;
use crate::system;
use crate::tracker::Cluster;

pub(crate) fn run(bench: &mut Bench) {
    if !bench.wants(Row::Start) {
        return;
    }
    let shares = bench.sized(1_000_000, 1000);
    let dataset = bench.dataset(Size { shares, ..Size::SMALL });
    // Brings the database up to date, if need be, and leaves what a clean stop leaves.
    let mut cluster = Cluster::solo(bench.program(), &dataset);
    for _ in 0..bench.rounds {
        for case in ["warm", "cold"] {
            system::wait_until_idle(cluster.pid(1));
            cluster.quit(1);
            let bytes = if case == "cold" { cluster.forget_pages(1) } else { 0 };
            let took = cluster.start(1);
            let mut figures = vec![("seconds", took.as_secs_f64()), ("shares", shares as f64)];
            if case == "cold" {
                figures.push(("file_mib", bytes as f64 / f64::from(1 << 20)));
            }
            bench.report.add(Row::Start.name(), case, figures);
        }
    }
}
