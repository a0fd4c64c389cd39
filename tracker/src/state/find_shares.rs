//! Which shares there are, as they are shown: in the order of their names, by a name, by an id or the beginning of one.

use common::id::{FileId, FileName, GroupId, PublicationId, UserId};
use common::look::look;

use super::keys::{FileKey, GroupKey, Key, PublicationKey, ShareKey};
use super::rows::ManifestHead;
use super::shares::{Share, beginning};
use super::{State, split_reference};
use crate::fact::Stamp;

/// So many names of one content are compared.
const MAX_COMPARED_SHARES: usize = 1000;

impl State {
    fn share(&self, publication: PublicationKey, shown: FileName) -> Option<Share> {
        let row = &self.publications[publication];
        let fact = row.fact?;
        let ManifestHead { layout, sha1, folder } = self.head(fact.manifest)?;
        let publisher = &self.users[fact.user];
        Some(Share {
            publication: row.id,
            name: shown,
            file: self.files[self.shares[fact.share].file].id,
            manifest: self.manifests[fact.manifest].id,
            layout,
            sha1,
            folder,
            publisher: publisher.id,
            uploader: publisher.shown.clone()?,
            published: fact.at.hlc(),
        })
    }

    /// The same, with the name that is shown found out.
    pub(super) fn share_as_shown(&self, group: GroupKey, share: ShareKey) -> Option<Share> {
        let (_, publication) = self.speaker(share)?;
        let (.., first) = *self.named(group, &self.shares[share].name).first()?;
        self.share(publication, self.shown(share, first)?)
    }

    /// A share with the name that is shown, if it is seen and `publication` speaks for it.
    pub(super) fn share_first_by(
        &self,
        group: GroupKey,
        share: ShareKey,
        publication: PublicationKey,
    ) -> Option<Share> {
        self.speaker(share).filter(|(_, first)| *first == publication)?;
        self.share_as_shown(group, share)
    }

    /// Up to `most` shares of a group, by name, after `after`.
    pub fn shares_after(&self, group: GroupId, after: Option<&FileName>, most: usize) -> Vec<Share> {
        let Some(group) = self.groups.find(&group) else { return Vec::new() };
        let listed = &self.groups[group].listed;
        // A name that is shown is that which was given, or stands for one that is told apart.
        let given = after.map(|after| match self.named(group, after).is_empty() {
            true => split_reference(after.as_str()).0.parse().unwrap_or_else(|_| after.clone()),
            false => after.clone(),
        });
        let mut next = match &given {
            Some(given) => listed.from((given.clone(), ShareKey::MIN)),
            None => listed.iter(),
        }
        .peekable();
        let mut page = Vec::new();
        while let Some((name, _)) = next.peek().copied() {
            let mut same_name = Vec::new();
            while let Some((_, share)) = next.next_if(|(n, _)| n == name) {
                same_name.extend(self.speaker(*share).map(|(stamp, p)| (stamp, p, *share)));
            }
            let Some((.., first)) = same_name.iter().min().copied() else { continue };
            let named = |(stamp, p, share)| Some((self.shown(share, first)?, stamp, p));
            let mut shown: Vec<_> = same_name.into_iter().filter_map(named).collect();
            shown.sort_unstable();
            let is_after = |shown: &FileName| given.as_ref() != Some(name) || after.is_none_or(|after| shown > after);
            let shares = shown.into_iter().filter(|(shown, ..)| is_after(shown));
            page.extend(shares.filter_map(|(shown, _, p)| self.share(p, shown)));
            if page.len() >= most {
                page.truncate(most);
                break;
            }
        }
        page
    }

    /// The share of this name.
    pub fn share_named(&self, group: GroupId, name: &FileName) -> Option<Share> {
        let group = self.groups.find(&group)?;
        let mut found = Vec::new();
        let base: Option<FileName> = split_reference(name.as_str()).0.parse().ok();
        for given in std::iter::once(name).chain(base.as_ref().filter(|base| *base != name)) {
            let all = self.named(group, given);
            let Some((.., first)) = all.first().copied() else { continue };
            let shown = |share| self.shown(share, first).is_some_and(|shown| shown == *name);
            found.extend(all.into_iter().filter(|(.., share)| shown(*share)));
        }
        let known = |p: PublicationKey| self.share(p, name.clone());
        found.sort_unstable();
        found.into_iter().find_map(|(_, p, _)| known(p))
    }

