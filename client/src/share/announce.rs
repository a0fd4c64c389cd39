//! What the trackers are told of this device's shares, and what becomes of a share that they refuse.
//!
//! Invariant: a refusal never removes a share from the registry. It ends the offer and is noted beside the share, and
//! the trackers are asked again: after a login, when the user is let in, when another tracker answers, and now and
//! then. Requests name a group by its [reference](common::id::GroupName::reference), so that another group of the same
//! name is never asked about.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::PoisonError;
use std::time::Duration;

use common::backoff::Backoff;
use common::id::{FileId, FileName, GroupId, GroupName, MembershipId};
use common::wire::client::{FileInfo, FileSelector, Request, Response};
use common::wire::refusal::Refusal;
use futures::StreamExt;
use tokio::time::Instant;

use super::notice::{Notice, Withdrawal};
use super::offer::Key;
use super::publish::{blocking, expect_done};
use super::recheck::Sound;
use super::{Share, Shares, key_of};
use crate::error::Error;
use crate::trackers::group_names::{self, called};

/// Shares that are announced at the same time.
const ANNOUNCE: usize = 16;
/// Delays before trackers that refused, or could not be asked, are asked again.
const RETRY: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(600));

/// What the trackers are still to be asked.
#[derive(Debug, Default)]
pub(super) struct Unsettled {
    /// Not announced: no tracker could be asked, or the registry could not record why the offer ended.
    unannounced: HashSet<Key>,
    /// Groups that the user is no member of, as far as the trackers know.
    groups: BTreeSet<GroupId>,
    /// The connection to the tracker that has listed each last.
    listed: HashMap<Key, u64>,
    /// A tracker has told of a new version under its name.
    replaced: HashSet<Key>,
    /// Perhaps replaced by a new version, or ended with another place of the same content.
    to_reannounce: HashSet<Key>,
}

/// When the trackers are to be asked again.
pub(super) struct Retry {
    backoff: Backoff,
    at: Option<Instant>,
    /// The connection on which they were asked last.
    connection: u64,
}

impl Retry {
    pub(super) fn new() -> Self {
        Self { backoff: Backoff::new(RETRY.0, RETRY.1), at: None, connection: 0 }
    }
}

impl Shares {
    /// Tells the trackers that this device seeds a share of a group, called `group` once, unless it has stopped to
    /// meanwhile: whether they were told.
    pub(crate) async fn tell_seeding(&self, group: &GroupName, key: Key) -> Result<bool, Error> {
        let _with_others = self.0.telling.read().await;
        if !self.offers(key) {
            return Ok(false);
        }
        let request = Request::StartSeeding { group: group.reference(key.group), file_id: key.file_id };
        let connection = self.0.directory.connection();
        let told = self.0.directory.call(request).await.and_then(expect_done);
        if told.is_ok() {
            self.note_listed(key, connection);
        }
        told.map(|()| true).map_err(|e| called(e, &self.0.names.present(key.group, group)))
    }

    /// The tracker at the end of `connection` lists a share; if calls went to another one meanwhile, nobody knows which does.
    pub(super) fn note_listed(&self, key: Key, connection: u64) {
        if self.0.directory.connection() == connection {
            self.unsettled(|u| {
                u.listed.insert(key, connection);
                u.replaced.remove(&key);
            });
        }
    }

    /// Nothing is known any more of a share that is not here.
    pub(super) fn forget_listed(&self, key: Key) {
        self.unsettled(|u| {
            u.listed.remove(&key);
            u.replaced.remove(&key);
        });
    }

    /// Whether a tracker that does not list a share may lag behind the other one, where that was published while the two were apart.
    /// One that has listed it has heard of its end, and so has one that tells of a new version.
    fn may_lag(&self, key: Key) -> bool {
        let connection = self.0.directory.connection();
        let has_heard = |u: &mut Unsettled| u.listed.get(&key) == Some(&connection) || u.replaced.contains(&key);
        self.0.directory.is_apart() && !self.unsettled(has_heard)
    }

    /// Tells the trackers that this device seeds a share no more, unless it does again.
    pub(crate) async fn tell_withdrawn(&self, group: &GroupName, key: Key) -> Result<(), Error> {
        let _alone = self.0.telling.write().await;
        if self.offers(key) {
            return Ok(());
        }
        let request = Request::StopSeeding { group: group.reference(key.group), file_id: key.file_id };
        self.0.directory.call(request).await.and_then(expect_done)
    }

