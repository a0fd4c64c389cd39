//! What clients ask, one file per command: check the rule, call the store, build the reply.
//!
//! A command never writes to a socket. It returns an [`Effect`]: what to answer, who is to hear of it, and
//! whether the connection's login has changed. Knows no frames.

mod accept_invite;
mod accept_request;
mod announce;
mod answer;
mod catch_up;
mod change_password;
mod check_invite;
mod create_group;
mod create_user;
mod end_login;
mod files;
mod find_peers;
mod get_manifest;
mod get_ticket;
mod get_tree;
mod invite;
mod join_group;
mod leave_group;
mod list_devices;
mod list_groups;
mod list_invites;
mod list_members;
mod list_news;
mod list_requests;
mod login;
mod login_with_code;
mod logout;
mod make_admin;
mod mint;
mod new_files;
mod news;
mod open_file;
mod pass_on;
mod probe;
mod properties;
#[cfg(test)]
mod publish_tests;
mod recent_revocations;
mod reject_request;
mod remove_member;
mod resume;
mod revoke_invite;
mod search;
mod signed_ends;
mod stage_manifest;
mod stage_tree;
mod start_seeding;
mod status;
mod stop_seeding;
#[cfg(test)]
pub(crate) mod tests;
mod upload_file;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use common::id::{GroupId, GroupName, MembershipId, UserId, UserName};
use common::secret::ClusterKey;
use common::ticket;
use common::wire::client::{Mode, Page, Request, Response};
use common::wire::limits::{List, MAX_ROWS, Text};
use common::wire::refusal::Refusal;
use common::wire::sync::NameKind;

use crate::fact::Fact;
use crate::hub::{ConnectionId, Hub};
use crate::limits::Caller;
use crate::limits::reply_budget::ReplyBudget;
use crate::password::{PasswordError, Passwords};
use crate::presence::Presence;
use crate::quota::{self, Quota};
use crate::replica::Replica;
use crate::rules::{self, Login, Registration};
use crate::store::{Asked, Change, NewManifest, State, Store, StoreError, TreePlace, Written};
use crate::throttle::{Throttle, Wait};
use crate::tickets::Tickets;
pub(crate) use announce::hint_arrivals;
pub(crate) use answer::Answer;
#[cfg(test)]
pub(crate) use answer::Grant;
pub(crate) use catch_up::catch_up;
pub(crate) use mint::Mint;
pub(crate) use new_files::{NewFiles, tell_new_files};
use news::{FactBatch, News};
pub(crate) use pass_on::pass_on;
pub(crate) use probe::Probes;
pub(crate) use properties::properties;
pub(crate) use recent_revocations::RecentRevocations;
pub(crate) use signed_ends::SignedEnds;
pub(crate) use stage_manifest::StagingRoom;
pub(crate) use stage_tree::Staging;

/// What every command may use.
#[derive(Debug)]
pub(crate) struct Services {
    pub(crate) tracker_no: u16,
    pub(crate) key: ClusterKey,
    pub(crate) store: Store,
    pub(crate) passwords: Passwords,
    pub(crate) throttle: Throttle,
    pub(crate) tickets: Tickets,
    pub(crate) replies: Arc<ReplyBudget>,
    pub(crate) presence: Arc<Presence>,
    pub(crate) hub: Arc<Hub>,
    pub(crate) staging: StagingRoom,
    pub(crate) replica: Replica,
    pub(crate) quota: Quota,
    pub(crate) registration: Registration,
    pub(crate) recent_revocations: RecentRevocations,
    pub(crate) signed_ends: SignedEnds,
    pub(crate) probes: Probes,
    pub(crate) new_files: NewFiles,
}

impl Services {
    /// How many trackers have a change on disk when it is acknowledged.
    pub(crate) fn mode(&self) -> Mode {
        self.replica.view().mode
    }
}

