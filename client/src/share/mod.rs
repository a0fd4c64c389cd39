//! What this device serves: publishing files, remembering them, noticing when they change, and the
//! socket that other peers come to.
//!
//! Owns the registry of shares and the table of offers. Invariant: what is on offer belongs to the
//! user who is logged in, was hashed or verified by this device, and has not changed since as far as its
//! metadata tells.
//!
//! Does not know downloads; a download puts its verified pieces on offer through
//! `Shares::offer_partial`.

mod announce;
mod connection_limiter;
mod counted;
mod folder;
pub mod hash;
mod list;
mod listener;
mod memory;
mod named_files;
mod notice;
mod offer;
mod publish;
mod queue;
mod reached;
mod recheck;
mod registry;
mod slots;
mod stats;
mod upload;
mod verify;
mod withheld;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use common::id::{FileId, FileName, GroupName, TreeId, UserId};
use common::pieces::{Bitfield, PieceLayout};
use common::task::TaskGroup;
use common::tls::{DeviceKey, PeerAcceptor};
use common::wire::client::{FileSelector, Request};
use tokio::net::TcpListener;
use tokio::sync::{Notify, broadcast, mpsc};

use self::announce::Unsettled;
use self::connection_limiter::ConnectionLimiter;
pub use self::folder::Skipped;
pub(crate) use self::folder::{FolderPlace, hash_file, pieces_of, pieces_touching, walk};
pub use self::hash::HashProgress;
pub use self::list::{ShareRow, ShareState};
use self::listener::Listener;
use self::memory::Memory;
pub use self::named_files::NamedFiles;
pub use self::notice::Notice;
use self::offer::Offers;
pub(crate) use self::offer::{Key, Offer, Opened, ReadError, Space};
pub(crate) use self::publish::blocking;
pub use self::publish::{UploadAs, Uploaded, UploadedFolder};
use self::reached::LastReached;
pub use self::reached::Reached;
use self::recheck::{Looks, look_key};
use self::registry::Registry;
pub(crate) use self::registry::{FolderShare, Share};
use self::slots::Slots;
pub use self::stats::Given;
use self::stats::UploadStats;
use self::upload::Host;
pub use self::verify::{Damage, Verified};
use crate::error::Error;
use crate::trackers::Directory;
use crate::trackers::group_names::GroupNames;
pub(crate) use crate::trackers::{Known, Revocations};
use crate::transfer::Limits;
use crate::transfer::manifests::Manifests;
use crate::transfer::pool::Pool;
use crate::transfer::stamp::Stamp;
use crate::transfer::trees::{Marks, Trees};

/// Notices that a slow reader may lag behind.
const NOTICES: usize = 64;
/// Offers in trouble that wait to be looked at; a share that does not fit is looked at a little later.
const TROUBLES: usize = 64;

/// What [`Shares::open`] needs.
pub struct ShareConfig {
    /// Where the shares are remembered.
    pub data_dir: PathBuf,
    /// Where to serve; port 0 lets the system choose.
    pub listen: SocketAddr,
    /// This device.
    pub device: Arc<DeviceKey>,
    /// The trackers.
    pub trackers: Arc<dyn Directory>,
    /// What the tasks belong to.
    pub tasks: TaskGroup,
    /// How fast it may go.
    pub limits: Limits,
}

/// What this device shares. Clones are the same.
#[derive(Clone)]
pub struct Shares(Arc<Inner>);

struct Inner {
    // Immutable.
    listen: SocketAddr,
    directory: Arc<dyn Directory>,
    manifests: Manifests,
    trees: Trees,
    host: Arc<Host>,
    notices: broadcast::Sender<Notice>,
    /// One publication at a time, from what is staged until it is kept here.
    publishing: tokio::sync::Mutex<()>,
    /// One restore or recheck at a time.
    rechecking: tokio::sync::Mutex<()>,
    /// Shared by those who tell the trackers that a share is seeded, held alone by who tells that it is not: the last
    /// word is the true one.
    telling: tokio::sync::RwLock<()>,
    // Each guards itself.
    names: GroupNames,
    registry: Mutex<Registry>,
    unsettled: Mutex<Unsettled>,
    /// Something is to be announced again as soon as possible.
    reannounce: Notify,
    /// What is known of the folders and changed files that are looked at now and then, by their [`look_key`].
    looks: Mutex<HashMap<(TreeId, PathBuf), Looks>>,
}

