//! Looking after the shares: brought back after a login, looked at every few seconds, withdrawn when
//! their file is not what it was, ended with the login or the membership they stand on. What the trackers say to them is in
//! [`announce`](super::announce).

use std::io;
use std::time::Duration;

use common::id::{GroupId, GroupName, UserId};
use common::task::TaskGroup;
use common::wire::client::Push;
use tokio::sync::{broadcast, mpsc};

use super::announce::Retry;
use super::notice::{Notice, Withdrawal};
use super::offer::{Key, Offer};
use super::publish::{blocking, is_still};
use super::{Share, Shares, key_of};
use crate::transfer::stamp::Stamp;

/// How often the metadata of shared files is compared.
const LOOK: Duration = Duration::from_secs(5);

impl Shares {
    /// Brings back the shares of the user who is logged in: those whose file is unchanged are offered
    /// and announced; one that looks changed is read again, and withdrawn if it is.
    pub async fn restore(&self) {
        let Ok(user) = self.user() else { return };
        let _one = self.0.rechecking.lock().await;
        let shares: Vec<Share> = self.registry(|r| r.shares().iter().filter(|s| s.user == user).cloned().collect());
        self.bring_back_all(shares).await;
    }

    /// The share with its present stamp, if its file is what was shared; otherwise it is withdrawn.
    pub(super) async fn checked(&self, share: Share) -> Option<Share> {
        let shares = self.clone();
        let looked = blocking({
            let share = share.clone();
            move || Ok(shares.look(share))
        });
        match looked.await {
            Ok(Ok(share)) => Some(share),
            Ok(Err(reason)) => {
                self.0.host.offers.end(key_of(&share));
                self.withdraw(&share, reason).await;
                None
            }
            Err(error) => {
                tracing::warn!(%error, name = %share.name, "a share could not be checked");
                None
            }
        }
    }

    /// Blocks on the disk.
    fn look(&self, share: Share) -> Result<Share, Withdrawal> {
        let unreadable = |e: io::Error| Withdrawal::Unreadable(e.to_string());
        let stamp = Stamp::of(&std::fs::metadata(&share.path).map_err(unreadable)?);
        if stamp == share.stamp {
            return Ok(share);
        }
        // Suspended while it is read: nobody gets a byte that might be wrong.
        self.0.host.offers.end(key_of(&share));
        let manifest = self.0.manifests.load(share.file_id, share.layout).ok_or(Withdrawal::Modified)?;
        let stamp = is_still(&share.path, &manifest).map_err(unreadable)?.ok_or(Withdrawal::Modified)?;
        let share = Share { stamp, ..share };
        if let Err(error) = self.registry(|r| r.put(share.clone())) {
            tracing::warn!(%error, "a share's new state could not be saved");
        }
        Ok(share)
    }

    /// Forgets a share and says so; the tracker is told as well as possible.
    pub(super) async fn withdraw(&self, share: &Share, reason: Withdrawal) {
        if let Err(error) = self.forget(|s| s.same_place(share) || (key_of(s) == key_of(share) && s.path == share.path))
        {
            tracing::warn!(%error, "a withdrawn share could not be forgotten");
        }
        self.notify(share, reason);
        if let Err(error) = self.tell_withdrawn(&share.group, key_of(share)).await {
            tracing::debug!(%error, "the tracker could not be told of a withdrawn share");
        }
    }

    /// The group that the user knows as `name`, if this device shares anything there; to be asked before the group is
    /// left.
    pub fn group_known_as(&self, name: &GroupName) -> Option<GroupId> {
        let user = self.user().ok()?;
        let means = |s: &&Share| s.user == user && self.0.names.means(name, s.group_id, &s.group);
        self.registry(|r| r.shares().iter().find(means).map(|s| s.group_id))
    }