/// One call and who makes it.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) services: Arc<Services>,
    pub(crate) asked: Asked,
    /// Whose share it takes, and for how long it is of use.
    pub(crate) caller: Caller,
    pub(crate) address: IpAddr,
    pub(crate) connection: ConnectionId,
}

/// What a session hands to a command besides the request.
#[derive(Debug, Default)]
pub(crate) enum Handed {
    /// Nothing.
    #[default]
    Nothing,
    /// What was staged for a publication.
    Staging(Staging),
    /// Where a part of a tree goes.
    Part(TreePlace),
}

/// What a command has come to.
#[derive(Debug)]
pub(crate) struct Effect {
    pub(crate) response: Response,
    pub(crate) login: LoginChange,
    news: Vec<News>,
}

/// What becomes of the connection's login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LoginChange {
    /// It stays.
    Same,
    /// It is this one now.
    Now(Login),
    /// There is none any more.
    Gone,
}

impl Effect {
    fn plain(response: Response) -> Self {
        Self { response, login: LoginChange::Same, news: Vec::new() }
    }
}

/// Why a command was not carried out.
#[derive(Debug)]
pub(crate) enum Halt {
    /// It may not be; the user is told why.
    Refused(Refusal),
    /// It could not be; that is our fault, and logged.
    Failed(StoreError),
}

impl From<Refusal> for Halt {
    fn from(r: Refusal) -> Self {
        Self::Refused(r)
    }
}

impl From<StoreError> for Halt {
    fn from(e: StoreError) -> Self {
        Self::Failed(e)
    }
}

impl From<Wait> for Halt {
    fn from(w: Wait) -> Self {
        Self::Refused(Refusal::RateLimited { seconds: w.seconds })
    }
}

impl From<PasswordError> for Halt {
    fn from(e: PasswordError) -> Self {
        Self::Refused(match e {
            PasswordError::Busy => Refusal::Busy,
            PasswordError::Failed => Refusal::Internal,
        })
    }
}

impl Halt {
    fn into_refusal(self) -> Refusal {
        match self {
            Self::Refused(r) => r,
            Self::Failed(StoreError::Full) => Refusal::TrackerDiskFull,
            Self::Failed(StoreError::Closed | StoreError::Unknown | StoreError::Busy | StoreError::Abandoned) => {
                Refusal::Busy
            }
            Self::Failed(e) => {
                tracing::error!("a command failed: {e}");
                Refusal::Internal
            }
        }
    }
}

type Outcome = Result<Effect, Halt>;

/// What a command that changes something decides, on the state as it is at that moment.
#[derive(Debug)]
struct Decision {
    facts: Vec<Fact>,
    manifest: Option<NewManifest>,
    answer: Answer,
}

impl Decision {
    fn done(facts: Vec<Fact>) -> Self {
        Self::answered(facts, Answer::Done)
    }

    fn answered(facts: Vec<Fact>, answer: Answer) -> Self {
        Self { facts, manifest: None, answer }
    }
}

/// Carries a request out, and tells everyone who is to hear of it before it returns. Not to be dropped half
/// way: what was committed would stay untold.
pub(crate) async fn carry_out(call: Call, login: Option<Login>, request: Request, handed: Handed) -> Carried {
    let (history, claim) = (properties(&request).history, claimed(&request));
    let outcome = dispatch(&call, login, request, handed).await.map_err(Halt::into_refusal);
    let replica = &call.services.replica;
    let effect = match outcome {
        Ok(effect) => effect,
        Err(refusal) => {
            replica.settled().await; // It may speak of what is not on both disks yet.
            return Err(refusal);
        }
    };
    news::deliver(&call.services, effect.news, Some(call.connection));
    if !history {
        return Ok((effect.response, effect.login, call.services.mode()));
    }
    let mode = replica.settled().await;
    let response = match claim {
        Some((kind, name)) if !replica.name_is_confirmed(kind, &name).await => Response::Provisional,
        _ => effect.response,
    };
    Ok((response, effect.login, mode))
}

