//! The state as the facts that it is made of, and what is derived from them, in an order of their own: by these two
//! states are compared.

use std::collections::{BTreeMap, BTreeSet};

use common::id::{MembershipId, OriginId, UserName};

use super::State;
use super::keys::UserKey;
use super::set::OrdSet;
use crate::fact::{Fact, Hlc, Stamp};

/// Of facts that need no stamp.
const UNSTAMPED: OriginId = OriginId::new([0; 16]);

impl State {
    /// Every fact, with its stamp: joined to an empty state, in any order, they give this one.
    pub fn facts(&self) -> Vec<(Stamp, Fact)> {
        let mut all = Vec::new();
        self.account_facts(&mut all);
        self.group_facts(&mut all);
        self.share_facts(&mut all);
        self.invitation_facts(&mut all);
        all
    }

    fn account_facts(&self, all: &mut Vec<(Stamp, Fact)>) {
        for (_, row) in self.users.iter() {
            all.extend(row.claim.as_ref().map(|c| (self.stamp(c.at), Fact::User { id: row.id, name: c.name.clone() })));
        }
        for (_, row) in self.credentials.iter() {
            let Some(fact) = &row.fact else { continue };
            let (user, phc) = (self.users[fact.user].id, fact.phc.to_string());
            all.push((self.stamp(fact.at), Fact::Credential { id: row.id, user, phc }));
        }
        for (_, row) in self.sessions.iter() {
            if let Some(fact) = row.fact {
                let (user, device) = (self.users[fact.user].id, self.devices[fact.device].id);
                let session = Fact::Session { id: row.id, user, device, expires: fact.expires };
                all.push((self.stamp(fact.at), session));
            }
            if let Some(credentials) = row.bound {
                let stamp = Stamp { hlc: Hlc::default(), origin: UNSTAMPED };
                all.push((stamp, Fact::SessionBound { session: row.id, credentials }));
            }
            all.extend(row.end.map(|at| (self.stamp(at), Fact::SessionEnded { session: row.id })));
        }
    }

    fn group_facts(&self, all: &mut Vec<(Stamp, Fact)>) {
        for (_, row) in self.groups.iter() {
            if let Some(claim) = &row.claim {
                let (name, creator) = (claim.name.clone(), self.users[claim.creator].id);
                all.push((self.stamp(claim.at), Fact::Group { id: row.id, name, creator }));
            }
            if let Some(made) = row.admin {
                let (user, membership) = (self.users[made.user].id, self.memberships[made.membership].id);
                all.push((self.stamp(made.at), Fact::Admin { group: row.id, user, membership }));
            }
        }
        for (_, row) in self.memberships.iter() {
            if let Some(asked) = row.asked {
                let (group, user) = (self.groups[asked.group].id, self.users[asked.user].id);
                all.push((self.stamp(asked.at), Fact::Requested { membership: row.id, group, user }));
            }
            for (at, seen) in row.accepts.iter() {
                let accepted = Fact::Accepted { membership: row.id, kicks_seen: seen.to_vec() };
                all.push((self.stamp(at), accepted));
            }
            all.extend(row.end.map(|end| (self.stamp(end.at), Fact::Ended { membership: row.id, reason: end.reason })));
        }
        for (_, row) in self.kicks.iter() {
            let Some(fact) = row.fact else { continue };
            let (group, user) = (self.groups[fact.group].id, self.users[fact.user].id);
            all.push((self.stamp(fact.at), Fact::Kicked { id: row.id, group, user }));
        }
    }

    fn share_facts(&self, all: &mut Vec<(Stamp, Fact)>) {
        for (_, row) in self.publications.iter() {
            if let Some(fact) = row.fact {
                let share = &self.shares[fact.share];
                let file = &self.files[share.file];
                let published = Fact::Published {
                    id: row.id,
                    group: self.groups[file.group].id,
                    name: share.name.clone(),
                    file: file.id,
                    manifest: self.manifests[fact.manifest].id,
                    user: self.users[fact.user].id,
                    membership: self.memberships[fact.membership].id,
                };
                all.push((self.stamp(fact.at), published));
            }
            all.extend(row.withdrawn.map(|at| (self.stamp(at), Fact::Withdrawn { publication: row.id })));
        }
        for (_, row) in self.files.iter() {
            for seeder in &row.seeders {
                let seeding = Fact::Seeding {
                    group: self.groups[row.group].id,
                    file: row.id,
                    device: self.devices[seeder.device].id,
                    user: self.users[seeder.user].id,
                    membership: self.memberships[seeder.membership].id,
                    on: seeder.on,
                };
                all.push((self.stamp(seeder.at), seeding));
            }
        }
    }

    fn invitation_facts(&self, all: &mut Vec<(Stamp, Fact)>) {
        let rows = &self.invitations.rows;
        for (_, row) in rows.iter() {
            if let Some(fact) = &row.fact {
                let invited = Fact::Invited {
                    id: row.id,
                    group: self.groups[fact.group].id,
                    user: self.users[fact.user].id,
                    number: fact.number,
                    secret: fact.secret,
                    uses: fact.uses,
                    expires: fact.expires,
                    kicks_seen: fact.kicks_seen.to_vec(),
                };
                all.push((self.stamp(fact.at), invited));
            }
            all.extend(row.end.map(|at| (self.stamp(at), Fact::InvitationRevoked { invitation: row.id })));
        }
        for (membership, (invitation, at)) in &self.invitations.redeemed {
            let (membership, invitation) = (self.memberships[*membership].id, rows[*invitation].id);
            all.push((self.stamp(*at), Fact::Redeemed { membership, invitation }));
        }
        for (user, (invitation, at)) in &self.invitations.sponsored {
            let (user, invitation) = (self.users[*user].id, rows[*invitation].id);
            all.push((self.stamp(*at), Fact::Sponsored { user, invitation }));
        }
    }

