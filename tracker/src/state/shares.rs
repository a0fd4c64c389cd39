//! Shares. A share is seen while one of its publications stands on a live membership, is not withdrawn, and its
//! manifest is here; of those the first speaks for it. Where two trackers that were cut off from each other each gave a
//! name to other content, the later share is told apart by the beginning of its file's id.

use std::collections::BTreeSet;

use common::id::{FileId, FileName, GroupId, MembershipId, PublicationId, Sha1Digest, TreeId, UserId, UserName};
use common::look::look;
use common::pieces::PieceLayout;

use super::keys::{GroupKey, Key, ManifestKey, MembershipKey, PublicationKey, ShareKey, UserKey};
use super::rows::{At, Cut, Folder, ManifestHead, Publication};
use super::undo::{Earlier, Undo};
use super::{State, digits};
use crate::fact::{Hlc, ManifestId, Stamp};

/// A longer name is cut, so that there is room for the digits.
const MAX_SHOWN_BYTES: usize = 246;
/// To so many characters.
const CUT_CHARS: usize = 60;

/// A share: one file under one name in one group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    /// Its first publication.
    pub publication: PublicationId,
    /// Its name.
    pub name: FileName,
    /// Its content.
    pub file: FileId,
    /// Its manifest.
    pub manifest: ManifestId,
    /// How it is cut.
    pub layout: PieceLayout,
    /// SHA-1 of the whole.
    pub sha1: Sha1Digest,
    /// What else there is to it, if it is a folder.
    pub folder: Option<Folder>,
    /// Whoever published it first,
    pub publisher: UserId,
    /// by name,
    pub uploader: UserName,
    /// and when.
    pub published: Hlc,
}

/// Which share is meant: all publications of one content under one name in one group.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShareId {
    /// Where.
    pub group: GroupId,
    /// Its content.
    pub file: FileId,
    /// The name that it was given.
    pub name: FileName,
}

/// What a search is told of a share that is seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListedShare {
    /// Its manifest.
    pub manifest: ManifestId,
    /// Its length, in bytes.
    pub size: u64,
    /// Its tree, if it is a folder.
    pub tree: Option<TreeId>,
}

impl Share {
    /// The manifest that its content has as a file: the same for all who seed it.
    pub fn plain(&self) -> ManifestId {
        self.folder.map_or(self.manifest, |folder| folder.plain)
    }
}

impl State {
    /// A manifest is here now.
    pub fn add_manifest(&mut self, id: ManifestId, head: ManifestHead) -> Undo {
        let manifest = self.manifests.intern(id);
        self.set_manifest(manifest, Some(head))
    }

    /// A manifest is not here any more.
    pub fn remove_manifest(&mut self, id: ManifestId) {
        if let Some(manifest) = self.manifests.find(&id) {
            let _ = self.set_manifest(manifest, None);
        }
    }

    /// Whether a manifest is here.
    pub fn has_manifest(&self, id: ManifestId) -> bool {
        self.manifests.get(&id).is_some_and(|(_, row)| row.head.is_some())
    }

    /// Up to `most` manifests that shares name, and that are not here.
    pub fn lacking_manifests(&self, most: usize) -> Vec<ManifestId> {
        let lacking = self.manifests.iter().filter(|(_, row)| row.head.is_none());
        let wanted = |key| self.publications_of(key).any(|p| self.publications[p].stands);
        lacking.filter(|(key, _)| wanted(*key)).map(|(_, row)| row.id).take(most).collect()
    }

    /// Whether a publication was replaced or taken back.
    pub fn is_withdrawn(&self, publication: PublicationId) -> bool {
        self.publications.get(&publication).is_some_and(|(_, row)| row.withdrawn.is_some())
    }

    /// What is known of a manifest that is here.
    pub(super) fn head(&self, manifest: ManifestKey) -> Option<ManifestHead> {
        let Cut { layout, sha1 } = self.manifests[manifest].head?;
        Some(ManifestHead { layout, sha1, folder: self.folders.get(&manifest).copied() })
    }

    /// Whether a share of the group is a folder with this tree.
    pub fn shows_tree(&self, group: GroupId, tree: TreeId) -> bool {
        let Some(group) = self.groups.find(&group) else { return false };
        let manifests = self.trees.range((tree, ManifestKey::MIN)..).take_while(|(other, _)| *other == tree);
        let listed = |p: PublicationKey| self.publications[p].fact.filter(|_| self.publications[p].listed);
        manifests
            .flat_map(|(_, m)| self.publications_of(*m))
            .filter_map(listed)
            .any(|f| self.group_of(f.share) == group)
    }

