//! A tracker in memory, for tests: one group of which everybody is a member until removed.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use common::id::{DeviceId, FileId, GroupId, GroupName, MembershipId, SessionId, TicketId, TreeId, UserId, UserName};
use common::manifest::PieceHash;
use common::secret::{ClusterKey, ClusterPublic, ClusterSecret};
use common::ticket::{Revocation, Revoked, Signed, TICKET_LIFE, Ticket, now};
use common::tree::Tree;
use common::wire::client::{
    FileInfo, FileSelector, OpenedFile, OpenedShare, PeerRow, Push, Request, Response, ShareInfo, TreeHead,
};
use common::wire::limits::{FIRST_PART, List, MAX_PART, MAX_TREE_PART, Text};
use common::wire::refusal::Refusal;
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::{broadcast, watch};

use super::{Directory, LoggedIn, Revocations, TrackerClock};
use crate::error::Error;

const GROUP: &str = "lab";

/// The tracker. Clones are the same.
#[derive(Clone)]
pub(crate) struct FakeTracker(Arc<Inner>);

struct Inner {
    key: ClusterKey,
    group: GroupId,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    files: Vec<FileInfo>,
    manifests: HashMap<FileId, Vec<PieceHash>>,
    trees: HashMap<TreeId, Vec<u8>>,
    /// The tree of each folder, by its place in `files`' name.
    folders: HashMap<String, TreeId>,
    seeders: HashMap<FileId, Vec<DeviceId>>,
    devices: HashMap<DeviceId, Device>,
    /// What was asked, by kind.
    asked: HashMap<&'static str, usize>,
    /// The group's name went to another group, of which nobody here is a member.
    renamed: bool,
    /// It is of the first release.
    is_old: bool,
}

struct Device {
    user: UserName,
    membership: MembershipId,
    session: SessionId,
    member: bool,
    address: Option<SocketAddr>,
    pushes: broadcast::Sender<Push>,
    revocations: Revocations,
}

