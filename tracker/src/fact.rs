//! Facts and their stamps: what the state of a tracker is made of. Pure.
//!
//! A command is decided into [`Fact`]s, each of which states one fact. An event carries the
//! facts of one command under one [`Stamp`]; no two events have the same stamp. Facts are
//! joined to the state by `State::join`, in which neither order nor repetition matters.
//!
//! The variants' order is stored and shipped: append only.

use common::id::{
    DeviceId, FileId, FileName, GroupId, GroupName, MembershipId, OriginId, PublicationId, SessionId, UserId, UserName,
};
use common::invitation::InviteDigest;
use common::ticket::UnixSeconds;
use serde::{Deserialize, Serialize};

/// A hybrid logical time (Kulkarni et al., "Logical Physical Clocks", 2014): milliseconds since
/// 1970 above, a counter in the low 16 bits. It orders events; nothing expires by it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Hlc(u64);

/// Bits of the counter.
const COUNTER_BITS: u32 = 16;
/// The largest time: SQLite's integers have a sign.
const MOST: u64 = i64::MAX as u64;

impl Hlc {
    /// From its stored form; a negative number, which is never stored, reads as the earliest time.
    pub fn from_stored(raw: i64) -> Self {
        Self(u64::try_from(raw).unwrap_or_default())
    }

    /// Its stored form, which sorts as it does.
    pub const fn to_stored(self) -> i64 {
        if self.0 > MOST { i64::MAX } else { self.0 as i64 }
    }

    /// The first time of the millisecond `ms` since 1970.
    pub const fn at_millis(ms: u64) -> Self {
        let most = MOST >> COUNTER_BITS;
        Self((if ms > most { most } else { ms }) << COUNTER_BITS)
    }

    /// Milliseconds since 1970, as far as the clocks involved were right.
    pub const fn millis(self) -> u64 {
        self.0 >> COUNTER_BITS
    }
}

/// The clock of one tracker. It never goes backward, whatever the wall clock does.
#[derive(Debug, Clone, Copy, Default)]
pub struct HybridClock {
    last: Hlc,
}

impl HybridClock {
    /// Goes on after `last`, the largest time that was stored.
    pub const fn after(last: Hlc) -> Self {
        Self { last }
    }

    /// A time later than any before, and not before the wall clock's `now_ms`.
    pub fn tick(&mut self, now_ms: u64) -> Hlc {
        self.last = Hlc(self.last.0.saturating_add(1).min(MOST)).max(Hlc::at_millis(now_ms));
        self.last
    }

    /// Takes note of a time that another tracker has used.
    pub fn absorb(&mut self, seen: Hlc) {
        self.last = self.last.max(seen);
    }

    /// The largest time so far.
    pub const fn last(&self) -> Hlc {
        self.last
    }
}

/// When and by whom something was stated. Totally ordered, and unique to an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Stamp {
    /// When.
    pub hlc: Hlc,
    /// Which run of which tracker.
    pub origin: OriginId,
}

macro_rules! fact_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub [u8; 16]);

        impl From<[u8; 16]> for $name {
            fn from(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }
        }
    };
}

fact_id!(
    /// One password that a user had.
    CredentialId
);
fact_id!(
    /// One act of removing a user from a group.
    KickId
);
fact_id!(
    /// One invitation into a group.
    InvitationId
);

/// BLAKE3 of a manifest in its canonical form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ManifestId(pub [u8; 32]);

/// Why a membership, or a request for one, is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum EndReason {
    /// Its holder left, or withdrew the request.
    Left,
    /// The admin turned the request down.
    Rejected,
    /// The admin removed the member.
    Kicked,
}

impl EndReason {
    /// Its stored form.
    pub const fn to_stored(self) -> i64 {
        match self {
            Self::Left => 0,
            Self::Rejected => 1,
            Self::Kicked => 2,
        }
    }
}

