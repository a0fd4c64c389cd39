//! Asks the trackers on behalf of one download: who seeds it, and for the ticket that opens their doors.
//!
//! Knows nothing of pieces and connections. What it learns goes to the swarm as [`News`].

use std::sync::Arc;
use std::time::Duration;

use common::backoff::Backoff;
use common::id::{FileId, FileName, GroupId, GroupName, MembershipId};
use common::ticket::{Signed, Ticket};
use common::wire::client::{FileSelector, PeerRow, Push, Request, Response, ShareInfo};
use common::wire::refusal::Refusal;
use tokio::sync::{broadcast, mpsc, watch};
use tokio::time::{Instant, sleep_until};

use super::unlisted::{Publication, Unlisted};
use crate::error::Error;
use crate::trackers::group_names::{self, GroupNames};
use crate::trackers::{Directory, unexpected};

/// Delays between questions while there is no seeder; less than scripts wait for one, also when they ask again.
const HUNGRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(8));
/// Delay between questions while there are enough.
const CONTENT: Duration = Duration::from_secs(60);
/// How often the ticket at hand is compared with what the seeders have; the trackers' handle renews it.
const TICKET_LOOK: Duration = Duration::from_secs(10);

/// What the swarm should know.
#[derive(Debug)]
pub(crate) enum News {
    /// These seed the file now.
    Peers(Vec<PeerRow>),
    /// The tracker that answers does not know that it is shared; the other one may.
    Unlisted,
    /// This one has begun to.
    Peer(PeerRow),
    /// A ticket, or a newer one.
    Ticket(Signed<Ticket>),
    /// The trackers cannot be asked at the moment.
    Trouble(Error),
    /// It is not shared any more: only who has begun to serve it goes on.
    Withdrawn(Error),
    /// There is no use in going on.
    Fatal(Error),
}

/// What the swarm wants of the discovery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Wish {
    /// More seeders are needed.
    pub(crate) hungry: bool,
    /// Counts the times that a seeder found our ticket void.
    pub(crate) void_tickets: u64,
}

/// The discovery of peers for one download.
pub(crate) struct PeerDiscovery {
    pub(crate) directory: Arc<dyn Directory>,
    /// What the group was called once.
    pub(crate) group: GroupName,
    pub(crate) names: GroupNames,
    pub(crate) group_id: GroupId,
    pub(crate) file_id: FileId,
    /// What the share was called when the download began.
    pub(crate) name: FileName,
    /// How it was published, where that is known.
    pub(crate) publication: Option<Publication>,
    /// The connection to the tracker that has listed the file last.
    pub(crate) listed_at: Option<u64>,
    pub(crate) wishes: watch::Receiver<Wish>,
    pub(crate) news: mpsc::Sender<News>,
}

