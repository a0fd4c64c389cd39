//! The running client without a face: what commands do, and what happens meanwhile.
//!
//! A command's typed arguments come to an [`Outcome`] or an [`Error`]; what happens without a command is told as [`Event`]s.
//! Owns nothing but handles: the trackers, the shares, the downloads. Knows no terminal and no HTTP: how an outcome is
//! shown, and whether in this process, is decided by the faces.

pub mod arrange;
pub mod command;
pub(crate) mod controls;
mod copies;
mod devices;
mod doctor;
pub mod events;
mod folders;
mod inspect;
mod invitations;
mod limits;
mod listing;
mod missed;
pub mod news;
pub mod outcome;
pub(crate) mod paths;
pub mod progress;
mod search;
mod subscriptions;
mod transfers;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use common::id::{DeviceId, UserName};
use common::invitation::Invitation;
use common::reset_code::InvalidCode;
use common::task::TaskGroup;
use common::wire::client::{Password, Relation, Request, Response};
use common::wire::limits::{MAX_PASSWORD, MIN_PASSWORD};
use common::wire::refusal::Refusal;
use futures::future::BoxFuture;
use tokio::sync::{broadcast, mpsc};
use tokio_util::sync::CancellationToken;

use self::arrange::Wanted;
pub use self::command::Command;
use self::command::{InviteLine, Secret};
use self::controls::{Controls, Governed};
pub use self::copies::Copies;
pub use self::events::Event;
use self::limits::Scope;
use self::missed::JoinedHere;
pub use self::missed::ReadMarks;
use self::news::{Happening, News};
pub use self::outcome::Outcome;
pub use self::outcome::PageLink;
use self::outcome::{Group, Member, Status, TrackerRow, User};
pub use self::progress::{Call, Progress, ProgressSink};
pub use self::subscriptions::Subscriptions;
use crate::download::{Choice, Downloads};
use crate::error::Error;
use crate::settings::{Given, Settings, Values};
use crate::share::{Shares, UploadAs};
use crate::trackers::{self, LoggedIn, Notice, Trackers, acknowledged, unexpected};
use crate::transfer::Limits;

/// The handles that commands work with.
pub struct Engine {
    trackers: Trackers,
    shares: Shares,
    downloads: Downloads,
    device: DeviceId,
    controls: Controls,
    limits: Limits,
    copies: Arc<Copies>,
    news: ReadMarks,
    joined: JoinedHere,
    /// What this client was started with, until somebody has come by it.
    invited: Mutex<Option<Invitation>>,
    subscriptions: Subscriptions,
    /// Set once, when it is to stay.
    stays: AtomicBool,
    /// Whether somebody sees what it tells, in this process.
    watched: AtomicBool,
    events: broadcast::Sender<Event>,
    /// Cancelled when somebody wants it to end.
    ended: CancellationToken,
    /// Set once, before any command.
    page: OnceLock<Box<dyn OpenPage>>,
}

/// What an engine works with.
pub struct Rooms {
    /// The connections to the trackers.
    pub trackers: Trackers,
    /// What this device seeds.
    pub shares: Shares,
    /// What it fetches.
    pub downloads: Downloads,
    /// Its id.
    pub device: DeviceId,
    /// What a person has set.
    pub settings: Settings,
    /// What of it the file says.
    pub values: Values,
    /// What goes before the file.
    pub given: Given,
    /// The limits that shares and downloads keep to.
    pub limits: Limits,
    /// Copies of files that came from browsers.
    pub copies: Copies,
    /// Which news were shown.
    pub news: ReadMarks,
    /// What comes by itself.
    pub subscriptions: Subscriptions,
}

/// The page for browsers, as the command `web` sees it.
pub trait OpenPage: Send + Sync {
    /// A link that signs one browser in. Opens the page if it is not open.
    fn link(&self) -> BoxFuture<'_, Result<PageLink, Error>>;
}