/// What a call has come to: the answer, what it does to the login, and how many trackers have it.
pub(crate) type Carried = Result<(Response, LoginChange, Mode), Refusal>;

/// The name that a request claims.
fn claimed(request: &Request) -> Option<(NameKind, String)> {
    match request {
        Request::CreateUser { user, .. } | Request::CreateInvitedUser { user, .. } => {
            Some((NameKind::User, user.to_string()))
        }
        Request::CreateGroup { group } => Some((NameKind::Group, group.to_string())),
        _ => None,
    }
}

async fn dispatch(call: &Call, login: Option<Login>, request: Request, handed: Handed) -> Outcome {
    if let Some(me) = &login {
        charge(call, me, &request)?;
    }
    let user = login.as_ref().map(|me| me.user);
    let me = || login.ok_or(Halt::Refused(Refusal::NotLoggedIn));
    match request {
        Request::CreateUser { user, password } => create_user::run(call, user, password, None).await,
        Request::Login { user, password } => login::run(call, user, password).await,
        Request::Resume { token } => resume::run(call, token).await,
        Request::Status => Ok(status::run(call)),
        Request::Cluster => Ok(status::cluster(call)),
        Request::Logout => logout::run(call, &me()?).await,
        Request::ChangePassword { old, new } => change_password::run(call, &me()?, old, new).await,
        Request::CreateGroup { group } => create_group::run(call, &me()?, group).await,
        Request::ListGroups { after } => list_groups::run(call, &me()?, after).await,
        Request::JoinGroup { group } => join_group::run(call, &me()?, group).await,
        Request::LeaveGroup { group } => leave_group::run(call, &me()?, group).await,
        Request::ListRequests { group, after } => list_requests::run(call, &me()?, group, after).await,
        Request::AcceptRequest { group, user } => accept_request::run(call, &me()?, group, user).await,
        Request::RejectRequest { group, user } => reject_request::run(call, &me()?, group, user).await,
        Request::ListMembers { group, after } => list_members::run(call, &me()?, group, after).await,
        Request::RemoveMember { group, user } => remove_member::run(call, &me()?, group, user).await,
        Request::MakeAdmin { group, user } => make_admin::run(call, &me()?, group, user).await,
        // Parts are kept by the session, in order; see `stage`.
        Request::StageManifest { .. } => Err(Refusal::Internal.into()),
        Request::StageTree { bytes, .. } => match handed {
            Handed::Part(place) => stage_tree::run(call, place, bytes.into_vec()).await,
            _ => Err(Refusal::Internal.into()),
        },
        Request::UploadFile { group, name, file_id, layout, sha1 } => {
            let offered = upload_file::Offered { group, name, file: file_id, layout, sha1, version: None };
            upload_file::run(call, &me()?, offered, handed).await
        }
        Request::Publish { group, name, file_id, layout, sha1, tree, replace } => {
            let version = Some(upload_file::Version { tree, replace });
            let offered = upload_file::Offered { group, name, file: file_id, layout, sha1, version };
            upload_file::run(call, &me()?, offered, handed).await
        }
        Request::ListFiles { group, after } => files::list(call, &me()?, group, after).await,
        Request::FindFile { group, file } => files::find(call, &me()?, group, file).await,
        Request::GetManifest { group, file_id, first } => get_manifest::run(call, &me()?, group, file_id, first).await,
        Request::FindPeers { group, file_id } => find_peers::run(call, &me()?, group, file_id).await,
        Request::StartSeeding { group, file_id } => start_seeding::run(call, &me()?, group, file_id).await,
        Request::StopSeeding { group, file_id } => stop_seeding::run(call, &me()?, group, file_id).await,
        Request::Announce { listen, serial } => announce::run(call, &me()?, listen, serial, 0).await,
        Request::AnnounceAs { listen, serial, revision } => announce::run(call, &me()?, listen, serial, revision).await,
        Request::ProbeMe { listen } => probe::ask(call, &me()?, listen).await,
        Request::ProbeResult { id, outcome } => probe::answer(call, &me()?, id, outcome),
        Request::GetTicket { group } => get_ticket::run(call, &me()?, group).await,
        Request::ListDevices => list_devices::run(call, &me()?).await,
        Request::EndLogin { device } => end_login::run(call, &me()?, device).await,
        Request::OpenFile { group, file } => open_file::run(call, &me()?, group, file).await,
        Request::FindShare { group, file } => files::find_share(call, &me()?, group, file).await,
        Request::OpenShare { group, file } => open_file::run_share(call, &me()?, group, file).await,
        Request::GetTree { group, tree, offset } => get_tree::run(call, &me()?, group, tree, offset).await,
        Request::ListShares { group, after } => files::list_shares(call, &me()?, group, after).await,
        Request::Search { words, page } => search::run(call, &me()?, words, page).await,
        Request::Invite { group, secret, uses, seconds } => {
            invite::run(call, &me()?, group, invite::Wanted { secret, uses, seconds }).await
        }
        Request::ListInvites { group, skip } => list_invites::run(call, &me()?, group, skip).await,
        Request::RevokeInvite { group, number } => revoke_invite::run(call, &me()?, group, number).await,
        Request::AcceptInvite { secret } => accept_invite::run(call, &me()?, secret).await,
        Request::CreateInvitedUser { user, password, secret } => {
            create_user::run(call, user, password, Some(secret)).await
        }
        Request::News { files_of, before } => list_news::run(call, &me()?, files_of, before, false).await,
        Request::NewsWithVersions { files_of, before } => list_news::run(call, &me()?, files_of, before, true).await,
        Request::LoginWithCode { user, code, new } => login_with_code::run(call, user, code, new).await,
        Request::CheckInvite { secret } => check_invite::run(call, user, secret).await,
    }
}