impl FakeTracker {
    pub(crate) fn new() -> Self {
        let key = ClusterSecret::generate().cluster_key();
        Self(Arc::new(Inner { key, group: GroupId::random(), state: Mutex::default() }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().expect("unpoisoned")
    }

    pub(crate) fn group() -> GroupName {
        GROUP.parse().expect("a name")
    }

    pub(crate) fn group_id(&self) -> GroupId {
        self.0.group
    }

    /// What the group is called.
    pub(crate) fn present_name(&self) -> GroupName {
        if self.state().renamed { told_apart(self.0.group) } else { Self::group() }
    }

    /// The group's name goes to another group; its members are told.
    pub(crate) fn rename(&self) {
        let mut state = self.state();
        state.renamed = true;
        let now = told_apart(self.0.group);
        for device in state.devices.values().filter(|d| d.member) {
            let _ = device.pushes.send(Push::GroupRenamed { claimed: Self::group(), now: now.clone() });
        }
    }

    /// Somebody is put out of the group that has the name now, and was a member there, too.
    pub(crate) fn kick_from_other_group(&self, device: DeviceId) {
        let membership = MembershipId::random();
        let what = Revoked::Membership { group: GroupId::random(), membership };
        let signed = Signed::sign(&Revocation { what, at: now() }, &self.0.key).expect("signed");
        let state = self.state();
        let Some(d) = state.devices.get(&device) else { return };
        d.revocations.add(signed, &self.0.key.public());
        let _ = d.pushes.send(Push::Removed { group: Self::group(), membership });
    }

    /// Lets a device's user in (again).
    pub(crate) fn let_in(&self, device: DeviceId) {
        let group = self.present_name();
        if let Some(d) = self.state().devices.get_mut(&device) {
            (d.member, d.membership) = (true, MembershipId::random());
            let _ = d.pushes.send(Push::Accepted { group });
        }
    }

    /// A device of a new user, who is a member.
    pub(crate) fn join(&self, device: DeviceId, user: &str) -> FakeDirectory {
        let user: UserName = user.parse().expect("a name");
        let known = Device {
            user: user.clone(),
            membership: MembershipId::random(),
            session: SessionId::random(),
            member: true,
            address: None,
            pushes: broadcast::Sender::new(64),
            revocations: Revocations::new(),
        };
        self.state().devices.entry(device).or_insert(known);
        let user_id = user_of(device);
        FakeDirectory { tracker: self.clone(), device, session: watch::Sender::new(Some(LoggedIn { user, user_id })) }
    }

    /// From now on it is of the first release.
    pub(crate) fn grow_old(&self) {
        self.state().is_old = true;
    }

    pub(crate) fn announce(&self, device: DeviceId, address: SocketAddr) {
        if let Some(d) = self.state().devices.get_mut(&device) {
            d.address = Some(address);
        }
    }

    /// The device is offline.
    pub(crate) fn vanish(&self, device: DeviceId) {
        if let Some(d) = self.state().devices.get_mut(&device) {
            d.address = None;
        }
    }

    /// Publishes a file that nobody seeds yet.
    pub(crate) fn publish(&self, info: FileInfo, pieces: Vec<PieceHash>) {
        let mut state = self.state();
        state.manifests.insert(info.file_id, pieces);
        state.files.push(info);
    }

    /// Changes the tree of a published folder.
    pub(crate) fn publish_tree(&self, name: &str, tree: TreeId, encoded: Vec<u8>) {
        let mut state = self.state();
        state.trees.insert(tree, encoded);
        state.folders.insert(name.to_owned(), tree);
    }

    /// Changes a published manifest.
    pub(crate) fn publish_again(&self, file_id: FileId, change: impl FnOnce(&mut Vec<PieceHash>)) {
        self.state().manifests.get_mut(&file_id).map(change);
    }

    /// Says that `device` seeds `file_id`, whether it does or not.
    pub(crate) fn seeds(&self, device: DeviceId, file_id: FileId) {
        self.state().seeders.entry(file_id).or_default().push(device);
    }

    pub(crate) fn seeders(&self, file_id: FileId) -> Vec<DeviceId> {
        self.state().seeders.get(&file_id).cloned().unwrap_or_default()
    }

    /// How often something was asked.
    pub(crate) fn asked(&self, kind: &str) -> usize {
        self.state().asked.get(kind).copied().unwrap_or(0)
    }

    /// How often anything was asked.
    pub(crate) fn asked_in_all(&self) -> usize {
        self.state().asked.values().sum()
    }

    /// Puts a device's user out of the group, and tells everybody.
    pub(crate) fn kick(&self, device: DeviceId) {
        let mut state = self.state();
        let renamed = state.renamed;
        let Some(d) = state.devices.get_mut(&device) else { return };
        d.member = false;
        let what = Revoked::Membership { group: self.0.group, membership: d.membership };
        let name = if renamed { told_apart(self.0.group) } else { Self::group() };
        let removed = Push::Removed { group: name, membership: d.membership };
        let _ = d.pushes.send(removed);
        let signed = Signed::sign(&Revocation { what, at: now() }, &self.0.key).expect("signed");
        for (id, other) in &state.devices {
            if *id != device {
                other.revocations.add(signed.clone(), &self.0.key.public());
                let _ = other.pushes.send(Push::Revoked(signed.clone()));
            }
        }
    }

    /// Says that a session of nobody in particular has ended; told to nobody.
    pub(crate) fn revocation(&self) -> Signed<Revocation> {
        let revocation = Revocation { what: Revoked::Session(SessionId::random()), at: now() };
        Signed::sign(&revocation, &self.0.key).expect("signed")
    }

    pub(crate) fn cluster(&self) -> ClusterPublic {
        self.0.key.public()
    }

    pub(crate) fn ticket(&self, device: DeviceId) -> Option<Signed<Ticket>> {
        let state = self.state();
        let d = state.devices.get(&device).filter(|d| d.member)?;
        let ticket = Ticket {
            id: TicketId::random(),
            user: user_of(device),
            user_name: d.user.clone(),
            session: d.session,
            device,
            group: self.0.group,
            membership: d.membership,
            issued: now(),
            expires: now() + TICKET_LIFE.as_secs(),
        };
        Some(Signed::sign(&ticket, &self.0.key).expect("signed"))
    }

    fn answer(&self, device: DeviceId, request: Request) -> Result<Response, Refusal> {
        let mut state = self.state();
        let kind = match &request {
            Request::FindPeers { .. } => "peers",
            Request::OpenFile { .. } | Request::OpenShare { .. } => "open",
            Request::GetTree { .. } => "tree",
            Request::GetManifest { .. } => "manifest",
            Request::UploadFile { .. } => "upload",
            Request::StartSeeding { .. } => "start",
            Request::StopSeeding { .. } => "stop",
            _ => "other",
        };
        *state.asked.entry(kind).or_default() += 1;
        let is_member = state.devices.get(&device).is_some_and(|d| d.member);
        if let Some(group) = group_of(&request)
            && !(is_member && state.means(group, self.0.group))
        {
            return Err(Refusal::NotAMember(group.clone()));
        }
        match request {
            Request::StageManifest { file_id, first, pieces } => {
                let staged = state.manifests.entry(file_id).or_default();
                staged.truncate(first as usize);
                staged.extend(pieces.into_vec());
                Ok(Response::Done)
            }
            Request::UploadFile { name, file_id, layout, sha1, .. } => {
                if let Some(other) = state.files.iter().find(|f| f.file_id == file_id && f.layout != layout) {
                    return Err(Refusal::OtherPieceSize { piece_len: other.layout.piece_len() });
                }
                let uploader = state.devices[&device].user.clone();
                state.manifests.entry(file_id).or_default();
                if state.files.iter().all(|f| f.name != name) {
                    state.files.push(FileInfo { group_id: self.0.group, name, file_id, layout, sha1, uploader });
                }
                state.start(device, file_id, self.0.group);
                Ok(Response::Done)
            }
            Request::StageTree { tree, offset, bytes } => {
                let staged = state.trees.entry(tree).or_default();
                staged.truncate(offset as usize);
                staged.extend(bytes.into_vec());
                Ok(Response::Done)
            }
            Request::GetTree { tree, offset, .. } => {
                let rest = state.trees[&tree].iter().skip(offset as usize).copied();
                Ok(Response::TreePart(List::first_of(rest.take(MAX_TREE_PART))))
            }
            Request::Publish { name, file_id, layout, sha1, tree, replace, .. } => {
                let known = state.files.iter().position(|f| f.name == name);
                if known.is_some_and(|at| state.files[at].file_id != file_id) && !replace {
                    return Err(Refusal::FileExists { group: Self::group(), name });
                }
                let uploader = state.devices[&device].user.clone();
                state.files.retain(|f| f.name != name);
                match tree {
                    Some(tree) => state.folders.insert(name.as_str().to_owned(), tree),
                    None => state.folders.remove(name.as_str()),
                };
                state.manifests.entry(file_id).or_default();
                state.files.push(FileInfo { group_id: self.0.group, name, file_id, layout, sha1, uploader });
                state.start(device, file_id, self.0.group);
                Ok(Response::Published { replaced: known.is_some() })
            }
            Request::FindShare { file, group } => {
                let file = state.find(&file, group)?;
                Ok(Response::Share(Box::new(ShareInfo { file, tree: None, published: 0 })))
            }
            Request::OpenShare { file, group } => {
                let info = state.find(&file, group)?;
                let pieces = List::first_of(state.manifests[&info.file_id].iter().take(FIRST_PART).copied());
                let seeders = state.seeders.get(&info.file_id).cloned().unwrap_or_default();
                let others = seeders.into_iter().filter(|d| *d != device);
                let peers = List::first_of(others.filter_map(|d| state.row(d)));
                let tree = state.folders.get(info.name.as_str()).map(|id| {
                    let bytes = &state.trees[id];
                    let entries = Tree::decode(bytes).map_or(0, |tree| tree.entries() as u32);
                    TreeHead { id: *id, bytes: bytes.len() as u64, entries }
                });
                drop(state);
                let ticket = self.ticket(device).expect("a member");
                let info = ShareInfo { file: info, tree, published: 0 };
                Ok(Response::OpenedShare(Box::new(OpenedShare { info, pieces, peers, ticket })))
            }
            Request::FindFile { file, group } => state.find(&file, group).map(Response::File),
            Request::OpenFile { file, group } => {
                let info = state.find(&file, group)?;
                let pieces = List::first_of(state.manifests[&info.file_id].iter().take(FIRST_PART).copied());
                let seeders = state.seeders.get(&info.file_id).cloned().unwrap_or_default();
                let others = seeders.into_iter().filter(|d| *d != device);
                let peers = List::first_of(others.filter_map(|d| state.row(d)));
                drop(state);
                let ticket = self.ticket(device).expect("a member");
                Ok(Response::Opened(Box::new(OpenedFile { info, pieces, peers, ticket })))
            }
            Request::GetManifest { file_id, first, .. } => {
                let pieces = state.manifests[&file_id].iter().skip(first as usize).copied();
                Ok(Response::ManifestPart(List::first_of(pieces.take(MAX_PART))))
            }
            Request::FindPeers { file_id, .. } => {
                let seeders = state.seeders.get(&file_id).cloned().unwrap_or_default();
                Ok(Response::Peers(List::first_of(seeders.into_iter().filter_map(|d| state.row(d)))))
            }
            Request::StartSeeding { file_id, .. } => {
                state.start(device, file_id, self.0.group);
                Ok(Response::Done)
            }
            Request::StopSeeding { file_id, .. } => {
                state.seeders.entry(file_id).or_default().retain(|d| *d != device);
                Ok(Response::Done)
            }
            other => panic!("not faked: {other:?}"),
        }
    }
}

/// As the trackers name a group that has lost its name.
fn told_apart(group: GroupId) -> GroupName {
    format!("{GROUP}~{group:.8}").parse().expect("a name")
}

/// Each device has a user of its own.
fn user_of(device: DeviceId) -> UserId {
    UserId::new(device.as_bytes()[..16].try_into().expect("16 bytes"))
}

/// The group that a request is about.
fn group_of(request: &Request) -> Option<&GroupName> {
    match request {
        Request::UploadFile { group, .. }
        | Request::FindFile { group, .. }
        | Request::FindShare { group, .. }
        | Request::Publish { group, .. }
        | Request::OpenShare { group, .. }
        | Request::GetTree { group, .. }
        | Request::OpenFile { group, .. }
        | Request::GetManifest { group, .. }
        | Request::FindPeers { group, .. }
        | Request::StartSeeding { group, .. }
        | Request::StopSeeding { group, .. } => Some(group),
        _ => None,
    }
}

impl State {
    fn means(&self, typed: &GroupName, group: GroupId) -> bool {
        let name = FakeTracker::group();
        *typed == told_apart(group) || (*typed == name && !self.renamed)
    }

    fn find(&self, file: &FileSelector, group: GroupName) -> Result<FileInfo, Refusal> {
        let is = |f: &&FileInfo| match file {
            FileSelector::Name(name) => f.name == *name,
            FileSelector::IdPrefix(p) => f.file_id.to_string().starts_with(p.as_str()),
        };
        let name = Text::clipped(&file.to_string());
        self.files.iter().find(is).cloned().ok_or(Refusal::NoSuchFile { group, name })
    }

    fn row(&self, device: DeviceId) -> Option<PeerRow> {
        let d = self.devices.get(&device)?;
        Some(PeerRow { device, user: d.user.clone(), address: d.address? })
    }

    fn start(&mut self, device: DeviceId, file_id: FileId, group_id: GroupId) {
        let seeders = self.seeders.entry(file_id).or_default();
        if !seeders.contains(&device) {
            seeders.push(device);
        }
        let Some(peer) = self.row(device) else { return };
        for (id, other) in &self.devices {
            if *id != device {
                let _ = other.pushes.send(Push::SeederUp { group_id, file_id, peer: peer.clone() });
            }
        }
    }
}

/// One device's view of the tracker.
pub(crate) struct FakeDirectory {
    tracker: FakeTracker,
    device: DeviceId,
    session: watch::Sender<Option<LoggedIn>>,
}

impl Directory for FakeDirectory {
    fn call(&self, request: Request) -> BoxFuture<'_, Result<Response, Error>> {
        async move { self.tracker.answer(self.device, request).map_err(Error::Refused) }.boxed()
    }

    fn ticket<'a>(&'a self, group: &'a GroupName) -> BoxFuture<'a, Result<Signed<Ticket>, Error>> {
        let means = self.tracker.state().means(group, self.tracker.0.group);
        let ticket = self.tracker.ticket(self.device).filter(|_| means);
        async move { ticket.ok_or_else(|| Error::Refused(Refusal::NotAMember(group.clone()))) }.boxed()
    }

    fn open_file<'a>(&'a self, group: &'a GroupName, file: FileSelector) -> BoxFuture<'a, Result<OpenedFile, Error>> {
        async move {
            if self.tracker.state().is_old {
                return Err(Error::OldTracker);
            }
            let request = Request::OpenFile { group: group.clone(), file };
            match self.tracker.answer(self.device, request).map_err(Error::Refused)? {
                Response::Opened(opened) => Ok(*opened),
                other => panic!("{other:?}"),
            }
        }
        .boxed()
    }

    fn open_share<'a>(&'a self, group: &'a GroupName, file: FileSelector) -> BoxFuture<'a, Result<OpenedShare, Error>> {
        async move {
            if self.tracker.state().is_old {
                return Err(Error::OldTracker);
            }
            let request = Request::OpenShare { group: group.clone(), file };
            match self.tracker.answer(self.device, request).map_err(Error::Refused)? {
                Response::OpenedShare(opened) => Ok(*opened),
                other => panic!("{other:?}"),
            }
        }
        .boxed()
    }

    fn forget_ticket(&self, _: &GroupName) {}

    fn connection(&self) -> u64 {
        0
    }

    fn pushes(&self) -> broadcast::Receiver<Push> {
        self.tracker.state().devices[&self.device].pushes.subscribe()
    }

    fn revocations(&self) -> Revocations {
        self.tracker.state().devices[&self.device].revocations.clone()
    }

    fn is_apart(&self) -> bool {
        false
    }

    fn clock(&self) -> TrackerClock {
        TrackerClock::default()
    }

    fn cluster(&self) -> Option<ClusterPublic> {
        Some(self.tracker.0.key.public())
    }

    fn session(&self) -> watch::Receiver<Option<LoggedIn>> {
        self.session.subscribe()
    }
}
