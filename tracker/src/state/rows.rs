//! What is known of each thing. What was stated is an `Option` of its own, because facts come in any order: an end may be
//! known before what it ends. The rest is derived, and named so.

use common::id::{
    DeviceId, FileId, FileName, GroupId, GroupName, MembershipId, OriginId, PublicationId, SessionId, Sha1Digest,
    TreeId, UserId, UserName,
};
use common::invitation::InviteDigest;
use common::pieces::PieceLayout;

use super::keys::{
    CredentialKey, DeviceKey, FileKey, GroupKey, InvitationKey, KickKey, ManifestKey, MembershipKey, PublicationKey,
    Row, RunKey, SessionKey, ShareKey, UserKey,
};
use super::latest::Latest;
use super::set::OrdSet;
use crate::fact::{CredentialId, EndReason, Hlc, InvitationId, KickId, ManifestId};

/// A stamp in 12 bytes. Two of them are compared by what they stand for: see `State::stamp`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct At {
    hlc: [u32; 2],
    pub(super) run: RunKey,
}

impl At {
    pub(super) const fn new(hlc: Hlc, run: RunKey) -> Self {
        let raw = hlc.to_stored().cast_unsigned();
        Self { hlc: [(raw >> 32) as u32, raw as u32], run }
    }

    pub(super) fn hlc(self) -> Hlc {
        Hlc::from_stored((u64::from(self.hlc[0]) << 32 | u64::from(self.hlc[1])).cast_signed())
    }
}

macro_rules! row {
    ($row:ident, $key:ident, $id:ty) => {
        impl Row for $row {
            type Key = $key;
            type Id = $id;

            fn new(id: $id) -> Self {
                Self { id, ..Self::EMPTY }
            }

            fn id(&self) -> $id {
                self.id
            }
        }
    };
}

/// One run of one tracker.
#[derive(Debug)]
pub(super) struct RunRow {
    pub(super) id: OriginId,
}

impl Row for RunRow {
    type Key = RunKey;
    type Id = OriginId;

    fn new(id: OriginId) -> Self {
        Self { id }
    }

    fn id(&self) -> OriginId {
        self.id
    }
}

/// That there is an account, and what it claims.
#[derive(Debug, Clone)]
pub(super) struct UserClaim {
    pub(super) name: UserName,
    pub(super) at: At,
}

#[derive(Debug)]
pub(super) struct UserRow {
    pub(super) id: UserId,
    pub(super) claim: Option<UserClaim>,
    /// Names of which the user has the vote.
    pub(super) votes: u32,
    /// Derived: the name as it is shown.
    pub(super) shown: Option<UserName>,
    /// Derived.
    pub(super) credentials: Vec<CredentialKey>,
    /// Derived.
    pub(super) sessions: Vec<SessionKey>,
    /// Derived: everything that the user ever asked to be in.
    pub(super) memberships: Vec<MembershipKey>,
    /// Derived: groups that the user has made.
    pub(super) groups_made: u32,
    /// Derived: publications of the user.
    pub(super) shares_made: u32,
    /// Derived: pieces of the manifests that are here and that the user's publications name, each once; and what their
    /// trees take, in digests of a piece.
    pub(super) manifest_pieces: u64,
}

impl UserRow {
    const EMPTY: Self = Self {
        id: UserId::new([0; 16]),
        claim: None,
        votes: 0,
        shown: None,
        credentials: Vec::new(),
        sessions: Vec::new(),
        memberships: Vec::new(),
        groups_made: 0,
        shares_made: 0,
        manifest_pieces: 0,
    };
}

row!(UserRow, UserKey, UserId);

#[derive(Debug, Clone)]
pub(super) struct Credential {
    pub(super) user: UserKey,
    pub(super) phc: Box<str>,
    pub(super) at: At,
}

#[derive(Debug)]
pub(super) struct CredentialRow {
    pub(super) id: CredentialId,
    pub(super) fact: Option<Credential>,
}

impl CredentialRow {
    const EMPTY: Self = Self { id: CredentialId([0; 16]), fact: None };
}

row!(CredentialRow, CredentialKey, CredentialId);

#[derive(Debug, Clone, Copy)]
pub(super) struct Session {
    pub(super) user: UserKey,
    pub(super) device: DeviceKey,
    /// Seconds since 1970.
    pub(super) expires: u64,
    pub(super) at: At,
}

#[derive(Debug)]
pub(super) struct SessionRow {
    pub(super) id: SessionId,
    pub(super) fact: Option<Session>,
    /// How many passwords its user had had when it was last bound.
    pub(super) bound: Option<u32>,
    pub(super) end: Option<At>,
}

impl SessionRow {
    const EMPTY: Self = Self { id: SessionId::new([0; 16]), fact: None, bound: None, end: None };
}

row!(SessionRow, SessionKey, SessionId);

#[derive(Debug)]
pub(super) struct DeviceRow {
    pub(super) id: DeviceId,
    /// Derived: where it says that it seeds.
    pub(super) seeds: Vec<FileKey>,
}

