//! What the black-box tests and the demonstration stand on: real binaries, real files, real
//! sockets, real kills. Nothing in here knows how the programs work inside; only what
//! they print and how they exit.
//!
//! Readiness is read from what a process prints, never slept for.

mod binaries;
mod client;
mod cluster;
mod crowd;
mod history;
mod interrupted;
mod page;
mod process;
mod resumed;
mod terminal;
mod tls;

pub use binaries::{binary, failing_tracker};
pub use client::{Client, Live, Script};
pub use cluster::{Cluster, Tracker, free_addresses, random_file};
pub use crowd::Crowd;
pub use history::{Asker, History, Verdict, groups_at, until_dual, until_level};
pub use interrupted::{Interrupted, Kind, folder_digest, random_folder};
pub use page::{Answer, Page};
pub use process::{Output, PATIENCE, Process};
pub use resumed::Resumed;
pub use terminal::Terminal;