/// A share that this device has stopped seeding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stopped {
    /// Where it was shared.
    pub group: GroupName,
    /// Under which name.
    pub name: common::id::FileName,
    /// Its content.
    pub file_id: FileId,
    /// Where it lies here, if nothing else that this device shares lies there, and how it was when it was published.
    pub(crate) file: Option<(PathBuf, Stamp)>,
}

impl Shares {
    /// Binds the listener and loads the registry. Nothing is served before [`Shares::restore`].
    ///
    /// # Errors
    /// When the address cannot be bound, or the registry cannot be read.
    pub async fn open(config: ShareConfig) -> Result<Self, Error> {
        let ShareConfig { data_dir, listen, device, trackers, tasks, limits } = config;
        let about = || format!("listen on {listen}");
        let socket = TcpListener::bind(listen).await.map_err(|e| match e.kind() {
            std::io::ErrorKind::AddrInUse => {
                let free = SocketAddr::new(listen.ip(), listen.port().checked_add(1).unwrap_or_default());
                let why = "another program does already; stop that one, or write another IP:PORT";
                Error::InUse(format!("cannot {}: {why}, such as {free}", about()))
            }
            _ => Error::from_io_about(about(), e),
        })?;
        let listen = socket.local_addr().map_err(|e| Error::from_io_about(about(), e))?;
        let acceptor = PeerAcceptor::new(&device).map_err(|e| Error::Internal(format!("cannot serve: {e}")))?;
        let (trouble, troubles) = mpsc::channel(TROUBLES);
        let host = Arc::new(host(&trackers, &limits, trouble));
        let inner = Inner {
            listen,
            manifests: Manifests::open(&data_dir)?,
            trees: Trees::open(&data_dir)?,
            names: GroupNames::open(&data_dir)?,
            registry: Mutex::new(Registry::open(&data_dir)?),
            unsettled: Mutex::default(),
            reannounce: Notify::new(),
            looks: Mutex::default(),
            directory: trackers,
            host: Arc::clone(&host),
            notices: broadcast::Sender::new(NOTICES),
            publishing: tokio::sync::Mutex::default(),
            rechecking: tokio::sync::Mutex::default(),
            telling: tokio::sync::RwLock::default(),
        };
        let shares = Self(Arc::new(inner));
        tasks.spawn(
            "listener",
            Listener {
                socket,
                acceptor,
                host,
                connection_limiter: ConnectionLimiter::new(connection_limiter::Limits::DEFAULT),
                tasks: tasks.clone(),
            }
            .run(),
        );
        shares.spawn_rechecks(&tasks, troubles);
        Ok(shares)
    }

    /// Where peers reach this device; the port is known by now.
    pub fn listen_addr(&self) -> SocketAddr {
        self.0.listen
    }

    /// How many are served at the same time from now on; `None` is without bound.
    pub fn set_slots(&self, slots: Option<NonZeroU32>) {
        self.0.host.slots.set(slots);
    }

    /// Who has connected to that address.
    pub fn reached(&self) -> Reached {
        self.0.host.reached.get()
    }

    /// What happens to shares without the user's doing, from now on.
    pub fn notices(&self) -> broadcast::Receiver<Notice> {
        self.0.notices.subscribe()
    }

