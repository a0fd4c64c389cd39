//! Invitations, and what came of them.
//!
//! A membership that came by an invitation stands on its acceptance like any other: what becomes of the invitation later takes
//! nothing from it. So two trackers that could not hear each other may let in more than an invitation was for; all of them stay.

use std::collections::{BTreeMap, BTreeSet};

use common::id::{GroupId, MembershipId, OriginId, UserId};
use common::invitation::InviteDigest;
use common::ticket::UnixSeconds;

use super::State;
use super::keys::{GroupKey, InvitationKey, Key, KickKey, MembershipKey, RunKey, Table, UserKey};
use super::rows::{At, Invitation, InvitationRow, Kick};
use super::undo::{Earlier, Undo};
use crate::fact::{Hlc, InvitationId, KickId};

/// What is known of invitations.
#[derive(Debug, Default)]
pub(super) struct Invitations {
    pub(super) rows: Table<InvitationRow>,
    /// Which invitation a membership came by: few did.
    pub(super) redeemed: BTreeMap<MembershipKey, (InvitationKey, At)>,
    /// Which invitation an account was made by.
    pub(super) sponsored: BTreeMap<UserKey, (InvitationKey, At)>,
    // Derived.
    /// Which memberships came by an invitation, and into a group by any, by time.
    uses: BTreeSet<(InvitationKey, Hlc, MembershipKey)>,
    came_in: BTreeSet<(GroupKey, Hlc, MembershipKey)>,
    by_secret: BTreeSet<(InviteDigest, InvitationKey)>,
    /// By number, and those that have the same one by their ids: in an order that does not depend on what was heard of first.
    of_group: BTreeSet<(GroupKey, u32, InvitationId, InvitationKey)>,
    /// How many a user has made, and into each group.
    made: BTreeMap<UserKey, u32>,
    made_into: BTreeMap<(GroupKey, UserKey), u32>,
    /// Removals from a group, of each run by time.
    removals: BTreeSet<(GroupKey, RunKey, Hlc, KickKey)>,
}

/// An invitation, as the rules see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvitationEntry {
    /// Its id.
    pub id: InvitationId,
    /// Where to.
    pub group: GroupId,
    /// Who made it.
    pub by: UserId,
    /// By which number admins speak of it.
    pub number: u32,
    /// How many may come by it.
    pub uses: u32,
    /// How many have.
    pub used: u32,
    /// Accounts that were made by it.
    pub accounts: u32,
    /// From when on nobody may.
    pub expires: UnixSeconds,
    /// Whether an admin has ended it.
    pub revoked: bool,
}

impl State {
    pub(super) fn set_invitation(&mut self, key: InvitationKey, fact: Option<Invitation>) -> Undo {
        let before = std::mem::replace(&mut self.invitations.rows[key].fact, fact);
        let id = self.invitations.rows[key].id;
        if let Some(old) = &before {
            self.invitations.by_secret.remove(&(old.secret, key));
            self.invitations.of_group.remove(&(old.group, old.number, id, key));
            one_less(&mut self.invitations.made, old.user);
            one_less(&mut self.invitations.made_into, (old.group, old.user));
        }
        if let Some(new) = &self.invitations.rows[key].fact {
            self.invitations.by_secret.insert((new.secret, key));
            self.invitations.of_group.insert((new.group, new.number, id, key));
            *self.invitations.made.entry(new.user).or_default() += 1;
            *self.invitations.made_into.entry((new.group, new.user)).or_default() += 1;
        }
        let Invitations { rows, uses, came_in, .. } = &mut self.invitations;
        let of_it = (key, Hlc::default(), MembershipKey::MIN)..(after(key), Hlc::default(), MembershipKey::MIN);
        for (_, at, membership) in uses.range(of_it) {
            if let Some(old) = &before {
                came_in.remove(&(old.group, *at, *membership));
            }
            if let Some(new) = &rows[key].fact {
                came_in.insert((new.group, *at, *membership));
            }
        }
        Undo(Earlier::Invitation(key, before))
    }

    pub(super) fn set_invitation_end(&mut self, key: InvitationKey, end: Option<At>) -> Undo {
        let before = std::mem::replace(&mut self.invitations.rows[key].end, end);
        Undo(Earlier::InvitationEnd(key, before))
    }

