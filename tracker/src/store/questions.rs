//! The state as a command asks it: in memory for those who only read; in the tables, within the writer's
//! transaction, for those who decide. Both answer alike (`oracle.rs`).

use common::id::{
    DeviceId, FileId, FileName, GroupId, GroupName, MembershipId, PublicationId, SessionId, UserId, UserName,
};
use common::ticket::UnixSeconds;
use common::wire::sync::{NameKind, VoteStage};

use super::error::Result;
use super::tables::Tables;
use crate::fact::{Hlc, KickId};
use crate::state::{self, Account, GroupEntry, LoginRow, Seat, Seeder, SeedingFact, SessionRow, Share, Standing};

/// The state as of one moment.
#[derive(Debug, Clone, Copy)]
pub enum State<'a> {
    /// What has been published.
    Memory(&'a state::State),
    /// With what the writer's transaction has so far.
    Tables(Tables<'a>),
}

macro_rules! questions {
    ($($(#[$doc:meta])* fn $name:ident($($argument:ident: $of:ty),*) -> $answer:ty;)*) => {
        impl State<'_> { $(
            $(#[$doc])*
            pub fn $name(&self, $($argument: $of),*) -> Result<$answer> {
                match self {
                    Self::Memory(state) => Ok(state.$name($($argument),*)),
                    Self::Tables(tables) => tables.$name($($argument),*),
                }
            }
        )* }
    };
}

questions! {
    /// The account that owns this very name, or is told apart by it.
    fn user(name: &UserName) -> Option<UserId>;
    /// Whether a user's name went to somebody else, and if so what it claimed.
    fn user_renamed(user: UserId) -> Option<UserName>;
    /// Whether a name that differs at most in case is taken.
    fn user_name_taken(name: &UserName) -> bool;
    /// The name of a user, as it is shown.
    fn user_name(user: UserId) -> Option<UserName>;
    /// The name that a user claimed.
    fn user_claim(user: UserId) -> Option<UserName>;
    /// What a login as `name` is checked against.
    fn account(name: &UserName) -> Option<Account>;
    /// The same, by id.
    fn account_of(user: UserId) -> Option<Account>;
    /// A login.
    fn session(session: SessionId) -> Option<SessionRow>;
    /// Whether a login was ended, also one whose beginning is not known here.
    fn session_ended(session: SessionId) -> bool;
    /// Logins that were ended since `since`, of users who share a group with `user`, at most `most`.
    fn sessions_ended_around(user: UserId, since: Hlc, most: u32) -> Vec<SessionId>;
    /// Logins of a user that hold at `now`, but for the newest `keep`.
    fn sessions_beyond(user: UserId, keep: u32, now: UnixSeconds) -> Vec<SessionId>;
    /// Logins of a user that hold at `now`, the newest first.
    fn sessions_that_hold(user: UserId, now: UnixSeconds) -> Vec<SessionId>;
    /// Logins of a user that hold at `now`, the newest first.
    fn logins(user: UserId, now: UnixSeconds) -> Vec<LoginRow>;
    /// The open group of this very name, or that is told apart by it.
    fn group(name: &GroupName) -> Option<GroupId>;
    /// Groups of `user` whose name went to another group: what each claimed, and is called now.
    fn groups_renamed(user: UserId) -> Vec<(GroupName, GroupName)>;
    /// The name of a group, as it is shown.
    fn group_name(group: GroupId) -> Option<GroupName>;
    /// What name a group claimed, and who made it.
    fn group_claim(group: GroupId) -> Option<(GroupName, UserId)>;
    /// Whether an open group has a name that differs at most in case.
    fn group_name_taken(name: &GroupName) -> bool;
    /// The admin of an open group: who was last made it and still is a member on the same
    /// membership, else whoever has been a member for longest.
    fn admin(group: GroupId) -> Option<UserId>;
    /// Who would be the admin if `gone` were not a member.
    fn admin_without(group: GroupId, gone: Option<UserId>) -> Option<UserId>;
    /// Whether this member was made the admin, as opposed to having become it when another left.
    fn admin_was_made(group: GroupId, user: UserId) -> bool;
    /// What `user` is to `group`.
    fn standing(group: GroupId, user: UserId) -> Standing;
    /// Whose request to join this is, and where.
    fn membership(membership: MembershipId) -> Option<(GroupId, UserId)>;
    /// Whether anybody has accepted this request to join.
    fn was_accepted(membership: MembershipId) -> bool;
    /// Who is the admin of a group now because this membership, which was its admin's, has ended. Nobody, if the admin
    /// was made that by another, or has been it before.
    fn admin_by_end_of(group: GroupId, ended: MembershipId) -> Option<UserId>;
    /// Every kick of `user` in `group`.
    fn kicks(group: GroupId, user: UserId) -> Vec<KickId>;
    /// The members of a group.
    fn members(group: GroupId) -> Vec<UserId>;
    /// Everyone who shares a group with `user`.
    fn fellows(user: UserId) -> Vec<UserId>;
    /// Up to `most` open groups, by name, after `after`.
    fn groups_after(after: Option<&GroupName>, most: usize) -> Vec<GroupEntry>;
    /// Up to `most` members of a group, by name, after `after`.
    fn members_after(group: GroupId, after: Option<&UserName>, most: usize) -> Vec<Seat>;
    /// Up to `most` users who ask to join a group, by name, after `after`.
    fn requests_after(group: GroupId, after: Option<&UserName>, most: usize) -> Vec<UserName>;
    /// Memberships that ended since `since`, in the groups of `user`. At most `most` of them.
    fn memberships_ended_around(user: UserId, since: Hlc, most: u32) -> Vec<(GroupId, MembershipId)>;
    /// Up to `most` shares of a group, by name, after `after`.
    fn shares_after(group: GroupId, after: Option<&FileName>, most: usize) -> Vec<Share>;
    /// The share of this name.
    fn share_named(group: GroupId, name: &FileName) -> Option<Share>;
    /// The share of this content that was published first.
    fn share_of(group: GroupId, file: FileId) -> Option<Share>;
    /// Shares whose file id lies in a range; of each file the one that was published first comes
    /// first. At most `most`.
    fn shares_between(group: GroupId, low: FileId, high: FileId, most: usize) -> Vec<Share>;
    /// Every publication under a name that is still seen.
    fn publications_named(group: GroupId, name: &FileName) -> Vec<PublicationId>;
    /// The name of another share that a person would take for this one.
    fn twin_of(group: GroupId, name: &FileName) -> Option<FileName>;
    /// Whether this membership carries a publication of this file under this name.
    fn has_published(membership: MembershipId, name: &FileName, file: FileId) -> bool;
    /// How many shares nobody else has published, and go when this user does.
    fn shares_only_of(group: GroupId, user: UserId) -> u32;
    /// Devices of members that say they seed a file, wherever they are now.
    fn seeders(group: GroupId, file: FileId) -> Vec<Seeder>;
    /// What a device last said about a file.
    fn seeding(group: GroupId, file: FileId, device: DeviceId) -> Option<SeedingFact>;
    /// Devices of one user that say they seed a file, and the memberships that this stands on.
    fn devices_seeding(group: GroupId, file: FileId, user: UserId) -> Vec<(DeviceId, MembershipId)>;
    /// What a user's device seeds, at most `most` files.
    fn seeded_by(device: DeviceId, user: UserId, most: usize) -> Vec<(GroupId, FileId)>;
    /// Open groups that a user is the admin of. If the user's memberships there are fewer than `enough`, their number.
    fn groups_run(user: UserId, enough: u32) -> u32;
    /// Groups that a user has made, closed ones included.
    fn groups_made(user: UserId) -> u32;
    /// Memberships and requests of a user that are not over. If all that there ever were are fewer than `enough`, that
    /// number.
    fn memberships_open(user: UserId, enough: u32) -> u32;
    /// Memberships and requests of a user, those that are over included.
    fn memberships_made(user: UserId) -> u32;
    /// Shares that a user has in a group. If all that were ever published there are fewer than `enough`, that number.
    fn shares_in(group: GroupId, user: UserId, enough: u32) -> u32;
    /// Shares that a user has published, wherever, those that are gone included.
    fn shares_made(user: UserId) -> u32;
    /// What the manifests that a user's shares refer to take, in bytes, as long as they are kept.
    fn manifest_bytes(user: UserId) -> u64;
    /// How far the vote on a name, given in lower case, has come.
    fn vote_stage(kind: NameKind, name: &str) -> Option<VoteStage>;
}

impl State<'_> {
    /// Whether two users share a group.
    pub fn are_fellows(&self, a: UserId, b: UserId) -> Result<bool> {
        match self {
            Self::Memory(state) => Ok(state.are_fellows(a, b)),
            Self::Tables(tables) => Ok(tables.fellows(a)?.contains(&b)),
        }
    }

    /// How many devices of members that say they seed a file are somewhere.
    pub fn count_seeders(
        &self,
        group: GroupId,
        file: FileId,
        is_here: impl Fn(DeviceId, UserId) -> bool,
    ) -> Result<u32> {
        match self {
            Self::Memory(state) => Ok(state.count_seeders(group, file, is_here)),
            Self::Tables(tables) => {
                let here = tables.seeders(group, file)?.iter().filter(|s| is_here(s.device, s.user)).count();
                Ok(u32::try_from(here).unwrap_or(u32::MAX))
            }
        }
    }
}