    pub(super) fn set_manifest(&mut self, manifest: ManifestKey, head: Option<ManifestHead>) -> Undo {
        let publications: Vec<PublicationKey> = self.publications_of(manifest).collect();
        let users = publications.iter().filter_map(|p| self.publications[*p].fact.map(|fact| fact.user));
        let users: BTreeSet<UserKey> = users.collect();
        users.iter().for_each(|user| self.weigh(*user, manifest, false));
        let before = self.head(manifest);
        self.manifests[manifest].head = head.map(|head| Cut { layout: head.layout, sha1: head.sha1 });
        if let Some(folder) = self.folders.remove(&manifest) {
            self.trees.remove(&(folder.tree, manifest));
        }
        if let Some(folder) = head.and_then(|head| head.folder) {
            self.folders.insert(manifest, folder);
            self.trees.insert((folder.tree, manifest));
        }
        users.iter().for_each(|user| self.weigh(*user, manifest, true));
        publications.into_iter().for_each(|p| self.refresh_publication(p));
        Undo(Earlier::Manifest(manifest, before))
    }

    pub(super) fn set_publication(&mut self, publication: PublicationKey, fact: Option<Publication>) -> Undo {
        let before = self.publications[publication].fact;
        let undo = Undo(Earlier::Publication(publication, before));
        if let Some(before) = before {
            self.unpublish(publication, before);
        }
        let Some(fact) = fact else { return undo };
        let row = &mut self.publications[publication];
        row.fact = Some(fact);
        row.next_of_membership = self.memberships[fact.membership].publications.replace(publication);
        row.next_of_manifest = self.manifests[fact.manifest].publications.replace(publication);
        self.users[fact.user].shares_made += 1;
        if !self.names(fact.user, fact.manifest, Some(publication)) {
            self.weigh(fact.user, fact.manifest, true);
        }
        let group = self.group_of(fact.share);
        self.tallies.entry((fact.user, group)).or_default().made += 1;
        self.groups[group].latest.insert((fact.at.hlc(), self.publications[publication].id));
        self.refresh_publication(publication);
        undo
    }

    fn unpublish(&mut self, publication: PublicationKey, fact: Publication) {
        let Publication { share, manifest, user, membership, .. } = fact;
        self.show_publication(publication, fact, (false, false));
        if !self.names(user, manifest, Some(publication)) {
            self.weigh(user, manifest, false);
        }
        let row = &mut self.publications[publication];
        row.fact = None;
        let (next_of_membership, next_of_manifest) = (row.next_of_membership.take(), row.next_of_manifest.take());
        if self.memberships[membership].publications == Some(publication) {
            self.memberships[membership].publications = next_of_membership;
        } else {
            let mut at = self.memberships[membership].publications;
            while let Some(other) = at {
                at = self.publications[other].next_of_membership;
                if at == Some(publication) {
                    self.publications[other].next_of_membership = next_of_membership;
                    break;
                }
            }
        }
        if self.manifests[manifest].publications == Some(publication) {
            self.manifests[manifest].publications = next_of_manifest;
        } else {
            let mut at = self.manifests[manifest].publications;
            while let Some(other) = at {
                at = self.publications[other].next_of_manifest;
                if at == Some(publication) {
                    self.publications[other].next_of_manifest = next_of_manifest;
                    break;
                }
            }
        }
        let made = &mut self.users[user].shares_made;
        *made = made.saturating_sub(1);
        let group = self.group_of(share);
        if let Some(tally) = self.tallies.get_mut(&(user, group)) {
            tally.made = tally.made.saturating_sub(1);
        }
        if self.groups[group].latest.remove((fact.at.hlc(), self.publications[publication].id)) {
            self.find_latest(group);
        }
    }

    /// Looks through all publications: only after many were taken back, or one that was wrong.
    fn find_latest(&mut self, group: GroupKey) {
        let facts = self.publications.iter().filter_map(|(_, row)| Some((row.fact?, row.id)));
        let here = facts.filter(|(fact, _)| self.group_of(fact.share) == group);
        let all: Vec<_> = here.map(|(fact, id)| (fact.at.hlc(), id)).collect();
        self.groups[group].latest.refill(all);
    }

    pub(super) fn set_withdrawn(&mut self, publication: PublicationKey, withdrawn: Option<At>) -> Undo {
        let before = std::mem::replace(&mut self.publications[publication].withdrawn, withdrawn);
        if let Some(before) = before {
            self.withdrawals.remove(&(before.hlc(), publication));
        }
        if let Some(withdrawn) = withdrawn {
            self.withdrawals.insert((withdrawn.hlc(), publication));
        }
        self.refresh_publication(publication);
        Undo(Earlier::Withdrawn(publication, before))
    }