impl DeviceRow {
    const EMPTY: Self = Self { id: DeviceId::new([0; 32]), seeds: Vec::new() };
}

row!(DeviceRow, DeviceKey, DeviceId);

#[derive(Debug, Clone)]
pub(super) struct GroupClaim {
    pub(super) name: GroupName,
    pub(super) creator: UserKey,
    pub(super) at: At,
}

/// Who was last made admin.
#[derive(Debug, Clone, Copy)]
pub(super) struct Appointment {
    pub(super) user: UserKey,
    pub(super) membership: MembershipKey,
    pub(super) at: At,
}

#[derive(Debug)]
pub(super) struct GroupRow {
    pub(super) id: GroupId,
    pub(super) claim: Option<GroupClaim>,
    pub(super) admin: Option<Appointment>,
    /// Names of which the group has the vote.
    pub(super) votes: u32,
    /// Derived: it has members.
    pub(super) open: bool,
    /// Derived: how many users are members.
    pub(super) people: u32,
    /// Derived: the name as it is shown.
    pub(super) shown: Option<GroupName>,
    /// Derived: live memberships, the first one first.
    pub(super) live: OrdSet<(Hlc, MembershipKey)>,
    /// Derived: members by the name that is shown.
    pub(super) members: OrdSet<(UserName, UserKey)>,
    /// Derived: who waits to be let in, by the name that is shown.
    pub(super) waiting: OrdSet<(UserName, UserKey)>,
    /// Derived: shares that are seen, by the name that they were given.
    pub(super) listed: OrdSet<(FileName, ShareKey)>,
    /// Derived: those of them whose names look like others (see `common::look`), by what they look like.
    pub(super) looks: OrdSet<(Box<str>, ShareKey)>,
    /// Derived: files with shares that are seen, by the beginning of their ids.
    pub(super) files: OrdSet<([u8; 8], FileKey)>,
    /// Derived: the last publications, whether they are seen or not.
    pub(super) latest: Latest<(Hlc, PublicationId), LATEST>,
}

/// Publications of a group by which it is known what is new there.
pub(super) const LATEST: usize = 256;

impl GroupRow {
    const EMPTY: Self = Self {
        id: GroupId::new([0; 16]),
        claim: None,
        admin: None,
        votes: 0,
        open: false,
        people: 0,
        shown: None,
        live: OrdSet::Empty,
        members: OrdSet::Empty,
        waiting: OrdSet::Empty,
        listed: OrdSet::Empty,
        looks: OrdSet::Empty,
        files: OrdSet::Empty,
        latest: Latest::EMPTY,
    };
}

row!(GroupRow, GroupKey, GroupId);

/// Whose membership it is, and where: for good.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    pub(super) group: GroupKey,
    pub(super) user: UserKey,
    pub(super) at: At,
}

#[derive(Debug, Clone)]
pub(super) struct Accept {
    pub(super) at: At,
    /// In order.
    pub(super) kicks_seen: Vec<KickId>,
}

/// Acceptances: nearly always one, of somebody who was never removed.
#[derive(Debug, Clone, Default)]
pub(super) enum Accepts {
    #[default]
    None,
    One(At),
    Many(Box<[Accept]>),
}

impl Accepts {
    pub(super) fn iter(&self) -> impl Iterator<Item = (At, &[KickId])> {
        let (one, many) = match self {
            Self::None => (None, &[][..]),
            Self::One(at) => (Some((*at, &[][..])), &[][..]),
            Self::Many(all) => (None, &all[..]),
        };
        one.into_iter().chain(many.iter().map(|a| (a.at, &a.kicks_seen[..])))
    }
}

#[derive(Debug, Clone, Copy)]
pub(super) struct End {
    pub(super) reason: EndReason,
    pub(super) at: At,
}

#[derive(Debug)]
pub(super) struct MembershipRow {
    pub(super) id: MembershipId,
    pub(super) asked: Option<Asked>,
    pub(super) accepts: Accepts,
    pub(super) end: Option<End>,
    /// Derived: the first acceptance that knew of every kick, unless it has ended.
    pub(super) live: Option<At>,
    /// Derived: the next of the same user in the same group.
    pub(super) next: Option<MembershipKey>,
    /// Derived: the last publication that stands on it.
    pub(super) publications: Option<PublicationKey>,
}

impl MembershipRow {
    const EMPTY: Self = Self {
        id: MembershipId::new([0; 16]),
        asked: None,
        accepts: Accepts::None,
        end: None,
        live: None,
        next: None,
        publications: None,
    };
}

row!(MembershipRow, MembershipKey, MembershipId);

#[derive(Debug, Clone, Copy)]
pub(super) struct Kick {
    pub(super) group: GroupKey,
    pub(super) user: UserKey,
    pub(super) at: At,
}

#[derive(Debug)]
pub(super) struct KickRow {
    pub(super) id: KickId,
    pub(super) fact: Option<Kick>,
}

impl KickRow {
    const EMPTY: Self = Self { id: KickId([0; 16]), fact: None };
}

row!(KickRow, KickKey, KickId);

