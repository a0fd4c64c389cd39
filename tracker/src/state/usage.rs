//! How much a user takes of what `quota` bounds: sums that are kept as facts are joined.

use std::collections::BTreeSet;

use common::id::{GroupId, UserId};
use common::manifest::PieceHash;

use super::State;
use super::keys::{GroupKey, ManifestKey, PublicationKey, UserKey};

impl State {
    /// Open groups that a user is the admin of. If the user's memberships there are fewer than `enough`, their number.
    pub fn groups_run(&self, user: UserId, enough: u32) -> u32 {
        let Some(user) = self.users.find(&user) else { return 0 };
        let all = number(self.live_of(user).count());
        if all < enough {
            return all;
        }
        let groups: BTreeSet<GroupKey> = self.live_of(user).map(|(group, _)| group).collect();
        number(groups.into_iter().filter(|group| self.admin_key(*group, None) == Some(user)).count())
    }

    /// Groups that a user has made, closed ones included.
    pub fn groups_made(&self, user: UserId) -> u32 {
        self.users.get(&user).map_or(0, |(_, row)| row.groups_made)
    }

    /// Memberships and requests of a user that are not over. If all that there ever were are fewer than `enough`, that
    /// number.
    pub fn memberships_open(&self, user: UserId, enough: u32) -> u32 {
        let all = self.memberships_made(user);
        let Some((_, row)) = self.users.get(&user).filter(|_| all >= enough) else { return all };
        number(row.memberships.iter().filter(|m| self.memberships[**m].end.is_none()).count())
    }

    /// Memberships and requests of a user, those that are over included.
    pub fn memberships_made(&self, user: UserId) -> u32 {
        self.users.get(&user).map_or(0, |(_, row)| number(row.memberships.len()))
    }

    /// Memberships and requests of a user in one group, those that are over included.
    pub fn requests_made_in(&self, group: GroupId, user: UserId) -> u32 {
        let whose = self.groups.find(&group).zip(self.users.find(&user));
        whose.map_or(0, |(group, user)| number(self.of_place(group, user).count()))
    }

    /// Shares that a user has in a group. If all that were ever published there are fewer than `enough`, that number.
    pub fn shares_in(&self, group: GroupId, user: UserId, enough: u32) -> u32 {
        let whose = self.users.find(&user).zip(self.groups.find(&group));
        let tally = whose.and_then(|whose| self.tallies.get(&whose)).copied().unwrap_or_default();
        if tally.made < enough { tally.made } else { tally.standing }
    }

    /// Shares that a user has published, wherever, those that are gone included.
    pub fn shares_made(&self, user: UserId) -> u32 {
        self.users.get(&user).map_or(0, |(_, row)| row.shares_made)
    }

    /// What the manifests and trees that a user's shares refer to take, in bytes, as long as they are kept. A tree counts
    /// with each manifest that names it.
    pub fn manifest_bytes(&self, user: UserId) -> u64 {
        self.users.get(&user).map_or(0, |(_, row)| row.manifest_pieces).saturating_mul(PieceHash::LEN as u64)
    }

    /// Keeps the sum of what a user's manifests take, when one of them comes or goes.
    pub(super) fn weigh(&mut self, user: UserKey, manifest: ManifestKey, named: bool) {
        let Some(head) = self.head(manifest) else { return };
        let of_tree = head.folder.map_or(0, |folder| folder.bytes.div_ceil(PieceHash::LEN as u64));
        let pieces = head.layout.len().div_ceil(head.layout.piece_len().max(1)).saturating_add(of_tree);
        let sum = &mut self.users[user].manifest_pieces;
        *sum = if named { sum.saturating_add(pieces) } else { sum.saturating_sub(pieces) };
    }

    /// Whether one of a user's publications names a manifest, but for this one.
    pub(super) fn names(&self, user: UserKey, manifest: ManifestKey, but: Option<PublicationKey>) -> bool {
        self.publications_of(manifest)
            .any(|p| Some(p) != but && self.publications[p].fact.is_some_and(|f| f.user == user))
    }

    /// Publications that name a manifest.
    pub(super) fn publications_of(&self, manifest: ManifestKey) -> impl Iterator<Item = PublicationKey> {
        let first = self.manifests[manifest].publications;
        std::iter::successors(first, |p| self.publications[*p].next_of_manifest)
    }
}

fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