impl PeerDiscovery {
    /// Looks for peers until cancelled. With a `ticket`, the swarm has been told of it and of the peers a moment ago.
    pub(crate) async fn run(mut self, mut ticket: Option<Signed<Ticket>>) {
        let mut pushes = self.directory.pushes();
        let mut backoff = Backoff::new(HUNGRY.0, HUNGRY.1);
        let mut void_tickets = 0;
        let now = Instant::now();
        let (mut ask_at, mut look_at) =
            if ticket.is_some() { (now + backoff.next_delay(), now + TICKET_LOOK) } else { (now, now) };
        loop {
            tokio::select! {
                () = sleep_until(look_at) => {
                    self.renew(&mut ticket).await;
                    look_at = Instant::now() + TICKET_LOOK;
                }
                () = sleep_until(ask_at) => {
                    self.ask().await;
                    let hungry = self.wishes.borrow().hungry;
                    ask_at = Instant::now() + if hungry { backoff.next_delay() } else { CONTENT };
                }
                changed = self.wishes.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let wish = *self.wishes.borrow_and_update();
                    if wish.void_tickets != void_tickets {
                        void_tickets = wish.void_tickets;
                        self.forget_tickets();
                        look_at = Instant::now();
                    }
                    if wish.hungry {
                        backoff.reset();
                        ask_at = ask_at.min(Instant::now() + HUNGRY.0);
                    }
                }
                push = pushes.recv() => match push {
                    Ok(Push::Removed { group, membership }) => {
                        if self.may_be_out(&group, membership).await {
                            look_at = Instant::now();
                        }
                    }
                    Ok(push) => self.hear(push).await,
                    Err(broadcast::error::RecvError::Lagged(_)) => ask_at = Instant::now(),
                    Err(broadcast::error::RecvError::Closed) => return,
                },
            }
        }
    }

    async fn renew(&self, ticket: &mut Option<Signed<Ticket>>) {
        match group_names::ticket(&*self.directory, self.group_id, &self.group).await {
            Ok(newer) => {
                if ticket.as_ref() != Some(&newer) {
                    *ticket = Some(newer.clone());
                    self.tell(News::Ticket(newer)).await;
                }
            }
            Err(e) => self.tell(self.judged(e)).await,
        }
    }

    fn forget_tickets(&self) {
        group_names::forget_tickets(&*self.directory, self.group_id, &self.group);
    }

    async fn ask(&mut self) {
        let group = self.group.reference(self.group_id);
        let request = Request::FindPeers { group, file_id: self.file_id };
        let connection = self.directory.connection();
        let news = match self.directory.call(request).await {
            Ok(Response::Peers(peers)) if !peers.is_empty() => {
                self.note_listed(connection);
                News::Peers(peers.into_vec())
            }
            Ok(Response::Peers(_)) if self.wishes.borrow().hungry => self.without_peers().await,
            Ok(Response::Peers(_)) => News::Peers(Vec::new()),
            Ok(_) => News::Trouble(unexpected()),
            Err(e) => self.judged(e),
        };
        self.tell(news).await;
    }

    /// The file was listed by the tracker at the end of `connection`; if calls went to another one meanwhile, nobody knows by
    /// which.
    pub(crate) fn note_listed(&mut self, connection: u64) {
        if self.directory.connection() == connection {
            self.listed_at = Some(connection);
        }
    }

    /// What it means that nobody has it who is there.
    async fn without_peers(&mut self) -> News {
        let (connection, is_apart) = (self.directory.connection(), self.directory.is_apart());
        let nobody = News::Peers(Vec::new());
        let Ok(content) = format!("id:{}", self.file_id).parse() else { return nobody };
        match self.find(content).await {
            Ok(share) => {
                self.note_listed(connection);
                if share.file.name == self.name {
                    let listed = Publication::from(share);
                    if self.publication.as_ref().is_none_or(|known| listed.published > known.published) {
                        self.publication = Some(listed);
                    }
                }
                nobody
            }
            Err(Error::Refused(Refusal::NoSuchFile { .. })) => {
                let other = self.find(FileSelector::Name(self.name.clone())).await.ok();
                let other = other.filter(|share| share.file.file_id != self.file_id).map(Publication::from);
                // Otherwise another tracker may have answered, which is not compared yet.
                let is_same = self.directory.connection() == connection;
                let unlisted = Unlisted {
                    is_apart: is_apart || !is_same || self.directory.is_apart(),
                    was_listed: self.listed_at == Some(connection) && is_same,
                    own: self.publication.as_ref(),
                    in_its_place: other.as_ref(),
                };
                if unlisted.is_withdrawn() {
                    News::Withdrawn(Error::Withdrawn(self.names.present(self.group_id, &self.group)))
                } else {
                    News::Unlisted
                }
            }
            Err(_) => nobody,
        }
    }

    async fn find(&self, file: FileSelector) -> Result<ShareInfo, Error> {
        let request = Request::FindShare { group: self.group.reference(self.group_id), file };
        match self.directory.call(request).await? {
            Response::Share(share) => Ok(*share),
            _ => Err(unexpected()),
        }
    }

    /// The user is no longer in a group that was called `group` by then. The end of the membership says which group that
    /// was; where it is not known, but it may have been this one, the trackers are to be asked: then this is `true`.
    async fn may_be_out(&self, group: &GroupName, membership: MembershipId) -> bool {
        match self.directory.revocations().group_of(membership) {
            Some(id) if id == self.group_id => {
                let refusal = Refusal::NotAMember(self.names.present(self.group_id, &self.group));
                self.tell(News::Fatal(Error::Refused(refusal))).await;
                false
            }
            Some(_) => false,
            None => {
                let alike = group.reference(self.group_id) == self.group.reference(self.group_id);
                if alike {
                    self.forget_tickets();
                }
                alike
            }
        }
    }

    async fn hear(&self, push: Push) {
        match push {
            Push::SeederUp { group_id, file_id, peer } if group_id == self.group_id && file_id == self.file_id => {
                self.tell(News::Peer(peer)).await;
            }
            _ => {}
        }
    }

    /// Whether an error may pass.
    fn judged(&self, error: Error) -> News {
        let error = group_names::called(error, &self.names.present(self.group_id, &self.group));
        match error {
            Error::Refused(Refusal::NotAMember(_) | Refusal::NoSuchGroup(_) | Refusal::NoSuchFile { .. })
            | Error::UntrustedTracker { .. } => News::Fatal(error),
            error => News::Trouble(error),
        }
    }

    async fn tell(&self, news: News) {
        // A swarm that has gone wants no news.
        let _ = self.news.send(news).await;
    }
}