    /// The user has left `group`: what was shared there is forgotten, and said so. Returns how many shares that were.
    pub async fn leave(&self, group: GroupId) -> usize {
        let shares = self.clone();
        let user = self.user().ok();
        let gone =
            blocking(move || shares.forget(|s| s.group_id == group && Some(s.user) == user)).await.unwrap_or_default();
        for share in &gone {
            self.0.host.offers.end(key_of(share));
            self.notify(share, Withdrawal::Left);
        }
        gone.len()
    }

    fn notify(&self, share: &Share, reason: Withdrawal) {
        let group = self.0.names.present(share.group_id, &share.group);
        self.tell(Notice { group, name: share.name.clone(), path: share.path.clone(), reason });
    }

    pub(super) fn spawn_rechecks(&self, tasks: &TaskGroup, troubles: mpsc::Receiver<Key>) {
        tasks.spawn("share-recheck", self.clone().look_after(troubles));
        tasks.spawn("share-news", self.clone().follow_pushes(self.0.directory.pushes()));
        tasks.spawn("share-session", self.clone().follow_session());
    }

    /// Looks at every offered file now and then, and at once at one that could not be read.
    async fn look_after(self, mut troubles: mpsc::Receiver<Key>) {
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut retry = Retry::new();
        loop {
            tokio::select! {
                _ = look.tick() => {
                    self.recheck(None).await;
                    self.ask_again(&mut retry).await;
                }
                Some(key) = troubles.recv() => self.recheck(Some(key)).await,
            }
        }
    }

    /// Compares the metadata of what is offered (or of `only`), and reads again what looks changed.
    async fn recheck(&self, only: Option<Key>) {
        let Ok(user) = self.user() else { return };
        let _one = self.0.rechecking.lock().await;
        let offered = |s: &&Share| {
            s.user == user && only.is_none_or(|k| k == key_of(s)) && self.0.host.offers.get(key_of(s)).is_some()
        };
        let shares: Vec<Share> = self.registry(|r| r.shares().iter().filter(offered).cloned().collect());
        if shares.is_empty() {
            return;
        }
        let suspects = blocking(move || Ok(shares.into_iter().filter(looks_changed).collect::<Vec<_>>()));
        for share in suspects.await.unwrap_or_default() {
            tracing::info!(name = %share.name, "a shared file looks changed");
            if let Some(share) = self.checked(share).await {
                self.0.host.offers.put(Offer::complete(key_of(&share), share.layout, share.path, share.stamp));
            }
        }
    }

    async fn follow_pushes(self, mut pushes: broadcast::Receiver<Push>) {
        loop {
            match pushes.recv().await {
                Ok(Push::Removed { group, membership }) => self.removed(group, membership).await,
                Ok(Push::Accepted { group }) => self.accepted(&group).await,
                Ok(Push::GroupRenamed { now, .. }) => self.renamed(now).await,
                Ok(_) => {}
                Err(broadcast::error::RecvError::Lagged(n)) => {
                    tracing::warn!(n, "news from the tracker were missed");
                    // One may have been a removal: each share is announced again.
                    self.restore().await;
                }
                Err(broadcast::error::RecvError::Closed) => return,
            }
        }
    }

    async fn renamed(&self, now: GroupName) {
        let names = self.0.names.clone();
        if let Err(error) = blocking(move || names.renamed(now)).await {
            tracing::warn!(%error, "the new name of a group could not be saved");
        }
    }

    /// What is offered belongs to who is logged in: a logout or another login ends it.
    async fn follow_session(self) {
        let mut session = self.0.directory.session();
        let mut user: Option<UserId> = None;
        loop {
            let now = session.borrow_and_update().as_ref().map(|s| s.user_id);
            if user.is_some() && now != user {
                self.0.host.offers.end_all();
            }
            user = now;
            if session.changed().await.is_err() {
                return;
            }
        }
    }
}

fn looks_changed(share: &Share) -> bool {
    std::fs::metadata(&share.path).map_or(true, |m| Stamp::of(&m) != share.stamp)
}