impl Engine {
    /// An engine over these rooms. `begin` lets it tell what happens, from the first notice on.
    pub fn new(rooms: Rooms, notices: mpsc::Receiver<Notice>) -> (Arc<Self>, Begin) {
        let Rooms { trackers, shares, downloads, device, settings, values, given, limits, copies, news, subscriptions } =
            rooms;
        let copies = Arc::new(copies);
        let governed = Governed { limits: limits.clone(), shares: shares.clone(), downloads: downloads.clone() };
        let controls = Controls::new(settings, values, given, governed);
        let (pushes, share_notices) = (trackers.pushes(), shares.notices());
        let events = broadcast::Sender::new(events::EVENTS);
        let (ended, page) = (CancellationToken::new(), OnceLock::new());
        let (stays, watched) = (AtomicBool::new(false), AtomicBool::new(false));
        let engine = Arc::new(Self {
            trackers,
            shares,
            downloads,
            device,
            controls,
            limits,
            copies,
            news,
            joined: JoinedHere::default(),
            invited: Mutex::default(),
            subscriptions,
            stays,
            watched,
            events,
            ended,
            page,
        });
        let sources = events::Sources { notices, pushes, shares: share_notices };
        (Arc::clone(&engine), Begin { engine, sources })
    }

    /// The trackers.
    pub fn trackers(&self) -> &Trackers {
        &self.trackers
    }

    /// The shares.
    pub fn shares(&self) -> &Shares {
        &self.shares
    }

    /// The downloads.
    pub fn downloads(&self) -> &Downloads {
        &self.downloads
    }

    /// Copies of files that came from browsers.
    pub(crate) fn copies(&self) -> &Arc<Copies> {
        &self.copies
    }

    /// What happens from now on.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    /// Who is logged in, as far as is known without asking.
    pub fn user(&self) -> Option<UserName> {
        self.trackers.session().borrow().as_ref().map(|s| s.user.clone())
    }

    /// Cancelled when somebody wants the client to end.
    pub fn ended(&self) -> CancellationToken {
        self.ended.clone()
    }

    /// From now on, whenever somebody is logged in, what they share is seeded, their unfinished downloads go on, what they have
    /// subscribed to comes, and what is new is told.
    pub fn stay(self: &Arc<Self>, tasks: &TaskGroup) {
        self.trackers.serve_at(self.shares.listen_addr());
        self.stays.store(true, Ordering::Relaxed);
        tasks.spawn("restore", events::restore(Arc::clone(self)));
        tasks.spawn("missed", missed::follow::follow(Arc::clone(self)));
        tasks.spawn("subscriptions", subscriptions::run::run(Arc::clone(self)));
    }

    /// Whether it stays.
    fn stays(&self) -> bool {
        self.stays.load(Ordering::Relaxed)
    }

    /// From now on somebody at this process sees what it tells, so that it counts as shown.
    pub fn watch(&self) {
        self.watched.store(true, Ordering::Relaxed);
    }

    fn is_watched(&self) -> bool {
        self.watched.load(Ordering::Relaxed)
    }

    /// Says where the page is that `web` opens. Only the first time counts.
    pub fn set_page(&self, page: Box<dyn OpenPage>) {
        let _ = self.page.set(page); // There is one already.
    }

    async fn web(&self) -> Result<Outcome, Error> {
        let none = || Error::InvalidArgument("this client has no page".to_owned());
        Ok(Outcome::Web(self.page.get().ok_or_else(none)?.link().await?))
    }

    fn tell(&self, event: Event) {
        let _ = self.events.send(event); // Nobody listens: then nobody wants to know.
    }

    /// Carries a command out. `help` is answered by whoever owns the table's texts.
    ///
    /// Cancel safe in that what was begun at a tracker may be carried out all the same. A download that was begun goes on.
    ///
    /// # Errors
    /// Whatever keeps it from succeeding.
    pub async fn run(&self, command: Command, call: &Call) -> Result<Outcome, Error> {
        let shown_by = command.shown_by(self.trackers.session().borrow().as_ref().map(|s| &s.user));
        let (done, is_solo) = acknowledged::noted(self.carry_out(command, call)).await;
        let done = done.map_err(|e| e.seen_by(shown_by))?;
        Ok(if is_solo { done.of_one_tracker() } else { done })
    }

