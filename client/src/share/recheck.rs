//! Looking after the shares: brought back after a login, looked at every few seconds, [withheld](super::withheld) while
//! what is there is not what was shared, ended with the login or the membership they stand on. What the trackers say to them is in
//! [`announce`](super::announce).

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use common::id::{GroupId, GroupName, TreeId, UserId};
use common::pieces::Bitfield;
use common::task::TaskGroup;
use common::wire::client::Push;
use tokio::sync::{broadcast, mpsc};

use super::announce::Retry;
use super::folder::{Change, changes, lose, pieces_of};
use super::notice::{NAMED, Notice, Withdrawal};
use super::offer::{Key, open_regular};
use super::publish::{blocking, is_still};
use super::withheld::Withheld;
use super::{FolderShare, NamedFiles, Share, Shares, Stopped, key_of};
use crate::error::shown;
use crate::own_files;
use crate::transfer::beneath::Beneath;
use crate::transfer::stamp::Stamp;

/// How often the metadata of shared files is compared.
const LOOK: Duration = Duration::from_secs(5);
/// A folder is looked at, and a changed file read again, so seldom that it takes no more than one part in this many of the time.
const LOOK_SHARE: u32 = 100;
/// The same where something of it could not be read: who asks for that again and again costs no more.
const TROUBLE_SHARE: u32 = 10;

/// A share whose file is there, and the pieces of it that are what was shared.
pub(super) struct Sound {
    pub(super) share: Share,
    pub(super) have: Bitfield,
}

/// What a look has found where nothing can be given.
enum Bad {
    /// The share is kept.
    Withheld(Withheld),
    /// The share is forgotten, for this [secret](Withdrawal::Secret).
    Secret(String),
}

impl From<Withheld> for Bad {
    fn from(withheld: Withheld) -> Self {
        Self::Withheld(withheld)
    }
}

/// What is known of a folder, or of a changed file, from the looks at it.
#[derive(Debug, Default)]
pub(super) struct Looks {
    /// When it is to be looked at again.
    next: Option<Instant>,
    /// From when on it may be, if something of it cannot be read.
    after_trouble: Option<Instant>,
    /// The files that are no longer what was shared: the mark of each at the last look, and its path.
    changed: BTreeMap<usize, (u64, String)>,
}

impl Looks {
    /// It was looked at just now, which took so long.
    fn looked(&mut self, took: Duration) {
        let now = Instant::now();
        (self.next, self.after_trouble) = (Some(now + LOOK.max(took * LOOK_SHARE)), Some(now + took * TROUBLE_SHARE));
    }

    /// The paths of the files that have changed, in the order of the folder.
    pub(super) fn changed(&self) -> impl ExactSizeIterator<Item = &str> {
        self.changed.values().map(|(_, path)| path.as_str())
    }

    /// Of the files that have changed, only these still count as such.
    pub(super) fn keep_changed(&mut self, is_changed: impl Fn(usize) -> bool) {
        self.changed.retain(|index, _| is_changed(*index));
    }

    /// A file has been found to be another than what was shared, at this mark.
    pub(super) fn has_changed(&mut self, index: usize, mark: u64, path: &str) {
        self.changed.insert(index, (mark, path.to_owned()));
    }
}

/// By what looks are known: where it lies, and what it is; of a file the content stands for the tree.
pub(super) fn look_key(share: &Share) -> (TreeId, PathBuf) {
    let tree = share.folder.as_ref().map_or_else(|| TreeId::new(*share.file_id.as_bytes()), |folder| folder.tree);
    (tree, share.path.clone())
}

impl Shares {
    /// Brings back the shares of the user who is logged in: those whose file is unchanged are offered
    /// and announced; one that looks changed is read again, and withheld if it is.
    pub async fn restore(&self) {
        let Ok(user) = self.user() else { return };
        let _one = self.0.rechecking.lock().await;
        let shares: Vec<Share> = self.registry(|r| r.shares().iter().filter(|s| s.user == user).cloned().collect());
        self.bring_back_all(shares).await;
    }

