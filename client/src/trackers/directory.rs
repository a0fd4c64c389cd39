//! What the data rooms ask of the trackers, as a trait: their tests stand on it without a tracker.

use common::id::GroupName;
use common::secret::ClusterPublic;
use common::ticket::{Signed, Ticket};
use common::wire::client::{FileSelector, OpenedFile, OpenedShare, Push, Request, Response};
use futures::future::BoxFuture;
use tokio::sync::{broadcast, watch};

use super::{LoggedIn, Revocations, TrackerClock, Trackers};
use crate::error::Error;

/// The trackers, as seen by what shares and downloads.
pub trait Directory: Send + Sync + 'static {
    /// One request and its answer, whichever tracker it takes.
    fn call(&self, request: Request) -> BoxFuture<'_, Result<Response, Error>>;

    /// A ticket for `group` that still has most of its life before it.
    fn ticket<'a>(&'a self, group: &'a GroupName) -> BoxFuture<'a, Result<Signed<Ticket>, Error>>;

    /// What a download needs to begin, in one call; [`Error::OldTracker`] where that is not known. Its ticket is at hand from
    /// then on.
    fn open_file<'a>(&'a self, group: &'a GroupName, file: FileSelector) -> BoxFuture<'a, Result<OpenedFile, Error>>;

    /// The same of a share that may be a folder.
    fn open_share<'a>(&'a self, group: &'a GroupName, file: FileSelector) -> BoxFuture<'a, Result<OpenedShare, Error>>;

    /// Drops the ticket at hand for `group`: a seeder has said that it is void.
    fn forget_ticket(&self, group: &GroupName);

    /// A number that changes when calls go to another connection: what a tracker keeps for one
    /// connection only (staged manifests) has to be done again then.
    fn connection(&self) -> u64;

    /// Whether there is another tracker that may know more than the one that answers.
    fn is_apart(&self) -> bool;

    /// News from the trackers, from now on.
    fn pushes(&self) -> broadcast::Receiver<Push>;

    /// The tickets that are known to be void; those of the trackers are in it before they are news.
    fn revocations(&self) -> Revocations;

    /// The trackers' time: what tickets and revocations are dated by.
    fn clock(&self) -> TrackerClock;

    /// The cluster's key, once a tracker has been reached (now or in an earlier run).
    fn cluster(&self) -> Option<ClusterPublic>;

    /// Who is logged in; survives lost connections, ends with the login.
    fn session(&self) -> watch::Receiver<Option<LoggedIn>>;
}

impl Directory for Trackers {
    fn call(&self, request: Request) -> BoxFuture<'_, Result<Response, Error>> {
        Box::pin(Self::call(self, request))
    }

    fn ticket<'a>(&'a self, group: &'a GroupName) -> BoxFuture<'a, Result<Signed<Ticket>, Error>> {
        Box::pin(Self::ticket(self, group))
    }

    fn open_file<'a>(&'a self, group: &'a GroupName, file: FileSelector) -> BoxFuture<'a, Result<OpenedFile, Error>> {
        Box::pin(Self::open_file(self, group, file))
    }

    fn open_share<'a>(&'a self, group: &'a GroupName, file: FileSelector) -> BoxFuture<'a, Result<OpenedShare, Error>> {
        Box::pin(Self::open_share(self, group, file))
    }

    fn forget_ticket(&self, group: &GroupName) {
        Self::forget_ticket(self, group);
    }

    fn connection(&self) -> u64 {
        Self::connection(self)
    }

    fn pushes(&self) -> broadcast::Receiver<Push> {
        Self::pushes(self)
    }

    fn revocations(&self) -> Revocations {
        Self::revocations(self)
    }

    fn is_apart(&self) -> bool {
        Self::is_apart(self)
    }

    fn clock(&self) -> TrackerClock {
        Self::clock(self)
    }

    fn cluster(&self) -> Option<ClusterPublic> {
        Self::cluster(self)
    }

    fn session(&self) -> watch::Receiver<Option<LoggedIn>> {
        Self::session(self)
    }
}
