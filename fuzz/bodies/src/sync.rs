//! Messages between the trackers: what decodes can be sent on unchanged. What the receiver makes of a
//! series of them is not looked at here.

use common::wire::limits::MAX_FRAME;
use common::wire::sync::SyncFrame;

use crate::{golden, stable};

/// One message.
pub fn run(data: &[u8]) {
    stable::<SyncFrame>(data, MAX_FRAME);
}

/// Every sample.
pub fn seeds() -> Vec<Vec<u8>> {
    golden::bytes("SyncFrame")
}
