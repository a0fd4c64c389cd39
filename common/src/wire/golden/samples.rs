//! One value of every variant, never changed once its bytes are in `golden.txt`. Values are chosen so
//! that a swap of two fields, or another integer encoding, changes the bytes.

use crate::id::{
    DeviceId, FileId, FileName, GroupId, GroupName, MembershipId, OriginId, RequestId, SessionId, Sha1Digest, TicketId,
    TreeId, UserId, UserName,
};
use crate::invitation::InviteSecret;
use crate::manifest::PieceHash;
use crate::pieces::{BlockRange, PieceLayout};
use crate::reset_code::ResetCode;
use crate::secret::{ClusterKey, ClusterSecret};
use crate::ticket::{Revocation, Revoked, SessionToken, Signed, Statement, Ticket};
use crate::wire::client::{
    Call, ClientFrame, FileInfo, FileRow, FileSelector, GroupRow, Happened, Hello, HitRow, IdPrefix, InviteInfo,
    InviteRow, InviteState, MemberRow, Mode, NewsMark, NewsPage, NewsRow, OpenedFile, OpenedShare, Page, Password,
    PeerRow, ProbeOutcome, ProbeRow, Probed, Push, Relation, Reply, Request, Response, ServerFrame, ShareInfo,
    ShareRow, TrackerStatus, TreeHead, Welcome, Words,
};
use crate::wire::limits::{List, Text};
use crate::wire::peer::{self, Goodbye, LeecherFrame, SeederFrame};
use crate::wire::refusal::Refusal;
use crate::wire::sync::{
    self, Ack, Announcement, Batch, Event, Facts, Head, ManifestPart, NameKind, NameVote, Presence, StateDigest,
    SyncFrame, TreePart, VersionVector, VoteStage,
};

/// The cluster's key of the secret that is 32 times the byte 7.
pub(super) fn key() -> ClusterKey {
    ClusterSecret::from_bytes([7; 32]).cluster_key()
}

pub(super) fn signed<T: Statement>(statement: &T) -> Signed<T> {
    Signed::sign(statement, &key()).unwrap()
}

pub(super) fn ticket() -> Ticket {
    Ticket {
        id: TicketId::new([0x10; 16]),
        user: UserId::new([0x11; 16]),
        user_name: alice(),
        session: SessionId::new([0x12; 16]),
        device: device(),
        group: GroupId::new([0x14; 16]),
        membership: MembershipId::new([0x15; 16]),
        issued: 1_700_000_000,
        expires: 1_700_000_120,
    }
}

pub(super) fn token() -> SessionToken {
    SessionToken {
        session: SessionId::new([0x12; 16]),
        user: UserId::new([0x11; 16]),
        device: device(),
        credentials: 3,
        expires: 1_707_776_000,
    }
}

pub(super) fn revocation() -> Revocation {
    Revocation { what: Revoked::Session(SessionId::new([0x12; 16])), at: 1_700_000_060 }
}

pub(super) fn revoked() -> Vec<Revoked> {
    let (user, except) = (UserId::new([0x11; 16]), Some(SessionId::new([0x12; 16])));
    vec![
        Revoked::Membership { group: GroupId::new([0x14; 16]), membership: MembershipId::new([0x15; 16]) },
        Revoked::Session(SessionId::new([0x12; 16])),
        Revoked::OtherSessions { user, except },
        Revoked::OtherSessions { user, except: None },
    ]
}

fn alice() -> UserName {
    "alice".parse().unwrap()
}

fn bob() -> UserName {
    "bob".parse().unwrap()
}

fn lab() -> GroupName {
    "lab".parse().unwrap()
}

fn paper() -> FileName {
    "Grüße 1.pdf".parse().unwrap()
}

fn password(text: &str) -> Password {
    text.to_owned().try_into().unwrap()
}

fn device() -> DeviceId {
    DeviceId::new([0x13; 32])
}

fn file_id() -> FileId {
    FileId::new([0x20; 32])
}

