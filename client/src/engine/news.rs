//! What happens without anybody's command, as one calm sentence for people and a word for scripts.
//!
//! Sources are the trackers' pushes, the state of the connections to them, and the shares.

use std::time::Duration;

use common::escape::Escaped;
use common::id::{GroupName, UserName};
use common::wire::client::Push;
use serde::{Deserialize, Serialize};

use crate::trackers::Notice;
use crate::units::duration;

/// One piece of news.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct News {
    /// What happened.
    pub event: Happening,
    /// In which group, or what that is called now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<GroupName>,
    /// Who, or what the user is called now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<UserName>,
    /// The name that went to somebody else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claimed: Option<String>,
    /// Whether what was shared has taken the place of what had its name.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub new_version: bool,
    /// All of it as a sentence; what came from the network is escaped.
    pub text: String,
}

/// What there can be news of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Happening {
    /// Somebody asks to join a group of ours.
    JoinRequested,
    /// We were let in.
    Accepted,
    /// Our request was turned down.
    Rejected,
    /// We were put out.
    Removed,
    /// We have the admin's role now.
    MadeAdmin,
    /// Our name went to somebody else.
    UserRenamed,
    /// A group's name went to another one.
    GroupRenamed,
    /// A cluster was met for the first time.
    FirstContact,
    /// Commands go to a tracker; there was none before.
    Connected,
    /// Another tracker has taken over.
    Switched,
    /// The tracker lacks what the one that is away had.
    Behind,
    /// The only tracker was lost.
    Lost,
    /// A tracker may not be used.
    Unusable,
    /// The login was ended elsewhere, or has expired.
    SessionEnded,
    /// The login is not stored as it should be.
    SessionFile,
    /// Something was shared in a group of ours.
    FileShared,
    /// Somebody has come by an invitation.
    InvitationUsed,
    /// Something was missed.
    Missed,
    /// A download of this device is complete.
    Downloaded,
    /// A subscription leaves something alone.
    SubscriptionProblem,
    /// A subscription has ended, since we are out of its group.
    SubscriptionEnded,
    /// This machine's clock differs from the tracker's.
    ClockOff,
    /// A share is no longer seeded from here.
    ShareEnded,
    /// A share has another name in its group.
    ShareRenamed,
    /// Unfinished downloads of an earlier run are there.
    GoingOn,
    /// The client ends, because somebody said `shutdown`.
    ShutDown,
}

impl Happening {
    /// Whether it concerns the user's groups and names, and comes from the trackers.
    pub fn is_of_groups(self) -> bool {
        match self {
            Self::JoinRequested
            | Self::Accepted
            | Self::Rejected
            | Self::Removed
            | Self::MadeAdmin
            | Self::UserRenamed
            | Self::GroupRenamed
            | Self::FileShared
            | Self::InvitationUsed => true,
            Self::FirstContact
            | Self::Connected
            | Self::Switched
            | Self::Behind
            | Self::Lost
            | Self::Unusable
            | Self::SessionEnded
            | Self::SessionFile
            | Self::ClockOff
            | Self::ShareEnded
            | Self::ShareRenamed
            | Self::GoingOn
            | Self::Missed
            | Self::Downloaded
            | Self::SubscriptionProblem
            | Self::SubscriptionEnded
            | Self::ShutDown => false,
        }
    }
}

impl News {
    /// News that are about no group and no user.
    pub(crate) fn of(event: Happening, text: String) -> Self {
        Self { event, group: None, user: None, claimed: None, new_version: false, text }
    }

    pub(super) fn in_group(event: Happening, group: &GroupName, text: String) -> Self {
        Self { group: Some(group.clone()), ..Self::of(event, text) }
    }

    pub(super) fn join_requested(group: &GroupName, user: &UserName) -> Self {
        let text = format!("{user} asks to join `{group}`: `accept_request {group} {user}` lets them in");
        Self { user: Some(user.clone()), ..Self::in_group(Happening::JoinRequested, group, text) }
    }

