//! What the trackers have agreed on, as a value: users, names and votes, groups and who is in them, shares and who seeds
//! them, logins, and how much each user takes. Pure: it knows no SQL, no I/O, no clock and no wire.
//!
//! [`State::join`] is the one way in for facts, whether they were decided here or at the other tracker. Invariant: the state
//! is a function of the *set* of stamped facts that were joined, of the manifests that are here and of this tracker's votes.
//! Neither order nor repetition matters (`tests.rs`). For this, what was stated lies in fields of its own, each set by one
//! function, which then keeps what is derived from it: so a fact can also be taken away again (see [`State::forget`]).
//!
//! Every question is answered along an index, most of them in the time of a few look-ups, whatever the size.
//! What a thing takes, in bytes (`tests/size.rs` measures it): a share that one device seeds about 525, with its name and the
//! head of its manifest, when names come in order; a member 255.

mod accounts;
mod facts;
mod find_shares;
mod groups;
mod invitations;
mod join;
mod keys;
mod latest;
mod members;
mod names;
mod news;
mod rows;
mod seeders;
mod set;
mod shares;
#[cfg(test)]
pub(crate) mod tests;
mod undo;
mod usage;

use std::collections::{BTreeMap, BTreeSet};

use common::id::{GroupName, OriginId, TreeId};

pub use accounts::{Account, LoginRow, SessionRow};
pub use groups::GroupEntry;
pub use invitations::InvitationEntry;
pub use members::{Seat, Standing};
pub use news::{Mark, News, NewsPage, NewsQuery, What};
pub use rows::{Folder, ManifestHead};
pub use seeders::{Seeder, SeedingFact};
pub use shares::{ListedShare, Share, ShareId};
pub use undo::Undo;

use crate::fact::{Hlc, Stamp};
use crate::vote::{NameKind, Vote};
use keys::{
    GroupKey, Index, KickKey, ManifestKey, MembershipKey, PublicationKey, SessionKey, ShareKey, Table, UserKey,
};
use rows::{
    At, CredentialRow, DeviceRow, FileRow, GroupRow, KickRow, ManifestRow, MembershipRow, PublicationRow, RunRow,
    ShareRow, Tally, UserRow,
};

/// Everything that is known.
#[derive(Debug, Default)]
pub struct State {
    // What was stated, in rows by number.
    runs: Table<RunRow>,
    users: Table<UserRow>,
    credentials: Table<CredentialRow>,
    sessions: Table<rows::SessionRow>,
    devices: Table<DeviceRow>,
    groups: Table<GroupRow>,
    memberships: Table<MembershipRow>,
    kicks: Table<KickRow>,
    files: Table<FileRow>,
    shares: Table<ShareRow>,
    publications: Table<PublicationRow>,
    manifests: Table<ManifestRow>,
    /// What else is known of those manifests that are here and are folders'.
    folders: BTreeMap<ManifestKey, Folder>,
    invitations: invitations::Invitations,
    /// This tracker's votes, by the name in lower case.
    votes: BTreeMap<(NameKind, Box<str>), Vote>,
    // Derived.
    /// The manifests of folders by their trees.
    trees: BTreeSet<(TreeId, ManifestKey)>,
    /// Users by what they claim, in any case.
    claims: Index,
    /// Groups by what they claim, in any case.
    group_claims: Index,
    /// Groups that have members, by the name that is shown.
    open: BTreeSet<(GroupName, GroupKey)>,
    /// Who ever asked to be in a group: the last request, which names the one before it.
    places: BTreeMap<(GroupKey, UserKey), MembershipKey>,
    /// Who was removed from a group.
    removals: BTreeMap<(GroupKey, UserKey), Vec<KickKey>>,
    /// Ends of memberships, by time.
    ended: BTreeSet<(Hlc, MembershipKey)>,
    /// Ends of logins, by time.
    logouts: BTreeSet<(Hlc, SessionKey)>,
    /// Publications that were withdrawn, by when.
    withdrawals: BTreeSet<(Hlc, PublicationKey)>,
    /// Passwords, by time: whose.
    passwords: BTreeSet<(Hlc, UserKey)>,
    /// Shares of a user in a group.
    tallies: BTreeMap<(UserKey, GroupKey), Tally>,
    accounts: u64,
    open_groups: u64,
    /// Not what is known, but what whoever follows has not seen of it: shares that have come, gone or changed.
    changed: BTreeSet<ShareKey>,
}

impl State {
    /// Accounts.
    pub const fn user_count(&self) -> u64 {
        self.accounts
    }

    /// Groups with members.
    pub const fn open_group_count(&self) -> u64 {
        self.open_groups
    }

    fn at(&mut self, stamp: Stamp) -> At {
        At::new(stamp.hlc, self.runs.intern(stamp.origin))
    }

    fn stamp(&self, at: At) -> Stamp {
        Stamp { hlc: at.hlc(), origin: self.origin(at) }
    }

    fn origin(&self, at: At) -> OriginId {
        self.runs[at.run].id
    }

    /// Whether `new` comes before `old`: of facts that should say the same the first one holds.
    fn is_earlier(&self, new: Stamp, old: Option<At>) -> bool {
        old.is_none_or(|old| new < self.stamp(old))
    }

    /// Whether `new` comes after `old`: what is said again holds.
    fn is_later(&self, new: Stamp, old: Option<At>) -> bool {
        old.is_none_or(|old| new > self.stamp(old))
    }
}

/// `name~hhhhhhhh`, by which whoever lost a name is told apart, as its two parts.
fn split_reference(name: &str) -> (&str, Option<&str>) {
    match name.rsplit_once('~') {
        Some((base, digits)) if digits.len() == 8 && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) => {
            (base, Some(digits))
        }
        _ => (name, None),
    }
}

/// The first eight hexadecimal digits of an id.
fn digits(id: &[u8]) -> String {
    id.iter().take(4).fold(String::with_capacity(8), |mut text, byte| {
        for half in [byte >> 4, byte & 15] {
            text.push(char::from_digit(u32::from(half), 16).unwrap_or('0'));
        }
        text
    })
}

/// For what is few most of the time: no room for more is taken in advance.
fn push<T>(all: &mut Vec<T>, value: T) {
    if all.len() < 4 {
        all.reserve_exact(1);
    }
    all.push(value);
}

/// Takes one of them away, if it is there; the order of the others changes.
fn take_out<T: PartialEq>(all: &mut Vec<T>, value: &T) {
    if let Some(at) = all.iter().position(|v| v == value) {
        all.swap_remove(at);
    }
}