    /// Offers and announces `shares`, which are to be looked at first.
    pub(super) async fn bring_back_all(&self, shares: Vec<Share>) {
        let barred = self.barred_groups(&shares).await;
        let shares = shares.into_iter().filter(|share| !barred.contains(&share.group_id));
        let announced = futures::stream::iter(shares).map(|share| self.bring_back(share)).buffer_unordered(ANNOUNCE);
        let let_in: Vec<Share> = announced.filter_map(std::future::ready).collect().await;
        // Not those that were suspended once more.
        let let_in = let_in.into_iter().filter(|share| self.offers(key_of(share)));
        self.note_refusals(let_in.map(|share| (share, None)).collect()).await;
    }

    /// Of the groups in which something was refused, those that still do not let the user in: one question for all
    /// their shares.
    async fn barred_groups(&self, shares: &[Share]) -> BTreeSet<GroupId> {
        let mut asked = BTreeSet::new();
        let mut barred = BTreeSet::new();
        for share in shares.iter().filter(|share| share.refused.is_some()) {
            if asked.insert(share.group_id)
                && let Err(Error::Refused(refusal)) = self.standing(share.group_id, &share.group).await
                && is_final(&refusal)
            {
                barred.insert(share.group_id);
                self.suspend_group(share.group_id, &refusal).await;
            }
        }
        barred
    }

    async fn standing(&self, group: GroupId, known: &GroupName) -> Result<(), Error> {
        group_names::ticket(&*self.0.directory, group, known).await.map(drop)
    }

    /// The share, if it was refused and no longer is.
    async fn bring_back(&self, share: Share) -> Option<Share> {
        let (group, key, was_withheld) = (share.group.clone(), key_of(&share), share.withheld.is_some());
        let Some(Sound { share, have }) = self.checked(share).await else {
            // This client may have ended before it could tell.
            if was_withheld && let Err(error) = self.tell_withdrawn(&group, key).await {
                tracing::debug!(%error, "the tracker could not be told of a withheld share");
            }
            return None;
        };
        match self.0.host.offers.get(key) {
            Some(offer) if share.folder.is_some() && offer.source().is_folder() => offer.set(have),
            Some(_) => {}
            None => drop(self.0.host.offers.put(self.offer_of(&share, have))),
        }
        let was_unannounced = self.is_unannounced(key);
        let is_announced = self.announce(&share).await;
        if is_announced && was_unannounced {
            self.follow_name(&share).await;
        }
        (is_announced && share.refused.is_some()).then_some(share)
    }

    /// Whether the trackers let this device seed it.
    async fn announce(&self, share: &Share) -> bool {
        let key = key_of(share);
        match self.tell_seeding(&share.group, key).await {
            Ok(_) => {
                self.set_unannounced(key, false);
                return true;
            }
            Err(Error::Refused(refusal @ (Refusal::NotAMember(_) | Refusal::NoSuchGroup(_)))) => {
                self.suspend_group(share.group_id, &refusal).await;
            }
            Err(Error::Refused(Refusal::NoSuchFile { .. })) if self.may_lag(key) => self.set_unannounced(key, true),
            Err(Error::Refused(refusal)) if is_final(&refusal) => self.suspend(vec![share.clone()], &refusal).await,
            Err(error) => {
                tracing::warn!(%error, name = %share.name, "a share could not be announced; it is tried again");
                self.set_unannounced(key, true);
            }
        }
        false
    }

    /// The user is no longer a member of a group, as `refusal` says: what is shared there is offered no longer.
    async fn suspend_group(&self, group: GroupId, refusal: &Refusal) {
        let Ok(user) = self.user() else { return };
        let of_group = |s: &&Share| s.user == user && s.group_id == group;
        let shares: Vec<Share> = self.registry(|r| r.shares().iter().filter(of_group).cloned().collect());
        if !shares.is_empty() {
            self.unsettled(|u| u.groups.insert(group));
        }
        self.suspend(shares, refusal).await;
    }

    /// Offers shares no longer: all of them, before anything is written. Keeps them with the reason, and says so once.
    async fn suspend(&self, shares: Vec<Share>, refusal: &Refusal) {
        for share in &shares {
            self.0.host.offers.end(key_of(share));
            self.set_unannounced(key_of(share), false);
        }
        let mut judged = Vec::new();
        let mut notices = Vec::new();
        for share in shares {
            let present = self.0.names.present(share.group_id, &share.group);
            let why = match refusal {
                Refusal::NoSuchFile { .. } => {
                    format!(
                        "a newer version took its place, or it was withdrawn; `list_files {present}` shows what there is, and \
                         `upload_file` shares it again"
                    )
                }
                refusal => refusal.clone().about_group(&present).to_string(),
            };
            if share.refused.is_none() {
                let (name, path) = (share.name.clone(), share.path.clone());
                notices.push(Notice { group: present, name, path, reason: Withdrawal::Refused(why.clone()) });
            }
            if share.refused.as_ref() != Some(&why) {
                judged.push((share, Some(why)));
            }
        }
        self.note_refusals(judged).await;
        notices.into_iter().for_each(|notice| self.tell(notice));
    }

