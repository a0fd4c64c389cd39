//! Who is in a group, who was, and who wants to be.

use std::collections::BTreeSet;
use std::ops::Bound;

use common::id::{GroupId, MembershipId, UserId, UserName};

use super::keys::{GroupKey, Key, KickKey, MembershipKey, UserKey};
use super::rows::{Accepts, Asked, At, End, Kick};
use super::undo::{Earlier, Undo};
use super::{State, push, take_out};
use crate::fact::{Hlc, KickId};

/// What a user is to a group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    /// Memberships that count, the first one first. More than one only if two trackers each
    /// accepted one.
    pub live: Vec<MembershipId>,
    /// Requests that wait for an admin, the first one first.
    pub pending: Vec<MembershipId>,
}

impl Standing {
    /// The membership that new facts stand on, of a member.
    pub fn membership(&self) -> Option<MembershipId> {
        self.live.first().copied()
    }

    /// Everything that a leave or a kick ends.
    pub fn open(&self) -> impl Iterator<Item = MembershipId> + '_ {
        self.live.iter().chain(&self.pending).copied()
    }
}

/// A member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seat {
    /// Who.
    pub user: UserId,
    /// The name.
    pub name: UserName,
}

/// What a user is to a group, for its lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Outside,
    Waiting,
    Member,
}

impl State {
    pub(super) fn set_asked(&mut self, membership: MembershipKey, asked: Option<Asked>) -> Undo {
        let before = self.memberships[membership].asked;
        let undo = Undo(Earlier::Asked(membership, before));
        if let (Some(old), Some(new)) = (before, asked)
            && (old.group, old.user) == (new.group, new.user)
        {
            self.memberships[membership].asked = asked;
            self.refresh(new.group, new.user);
            return undo;
        }
        if let Some(old) = before {
            let was = self.place(old.group, old.user);
            self.set_live(old.group, membership, None);
            self.unchain(old, membership);
            self.memberships[membership].asked = None;
            take_out(&mut self.users[old.user].memberships, &membership);
            self.settle(old.group, old.user, was);
        }
        if let Some(new) = asked {
            let was = self.place(new.group, new.user);
            let before = self.places.insert((new.group, new.user), membership);
            let row = &mut self.memberships[membership];
            (row.asked, row.next) = (asked, before);
            push(&mut self.users[new.user].memberships, membership);
            self.refresh_from(new.group, new.user, was);
        }
        undo
    }

    /// Takes a membership out of the chain of those of the same user in the same group.
    fn unchain(&mut self, place: Asked, membership: MembershipKey) {
        let whose = (place.group, place.user);
        let next = self.memberships[membership].next.take();
        let chain: Vec<_> = self.of_place(place.group, place.user).collect();
        match chain.iter().position(|m| *m == membership).and_then(|n| n.checked_sub(1)).map(|n| chain[n]) {
            Some(previous) => self.memberships[previous].next = next,
            None => match next {
                Some(next) => drop(self.places.insert(whose, next)),
                None => drop(self.places.remove(&whose)),
            },
        }
    }

    pub(super) fn set_accepts(&mut self, membership: MembershipKey, accepts: Accepts) -> Undo {
        let before = std::mem::replace(&mut self.memberships[membership].accepts, accepts);
        self.refresh_of(membership);
        Undo(Earlier::Accepts(membership, before))
    }

    pub(super) fn set_end(&mut self, membership: MembershipKey, end: Option<End>) -> Undo {
        let before = self.memberships[membership].end;
        if let Some(before) = before {
            self.ended.remove(&(before.at.hlc(), membership));
        }
        if let Some(end) = end {
            self.ended.insert((end.at.hlc(), membership));
        }
        let was = self.memberships[membership].asked.map(|a| (a, self.place(a.group, a.user)));
        self.memberships[membership].end = end;
        if let Some((asked, was)) = was {
            self.refresh_from(asked.group, asked.user, was);
        }
        Undo(Earlier::End(membership, before))
    }

