//! What a change took the place of, so that it can be taken back: decisions are joined to the state before they are on
//! disk, and nobody may see them before that.
//!
//! Whatever was stated is set by one function of its own, which then keeps what is derived. So the way back is the same
//! function with the earlier value. Rows that were made for new ids stay, and say nothing.

use super::State;
use super::keys::{
    CredentialKey, DeviceKey, FileKey, GroupKey, InvitationKey, KickKey, ManifestKey, MembershipKey, PublicationKey,
    SessionKey, UserKey,
};
use super::rows::{
    Accepts, Appointment, Asked, At, Credential, End, GroupClaim, Invitation, Kick, ManifestHead, Publication,
    SeederRow, Session, UserClaim,
};
use crate::vote::{NameKind, Vote};

/// An earlier value, and of what. Changes are taken back in the opposite order.
#[derive(Debug)]
#[must_use = "without it the change cannot be taken back"]
pub struct Undo(pub(super) Earlier);

#[derive(Debug)]
pub(super) enum Earlier {
    Claim(UserKey, Option<UserClaim>),
    Credential(CredentialKey, Option<Credential>),
    Session(SessionKey, Option<Session>),
    SessionBound(SessionKey, Option<u32>),
    SessionEnd(SessionKey, Option<At>),
    GroupClaim(GroupKey, Option<GroupClaim>),
    Admin(GroupKey, Option<Appointment>),
    Asked(MembershipKey, Option<Asked>),
    Accepts(MembershipKey, Accepts),
    End(MembershipKey, Option<End>),
    Kick(KickKey, Option<Kick>),
    Publication(PublicationKey, Option<Publication>),
    Withdrawn(PublicationKey, Option<At>),
    Seeder(FileKey, DeviceKey, Option<SeederRow>),
    Manifest(ManifestKey, Option<ManifestHead>),
    Invitation(InvitationKey, Option<Invitation>),
    InvitationEnd(InvitationKey, Option<At>),
    Redeemed(MembershipKey, Option<(InvitationKey, At)>),
    Sponsored(UserKey, Option<(InvitationKey, At)>),
    Vote(NameKind, Box<str>, Option<Vote>),
}

impl State {
    /// Takes the last change back that has not been.
    pub fn undo(&mut self, Undo(earlier): Undo) {
        match earlier {
            Earlier::Claim(user, claim) => drop(self.set_claim(user, claim)),
            Earlier::Credential(credential, fact) => drop(self.set_credential(credential, fact)),
            Earlier::Session(session, fact) => drop(self.set_session(session, fact)),
            Earlier::SessionBound(session, bound) => self.sessions[session].bound = bound,
            Earlier::SessionEnd(session, end) => drop(self.set_session_end(session, end)),
            Earlier::GroupClaim(group, claim) => drop(self.set_group_claim(group, claim)),
            Earlier::Admin(group, admin) => self.groups[group].admin = admin,
            Earlier::Asked(membership, asked) => drop(self.set_asked(membership, asked)),
            Earlier::Accepts(membership, accepts) => drop(self.set_accepts(membership, accepts)),
            Earlier::End(membership, end) => drop(self.set_end(membership, end)),
            Earlier::Kick(kick, fact) => drop(self.set_kick(kick, fact)),
            Earlier::Publication(publication, fact) => drop(self.set_publication(publication, fact)),
            Earlier::Withdrawn(publication, withdrawn) => drop(self.set_withdrawn(publication, withdrawn)),
            Earlier::Seeder(file, device, row) => drop(self.set_seeder(file, device, row)),
            Earlier::Manifest(manifest, head) => drop(self.set_manifest(manifest, head)),
            Earlier::Invitation(invitation, fact) => drop(self.set_invitation(invitation, fact)),
            Earlier::InvitationEnd(invitation, end) => drop(self.set_invitation_end(invitation, end)),
            Earlier::Redeemed(membership, fact) => drop(self.set_redeemed(membership, fact)),
            Earlier::Sponsored(user, fact) => drop(self.set_sponsored(user, fact)),
            Earlier::Vote(kind, name, vote) => drop(self.put_vote(kind, &name, vote)),
        }
    }
}
