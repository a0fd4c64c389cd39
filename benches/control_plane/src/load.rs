//! Many connections, each of which asks again when it has its answer, for a while.

use std::time::{Duration, Instant};

use futures::future::join_all;

use crate::connection::Asker;
use crate::system::{Meter, Used};

/// Part of the time that goes before what is measured.
const WARM_UP: f64 = 0.15;

/// What came of it.
#[derive(Debug)]
pub(crate) struct Load {
    /// How long each answer took, sorted.
    times: Vec<Duration>,
    /// How many were refused instead.
    refused: u64,
    used: Used,
}

impl Load {
    /// Has `askers` ask for `time`, and measures the processes `pids` meanwhile.
    pub(crate) async fn run(askers: &mut [Asker], time: Duration, pids: &[u32]) -> Self {
        each_until(askers, Instant::now() + time.mul_f64(WARM_UP)).await;
        askers.iter_mut().for_each(|asker| drop(asker.take_refused()));
        let meter = Meter::start(pids);
        let mut times = each_until(askers, Instant::now() + time).await;
        let used = meter.stop();
        times.sort_unstable();
        let (refused, why): (Vec<_>, Vec<_>) = askers.iter_mut().map(Asker::take_refused).unzip();
        if let Some(refusal) = why.into_iter().flatten().next() {
            eprintln!("refused: {refusal}");
        }
        Self { times, refused: refused.iter().sum(), used }
    }

    pub(crate) fn per_second(&self) -> f64 {
        self.times.len() as f64 / self.used.wall.as_secs_f64()
    }

    /// The time within which this part of the answers came; for ever, if none did.
    pub(crate) fn within(&self, part: f64) -> Duration {
        let last = self.times.len().saturating_sub(1);
        self.times.get((last as f64 * part) as usize).copied().unwrap_or(Duration::MAX)
    }

    /// Processor time of the trackers for one answer, refusals included.
    pub(crate) fn cpu(&self) -> Duration {
        self.used.cpu.div_f64((self.times.len() as u64 + self.refused).max(1) as f64)
    }

    /// The usual figures.
    pub(crate) fn figures(&self) -> Vec<(&'static str, f64)> {
        let mut figures = vec![
            ("per_second", self.per_second()),
            ("cpu_us", micros(self.cpu())),
            ("p50_us", micros(self.within(0.5))),
            ("p99_us", micros(self.within(0.99))),
            ("others", self.used.others),
        ];
        if self.refused > 0 {
            figures.push(("refused", self.refused as f64));
        }
        figures
    }
}

/// In microseconds.
pub(crate) fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

async fn each_until(askers: &mut [Asker], until: Instant) -> Vec<Duration> {
    let each = askers.iter_mut().map(|asker| async move {
        let mut times = Vec::new();
        while Instant::now() < until {
            times.extend(asker.ask().await);
        }
        times
    });
    join_all(each).await.into_iter().flatten().collect()
}
