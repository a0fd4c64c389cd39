//! How the trackers are. Needs no login.

use common::wire::client::{ClusterStatus, Response, TrackerStatus};

use super::{Call, Effect};

pub(super) fn run(call: &Call) -> Effect {
    Effect::plain(Response::Status(this(call)))
}

pub(super) fn cluster(call: &Call) -> Effect {
    let replica = &call.services.replica;
    let view = replica.view();
    let other = replica.has_sibling().then(|| 3u16.saturating_sub(call.services.tracker_no));
    Effect::plain(Response::Cluster(ClusterStatus { this: this(call), other, linked: view.linked, lag: view.lag }))
}

fn this(call: &Call) -> TrackerStatus {
    TrackerStatus { tracker_no: call.services.tracker_no, mode: call.services.mode() }
}