    /// Stops seeding one share: the tracker is told first, then it is forgotten here.
    ///
    /// # Errors
    /// When this device does not share it, or no tracker can be asked.
    pub async fn stop(&self, group: &GroupName, file: &FileSelector) -> Result<Stopped, Error> {
        let user = self.user()?;
        let Some(share) = self.one_of(user, group, file)? else {
            // The tracker knows best what is wrong with the group or the name; if nothing is, it is only not ours.
            self.find(group.clone(), file.clone()).await?;
            return Err(Error::NotShared(file.to_string()));
        };
        let is_twin =
            |s: &Share| s.user == user && key_of(s) == key_of(&share) && !s.same_place(&share) && s.withheld.is_none();
        if !self.registry(|r| r.shares().iter().any(is_twin)) {
            let _alone = self.0.telling.write().await;
            let group = share.group.reference(share.group_id);
            let request = Request::StopSeeding { group, file_id: share.file_id };
            match self.0.directory.call(request).await {
                // Not known there any more: then it is only forgotten here.
                Ok(_) | Err(Error::Refused(_)) => self.0.host.offers.end(key_of(&share)),
                Err(e) => return Err(e),
            }
        }
        self.forget(|s| s.same_place(&share))?;
        self.offer_twin(user, key_of(&share));
        Ok(self.stopped(share))
    }

    /// What has become of a share that is not in the registry any more.
    fn stopped(&self, share: Share) -> Stopped {
        let group = self.0.names.present(share.group_id, &share.group);
        let is_shared_elsewhere = self.registry(|r| r.shares().iter().any(|s| s.path == share.path));
        let file = (!is_shared_elsewhere).then_some((share.path, share.stamp));
        Stopped { group, name: share.name, file_id: share.file_id, file }
    }

    /// Asks the trackers whether the group has such a share.
    ///
    /// # Errors
    /// When it has not, or they cannot be asked.
    pub async fn find(&self, group: GroupName, file: FileSelector) -> Result<(), Error> {
        match self.0.directory.call(Request::FindShare { group: group.clone(), file: file.clone() }).await {
            Err(Error::OldTracker) => self.0.directory.call(Request::FindFile { group, file }).await.map(drop),
            found => found.map(drop),
        }
    }

    fn one_of(&self, user: UserId, group: &GroupName, file: &FileSelector) -> Result<Option<Share>, Error> {
        let meant = |s: &Share| self.0.names.means(group, s.group_id, &s.group) && s.is(file);
        let found: Vec<_> =
            self.registry(|r| r.shares().iter().filter(|s| s.user == user && meant(s)).cloned().collect());
        match <[Share; 1]>::try_from(found) {
            Ok([share]) => Ok(Some(share)),
            Err(none) if none.is_empty() => Ok(None),
            Err(_) => Err(Error::InvalidArgument(format!(
                "several shares of `{group}` begin with `{file}`; give more digits"
            ))),
        }
    }

    /// Serves the verified pieces of what is being downloaded into `file`.
    pub(crate) fn offer_partial(&self, key: Key, layout: PieceLayout, file: Opened, have: Bitfield) -> Arc<Offer> {
        self.0.host.offers.put(Offer::partial(key, layout, file, have))
    }

    /// An offer of all of a share.
    fn whole_offer(&self, share: &Share) -> Offer {
        self.offer_of(share, Bitfield::full(share.layout))
    }

    /// An offer of a share, of which `have` is here.
    fn offer_of(&self, share: &Share, have: Bitfield) -> Offer {
        let (key, layout, path) = (key_of(share), share.layout, share.path.clone());
        match &share.folder {
            Some(folder) => Offer::folder(key, layout, self.place(path, folder), have),
            None => Offer::complete(key, layout, path, share.stamp),
        }
    }

    fn place(&self, path: PathBuf, folder: &FolderShare) -> FolderPlace {
        FolderPlace::new(path, folder.tree, self.0.trees.clone())
    }

