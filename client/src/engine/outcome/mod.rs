//! What commands come to: plain data, in the shape that `--json` prints. How people see it is
//! decided elsewhere.
//!
//! Field names and their order are an interface (docs and scripts rely on them). Sizes in bytes,
//! rates in bytes per second, digests in lower-case hex.

mod decode;
mod doctor;
mod downloads;
mod invitations;
mod json;
mod moment;
mod news;
mod settings;
mod shares;
mod status;

use std::num::NonZeroU32;
use std::path::PathBuf;

use common::id::{FileName, GroupName, UserName};
use common::wire::client::{self, Relation};
use serde::{Deserialize, Serialize};

pub use self::doctor::Finding;
pub use self::downloads::{DownloadRow, Downloaded, PeerShare};
pub use self::invitations::{CheckedInvite, InviteEnd, InviteRow, NewInvite};
pub(crate) use self::json::{invite_word, mode_word, relation_word};
pub use self::moment::Moment;
pub use self::news::{NewsRow, Subscribed, SubscriptionRow};
pub use self::settings::{LimitRow, LimitTable, SettingRow};
pub use self::shares::{
    FileRow, HitRow, Info, Kind, SeederRow, ShareRow, Skipped, TreeRow, Uploaded, UploadedFolder, VerifiedRow,
};
pub use self::status::{Limits, PageLink, Reach, ReachState, Status, TrackerRow};
pub use crate::download::State;
pub(crate) use crate::download::label;
pub use crate::share::ShareState;
use crate::units::count;

/// The result of a command that succeeded.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Outcome {
    /// There is a new account.
    UserCreated {
        /// Its name.
        user: UserName,
        /// Whether the name may still go to somebody else, who claimed it at the other tracker.
        provisional: bool,
    },
    /// Logged in.
    LoggedIn(User),
    /// Who is logged in.
    Whoami(User),
    /// The login has ended.
    LoggedOut {},
    /// The password is another.
    PasswordChanged {},
    /// There is a new group.
    GroupCreated {
        /// Its name.
        group: GroupName,
        /// Whether the name may still go to another group, which claimed it at the other tracker.
        provisional: bool,
    },
    /// All groups.
    Groups {
        /// The rows.
        groups: Vec<GroupRow>,
    },
    /// The admin has been asked.
    JoinRequested(Group),
    /// The membership or the request has ended.
    Left {
        /// Where.
        group: GroupName,
        /// What the user was to it: a member, or one who has asked.
        #[serde(serialize_with = "json::relation::serialize")]
        was: Relation,
        /// Shares of the user that went with it.
        withdrawn: u64,
    },
    /// Who asks to join.
    Requests {
        /// Where.
        #[serde(skip)]
        group: GroupName,
        /// The rows.
        requests: Vec<User>,
    },
    /// Let in.
    Accepted(Member),
    /// Turned down.
    Rejected(Member),
    /// Members.
    Members {
        /// The rows.
        members: Vec<MemberRow>,
    },
    /// Put out.
    Removed(Member),
    /// Has the admin's role now.
    AdminMade(Member),
    /// There is an invitation.
    Invited(NewInvite),
    /// A member, by an invitation.
    Joined(Group),
    /// What an invitation is for.
    Checked(CheckedInvite),
    /// Invitations.
    Invites {
        /// Where to.
        #[serde(skip)]
        group: GroupName,
        /// The rows, the first that was made first.
        invites: Vec<InviteRow>,
    },
    /// Nobody comes by it any more.
    InviteRevoked(InviteEnd),
    /// Published and seeded.
    Uploaded(Uploaded),
    /// Shares of a group.
    Files {
        /// Where.
        #[serde(skip)]
        group: GroupName,
        /// The rows.
        files: Vec<FileRow>,
        /// How many there are, on this page and the others.
        total: u64,
        /// Whether a pattern has left some out.
        #[serde(skip)]
        filtered: bool,
    },
    /// What is in a folder.
    Tree {
        /// Where.
        group: GroupName,
        /// Which share.
        name: FileName,
        /// Bytes of all files of the folder, or of that part of it.
        size: u64,
        /// Its files and empty folders.
        entries: u64,
        /// The rows.
        files: Vec<TreeRow>,
        /// How many of them fit, on this page and the others.
        total: u64,
    },
    /// Goes on in the background.
    Downloading {
        /// Its number.
        n: u64,
        /// Where.
        group: GroupName,
        /// Which share.
        name: String,
        /// Of one file of a folder, its path in there.
        #[serde(skip_serializing_if = "Option::is_none")]
        within: Option<String>,
    },
    /// Complete and verified.
    Downloaded(Downloaded),
    /// All downloads.
    Downloads {
        /// The rows.
        downloads: Vec<DownloadRow>,
    },
    /// Paused.
    Paused {
        /// Its number.
        n: u64,
    },
    /// Goes on.
    Resumed {
        /// Its number.
        n: u64,
    },
    /// Given up.
    Cancelled {
        /// Its number.
        n: u64,
    },
    /// No longer seeded from here.
    Stopped {
        /// Where.
        group: GroupName,
        /// Which share.
        name: FileName,
        /// Where the copy was that has been removed: one that was made of a file from a browser.
        #[serde(skip_serializing_if = "Option::is_none", serialize_with = "json::path_if_any")]
        removed: Option<PathBuf>,
    },
    /// What this device seeds.
    Shares {
        /// The rows.
        shares: Vec<ShareRow>,
    },
    /// Where the user is logged in.
    Devices {
        /// The rows.
        devices: Vec<DeviceRow>,
    },
    /// Logged out on a device.
    LoginEnded {
        /// Which, in hex.
        device: String,
        /// Whether that is this one.
        here: bool,
    },
    /// What was found.
    Hits {
        /// The rows, the best first.
        hits: Vec<HitRow>,
        /// Whether there is another page.
        more: bool,
        /// Whether all words are of one or two letters: then they are looked for only where words begin.
        #[serde(skip)]
        short: bool,
        /// Which page it is, from 1; `None` if none was asked for.
        #[serde(skip)]
        page: Option<NonZeroU32>,
    },
    /// What has happened.
    News {
        /// The rows, the first first.
        news: Vec<NewsRow>,
        /// When they were last shown here.
        #[serde(skip_serializing_if = "Option::is_none")]
        since: Option<Moment>,
        /// Whether those are among them that were shown before.
        #[serde(skip)]
        all: bool,
    },
    /// What is shared from now on comes by itself.
    Subscribed(Subscribed),
    /// What comes by itself.
    Subscriptions {
        /// The rows.
        subscriptions: Vec<SubscriptionRow>,
    },
    /// Nothing more comes by itself.
    Unsubscribed {
        /// Its number.
        n: u64,
        /// Which group.
        group: GroupName,
    },
    /// All that there is to know of a share.
    Info(Info),
    /// What lies here is what was published.
    Verified(VerifiedRow),
    /// What may be sent and fetched.
    Limits(LimitTable),
    /// What is set.
    Settings {
        /// The rows.
        settings: Vec<SettingRow>,
    },
    /// How everything is.
    Status(Status),
    /// Whether all is well.
    Findings {
        /// What was looked at, in its order.
        findings: Vec<Finding>,
    },
    /// Text about the commands.
    Help {
        /// The text.
        help: String,
    },
    /// The page is open.
    Web(PageLink),
    /// The face is about to leave.
    Quit {},
    /// The client is about to end.
    ShutDown {},
    /// This, and only the tracker that has answered has it so far: the other one is away. Never of itself, nor of a name, which
    /// says so by `provisional` of its own; in JSON, [`Data`] adds that.
    OfOneTracker(Box<Self>),
}