    /// The share with its present stamp, if its file is what was shared; otherwise nothing of it is offered.
    pub(super) async fn checked(&self, share: Share) -> Option<Sound> {
        let shares = self.clone();
        let looked = blocking({
            let share = share.clone();
            move || Ok(shares.look(share))
        });
        let looked = looked.await;
        self.forget_looks_of_stopped(&share);
        match looked {
            Ok(Ok(sound)) => self.is_kept(&sound.share).then_some(sound),
            Ok(Err(Bad::Withheld(found))) => {
                self.withhold(&share, found).await;
                None
            }
            Ok(Err(Bad::Secret(which))) => {
                self.0.host.offers.end(key_of(&share));
                self.withdraw(&share, Withdrawal::Secret(which)).await;
                None
            }
            Err(error) => {
                tracing::warn!(%error, name = %share.name, "a share could not be checked");
                None
            }
        }
    }

    /// What a look has noted of a share that was stopped or replaced meanwhile goes with it.
    fn forget_looks_of_stopped(&self, share: &Share) {
        let key = look_key(share);
        if self.registry(|r| r.shares().iter().all(|s| look_key(s) != key)) {
            self.looks(|looks| looks.remove(&key));
        }
    }

    /// Whether a share was neither stopped nor replaced while it was read, and is the present user's.
    fn is_kept(&self, share: &Share) -> bool {
        let is = |s: &Share| s.is_same_share(share) && s.path == share.path;
        self.user().ok() == Some(share.user) && self.registry(|r| r.shares().iter().any(is))
    }

    /// Blocks on the disk.
    fn look(&self, share: Share) -> Result<Sound, Bad> {
        let (found, have) = match share.folder.clone() {
            Some(folder) => {
                let begun = Instant::now();
                let have = self.look_at_folder(&share, &folder);
                self.looks(|looks| looks.entry(look_key(&share)).or_default().looked(begun.elapsed()));
                (share.stamp, have?)
            }
            None => (self.look_at_file(&share)?, Bitfield::full(share.layout)),
        };
        if found == share.stamp && share.withheld.is_none() {
            return Ok(Sound { share, have });
        }
        let share = Share { stamp: found, withheld: None, ..share };
        if let Err(error) = self.registry(|r| r.note_look(&share)) {
            tracing::warn!(%error, "a share's new state could not be saved");
        }
        Ok(Sound { share, have })
    }

    /// Its stamp now, if it is what was shared. Blocks on the disk.
    fn look_at_file(&self, share: &Share) -> Result<Stamp, Bad> {
        let away = |e: io::Error| Withheld::Away(e.to_string());
        if let Some(which) = own_files::secret(&share.path) {
            return Err(Bad::Secret(format!("{}: {which}", shown(&share.path))));
        }
        // One that cannot be opened cannot be given, however it looks from outside.
        let stamp = Stamp::of(&open_regular(&share.path).and_then(|file| file.metadata()).map_err(away)?);
        if let Some(known) = share.withheld.as_ref().filter(|known| known.is_known_at(&stamp)) {
            return Err(known.clone().into());
        }
        if stamp == share.stamp {
            return Ok(stamp);
        }
        if share.withheld.is_none() {
            // Suspended while it is read: nobody gets a byte that might be wrong.
            self.0.host.offers.end(key_of(share));
        }
        let manifest = self.0.manifests.load(share.file_id, share.layout).ok_or_else(|| Withheld::file(stamp))?;
        let begun = Instant::now();
        let found = is_still(&share.path, &manifest);
        self.looks(|looks| match &found {
            Ok(Some(_)) => _ = looks.remove(&look_key(share)),
            _ => looks.entry(look_key(share)).or_default().looked(begun.elapsed()),
        });
        Ok(found.map_err(away)?.ok_or_else(|| Withheld::file(stamp))?)
    }