    pub(super) fn set_kick(&mut self, kick: KickKey, fact: Option<Kick>) -> Undo {
        let before = std::mem::replace(&mut self.kicks[kick].fact, fact);
        self.note_removal(kick, before, fact);
        if let Some(old) = before {
            if let Some(of_place) = self.removals.get_mut(&(old.group, old.user)) {
                take_out(of_place, &kick);
            }
            self.refresh(old.group, old.user);
        }
        if let Some(new) = fact {
            push(self.removals.entry((new.group, new.user)).or_default(), kick);
            self.refresh(new.group, new.user);
        }
        Undo(Earlier::Kick(kick, before))
    }

    fn refresh_of(&mut self, membership: MembershipKey) {
        if let Some(asked) = self.memberships[membership].asked {
            self.refresh(asked.group, asked.user);
        }
    }

    /// Finds out anew which memberships of a user in a group are live.
    fn refresh(&mut self, group: GroupKey, user: UserKey) {
        let was = self.place(group, user);
        self.refresh_from(group, user, was);
    }

    fn refresh_from(&mut self, group: GroupKey, user: UserKey, was: Place) {
        let all: Vec<MembershipKey> = self.of_place(group, user).collect();
        for membership in all {
            let live = self.due(group, user, membership);
            self.set_live(group, membership, live);
        }
        self.settle(group, user, was);
    }

    /// The first acceptance that knew of every kick, unless the membership has ended.
    fn due(&self, group: GroupKey, user: UserKey, membership: MembershipKey) -> Option<At> {
        let row = &self.memberships[membership];
        let kicks = self.removals.get(&(group, user)).map_or(&[][..], Vec::as_slice);
        let knew = |seen: &[KickId]| kicks.iter().all(|k| seen.binary_search(&self.kicks[*k].id).is_ok());
        let counts = row.accepts.iter().filter(|(_, seen)| row.end.is_none() && knew(seen)).map(|(at, _)| at);
        counts.min_by_key(|at| self.stamp(*at))
    }

    fn set_live(&mut self, group: GroupKey, membership: MembershipKey, live: Option<At>) {
        let before = std::mem::replace(&mut self.memberships[membership].live, live);
        if before == live {
            return;
        }
        if let Some(before) = before {
            self.groups[group].live.remove(&(before.hlc(), membership));
        }
        if let Some(live) = live {
            self.groups[group].live.insert((live.hlc(), membership));
        }
        if before.is_some() != live.is_some() {
            let mut next = self.memberships[membership].publications;
            while let Some(publication) = next {
                next = self.publications[publication].next_of_membership;
                self.refresh_publication(publication);
            }
        }
    }

    /// What a user is to a group now, by what is derived.
    fn place(&self, group: GroupKey, user: UserKey) -> Place {
        let mut place = Place::Outside;
        for membership in self.of_place(group, user) {
            let row = &self.memberships[membership];
            if row.live.is_some() {
                return Place::Member;
            }
            if row.end.is_none() {
                place = Place::Waiting;
            }
        }
        place
    }

    /// Brings the group's lists up to date with what a user is to it, who `was` something.
    fn settle(&mut self, group: GroupKey, user: UserKey, was: Place) {
        let now = self.place(group, user);
        if was == now {
            return;
        }
        self.unlist(group, user, was);
        self.list(group, user, now);
        let people = &mut self.groups[group].people;
        *people = people.saturating_sub(u32::from(was == Place::Member)) + u32::from(now == Place::Member);
        self.count_open(group);
        self.show_group(group);
    }

    fn count_open(&mut self, group: GroupKey) {
        let row = &mut self.groups[group];
        let is_open = !row.live.is_empty();
        if row.open != is_open {
            row.open = is_open;
            self.open_groups = if is_open { self.open_groups + 1 } else { self.open_groups.saturating_sub(1) };
        }
    }

    fn unlist(&mut self, group: GroupKey, user: UserKey, place: Place) {
        let Some(shown) = self.users[user].shown.clone() else { return };
        let row = &mut self.groups[group];
        match place {
            Place::Outside => {}
            Place::Waiting => drop(row.waiting.remove(&(shown, user))),
            Place::Member => drop(row.members.remove(&(shown, user))),
        }
    }

    fn list(&mut self, group: GroupKey, user: UserKey, place: Place) {
        let Some(shown) = self.users[user].shown.clone() else { return };
        let row = &mut self.groups[group];
        match place {
            Place::Outside => {}
            Place::Waiting => drop(row.waiting.insert((shown, user))),
            Place::Member => drop(row.members.insert((shown, user))),
        }
    }