    pub(super) fn set_redeemed(&mut self, membership: MembershipKey, fact: Option<(InvitationKey, At)>) -> Undo {
        let redeemed = &mut self.invitations.redeemed;
        let before = match fact {
            Some(fact) => redeemed.insert(membership, fact),
            None => redeemed.remove(&membership),
        };
        let Invitations { rows, uses, came_in, .. } = &mut self.invitations;
        if let Some((old, at)) = before {
            rows[old].used = rows[old].used.saturating_sub(1);
            uses.remove(&(old, at.hlc(), membership));
            if let Some(invitation) = &rows[old].fact {
                came_in.remove(&(invitation.group, at.hlc(), membership));
            }
        }
        if let Some((new, at)) = fact {
            rows[new].used += 1;
            uses.insert((new, at.hlc(), membership));
            if let Some(invitation) = &rows[new].fact {
                came_in.insert((invitation.group, at.hlc(), membership));
            }
        }
        Undo(Earlier::Redeemed(membership, before))
    }

    pub(super) fn set_sponsored(&mut self, user: UserKey, fact: Option<(InvitationKey, At)>) -> Undo {
        let sponsored = &mut self.invitations.sponsored;
        let before = match fact {
            Some(fact) => sponsored.insert(user, fact),
            None => sponsored.remove(&user),
        };
        let rows = &mut self.invitations.rows;
        if let Some((old, _)) = before {
            rows[old].accounts = rows[old].accounts.saturating_sub(1);
        }
        if let Some((new, _)) = fact {
            rows[new].accounts += 1;
        }
        Undo(Earlier::Sponsored(user, before))
    }

    /// Keeps the removals of each group by run and time.
    pub(super) fn note_removal(&mut self, kick: KickKey, before: Option<Kick>, now: Option<Kick>) {
        let entry = |k: Kick| (k.group, k.at.run, k.at.hlc(), kick);
        if let Some(before) = before {
            self.invitations.removals.remove(&entry(before));
        }
        if let Some(now) = now {
            self.invitations.removals.insert(entry(now));
        }
    }

    /// Of each run, the time of the last removal from a group that is known: what an invitation that is made now has seen.
    pub fn last_removals(&self, group: GroupId) -> Vec<(OriginId, Hlc)> {
        let Some(group) = self.groups.find(&group) else { return Vec::new() };
        let from = |run: RunKey| (group, run, Hlc::default(), KickKey::MIN);
        let (lowest, mut below) = (from(RunKey::MIN), from(RunKey::of(u32::MAX as usize - 1)));
        let mut last = Vec::new();
        // From the last run to the first, one step each.
        while let Some((_, run, hlc, _)) = self.invitations.removals.range(lowest..below).next_back() {
            last.push((self.runs[*run].id, *hlc));
            below = from(*run);
        }
        last.sort_unstable();
        last
    }

    /// An invitation.
    pub fn invitation(&self, invitation: InvitationId) -> Option<InvitationEntry> {
        self.invitation_entry(self.invitations.rows.find(&invitation)?)
    }

    /// Invitations with this secret, the first one first. More than one only if somebody used a secret twice.
    pub fn invitations_by(&self, secret: InviteDigest) -> Vec<InvitationEntry> {
        let lowest = (secret, InvitationKey::MIN);
        let all = self.invitations.by_secret.range(lowest..).take_while(|(other, _)| *other == secret);
        let dated = |(_, key): &(InviteDigest, InvitationKey)| {
            let fact = self.invitations.rows[*key].fact.as_ref()?;
            Some((self.stamp(fact.at), self.invitation_entry(*key)?))
        };
        let mut found: Vec<_> = all.filter_map(dated).collect();
        found.sort_unstable_by_key(|(stamp, _)| *stamp);
        found.into_iter().map(|(_, entry)| entry).collect()
    }

    /// Up to `most` invitations into a group, by number, but for the first `skip`.
    pub fn invitations_into(&self, group: GroupId, skip: usize, most: usize) -> Vec<InvitationEntry> {
        let Some(group) = self.groups.find(&group) else { return Vec::new() };
        let all = self.numbered(group, 0).filter_map(|(_, key)| self.invitation_entry(key));
        all.skip(skip).take(most).collect()
    }

    /// Those with this number: more than one only if two trackers that could not hear each other gave it.
    pub fn invitations_numbered(&self, group: GroupId, number: u32) -> Vec<InvitationEntry> {
        let Some(group) = self.groups.find(&group) else { return Vec::new() };
        let all = self.numbered(group, number).take_while(|(other, _)| *other == number);
        all.filter_map(|(_, key)| self.invitation_entry(key)).collect()
    }

