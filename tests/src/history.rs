//! Clients that keep asking while trackers are killed, and what they were told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::{Client, Cluster, Live};

/// What became of each group that was to be made.
#[derive(Debug, Default)]
pub struct History {
    /// Acknowledged.
    pub done: BTreeSet<String>,
    /// Refused or given up: it may be there, or not.
    pub unknown: BTreeMap<String, String>,
    /// The longest that a command took.
    pub slowest: Duration,
}

/// A client that makes one group after the other until it is stopped.
#[derive(Debug)]
pub struct Asker {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<History>,
}

impl Asker {
    /// Begins, with names that start with `prefix`.
    pub fn start(mut live: Live, prefix: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, prefix) = (Arc::clone(&stop), prefix.to_owned());
        let thread = std::thread::spawn(move || {
            let mut history = History::default();
            for n in 0.. {
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                let group = format!("{prefix}-{n}");
                let began = Instant::now();
                let answer = live.run(&format!("create_group {group}"));
                history.slowest = history.slowest.max(began.elapsed());
                if answer["ok"] == true {
                    history.done.insert(group);
                } else {
                    history.unknown.insert(group, answer["error"]["code"].to_string());
                }
            }
            live.stop();
            history
        });
        Self { stop, thread }
    }

    /// Ends it; what it was told.
    ///
    /// # Panics
    /// When its client failed.
    #[expect(clippy::expect_used, reason = "a test harness")]
    pub fn finish(self) -> History {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("a client that answers")
    }
}

/// The groups that tracker `number` lists, as often as it lists them.
///
/// # Panics
/// When it does not answer.
#[expect(clippy::expect_used, reason = "a test harness")]
pub fn groups_at(cluster: &Cluster, client: &Client, number: usize) -> Vec<String> {
    let list = cluster.dir().join(format!("only-{number}.txt"));
    std::fs::write(&list, format!("{}\n", cluster.addresses[number - 1])).expect("a list");
    let answer = client.with_info(&list).ok(&["list_groups"]);
    let rows = answer["groups"].as_array().cloned().unwrap_or_default();
    rows.iter().filter_map(|row| row["group"].as_str().map(str::to_owned)).collect()
}

/// Waits until both trackers are there and have the same, and says `dual`.
///
/// # Panics
/// When that does not come to pass.
pub fn until_dual(client: &Client, patience: Duration) -> Value {
    let until = Instant::now() + patience;
    loop {
        let status = client.run(&["status"]);
        if status.data()["mode"] == "dual" || Instant::now() > until {
            assert_eq!(status.data()["mode"], "dual", "{status:#?}");
            return status.data().clone();
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}