    fn places_of(&self, user: UserKey) -> BTreeSet<GroupKey> {
        self.users[user].memberships.iter().filter_map(|m| self.memberships[*m].asked.map(|a| a.group)).collect()
    }

    /// Before a user is called otherwise.
    pub(super) fn leave_lists(&mut self, user: UserKey) {
        for group in self.places_of(user) {
            self.unlist(group, user, self.place(group, user));
        }
    }

    /// After a user is called otherwise.
    pub(super) fn enter_lists(&mut self, user: UserKey) {
        for group in self.places_of(user) {
            self.list(group, user, self.place(group, user));
        }
    }

    /// Everything that a user ever asked a group, the last to arrive first.
    pub(super) fn of_place(&self, group: GroupKey, user: UserKey) -> impl Iterator<Item = MembershipKey> {
        let first = self.places.get(&(group, user)).copied();
        std::iter::successors(first, |m| self.memberships[*m].next)
    }

    pub(super) fn is_member(&self, group: GroupKey, user: UserKey) -> bool {
        self.of_place(group, user).any(|m| self.memberships[m].live.is_some())
    }

    /// Whether both are members of one group, or are the same member of any.
    pub(super) fn share_a_group(&self, a: UserKey, b: UserKey) -> bool {
        let few = if self.users[a].memberships.len() <= self.users[b].memberships.len() { (a, b) } else { (b, a) };
        self.live_of(few.0).any(|(group, _)| self.is_member(group, few.1))
    }

    /// Live memberships of a user, and where.
    /// The groups that a user is a member of.
    pub fn groups_of(&self, user: UserId) -> Vec<GroupId> {
        let Some(user) = self.users.find(&user) else { return Vec::new() };
        let groups: BTreeSet<GroupKey> = self.live_of(user).map(|(group, _)| group).collect();
        groups.into_iter().map(|group| self.groups[group].id).collect()
    }

    pub(super) fn live_of(&self, user: UserKey) -> impl Iterator<Item = (GroupKey, MembershipKey)> {
        let live = |m: &MembershipKey| {
            let row = &self.memberships[*m];
            row.live.and(row.asked).map(|asked| (asked.group, *m))
        };
        self.users[user].memberships.iter().filter_map(live)
    }

    /// What `user` is to `group`.
    pub fn standing(&self, group: GroupId, user: UserId) -> Standing {
        let (Some(group), Some(user)) = (self.groups.find(&group), self.users.find(&user)) else {
            return Standing::default();
        };
        let (mut live, mut pending) = (Vec::new(), Vec::new());
        for membership in self.of_place(group, user) {
            let row = &self.memberships[membership];
            match (row.live, row.asked) {
                (Some(at), Some(asked)) => live.push((self.stamp(at), self.stamp(asked.at), row.id)),
                (None, Some(asked)) if row.end.is_none() => pending.push((self.stamp(asked.at), row.id)),
                _ => {}
            }
        }
        live.sort_unstable();
        pending.sort_unstable();
        Standing {
            live: live.into_iter().map(|(.., id)| id).collect(),
            pending: pending.into_iter().map(|(_, id)| id).collect(),
        }
    }

    /// Whose request to join this is, and where.
    pub fn membership(&self, membership: MembershipId) -> Option<(GroupId, UserId)> {
        let asked = self.memberships.get(&membership)?.1.asked?;
        Some((self.groups[asked.group].id, self.users[asked.user].id))
    }

    /// Whether anybody has accepted this request to join.
    pub fn was_accepted(&self, membership: MembershipId) -> bool {
        self.memberships.get(&membership).is_some_and(|(_, row)| row.accepts.iter().next().is_some())
    }

    /// Whether this request or membership is over, for good.
    pub fn has_ended(&self, membership: MembershipId) -> bool {
        self.memberships.get(&membership).is_some_and(|(_, row)| row.end.is_some())
    }

    /// Every kick of `user` in `group`, by id.
    pub fn kicks(&self, group: GroupId, user: UserId) -> Vec<KickId> {
        let whose = self.groups.find(&group).zip(self.users.find(&user));
        let kicks = whose.and_then(|whose| self.removals.get(&whose));
        let mut all: Vec<_> = kicks.into_iter().flatten().map(|k| self.kicks[*k].id).collect();
        all.sort_unstable();
        all
    }