    async fn note_refusals(&self, judged: Vec<(Share, Option<String>)>) {
        if judged.is_empty() {
            return;
        }
        let shares = self.clone();
        let saved = blocking(move || shares.registry(|r| r.note_refusals(judged)));
        if let Err(error) = saved.await {
            tracing::warn!(%error, "what became of shares could not be saved");
        }
    }

    /// A member was removed from a group that was called `group` by then: the user, says the push. Which group it was is
    /// told by the revocation of the membership; without one the trackers are asked.
    pub(super) async fn removed(&self, group: GroupName, membership: MembershipId) {
        let Ok(user) = self.user() else { return };
        let refusal = Refusal::NotAMember(group.clone());
        if let Some(group) = self.revocations().group_of(membership) {
            return self.suspend_group(group, &refusal).await;
        }
        let mut suspects: Vec<(GroupId, GroupName)> = self.registry(|r| {
            let same_claim =
                |s: &&Share| s.user == user && s.group.reference(s.group_id) == group.reference(s.group_id);
            r.shares().iter().filter(same_claim).map(|s| (s.group_id, s.group.clone())).collect()
        });
        suspects.sort();
        suspects.dedup_by_key(|(id, _)| *id);
        for (id, known) in suspects {
            group_names::forget_tickets(&*self.0.directory, id, &known);
            if let Err(Error::Refused(refusal)) = self.standing(id, &known).await
                && is_final(&refusal)
            {
                self.suspend_group(id, &refusal).await;
            }
        }
    }

    /// The user was let into a group: what is kept for it is shared again.
    pub(super) async fn accepted(&self, group: &GroupName) {
        self.bring_back_those(|s| self.0.names.means(group, s.group_id, &s.group)).await;
    }

    /// The user has come into a group by an invitation, which no push tells.
    pub(crate) fn let_in(&self, group: &GroupName) {
        let Ok(user) = self.user() else { return };
        let is_meant = |s: &&Share| s.user == user && self.0.names.means(group, s.group_id, &s.group);
        let keys: Vec<Key> = self.registry(|r| r.shares().iter().filter(is_meant).map(key_of).collect());
        self.request_reannounce(keys.into_iter());
    }

    /// Asks the trackers again where that is due.
    pub(super) async fn ask_again(&self, retry: &mut Retry) {
        let (unannounced, groups) = self.unsettled(|u| (u.unannounced.clone(), u.groups.clone()));
        if unannounced.is_empty() && groups.is_empty() {
            *retry = Retry { connection: self.0.directory.connection(), ..Retry::new() };
            return;
        }
        let (now, connection) = (Instant::now(), self.0.directory.connection());
        let at = *retry.at.get_or_insert_with(|| now + retry.backoff.next_delay());
        if now < at && retry.connection == connection {
            return;
        }
        (retry.at, retry.connection) = (None, connection);
        self.unsettled(|u| u.groups.clear());
        self.bring_back_those(|s| unannounced.contains(&key_of(s)) || groups.contains(&s.group_id)).await;
    }

