//! Hints to members that something was shared: one for all that is shared in a group within a moment, so that somebody who
//! shares ten thousand files costs the others little, and the tracker one look at who is a member each time.
//!
//! A hint that is lost loses nothing: whoever looks, finds.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use common::id::GroupId;
use common::wire::client::Push;
use tokio::sync::Notify;

use super::Services;
use crate::store::{State, StoreError};

/// What is shared within this time is one hint.
const MOMENT: Duration = Duration::from_secs(1);
/// Groups that wait to be told; members of others find out by looking.
const MAX_GROUPS: usize = 4096;

/// Groups in which something was shared just now.
#[derive(Debug, Default)]
pub(crate) struct NewFiles {
    groups: Mutex<BTreeSet<GroupId>>,
    noted: Notify,
}

impl NewFiles {
    /// Something was shared there.
    pub(super) fn note(&self, group: GroupId) {
        let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        if groups.len() < MAX_GROUPS && groups.insert(group) {
            self.noted.notify_one();
        }
    }

    /// Tells the members of all of them.
    pub(super) async fn tell_now(&self, services: &Services) {
        let groups = std::mem::take(&mut *self.groups.lock().unwrap_or_else(PoisonError::into_inner));
        for group_id in groups {
            let members = move |state: &State| Ok::<_, StoreError>(state.members(group_id));
            match services.store.read(members).await {
                Ok(members) => {
                    services.hub.push(&members, None, &Push::news_hint(group_id));
                }
                Err(e) => tracing::warn!("members were not told of new files: {e}"),
            }
        }
    }
}

/// Tells for as long as the tracker runs.
pub(crate) async fn tell_new_files(services: Arc<Services>) {
    loop {
        services.new_files.noted.notified().await;
        tokio::time::sleep(MOMENT).await;
        services.new_files.tell_now(&services).await;
    }
}