    async fn carry_out(&self, command: Command, call: &Call) -> Result<Outcome, Error> {
        match command {
            Command::CreateUser { user, password, invite } => {
                let password = new_password(password)?;
                let name = user.clone();
                let provisional = match invite {
                    None => self.claimed(Request::CreateUser { user: name, password }).await?,
                    Some(InviteLine(invitation)) => {
                        self.is_ours(&invitation).await?;
                        let secret = invitation.secret.clone();
                        match self.claimed(Request::CreateInvitedUser { user: name, password, secret }).await {
                            Err(e) => return Err(self.why_refused(e, invitation).await),
                            Ok(provisional) => provisional,
                        }
                    }
                };
                Ok(Outcome::UserCreated { user, provisional })
            }
            Command::Login { user, code: Some(code), new_password: new, .. } => {
                self.login_with_code(user, code, new).await
            }
            Command::Login { user, password, code: None, .. } => {
                let password = present_password(password)?;
                let user = self.logged_in(Request::Login { user, password }).await?;
                Ok(Outcome::LoggedIn(User { user }))
            }
            Command::Logout => {
                self.done(Request::Logout).await?;
                Ok(Outcome::LoggedOut {})
            }
            Command::Whoami => Ok(Outcome::Whoami(User { user: self.who().await?.user })),
            Command::ChangePassword { old, new } => {
                let (old, new) = (present_password(old)?, new_password(new)?);
                self.logged_in(Request::ChangePassword { old, new }).await?;
                Ok(Outcome::PasswordChanged {})
            }
            Command::CreateGroup { group } => {
                let provisional = self.claimed(Request::CreateGroup { group: group.clone() }).await?;
                Ok(Outcome::GroupCreated { group, provisional })
            }
            Command::JoinGroup { group } => {
                self.done(Request::JoinGroup { group: group.clone() }).await?;
                Ok(Outcome::JoinRequested(Group { group }))
            }
            Command::LeaveGroup { group } => self.leave(group).await,
            Command::AcceptRequest { group, user } => {
                self.done(Request::AcceptRequest { group: group.clone(), user: user.clone() }).await?;
                Ok(Outcome::Accepted(Member { group, user }))
            }
            Command::RejectRequest { group, user } => {
                self.done(Request::RejectRequest { group: group.clone(), user: user.clone() }).await?;
                Ok(Outcome::Rejected(Member { group, user }))
            }
            Command::RemoveMember { group, user } => {
                self.done(Request::RemoveMember { group: group.clone(), user: user.clone() }).await?;
                Ok(Outcome::Removed(Member { group, user }))
            }
            Command::MakeAdmin { group, user } => {
                self.done(Request::MakeAdmin { group: group.clone(), user: user.clone() }).await?;
                Ok(Outcome::AdminMade(Member { group, user }))
            }
            Command::Invite { group, uses, expires } => self.invite(group, uses.get(), expires).await,
            Command::AcceptInvite { line } => self.accept_invite(line).await,
            Command::CheckInvite { line } => self.check_invite(line).await,
            Command::ListInvites { group } => self.list_invites(group).await,
            Command::RevokeInvite { group, n } => self.revoke_invite(group, n).await,
            Command::ListGroups => self.list_groups().await,
            Command::ListRequests { group } => self.list_requests(group).await,
            Command::ListMembers { group } => self.list_members(group).await,
            Command::ListFiles { group, folder, sort, pattern, page, rows } => {
                let wanted = Wanted { sort, pattern, page, rows };
                match folder {
                    Some(folder) => self.list_folder(group, folder, wanted).await,
                    None => self.list_files(group, &wanted).await,
                }
            }
            Command::UploadFile { path, group, piece_size: piece_len, name, replace } => {
                self.upload(path, group, UploadAs { name, piece_len, replace }, call).await
            }
            Command::DownloadFile { group, file_name, destination, strategy, force, only, except } => {
                let choice = Choice { only, except, path: file_name.path.map(Into::into) };
                self.download(group, file_name.share, choice, destination, (strategy, force), call).await
            }
            Command::ShowDownloads => Ok(Outcome::Downloads { downloads: self.download_rows() }),
            Command::PauseDownload { n } => self.pause(n).await,
            Command::ResumeDownload { n } => self.resume(n).await,
            Command::CancelDownload { n } => self.cancel(n).await,
            Command::ListShares => self.list_shares().await,
            Command::ListDevices => self.list_devices().await,
            Command::EndLogin { device } => self.end_login(device).await,
            Command::StopShare { group, file_name } => self.stop(group, file_name).await,
            Command::Search { words, page } => self.search(&words, page).await,
            Command::Info { group, file_name } => self.info(group, file_name).await,
            Command::Verify { group, file_name } => self.verify(group, file_name, call).await,
            Command::News { all } => self.missed(all).await,
            Command::Subscribe { group, glob, destination, existing } => {
                self.subscribe(group, glob, destination, existing).await
            }
            Command::ListSubscriptions => self.list_subscriptions().await,
            Command::Unsubscribe { n } => self.unsubscribe(n).await,
            Command::Limit { direction: Some(direction), rate: Some(rate), group, download, at } => {
                let scope = download.map(Scope::Download).or(group.map(Scope::Group)).unwrap_or(Scope::Client);
                self.limit(direction, rate, scope, at).await
            }
            Command::Limit { .. } => Ok(Outcome::Limits(self.limit_table())),
            Command::Set { name: Some(name), value: Some(value) } => self.set(name, value).await,
            Command::Set { .. } => Ok(self.show(None)),
            Command::Show { name } => Ok(self.show(name)),
            Command::Status => Ok(Outcome::Status(self.status().await)),
            Command::Doctor => self.doctor().await,
            Command::Help { .. } => Ok(Outcome::Help { help: String::new() }),
            Command::Web => self.web().await,
            Command::Quit => Ok(Outcome::Quit {}),
            Command::Shutdown => {
                self.tell(Event::News(News::of(Happening::ShutDown, "the client was shut down".to_owned())));
                self.ended.cancel();
                Ok(Outcome::ShutDown {})
            }
        }
    }

