//! One value of every variant, never changed once its bytes are in `golden.txt`. Values are chosen so
//! that a swap of two fields, or another integer encoding, changes the bytes.

use common::id::{
    DeviceId, FileId, GroupId, MembershipId, OriginId, PublicationId, RequestId, SessionId, Sha1Digest, UserId,
};
use common::invitation::InviteDigest;
use common::manifest::{Manifest, PieceHash};
use common::pieces::PieceLayout;

use crate::command::{Answer, Grant};
use crate::fact::{CredentialId, EndReason, Fact, Hlc, InvitationId, KickId, ManifestId, Stamp};
use crate::store::Asked;

pub(super) const ORIGIN: OriginId = OriginId::new([0x71; 16]);
pub(super) const USER: UserId = UserId::new([0x11; 16]);
const SESSION: SessionId = SessionId::new([0x12; 16]);
const DEVICE: DeviceId = DeviceId::new([0x13; 32]);
const GROUP: GroupId = GroupId::new([0x14; 16]);
const MEMBERSHIP: MembershipId = MembershipId::new([0x15; 16]);
const PUBLICATION: PublicationId = PublicationId::new([0x16; 16]);
const KICK: KickId = KickId([0x17; 16]);
const FILE: FileId = FileId::new([0x18; 32]);

pub(super) fn asked() -> Asked {
    Asked { device: DEVICE, request: RequestId::new([0x19; 16]) }
}

pub(super) fn stamp() -> Stamp {
    Stamp { hlc: Hlc::from_stored(0x0001_8bcf_e568_0003), origin: ORIGIN }
}

pub(super) fn end_reasons() -> Vec<EndReason> {
    vec![EndReason::Left, EndReason::Rejected, EndReason::Kicked]
}

pub(super) fn facts() -> Vec<Fact> {
    let phc = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$aGFzaA".to_owned();
    vec![
        Fact::User { id: USER, name: "alice".parse().unwrap() },
        Fact::Credential { id: CredentialId([0x21; 16]), user: USER, phc },
        Fact::Session { id: SESSION, user: USER, device: DEVICE, expires: 1_707_776_000 },
        Fact::SessionBound { session: SESSION, credentials: 300 },
        Fact::SessionEnded { session: SESSION },
        Fact::Group { id: GROUP, name: "lab".parse().unwrap(), creator: USER },
        Fact::Admin { group: GROUP, user: USER, membership: MEMBERSHIP },
        Fact::Requested { membership: MEMBERSHIP, group: GROUP, user: USER },
        Fact::Accepted { membership: MEMBERSHIP, kicks_seen: vec![KickId([0x22; 16]), KickId([0x23; 16])] },
        Fact::Ended { membership: MembershipId::new([0x24; 16]), reason: EndReason::Rejected },
        Fact::Kicked { id: KICK, group: GROUP, user: UserId::new([0x25; 16]) },
        Fact::Published {
            id: PUBLICATION,
            group: GROUP,
            name: "a file.bin".parse().unwrap(),
            file: FILE,
            manifest: ManifestId([0x26; 32]),
            user: USER,
            membership: MEMBERSHIP,
        },
        Fact::Withdrawn { publication: PublicationId::new([0x27; 16]) },
        Fact::Seeding { group: GROUP, file: FILE, device: DEVICE, user: USER, membership: MEMBERSHIP, on: true },
        Fact::Accepted { membership: MEMBERSHIP, kicks_seen: Vec::new() },
    ]
}

/// Those of an event of a later version.
pub(super) fn invitation_facts() -> Vec<Fact> {
    let invitation = InvitationId([0x28; 16]);
    vec![
        Fact::Invited {
            id: invitation,
            group: GROUP,
            user: USER,
            number: 300,
            secret: InviteDigest([0x29; 32]),
            uses: 70_000,
            expires: 1_707_776_000,
            kicks_seen: vec![(ORIGIN, Hlc::from_stored(0x0001_8bcf_e568_0002))],
        },
        Fact::InvitationRevoked { invitation: InvitationId([0x2a; 16]) },
        Fact::Redeemed { membership: MEMBERSHIP, invitation },
        Fact::Sponsored { user: USER, invitation },
    ]
}

pub(super) fn answers() -> Vec<Answer> {
    let name = "alice".parse().unwrap();
    let grant = Grant { user: USER, name, session: SESSION, credentials: 300, expires: 1_707_776_000 };
    vec![
        Answer::Done,
        Answer::Left { withdrawn: 70_000 },
        Answer::LoggedIn(grant),
        Answer::LoggedOut,
        Answer::Published { replaced: true },
        Answer::Invited { number: 300, expires: 1_707_776_000 },
        Answer::Joined { group: "lab".parse().unwrap() },
    ]
}

pub(super) fn manifest() -> Manifest {
    let layout = PieceLayout::new(40_000, 16 << 10).unwrap();
    let piece = |n: u8| PieceHash { sha1: Sha1Digest::new([n; 20]), chain: [n ^ 0xff; 32] };
    Manifest::of_hashed(layout, Sha1Digest::new([0x31; 20]), vec![piece(1), piece(2), piece(3)]).unwrap()
}