    /// The pieces of it that are what was shared, if there are any. Blocks on the disk. It is offered meanwhile: each read
    /// compares the marks.
    fn look_at_folder(&self, share: &Share, folder: &FolderShare) -> Result<Bitfield, Bad> {
        let root = Beneath::open(&share.path).map_err(|e| Withheld::Away(e.to_string()))?;
        let lost = || Withheld::folder(std::iter::empty());
        let trees = &self.0.trees;
        let tree = trees.load(folder.tree).ok_or_else(lost)?;
        let marks = trees.marks(folder.tree, &share.path).filter(|marks| marks.len() == tree.entries());
        let mut marks = marks.ok_or_else(lost)?;
        let here = tree.iter().zip(&marks).filter(|(_, mark)| **mark != 0).map(|(node, _)| node.path);
        if let Some(path) = own_files::secrets(here).first() {
            let path = shown(&share.path.join(path));
            return Err(Bad::Secret(format!("in it is {path}, which belongs to a client or a tracker")));
        }
        let known = self.looks(|looks| {
            let known = looks.entry(look_key(share)).or_default();
            known.changed.iter().map(|(index, (mark, _))| (*index, *mark)).collect::<BTreeMap<_, _>>()
        });
        let found = changes(&root, &tree, &marks, |index, mark| known.get(&index) == Some(&mark));
        let mut have = pieces_of(&tree, share.layout, |index| marks.get(index).is_some_and(|mark| *mark != 0));
        let mut changed = BTreeMap::new();
        let mut renewed = false;
        for Change { index, mark, same } in found {
            if same {
                marks[index] = mark;
                renewed = true;
            } else {
                lose(&tree, share.layout, index, &mut have);
                let path = tree.get(index).map_or_else(String::new, |node| node.path.to_owned());
                changed.insert(index, (mark, path));
            }
        }
        if renewed {
            if let Err(error) = trees.save_marks(folder.tree, &share.path, &marks) {
                tracing::warn!(%error, "a share's new state could not be saved");
            }
            if let Some(offer) = self.0.host.offers.get(key_of(share)) {
                offer.source().rest(true);
            }
        }
        let withheld = (!changed.is_empty() && have.ones() == 0).then(|| nothing_left(&marks, &changed));
        let fresh: Vec<_> = changed.iter().filter(|(index, _)| !known.contains_key(index)).collect();
        let fresh = NamedFiles::of(fresh.iter().map(|(_, (_, path))| path.as_str()), NAMED);
        self.looks(|looks| looks.entry(look_key(share)).or_default().changed = changed);
        if let Some(withheld) = withheld {
            return Err(withheld.into());
        }
        if fresh.count() > 0 {
            self.notify(share, Withdrawal::FilesModified(fresh));
        }
        Ok(have)
    }

    /// Whether a folder, or a changed file, is to be looked at now: as often as all are, or after `trouble` with it.
    pub(super) fn is_due(&self, share: &Share, trouble: bool) -> bool {
        let next = |looks: &Looks| if trouble { looks.after_trouble } else { looks.next };
        let next = self.looks(|looks| looks.get(&look_key(share)).and_then(next));
        next.is_none_or(|next| next <= Instant::now())
    }

    /// Whether nothing has become of a share since it was `seen`. Of two names of one file a look at one is a look at both.
    pub(super) fn is_as_before(&self, seen: &Share) -> bool {
        self.registry(|r| r.shares().contains(seen))
    }

    /// Forgets a share whose offer has ended, and says so; the tracker is told as well as possible.
    async fn withdraw(&self, share: &Share, reason: Withdrawal) {
        let gone = |s: &Share| key_of(s) == key_of(share) && (s.same_place(share) || s.path == share.path);
        let forgotten = self.forget(gone);
        if let Err(error) = &forgotten {
            tracing::warn!(%error, "a withdrawn share could not be forgotten");
        }
        self.notify(share, reason);
        self.after_offer_end(share, forgotten.is_ok()).await;
    }