    /// The share of this content that was published first.
    pub fn share_of(&self, group: GroupId, file: FileId) -> Option<Share> {
        let group = self.groups.find(&group)?;
        let (_, share) = self.first_shares(self.files.find(&(group, file))?, 1).min()?;
        self.share_as_shown(group, share)
    }

    /// Shares whose file id lies in a range; of each file the one that was published first comes
    /// first. At most `most`.
    pub fn shares_between(&self, group: GroupId, low: FileId, high: FileId, most: usize) -> Vec<Share> {
        let Some(group) = self.groups.find(&group) else { return Vec::new() };
        let last = beginning(high);
        let near = self.groups[group].files.from((beginning(low), FileKey::MIN)).take_while(|(b, _)| *b <= last);
        let mut page = Vec::new();
        let mut near = near.map(|(b, file)| (*b, *file)).peekable();
        while let Some((begins, _)) = near.peek().copied() {
            let mut files = Vec::new();
            while let Some((_, file)) = near.next_if(|(b, _)| *b == begins) {
                files.push((self.files[file].id, file));
            }
            files.sort_unstable();
            for (_, file) in files.into_iter().filter(|(id, _)| (low..=high).contains(id)) {
                let room = most.saturating_sub(page.len());
                if room == 0 {
                    break;
                }
                let mut shares: Vec<_> = self.first_shares(file, room).collect();
                shares.sort_unstable();
                shares.truncate(room);
                page.extend(shares.into_iter().filter_map(|(_, share)| self.share_as_shown(group, share)));
            }
            if page.len() >= most {
                page.truncate(most);
                break;
            }
        }
        page
    }

    /// Whether a group shares this content.
    pub fn is_shared(&self, group: GroupId, file: FileId) -> bool {
        let file = self.groups.find(&group).and_then(|group| self.files.find(&(group, file)));
        file.is_some_and(|file| !self.files[file].shares.is_empty())
    }

    /// Whether all shares of a content are one file, or folders of one tree. Of very many only the first are looked at.
    pub fn is_one_thing(&self, group: GroupId, file: FileId) -> bool {
        let Some(group) = self.groups.find(&group) else { return true };
        let Some(file) = self.files.find(&(group, file)) else { return true };
        let tree = |p: PublicationKey| Some(self.folders.get(&self.publications[p].fact?.manifest).map(|f| f.tree));
        let mut trees = self.first_shares(file, MAX_COMPARED_SHARES).filter_map(|((_, p), _)| tree(p));
        let first = trees.next();
        trees.all(|tree| Some(tree) == first)
    }

    /// The first `room` shares of a content, and those of the same time as the last: one content may have very many names.
    fn first_shares(&self, file: FileKey, room: usize) -> impl Iterator<Item = ((Stamp, PublicationKey), ShareKey)> {
        let shares = &self.files[file].shares;
        let last = room.checked_sub(1).and_then(|n| shares.iter().nth(n)).map(|(hlc, _)| *hlc);
        let shares = shares.iter().take_while(move |(hlc, _)| last.is_none_or(|last| *hlc <= last));
        shares.filter_map(|(_, share)| Some((self.speaker(*share)?, *share)))
    }

    /// The name of another share that a person would take for this one.
    pub fn twin_of(&self, group: GroupId, name: &FileName) -> Option<FileName> {
        let (group, row) = self.groups.get(&group)?;
        let look = look(name.as_str());
        // One that looks like itself, or one that looks like another.
        let plain = FileName::try_from(look.clone()).ok().filter(|n| n != name && !self.named(group, n).is_empty());
        let look: Box<str> = look.into();
        let alike = row.looks.from((look.clone(), ShareKey::MIN)).take_while(|(other, _)| *other == look);
        plain.or_else(|| alike.map(|(_, share)| &self.shares[*share].name).find(|n| *n != name).cloned())
    }

    /// Every publication under a name that is still seen, and whose it is.
    pub fn publications_named(&self, group: GroupId, name: &FileName) -> Vec<(PublicationId, UserId)> {
        let Some(group) = self.groups.find(&group) else { return Vec::new() };
        let shares = self.named(group, name).into_iter().flat_map(|(.., share)| self.shares[share].listed.iter());
        let rows = shares.map(|(_, p)| &self.publications[*p]);
        rows.filter_map(|row| Some((row.id, self.users[row.fact?.user].id))).collect()
    }
}
