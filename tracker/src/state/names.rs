//! What people and groups are called: by what they claim, if this tracker's vote says so, else told apart by their ids.

use std::collections::HashSet;
use std::hash::Hash;

use common::id::{GroupId, GroupName, UserId, UserName};
use common::wire::sync::VoteStage;

use super::keys::{GroupKey, Key, UserKey};
use super::rows::{GroupClaim, UserClaim};
use super::undo::{Earlier, Undo};
use super::{State, digits, split_reference};
use crate::vote::{Claim, NameKind, Vote};

/// The same for names that differ at most in case: they are ASCII.
struct AnyCase<'a>(&'a str);

impl Hash for AnyCase<'_> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.bytes().for_each(|b| state.write_u8(b.to_ascii_lowercase()));
    }
}

impl State {
    /// Puts this tracker's vote on a name, given in lower case, in the place of the one before.
    pub fn set_vote(&mut self, kind: NameKind, name: &str, vote: Vote) -> Undo {
        self.put_vote(kind, name, Some(vote))
    }

    pub(super) fn put_vote(&mut self, kind: NameKind, name: &str, vote: Option<Vote>) -> Undo {
        let key = (kind, name.into());
        let before = match vote {
            Some(vote) => self.votes.insert(key, vote),
            None => self.votes.remove(&key),
        };
        let owner = |vote: Option<Vote>| vote.map(|vote| vote.claim.owner);
        if owner(before) != owner(vote) {
            if let Some(owner) = owner(before) {
                self.count_vote(kind, owner, false);
            }
            if let Some(owner) = owner(vote) {
                self.count_vote(kind, owner, true);
            }
        }
        Undo(Earlier::Vote(kind, name.into(), before))
    }

    fn count_vote(&mut self, kind: NameKind, owner: [u8; 16], gained: bool) {
        let count = |votes: u32| if gained { votes + 1 } else { votes.saturating_sub(1) };
        match kind {
            NameKind::User => {
                let user = self.users.intern(UserId::new(owner));
                self.users[user].votes = count(self.users[user].votes);
                self.show_user(user);
            }
            NameKind::Group => {
                let group = self.groups.intern(GroupId::new(owner));
                self.groups[group].votes = count(self.groups[group].votes);
                self.show_group(group);
            }
        }
    }

    /// How far the vote on a name, given in lower case, has come.
    pub fn vote_stage(&self, kind: NameKind, name: &str) -> Option<VoteStage> {
        self.vote(kind, name).map(|vote| vote.stage)
    }

    /// This tracker's vote on a name, given in lower case.
    pub fn vote(&self, kind: NameKind, name: &str) -> Option<Vote> {
        self.votes.get(&(kind, name.into())).copied()
    }

    /// Claims on names on which this tracker has no vote yet, the first ones first: of accounts, and of groups with members.
    pub fn unvoted(&self) -> Vec<(NameKind, String, Claim)> {
        let users = self.users.iter().filter_map(|(_, row)| {
            let claim = row.claim.as_ref()?;
            Some((NameKind::User, claim.name.as_str(), claim.at, *row.id.as_bytes()))
        });
        let groups = self.groups.iter().filter(|(_, row)| !row.live.is_empty()).filter_map(|(_, row)| {
            let claim = row.claim.as_ref()?;
            Some((NameKind::Group, claim.name.as_str(), claim.at, *row.id.as_bytes()))
        });
        let claims = users.chain(groups).map(|(kind, name, at, owner)| {
            let claim = Claim { stamp: self.stamp(at), owner };
            (kind, name.to_ascii_lowercase(), claim)
        });
        let mut all: Vec<_> = claims.filter(|(kind, name, _)| self.vote(*kind, name).is_none()).collect();
        all.sort_unstable_by_key(|(.., claim)| *claim);
        let mut named = HashSet::new();
        all.retain(|(kind, name, _)| named.insert((*kind, name.clone())));
        all
    }

    // Users.

