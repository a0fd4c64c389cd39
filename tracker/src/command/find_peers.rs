//! Who seeds a file right now, and where, for members. The caller's own device is not among them.

use std::sync::Arc;

use common::id::{FileId, GroupId, GroupName};
use common::wire::client::{PeerRow, Response};
use common::wire::limits::{List, MAX_ROWS};
use rand::seq::SliceRandom;

use super::{Call, Effect, Outcome, as_member, now};
use crate::presence::Presence;
use crate::rules::Login;
use crate::store::{Seeder, State};

pub(super) async fn run(call: &Call, me: &Login, name: GroupName, file: FileId) -> Outcome {
    let services = Arc::clone(&call.services);
    let query = move |state: &State, me: &Login| {
        let (group, _) = as_member(state, me, &name)?;
        Ok(seeders(state, &services.presence, me, group, file))
    };
    Ok(Effect::plain(Response::Peers(some_of(call.read(me, query).await?))))
}

/// The devices that seed `file` in `group` and are here, but for the one of `me`. Nobody seeds what is not shared any more, such
/// as a version that was replaced.
pub(super) fn seeders(state: &State, presence: &Presence, me: &Login, group: GroupId, file: FileId) -> Vec<PeerRow> {
    if !state.is_shared(group, file) {
        return Vec::new();
    }
    let here = presence.here(now());
    let here = |s: Seeder| {
        let address = here.address(s.device, s.user)?;
        (s.device != me.device).then_some(PeerRow { device: s.device, user: s.name, address })
    };
    state.seeders(group, file).into_iter().filter_map(here).collect()
}

/// If there are more than fit, not the same ones for everybody.
pub(super) fn some_of(mut peers: Vec<PeerRow>) -> List<PeerRow, MAX_ROWS> {
    peers.shuffle(&mut rand::rng());
    List::first_of(peers)
}

#[cfg(test)]
mod tests {
    use crate::command::tests::Fixture;

    #[tokio::test]
    async fn only_members_devices_that_are_here_and_not_ones_own() {
        let f = Fixture::new().await;
        let (a, b, c) = (f.user("alice").await, f.user("bob").await, f.user("carol").await);
        a.create_group("lab").await.expect("created");
        for other in [&b, &c] {
            f.admit(&a, other, "lab").await;
        }
        let id = a.upload("lab", "f", b"content").await.expect("uploaded");
        for d in [&b, &c] {
            d.start_seeding("lab", id).await.expect("seeding");
        }
        a.announce(1).await.expect("announced");
        b.announce(1).await.expect("announced");
        assert_eq!(c.peers("lab", id).await, ["alice", "bob"]);
        assert_eq!(a.peers("lab", id).await, ["bob"]);
        a.remove("lab", "bob").await.expect("removed");
        assert_eq!(c.peers("lab", id).await, ["alice"]);
        f.admit(&a, &b, "lab").await;
        assert_eq!(c.peers("lab", id).await, ["alice"], "what stood on the old membership is gone with it");
        a.logout().await.expect("logged out");
        assert!(c.peers("lab", id).await.is_empty());
    }
}