    /// The group that the user knows as `name`, if this device shares anything there; to be asked before the group is
    /// left.
    pub fn group_known_as(&self, name: &GroupName) -> Option<GroupId> {
        let user = self.user().ok()?;
        let means = |s: &&Share| s.user == user && self.0.names.means(name, s.group_id, &s.group);
        self.registry(|r| r.shares().iter().find(means).map(|s| s.group_id))
    }

    /// The user has left `group`: what was shared there is forgotten, and said so. Returns what that was.
    pub async fn leave(&self, group: GroupId) -> Vec<Stopped> {
        let shares = self.clone();
        let user = self.user().ok();
        let gone =
            blocking(move || shares.forget(|s| s.group_id == group && Some(s.user) == user)).await.unwrap_or_default();
        for share in &gone {
            self.0.host.offers.end(key_of(share));
            self.notify(share, Withdrawal::Left);
        }
        gone.into_iter().map(|share| self.stopped(share)).collect()
    }

    pub(super) fn notify(&self, share: &Share, reason: Withdrawal) {
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
                    self.look_for_mended().await;
                    self.ask_again(&mut retry).await;
                }
                Some(key) = troubles.recv() => self.recheck(Some(key)).await,
                () = self.0.reannounce.notified() => self.reannounce_requested().await,
            }
        }
    }

    /// Compares the metadata of what is offered (or of `only`), and reads again what looks changed.
    pub(super) async fn recheck(&self, only: Option<Key>) {
        let Ok(user) = self.user() else { return };
        let _one = self.0.rechecking.lock().await;
        let offered = |s: &&Share| {
            let is_meant = s.user == user && s.withheld.is_none() && only.is_none_or(|k| k == key_of(s));
            is_meant && self.0.host.offers.get(key_of(s)).is_some()
        };
        let shares: Vec<Share> = self.registry(|r| r.shares().iter().filter(offered).cloned().collect());
        if shares.is_empty() {
            return;
        }
        let (folders, files): (Vec<_>, Vec<_>) = shares.into_iter().partition(|share| share.folder.is_some());
        let suspects = blocking(move || Ok(files.into_iter().filter(looks_changed).collect::<Vec<_>>()));
        for share in suspects.await.unwrap_or_default() {
            if !self.is_as_before(&share) {
                continue;
            }
            tracing::info!(name = %share.name, "a shared file looks changed");
            if let Some(Sound { share, have }) = self.checked(share).await {
                self.0.host.offers.put(self.offer_of(&share, have));
            }
        }
        for share in folders {
            if let Some(offer) = self.0.host.offers.get(key_of(&share)) {
                offer.source().rest(false);
            }
            if self.is_due(&share, only.is_some())
                && let Some(Sound { share, have }) = self.checked(share).await
                && let Some(offer) = self.0.host.offers.get(key_of(&share))
            {
                match only {
                    // What cannot be read may look as it did: it is tried again when all are looked at.
                    Some(_) => offer.keep(&have),
                    None => offer.set(have),
                }
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

/// Why nothing of a folder can be given, if these of its files have changed and are in all pieces. Without any file it is as if the
/// folder were away, as where a disk is to be mounted.
fn nothing_left(marks: &[u64], changed: &BTreeMap<usize, (u64, String)>) -> Withheld {
    let files = marks.iter().filter(|mark| **mark != 0).count();
    if changed.len() == files && changed.values().all(|(mark, _)| *mark == 0) {
        return Withheld::Away("none of its files is there".to_owned());
    }
    Withheld::folder(changed.values().map(|(_, path)| path.as_str()))
}

fn looks_changed(share: &Share) -> bool {
    std::fs::metadata(&share.path).map_or(true, |m| Stamp::of(&m) != share.stamp)
}