    /// The number of the next invitation into a group.
    pub fn next_invitation_number(&self, group: GroupId) -> u32 {
        let Some(group) = self.groups.find(&group) else { return 1 };
        let highest = (group, u32::MAX, InvitationId([u8::MAX; 16]), InvitationKey::of(u32::MAX as usize - 1));
        let last = self.invitations.of_group.range(lowest(group, 0)..=highest).next_back();
        last.map_or(1, |(_, number, ..)| number.saturating_add(1))
    }

    /// Which memberships came into a group by invitations since then, the last first.
    pub(super) fn came_in(&self, group: GroupKey, since: Hlc) -> impl Iterator<Item = (Hlc, MembershipKey)> {
        let all = self
            .invitations
            .came_in
            .range((group, since, MembershipKey::MIN)..(after(group), Hlc::default(), MembershipKey::MIN));
        all.rev().map(|(_, at, membership)| (*at, *membership))
    }

    fn numbered(&self, group: GroupKey, from: u32) -> impl Iterator<Item = (u32, InvitationKey)> {
        let all = self.invitations.of_group.range(lowest(group, from)..);
        all.take_while(move |(other, ..)| *other == group).map(|(_, number, _, key)| (*number, *key))
    }

    fn invitation_entry(&self, key: InvitationKey) -> Option<InvitationEntry> {
        let row = &self.invitations.rows[key];
        let fact = row.fact.as_ref()?;
        Some(InvitationEntry {
            id: row.id,
            group: self.groups[fact.group].id,
            by: self.users[fact.user].id,
            number: fact.number,
            uses: fact.uses,
            used: row.used,
            accounts: row.accounts,
            expires: fact.expires,
            revoked: row.end.is_some(),
        })
    }

    /// The removals of a user from the group of an invitation, if that was made knowing all of them.
    pub fn removals_seen_by(&self, invitation: InvitationId, user: UserId) -> Option<Vec<KickId>> {
        let fact = self.invitations.rows.get(&invitation)?.1.fact.as_ref()?;
        let seen = |kick: &KickKey| {
            let at = self.kicks[*kick].fact.map(|k| self.stamp(k.at))?;
            let knew = fact.kicks_seen.iter().any(|(run, last)| *run == at.origin && at.hlc <= *last);
            knew.then_some(self.kicks[*kick].id)
        };
        let Some(user) = self.users.find(&user) else { return Some(Vec::new()) };
        let kicks = self.removals.get(&(fact.group, user)).map_or(&[][..], Vec::as_slice);
        let mut all = kicks.iter().map(seen).collect::<Option<Vec<_>>>()?;
        all.sort_unstable();
        Some(all)
    }

    /// Invitations that a user has made, wherever.
    pub fn invitations_made(&self, user: UserId) -> u32 {
        self.users.find(&user).and_then(|user| self.invitations.made.get(&user)).copied().unwrap_or_default()
    }

    /// Invitations that a user has made into one group.
    pub fn invitations_made_into(&self, group: GroupId, user: UserId) -> u32 {
        let whose = self.groups.find(&group).zip(self.users.find(&user));
        whose.and_then(|whose| self.invitations.made_into.get(&whose)).copied().unwrap_or_default()
    }

    /// The invitation that a membership came by, if it did.
    pub fn invitation_of(&self, membership: MembershipId) -> Option<InvitationId> {
        let (key, _) = self.invitations.redeemed.get(&self.memberships.find(&membership)?)?;
        Some(self.invitations.rows[*key].id)
    }
}

/// The key of the row behind that of `key`.
fn after<K: Key>(key: K) -> K {
    K::of(key.index() + 1)
}

fn one_less<K: Ord>(counts: &mut BTreeMap<K, u32>, of: K) {
    if let std::collections::btree_map::Entry::Occupied(mut count) = counts.entry(of) {
        *count.get_mut() = count.get().saturating_sub(1);
        if *count.get() == 0 {
            count.remove();
        }
    }
}

/// Before all invitations into a group that have this number, or a higher one.
const fn lowest(group: GroupKey, number: u32) -> (GroupKey, u32, InvitationId, InvitationKey) {
    (group, number, InvitationId([0; 16]), InvitationKey::MIN)
}
