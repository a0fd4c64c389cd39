//! Shoal's client: shares files with the members of its groups, and downloads theirs.
//!
//! `main -> repl -> app -> {trackers, share, download}`: dependencies point one way.

pub mod app;
pub mod config;
pub mod download;
pub mod error;
mod private_file;
pub mod repl;
pub mod share;
pub mod trackers;
pub mod transfer;
mod units;
