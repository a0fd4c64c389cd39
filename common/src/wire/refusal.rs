//! What a user may be told instead of an answer. The texts name the cause and the remedy.

use serde::{Deserialize, Serialize};

use crate::id::{FileName, GroupName, UserName};
use crate::wire::limits::{MAX_PASSWORD, MIN_PASSWORD, Text};

/// A command was understood and not carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub enum Refusal {
    /// Peer and tracker speak different protocol versions.
    #[error("this tracker speaks protocol version {theirs}, this client {ours}; install the same release on both")]
    Version {
        /// The version asked for.
        ours: u16,
        /// The version spoken by whoever answers.
        theirs: u16,
    },
    /// The command needs a login.
    #[error("you are not logged in; use `login <user>`, or `create_user <user>` if you have no account")]
    NotLoggedIn,
    /// Unknown user or wrong password: never says which.
    #[error("wrong user or password")]
    BadCredentials,
    /// The session was ended elsewhere or has expired.
    #[error("your session has ended; use `login <user>`")]
    SessionEnded,
    /// The user name is taken.
    #[error("the user name `{0}` is taken; choose another, or `login {0}` if it is yours")]
    UserExists(UserName),
    /// No such user.
    #[error("there is no user `{0}` here; check the spelling")]
    NoSuchUser(UserName),
    /// The group name is taken.
    #[error("the group name `{0}` is taken; choose another, or `join_group {0}`")]
    GroupExists(GroupName),
    /// No such group.
    #[error("there is no group `{0}`; `list_groups` shows all")]
    NoSuchGroup(GroupName),
    /// The user is not a member.
    #[error("you are not a member of `{0}`; ask with `join_group {0}`")]
    NotAMember(GroupName),
    /// The other user is not a member.
    #[error("`{user}` is not a member of `{group}`; `list_members {group}` shows who is")]
    UserNotAMember {
        /// Who is meant.
        user: UserName,
        /// The group.
        group: GroupName,
    },
    /// Only the admin may do this.
    #[error("only the admin of `{group}`, `{admin}`, can do this")]
    NotAdmin {
        /// The group.
        group: GroupName,
        /// Its admin.
        admin: UserName,
    },
    /// The user is a member already.
    #[error("you are already a member of `{0}`; try `list_files {0}`")]
    AlreadyMember(GroupName),
    /// The user has asked already.
    #[error("you have already asked to join `{0}`; its admin has to accept (`leave_group {0}` withdraws the request)")]
    AlreadyRequested(GroupName),
    /// There is no such request.
    #[error("`{user}` has not asked to join `{group}`; `list_requests {group}` shows who has")]
    NoSuchRequest {
        /// Who is meant.
        user: UserName,
        /// The group.
        group: GroupName,
    },
    /// Another file is shared under this name.
    #[error(
        "`{group}` already has another file named `{name}`; `--replace` puts yours in its place, `--name` gives it another name"
    )]
    FileExists {
        /// The group.
        group: GroupName,
        /// The share's name.
        name: FileName,
    },
    /// No such share.
    #[error("`{group}` has no file `{name}`; `list_files {group}` shows what it has")]
    NoSuchFile {
        /// The group.
        group: GroupName,
        /// What was asked for: a name, or `id:` and digits.
        name: Text,
    },
    /// `id:` with digits that several shares begin with, or the id of several things with the same bytes.
    #[error(
        "several shares of `{group}` have that id, or ids that begin with it: give a name, or more digits (`list_files {group}` \
         shows them)"
    )]
    AmbiguousId {
        /// The group.
        group: GroupName,
    },
    /// The password breaks the rule.
    #[error("a password has {MIN_PASSWORD} to {MAX_PASSWORD} bytes")]
    PasswordRule,
    /// An argument is out of range, in a way that the client should have noticed.
    #[error("{0}")]
    Invalid(Text),
    /// Too many failed attempts, or too many commands.
    #[error("too many attempts; wait {seconds} s and try again")]
    RateLimited {
        /// How long to wait, in seconds.
        seconds: u32,
    },
    /// The tracker has too much to do.
    #[error("the tracker is busy; try again in a moment")]
    Busy,
    /// The tracker's disk is full.
    #[error("the tracker's disk is full; its operator has to make room")]
    TrackerDiskFull,
    /// Something failed on the tracker that the user cannot mend.
    #[error("the tracker failed to carry this out; its log says why")]
    Internal,
    /// The tracker does not know yet what this client has already seen.
    #[error("this tracker is still catching up; try again in a moment")]
    Stale,
    /// The same content is shared in the group with other pieces.
    #[error("this content is already shared there in pieces of {piece_len} bytes; use `--piece-size {piece_len}`")]
    OtherPieceSize {
        /// Length of the pieces that it is shared with, in bytes.
        piece_len: u64,
    },
    /// The invitation lets nobody in: never says why.
    #[error(
        "this invitation does not let you in: it is unknown, expired, used up or revoked, its group is closed, or you were \
         removed after it was made; ask the group's admin for a new one"
    )]
    NoSuchInvite,
    /// The group has no invitation with this number.
    #[error("`{group}` has no invitation {number} that could be ended; `list_invites {group}` shows them")]
    NoSuchInviteNumber {
        /// The group.
        group: GroupName,
        /// What was asked for.
        number: u32,
    },
}

impl Refusal {
    /// The same refusal, where it speaks of a group, with the group called `name`: for a question that was asked under
    /// another name of the same group.
    #[must_use]
    pub fn about_group(mut self, name: &GroupName) -> Self {
        match &mut self {
            Self::GroupExists(group)
            | Self::NoSuchGroup(group)
            | Self::NotAMember(group)
            | Self::AlreadyMember(group)
            | Self::AlreadyRequested(group)
            | Self::UserNotAMember { group, .. }
            | Self::NotAdmin { group, .. }
            | Self::NoSuchRequest { group, .. }
            | Self::FileExists { group, .. }
            | Self::NoSuchFile { group, .. }
            | Self::AmbiguousId { group }
            | Self::NoSuchInviteNumber { group, .. } => name.clone_into(group),
            _ => {}
        }
        self
    }

    /// The stable code that scripts rely on.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotLoggedIn | Self::SessionEnded => "not_logged_in",
            Self::BadCredentials => "bad_credentials",
            Self::UserExists(_) => "user_exists",
            Self::NoSuchUser(_) => "no_such_user",
            Self::GroupExists(_) => "group_exists",
            Self::NoSuchGroup(_) => "no_such_group",
            Self::NotAMember(_) | Self::UserNotAMember { .. } => "not_a_member",
            Self::NotAdmin { .. } => "not_admin",
            Self::AlreadyMember(_) => "already_member",
            Self::AlreadyRequested(_) => "already_requested",
            Self::NoSuchRequest { .. } => "no_such_request",
            Self::FileExists { .. } => "file_exists",
            Self::NoSuchFile { .. } => "no_such_file",
            Self::AmbiguousId { .. } | Self::PasswordRule | Self::Invalid(_) | Self::OtherPieceSize { .. } => {
                "invalid_argument"
            }
            Self::RateLimited { .. } => "rate_limited",
            Self::Busy | Self::Stale => "busy",
            Self::TrackerDiskFull => "tracker_disk_full",
            Self::NoSuchInvite | Self::NoSuchInviteNumber { .. } => "no_such_invite",
            Self::Version { .. } | Self::Internal => "internal",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_at_a_tracker_is_no_internal_fault() {
        assert_eq!(Refusal::TrackerDiskFull.code(), "tracker_disk_full");
        assert_eq!(Refusal::Internal.code(), "internal");
    }
}