fn sha1() -> Sha1Digest {
    Sha1Digest::new([0x21; 20])
}

fn layout() -> PieceLayout {
    PieceLayout::new(1_000_000, 256 << 10).unwrap()
}

fn piece_hashes<const N: usize>() -> List<PieceHash, N> {
    List::new(vec![
        PieceHash { sha1: sha1(), chain: [0x22; 32] },
        PieceHash { sha1: Sha1Digest::new([0x23; 20]), chain: [0x24; 32] },
    ])
    .unwrap()
}

fn seen() -> VersionVector {
    VersionVector(List::new(vec![(OriginId::new([0x30; 16]), 5), (OriginId::new([0x31; 16]), 70_000)]).unwrap())
}

fn peer_row() -> PeerRow {
    PeerRow { device: device(), user: alice(), address: "192.0.2.7:7000".parse().unwrap() }
}

fn file_info() -> FileInfo {
    FileInfo {
        group_id: GroupId::new([0x14; 16]),
        name: paper(),
        file_id: file_id(),
        layout: layout(),
        sha1: sha1(),
        uploader: alice(),
    }
}

fn page<T>(rows: Vec<T>, more: bool) -> Page<T> {
    Page { rows: List::new(rows).unwrap(), more }
}

pub(super) fn client_frames() -> Vec<ClientFrame> {
    let request = Request::JoinGroup { group: lab() };
    vec![
        ClientFrame::Hello(Hello { version: 1 }),
        ClientFrame::Call(Call { number: 300, request_id: RequestId::new([0x32; 16]), seen: seen(), request }),
    ]
}

pub(super) fn requests() -> Vec<Request> {
    let (group, user) = (lab(), bob());
    vec![
        Request::CreateUser { user: alice(), password: password("correct horse") },
        Request::Login { user: alice(), password: password("correct horse") },
        Request::Resume { token: signed(&token()) },
        Request::Logout,
        Request::ChangePassword { old: password("correct horse"), new: password("battery staple") },
        Request::CreateGroup { group: group.clone() },
        Request::ListGroups { after: None },
        Request::ListGroups { after: Some(group.clone()) },
        Request::JoinGroup { group: group.clone() },
        Request::LeaveGroup { group: group.clone() },
        Request::ListRequests { group: group.clone(), after: Some(user.clone()) },
        Request::AcceptRequest { group: group.clone(), user: user.clone() },
        Request::RejectRequest { group: group.clone(), user: user.clone() },
        Request::ListMembers { group: group.clone(), after: Some(user.clone()) },
        Request::RemoveMember { group: group.clone(), user: user.clone() },
        Request::MakeAdmin { group: group.clone(), user },
        Request::StageManifest { file_id: file_id(), first: 8192, pieces: piece_hashes() },
        Request::UploadFile { group: group.clone(), name: paper(), file_id: file_id(), layout: layout(), sha1: sha1() },
        Request::ListFiles { group: group.clone(), after: Some(paper()) },
        Request::FindFile { group: group.clone(), file: FileSelector::Name(paper()) },
        Request::GetManifest { group: group.clone(), file_id: file_id(), first: 8192 },
        Request::FindPeers { group: group.clone(), file_id: file_id() },
        Request::StartSeeding { group: group.clone(), file_id: file_id() },
        Request::StopSeeding { group: group.clone(), file_id: file_id() },
        Request::Announce { listen: "0.0.0.0:7000".parse().unwrap(), serial: 1_700_000_000_000 },
        Request::Announce { listen: "[2001:db8::7]:7000".parse().unwrap(), serial: 1 },
        Request::GetTicket { group },
        Request::Status,
        Request::Cluster,
        Request::ListDevices,
        Request::EndLogin { device: device() },
        Request::OpenFile { group: lab(), file: FileSelector::Name(paper()) },
        Request::StageTree { tree: tree_id(), offset: 262_144, bytes: List::first_of([1, 2, 3]) },
        publish(Some(tree_id()), false),
        publish(None, true),
        Request::FindShare { group: lab(), file: FileSelector::Name(paper()) },
        Request::OpenShare { group: lab(), file: FileSelector::Name(paper()) },
        Request::GetTree { group: lab(), tree: tree_id(), offset: 262_144 },
        Request::ListShares { group: lab(), after: Some(paper()) },
        Request::Search { words: Words::try_from("Grüße 2024".to_owned()).unwrap(), page: 3 },
        Request::AnnounceAs { listen: "0.0.0.0:7000".parse().unwrap(), serial: 300, revision: 3 },
        Request::ProbeMe { listen: "0.0.0.0:7000".parse().unwrap() },
        Request::ProbeResult { id: 0x1516_1718_191a_1b1c, outcome: ProbeOutcome::Silent },
        Request::Invite { group: lab(), secret: invite_secret().digest(), uses: 300, seconds: 604_800 },
        Request::ListInvites { group: lab(), skip: 300 },
        Request::RevokeInvite { group: lab(), number: 300 },
        Request::AcceptInvite { secret: invite_secret() },
        Request::CreateInvitedUser { user: bob(), password: password("correct horse"), secret: invite_secret() },
        Request::News { files_of: None, before: None },
        Request::News { files_of: Some(lab()), before: Some(mark()) },
        Request::LoginWithCode { user: alice(), code: code(), new: password("battery staple") },
        Request::CheckInvite { secret: invite_secret() },
        Request::NewsWithVersions { files_of: Some(lab()), before: Some(mark()) },
    ]
}

