//! The sibling: keeping both trackers' databases the same, and saying when they are.
//!
//! [`machine`] decides, without I/O; [`link`] gives it a socket, a database and the time. Everything else asks
//! [`Replica`]: whether commands may be served, when one is on both disks, what a client has seen. See
//! docs/REPLICATION.md.

mod batch_sizer;
pub mod link;
pub mod machine;
mod mode_hysteresis;
mod notification_queue;
mod operator_log;

use std::sync::Arc;
use std::time::Duration;

use common::id::OriginId;
use common::ticket::UnixSeconds;
use common::wire::client::Mode;
use common::wire::limits::List;
use common::wire::sync::{NameKind, VersionVector, VoteStage};
use tokio::sync::watch;

use crate::store::{Store, StoreError, Versions};
pub use machine::{Alarms, View};
pub(crate) use operator_log::clocks_apart;

/// How long a call waits until this tracker has what its client has seen elsewhere.
pub const CATCH_UP: Duration = Duration::from_secs(2);
/// Nobody waits longer than this for the sibling, whatever happens to the link's task.
const AT_MOST: Duration = Duration::from_millis(1500);

/// What the rest of the tracker knows of the sibling. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Replica {
    view: watch::Receiver<View>,
    store: Store,
    /// Kept so that the view of a tracker without a sibling stays readable.
    _alone: Option<Arc<watch::Sender<View>>>,
}

impl Replica {
    /// Of a tracker that has no sibling.
    pub fn alone(store: Store) -> Self {
        let (say, view) = watch::channel(View::alone(std::time::Instant::now()));
        Self { view, store, _alone: Some(Arc::new(say)) }
    }

    fn linked(view: watch::Receiver<View>, store: Store) -> Self {
        Self { view, store, _alone: None }
    }

    /// How things are.
    pub fn view(&self) -> View {
        self.view.borrow().clone()
    }

    /// The later of what the two trackers' clocks say, as far as the sibling's is known, if this one's says `now`: by
    /// then at the latest, tickets that either has issued so far are dated.
    pub fn latest_clock(&self, now: UnixSeconds) -> UnixSeconds {
        let ahead = self.view.borrow().alarms.clock_ahead_s.unwrap_or_default();
        now.saturating_add(u64::try_from(ahead).unwrap_or_default())
    }

    /// Whether there is to be a sibling.
    pub const fn has_sibling(&self) -> bool {
        self._alone.is_none()
    }

    /// Whether what is unknown here is unknown to the sibling, too, but for what happens now.
    pub fn knows_all(&self) -> bool {
        self.view.borrow().level
    }

    /// Returns when everything that was decided here so far is on both disks, or when the sibling is
    /// away: says which. At most [`machine::PATIENCE`] and a little.
    pub async fn settled(&self) -> Mode {
        let own = self.store.versions().get(&self.store.origin()).copied().unwrap_or_default();
        let mut view = self.view.clone();
        let settled = view.wait_for(|v| v.acked >= own || v.mode == Mode::Solo);
        match tokio::time::timeout(AT_MOST, settled).await {
            Ok(Ok(v)) if v.acked >= own && v.linked => Mode::Dual,
            _ => Mode::Solo,
        }
    }

    /// What a client has seen that is not here, if commands have to wait for anything.
    pub fn lacks(&self, seen: &VersionVector) -> Option<Vec<(OriginId, u64)>> {
        let have = self.store.versions();
        let lacking: Vec<_> = seen.0.iter().filter(|(o, seq)| have.get(o).is_none_or(|h| h < seq)).copied().collect();
        if self.view.borrow().open && lacking.is_empty() { None } else { Some(lacking) }
    }

    /// Returns when this tracker serves and has what it was `lacking`, or false after [`CATCH_UP`].
    pub async fn catches_up(&self, lacking: &[(OriginId, u64)]) -> bool {
        let covers = |have: &Versions| lacking.iter().all(|(o, seq)| have.get(o).is_some_and(|h| h >= seq));
        let (mut view, mut versions) = (self.view.clone(), self.store.watch());
        let waited =
            async { view.wait_for(|v| v.open).await.is_ok() && versions.wait_for(|have| covers(have)).await.is_ok() };
        tokio::time::timeout(CATCH_UP, waited).await.unwrap_or(false)
    }

    /// Whether a name that was just claimed is its owner's for good. Waits for the sibling's vote while
    /// commands do.
    pub async fn name_is_confirmed(&self, kind: NameKind, name: &str) -> bool {
        let mut view = self.view.clone();
        let confirmed = async {
            loop {
                let seen = view.borrow_and_update().votes;
                let name = name.to_ascii_lowercase();
                let stage = self.store.read::<_, StoreError, _>(move |s| Ok(s.vote_stage(kind, &name))).await;
                match stage {
                    Ok(Some(VoteStage::Confirmed)) => return true,
                    Ok(_) if view.borrow().mode == Mode::Dual => {}
                    _ => return false,
                }
                if view.wait_for(|v| v.votes != seen || v.mode == Mode::Solo).await.is_err() {
                    return false;
                }
            }
        };
        !self.has_sibling() || tokio::time::timeout(AT_MOST, confirmed).await.unwrap_or(false)
    }

    /// What a client has seen who reads an answer now that is given in `mode`: this run, and what is here of the
    /// sibling's. In dual that is what is on both disks, so that the sibling can go on with this client at once;
    /// it is enough, because answers wait until what they show is settled ([`Self::settled`]).
    pub fn seen(&self, mode: Mode) -> VersionVector {
        shown(&self.view(), &self.store.versions(), self.store.origin(), mode)
    }
}

/// Whether a tracker that has `have` has everything that a client has `seen`.
pub fn covers(have: &Versions, seen: &VersionVector) -> bool {
    seen.0.iter().all(|(origin, seq)| have.get(origin).is_some_and(|have| have >= seq))
}

/// What an answer in `mode` shows, of a tracker that has `versions` in run `own`; see [`Replica::seen`].
pub fn shown(view: &View, versions: &Versions, own: OriginId, mode: Mode) -> VersionVector {
    let both = mode == Mode::Dual && view.mode == Mode::Dual;
    let shown = |origin: OriginId, seq: u64| if both && origin == own { seq.min(view.acked) } else { seq };
    let of = |origin: OriginId| versions.get(&origin).map(|seq| (origin, shown(origin, *seq)));
    VersionVector(List::first_of([Some(own), view.sibling].into_iter().flatten().filter_map(of)))
}

#[cfg(test)]
mod tests;
