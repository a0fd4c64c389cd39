//! What clients do: decided on the state as the tracker's commands decide it, without passwords and sockets.

use common::id::{DeviceId, FileId, GroupId, MembershipId, PublicationId, RequestId, Sha1Digest, UserId};
use common::invitation::InviteSecret;
use common::manifest::Manifest;
use common::pieces::{PieceIndex, PieceLayout};
use common::tree::{Entry, Tree};
use tracker::fact::{CredentialId, EndReason, Fact, InvitationId, KickId};
use tracker::limits::Caller;
use tracker::store::{Asked, CheckedTree, InvitationEntry, NewManifest, StagedTree, State, Store, StoreError};

/// One command, with the identity that makes a repetition of it the same command.
#[derive(Debug, Clone)]
pub(crate) struct Op {
    pub(crate) asked: Asked,
    pub(crate) what: What,
    /// Bytes that it is longer than it need be.
    bulk: usize,
}

#[derive(Debug, Clone)]
pub(crate) enum What {
    User {
        name: u8,
    },
    Password {
        user: UserId,
    },
    Group {
        name: u8,
        user: UserId,
    },
    /// A group under a name that nobody else makes, and an account that is its admin.
    Own {
        name: String,
    },
    Join {
        group: GroupId,
        user: UserId,
    },
    Accept {
        group: GroupId,
        user: UserId,
    },
    Reject {
        group: GroupId,
        user: UserId,
    },
    Leave {
        group: GroupId,
        user: UserId,
    },
    Kick {
        group: GroupId,
        user: UserId,
    },
    MakeAdmin {
        group: GroupId,
        user: UserId,
    },
    Invite {
        group: GroupId,
        uses: u32,
    },
    /// By one of the group's invitations.
    Redeem {
        group: GroupId,
        user: UserId,
        which: u8,
    },
    Revoke {
        group: GroupId,
        which: u8,
    },
    Publish {
        group: GroupId,
        user: UserId,
        name: u8,
        content: u8,
    },
    Seed {
        group: GroupId,
        user: UserId,
        content: u8,
        on: bool,
    },
}

/// What a command states.
pub(crate) struct Decided {
    pub(crate) facts: Vec<Fact>,
    pub(crate) manifest: Option<NewManifest>,
}

impl Op {
    /// This command, and no more than it needs.
    pub(crate) const fn light(asked: Asked, what: What) -> Self {
        Self { asked, what, bulk: 0 }
    }

    /// Any command; where they are to weigh `bulk` bytes and more, half of them are that.
    pub(crate) fn new(rng: &mut fastrand::Rng, users: &[UserId], groups: &[GroupId], bulk: usize) -> Self {
        let asked = Asked { device: DeviceId::new([rng.u8(0..6); 32]), request: RequestId::new(bytes(rng)) };
        let user = rng.choice(users).copied();
        let group = rng.choice(groups).copied();
        if let Some(user) = user.filter(|_| bulk > 0 && rng.bool()) {
            return Self { asked, what: What::Password { user }, bulk };
        }
        let what = match (rng.u8(0..16), user, group) {
            (0, ..) | (_, None, _) => What::User { name: rng.u8(0..6) },
            (1, Some(user), _) => What::Password { user },
            (2, Some(user), _) | (_, Some(user), None) => What::Group { name: rng.u8(0..4), user },
            (3..=5, Some(user), Some(group)) => What::Join { group, user },
            (6..=8, Some(user), Some(group)) => What::Accept { group, user },
            (9, Some(user), Some(group)) => What::Reject { group, user },
            (10, Some(user), Some(group)) => What::Leave { group, user },
            (11, Some(user), Some(group)) => What::Kick { group, user },
            (12, Some(user), Some(group)) => What::MakeAdmin { group, user },
            (13..=14, Some(user), Some(group)) => {
                What::Publish { group, user, name: rng.u8(0..4), content: rng.u8(0..8) }
            }
            (_, Some(user), Some(group)) => What::Seed { group, user, content: rng.u8(0..8), on: rng.bool() },
        };
        Self::light(asked, what)
    }

    /// A command about an invitation, or another one.
    pub(crate) fn about_invitations(rng: &mut fastrand::Rng, users: &[UserId], groups: &[GroupId]) -> Self {
        let other = Self::new(rng, users, groups, 0);
        let (Some(user), Some(group)) = (rng.choice(users).copied(), rng.choice(groups).copied()) else { return other };
        let what = match rng.u8(0..8) {
            0 => What::Invite { group, uses: rng.u32(1..4) },
            1..=3 => What::Redeem { group, user, which: rng.u8(0..4) },
            4 if rng.bool() => What::Revoke { group, which: rng.u8(0..4) },
            5 => What::Kick { group, user },
            _ => return other,
        };
        Self { what, ..other }
    }