fn mark() -> NewsMark {
    NewsMark { stamp: 111_411_200_000_000_003, key: 0x1516_1718_191a_1b1c }
}

fn code() -> ResetCode {
    ResetCode::new(&key(), UserId::new([0x11; 16]), "$argon2id$", 1_700_000_040)
}

pub(super) fn happened() -> Vec<Happened> {
    let shared =
        |entries| Happened::FileShared { name: paper(), size: 1_000_000, file_id: file_id(), user: alice(), entries };
    vec![
        Happened::JoinRequested { user: bob() },
        Happened::Accepted,
        Happened::Rejected,
        Happened::Removed,
        Happened::MadeAdmin,
        shared(None),
        shared(Some(300)),
        Happened::InvitationUsed { user: bob() },
        Happened::NewVersion { name: paper(), size: 1_000_000, file_id: file_id(), user: alice(), entries: Some(300) },
    ]
}

fn invite_secret() -> InviteSecret {
    InviteSecret::new([0x26; 16])
}

fn tree_id() -> TreeId {
    TreeId::new([0x25; 32])
}

fn publish(tree: Option<TreeId>, replace: bool) -> Request {
    Request::Publish { group: lab(), name: paper(), file_id: file_id(), layout: layout(), sha1: sha1(), tree, replace }
}

fn share_info() -> ShareInfo {
    let tree = TreeHead { id: tree_id(), bytes: 70_000, entries: 300 };
    ShareInfo { file: file_info(), tree: Some(tree), published: 1_700_000_000 }
}

pub(super) fn selectors() -> Vec<FileSelector> {
    vec![FileSelector::Name(paper()), FileSelector::IdPrefix(IdPrefix::try_from("2020abcd".to_owned()).unwrap())]
}

pub(super) fn server_frames() -> Vec<ServerFrame> {
    let reply = |result| ServerFrame::Reply(Reply { number: 300, mode: Mode::Solo, seen: seen(), result });
    vec![
        ServerFrame::Welcome(Welcome { version: 1, tracker_no: 2, now: 1_700_000_000 }),
        // Of revision 1.
        ServerFrame::Welcome(Welcome { version: 1, tracker_no: 0x0102, now: 1_700_000_000 }),
        reply(Ok(Response::Done)),
        reply(Err(Refusal::NoSuchGroup(lab()))),
        ServerFrame::Push(Push::Accepted { group: lab() }),
    ]
}

