//! Short statements signed by the trackers: the ticket that opens a seeder's door, the token that
//! stands for a login, and the revocation that ends both early.
//!
//! A statement is signed as bytes under a domain of its own, and verified before those bytes are
//! parsed: what is not from the cluster is never interpreted. A ticket or token is worth nothing
//! without the private key of the device that it names.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::codec;
use crate::id::{DeviceId, GroupId, MembershipId, SessionId, TicketId, UserId, UserName};
use crate::secret::{ClusterKey, ClusterPublic};
use crate::wire::limits::{Bytes, MAX_STATEMENT};

/// How long a ticket opens doors.
pub const TICKET_LIFE: Duration = Duration::from_secs(120);
/// Age at which a client renews its ticket.
pub const TICKET_RENEW: Duration = Duration::from_secs(40);
/// How long a login lasts unless it is ended.
pub const SESSION_LIFE: Duration = Duration::from_secs(90 * 24 * 3600);
/// How far the clock of a tracker that a device has not met may be ahead of those that it has met.
pub const CLOCK_TOLERANCE: Duration = Duration::from_secs(60);
/// How far a device's measure of the trackers' time may be off: they tell it in whole seconds, it takes its time on the
/// way, and clocks drift. A ticket is honoured for so much longer than it lives.
pub const EXPIRY_TOLERANCE: Duration = Duration::from_secs(5);

/// Seconds since 1970, UTC.
pub type UnixSeconds = u64;

/// Now, by this machine's wall clock.
pub fn now() -> UnixSeconds {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// A kind of statement: what separates its signatures from those of every other kind.
pub trait Statement: Serialize + DeserializeOwned {
    /// The signature domain.
    const DOMAIN: &'static [u8];
}

/// This device, of this user, may fetch and serve in this group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct Ticket {
    /// Distinguishes tickets in logs.
    pub id: TicketId,
    /// Whose ticket it is.
    pub user: UserId,
    /// The user's name, for display only.
    pub user_name: UserName,
    /// The login it was issued to.
    pub session: SessionId,
    /// The only device that may present it.
    pub device: DeviceId,
    /// Where it is valid.
    pub group: GroupId,
    /// The membership it stands on; a member who left and came back has another.
    pub membership: MembershipId,
    /// When it was issued.
    pub issued: UnixSeconds,
    /// From when on it is void.
    pub expires: UnixSeconds,
}

impl Statement for Ticket {
    const DOMAIN: &'static [u8] = b"shoal ticket v1";
}

/// A login, as its device keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct SessionToken {
    /// The login.
    pub session: SessionId,
    /// Who logged in.
    pub user: UserId,
    /// The only device that may present it.
    pub device: DeviceId,
    /// How many passwords the user had had by then: a login ends when that number changes.
    pub credentials: u32,
    /// From when on it is void.
    pub expires: UnixSeconds,
}

impl Statement for SessionToken {
    const DOMAIN: &'static [u8] = b"shoal session v1";
}

/// What ended: seeders drop every connection that it covers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub enum Revoked {
    /// A membership: its holder was removed or left.
    Membership {
        /// The group.
        group: GroupId,
        /// The membership.
        membership: MembershipId,
    },
    /// A login: logout.
    Session(SessionId),
    /// Every login of a user but one: the password was changed.
    OtherSessions {
        /// The user.
        user: UserId,
        /// The login that goes on, if any.
        except: Option<SessionId>,
    },
}

/// A signed [`Revoked`], so that any member can carry it to any other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct Revocation {
    /// What ended.
    pub what: Revoked,
    /// When: tickets issued later are not covered.
    pub at: UnixSeconds,
}

impl Statement for Revocation {
    const DOMAIN: &'static [u8] = b"shoal revocation v1";
}

impl Revocation {
    /// Whether `ticket` is void by this.
    pub fn covers(&self, ticket: &Ticket) -> bool {
        match &self.what {
            Revoked::Membership { group, membership } => ticket.group == *group && ticket.membership == *membership,
            Revoked::Session(session) => ticket.session == *session,
            Revoked::OtherSessions { user, except } => {
                ticket.user == *user && Some(ticket.session) != *except && ticket.issued <= self.at
            }
        }
    }
}