/// One fact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fact {
    /// There is an account, and it claims a name.
    User {
        /// The account.
        id: UserId,
        /// What it claims.
        name: UserName,
    },
    /// A user has had this password.
    Credential {
        /// This password.
        id: CredentialId,
        /// Whose.
        user: UserId,
        /// Its argon2 hash in PHC form.
        phc: String,
    },
    /// A login.
    Session {
        /// It.
        id: SessionId,
        /// Whose.
        user: UserId,
        /// Where.
        device: DeviceId,
        /// Until when, unless it is ended.
        expires: UnixSeconds,
    },
    /// A login stands on the user's first so many passwords.
    SessionBound {
        /// The login.
        session: SessionId,
        /// How many.
        credentials: u32,
    },
    /// A login was ended.
    SessionEnded {
        /// The login.
        session: SessionId,
    },
    /// There is a group, and it claims a name.
    Group {
        /// It.
        id: GroupId,
        /// What it claims.
        name: GroupName,
        /// Who made it.
        creator: UserId,
    },
    /// A group's admin is now this member.
    Admin {
        /// The group.
        group: GroupId,
        /// The user.
        user: UserId,
        /// The membership that the role ends with.
        membership: MembershipId,
    },
    /// A user asks to be a member.
    Requested {
        /// The request, and the membership that may come of it.
        membership: MembershipId,
        /// Where.
        group: GroupId,
        /// Who.
        user: UserId,
    },
    /// A request was accepted.
    Accepted {
        /// Which.
        membership: MembershipId,
        /// Every kick of that user in that group that was known by then.
        kicks_seen: Vec<KickId>,
    },
    /// A request or membership is over, for good.
    Ended {
        /// Which.
        membership: MembershipId,
        /// Why.
        reason: EndReason,
    },
    /// A user was removed from a group: no acceptance that did not know of this counts.
    Kicked {
        /// This act.
        id: KickId,
        /// From where.
        group: GroupId,
        /// Whom.
        user: UserId,
    },
    /// A member published a file.
    Published {
        /// This act.
        id: PublicationId,
        /// Where.
        group: GroupId,
        /// Under which name.
        name: FileName,
        /// The content.
        file: FileId,
        /// How it is cut and hashed.
        manifest: ManifestId,
        /// Who.
        user: UserId,
        /// The membership that it stands on.
        membership: MembershipId,
    },
    /// A publication was replaced or taken back.
    Withdrawn {
        /// Which.
        publication: PublicationId,
    },
    /// A device seeds a file, or no longer does.
    Seeding {
        /// Where.
        group: GroupId,
        /// Which.
        file: FileId,
        /// The device.
        device: DeviceId,
        /// Its user.
        user: UserId,
        /// The membership that it stands on.
        membership: MembershipId,
        /// Whether it does.
        on: bool,
    },
    /// An admin has made an invitation.
    Invited {
        /// It.
        id: InvitationId,
        /// Where to.
        group: GroupId,
        /// Who made it.
        user: UserId,
        /// By which number admins speak of it. Two trackers that cannot hear each other may give one number twice.
        number: u32,
        /// The hash of its secret.
        secret: InviteDigest,
        /// How many may come by it.
        uses: u32,
        /// From when on nobody may.
        expires: UnixSeconds,
        /// Of each run, the time of its last removal from this group that was known by then: whoever was removed later does
        /// not come back by this invitation. Removals of one run are known in their order.
        kicks_seen: Vec<(OriginId, Hlc)>,
    },
    /// Nobody comes by this invitation any more.
    InvitationRevoked {
        /// Which.
        invitation: InvitationId,
    },
    /// A membership came by an invitation.
    Redeemed {
        /// The membership.
        membership: MembershipId,
        /// By which.
        invitation: InvitationId,
    },
    /// An account was made by an invitation.
    Sponsored {
        /// The account.
        user: UserId,
        /// By which.
        invitation: InvitationId,
    },
}

/// Version of the body of events that state nothing but what the first release knows.
pub const FIRST_VERSION: u32 = 1;
/// Version of the body of events that state anything of invitations.
pub const INVITATIONS_VERSION: u32 = 2;
/// The latest version that is understood here. What an event of a later one states is kept and passed on.
pub const LATEST_VERSION: u32 = INVITATIONS_VERSION;

impl Fact {
    /// The version of events that can state it: a release that knows only earlier ones keeps and passes on the whole event.
    pub const fn version(&self) -> u32 {
        match self {
            Self::Invited { .. } | Self::InvitationRevoked { .. } | Self::Redeemed { .. } | Self::Sponsored { .. } => {
                INVITATIONS_VERSION
            }
            Self::User { .. }
            | Self::Credential { .. }
            | Self::Session { .. }
            | Self::SessionBound { .. }
            | Self::SessionEnded { .. }
            | Self::Group { .. }
            | Self::Admin { .. }
            | Self::Requested { .. }
            | Self::Accepted { .. }
            | Self::Ended { .. }
            | Self::Kicked { .. }
            | Self::Published { .. }
            | Self::Withdrawn { .. }
            | Self::Seeding { .. } => FIRST_VERSION,
        }
    }

    /// Whether it gives or publishes something: what is refused while the disk has hardly any room. What takes
    /// away, or lets an admin in who would take away, is not.
    pub const fn adds(&self) -> bool {
        match self {
            Self::User { .. }
            | Self::Group { .. }
            | Self::Requested { .. }
            | Self::Accepted { .. }
            | Self::Published { .. }
            | Self::Invited { .. }
            | Self::Redeemed { .. }
            | Self::Sponsored { .. }
            | Self::Seeding { on: true, .. } => true,
            Self::Credential { .. }
            | Self::Session { .. }
            | Self::SessionBound { .. }
            | Self::SessionEnded { .. }
            | Self::Admin { .. }
            | Self::Ended { .. }
            | Self::Kicked { .. }
            | Self::Withdrawn { .. }
            | Self::InvitationRevoked { .. }
            | Self::Seeding { on: false, .. } => false,
        }
    }

    /// Whether tickets may be void by it: every client that it concerns must hear of it.
    pub const fn revokes(&self) -> bool {
        matches!(self, Self::Ended { .. } | Self::SessionEnded { .. } | Self::Credential { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_clock_never_goes_backward(steps in proptest::collection::vec((any::<bool>(), any::<u64>()), 1..50)) {
            let mut clock = HybridClock::default();
            for (remote, ms) in steps {
                let before = clock.last();
                if remote {
                    clock.absorb(Hlc::at_millis(ms));
                    prop_assert!(clock.last() >= before);
                } else if before.to_stored() < i64::MAX {
                    let now = clock.tick(ms);
                    prop_assert!(now > before);
                }
                prop_assert_eq!(Hlc::from_stored(clock.last().to_stored()), clock.last());
            }
        }
    }

    #[test]
    fn time_follows_the_wall_clock_and_counts_within_a_millisecond() {
        let mut clock = HybridClock::default();
        assert_eq!(clock.tick(1000).millis(), 1000);
        assert_eq!(clock.tick(1000).millis(), 1000);
        assert_eq!(clock.tick(5).millis(), 1000, "a step back is ignored");
        assert_eq!(clock.tick(2000), Hlc::at_millis(2000));
    }
}