    /// A download is complete, and `share` says where its file is now: it is seeded from now on.
    /// Blocks on the disk.
    ///
    /// # Errors
    /// When the registry cannot be saved.
    pub(crate) fn settle(&self, share: Share) -> Result<(), Error> {
        let (key, layout, path, stamp) = (key_of(&share), share.layout, share.path.clone(), share.stamp);
        let before = self.put(share)?;
        match self.0.host.offers.get(key) {
            Some(offer) if offer.is_full() => offer.settle(path, stamp),
            _ => drop(self.0.host.offers.put(Offer::complete(key, layout, path, stamp))),
        }
        before.iter().for_each(|before| self.end_replaced(before));
        Ok(())
    }

    /// Remembers a share; returns the row it replaced, if that had another content or path. Blocks on the disk.
    fn put(&self, share: Share) -> Result<Option<Share>, Error> {
        let what = |s: &Share| (key_of(s), s.folder.clone(), s.path.clone());
        let is_before = |s: &&Share| s.same_place(&share) && what(s) != what(&share);
        let before = self.registry(|r| r.shares().iter().find(is_before).cloned());
        self.registry(|r| r.put(share))?;
        Ok(before)
    }

    /// The same of a folder, whose files have these `marks`; `have` are the pieces of it that stay here. Blocks on the disk.
    ///
    /// # Errors
    /// When the registry cannot be saved.
    pub(crate) fn settle_folder(&self, share: Share, marks: &Marks, have: Bitfield) -> Result<(), Error> {
        let Some(folder) = &share.folder else { return self.settle(share) };
        self.save_marks(&share, folder.tree, marks)?;
        let place = self.place(share.path.clone(), folder);
        let key = key_of(&share);
        let before = self.put(share.clone())?;
        match self.0.host.offers.get(key) {
            Some(offer) => {
                offer.set(have);
                offer.settle_folder(place);
            }
            None => drop(self.0.host.offers.put(self.offer_of(&share, have))),
        }
        before.iter().for_each(|before| self.end_replaced(before));
        Ok(())
    }

    /// Keeps how the files of a folder are, now that they are as shared: of those whose mark is another than before no change
    /// is known any more. Blocks on the disk.
    fn save_marks(&self, share: &Share, tree: TreeId, marks: &Marks) -> Result<(), Error> {
        let before = self.0.trees.marks(tree, &share.path).unwrap_or_default();
        self.0.trees.save_marks(tree, &share.path, marks)?;
        let is_as_before = |index| before.get(index).is_some_and(|mark| marks.get(index) == Some(mark));
        self.looks(|looks| looks.get_mut(&look_key(share)).map(|looks| looks.keep_changed(is_as_before)));
        Ok(())
    }

    /// The folder of `group` that lies at `path` and is shared from there.
    pub(crate) fn folder_at(&self, group: common::id::GroupId, path: &std::path::Path) -> Option<Share> {
        let user = self.user().ok()?;
        let is = |s: &&Share| s.user == user && s.group_id == group && s.path == *path && s.folder.is_some();
        self.registry(|r| r.shares().iter().find(is).cloned())
    }

    /// Where another version of a share of `group` lies that this device has as it was shared, and whether that is only a part.
    pub(crate) fn other_version(&self, group: &GroupName, name: &FileName, file_id: FileId) -> Option<(PathBuf, bool)> {
        let user = self.user().ok()?;
        let is_named = |s: &Share| s.name == *name && self.0.names.means(group, s.group_id, &s.group);
        let is = |s: &&Share| s.user == user && s.file_id != file_id && s.withheld.is_none() && is_named(s);
        let is_part = |s: &Share| s.folder.as_ref().is_some_and(|folder| folder.partial);
        self.registry(|r| r.shares().iter().find(is).map(|s| (s.path.clone(), is_part(s))))
    }

    /// Ends an offer of a download that does not go on.
    pub(crate) fn end_offer(&self, offer: &Arc<Offer>) {
        self.0.host.offers.end_this(offer);
    }

    /// Whether anything is served under this key.
    pub(crate) fn offers(&self, key: Key) -> bool {
        self.0.host.offers.get(key).is_some()
    }