    fn member_keys(&self, group: GroupKey) -> BTreeSet<UserKey> {
        let live = self.groups[group].live.iter();
        live.filter_map(|(_, m)| self.memberships[*m].asked.map(|a| a.user)).collect()
    }

    /// The members of a group.
    pub fn members(&self, group: GroupId) -> Vec<UserId> {
        let Some(group) = self.groups.find(&group) else { return Vec::new() };
        self.member_keys(group).into_iter().map(|u| self.users[u].id).collect()
    }

    /// Everyone who shares a group with `user`.
    pub fn fellows(&self, user: UserId) -> Vec<UserId> {
        let Some(user) = self.users.find(&user) else { return Vec::new() };
        let groups: BTreeSet<_> = self.live_of(user).map(|(group, _)| group).collect();
        let all: BTreeSet<_> = groups.into_iter().flat_map(|group| self.member_keys(group)).collect();
        all.into_iter().map(|u| self.users[u].id).collect()
    }

    /// Up to about `most` of those who share a group with `user`, found in as many steps: of a large group some.
    pub fn some_fellows(&self, user: UserId, most: usize) -> Vec<UserId> {
        let Some(user) = self.users.find(&user) else { return Vec::new() };
        let groups: BTreeSet<_> = self.live_of(user).map(|(group, _)| group).take(most).collect();
        let each = most.div_ceil(groups.len().max(1));
        let live = groups.into_iter().flat_map(|group| self.groups[group].live.iter().take(each));
        let all: BTreeSet<_> = live.filter_map(|(_, m)| self.memberships[*m].asked.map(|a| a.user)).collect();
        all.into_iter().filter(|fellow| *fellow != user).map(|u| self.users[u].id).collect()
    }

    /// Whether two users share a group.
    pub fn are_fellows(&self, a: UserId, b: UserId) -> bool {
        self.users.find(&a).zip(self.users.find(&b)).is_some_and(|(a, b)| self.share_a_group(a, b))
    }

    /// Up to `most` members of a group, by name, after `after`.
    pub fn members_after(&self, group: GroupId, after: Option<&UserName>, most: usize) -> Vec<Seat> {
        let Some((_, row)) = self.groups.get(&group) else { return Vec::new() };
        let seat = |(name, user): &(UserName, UserKey)| Seat { user: self.users[*user].id, name: name.clone() };
        by_name(&row.members, after).take(most).map(seat).collect()
    }

    /// Up to `most` users who ask to join a group, by name, after `after`.
    pub fn requests_after(&self, group: GroupId, after: Option<&UserName>, most: usize) -> Vec<UserName> {
        let Some((_, row)) = self.groups.get(&group) else { return Vec::new() };
        let mut names: Vec<UserName> = Vec::new();
        for (name, _) in by_name(&row.waiting, after) {
            if names.last() != Some(name) {
                if names.len() == most {
                    break;
                }
                names.push(name.clone());
            }
        }
        names
    }

    /// Memberships that ended since `since`, in the groups of `user`. At most `most` of them, the last first.
    pub fn memberships_ended_around(&self, user: UserId, since: Hlc, most: u32) -> Vec<(GroupId, MembershipId)> {
        let Some(user) = self.users.find(&user) else { return Vec::new() };
        let recent = self.ended.range((Bound::Included((since, MembershipKey::MIN)), Bound::Unbounded)).rev();
        let concerns = |(_, m): &(Hlc, MembershipKey)| {
            let row = &self.memberships[*m];
            let asked = row.asked.filter(|a| row.accepts.iter().next().is_some() && self.is_member(a.group, user))?;
            Some((self.groups[asked.group].id, row.id))
        };
        recent.filter_map(concerns).take(most as usize).collect()
    }
}

fn by_name<'a>(
    set: &'a super::set::OrdSet<(UserName, UserKey)>,
    after: Option<&UserName>,
) -> impl Iterator<Item = &'a (UserName, UserKey)> + use<'a> {
    let from = match after {
        Some(after) => set.from((after.clone(), UserKey::MIN)),
        None => set.iter(),
    };
    let after = after.cloned();
    from.skip_while(move |(name, _)| Some(name) == after.as_ref())
}