    pub(super) fn set_claim(&mut self, user: UserKey, claim: Option<UserClaim>) -> Undo {
        let before = std::mem::replace(&mut self.users[user].claim, claim);
        self.accounts -= u64::from(before.is_some());
        self.accounts += u64::from(self.users[user].claim.is_some());
        if let Some(before) = &before {
            self.claims.remove(self.claims.hash(&AnyCase(before.name.as_str())), user.index());
        }
        if let Some(claim) = &self.users[user].claim {
            let hash = self.claims.hash(&AnyCase(claim.name.as_str()));
            let (claims, users) = (&mut self.claims, &self.users);
            claims.insert(hash, user.index(), |hasher, k| {
                let name = users[UserKey::of(k)].claim.as_ref().map_or("", |c| c.name.as_str());
                std::hash::BuildHasher::hash_one(hasher, AnyCase(name))
            });
        }
        self.show_user(user);
        Undo(Earlier::Claim(user, before))
    }

    /// Finds out anew what a user is called.
    fn show_user(&mut self, user: UserKey) {
        let row = &self.users[user];
        let shown = row.claim.as_ref().and_then(|claim| match row.votes {
            0 => format!("{}~{}", claim.name.as_str(), digits(row.id.as_bytes())).parse().ok(),
            _ => Some(claim.name.clone()),
        });
        if row.shown != shown {
            self.leave_lists(user);
            self.users[user].shown = shown;
            self.enter_lists(user);
        }
    }

    fn claimants<'a>(&'a self, name: &'a str) -> impl Iterator<Item = UserKey> + 'a {
        let all = self.claims.all(self.claims.hash(&AnyCase(name))).map(UserKey::of);
        all.filter(|user| self.users[*user].claim.as_ref().is_some_and(|c| c.name.as_str().eq_ignore_ascii_case(name)))
    }

    /// The account that owns this very name, or is told apart by it.
    pub fn user(&self, name: &UserName) -> Option<UserId> {
        let claims = |user: UserKey, name: &str| {
            self.users[user].claim.as_ref().filter(|c| c.name.as_str() == name).map(|c| self.stamp(c.at))
        };
        match split_reference(name.as_str()) {
            (name, None) => {
                let vote = self.vote(NameKind::User, &name.to_ascii_lowercase())?;
                let (user, row) = self.users.get(&UserId::new(vote.claim.owner))?;
                claims(user, name).map(|_| row.id)
            }
            (name, Some(wanted)) => {
                let all = self.claimants(name).filter_map(|user| Some((claims(user, name)?, self.users[user].id)));
                let told_apart = all.filter(|(_, id)| digits(id.as_bytes()) == wanted);
                told_apart.min_by_key(|(stamp, _)| *stamp).map(|(_, id)| id)
            }
        }
    }

    /// Whether a user's name went to somebody else, and if so what it claimed.
    pub fn user_renamed(&self, user: UserId) -> Option<UserName> {
        let (_, row) = self.users.get(&user)?;
        row.claim.as_ref().filter(|_| row.votes == 0).map(|claim| claim.name.clone())
    }

    /// The name of an account that keeps `name` from being taken: equal but for case. The owner of the name comes first, then those
    /// that are shown with digits.
    pub fn user_name_like(&self, name: &UserName) -> Option<UserName> {
        let first = self.claimants(name.as_str()).map(|user| &self.users[user]).min_by_key(|row| row.votes == 0)?;
        // Not shown: too long for digits.
        Some(first.shown.clone().unwrap_or_else(|| name.clone()))
    }

    /// The name of a user, as it is shown.
    pub fn user_name(&self, user: UserId) -> Option<UserName> {
        self.users.get(&user)?.1.shown.clone()
    }

    /// The name that a user claimed.
    pub fn user_claim(&self, user: UserId) -> Option<UserName> {
        self.users.get(&user)?.1.claim.as_ref().map(|claim| claim.name.clone())
    }

    // Groups.

