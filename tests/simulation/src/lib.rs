//! Two trackers in virtual time: the real store, on real files, and the real state machine of
//! synchronisation; everything between them is played by a scheduler with a seed.
//!
//! Goals: whatever is lost, cut, slowed, killed, wiped or turned back, what docs/REPLICATION.md promises
//! holds; and a failure names the seed that repeats it. With clients, if wanted: the real state machine of their
//! failover, over lines of their own. Not here: sockets, TLS, processes; those are in the black-box tests.
//!
//! A run is a [`Plan`]: how often what happens, and what is certain to happen. [`faults`] has one for each
//! fault of the list, and one at random.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test harness: a panic is a finding")]

mod check;
mod clients;
pub mod faults;
mod node;
mod op;
mod report;
mod wire;
mod world;

pub use faults::{Fault, Plan};
pub use report::Report;
pub use wire::Quality;
pub use world::{run, run_with_clients};
