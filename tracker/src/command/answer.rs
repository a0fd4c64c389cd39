//! What is recorded of an answer, so that the same can be given again. No token is among it: a login
//! is recorded by what it says, and signed anew.

use common::codec;
use common::id::{DeviceId, GroupName, SessionId, UserId, UserName};
use common::ticket::{SessionToken, Signed, UnixSeconds};
use common::wire::client::Response;
use common::wire::limits::MAX_FRAME;
use serde::{Deserialize, Serialize};

use super::{Call, Halt, LoginChange};
use crate::rules::Login;
use crate::store::StoreError;

/// The variants' order is stored: append only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Answer {
    /// It is done.
    Done,
    /// The caller is out.
    Left {
        /// Shares that went with it.
        withdrawn: u32,
    },
    /// Logged in.
    LoggedIn(Grant),
    /// Logged out.
    LoggedOut,
    /// Published.
    Published {
        /// Whether it took the place of another content.
        replaced: bool,
    },
    /// There is an invitation.
    Invited {
        /// Its number.
        number: u32,
        /// Until when it is good.
        expires: UnixSeconds,
    },
    /// The caller is a member.
    Joined {
        /// Of this group, as it was called then.
        group: GroupName,
    },
}

/// A login that was granted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Grant {
    pub(crate) user: UserId,
    pub(crate) name: UserName,
    pub(crate) session: SessionId,
    pub(crate) credentials: u32,
    pub(crate) expires: UnixSeconds,
}

impl Answer {
    pub(super) fn encode(&self) -> Result<Vec<u8>, StoreError> {
        codec::encode(self, MAX_FRAME).map_err(|_| StoreError::Content("an answer is too long"))
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, StoreError> {
        codec::decode(bytes, MAX_FRAME).map_err(|_| StoreError::Content("a recorded answer cannot be read"))
    }

    /// The answer as the client gets it, and what it does to the connection's login.
    pub(super) fn into_response(self, call: &Call) -> Result<(Response, LoginChange), Halt> {
        Ok(match self {
            Self::Done => (Response::Done, LoginChange::Same),
            Self::Left { withdrawn } => (Response::Left { withdrawn }, LoginChange::Same),
            Self::LoggedIn(grant) => grant.into_response(call)?,
            Self::LoggedOut => (Response::Done, LoginChange::Gone),
            Self::Published { replaced } => (Response::Published { replaced }, LoginChange::Same),
            Self::Invited { number, expires } => (Response::Invited { number, expires }, LoginChange::Same),
            Self::Joined { group } => (Response::Joined { group }, LoginChange::Same),
        })
    }
}

impl Grant {
    pub(super) fn login(&self, device: DeviceId) -> Login {
        Login { user: self.user, name: self.name.clone(), session: self.session, device }
    }

    fn into_response(self, call: &Call) -> Result<(Response, LoginChange), Halt> {
        let login = self.login(call.asked.device);
        let Self { user, name, session, credentials, expires } = self;
        let device = login.device;
        let token = SessionToken { session, user, device, credentials, expires };
        let token = Signed::sign(&token, &call.services.key);
        let token = token.map_err(|_| StoreError::Content("a token is too long"))?;
        Ok((Response::LoggedIn { user: name, user_id: user, token }, LoginChange::Now(login)))
    }
}