/// Charges `me` for a request of which others are told.
fn charge(call: &Call, me: &Login, request: &Request) -> Result<(), Halt> {
    match properties(request).cost {
        0 => Ok(()),
        cost => Ok(call.services.throttle.command(me.user, cost, now())?),
    }
}

impl Call {
    /// Ids for what this call makes.
    fn mint(&self) -> Mint {
        Mint::new(self.asked)
    }

    /// Asks the state on behalf of `me`, whose login must still hold.
    async fn read<T, F>(&self, me: &Login, query: F) -> Result<T, Halt>
    where
        F: FnOnce(&State, &Login) -> Result<T, Halt> + Send + 'static,
        T: Send + 'static,
    {
        let me = me.clone();
        let query = move |state: &State| {
            still_holds(state, &me)?;
            query(state, &me)
        };
        self.services.store.read(query).await
    }

    /// Changes the state on behalf of `me`, whose login must still hold.
    async fn write<F>(&self, me: &Login, decide: F) -> Outcome
    where
        F: FnOnce(&State, &Login) -> Result<Decision, Halt> + Send + 'static,
    {
        let me = me.clone();
        let decide = move |state: &State| {
            still_holds(state, &me)?;
            decide(state, &me)
        };
        self.commit(decide).await
    }

    /// Changes the state, whoever asks.
    async fn commit<F>(&self, decide: F) -> Outcome
    where
        F: FnOnce(&State) -> Result<Decision, Halt> + Send + 'static,
    {
        let decide = move |state: &State| {
            let Decision { facts, manifest, answer } = decide(state)?;
            let recorded = answer.encode()?;
            Ok::<_, Halt>(Change { facts, manifest, answer: recorded, value: answer })
        };
        let (services, by) = (Arc::clone(&self.services), Some(self.asked.device));
        let tell = move |state: &State, facts: &[Fact], answer| {
            Ok((answer, news::of_facts(state, &services, facts, &FactBatch::of(facts, by))?))
        };
        match self.services.store.write_then(&self.caller, self.asked, decide, tell).await? {
            Written::Done((answer, news)) => {
                let (response, login) = answer.into_response(self)?;
                Ok(Effect { response, login, news })
            }
            Written::Repeated(recorded) => self.repeat(&recorded).await,
        }
    }

