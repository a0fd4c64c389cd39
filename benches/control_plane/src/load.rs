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
    used: Used,
}

impl Load {
    /// Has `askers` ask for `time`, and measures the processes `pids` meanwhile.
    pub(crate) async fn run(askers: &mut [Asker], time: Duration, pids: &[u32]) -> Self {
        each_until(askers, Instant::now() + time.mul_f64(WARM_UP)).await;
        let meter = Meter::start(pids);
        let mut times = each_until(askers, Instant::now() + time).await;
        let used = meter.stop();
        times.sort_unstable();
        Self { times, used }
    }

    pub(crate) fn per_second(&self) -> f64 {
        self.times.len() as f64 / self.used.wall.as_secs_f64()
    }

    /// The time within which this part of the answers came.
    pub(crate) fn within(&self, part: f64) -> Duration {
        self.times[((self.times.len() - 1) as f64 * part) as usize]
    }

    /// Processor time of the trackers for one answer.
    pub(crate) fn cpu(&self) -> Duration {
        self.used.cpu.div_f64(self.times.len() as f64)
    }

    /// The usual figures.
    pub(crate) fn figures(&self) -> Vec<(&'static str, f64)> {
        vec![
            ("per_second", self.per_second()),
            ("cpu_us", micros(self.cpu())),
            ("p50_us", micros(self.within(0.5))),
            ("p99_us", micros(self.within(0.99))),
            ("others", self.used.others),
        ]
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
            times.push(asker.ask().await);
        }
        times
    });
    join_all(each).await.into_iter().flatten().collect()
}
