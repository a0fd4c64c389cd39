//! How the trackers are. Needs no login.

use common::wire::client::{Response, TrackerStatus};

use super::{Call, Effect};

pub(super) fn run(call: &Call) -> Effect {
    let Call { services, .. } = call;
    Effect::plain(Response::Status(TrackerStatus { tracker_no: services.tracker_no, mode: services.mode() }))
}