    /// Whether this publication replaced another: the same event withdrew something, and only a replacement withdraws.
    pub(super) fn replaced_another(&self, publication: PublicationKey) -> bool {
        let Some(Publication { at, .. }) = self.publications[publication].fact else { return false };
        let at_the_time =
            self.withdrawals.range((at.hlc(), PublicationKey::MIN)..).take_while(|(hlc, _)| *hlc == at.hlc());
        at_the_time.map(|(_, other)| self.publications[*other].withdrawn).any(|withdrawn| withdrawn == Some(at))
    }

    /// Finds out anew whether a publication stands, and is seen.
    pub(super) fn refresh_publication(&mut self, publication: PublicationKey) {
        let row = &self.publications[publication];
        let Some(fact) = row.fact else { return };
        let stands = row.withdrawn.is_none() && self.memberships[fact.membership].live.is_some();
        let listed = stands && self.manifests[fact.manifest].head.is_some();
        self.show_publication(publication, fact, (stands, listed));
    }

    fn show_publication(&mut self, publication: PublicationKey, fact: Publication, (stands, listed): (bool, bool)) {
        let row = &mut self.publications[publication];
        let stood = std::mem::replace(&mut row.stands, stands);
        let was_listed = std::mem::replace(&mut row.listed, listed);
        if stood != stands {
            let group = self.group_of(fact.share);
            let standing = &mut self.tallies.entry((fact.user, group)).or_default().standing;
            *standing = if stands { *standing + 1 } else { standing.saturating_sub(1) };
        }
        if was_listed != listed {
            self.changed.insert(fact.share);
            let first = self.first_of(fact.share);
            let of_share = &mut self.shares[fact.share].listed;
            let entry = (fact.at.hlc(), publication);
            if listed {
                of_share.insert(entry)
            } else {
                of_share.remove(&entry)
            };
            self.refresh_share(fact.share, first);
        }
    }

    /// Brings the lists that a share is in up to date, whose first publication was another.
    fn refresh_share(&mut self, share: ShareKey, before: Option<Hlc>) {
        let now = self.first_of(share);
        if before == now {
            return;
        }
        let (file, name) = (self.shares[share].file, self.shares[share].name.clone());
        let group = self.files[file].group;
        if let Some(before) = before {
            self.files[file].shares.remove(&(before, share));
        }
        if let Some(now) = now {
            self.files[file].shares.insert((now, share));
        }
        if before.is_some() != now.is_some() {
            let look = look(name.as_str());
            if look != name.as_str() {
                let (looks, entry) = (&mut self.groups[group].looks, (look.into(), share));
                if now.is_some() {
                    looks.insert(entry)
                } else {
                    looks.remove(&entry)
                };
            }
            let listed = &mut self.groups[group].listed;
            if now.is_some() {
                listed.insert((name, share))
            } else {
                listed.remove(&(name, share))
            };
            let seen = !self.files[file].shares.is_empty();
            let entry = (beginning(self.files[file].id), file);
            let files = &mut self.groups[group].files;
            if seen {
                files.insert(entry)
            } else {
                files.remove(&entry)
            };
        }
    }

    fn first_of(&self, share: ShareKey) -> Option<Hlc> {
        self.shares[share].listed.first().map(|(hlc, _)| *hlc)
    }

    fn group_of(&self, share: ShareKey) -> GroupKey {
        self.files[self.shares[share].file].group
    }

    /// The publication that speaks for a share, if it is seen.
    pub(super) fn speaker(&self, share: ShareKey) -> Option<(Stamp, PublicationKey)> {
        let listed = &self.shares[share].listed;
        let (first, _) = listed.first()?;
        // Of the same time, by the rest of the stamp.
        let together = listed.iter().take_while(|(hlc, _)| hlc == first);
        together.filter_map(|(_, p)| Some((self.stamp(self.publications[*p].fact?.at), *p))).min()
    }

    /// Shares that are seen under a name that they were given, the first one first.
    pub(super) fn named(&self, group: GroupKey, name: &FileName) -> Vec<(Stamp, PublicationKey, ShareKey)> {
        let all = self.groups[group].listed.from((name.clone(), ShareKey::MIN)).take_while(|(n, _)| n == name);
        let mut all: Vec<_> =
            all.filter_map(|(_, share)| self.speaker(*share).map(|(stamp, p)| (stamp, p, *share))).collect();
        all.sort_unstable();
        all
    }

    /// The name that is shown for a share, of which `first` is the first under the name that it was given.
    pub(super) fn shown(&self, share: ShareKey, first: ShareKey) -> Option<FileName> {
        let row = &self.shares[share];
        let name = &row.name;
        if share == first {
            return Some(name.clone());
        }
        let cut = match name.as_str().len() > MAX_SHOWN_BYTES {
            true => name.as_str().chars().take(CUT_CHARS).collect(),
            false => name.as_str().to_owned(),
        };
        FileName::try_from(format!("{cut}~{}", digits(self.files[row.file].id.as_bytes()))).ok()
    }