    pub(super) fn accepted(group: &GroupName) -> Self {
        let text = format!("you are a member of `{group}` now: `list_files {group}` shows its files");
        Self::in_group(Happening::Accepted, group, text)
    }

    pub(super) fn rejected(group: &GroupName) -> Self {
        Self::in_group(Happening::Rejected, group, format!("your request to join `{group}` was turned down"))
    }

    pub(super) fn removed(group: &GroupName) -> Self {
        let text = format!("you are no longer a member of `{group}`; your shares there are withdrawn");
        Self::in_group(Happening::Removed, group, text)
    }

    pub(super) fn made_admin(group: &GroupName) -> Self {
        Self::in_group(Happening::MadeAdmin, group, format!("you are the admin of `{group}` now"))
    }

    /// News from the trackers, if they are for people: the rest is for the data rooms, or told by a notice of its own.
    pub(crate) fn of_push(push: &Push) -> Option<Self> {
        Some(match push {
            Push::JoinRequested { group, user } => Self::join_requested(group, user),
            Push::Accepted { group } => Self::accepted(group),
            Push::Rejected { group } => Self::rejected(group),
            Push::Removed { group, .. } => Self::removed(group),
            Push::MadeAdmin { group } => Self::made_admin(group),
            Push::UserRenamed { claimed, now } => {
                let text = format!("the name `{claimed}` went to somebody else; you are `{now}` now");
                let (user, claimed) = (Some(now.clone()), Some(claimed.to_string()));
                Self { user, claimed, ..Self::of(Happening::UserRenamed, text) }
            }
            Push::GroupRenamed { claimed, now } => {
                let text = format!("the name `{claimed}` went to another group; your group is `{now}` now");
                Self { claimed: Some(claimed.to_string()), ..Self::in_group(Happening::GroupRenamed, now, text) }
            }
            // What was shared is told once it is known.
            Push::NewsHint { .. }
            | Push::Revoked(_)
            | Push::SeederUp { .. }
            | Push::SessionEnded
            | Push::Probe { .. } => return None,
        })
    }

    /// News of the connections to the trackers.
    pub(crate) fn of_notice(notice: &Notice) -> Self {
        let (event, text) = match notice {
            Notice::FirstContact(pin) => {
                (Happening::FirstContact, format!("first contact with cluster {pin}; remembered"))
            }
            Notice::Connected(address) => (Happening::Connected, format!("connected to the tracker {address}")),
            Notice::Switched { from, to, reason } => {
                (Happening::Switched, format!("the tracker {to} has taken over from {from}: {}", Escaped(reason)))
            }
            Notice::Behind(address) => (
                Happening::Behind,
                format!(
                    "the tracker {address} does not have yet what only the other one had; going on without, until that one \
                     is back"
                ),
            ),
            Notice::Lost { address, reason } => {
                (Happening::Lost, format!("lost the tracker {address} ({}); trying to reach one", Escaped(reason)))
            }
            Notice::Unusable(e) => (Happening::Unusable, e.to_string()),
            Notice::SessionEnded => (Happening::SessionEnded, "your login has ended; use `login <user>`".to_owned()),
            Notice::SessionFile(e) => (Happening::SessionFile, format!("the login is not stored as it should be: {e}")),
            Notice::ClockOff(seconds) => {
                let off = duration(Duration::from_secs(*seconds));
                let text =
                    format!("this machine's clock and the tracker's differ by {off}; one of them should be set right");
                (Happening::ClockOff, text)
            }
        };
        Self::of(event, text)
    }

    /// News of a share that this device has stopped seeding by itself, or that has another name.
    pub(crate) fn of_share(notice: &crate::share::Notice) -> Self {
        let event = if notice.new_name().is_some() { Happening::ShareRenamed } else { Happening::ShareEnded };
        Self::in_group(event, &notice.group, notice.to_string())
    }
}