    /// An id that this command makes, the same wherever it is carried out.
    pub(crate) fn mint<T: From<[u8; 16]>>(&self, kind: &str) -> T {
        let mut h = blake3::Hasher::new();
        h.update(self.asked.device.as_bytes()).update(self.asked.request.as_bytes()).update(kind.as_bytes());
        let mut id = [0; 16];
        h.finalize_xof().fill(&mut id);
        T::from(id)
    }

    /// If this publishes a folder, its tree, staged.
    pub(crate) async fn stage(&self, store: &Store) -> Option<(StagedTree, CheckedTree)> {
        let What::Publish { content, .. } = self.what else { return None };
        let tree = tree_of(content)?;
        let (mut staged, bytes) = (store.begin_tree(tree.id(), None), tree.encode());
        let place = staged.grow(bytes.len()).expect("room");
        store.stage_tree_part(&Caller::tracker(), place, bytes).await.expect("staged");
        let checked = store.check_tree(&Caller::tracker(), &staged).await.expect("a tree");
        Some((staged, checked))
    }

    /// Decides; nothing, if it is refused. What it publishes may be a folder, with a tree that has been staged.
    pub(crate) fn decide(&self, state: &State, tree: Option<CheckedTree>) -> Result<Decided, StoreError> {
        let plain = |facts| Ok(Decided { facts, manifest: None });
        match &self.what {
            What::User { name } => {
                let name = format!("user{name}").parse().expect("a name");
                if state.user_name_like(&name).is_some() {
                    return plain(vec![]);
                }
                let id = self.mint("user");
                plain(vec![Fact::User { id, name }, self.credential(id)])
            }
            What::Password { user } => {
                let known = state.account_of(*user).is_some();
                plain(if known { vec![self.credential(*user)] } else { vec![] })
            }
            What::Group { name, user } => {
                let name = format!("group{name}").parse().expect("a name");
                if state.group_name_like(&name).is_some() || state.user_name(*user).is_none() {
                    return plain(vec![]);
                }
                let (group, membership, user) = (self.mint("group"), self.mint("membership"), *user);
                plain(vec![
                    Fact::Group { id: group, name, creator: user },
                    Fact::Requested { membership, group, user },
                    Fact::Accepted { membership, kicks_seen: vec![] },
                    Fact::Admin { group, user, membership },
                ])
            }
            What::Own { name } => {
                let (group, user, membership) = (self.mint("group"), self.mint("user"), self.mint("membership"));
                if state.group_claim(group).is_some() {
                    return plain(vec![]);
                }
                let (admin, name) = (name.parse().expect("a name"), name.parse().expect("a name"));
                plain(vec![
                    Fact::User { id: user, name: admin },
                    self.credential(user),
                    Fact::Group { id: group, name, creator: user },
                    Fact::Requested { membership, group, user },
                    Fact::Accepted { membership, kicks_seen: vec![] },
                    Fact::Admin { group, user, membership },
                ])
            }
            What::Invite { group, uses } => plain(self.invited(state, *group, *uses)),
            What::Redeem { group, user, which } => plain(self.redeemed(state, *group, *user, *which)),
            What::Revoke { group, which } => {
                let open = the_invitation(state, *group, *which).filter(|i| !i.revoked);
                plain(open.map(|i| Fact::InvitationRevoked { invitation: i.id }).into_iter().collect())
            }
            other => plain_or_share(self, other, state, tree),
        }
    }

    fn invited(&self, state: &State, group: GroupId, uses: u32) -> Vec<Fact> {
        let Some(user) = state.admin(group) else { return vec![] };
        let (number, kicks_seen) = (state.next_invitation_number(group), state.last_removals(group));
        let (id, secret) = (InvitationId(self.mint("invitation")), InviteSecret::new(self.mint("secret")).digest());
        vec![Fact::Invited { id, group, user, number, secret, uses, expires: u64::MAX >> 1, kicks_seen }]
    }

    fn redeemed(&self, state: &State, group: GroupId, user: UserId, which: u8) -> Vec<Fact> {
        let usable = |i: &InvitationEntry| !i.revoked && i.used < i.uses && state.admin(group).is_some();
        let Some(invitation) = the_invitation(state, group, which).filter(usable) else { return vec![] };
        let (is_member, membership) = (!state.standing(group, user).live.is_empty(), self.mint("membership"));
        match state.removals_seen_by(invitation.id, user) {
            Some(kicks_seen) if !is_member => vec![
                Fact::Requested { membership, group, user },
                Fact::Accepted { membership, kicks_seen },
                Fact::Redeemed { membership, invitation: invitation.id },
            ],
            _ => vec![],
        }
    }

    fn credential(&self, user: UserId) -> Fact {
        let id: [u8; 16] = self.mint("credential");
        // Salted, as in life: carried out twice it is not the same hash.
        Fact::Credential { id: CredentialId(id), user, phc: format!("{id:x?}{}", "x".repeat(self.bulk)) }
    }
}

fn the_invitation(state: &State, group: GroupId, which: u8) -> Option<InvitationEntry> {
    state.invitations_into(group, which.into(), 1).pop()
}