    /// Up to `most` shares that have come, gone or changed since they were last taken from here, as they are now.
    pub fn take_changed(&mut self, most: usize) -> Vec<(ShareId, Option<ListedShare>)> {
        let mut taken = Vec::new();
        while taken.len() < most
            && let Some(share) = self.changed.pop_first()
        {
            let row = &self.shares[share];
            let file = &self.files[row.file];
            let id = ShareId { group: self.groups[file.group].id, file: file.id, name: row.name.clone() };
            taken.push((id, self.listed(share)));
        }
        taken
    }

    /// Whether nothing has changed since.
    pub fn is_unchanged(&self) -> bool {
        self.changed.is_empty()
    }

    /// Who follows this state knows it as it is.
    pub fn forget_changed(&mut self) {
        self.changed.clear();
    }

    /// A share, if it is seen.
    pub fn listed_share(&self, share: &ShareId) -> Option<ListedShare> {
        self.listed(self.share_key(share)?)
    }

    /// A share with the name that is shown, if it is seen.
    pub fn share_by(&self, share: &ShareId) -> Option<Share> {
        self.share_as_shown(self.groups.find(&share.group)?, self.share_key(share)?)
    }

    fn share_key(&self, share: &ShareId) -> Option<ShareKey> {
        let file = self.files.find(&(self.groups.find(&share.group)?, share.file))?;
        self.shares.find(&(file, share.name.clone()))
    }

    fn listed(&self, share: ShareKey) -> Option<ListedShare> {
        let (_, publication) = self.speaker(share)?;
        let manifest = self.publications[publication].fact?.manifest;
        let head = self.head(manifest)?;
        let tree = head.folder.map(|folder| folder.tree);
        Some(ListedShare { manifest: self.manifests[manifest].id, size: head.layout.len(), tree })
    }

    /// Every publication that stands for the same share as this one, and is still seen.
    pub fn publications_beside(&self, publication: PublicationId) -> Vec<PublicationId> {
        let fact = self.publications.get(&publication).and_then(|(_, row)| row.fact);
        let listed = fact.into_iter().flat_map(|fact| self.shares[fact.share].listed.iter());
        listed.map(|(_, p)| self.publications[*p].id).collect()
    }

    /// Whether this membership carries a publication of this content, with this manifest, under this name.
    pub fn has_published(
        &self,
        membership: MembershipId,
        name: &FileName,
        (file, manifest): (FileId, ManifestId),
    ) -> bool {
        let Some((key, row)) = self.memberships.get(&membership) else { return false };
        let share = row.asked.and_then(|asked| self.files.find(&(asked.group, file)));
        let share = share.and_then(|file| self.shares.find(&(file, name.clone())));
        let carries = |p: &PublicationKey| {
            let fact = self.publications[*p].fact;
            fact.is_some_and(|f| f.membership == key && self.manifests[f.manifest].id == manifest)
        };
        share.is_some_and(|share| self.shares[share].listed.iter().any(|(_, p)| carries(p)))
    }

    /// How many shares nobody else has published, and go when this user does.
    pub fn shares_only_of(&self, group: GroupId, user: UserId) -> u32 {
        let Some((group, user)) = self.groups.find(&group).zip(self.users.find(&user)) else { return 0 };
        let theirs = self.of_place(group, user).flat_map(|m| self.publications_on(m));
        let shares = theirs.filter(|p| self.publications[*p].listed).filter_map(|p| self.publications[p].fact);
        let shares: BTreeSet<ShareKey> = shares.map(|fact| fact.share).collect();
        let alone = |share: &ShareKey| self.published_only_by(*share, user) && self.group_of(*share) == group;
        u32::try_from(shares.iter().filter(|share| alone(share)).count()).unwrap_or(u32::MAX)
    }

    fn publications_on(&self, membership: MembershipKey) -> impl Iterator<Item = PublicationKey> {
        let first = self.memberships[membership].publications;
        std::iter::successors(first, |p| self.publications[*p].next_of_membership)
    }

    fn published_only_by(&self, share: ShareKey, user: UserKey) -> bool {
        let by = |p: PublicationKey| self.publications[p].fact.map(|fact| fact.user);
        self.shares[share].listed.iter().all(|(_, p)| by(*p) == Some(user))
    }
}

/// By what files are found in order.
pub(super) fn beginning(id: FileId) -> [u8; 8] {
    id.as_bytes().first_chunk().copied().unwrap_or_default()
}
