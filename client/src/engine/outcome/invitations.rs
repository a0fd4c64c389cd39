//! What commands about invitations come to.

use common::id::{GroupName, UserName};
use common::wire::client::InviteState;
use serde::{Deserialize, Serialize};

use super::Moment;
use super::json::invite_state;
use crate::engine::command::InviteLine;

/// An invitation that has just been made: the only time that its line is seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewInvite {
    /// The line to pass on.
    pub invite: InviteLine,
    /// Where to.
    pub group: GroupName,
    /// Its number in the list.
    pub n: u64,
    /// How many may come by it.
    pub uses: u32,
    /// Until when.
    pub expires: Moment,
    /// Whether it names trackers that only this machine can reach by what they are called in the list.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub local: bool,
}

/// An invitation in a listing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InviteRow {
    /// Its number.
    pub n: u64,
    /// How many may come by it.
    pub uses: u32,
    /// How many have.
    pub used: u32,
    /// Until when it is good.
    pub expires: Moment,
    /// Who made it.
    pub by: UserName,
    /// Whether it still lets anybody in.
    #[serde(with = "invite_state")]
    pub state: InviteState,
}

/// An invitation, as whoever holds its line may see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckedInvite {
    /// Where to.
    pub group: GroupName,
    /// Who made it.
    pub by: UserName,
    /// How many may still come by it.
    pub left: u32,
    /// Until when it is good.
    pub expires: Moment,
    /// Whether it is.
    #[serde(with = "invite_state")]
    pub state: InviteState,
}

impl CheckedInvite {
    /// Why it lets nobody in, and whom to ask.
    pub fn why_over(&self) -> Option<String> {
        let why = match self.state {
            InviteState::Open => return None,
            InviteState::UsedUp => "is used up".to_owned(),
            InviteState::Expired => format!("has expired ({})", self.expires.minute()),
            InviteState::Revoked => "was revoked".to_owned(),
            InviteState::Closed => "is over, as the group is: its last member has left".to_owned(),
        };
        let is_closed = self.state == InviteState::Closed;
        let remedy = if is_closed { String::new() } else { format!("; ask {} for another", self.by) };
        Some(format!("the invitation to `{}` by {} {why}{remedy}", self.group, self.by))
    }
}

/// `{"group","n"}`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InviteEnd {
    /// Where to.
    pub group: GroupName,
    /// Its number.
    pub n: u64,
}
