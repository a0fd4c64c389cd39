//! Groups. An *open* group has a live member; others have no name any more.

use std::ops::Bound;

use common::id::{GroupId, GroupName, MembershipId, UserId, UserName};

use super::State;
use super::keys::{GroupKey, Key, MembershipKey, UserKey};
use super::rows::GroupRow;
use crate::fact::{Hlc, Stamp};

/// A row of the list of groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupEntry {
    /// Its id.
    pub id: GroupId,
    /// Its name.
    pub name: GroupName,
    /// Its admin.
    pub admin: UserId,
    /// The admin's name.
    pub admin_name: UserName,
    /// How many members it has.
    pub members: u32,
}

impl State {
    /// Groups of `user` whose name went to another group: what each claimed, and is called now.
    pub fn groups_renamed(&self, user: UserId) -> Vec<(GroupName, GroupName)> {
        let Some(user) = self.users.find(&user) else { return Vec::new() };
        let renamed = |(group, _): (GroupKey, MembershipKey)| {
            let row = &self.groups[group];
            let (claim, shown) = (row.claim.as_ref()?, row.shown.as_ref()?);
            (claim.name != *shown).then(|| (claim.name.clone(), shown.clone()))
        };
        let mut all: Vec<_> = self.live_of(user).filter_map(renamed).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// The admin of an open group: who was last made it and still is a member on the same
    /// membership, else whoever has been a member for longest.
    pub fn admin(&self, group: GroupId) -> Option<UserId> {
        self.admin_without(group, None)
    }

    /// Who would be the admin if `gone` were not a member.
    pub fn admin_without(&self, group: GroupId, gone: Option<UserId>) -> Option<UserId> {
        let gone = gone.and_then(|gone| self.users.find(&gone));
        let admin = self.admin_key(self.groups.find(&group)?, gone)?;
        Some(self.users[admin].id)
    }

    pub(super) fn admin_key(&self, group: GroupKey, gone: Option<UserKey>) -> Option<UserKey> {
        let row = &self.groups[group];
        let holder = |m: MembershipKey| {
            let row = &self.memberships[m];
            let asked = row.live.and(row.asked).filter(|asked| asked.group == group)?;
            (Some(asked.user) != gone).then_some(asked.user)
        };
        if let Some(made) = row.admin.and_then(|made| holder(made.membership)) {
            return Some(made);
        }
        let mut live = row.live.iter().filter_map(|(hlc, m)| Some((*hlc, *m, holder(*m)?))).peekable();
        let (first, ..) = *live.peek()?;
        // Of the same time, by the rest of the stamp.
        let together = live.take_while(|(hlc, ..)| *hlc == first).filter_map(|(_, m, user)| {
            let row = &self.memberships[m];
            Some((self.stamp(row.live?), row.id, user))
        });
        together.min_by_key(|(stamp, id, _)| (*stamp, *id)).map(|(.., user)| user)
    }

    /// Whether this member was made the admin, as opposed to having become it when another left.
    pub fn admin_was_made(&self, group: GroupId, user: UserId) -> bool {
        let made = self.groups.get(&group).and_then(|(_, row)| row.admin);
        made.is_some_and(|made| self.users[made.user].id == user && self.memberships[made.membership].live.is_some())
    }

    /// Who is the admin of a group now because this membership, which was its admin's, has ended. Nobody, if the admin
    /// was made that by another, or has been it before.
    pub fn admin_by_end_of(&self, group: GroupId, ended: MembershipId) -> Option<UserId> {
        let admin = self.admin(group)?;
        let (key, row) = self.groups.get(&group)?;
        let (gone, gone_row) = self.memberships.get(&ended)?;
        if self.admin_was_made(group, admin) {
            return None;
        }
        let was_made = row.admin.is_some_and(|made| made.membership == gone);
        let (first, _) = self.first_live(key)?;
        let came_first = || gone_row.accepts.iter().any(|(at, _)| (self.stamp(at), ended) < first);
        (was_made || came_first()).then_some(admin)
    }

    /// Whoever of the holders has been a member for longest, and since when on which membership.
    fn first_live(&self, group: GroupKey) -> Option<((Stamp, MembershipId), MembershipKey)> {
        let live = &self.groups[group].live;
        let (first, _) = live.first()?;
        // Of the same time, by the rest of the stamp.
        let together = live.iter().take_while(|(hlc, _)| hlc == first);
        let dated = |(_, m): &(Hlc, MembershipKey)| {
            let row = &self.memberships[*m];
            Some(((self.stamp(row.live?), row.id), *m))
        };
        together.filter_map(dated).min()
    }

    /// Whether a group is known to be closed: somebody asked to be in it, and nobody is.
    pub fn is_closed(&self, group: GroupId) -> bool {
        let closed = |(key, row): (GroupKey, &GroupRow)| {
            let asked = || self.places.range((key, UserKey::MIN)..).next().is_some_and(|((group, _), _)| *group == key);
            row.claim.is_some() && row.live.is_empty() && asked()
        };
        self.groups.get(&group).is_some_and(closed)
    }

    /// Up to `most` open groups, by name, after `after`.
    pub fn groups_after(&self, after: Option<&GroupName>, most: usize) -> Vec<GroupEntry> {
        let from = match after {
            Some(after) => Bound::Excluded((after.clone(), GroupKey::of(u32::MAX as usize - 1))),
            None => Bound::Unbounded,
        };
        let page = self.open.range((from, Bound::Unbounded)).take(most);
        page.filter_map(|(name, group)| self.group_entry(*group, name)).collect()
    }

    fn group_entry(&self, group: GroupKey, name: &GroupName) -> Option<GroupEntry> {
        let admin = &self.users[self.admin_key(group, None)?];
        let row = &self.groups[group];
        let (name, admin_name) = (name.clone(), admin.shown.clone()?);
        Some(GroupEntry { id: row.id, name, admin: admin.id, admin_name, members: row.people })
    }
}