    /// Who is logged in, as far as the tracker confirms.
    async fn who(&self) -> Result<LoggedIn, Error> {
        self.trackers.ready().await?.ok_or(Error::Refused(Refusal::NotLoggedIn))
    }

    async fn done(&self, request: Request) -> Result<(), Error> {
        match self.trackers.call(request).await? {
            Response::Done => Ok(()),
            _ => Err(unexpected()),
        }
    }

    /// Claims a name: whether that may still be undone.
    async fn claimed(&self, request: Request) -> Result<bool, Error> {
        match self.trackers.call(request).await? {
            Response::Done => Ok(false),
            Response::Provisional => Ok(true),
            _ => Err(unexpected()),
        }
    }

    async fn logged_in(&self, request: Request) -> Result<common::id::UserName, Error> {
        match self.trackers.call(request).await? {
            Response::LoggedIn { user, .. } => Ok(user),
            _ => Err(unexpected()),
        }
    }

    /// Logs in by a code of the operator's, and sets a new password.
    async fn login_with_code(&self, user: UserName, code: Secret, new: Option<Secret>) -> Result<Outcome, Error> {
        let wrong = |e: InvalidCode| Error::InvalidArgument(e.to_string());
        let (code, new) = (code.as_str().parse().map_err(wrong)?, new_password(new)?);
        match self.logged_in(Request::LoginWithCode { user, code, new }).await {
            Ok(user) => Ok(Outcome::LoggedIn(User { user })),
            Err(Error::Refused(Refusal::BadCredentials)) => Err(Error::BadCode),
            Err(e) => Err(e),
        }
    }