#[derive(Debug, Clone)]
pub(super) struct Invitation {
    pub(super) group: GroupKey,
    pub(super) user: UserKey,
    pub(super) number: u32,
    pub(super) secret: InviteDigest,
    pub(super) uses: u32,
    /// Seconds since 1970.
    pub(super) expires: u64,
    pub(super) kicks_seen: Box<[(OriginId, Hlc)]>,
    pub(super) at: At,
}

#[derive(Debug)]
pub(super) struct InvitationRow {
    pub(super) id: InvitationId,
    pub(super) fact: Option<Invitation>,
    pub(super) end: Option<At>,
    /// Derived: memberships that came by it.
    pub(super) used: u32,
    /// Derived: accounts that were made by it.
    pub(super) accounts: u32,
}

impl InvitationRow {
    const EMPTY: Self = Self { id: InvitationId([0; 16]), fact: None, end: None, used: 0, accounts: 0 };
}

row!(InvitationRow, InvitationKey, InvitationId);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SeederRow {
    pub(super) device: DeviceKey,
    pub(super) user: UserKey,
    pub(super) membership: MembershipKey,
    pub(super) at: At,
    pub(super) on: bool,
}

/// A content within a group.
#[derive(Debug)]
pub(super) struct FileRow {
    pub(super) group: GroupKey,
    pub(super) id: FileId,
    /// What each device last said about seeding it, by the numbers of devices.
    pub(super) seeders: Vec<SeederRow>,
    /// Derived: shares that are seen, the first one first.
    pub(super) shares: OrdSet<(Hlc, ShareKey)>,
}

impl Row for FileRow {
    type Key = FileKey;
    type Id = (GroupKey, FileId);

    fn new((group, id): Self::Id) -> Self {
        Self { group, id, seeders: Vec::new(), shares: OrdSet::Empty }
    }

    fn id(&self) -> Self::Id {
        (self.group, self.id)
    }
}

/// A content under a name within a group: all publications of it together.
#[derive(Debug)]
pub(super) struct ShareRow {
    pub(super) file: FileKey,
    pub(super) name: FileName,
    /// Derived: publications that are seen, the first one first: that one speaks for the share.
    pub(super) listed: OrdSet<(Hlc, PublicationKey)>,
}

impl Row for ShareRow {
    type Key = ShareKey;
    type Id = (FileKey, FileName);

    fn new((file, name): Self::Id) -> Self {
        Self { file, name, listed: OrdSet::Empty }
    }

    fn id(&self) -> Self::Id {
        (self.file, self.name.clone())
    }
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Publication {
    pub(super) share: ShareKey,
    pub(super) manifest: ManifestKey,
    pub(super) user: UserKey,
    pub(super) membership: MembershipKey,
    pub(super) at: At,
}

#[derive(Debug)]
pub(super) struct PublicationRow {
    pub(super) id: PublicationId,
    pub(super) fact: Option<Publication>,
    pub(super) withdrawn: Option<At>,
    /// Derived: it stands on a live membership and is not withdrawn.
    pub(super) stands: bool,
    /// Derived: it stands, and its manifest is here: members see it.
    pub(super) listed: bool,
    /// Derived: the one before it that stands on the same membership.
    pub(super) next_of_membership: Option<PublicationKey>,
    /// Derived: the one before it of the same manifest.
    pub(super) next_of_manifest: Option<PublicationKey>,
}

impl PublicationRow {
    const EMPTY: Self = Self {
        id: PublicationId::new([0; 16]),
        fact: None,
        withdrawn: None,
        stands: false,
        listed: false,
        next_of_membership: None,
        next_of_manifest: None,
    };
}

row!(PublicationRow, PublicationKey, PublicationId);

/// What a manifest says of the whole content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ManifestHead {
    /// How the content is cut.
    pub layout: PieceLayout,
    /// SHA-1 of the whole.
    pub sha1: Sha1Digest,
    /// What else there is to it, if it is a folder's.
    pub folder: Option<Folder>,
}

/// What makes a content a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Folder {
    /// Which files are where in it.
    pub tree: TreeId,
    /// Length of the tree's form, in bytes.
    pub bytes: u64,
    /// Its files and empty folders.
    pub entries: u32,
    /// The manifest that the content would have as a file.
    pub plain: ManifestId,
}

/// The head of a manifest without what only folders have: those are few.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cut {
    pub(super) layout: PieceLayout,
    pub(super) sha1: Sha1Digest,
}

#[derive(Debug)]
pub(super) struct ManifestRow {
    pub(super) id: ManifestId,
    /// Nothing, while it is not here.
    pub(super) head: Option<Cut>,
    /// Derived: the last publication that names it.
    pub(super) publications: Option<PublicationKey>,
}

impl ManifestRow {
    const EMPTY: Self = Self { id: ManifestId([0; 32]), head: None, publications: None };
}

row!(ManifestRow, ManifestKey, ManifestId);

/// How many shares of a user there are in a group.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// All that were ever published.
    pub(super) made: u32,
    /// Those that stand.
    pub(super) standing: u32,
}
