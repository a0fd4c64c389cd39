//! What others are to hear of a command, once it is on disk and before it is acknowledged.

use common::id::{DeviceId, UserId};
use common::ticket::{self, Revocation, Revoked, Signed};
use common::wire::client::Push;

use super::Services;
use crate::hub::{ConnectionId, Ended};

/// Something to tell.
#[derive(Debug)]
pub(super) enum News {
    /// To those of these users who are connected.
    Push {
        /// Whom.
        to: Vec<UserId>,
        /// But not to this device.
        except: Option<DeviceId>,
        /// What.
        push: Push,
    },
    /// Tickets are void: to those who may be serving on them.
    Revoked {
        /// Whom to tell.
        to: Vec<UserId>,
        /// What is void.
        what: Revoked,
    },
    /// Logins have ended: their connections are told, and are no longer here.
    SessionsEnded {
        /// Whose.
        user: UserId,
        /// Which.
        which: Ended,
    },
}

impl News {
    /// To one user.
    pub(super) fn to(user: UserId, push: Push) -> Self {
        Self::Push { to: vec![user], except: None, push }
    }
}

/// Tells it, but not on the connection where it was asked for.
pub(super) fn deliver(services: &Services, news: Vec<News>, asked_on: Option<ConnectionId>) {
    for item in news {
        match item {
            News::Push { to, except, push } => services.hub.push(&to, except, &push),
            News::Revoked { to, what } => {
                if let Some(push) = revoked(services, what) {
                    services.hub.push(&to, None, &push);
                }
            }
            News::SessionsEnded { user, which } => {
                for (device, connection) in services.hub.end_sessions(user, which, asked_on) {
                    services.presence.leave(device, connection);
                }
            }
        }
    }
}

/// The signed statement that `what` is void from now on.
pub(super) fn revoked(services: &Services, what: Revoked) -> Option<Push> {
    sign(services, &Revocation { what, at: ticket::now() })
}

/// The same of an end that was told before.
pub(super) fn sign(services: &Services, end: &Revocation) -> Option<Push> {
    let signed = Signed::sign(end, &services.key);
    signed.inspect_err(|e| tracing::error!("a revocation could not be signed: {e}")).ok().map(Push::Revoked)
}
