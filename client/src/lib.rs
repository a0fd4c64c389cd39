//! Shoal's client: shares files with the members of its groups, and downloads theirs.
//!
//! `main -> start -> {faces, engine}`, `faces -> engine -> {trackers, share, download}`: dependencies point one way.

pub mod config;
pub mod download;
pub mod engine;
pub mod error;
pub mod faces;
mod generate;
mod invited;
pub mod link;
mod own_files;
mod places;
mod private_file;
pub mod settings;
pub mod share;
pub mod start;
pub mod trackers;
pub mod transfer;
mod units;