    /// Something complete with this content, to copy from.
    pub(crate) fn local_copy(&self, file_id: FileId) -> Option<Arc<Offer>> {
        self.0.host.offers.with_content(file_id)
    }

    pub(crate) fn revocations(&self) -> &Revocations {
        &self.0.host.revocations
    }

    pub(crate) fn group_names(&self) -> &GroupNames {
        &self.0.names
    }

    pub(crate) fn manifests(&self) -> &Manifests {
        &self.0.manifests
    }

    pub(crate) fn trees(&self) -> &Trees {
        &self.0.trees
    }

    pub(crate) fn pool(&self) -> &Pool {
        &self.0.host.pool
    }

    fn user(&self) -> Result<UserId, Error> {
        let session = self.0.directory.session();
        let user = session.borrow().as_ref().map(|s| s.user_id);
        user.ok_or(Error::Refused(common::wire::refusal::Refusal::NotLoggedIn))
    }

    /// Uses the registry. Blocks on the disk if it is changed.
    fn registry<T>(&self, use_it: impl FnOnce(&mut Registry) -> T) -> T {
        use_it(&mut self.0.registry.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Removes shares from the registry, and manifests that nobody needs any more.
    fn forget(&self, gone: impl Fn(&Share) -> bool) -> Result<Vec<Share>, Error> {
        let removed = self.registry(|r| r.remove(gone))?;
        self.clean_up(&removed);
        Ok(removed)
    }

    /// Removes what only these shares needed, which are in the registry no more. Blocks on the disk.
    fn clean_up(&self, removed: &[Share]) {
        if removed.is_empty() {
            return;
        }
        let kept: Vec<Share> = self.registry(|r| r.shares().to_vec());
        for share in removed {
            // The same content may be there under another name.
            if kept.iter().all(|s| key_of(s) != key_of(share)) {
                self.0.host.stats.forget(key_of(share));
                self.forget_listed(key_of(share));
            }
            if kept.iter().all(|s| (s.file_id, s.layout) != (share.file_id, share.layout)) {
                self.0.manifests.remove(share.file_id, share.layout);
            }
            if kept.iter().all(|s| look_key(s) != look_key(share)) {
                self.looks(|looks| looks.remove(&look_key(share)));
            }
            let Some(folder) = &share.folder else { continue };
            let tree_of = |s: &Share| s.folder.as_ref().map(|f| f.tree);
            if kept.iter().all(|s| tree_of(s) != Some(folder.tree)) {
                self.0.trees.remove(folder.tree);
            }
            if kept.iter().all(|s| tree_of(s) != Some(folder.tree) || s.path != share.path) {
                self.0.trees.remove_marks(folder.tree, &share.path);
            }
        }
    }

    fn looks<T>(&self, use_it: impl FnOnce(&mut HashMap<(TreeId, PathBuf), Looks>) -> T) -> T {
        use_it(&mut self.0.looks.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn tell(&self, notice: Notice) {
        tracing::info!("{notice}");
        // Nobody listens: then the log has it.
        let _ = self.0.notices.send(notice);
    }
}

fn key_of(share: &Share) -> Key {
    Key { group: share.group_id, file_id: share.file_id }
}

fn host(directory: &Arc<dyn Directory>, limits: &Limits, trouble: mpsc::Sender<Key>) -> Host {
    let (directory, revocations, clock) = (Arc::clone(directory), directory.revocations(), directory.clock());
    Host {
        clock,
        cluster: Box::new(move || directory.cluster()),
        offers: Offers::default(),
        revocations,
        slots: Slots::new(),
        memory: Memory::new(),
        stats: UploadStats::default(),
        reached: LastReached::default(),
        pool: Pool::new(),
        limits: limits.clone(),
        trouble: Box::new(move |offer, error| {
            tracing::debug!(%error, "a shared file cannot be read");
            // Full: the periodic look finds it too.
            let _ = trouble.try_send(offer.key);
        }),
    }
}
