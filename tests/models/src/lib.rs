//! Models of the two trackers' replication, checked exhaustively within bounds, with messages in
//! flight. Each file states the rule as small pure functions, then the world around it, then what
//! must hold, then mutants of the rule that must not.
//!
//! Nothing here is linked into a program; `tests/` runs the searches.

pub mod link;
pub mod membership;
pub mod names;

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::hash::Hash;
use std::time::Instant;

use stateright::{Checker, HasDiscoveries, Model};

/// Searches every state, asserts every property, and returns how many states there are.
pub fn verify<M>(what: &str, model: M) -> usize
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + Debug + Hash + PartialEq + Send + Sync + 'static,
    M::Action: Clone + Debug + PartialEq,
{
    let start = Instant::now();
    let checker = model.checker().threads(THREADS).spawn_bfs().join();
    checker.assert_properties();
    say(what, &checker, start);
    checker.unique_state_count()
}

/// Searches, shortest histories first, for one that breaks `property`, and returns it.
///
/// # Panics
/// If there is none.
pub fn refute<M>(what: &str, model: M, property: &'static str) -> Vec<M::Action>
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + Debug + Hash + PartialEq + Send + Sync + 'static,
    M::Action: Clone + Debug + PartialEq,
{
    let start = Instant::now();
    let found = HasDiscoveries::AnyOf(BTreeSet::from([property]));
    let checker = model.checker().finish_when(found).spawn_bfs().join();
    let history = checker.assert_any_discovery(property).into_actions();
    say(what, &checker, start);
    say_history(property, &history);
    history
}

/// Searches share the machine with each other.
const THREADS: usize = 2;

#[expect(clippy::print_stdout, reason = "what a search covered is its result")]
fn say<M: Model>(what: &str, checker: &impl Checker<M>, start: Instant) {
    let (states, depth, time) = (checker.unique_state_count(), checker.max_depth(), start.elapsed());
    println!("{what}: {states} states, {} steps, depth {depth}, {time:.1?}", checker.state_count());
}

#[expect(clippy::print_stdout, reason = "a counterexample is there to be read")]
fn say_history(property: &str, history: &[impl Debug]) {
    println!("  breaks \"{property}\" after {} steps:", history.len());
    for action in history {
        println!("    {action:?}");
    }
}