pub(super) fn responses() -> Vec<Response> {
    let group = GroupRow { group: lab(), admin: alice(), members: 3, relation: Relation::Pending };
    let file = FileRow { name: paper(), size: 1_000_000, file_id: file_id(), uploader: alice(), seeders: 2 };
    vec![
        Response::Done,
        Response::LoggedIn { user: alice(), user_id: UserId::new([0x11; 16]), token: signed(&token()) },
        Response::Groups(page(vec![group], true)),
        Response::Users(page(vec![alice(), bob()], false)),
        Response::Members(page(
            vec![MemberRow { user: alice(), admin: true }, MemberRow { user: bob(), admin: false }],
            false,
        )),
        Response::Files(page(vec![file], true)),
        Response::File(file_info()),
        Response::ManifestPart(piece_hashes()),
        Response::Peers(List::new(vec![peer_row()]).unwrap()),
        Response::Ticket(signed(&ticket())),
        Response::Left { withdrawn: 4 },
        Response::Status(TrackerStatus { tracker_no: 2, mode: Mode::Dual }),
        Response::Provisional,
        Response::Cluster(crate::wire::client::ClusterStatus {
            this: TrackerStatus { tracker_no: 1, mode: Mode::Dual },
            other: Some(2),
            linked: true,
            lag: 300,
        }),
        Response::Devices(
            List::new(vec![crate::wire::client::DeviceRow { device: device(), since: 1_700_000_000 }]).unwrap(),
        ),
        Response::Opened(Box::new(OpenedFile {
            info: file_info(),
            pieces: piece_hashes(),
            peers: List::new(vec![peer_row()]).unwrap(),
            ticket: signed(&ticket()),
        })),
        Response::Published { replaced: true },
        Response::Share(Box::new(share_info())),
        Response::Share(Box::new(ShareInfo { tree: None, ..share_info() })),
        Response::OpenedShare(Box::new(OpenedShare {
            info: share_info(),
            pieces: piece_hashes(),
            peers: List::new(vec![peer_row()]).unwrap(),
            ticket: signed(&ticket()),
        })),
        Response::TreePart(List::first_of([1, 2, 3])),
        Response::Shares(page(vec![share_row(Some(300)), share_row(None)], true)),
        Response::Hits(page(vec![hit(Some("Fotos/Grüße.jpg")), hit(None)], true)),
        Response::Probed(Probed {
            address: "192.0.2.1:7000".parse().unwrap(),
            rows: List::first_of([
                ProbeRow { user: bob(), from_elsewhere: true, outcome: Some(ProbeOutcome::Reached) },
                ProbeRow { user: alice(), from_elsewhere: false, outcome: None },
            ]),
        }),
        Response::Invited { number: 300, expires: 1_700_604_800 },
        Response::Invites(page(vec![invite_row()], true)),
        Response::Joined { group: lab() },
        Response::News(NewsPage {
            rows: List::first_of([NewsRow { mark: mark(), group: lab(), what: Happened::Accepted }]),
            before: Some(mark()),
            cut: None,
        }),
        Response::Invitation(InviteInfo {
            group: lab(),
            by: alice(),
            left: 300,
            expires: 1_700_604_800,
            state: InviteState::Revoked,
        }),
    ]
}

pub(super) fn invite_states() -> Vec<InviteState> {
    vec![InviteState::Open, InviteState::UsedUp, InviteState::Expired, InviteState::Revoked, InviteState::Closed]
}

fn invite_row() -> InviteRow {
    InviteRow { number: 300, by: alice(), uses: 1000, used: 301, expires: 1_700_604_800, state: InviteState::UsedUp }
}

fn share_row(entries: Option<u32>) -> ShareRow {
    let file = FileRow { name: paper(), size: 1_000_000, file_id: file_id(), uploader: alice(), seeders: 2 };
    ShareRow { file, entries, published: 1_700_000_000 }
}

fn hit(path: Option<&str>) -> HitRow {
    let path = path.map(|p| p.parse().unwrap());
    HitRow { group: lab(), name: paper(), path, size: 1_000_000, file_id: file_id() }
}

