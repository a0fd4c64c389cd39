//! Invitations: made, passed on, accepted and ended.
//!
//! A secret is made here and stays in the line that is passed on: a tracker is told its hash when the invitation is made, and the
//! secret itself only by whoever accepts it.

use std::sync::{MutexGuard, PoisonError};

use common::id::GroupName;
use common::invitation::{Invitation, InviteSecret};
use common::wire::client::{self, InviteInfo, InviteState, Request, Response};
use common::wire::refusal::Refusal;

use super::command::{InviteLine, Lifetime};
use super::outcome::{CheckedInvite, Group, InviteEnd, InviteRow, Moment, NewInvite, Outcome};
use super::{Engine, Error, unexpected};
use crate::error::Error::InvalidArgument;

impl Engine {
    pub(super) async fn invite(&self, group: GroupName, uses: u32, lasts: Lifetime) -> Result<Outcome, Error> {
        let secret = InviteSecret::generate();
        let seconds = lasts.seconds();
        let request = Request::Invite { group: group.clone(), secret: secret.digest(), uses, seconds };
        let (n, expires) = match self.trackers.call(request).await? {
            Response::Invited { number, expires } => (number.into(), Moment(expires)),
            _ => return Err(unexpected()),
        };
        // Known, since a tracker has answered.
        let (trackers, pin) = self.trackers.list().ok_or_else(unexpected)?;
        let local = trackers.iter().all(common::address::HostPort::is_of_this_machine);
        let line = InviteLine(Invitation { trackers, pin, secret });
        Ok(Outcome::Invited(NewInvite { invite: line, group, n, uses, expires, local }))
    }

    /// Becomes a member. Where another cluster's invitation is meant, that one's trackers have to be asked.
    pub(super) async fn accept_invite(&self, line: Option<InviteLine>) -> Result<Outcome, Error> {
        let none = || {
            Error::Usage("an invitation is needed: `accept_invite <line>`, with the line that you were sent".to_owned())
        };
        let InviteLine(invitation) = line.ok_or_else(none)?;
        self.is_ours(&invitation).await?;
        let user = self.who().await?.user_id;
        let request = Request::AcceptInvite { secret: invitation.secret.clone() };
        let answer = self.trackers.call(request).await;
        // One that is over is not tried at each login.
        if matches!(answer, Ok(_) | Err(Error::Refused(Refusal::AlreadyMember(_) | Refusal::NoSuchInvite))) {
            self.invited().take_if(|line| line.secret == invitation.secret);
        }
        match answer {
            Ok(Response::Joined { group }) => {
                self.joined.note(user, &group);
                self.shares.let_in(&group);
                Ok(Outcome::Joined(Group { group }))
            }
            Ok(_) => Err(unexpected()),
            Err(e) => Err(self.why_refused(e, invitation).await),
        }
    }

    /// Says of an invitation that was refused why it is over, as far as that is known.
    pub(super) async fn why_refused(&self, error: Error, invitation: Invitation) -> Error {
        if !matches!(error, Error::Refused(Refusal::NoSuchInvite)) {
            return error;
        }
        match self.check_invite(Some(InviteLine(invitation))).await {
            Ok(Outcome::Checked(checked)) => checked.why_over().map_or(error, Error::InviteOver),
            _ => error,
        }
    }

    /// What an invitation is for, and whether it is good. The trackers may be apart: what one does not know, and of a group that has no
    /// member for it, the others are asked.
    pub(super) async fn check_invite(&self, line: Option<InviteLine>) -> Result<Outcome, Error> {
        let none = || {
            Error::Usage("an invitation is needed: `check_invite <line>`, with the line that you were sent".to_owned())
        };
        let InviteLine(invitation) = line.ok_or_else(none)?;
        self.is_ours(&invitation).await?;
        let request = Request::CheckInvite { secret: invitation.secret };
        let first = match self.trackers.call(request.clone()).await {
            Ok(Response::Invitation(info)) if info.state != InviteState::Closed => return Ok(info.into()),
            Ok(Response::Invitation(info)) => Some(info),
            Ok(_) => return Err(unexpected()),
            Err(Error::Refused(Refusal::NoSuchInvite)) => None,
            Err(e) => return Err(e),
        };
        let others = self.trackers.ask_others(&request).await;
        let all = others.iter().all(|said| matches!(said, Ok(_) | Err(Error::Refused(Refusal::NoSuchInvite))));
        let known = |said| if let Ok(Response::Invitation(info)) = said { Some(info) } else { None };
        let known = first.into_iter().chain(others.into_iter().filter_map(known));
        let best = known.min_by_key(|info| info.state == InviteState::Closed);
        best.map(Outcome::from).ok_or(Error::UnknownInvite { all })
    }

    /// What this client was started with.
    pub(crate) fn set_invited(&self, invitation: Option<Invitation>) {
        *self.invited() = invitation;
    }

    /// What this client was started with, until somebody has come by it, or it is over.
    pub(crate) fn invited_by(&self) -> Option<InviteLine> {
        self.invited().clone().map(InviteLine)
    }

    fn invited(&self) -> MutexGuard<'_, Option<Invitation>> {
        self.invited.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether an invitation is one to the trackers that this client knows. One that has not met any meets them first: nobody
    /// else is handed a secret.
    pub(super) async fn is_ours(&self, invitation: &Invitation) -> Result<(), Error> {
        if self.trackers.list().is_none() {
            self.trackers.call(Request::Cluster).await?;
        }
        match self.trackers.list() {
            None => Err(unexpected()),
            Some((_, pin)) if pin != invitation.pin => Err(InvalidArgument(
                "this invitation is to other trackers than those of this client's list; start a client in another directory \
                 with `--invite <line>`"
                    .to_owned(),
            )),
            _ => Ok(()),
        }
    }

    pub(super) async fn list_invites(&self, group: GroupName) -> Result<Outcome, Error> {
        let mut invites: Vec<InviteRow> = Vec::new();
        loop {
            let skip = u32::try_from(invites.len()).unwrap_or(u32::MAX);
            let page = match self.trackers.call(Request::ListInvites { group: group.clone(), skip }).await? {
                Response::Invites(page) => page,
                _ => return Err(unexpected()),
            };
            let is_last = !page.more || page.rows.is_empty();
            invites.extend(page.rows.into_vec().into_iter().map(InviteRow::from));
            if is_last {
                return Ok(Outcome::Invites { group, invites });
            }
        }
    }

    pub(super) async fn revoke_invite(&self, group: GroupName, n: u64) -> Result<Outcome, Error> {
        let none = |_| InvalidArgument(format!("`{group}` has no invitation {n}; `list_invites {group}` shows them"));
        let number = u32::try_from(n).map_err(none)?;
        self.done(Request::RevokeInvite { group: group.clone(), number }).await?;
        Ok(Outcome::InviteRevoked(InviteEnd { group, n }))
    }
}

impl From<client::InviteRow> for InviteRow {
    fn from(row: client::InviteRow) -> Self {
        let client::InviteRow { number, by, uses, used, expires, state } = row;
        Self { n: number.into(), uses, used, expires: Moment(expires), by, state }
    }
}

impl From<InviteInfo> for Outcome {
    fn from(info: InviteInfo) -> Self {
        let InviteInfo { group, by, left, expires, state } = info;
        Self::Checked(CheckedInvite { group, by, left, expires: Moment(expires), state })
    }
}
