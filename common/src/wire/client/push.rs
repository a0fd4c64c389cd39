//! What a tracker tells a client without being asked.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::PeerRow;
use crate::id::{DeviceId, FileId, GroupId, GroupName, MembershipId, UserName};
use crate::ticket::{Revocation, Signed};

/// News from the tracker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub enum Push {
    /// Somebody asks to join a group that the receiver administers.
    JoinRequested {
        /// Where.
        group: GroupName,
        /// Who.
        user: UserName,
    },
    /// The receiver is a member now.
    Accepted {
        /// Where.
        group: GroupName,
    },
    /// The receiver's request was turned down.
    Rejected {
        /// Where.
        group: GroupName,
    },
    /// The receiver is no longer a member; its shares there are withdrawn.
    Removed {
        /// Where.
        group: GroupName,
        /// The membership that ended.
        membership: MembershipId,
    },
    /// The receiver is the admin now.
    MadeAdmin {
        /// Where.
        group: GroupName,
    },
    /// Tickets that are void from now on.
    Revoked(Signed<Revocation>),
    /// A device of the group has begun to seed a file.
    SeederUp {
        /// The group.
        group_id: GroupId,
        /// The file.
        file_id: FileId,
        /// Who.
        peer: PeerRow,
    },
    /// The receiver's login was ended elsewhere.
    SessionEnded,
    /// The name that the receiver claimed for itself went to somebody else.
    UserRenamed {
        /// The name that was claimed.
        claimed: UserName,
        /// What the receiver is called now.
        now: UserName,
    },
    /// The name of a group that the receiver is in went to another group.
    GroupRenamed {
        /// The name that was claimed.
        claimed: GroupName,
        /// What the group is called now.
        now: GroupName,
    },
    /// A member of a group of the receiver's wants to know whether others can connect to it. Only for clients that have said
    /// ([`Request::AnnounceAs`](super::Request::AnnounceAs)) that they know it. To be answered by [`Request::ProbeResult`](super::Request::ProbeResult) on the same connection.
    Probe {
        /// What the answer is about.
        id: u64,
        /// Which device has to be there.
        device: DeviceId,
        /// Where.
        #[cfg_attr(test, proptest(strategy = "crate::wire::round_trip::address()"))]
        address: SocketAddr,
    },
    /// There are news of a group of the receiver's: a hint to ask which ([`Request::News`](super::Request::News)). Only on connections where
    /// that was asked before, with versions or without: others do not know it.
    NewsHint {
        /// The group.
        group_id: GroupId,
        /// When it is told, in milliseconds since 1970.
        at: u64,
    },
}

impl Push {
    /// That there are news of a group, told now.
    pub fn news_hint(group_id: GroupId) -> Self {
        Self::NewsHint { group_id, at: crate::ticket::now() * 1000 }
    }
}