    /// These names are those of other contents now, and those are new versions, or not. What this device offers under them may have
    /// been replaced: the trackers are asked at once, as they would be after a login.
    pub(crate) fn reannounce_replaced<'a>(
        &self,
        named: impl Iterator<Item = (&'a GroupName, &'a FileName, FileId, bool)>,
    ) {
        let Ok(user) = self.user() else { return };
        let mut now: HashMap<&FileName, Vec<(&GroupName, FileId, bool)>> = HashMap::new();
        named.for_each(|(group, name, id, is_version)| now.entry(name).or_default().push((group, id, is_version)));
        if now.is_empty() {
            return;
        }
        let is_other = |s: &Share, (group, file_id): (&GroupName, FileId)| {
            s.file_id != file_id && self.0.names.means(group, s.group_id, &s.group)
        };
        // Of each that has lost its name, whether to a new version.
        let lost = |s: &Share| {
            let others = now.get(&s.name)?.iter().filter(|(group, id, _)| is_other(s, (group, *id)));
            others.map(|(.., is_version)| *is_version).max().map(|is_version| (key_of(s), is_version))
        };
        let keys: Vec<(Key, bool)> =
            self.registry(|r| r.shares().iter().filter(|s| s.user == user).filter_map(lost).collect());
        let keys: Vec<_> = keys.into_iter().filter(|(key, _)| self.offers(*key)).collect();
        self.unsettled(|u| u.replaced.extend(keys.iter().filter(|(_, is_version)| *is_version).map(|(key, _)| *key)));
        self.request_reannounce(keys.into_iter().map(|(key, _)| key));
    }

    /// Sets whether this is still to be announced: if so, it is looked at and announced again with back-off.
    pub(super) fn set_unannounced(&self, key: Key, is_so: bool) {
        self.unsettled(|u| if is_so { u.unannounced.insert(key) } else { u.unannounced.remove(&key) });
    }

    /// The trackers are to be asked about these as soon as possible.
    pub(super) fn request_reannounce(&self, keys: impl Iterator<Item = Key>) {
        let is_any = self.unsettled(|u| {
            u.to_reannounce.extend(keys);
            !u.to_reannounce.is_empty()
        });
        if is_any {
            self.0.reannounce.notify_one();
        }
    }

    /// Asks the trackers about what is to be announced again. The disk is not asked about what is on offer; what is not is brought
    /// back.
    pub(super) async fn reannounce_requested(&self) {
        let requested = self.unsettled(|u| std::mem::take(&mut u.to_reannounce));
        let Ok(user) = self.user() else { return };
        let _one = self.0.rechecking.lock().await;
        let is_meant = |s: &&Share| s.user == user && s.withheld.is_none() && requested.contains(&key_of(s));
        let shares: Vec<Share> = self.registry(|r| r.shares().iter().filter(is_meant).cloned().collect());
        let (offered, ended): (Vec<_>, Vec<_>) = shares.into_iter().partition(|share| self.offers(key_of(share)));
        let asked = futures::stream::iter(offered).map(|share| async move {
            if self.announce(&share).await {
                self.follow_name(&share).await;
            }
        });
        asked.buffer_unordered(ANNOUNCE).for_each(|_| std::future::ready(())).await;
        if !ended.is_empty() {
            self.bring_back_all(ended).await;
        }
    }

    /// Another content is about to be kept here under this name: what has it is the group's too, perhaps, by another name. Two
    /// trackers that were apart may have given it twice.
    pub(crate) async fn make_way(&self, new: &Share) {
        let has_it = |s: &&Share| s.same_place(new) && s.file_id != new.file_id;
        if let Some(share) = self.registry(|r| r.shares().iter().find(has_it).cloned()) {
            self.follow_name(&share).await;
        }
    }

    /// A share goes by the name here that its group has for it now.
    async fn follow_name(&self, share: &Share) {
        // The content may have several names.
        let by_name = self.look_up(share, FileSelector::Name(share.name.clone())).await;
        if by_name.is_none_or(|file| file.file_id == share.file_id) {
            return;
        }
        let Ok(id) = format!("id:{}", share.file_id).parse() else { return };
        let Some(file) = self.look_up(share, id).await else { return };
        let (shares, before, name) = (self.clone(), share.clone(), file.name.clone());
        match blocking(move || shares.registry(|r| r.rename(&before, &name))).await {
            Ok(true) => {
                let group = self.0.names.present(share.group_id, &share.group);
                let (name, path) = (share.name.clone(), share.path.clone());
                self.tell(Notice { group, name, path, reason: Withdrawal::Renamed(file.name) });
                if !self.offers(key_of(share)) {
                    // A look at it that was under way took it for another.
                    self.request_reannounce(std::iter::once(key_of(share)));
                }
            }
            Ok(false) => {}
            Err(error) => tracing::warn!(%error, name = %share.name, "a share's new name could not be saved"),
        }
    }

    /// What the group of a share has by a name or an id, as far as a tracker says.
    async fn look_up(&self, share: &Share, file: FileSelector) -> Option<FileInfo> {
        let request = Request::FindShare { group: share.group.reference(share.group_id), file };
        match self.0.directory.call(request).await {
            Ok(Response::Share(found)) => Some(found.file),
            _ => None,
        }
    }

    async fn bring_back_those(&self, which: impl Fn(&Share) -> bool) {
        let Ok(user) = self.user() else { return };
        let _one = self.0.rechecking.lock().await;
        let shares: Vec<Share> =
            self.registry(|r| r.shares().iter().filter(|s| s.user == user && which(s)).cloned().collect());
        self.bring_back_all(shares).await;
    }

    /// Whether a share is on offer and the trackers have not been told yet.
    pub(super) fn is_unannounced(&self, key: Key) -> bool {
        self.unsettled(|u| u.unannounced.contains(&key))
    }

    fn unsettled<T>(&self, use_it: impl FnOnce(&mut Unsettled) -> T) -> T {
        use_it(&mut self.0.unsettled.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Whether asking again at once will not help.
const fn is_final(refusal: &Refusal) -> bool {
    matches!(refusal, Refusal::NotAMember(_) | Refusal::NoSuchGroup(_) | Refusal::NoSuchFile { .. })
}