    /// The same state, made anew of its facts in the opposite order, of its manifests and its votes.
    pub fn rebuilt(&self) -> Self {
        let mut new = Self::default();
        for (stamp, fact) in self.facts().iter().rev() {
            let _ = new.join(*stamp, fact);
        }
        for (manifest, row) in self.manifests.iter() {
            if let Some(head) = self.head(manifest) {
                let _ = new.add_manifest(row.id, head);
            }
        }
        for ((kind, name), vote) in &self.votes {
            let _ = new.set_vote(*kind, name, *vote);
        }
        new
    }

    /// Who is a member, and since when.
    pub fn live_memberships(&self) -> BTreeMap<MembershipId, Stamp> {
        let rows = self.memberships.iter();
        rows.filter_map(|(_, row)| row.live.map(|at| (row.id, self.stamp(at)))).collect()
    }

    /// Facts and what is derived from them, each said in a line: equal states say the same.
    pub fn said(&self) -> BTreeSet<String> {
        let facts = self.facts().into_iter().map(|(stamp, fact)| format!("{stamp:?} {fact:?}"));
        let mut all: BTreeSet<String> = facts.collect();
        for (key, u) in self.users.iter().filter(|(_, u)| u.claim.is_some() || u.shares_made + u.groups_made > 0) {
            let live: BTreeSet<_> = self.live_of(key).map(|(_, m)| self.memberships[m].id).collect();
            all.insert(format!(
                "user {:?} {:?} made {} groups, {} shares, {} pieces; {} logins, {} memberships, live {live:?}",
                u.id,
                u.shown,
                u.groups_made,
                u.shares_made,
                u.manifest_pieces,
                u.sessions.len(),
                u.memberships.len(),
            ));
        }
        for (_, g) in self.groups.iter() {
            let live: Vec<_> = g.live.iter().map(|(at, m)| (*at, self.memberships[*m].id)).collect();
            let names = |all: &OrdSet<(UserName, UserKey)>| -> Vec<_> {
                all.iter().map(|(name, user)| (name.clone(), self.users[*user].id)).collect()
            };
            let listed: BTreeSet<_> =
                g.listed.iter().map(|(name, s)| (name.clone(), self.files[self.shares[*s].file].id)).collect();
            let files: BTreeSet<_> = g.files.iter().map(|(_, file)| self.files[*file].id).collect();
            let (members, waiting): (BTreeSet<_>, BTreeSet<_>) =
                (names(&g.members).into_iter().collect(), names(&g.waiting).into_iter().collect());
            if g.claim.is_some() || !live.is_empty() {
                let live: BTreeSet<_> = live.into_iter().collect();
                all.insert(format!(
                    "group {:?} {:?} open {} {live:?} {} people {members:?} {waiting:?} {listed:?} {files:?}, last {:?}",
                    g.id,
                    g.shown,
                    g.open,
                    g.people,
                    g.latest.last(),
                ));
            }
        }
        for (_, p) in self.publications.iter().filter(|(_, p)| p.fact.is_some()) {
            let folder = p.fact.filter(|_| p.listed).and_then(|fact| self.folders.get(&fact.manifest));
            all.insert(format!("publication {:?} stands {} listed {} {folder:?}", p.id, p.stands, p.listed));
        }
        for ((user, group), tally) in self.tallies.iter().filter(|(_, t)| t.made > 0) {
            all.insert(format!("{:?} in {:?}: {tally:?}", self.users[*user].id, self.groups[*group].id));
        }
        for (_, row) in self.invitations.rows.iter().filter(|(_, i)| i.fact.is_some() || i.used + i.accounts > 0) {
            all.insert(format!("invitation {:?}: {} memberships, {} accounts", row.id, row.used, row.accounts));
        }
        for (_, group) in self.groups.iter() {
            let (into, removals) = (self.invitations_into(group.id, 0, usize::MAX), self.last_removals(group.id));
            if !into.is_empty() || !removals.is_empty() {
                all.insert(format!("group {:?}: invitations {into:?}, last removals {removals:?}", group.id));
            }
        }
        for (_, user) in self.users.iter().filter(|(_, u)| self.invitations_made(u.id) > 0) {
            all.insert(format!("user {:?} made {} invitations", user.id, self.invitations_made(user.id)));
        }
        all.insert(format!("{} accounts, {} open groups", self.accounts, self.open_groups));
        all.extend(self.open.iter().map(|(name, group)| format!("open {name:?} {:?}", self.groups[*group].id)));
        all.extend(self.ended.iter().map(|(at, m)| format!("ended {at:?} {:?}", self.memberships[*m].id)));
        all.extend(self.logouts.iter().map(|(at, s)| format!("logout {at:?} {:?}", self.sessions[*s].id)));
        all.extend(self.withdrawals.iter().map(|(at, p)| format!("withdrawal {at:?} {:?}", self.publications[*p].id)));
        all.extend(self.passwords.iter().map(|(at, u)| format!("password {at:?} {:?}", self.users[*u].id)));
        all
    }
}
