//! The messages, one file per conversation: [`client`] with a tracker, [`peer`] with peer.
//!
//! The order of variants and fields is the format: append only, and every variant has golden bytes
//! in the tests. Nothing here knows sockets or bincode.

pub mod client;
pub mod limits;
pub mod peer;
pub mod refusal;
pub mod sync;

#[cfg(test)]
mod golden;
#[cfg(test)]
mod round_trip;
