//! What this device does for the doctors of others: it dials whom a tracker names, and says what came of it.

use std::sync::Arc;

use common::task::TaskGroup;
use common::wire::client::Request;
use tokio::sync::{Semaphore, broadcast};

use crate::engine::Engine;
use crate::trackers::Probe;

/// Others that are dialled at a time; who asks beyond is not answered.
const AT_ONCE: usize = 4;

/// Answers for as long as there are trackers.
pub(in crate::engine) async fn answer(engine: Arc<Engine>, mut probes: broadcast::Receiver<Probe>, tasks: TaskGroup) {
    let places = Arc::new(Semaphore::new(AT_ONCE));
    loop {
        let Probe { tracker, id, device, address } = match probes.recv().await {
            Ok(probe) => probe,
            Err(broadcast::error::RecvError::Lagged(_)) => continue,
            Err(broadcast::error::RecvError::Closed) => return,
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else { continue };
        let asked = Arc::clone(&engine);
        tasks.spawn("knock", async move {
            let outcome = asked.downloads.knock(address, device).await;
            asked.trackers.say(tracker, Request::ProbeResult { id, outcome }).await;
            drop(place);
        });
    }
}