pub(super) fn pushes() -> Vec<Push> {
    vec![
        Push::JoinRequested { group: lab(), user: bob() },
        Push::Accepted { group: lab() },
        Push::Rejected { group: lab() },
        Push::Removed { group: lab(), membership: MembershipId::new([0x15; 16]) },
        Push::MadeAdmin { group: lab() },
        Push::Revoked(signed(&revocation())),
        Push::SeederUp { group_id: GroupId::new([0x14; 16]), file_id: file_id(), peer: peer_row() },
        Push::SessionEnded,
        Push::UserRenamed { claimed: bob(), now: bob() },
        Push::GroupRenamed { claimed: lab(), now: lab() },
        Push::Probe { id: 300, device: DeviceId::new([0x12; 32]), address: "192.0.2.1:7000".parse().unwrap() },
        Push::NewsHint { group_id: GroupId::new([0x14; 16]), at: 1_700_000_000_000 },
    ]
}

pub(super) fn probe_outcomes() -> Vec<ProbeOutcome> {
    vec![
        ProbeOutcome::Reached,
        ProbeOutcome::Refused,
        ProbeOutcome::Silent,
        ProbeOutcome::Unreachable,
        ProbeOutcome::Other,
    ]
}

pub(super) fn refusals() -> Vec<Refusal> {
    let text = |s: &str| Text::clipped(s);
    vec![
        Refusal::Version { ours: 1, theirs: 300 },
        Refusal::NotLoggedIn,
        Refusal::BadCredentials,
        Refusal::SessionEnded,
        Refusal::UserExists(alice()),
        Refusal::NoSuchUser(bob()),
        Refusal::GroupExists(lab()),
        Refusal::NoSuchGroup(lab()),
        Refusal::NotAMember(lab()),
        Refusal::UserNotAMember { user: bob(), group: lab() },
        Refusal::NotAdmin { group: lab(), admin: alice() },
        Refusal::AlreadyMember(lab()),
        Refusal::AlreadyRequested(lab()),
        Refusal::NoSuchRequest { user: bob(), group: lab() },
        Refusal::FileExists { group: lab(), name: paper() },
        Refusal::NoSuchFile { group: lab(), name: text("id:2020abcd") },
        Refusal::AmbiguousId { group: lab() },
        Refusal::PasswordRule,
        Refusal::Invalid(text("the parts do not follow each other")),
        Refusal::RateLimited { seconds: 30 },
        Refusal::Busy,
        Refusal::TrackerDiskFull,
        Refusal::Internal,
        Refusal::Stale,
        Refusal::OtherPieceSize { piece_len: 1 << 20 },
        Refusal::NoSuchInvite,
        Refusal::NoSuchInviteNumber { group: lab(), number: 300 },
    ]
}

pub(super) fn leecher_frames() -> Vec<LeecherFrame> {
    let (group, ticket) = (GroupId::new([0x14; 16]), signed(&ticket()));
    vec![
        LeecherFrame::Hello(peer::Hello { version: 1, group, file_id: file_id(), ticket: ticket.clone() }),
        LeecherFrame::Request { number: 9, block: BlockRange { piece: 3, offset: 65_536, len: 1 << 20 } },
        LeecherFrame::Cancel { number: 9 },
        LeecherFrame::Renew(ticket),
        LeecherFrame::Revoked(signed(&revocation())),
        LeecherFrame::Rest,
    ]
}

pub(super) fn seeder_frames() -> Vec<SeederFrame> {
    vec![
        SeederFrame::Bitfield(List::new(vec![0xff, 0xa0]).unwrap()),
        SeederFrame::Have { piece: 300 },
        SeederFrame::Run { number: 9, len: 256 << 10 },
        SeederFrame::Cancelled { number: 9 },
        SeederFrame::Lost { piece: 300 },
        SeederFrame::Goodbye(Goodbye::NotShared),
    ]
}