/// Why a statement does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StatementError {
    /// Not signed by the cluster, or altered.
    #[error("it is not signed by this cluster's trackers")]
    Signature,
    /// Signed, but not readable: a newer version.
    #[error("it is of an unknown version")]
    Unreadable,
    /// Past its time.
    #[error("it has expired; check this machine's clock if that seems wrong")]
    Expired,
    /// Presented by another device than the one it names.
    #[error("it belongs to another device")]
    Device,
    /// For another group.
    #[error("it is for another group")]
    Group,
}

/// A statement's bytes and the cluster's signature over them.
#[derive(PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound = "")]
pub struct Signed<T> {
    body: Bytes<MAX_STATEMENT>,
    signature: Bytes<64>,
    #[serde(skip)]
    kind: PhantomData<fn() -> T>,
}

impl<T> Clone for Signed<T> {
    fn clone(&self) -> Self {
        Self { body: self.body.clone(), signature: self.signature.clone(), kind: PhantomData }
    }
}

/// By the signature: whatever else is in two of them, few have the same.
impl<T> Hash for Signed<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.signature[..].hash(state);
    }
}

/// Never shows the bytes: a token is as good as a login for whoever holds the device key.
impl<T> fmt::Debug for Signed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signed({} bytes)", self.body.len())
    }
}

impl<T: Statement> Signed<T> {
    /// Signs `statement` with the cluster's key.
    ///
    /// # Errors
    /// When it does not fit [`MAX_STATEMENT`], which no valid statement can reach.
    pub fn sign(statement: &T, key: &ClusterKey) -> Result<Self, codec::EncodeError> {
        let body = Bytes::new(codec::encode(statement, MAX_STATEMENT)?).ok_or(codec::EncodeError::TooLong)?;
        let signature = key.sign(T::DOMAIN, &body);
        let signature = Bytes::new(signature.to_vec()).ok_or(codec::EncodeError::TooLong)?;
        Ok(Self { body, signature, kind: PhantomData })
    }

    /// The statement, if the cluster signed it. Looks at nothing but the signature first.
    ///
    /// # Errors
    /// When the signature is not the cluster's, or the statement is of an unknown version.
    pub fn verify(&self, cluster: &ClusterPublic) -> Result<T, StatementError> {
        let signature = <&[u8; 64]>::try_from(&self.signature[..]).map_err(|_| StatementError::Signature)?;
        if !cluster.verify(T::DOMAIN, &self.body, signature) {
            return Err(StatementError::Signature);
        }
        codec::decode(&self.body, MAX_STATEMENT).map_err(|_| StatementError::Unreadable)
    }
}

impl Signed<Ticket> {
    /// The ticket, if `device` may use it in `group` now, which by the trackers' clocks is between `earliest` and `latest`:
    /// the same where they agree. It is too old only by the clock that is behind, and from the future only by the one that
    /// is ahead.
    ///
    /// # Errors
    /// Whatever makes it void; see [`StatementError`].
    pub fn admit(
        &self,
        cluster: &ClusterPublic,
        device: DeviceId,
        group: GroupId,
        (earliest, latest): (UnixSeconds, UnixSeconds),
    ) -> Result<Ticket, StatementError> {
        let ticket = self.verify(cluster)?;
        if ticket.device != device {
            return Err(StatementError::Device);
        }
        if ticket.group != group {
            return Err(StatementError::Group);
        }
        let is_over = ticket.honoured_until() < earliest;
        if is_over || ticket.issued > latest.saturating_add(CLOCK_TOLERANCE.as_secs()) {
            return Err(StatementError::Expired);
        }
        Ok(ticket)
    }
}

impl Ticket {
    /// The last second in which it opens doors, by the trackers' clock.
    pub const fn honoured_until(&self) -> UnixSeconds {
        self.expires.saturating_add(EXPIRY_TOLERANCE.as_secs())
    }
}