    pub(super) fn set_group_claim(&mut self, group: GroupKey, claim: Option<GroupClaim>) -> Undo {
        let before = std::mem::replace(&mut self.groups[group].claim, claim);
        if let Some(before) = &before {
            let made = &mut self.users[before.creator].groups_made;
            *made = made.saturating_sub(1);
            self.group_claims.remove(self.group_claims.hash(&AnyCase(before.name.as_str())), group.index());
        }
        if let Some(claim) = &self.groups[group].claim {
            self.users[claim.creator].groups_made += 1;
            let hash = self.group_claims.hash(&AnyCase(claim.name.as_str()));
            let (claims, groups) = (&mut self.group_claims, &self.groups);
            claims.insert(hash, group.index(), |hasher, k| {
                let name = groups[GroupKey::of(k)].claim.as_ref().map_or("", |c| c.name.as_str());
                std::hash::BuildHasher::hash_one(hasher, AnyCase(name))
            });
        }
        self.show_group(group);
        Undo(Earlier::GroupClaim(group, before))
    }

    /// Finds out anew what a group is called, and whether it is among those that have members.
    pub(super) fn show_group(&mut self, group: GroupKey) {
        let row = &self.groups[group];
        let shown: Option<GroupName> = row.claim.as_ref().and_then(|claim| match row.votes {
            0 => format!("{}~{}", claim.name.as_str(), digits(row.id.as_bytes())).parse().ok(),
            _ => Some(claim.name.clone()),
        });
        let is_open = !row.live.is_empty();
        let before = std::mem::replace(&mut self.groups[group].shown, shown.clone());
        if let Some(before) = before.filter(|b| Some(b) != shown.as_ref() || !is_open) {
            self.open.remove(&(before, group));
        }
        if let Some(shown) = shown.filter(|_| is_open) {
            self.open.insert((shown, group));
        }
    }

    fn group_claimants<'a>(&'a self, name: &'a str) -> impl Iterator<Item = GroupKey> + 'a {
        let all = self.group_claims.all(self.group_claims.hash(&AnyCase(name))).map(GroupKey::of);
        all.filter(|group| {
            self.groups[*group].claim.as_ref().is_some_and(|c| c.name.as_str().eq_ignore_ascii_case(name))
        })
    }

    /// The open group of this very name, or that is told apart by it.
    pub fn group(&self, name: &GroupName) -> Option<GroupId> {
        let claims = |group: GroupKey, name: &str| {
            let row = &self.groups[group];
            let claim = row.claim.as_ref().filter(|c| c.name.as_str() == name && !row.live.is_empty());
            claim.map(|c| self.stamp(c.at))
        };
        match split_reference(name.as_str()) {
            (name, None) => {
                let vote = self.vote(NameKind::Group, &name.to_ascii_lowercase())?;
                let (group, row) = self.groups.get(&GroupId::new(vote.claim.owner))?;
                claims(group, name).map(|_| row.id)
            }
            (name, Some(wanted)) => {
                let all =
                    self.group_claimants(name).filter_map(|group| Some((claims(group, name)?, self.groups[group].id)));
                let told_apart = all.filter(|(_, id)| digits(id.as_bytes()) == wanted);
                told_apart.min_by_key(|(stamp, _)| *stamp).map(|(_, id)| id)
            }
        }
    }

    /// The name of a group, as it is shown.
    pub fn group_name(&self, group: GroupId) -> Option<GroupName> {
        self.groups.get(&group)?.1.shown.clone()
    }

    /// What name a group claimed, and who made it.
    pub fn group_claim(&self, group: GroupId) -> Option<(GroupName, UserId)> {
        let claim = self.groups.get(&group)?.1.claim.as_ref()?;
        Some((claim.name.clone(), self.users[claim.creator].id))
    }

    /// The name of an open group that keeps `name` from being taken: equal but for case. The owner of the name comes first, then those
    /// that are shown with digits.
    pub fn group_name_like(&self, name: &GroupName) -> Option<GroupName> {
        let open =
            self.group_claimants(name.as_str()).map(|group| &self.groups[group]).filter(|row| !row.live.is_empty());
        let first = open.min_by_key(|row| row.votes == 0)?;
        // Not shown: too long for digits.
        Some(first.shown.clone().unwrap_or_else(|| name.clone()))
    }
}
