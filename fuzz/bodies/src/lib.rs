//! What is fuzzed: for each target one pure function that takes any bytes and panics when a promise
//! of ours is broken, and the seeds to start from.
//!
//! cargo-fuzz calls the functions through `fuzz_targets/`; on stable Rust the tests of this package
//! run them on the seeds, on all regressions and on many mutations. Nothing here reads the clock,
//! random numbers or files: the same bytes do the same thing.
#![allow(clippy::expect_used, clippy::panic, reason = "a broken promise is reported by panicking")]

use std::fmt::Debug;

use common::codec;
use common::escape::is_invisible;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub mod control;
pub mod conversation;
pub mod frames;
pub mod golden;
pub mod input;
pub mod invitations;
pub mod journal;
pub mod links;
pub mod manifests;
pub mod names;
pub mod peer;
pub mod pieces;
pub mod secrets;
pub mod statements;
pub mod sync;
pub mod tracker_info;
pub mod trees;
pub mod trickle;

/// One thing to fuzz.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name: of the file in `fuzz_targets/`, and of the directories with corpus and regressions.
    pub name: &'static str,
    /// Does it.
    pub run: fn(&[u8]),
    /// Inputs that reach far already.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// Lists modules that have a `run` and a `seeds`.
macro_rules! targets {
    ($($name:ident)*) => {
        &[$(Target { name: stringify!($name), run: $name::run, seeds: $name::seeds }),*]
    };
}

/// All targets.
pub const TARGETS: &[Target] = targets![
    frames conversation control peer sync statements pieces manifests trees journal tracker_info names links invitations
    secrets
];

/// Whatever decodes is all of the bytes, can be encoded in no more, and is the same when decoded again.
pub(crate) fn stable<M>(bytes: &[u8], limit: usize) -> Option<M>
where
    M: Serialize + DeserializeOwned + PartialEq + Debug,
{
    let message: M = codec::decode(bytes, limit).ok()?;
    let longer = [bytes, &[0]].concat();
    assert!(codec::decode::<M>(&longer, limit).is_err(), "{message:?} may be followed by anything");
    let again = codec::encode(&message, limit).expect("what was received can be sent");
    assert!(again.len() <= bytes.len(), "{message:?} has grown from {} to {} bytes", bytes.len(), again.len());
    assert_eq!(codec::decode::<M>(&again, limit).expect("what was sent can be received"), message);
    Some(message)
}

/// Nothing in `shown` steers a terminal or hides in it.
pub(crate) fn harmless(shown: &str) {
    assert!(!shown.contains(is_invisible), "{shown:?} is shown as it is");
}
