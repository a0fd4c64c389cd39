//! Joins one fact to the state: the one path by which state changes.
//!
//! Each arm keeps the least stamp (facts that cannot differ but by mistake), or the largest (what is said again), or
//! only adds. A membership, or a kick, belongs to one user of one group for good: of two facts that say otherwise only the
//! stamp of the later one counts.

use super::State;
use super::rows::{
    Accept, Accepts, Appointment, Asked, Credential, End, GroupClaim, Invitation, Kick, Publication, SeederRow,
    Session, UserClaim,
};
use super::undo::{Earlier, Undo};
use crate::fact::{Fact, KickId, Stamp};

impl State {
    /// Adds what was stated. If that was anything new, what takes it back.
    pub fn join(&mut self, stamp: Stamp, fact: &Fact) -> Option<Undo> {
        match fact {
            Fact::User { id, name } => {
                let user = self.users.intern(*id);
                let new = self.is_earlier(stamp, self.users[user].claim.as_ref().map(|c| c.at));
                new.then(|| {
                    let at = self.at(stamp);
                    self.set_claim(user, Some(UserClaim { name: name.clone(), at }))
                })
            }
            Fact::Credential { id, user, phc } => {
                let credential = self.credentials.intern(*id);
                let new = self.is_earlier(stamp, self.credentials[credential].fact.as_ref().map(|c| c.at));
                new.then(|| {
                    let (user, at) = (self.users.intern(*user), self.at(stamp));
                    self.set_credential(credential, Some(Credential { user, phc: phc.as_str().into(), at }))
                })
            }
            Fact::Session { id, user, device, expires } => {
                let session = self.sessions.intern(*id);
                let new = self.is_earlier(stamp, self.sessions[session].fact.map(|s| s.at));
                new.then(|| {
                    let (user, device) = (self.users.intern(*user), self.devices.intern(*device));
                    // A time beyond SQLite's integers is as good as never.
                    let expires = (*expires).min(i64::MAX.cast_unsigned());
                    let at = self.at(stamp);
                    self.set_session(session, Some(Session { user, device, expires, at }))
                })
            }
            Fact::SessionBound { session, credentials } => {
                let session = self.sessions.intern(*session);
                let new = self.sessions[session].bound.is_none_or(|bound| bound < *credentials);
                new.then(|| {
                    let before = self.sessions[session].bound.replace(*credentials);
                    Undo(Earlier::SessionBound(session, before))
                })
            }
            Fact::SessionEnded { session } => {
                let session = self.sessions.intern(*session);
                let new = self.is_earlier(stamp, self.sessions[session].end);
                new.then(|| {
                    let at = self.at(stamp);
                    self.set_session_end(session, Some(at))
                })
            }
            Fact::Group { id, name, creator } => {
                let group = self.groups.intern(*id);
                let new = self.is_earlier(stamp, self.groups[group].claim.as_ref().map(|c| c.at));
                new.then(|| {
                    let (creator, at) = (self.users.intern(*creator), self.at(stamp));
                    self.set_group_claim(group, Some(GroupClaim { name: name.clone(), creator, at }))
                })
            }
            Fact::Admin { group, user, membership } => {
                let group = self.groups.intern(*group);
                let new = self.is_later(stamp, self.groups[group].admin.map(|a| a.at));
                new.then(|| {
                    let (user, membership) = (self.users.intern(*user), self.memberships.intern(*membership));
                    let at = self.at(stamp);
                    let before = self.groups[group].admin.replace(Appointment { user, membership, at });
                    Undo(Earlier::Admin(group, before))
                })
            }
            Fact::Requested { membership, group, user } => {
                let membership = self.memberships.intern(*membership);
                let known = self.memberships[membership].asked;
                let new = self.is_earlier(stamp, known.map(|a| a.at));
                new.then(|| {
                    let at = self.at(stamp);
                    let asked = match known {
                        Some(asked) => Asked { at, ..asked },
                        None => Asked { group: self.groups.intern(*group), user: self.users.intern(*user), at },
                    };
                    self.set_asked(membership, Some(asked))
                })
            }
            Fact::Accepted { membership, kicks_seen } => {
                let membership = self.memberships.intern(*membership);
                let accepts = self.with_accept(&self.memberships[membership].accepts, stamp, kicks_seen)?;
                let at = self.at(stamp);
                Some(self.set_accepts(membership, accepts(at)))
            }
            Fact::Ended { membership, reason } => {
                let membership = self.memberships.intern(*membership);
                let new = self.is_earlier(stamp, self.memberships[membership].end.map(|e| e.at));
                new.then(|| {
                    let at = self.at(stamp);
                    self.set_end(membership, Some(End { reason: *reason, at }))
                })
            }
            Fact::Kicked { id, group, user } => {
                let kick = self.kicks.intern(*id);
                let known = self.kicks[kick].fact;
                let new = self.is_earlier(stamp, known.map(|k| k.at));
                new.then(|| {
                    let at = self.at(stamp);
                    let fact = match known {
                        Some(fact) => Kick { at, ..fact },
                        None => Kick { group: self.groups.intern(*group), user: self.users.intern(*user), at },
                    };
                    self.set_kick(kick, Some(fact))
                })
            }
            Fact::Published { id, group, name, file, manifest, user, membership } => {
                let publication = self.publications.intern(*id);
                let new = self.is_earlier(stamp, self.publications[publication].fact.map(|p| p.at));
                new.then(|| {
                    let group = self.groups.intern(*group);
                    let file = self.files.intern((group, *file));
                    let fact = Publication {
                        share: self.shares.intern((file, name.clone())),
                        manifest: self.manifests.intern(*manifest),
                        user: self.users.intern(*user),
                        membership: self.memberships.intern(*membership),
                        at: self.at(stamp),
                    };
                    self.set_publication(publication, Some(fact))
                })
            }
            Fact::Withdrawn { publication } => {
                let publication = self.publications.intern(*publication);
                let new = self.is_earlier(stamp, self.publications[publication].withdrawn);
                new.then(|| {
                    let at = self.at(stamp);
                    self.set_withdrawn(publication, Some(at))
                })
            }
            Fact::Seeding { group, file, device, user, membership, on } => {
                let group = self.groups.intern(*group);
                let (file, device) = (self.files.intern((group, *file)), self.devices.intern(*device));
                let new = self.is_later(stamp, self.seeder_row(file, device).map(|s| s.at));
                new.then(|| {
                    let (user, membership) = (self.users.intern(*user), self.memberships.intern(*membership));
                    let at = self.at(stamp);
                    self.set_seeder(file, device, Some(SeederRow { device, user, membership, at, on: *on }))
                })
            }
            Fact::Invited { id, group, user, number, secret, uses, expires, kicks_seen } => {
                let invitation = self.invitations.rows.intern(*id);
                let known = self.invitations.rows[invitation].fact.as_ref().map(|i| i.at);
                self.is_earlier(stamp, known).then(|| {
                    let fact = Invitation {
                        group: self.groups.intern(*group),
                        user: self.users.intern(*user),
                        number: *number,
                        secret: *secret,
                        uses: *uses,
                        // A time beyond SQLite's integers is as good as never.
                        expires: (*expires).min(i64::MAX.cast_unsigned()),
                        kicks_seen: kicks_seen.as_slice().into(),
                        at: self.at(stamp),
                    };
                    self.set_invitation(invitation, Some(fact))
                })
            }
            Fact::InvitationRevoked { invitation } => {
                let invitation = self.invitations.rows.intern(*invitation);
                self.is_earlier(stamp, self.invitations.rows[invitation].end).then(|| {
                    let at = self.at(stamp);
                    self.set_invitation_end(invitation, Some(at))
                })
            }
            Fact::Redeemed { membership, invitation } => {
                let membership = self.memberships.intern(*membership);
                let known = self.invitations.redeemed.get(&membership).map(|(_, at)| *at);
                self.is_earlier(stamp, known).then(|| {
                    let fact = (self.invitations.rows.intern(*invitation), self.at(stamp));
                    self.set_redeemed(membership, Some(fact))
                })
            }
            Fact::Sponsored { user, invitation } => {
                let user = self.users.intern(*user);
                let known = self.invitations.sponsored.get(&user).map(|(_, at)| *at);
                self.is_earlier(stamp, known).then(|| {
                    let fact = (self.invitations.rows.intern(*invitation), self.at(stamp));
                    self.set_sponsored(user, Some(fact))
                })
            }
        }
    }

