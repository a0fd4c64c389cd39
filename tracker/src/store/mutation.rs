//! What work on the tables changes in the state: kept until it is on disk, and then applied in memory.

use common::id::SessionId;

use crate::fact::{Fact, ManifestId, Stamp};
#[cfg(test)]
use crate::state::ManifestHead;
use crate::state::State;

/// One change.
#[derive(Debug)]
pub(super) enum Mutation {
    /// A fact was joined.
    Joined(Stamp, Fact),
    /// What was stated of the thing that this is about was taken away.
    Forgotten(Fact),
    /// A login went that nobody can refer to any more.
    SessionForgotten(SessionId),
    /// A manifest is here.
    #[cfg(test)]
    ManifestAdded(ManifestId, ManifestHead),
    /// A manifest is not here any more.
    ManifestRemoved(ManifestId),
}

/// Changes in their order.
pub(super) type Mutations = Vec<Mutation>;

/// Applies changes that are on disk.
pub(super) fn apply(state: &mut State, mutations: Mutations) {
    for mutation in mutations {
        match mutation {
            Mutation::Joined(stamp, fact) => drop(state.join(stamp, &fact)),
            Mutation::Forgotten(fact) => state.forget(&fact),
            Mutation::SessionForgotten(session) => state.forget_session(session),
            #[cfg(test)]
            Mutation::ManifestAdded(id, head) => drop(state.add_manifest(id, head)),
            Mutation::ManifestRemoved(id) => state.remove_manifest(id),
        }
    }
}