pub(super) fn goodbyes() -> Vec<Goodbye> {
    vec![
        Goodbye::Version(1),
        Goodbye::Ticket,
        Goodbye::Revoked,
        Goodbye::NotShared,
        Goodbye::Busy,
        Goodbye::Violation,
        Goodbye::Leaving,
    ]
}

fn versions() -> VersionVector {
    VersionVector(List::first_of([(OriginId::new([0x30; 16]), 300), (OriginId::new([0x31; 16]), 7)]))
}

pub(super) fn votes() -> Vec<NameVote> {
    let vote = |kind, stage| NameVote {
        kind,
        name: bob(),
        hlc: 1_700_000_000_000 << 16,
        origin: OriginId::new([0x30; 16]),
        owner: [0x32; 16],
        stage,
    };
    vec![
        vote(NameKind::User, VoteStage::Provisional),
        vote(NameKind::Group, VoteStage::Pledged),
        vote(NameKind::User, VoteStage::Confirmed),
    ]
}

fn manifest_part() -> ManifestPart {
    ManifestPart {
        id: [0x36; 32],
        file_id: file_id(),
        layout: PieceLayout::new(100, 1 << 14).unwrap(),
        sha1: Sha1Digest::new([0x37; 20]),
        first: 0,
        pieces: List::first_of([PieceHash { sha1: Sha1Digest::new([0x38; 20]), chain: [0x39; 32] }]),
    }
}

pub(super) fn sync_frames() -> Vec<SyncFrame> {
    let head = Head { origin: OriginId::new([0x30; 16]), seq: 300, hash: [0x33; 32] };
    let event = Event {
        origin: OriginId::new([0x30; 16]),
        seq: 300,
        hlc: 1_700_000_000_000 << 16,
        deps: versions(),
        kind: 1,
        ver: 1,
        device: DeviceId::new([0x13; 32]),
        request: RequestId::new([0x34; 16]),
        body: List::first_of([1, 2, 3]),
        answer: List::first_of([4, 5]),
        prev_hash: [0x33; 32],
    };
    let facts = |complete| Facts { number: 3, facts: List::first_of([1, 2, 3]), complete };
    vec![
        SyncFrame::Hello(sync::Hello {
            version: 1,
            schema: 2,
            tracker_no: 1,
            origin: OriginId::new([0x30; 16]),
            heads: List::first_of([head]),
            names: [0x35; 32],
        }),
        SyncFrame::Batch(Batch { number: 2, events: List::first_of([event]), votes: List::first_of(votes()) }),
        SyncFrame::Facts(facts(Some(List::first_of([head])))),
        SyncFrame::Ack(Ack { number: 2, versions: versions() }),
        SyncFrame::WantManifest([0x36; 32]),
        SyncFrame::Manifest(manifest_part()),
        SyncFrame::NoManifest([0x36; 32]),
        SyncFrame::Digest(StateDigest { versions: versions(), buckets: List::first_of([1, u64::MAX]) }),
        SyncFrame::Repair(facts(None)),
        SyncFrame::Quarantined(OriginId::new([0x30; 16])),
        SyncFrame::Ping,
        SyncFrame::Pong,
        SyncFrame::WantManifestFrom { id: [0x36; 32], first: 300 },
        SyncFrame::Presence(Presence {
            here: List::first_of([Announcement {
                device: DeviceId::new([0x13; 32]),
                user: UserId::new([0x12; 16]),
                address: "192.0.2.7:7000".parse().unwrap(),
                serial: 300,
            }]),
            gone: List::first_of([DeviceId::new([0x14; 32])]),
        }),
        SyncFrame::Clock(1_700_000_000_000),
        SyncFrame::FolderManifest { part: manifest_part(), tree: tree_id() },
        SyncFrame::WantTree { tree: tree_id(), offset: 262_144 },
        SyncFrame::Tree(TreePart { tree: tree_id(), len: 300_000, offset: 262_144, bytes: List::first_of([1, 2]) }),
        SyncFrame::NoTree(tree_id()),
    ]
}