impl Signed<SessionToken> {
    /// The login, if `device` may go on with it at `now`.
    ///
    /// # Errors
    /// Whatever makes it void; see [`StatementError`].
    pub fn admit(
        &self,
        cluster: &ClusterPublic,
        device: DeviceId,
        now: UnixSeconds,
    ) -> Result<SessionToken, StatementError> {
        let token = self.verify(cluster)?;
        if token.device != device {
            return Err(StatementError::Device);
        }
        if token.expires < now {
            return Err(StatementError::Expired);
        }
        Ok(token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::ClusterSecret;

    fn key() -> ClusterKey {
        ClusterSecret::generate().cluster_key()
    }

    fn ticket(device: DeviceId) -> Ticket {
        Ticket {
            id: TicketId::random(),
            user: UserId::random(),
            user_name: "alice".parse().expect("a name"),
            session: SessionId::random(),
            device,
            group: GroupId::random(),
            membership: MembershipId::random(),
            issued: 1000,
            expires: 1000 + TICKET_LIFE.as_secs(),
        }
    }

    #[test]
    fn a_ticket_opens_only_its_own_door() {
        let (key, other) = (key(), key());
        let mine = DeviceId::new([1; 32]);
        let t = ticket(mine);
        let signed = Signed::sign(&t, &key).expect("signed");
        let admit =
            |cluster: &ClusterKey, device, group, now| signed.admit(&cluster.public(), device, group, (now, now));
        assert_eq!(admit(&key, mine, t.group, 1010), Ok(t.clone()));
        assert_eq!(admit(&other, mine, t.group, 1010), Err(StatementError::Signature));
        assert_eq!(admit(&key, DeviceId::new([2; 32]), t.group, 1010), Err(StatementError::Device));
        assert_eq!(admit(&key, mine, GroupId::random(), 1010), Err(StatementError::Group));
        assert_eq!(admit(&key, mine, t.group, 939), Err(StatementError::Expired), "from the future");
    }

    #[test]
    fn a_ticket_is_honoured_for_two_minutes_and_what_the_measure_of_time_may_be_off() {
        let key = key();
        let mine = DeviceId::new([1; 32]);
        let t = ticket(mine);
        let signed = Signed::sign(&t, &key).expect("signed");
        let admit = |now| signed.admit(&key.public(), mine, t.group, now).is_ok();
        let end = 1000 + (TICKET_LIFE + EXPIRY_TOLERANCE).as_secs();
        assert_eq!(end, 1125, "docs/SECURITY.md says so");
        assert!(admit((end, end)) && !admit((end + 1, end + 1)));
        // Of two trackers that differ by 90 s it may be of the one that is ahead, and of the one that is behind.
        assert!(admit((910, 1000)) && admit((1000, 1090)));
        assert!(admit((end, end + 90)) && !admit((end + 1, end + 91)));
    }

    #[test]
    fn one_kind_of_statement_never_passes_for_another() {
        let key = key();
        let signed = Signed::sign(&ticket(DeviceId::new([1; 32])), &key).expect("signed");
        let bytes = codec::encode(&signed, 4096).expect("encoded");
        let disguised: Signed<SessionToken> = codec::decode(&bytes, 4096).expect("same shape");
        assert_eq!(disguised.verify(&key.public()), Err(StatementError::Signature));
    }

    #[test]
    fn any_altered_byte_voids_it() {
        let key = key();
        let device = DeviceId::new([1; 32]);
        let t = ticket(device);
        let bytes = codec::encode(&Signed::sign(&t, &key).expect("signed"), 4096).expect("encoded");
        for i in 0..bytes.len() {
            let mut altered = bytes.clone();
            altered[i] ^= 1;
            let admitted = codec::decode::<Signed<Ticket>>(&altered, 4096)
                .is_ok_and(|s| s.admit(&key.public(), device, t.group, (1010, 1010)).is_ok());
            assert!(!admitted, "byte {i}");
        }
    }

    #[test]
    fn revocations_cover_what_they_name_and_nothing_else() {
        let t = ticket(DeviceId::new([1; 32]));
        let covers = |what, at| Revocation { what, at }.covers(&t);
        assert!(covers(Revoked::Membership { group: t.group, membership: t.membership }, 0));
        assert!(!covers(Revoked::Membership { group: t.group, membership: MembershipId::random() }, 0));
        assert!(covers(Revoked::Session(t.session), 0));
        assert!(covers(Revoked::OtherSessions { user: t.user, except: None }, 1000));
        assert!(!covers(Revoked::OtherSessions { user: t.user, except: Some(t.session) }, 1000));
        assert!(!covers(Revoked::OtherSessions { user: t.user, except: None }, 999));
    }
}