    /// Leaves, or withdraws a request: the answer does not tell which, but only members may see the members.
    async fn leave(&self, group: common::id::GroupName) -> Result<Outcome, Error> {
        // Before: afterwards the name may be another group's.
        let shared_in = self.shares.group_known_as(&group);
        let members = Request::ListMembers { group: group.clone(), after: None };
        let was = match self.trackers.call(members).await {
            Err(Error::Refused(Refusal::NotAMember(_))) => Relation::Pending,
            Err(e) if !matches!(e, Error::Refused(_)) => return Err(e),
            _ => Relation::Member,
        };
        let withdrawn = match self.trackers.call(Request::LeaveGroup { group: group.clone() }).await? {
            Response::Left { withdrawn } => u64::from(withdrawn),
            _ => return Err(unexpected()),
        };
        if let Some(group) = shared_in {
            for stopped in self.shares.leave(group).await {
                self.remove_copy(stopped.file, stopped.file_id).await;
            }
        }
        self.subscriptions.poke();
        Ok(Outcome::Left { group, was, withdrawn })
    }

    async fn status(&self) -> Status {
        self.status_of(self.trackers.status().await)
    }

    /// The status as far as it is known without asking anybody.
    pub fn known_status(&self) -> Status {
        self.status_of(self.trackers.known())
    }

    fn status_of(&self, status: trackers::Status) -> Status {
        let row = |t: &trackers::TrackerState| TrackerRow {
            address: t.address.to_string(),
            up: t.up,
            current: t.current,
            disk_full: t.disk_full,
        };
        Status {
            trackers: status.trackers.iter().map(row).collect(),
            mode: status.mode,
            lag: status.lag,
            user: self.user(),
            listen: self.shares.listen_addr().to_string(),
            device: self.device.to_string(),
            rate_down: self.download_rows().iter().map(|d| d.rate).sum(),
            limits: self.known_limits(),
            reach: self.reach(),
        }
    }
}

/// An engine that has not begun to tell what happens: faces subscribe first.
pub struct Begin {
    engine: Arc<Engine>,
    sources: events::Sources,
}

impl Begin {
    /// Tells from now on what happens, also what has happened before.
    pub fn begin(self, tasks: &TaskGroup) {
        let Self { engine, sources } = self;
        events::spawn(&engine, sources, tasks);
    }
}

/// A password that is to be set.
fn new_password(secret: Option<Secret>) -> Result<Password, Error> {
    let secret = secret.ok_or_else(no_password)?;
    if !(MIN_PASSWORD..=MAX_PASSWORD).contains(&secret.as_str().len()) {
        return Err(Error::InvalidArgument(Refusal::PasswordRule.to_string()));
    }
    present_password(Some(secret))
}

/// A password that is to be checked: only as long as the wire carries.
fn present_password(secret: Option<Secret>) -> Result<Password, Error> {
    let secret = secret.ok_or_else(no_password)?;
    Password::try_from(secret.as_str().to_owned())
        .map_err(|_| Error::InvalidArgument(Refusal::PasswordRule.to_string()))
}

fn no_password() -> Error {
    Error::Usage(
        "a password is needed, and there is no terminal to ask for it: set SHOAL_PASSWORD (for one password), or give each a \
         line of a file that `--password-fd 3 3<FILE` opens, or write it after the user's name, where `ps` shows it to others"
            .to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rule_for_passwords_counts_bytes() {
        let check = |text: &str| new_password(Some(Secret::new(text.to_owned()))).map(|_| ()).map_err(|e| e.code());
        assert_eq!(check("1234567"), Err("invalid_argument"));
        assert_eq!(check("12345678"), Ok(()));
        assert_eq!(check("üüüü"), Ok(()), "eight bytes");
        assert_eq!(check(&"x".repeat(1024)), Ok(()));
        assert_eq!(check(&"x".repeat(1025)), Err("invalid_argument"));
        assert_eq!(new_password(None).map(|_| ()).map_err(|e| e.code()), Err("usage"));
        assert_eq!(present_password(Some(Secret::new("short".to_owned()))).map(|_| ()).map_err(|e| e.code()), Ok(()));
    }
}