fn plain_or_share(op: &Op, what: &What, state: &State, tree: Option<CheckedTree>) -> Result<Decided, StoreError> {
    let (What::Join { group, user }
    | What::Accept { group, user }
    | What::Reject { group, user }
    | What::Leave { group, user }
    | What::Kick { group, user }
    | What::MakeAdmin { group, user }
    | What::Publish { group, user, .. }
    | What::Seed { group, user, .. }) = what
    else {
        return Ok(Decided { facts: vec![], manifest: None });
    };
    let (group, user) = (*group, *user);
    let standing = state.standing(group, user);
    let open = state.admin(group).is_some();
    let end = |reason| standing.open().map(move |membership| Fact::Ended { membership, reason });
    let mut manifest = None;
    let facts = match what {
        What::Join { .. } if open && standing.live.is_empty() && standing.pending.is_empty() => {
            vec![Fact::Requested { membership: op.mint("membership"), group, user }]
        }
        What::Accept { .. } if open && standing.live.is_empty() => match standing.pending.first() {
            Some(membership) => {
                vec![Fact::Accepted { membership: *membership, kicks_seen: state.kicks(group, user) }]
            }
            None => vec![],
        },
        What::Reject { .. } if standing.live.is_empty() => end(EndReason::Rejected).collect(),
        What::Leave { .. } => end(EndReason::Left).collect(),
        What::Kick { .. } if !standing.live.is_empty() => {
            let kick = Fact::Kicked { id: KickId(op.mint("kick")), group, user };
            end(EndReason::Kicked).chain([kick]).collect()
        }
        What::MakeAdmin { .. } => {
            standing.membership().map(|membership| Fact::Admin { group, user, membership }).into_iter().collect()
        }
        What::Publish { name, content, .. } => match standing.membership() {
            Some(membership) => {
                let made = manifest_of(*content, tree);
                let fact = published(op, (group, user, membership), *name, made.file(), &made);
                manifest = Some(made);
                let old = if is_new_version(*content) { replaced(state, group, user, *name) } else { vec![] };
                old.into_iter().chain([fact]).collect()
            }
            None => vec![],
        },
        What::Seed { content, on, .. } => standing
            .membership()
            .map(|membership| Fact::Seeding {
                group,
                file: manifest_of(*content, None).file(),
                device: op.asked.device,
                user,
                membership,
                on: *on,
            })
            .into_iter()
            .collect(),
        _ => vec![],
    };
    Ok(Decided { facts, manifest })
}

fn published(
    op: &Op,
    (group, user, membership): (GroupId, UserId, MembershipId),
    name: u8,
    file: FileId,
    made: &NewManifest,
) -> Fact {
    let name = format!("file{name}").parse().expect("a name");
    let id: PublicationId = op.mint("publication");
    Fact::Published { id, group, name, file, manifest: made.id(), user, membership }
}

/// Half of what is published takes the place of what is there.
const fn is_new_version(content: u8) -> bool {
    content % 2 == 1
}

/// Withdraws what the user may replace, as `Publish` does.
fn replaced(state: &State, group: GroupId, user: UserId, name: u8) -> Vec<Fact> {
    let name = format!("file{name}").parse().expect("a name");
    let share = state.share_named(group, &name);
    let may = share.is_some_and(|share| share.publisher == user || state.admin(group) == Some(user));
    let old = if may { state.publications_named(group, &name) } else { vec![] };
    old.into_iter().map(|(publication, _)| Fact::Withdrawn { publication }).collect()
}

/// Half of the contents are folders, with one file.
fn tree_of(content: u8) -> Option<Tree> {
    let hash = FileId::new(*blake3::hash(&[content; CONTENT_LEN]).as_bytes());
    let entry = Entry::File { len: CONTENT_LEN as u64, hash, executable: false };
    let path = format!("folder/{content}").parse().expect("a path");
    (content >= 4).then(|| Tree::new([(path, entry)]).expect("a tree"))
}

const CONTENT_LEN: usize = 100;

fn manifest_of(content: u8, tree: Option<CheckedTree>) -> NewManifest {
    let bytes = vec![content; CONTENT_LEN];
    let layout = PieceLayout::new(CONTENT_LEN as u64, 1 << 14).expect("a layout");
    let piece: PieceIndex = layout.pieces().next().expect("a piece");
    let piece = common::manifest::hash_piece(layout, piece, &bytes);
    let manifest = Manifest::of_hashed(layout, Sha1Digest::new([content; 20]), vec![piece]).expect("a manifest");
    match tree {
        Some(tree) => NewManifest::of_folder(manifest, tree).expect("its tree"),
        None => NewManifest::new(manifest),
    }
}

pub(crate) fn bytes<const N: usize>(rng: &mut fastrand::Rng) -> [u8; N] {
    let mut bytes = [0; N];
    rng.fill(&mut bytes);
    bytes
}