    /// The answer that this call was given before, if it has had its effect.
    async fn repeated(&self) -> Result<Option<Effect>, Halt> {
        match self.services.store.recorded(&self.caller, self.asked).await? {
            Some(recorded) => self.repeat(&recorded).await.map(Some),
            None => Ok(None),
        }
    }

    /// Answers as recorded. Whoever was to hear of it has been told the first time.
    async fn repeat(&self, recorded: &[u8]) -> Outcome {
        let answer = Answer::decode(recorded)?;
        if let Answer::LoggedIn(grant) = &answer {
            let login = grant.login(self.asked.device);
            self.services.store.read(move |state| still_holds(state, &login)).await?;
        }
        let (response, login) = answer.into_response(self)?;
        Ok(Effect { response, login, news: Vec::new() })
    }
}

fn still_holds(state: &State, me: &Login) -> Result<(), Halt> {
    let row = state.session(me.session);
    match row.filter(|row| rules::session_holds(row, me.user, me.device, ticket::now())) {
        Some(_) => Ok(()),
        None => Err(Refusal::SessionEnded.into()),
    }
}

fn the_group(state: &State, name: &GroupName) -> Result<GroupId, Halt> {
    state.group(name).ok_or_else(|| Refusal::NoSuchGroup(name.clone()).into())
}

fn the_user(state: &State, name: &UserName) -> Result<UserId, Halt> {
    state.user(name).ok_or_else(|| Refusal::NoSuchUser(name.clone()).into())
}

/// The group, and the caller's membership there.
fn as_member(state: &State, me: &Login, name: &GroupName) -> Result<(GroupId, MembershipId), Halt> {
    let group = the_group(state, name)?;
    Ok((group, rules::member(&state.standing(group, me.user), name)?))
}

/// The group, if the caller is its admin.
fn as_admin(state: &State, me: &Login, name: &GroupName) -> Result<GroupId, Halt> {
    let group = the_group(state, name)?;
    let admin = state.admin(group).ok_or_else(|| Refusal::NoSuchGroup(name.clone()))?;
    let admin_name = state.user_name(admin).ok_or(StoreError::Content("an admin without an account"))?;
    rules::admin(me.user, admin, admin_name, name)?;
    Ok(group)
}

/// Whether a user may be in, or ask to be in, one more group.
fn may_enter(state: &State, quota: Quota, user: UserId) -> Result<(), Halt> {
    if !quota.applies() {
        return Ok(());
    }
    let open = state.memberships_open(user, quota::MEMBERSHIPS);
    Ok(quota.new_membership(open, state.memberships_made(user))?)
}

/// A client that uses one request id for two requests is defective; honest ids are random.
fn reused() -> Halt {
    Refusal::Invalid(Text::clipped("this request id was used before for something else")).into()
}

/// For a call whose effect is there and whose answer is not recorded: the state came without the log, or the
/// record is old. It is done, if it is the `same` that was asked.
fn asked_again(same: bool) -> Result<Decision, Halt> {
    if same { Ok(Decision::done(Vec::new())) } else { Err(reused()) }
}

/// What to ask for so that it is seen whether there is more than a page.
const PAGE_AND_ONE: usize = MAX_ROWS + 1;

fn page<T>(rows: Vec<T>) -> Page<T> {
    let more = rows.len() > MAX_ROWS;
    Page { rows: List::first_of(rows), more }
}

/// The time that leases are measured by.
fn now() -> Instant {
    Instant::now()
}