    /// The acceptances with one more, or with more kicks that one of them knew of; `None` if that is nothing new.
    fn with_accept(
        &self,
        accepts: &Accepts,
        stamp: Stamp,
        kicks_seen: &[KickId],
    ) -> Option<impl FnOnce(super::rows::At) -> Accepts + use<>> {
        let mut seen: Vec<KickId> = kicks_seen.to_vec();
        let mut others = Vec::new();
        for (at, kicks) in accepts.iter() {
            if self.stamp(at) == stamp {
                if kicks_seen.iter().all(|k| kicks.contains(k)) {
                    return None;
                }
                seen.extend_from_slice(kicks);
            } else {
                others.push(Accept { at, kicks_seen: kicks.to_vec() });
            }
        }
        seen.sort_unstable();
        seen.dedup();
        Some(move |at| match (others.is_empty(), seen.is_empty()) {
            (true, true) => Accepts::One(at),
            _ => {
                others.push(Accept { at, kicks_seen: seen });
                Accepts::Many(others.into())
            }
        })
    }

    /// Takes away everything that was stated of the thing that a fact like this is about, so that it can be joined anew:
    /// what was stated is wrong, or nobody needs it any more.
    pub fn forget(&mut self, fact: &Fact) {
        match fact {
            Fact::User { id, .. } => {
                if let Some(user) = self.users.find(id) {
                    let _ = self.set_claim(user, None);
                }
            }
            Fact::Credential { id, .. } => {
                if let Some(credential) = self.credentials.find(id) {
                    let _ = self.set_credential(credential, None);
                }
            }
            Fact::Session { id, .. } => {
                if let Some(session) = self.sessions.find(id) {
                    let _ = self.set_session(session, None);
                }
            }
            Fact::SessionBound { session, .. } => {
                if let Some(session) = self.sessions.find(session) {
                    self.sessions[session].bound = None;
                }
            }
            Fact::SessionEnded { session } => {
                if let Some(session) = self.sessions.find(session) {
                    let _ = self.set_session_end(session, None);
                }
            }
            Fact::Group { id, .. } => {
                if let Some(group) = self.groups.find(id) {
                    let _ = self.set_group_claim(group, None);
                }
            }
            Fact::Admin { group, .. } => {
                if let Some(group) = self.groups.find(group) {
                    self.groups[group].admin = None;
                }
            }
            Fact::Requested { membership, .. } => {
                if let Some(membership) = self.memberships.find(membership) {
                    let _ = self.set_asked(membership, None);
                }
            }
            Fact::Accepted { membership, .. } => {
                if let Some(membership) = self.memberships.find(membership) {
                    let _ = self.set_accepts(membership, Accepts::None);
                }
            }
            Fact::Ended { membership, .. } => {
                if let Some(membership) = self.memberships.find(membership) {
                    let _ = self.set_end(membership, None);
                }
            }
            Fact::Kicked { id, .. } => {
                if let Some(kick) = self.kicks.find(id) {
                    let _ = self.set_kick(kick, None);
                }
            }
            Fact::Published { id, .. } => {
                if let Some(publication) = self.publications.find(id) {
                    let _ = self.set_publication(publication, None);
                }
            }
            Fact::Withdrawn { publication } => {
                if let Some(publication) = self.publications.find(publication) {
                    let _ = self.set_withdrawn(publication, None);
                }
            }
            Fact::Seeding { group, file, device, .. } => {
                if let Some(file) = self.groups.find(group).and_then(|group| self.files.find(&(group, *file)))
                    && let Some(device) = self.devices.find(device)
                {
                    let _ = self.set_seeder(file, device, None);
                }
            }
            Fact::Invited { id, .. } => {
                if let Some(invitation) = self.invitations.rows.find(id) {
                    let _ = self.set_invitation(invitation, None);
                }
            }
            Fact::InvitationRevoked { invitation } => {
                if let Some(invitation) = self.invitations.rows.find(invitation) {
                    let _ = self.set_invitation_end(invitation, None);
                }
            }
            Fact::Redeemed { membership, .. } => {
                if let Some(membership) = self.memberships.find(membership) {
                    let _ = self.set_redeemed(membership, None);
                }
            }
            Fact::Sponsored { user, .. } => {
                if let Some(user) = self.users.find(user) {
                    let _ = self.set_sponsored(user, None);
                }
            }
        }
    }
}