impl Outcome {
    /// What was done, where only one of two trackers has it so far.
    #[must_use]
    pub(crate) fn of_one_tracker(self) -> Self {
        match self {
            Self::UserCreated { user, .. } => Self::UserCreated { user, provisional: true },
            Self::GroupCreated { group, .. } => Self::GroupCreated { group, provisional: true },
            other => Self::OfOneTracker(Box::new(other)),
        }
    }

    /// What was done, whoever has it.
    pub fn done(&self) -> &Self {
        if let Self::OfOneTracker(done) = self { done } else { self }
    }

    /// The same, without keeping what else there is to know.
    #[must_use]
    pub fn into_done(self) -> Self {
        if let Self::OfOneTracker(done) = self { *done } else { self }
    }

    /// Whether only one of two trackers has it so far.
    pub const fn is_provisional(&self) -> bool {
        matches!(
            self,
            Self::OfOneTracker(_)
                | Self::UserCreated { provisional: true, .. }
                | Self::GroupCreated { provisional: true, .. }
        )
    }

    /// Why it counts as a failure, though it was done: something that was looked at is not as it should be.
    pub fn wrong(&self) -> Option<String> {
        let Self::Findings { findings } = self.done() else { return None };
        let bad = findings.iter().filter(|finding| !finding.ok).count() as u64;
        let all = count(findings.len() as u64, "thing", "things");
        match bad {
            0 => None,
            1 => Some(format!("1 of {all} is not as it should be")),
            _ => Some(format!("{bad} of {all} are not as they should be")),
        }
    }
}

/// An outcome as JSON has it: with `provisional`, where only one of two trackers has it so far.
#[derive(Debug, Serialize)]
pub struct Data<'a> {
    #[serde(flatten)]
    outcome: &'a Outcome,
    #[serde(skip_serializing_if = "Option::is_none")]
    provisional: Option<bool>,
}

impl<'a> From<&'a Outcome> for Data<'a> {
    fn from(outcome: &'a Outcome) -> Self {
        Self { outcome, provisional: matches!(outcome, Outcome::OfOneTracker(_)).then_some(true) }
    }
}

/// `{"user"}`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// Name.
    #[serde(flatten, with = "json::user_name")]
    pub user: UserName,
}

/// `{"group"}`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// Name.
    pub group: GroupName,
}

/// `{"group","user"}`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Where.
    pub group: GroupName,
    /// Who.
    pub user: UserName,
}

/// A group in a listing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupRow {
    /// Name.
    #[serde(flatten, with = "json::group_name")]
    pub group: GroupName,
    /// Its admin.
    pub admin: UserName,
    /// Number of members.
    pub members: u32,
    /// What the user is to it.
    #[serde(with = "json::relation")]
    pub relation: Relation,
}

/// A member in a listing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberRow {
    /// Name.
    #[serde(flatten, with = "json::user_name")]
    pub user: UserName,
    /// Whether the admin.
    pub admin: bool,
}

/// A device of the user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRow {
    /// Its id, in hex.
    pub device: String,
    /// When it logged in, in RFC 3339.
    pub since: String,
    /// Whether it is this one.
    pub here: bool,
}

impl From<client::GroupRow> for GroupRow {
    fn from(row: client::GroupRow) -> Self {
        Self { group: row.group, admin: row.admin, members: row.members, relation: row.relation }
    }
}

impl From<client::MemberRow> for MemberRow {
    fn from(row: client::MemberRow) -> Self {
        Self { user: row.user, admin: row.admin }
    }
}
