//! Clients that keep asking while trackers are killed, and what they were told.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::{Client, Cluster, Live};

/// Groups that one account makes, before the next one goes on: a tracker lets an account run only so many.
const GROUPS_EACH: usize = 200;
/// Between attempts to log in.
const PAUSE: Duration = Duration::from_millis(100);

/// What became of each group that was to be made.
#[derive(Debug, Default)]
pub struct History {
    /// Whose: what its names start with.
    pub of: String,
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
    /// Begins, with names that start with `prefix`, and rests for `pause` after each group.
    pub fn start(mut live: Live, prefix: &str, pause: Duration) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, prefix) = (Arc::clone(&stop), prefix.to_owned());
        let thread = std::thread::spawn(move || {
            let mut history = History { of: prefix.clone(), ..History::default() };
            for n in 0.. {
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                if n > 0 && n % GROUPS_EACH == 0 && !log_in(&mut live, &format!("{prefix}.{n}"), &stopped) {
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
                std::thread::sleep(pause);
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

/// Makes an account and logs in to it, however long the trackers are away; false when it is stopped before.
fn log_in(live: &mut Live, name: &str, stopped: &AtomicBool) -> bool {
    while !stopped.load(Ordering::Relaxed) {
        // Each may have been done by an attempt whose answer was lost.
        live.run("logout");
        live.run(&format!("create_user {name} password-of-{name}"));
        if live.run(&format!("login {name} password-of-{name}"))["ok"] == true {
            return true;
        }
        std::thread::sleep(PAUSE);
    }
    false
}

/// The groups that tracker `number` lists, as often as it lists them.
///
/// # Panics
/// When it does not answer.
pub fn groups_at(cluster: &Cluster, client: &Client, number: usize) -> Vec<String> {
    let answer = client.with_info(&cluster.info_of(number)).ok(&["list_groups"]);
    let rows = answer["groups"].as_array().cloned().unwrap_or_default();
    rows.iter().filter_map(|row| row["group"].as_str().map(str::to_owned)).collect()
}

/// Waits until each tracker says of itself that the other has everything: only then may a disk be lost.
///
/// # Panics
/// When that does not come to pass.
pub fn until_level(cluster: &Cluster, client: &Client, patience: Duration) {
    for number in [1, 2] {
        until_dual(&client.with_info(&cluster.info_of(number)), patience);
    }
}

/// Waits until the tracker that `client` speaks to says `dual`: the other has everything that it has.
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

/// What both trackers list in the end, held against what clients were told.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Groups that each tracker lists.
    pub listed: [usize; 2],
    /// Acknowledged.
    pub acknowledged: usize,
    /// Acknowledged, and missing at one of the trackers.
    pub lost: usize,
    /// Listed more than once.
    pub twice: usize,
    /// Under another name than the one asked for.
    pub renamed: usize,
    /// Listed, and nobody asked for them.
    pub strange: usize,
    /// What the two do not list alike.
    pub different: usize,
    /// Commands that were not acknowledged, by what was said instead.
    pub refused: BTreeMap<String, usize>,
    /// Of those, the ones that had their effect all the same.
    pub refused_and_done: usize,
    /// The longest that a command of each client took.
    pub slowest: Vec<(String, Duration)>,
}

impl Verdict {
    /// Asks both trackers, which must have settled.
    ///
    /// # Panics
    /// When one does not answer.
    pub fn of(cluster: &Cluster, client: &Client, histories: &[History]) -> Self {
        let done: BTreeSet<&String> = histories.iter().flat_map(|h| &h.done).collect();
        let unknown: BTreeMap<&String, &String> = histories.iter().flat_map(|h| &h.unknown).collect();
        let seen = [1, 2].map(|number| groups_at(cluster, client, number));
        let sets = seen.each_ref().map(|groups| groups.iter().collect::<BTreeSet<_>>());
        let mut verdict = Self {
            listed: seen.each_ref().map(Vec::len),
            acknowledged: done.len(),
            different: sets[0].symmetric_difference(&sets[1]).count(),
            refused_and_done: unknown.keys().filter(|g| sets[0].contains(*g)).count(),
            slowest: histories.iter().map(|h| (h.of.clone(), h.slowest)).collect(),
            ..Self::default()
        };
        unknown.values().for_each(|code| *verdict.refused.entry((*code).clone()).or_default() += 1);
        for (groups, set) in seen.iter().zip(&sets) {
            verdict.lost += done.difference(set).count();
            verdict.twice += groups.len() - set.len();
            verdict.renamed += groups.iter().filter(|g| g.contains('~')).count();
            verdict.strange += set.iter().filter(|g| !done.contains(**g) && !unknown.contains_key(**g)).count();
        }
        verdict
    }

    /// Whether everything is as clients were told, at both.
    pub const fn holds(&self) -> bool {
        self.lost + self.twice + self.renamed + self.strange + self.different == 0
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slowest: Vec<_> = self.slowest.iter().map(|(of, t)| format!("{of} {:.2} s", t.as_secs_f64())).collect();
        write!(
            f,
            "{} acknowledged, {} lost, {} twice, {} renamed, {} nobody asked for; the trackers list {} and {}, {} differ; \
             not acknowledged {:?}, {} of them done; the slowest answers took: {}",
            self.acknowledged,
            self.lost,
            self.twice,
            self.renamed,
            self.strange,
            self.listed[0],
            self.listed[1],
            self.different,
            self.refused,
            self.refused_and_done,
            slowest.join(", ")
        )
    }
}
