//! What becomes of a download while only one of two trackers can be asked, and that one does not list what it is of.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use common::id::{FileName, GroupName, UserName};
use common::secret::ClusterPublic;
use common::ticket::{Signed, Ticket, UnixSeconds};
use common::wire::client::{FileSelector, OpenedFile, OpenedShare, Push, Request, Response};
use futures::FutureExt;
use tokio::sync::{broadcast, mpsc};

use super::*;
use crate::download::peer_discovery::{News, PeerDiscovery, Wish};
use crate::download::unlisted::Publication;
use crate::trackers::{LoggedIn, Revocations, TrackerClock};

/// A tracker that cannot be compared with the other one.
struct OneOfTwo {
    tracker: FakeDirectory,
    /// When each content was published; the others long before.
    published: HashMap<FileId, UnixSeconds>,
    connection: AtomicU64,
    is_changing: AtomicBool,
}

impl Directory for OneOfTwo {
    fn call(&self, request: Request) -> BoxFuture<'_, Result<Response, Error>> {
        async move {
            let mut answer = self.tracker.call(request).await?;
            if let Response::Share(share) = &mut answer {
                share.published = self.published.get(&share.file.file_id).copied().unwrap_or(1);
            }
            Ok(answer)
        }
        .boxed()
    }

    fn ticket<'a>(&'a self, group: &'a GroupName) -> BoxFuture<'a, Result<Signed<Ticket>, Error>> {
        self.tracker.ticket(group)
    }

    fn open_file<'a>(&'a self, group: &'a GroupName, file: FileSelector) -> BoxFuture<'a, Result<OpenedFile, Error>> {
        self.tracker.open_file(group, file)
    }

    fn open_share<'a>(&'a self, group: &'a GroupName, file: FileSelector) -> BoxFuture<'a, Result<OpenedShare, Error>> {
        self.tracker.open_share(group, file)
    }

    fn forget_ticket(&self, group: &GroupName) {
        self.tracker.forget_ticket(group);
    }

    fn connection(&self) -> u64 {
        // Told by `is_changing` to be another one each time.
        match self.is_changing.load(Ordering::Relaxed) {
            true => self.connection.fetch_add(1, Ordering::Relaxed),
            false => self.connection.load(Ordering::Relaxed),
        }
    }

    fn is_apart(&self) -> bool {
        true
    }

    fn pushes(&self) -> broadcast::Receiver<Push> {
        self.tracker.pushes()
    }

    fn revocations(&self) -> Revocations {
        self.tracker.revocations()
    }

    fn clock(&self) -> TrackerClock {
        self.tracker.clock()
    }

    fn cluster(&self) -> Option<ClusterPublic> {
        self.tracker.cluster()
    }

    fn session(&self) -> watch::Receiver<Option<LoggedIn>> {
        self.tracker.session()
    }
}

/// What the discovery has to say of `content`, which was published at 100 and called `name`.
struct Discovery {
    news: mpsc::Receiver<News>,
    directory: Arc<OneOfTwo>,
    tasks: TaskGroup,
    _wishes: watch::Sender<Wish>,
}

impl Discovery {
    fn of(leecher: &Device, content: FileId, published: &[(FileId, UnixSeconds)], own: Option<UnixSeconds>) -> Self {
        let directory = Arc::new(OneOfTwo {
            tracker: leecher.tracker.join(leecher.key.id(), leecher.name),
            published: published.iter().copied().collect(),
            connection: AtomicU64::new(1),
            is_changing: AtomicBool::new(false),
        });
        let (wishes, news) = (watch::Sender::new(Wish { hungry: true, void_tickets: 0 }), mpsc::channel(8));
        let uploader: UserName = "alice".parse().expect("a name");
        let discovery = PeerDiscovery {
            directory: directory.clone(),
            group: FakeTracker::group(),
            names: leecher.shares.group_names().clone(),
            group_id: leecher.tracker.group_id(),
            file_id: content,
            name: name(),
            publication: own.map(|published| Publication { published, uploader }),
            listed_at: None,
            wishes: wishes.subscribe(),
            news: news.0,
        };
        let tasks = TaskGroup::new();
        tasks.spawn("peer_discovery", discovery.run(None));
        Self { news: news.1, directory, tasks, _wishes: wishes }
    }

    /// The next news that is not about tickets.
    async fn next(&mut self) -> News {
        loop {
            let news = tokio::time::timeout(Duration::from_secs(30), self.news.recv()).await.expect("news in time");
            match news.expect("it goes on") {
                News::Ticket(_) => {}
                news => return news,
            }
        }
    }
}

fn name() -> FileName {
    "z.bin".parse().expect("a name")
}

/// A device that has published one version and then another under the same name, and is offline; and their contents.
async fn versions(tracker: &FakeTracker) -> (Device, [FileId; 2]) {
    let alice = Device::new(tracker, "alice").await;
    tracker.vanish(alice.key.id());
    let versions = [replace(&alice, 1000).await, replace(&alice, 2000).await];
    (alice, versions)
}

/// Publishes another content under the name.
async fn replace(device: &Device, len: usize) -> FileId {
    let path = device.files().join(name().as_str());
    fs::write(&path, content(len)).expect("written");
    let wanted = crate::share::UploadAs { name: None, piece_len: Some(16 << 10), replace: true };
    device.shares.upload_as(&path, FakeTracker::group(), wanted, |_| ()).await.expect("uploaded").file_id
}

#[tokio::test]
async fn one_tracker_ends_a_download_whose_uploader_has_replaced_it_since() {
    let tracker = FakeTracker::new();
    let (_alice, [old, new]) = versions(&tracker).await;
    let bob = Device::new(&tracker, "bob").await;
    let mut later = Discovery::of(&bob, old, &[(new, 101)], Some(100));
    assert!(matches!(later.next().await, News::Withdrawn(Error::Withdrawn(_))));
    for (what, published, own) in [
        ("all that a tracker that lags behind knows is older", 99, Some(100)),
        ("which is the later one is not known", 100, Some(100)),
        ("begun by a release that did not note when it was published", 101, None),
    ] {
        let mut discovery = Discovery::of(&bob, old, &[(new, published)], own);
        for _ in 0..2 {
            let news = discovery.next().await;
            assert!(matches!(news, News::Unlisted), "{what}: {news:?}");
        }
        discovery.tasks.stop().await;
    }
}

#[tokio::test]
async fn a_tracker_that_has_listed_it_ends_it_and_another_connection_does_not() {
    let tracker = FakeTracker::new();
    let (alice, [_, mut content]) = versions(&tracker).await;
    let bob = Device::new(&tracker, "bob").await;
    for (is_other, len) in [(true, 3000), (false, 4000)] {
        let mut discovery = Discovery::of(&bob, content, &[(content, 100)], Some(100));
        assert!(matches!(discovery.next().await, News::Peers(peers) if peers.is_empty()), "it is listed");
        if is_other {
            discovery.directory.is_changing.store(true, Ordering::Relaxed);
        }
        content = replace(&alice, len).await;
        let news = loop {
            match discovery.next().await {
                News::Peers(_) => {}
                news => break news,
            }
        };
        match is_other {
            true => assert!(matches!(news, News::Unlisted), "{news:?}"),
            false => assert!(matches!(news, News::Withdrawn(_)), "{news:?}"),
        }
        discovery.tasks.stop().await;
    }
}
