//! One connection of a client: greet, receive, dispatch, reply, push. Generic over its stream.
//!
//! Calls run side by side, up to a limit, each in a task of its own that outlives the connection if
//! need be, so that what it committed is told to whom it concerns. Calls that change the login run alone.
//! One task writes; the rest of the session never touches the socket's write half. When it can write no more,
//! because the client takes nothing, the session is over.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::connection::{self, ConnectionError, FrameReader, FrameWriter, Step};
use common::id::DeviceId;
use common::task::TaskGroup;
use common::ticket;
use common::wire::client::{
    self, ClientFrame, Hello, Mode, Push, Reply, Request, Response, ServerFrame, VERSION, Welcome,
};
use common::wire::limits::{MAX_FRAME, MAX_FRAME_BEFORE_LOGIN, Text};
use common::wire::refusal::Refusal;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use tokio::io::{AsyncRead, AsyncWrite, ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio::time::{Sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::admission::Slot;
use crate::command::{self, Call, Carried, Handed, LoginChange, Services, Staging, properties};
use crate::hub::{ConnectionId, Online, Registered};
use crate::limits::receive_budget::{ReceiveBudget, Room};
use crate::limits::reply_budget::Place;
use crate::limits::seen_waits::{self, SeenWaits};
use crate::limits::{Caller, Payer};
use crate::rules::Login;
use crate::store::Asked;

/// How long a client may take from the handshake to its greeting.
pub(crate) const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection may be silent before login: people think at the prompt.
const IDLE_BEFORE_LOGIN: Duration = Duration::from_secs(300);
/// How long it may be silent after login. Clients announce themselves far more often.
const IDLE: Duration = Duration::from_secs(120);
/// How long a call may take before its client is told to ask again.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a frame may take to arrive, from its first byte. Its client would wait no longer for the answer.
const FRAME_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a frame may take to be written before the client counts as gone.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// Calls of one connection that run side by side.
const IN_FLIGHT: usize = 8;
/// Replies that wait for the socket.
const REPLIES: usize = 4;
/// Pushes that wait for the socket; with one more the client counts as not reading.
const PUSHES: usize = 256;

/// Who is at the other end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer {
    pub(crate) device: DeviceId,
    pub(crate) address: IpAddr,
}

/// What a session works with.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    pub(crate) services: Arc<Services>,
    pub(crate) receive_budget: Arc<ReceiveBudget>,
    pub(crate) seen_waits: Arc<SeenWaits>,
    /// Of the server: ends only with it.
    pub(crate) tasks: TaskGroup,
    /// Cancelled when the server stops taking calls.
    pub(crate) draining: CancellationToken,
}

type Reader<S> = FrameReader<ReadHalf<S>, ClientFrame>;
type Writer<S> = FrameWriter<WriteHalf<S>, ServerFrame>;
/// What has come of a call, the place for its answer, and what was handed over for it in vain.
type Done = (Carried, Option<Place>, Handed);

/// Serves a client until it leaves, breaks a rule, or the server drains. Dropped, it ends at once.
///
/// # Errors
/// When the connection fails or the client breaks the protocol.
pub(crate) async fn serve<S>(stream: S, peer: Peer, context: Context, slot: &Slot) -> Result<(), ConnectionError>
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let (mut reader, mut writer): (Reader<S>, Writer<S>) = connection::split(stream, MAX_FRAME_BEFORE_LOGIN);
    writer.set_limit(MAX_FRAME);
    if !greet(&mut reader, &mut writer, &context.services).await? {
        return Ok(());
    }
    let (replies, to_send) = mpsc::channel(REPLIES);
    let (pushes, to_push) = mpsc::channel(PUSHES);
    let tasks = context.tasks.child();
    let _writer_ends_too = tasks.guard();
    let writing = tasks.spawn("session writer", write_all(writer, to_send, to_push));
    let mut session = Session::new(peer, context, slot, replies, pushes);
    let ended = session.run(&mut reader).await;
    session.farewell(&ended).await;
    drop(session);
    let _ = timeout(WRITE_TIMEOUT, writing).await;
    ended
}

/// Whether the client may go on.
async fn greet<S>(reader: &mut Reader<S>, writer: &mut Writer<S>, services: &Services) -> Result<bool, ConnectionError>
where
    S: AsyncRead + AsyncWrite,
{
    let hello = timeout(HELLO_TIMEOUT, reader.next()).await.unwrap_or(Ok(None))?;
    match hello {
        Some(ClientFrame::Hello(Hello { version: VERSION })) => {
            let welcome = Welcome::new(services.tracker_no, ticket::now());
            Ok(written(writer, &ServerFrame::Welcome(welcome)).await)
        }
        Some(ClientFrame::Hello(Hello { version })) => {
            let refusal = Refusal::Version { ours: version, theirs: VERSION };
            if written(writer, &reply(services, 0, Err(refusal))).await {
                let _ = timeout(WRITE_TIMEOUT, writer.shutdown()).await;
            }
            Ok(false)
        }
        Some(ClientFrame::Call(_)) | None => Ok(false),
    }
}

/// Writes whatever is to be written, replies first, until the session is over. A frame that has been
/// begun is finished, unless the client does not take it.
async fn write_all<S>(
    mut writer: Writer<S>,
    mut replies: mpsc::Receiver<Outgoing>,
    mut pushes: mpsc::Receiver<Arc<Push>>,
) where
    S: AsyncRead + AsyncWrite,
{
    loop {
        let (frame, first) = tokio::select! {
            biased;
            reply = replies.recv() => match reply {
                Some(reply) => (reply, true),
                None => break,
            },
            Some(push) = pushes.recv() => (Outgoing::push(push), false),
        };
        if !written(&mut writer, frame.frame()).await {
            return;
        }
        drop(frame);
        // News are not held up by a client that asks and asks.
        if first
            && let Ok(push) = pushes.try_recv()
            && !written(&mut writer, Outgoing::push(push).frame()).await
        {
            return;
        }
    }
    while let Ok(push) = pushes.try_recv() {
        if !written(&mut writer, Outgoing::push(push).frame()).await {
            return;
        }
    }
    let _ = timeout(WRITE_TIMEOUT, writer.shutdown()).await;
}

async fn written<S>(writer: &mut Writer<S>, frame: &ServerFrame) -> bool
where
    S: AsyncRead + AsyncWrite,
{
    matches!(timeout(WRITE_TIMEOUT, writer.send(frame)).await, Ok(Ok(())))
}

fn reply(services: &Services, number: u64, result: Result<(Response, Mode), Refusal>) -> ServerFrame {
    let (result, mode) = match result {
        Ok((response, mode)) => (Ok(response), mode),
        Err(refusal) => (Err(refusal), services.mode()),
    };
    ServerFrame::Reply(Reply { number, mode, seen: services.replica.seen(mode), result })
}

/// A frame on its way out, and the room that it takes if it is long. Boxed: an empty channel has room for 32.
struct Outgoing(Box<(ServerFrame, Option<Place>)>);

impl Outgoing {
    fn new(frame: ServerFrame, place: Option<Place>) -> Self {
        Self(Box::new((frame, place)))
    }

    fn short(frame: ServerFrame) -> Self {
        Self::new(frame, None)
    }

    fn push(push: Arc<Push>) -> Self {
        Self::short(ServerFrame::Push(Arc::unwrap_or_clone(push)))
    }

    fn frame(&self) -> &ServerFrame {
        &self.0.0
    }
}

/// A login and what hangs on it: gone when it is.
struct Here {
    login: Login,
    _registered: Registered,
}

struct Session<'a> {
    // Immutable.
    id: ConnectionId,
    /// Cancelled when the session is over, or when its client sends no more: nobody waits for its answers.
    gone: CancellationToken,
    peer: Peer,
    context: Context,
    slot: &'a Slot,
    replies: mpsc::Sender<Outgoing>,
    pushes: mpsc::Sender<Arc<Push>>,
    /// Whether news have been asked for: then the client knows hints of new files.
    hears_hints: Arc<AtomicBool>,
    // Of the frame that is arriving.
    room: Room,
    /// When it has to be whole.
    frame_due: Option<Instant>,
    // Of the login.
    here: Option<Here>,
    // Of the calls.
    staging: Staging,
    running: FuturesUnordered<BoxFuture<'static, (u64, Done)>>,
    /// A call that waits: until it is alone, if it changes the login, or until there are fewer. Meanwhile no further one
    /// is read.
    held: Option<client::Call>,
    /// Whether such a call runs.
    alone: bool,
}

impl<'a> Session<'a> {
    fn new(
        peer: Peer,
        context: Context,
        slot: &'a Slot,
        replies: mpsc::Sender<Outgoing>,
        pushes: mpsc::Sender<Arc<Push>>,
    ) -> Self {
        let (id, running) = (context.services.hub.number(), FuturesUnordered::new());
        let room = context.receive_budget.room(peer.address, slot.kill().clone());
        let (frame_due, here, staging, held, alone) = (None, None, Staging::default(), None, false);
        let (gone, hears_hints) = (CancellationToken::new(), Arc::default());
        Self {
            id,
            gone,
            peer,
            context,
            slot,
            replies,
            pushes,
            hears_hints,
            room,
            frame_due,
            here,
            staging,
            running,
            held,
            alone,
        }
    }

    async fn run<S>(&mut self, reader: &mut Reader<S>) -> Result<(), ConnectionError>
    where
        S: AsyncRead + AsyncWrite,
    {
        let (draining, written_to) = (self.context.draining.clone(), self.replies.clone());
        let mut idle = Box::pin(tokio::time::sleep(self.patience()));
        self.wait_for_rest(reader.buffered(), true);
        loop {
            let takes_calls = self.held.is_none() && !self.alone;
            tokio::select! {
                Some((number, done)) = self.running.next() => {
                    if !self.finish(reader, number, done).await {
                        return Ok(());
                    }
                    self.rearm(&mut idle);
                    // Nothing may have been read meanwhile.
                    self.wait_for_rest(reader.buffered(), true);
                }
                step = reader.step(), if takes_calls => match step? {
                    Step::Part => self.wait_for_rest(reader.buffered(), false),
                    Step::Message(ClientFrame::Call(call)) => {
                        self.wait_for_rest(reader.buffered(), true);
                        self.rearm(&mut idle);
                        self.take(call);
                    }
                    Step::Message(ClientFrame::Hello(_)) => return Ok(()),
                    Step::End => {
                        self.gone.cancel();
                        return Ok(());
                    }
                },
                () = until(self.frame_due), if takes_calls => return Ok(()),
                () = draining.cancelled() => return Ok(()),
                () = written_to.closed() => return Ok(()),
                () = idle.as_mut(), if takes_calls => return Ok(()),
                () = until(self.staging.expires()) => self.staging = Staging::default(),
            }
        }
    }

    const fn patience(&self) -> Duration {
        if self.here.is_some() { IDLE } else { IDLE_BEFORE_LOGIN }
    }

    fn rearm(&self, idle: &mut Pin<Box<Sleep>>) {
        idle.as_mut().reset(tokio::time::Instant::now() + self.patience());
    }

    /// Notes that so many bytes wait for the rest of their frame, if need be of another than before.
    fn wait_for_rest(&mut self, bytes: usize, another: bool) {
        self.room.set(bytes);
        if bytes == 0 {
            self.frame_due = None;
        } else if another || self.frame_due.is_none() {
            self.frame_due = Some((tokio::time::Instant::now() + FRAME_TIMEOUT).into_std());
        }
    }

    fn take(&mut self, call: client::Call) {
        if self.has_room_for(&call) {
            self.begin(call);
        } else {
            self.held = Some(call);
        }
    }

    fn has_room_for(&self, call: &client::Call) -> bool {
        let beside = if properties(&call.request).changes_login { 1 } else { IN_FLIGHT };
        self.running.len() < beside
    }

    fn begin(&mut self, call: client::Call) {
        let client::Call { number, request_id, seen, request } = call;
        let kind = properties(&request);
        self.alone = kind.changes_login;
        if kind.hears_hints {
            self.hears_hints.store(true, Ordering::Relaxed);
        }
        let login = self.here.as_ref().map(|here| here.login.clone());
        let user = login.as_ref().map(|login| login.user);
        let handed = match self.hand_over(user, &request) {
            Ok(handed) => handed,
            Err(refusal) => return self.at_once(number, Err(refusal)),
        };
        if matches!(request, Request::StageManifest { .. }) {
            let mode = self.context.services.mode();
            return self.at_once(number, Ok((Response::Done, LoginChange::Same, mode)));
        }
        let payer = Payer::of(user, self.peer.address);
        let services = Arc::clone(&self.context.services);
        let lacking = if kind.history { services.replica.lacks(&seen) } else { None };
        drop(seen);
        let lacking = match lacking {
            Some(lacking) if lacking.len() > seen_waits::MAX_ORIGINS => match user {
                // A stranger has seen nothing that it could miss.
                None => None,
                Some(_) => return self.not_begun(number, Refusal::Stale, handed),
            },
            Some(lacking) => match self.context.seen_waits.enter(payer) {
                Some(wait) => Some((lacking, wait)),
                None => return self.not_begun(number, Refusal::Busy, handed),
            },
            None => None,
        };
        let asked = Asked { device: self.peer.device, request: request_id };
        let caller = Caller::call(payer, kind.overtakes, CALL_TIMEOUT, self.gone.clone());
        let call = Call { services, asked, caller, address: self.peer.address, connection: self.id };
        let kill = self.slot.kill().clone();
        let running = self.context.tasks.spawn("call", async move {
            let prepared = async {
                if let Some((lacking, _wait)) = lacking
                    && !call.services.replica.catches_up(&lacking).await
                {
                    return Err(Refusal::Stale);
                }
                match user {
                    Some(user) if kind.long_answer => {
                        Ok(Some(call.services.replies.place(user, call.address, kill).await))
                    }
                    _ => Ok(None),
                }
            };
            let prepared = tokio::select! {
                prepared = prepared => prepared,
                () = call.caller.gives_up() => Err(Refusal::Busy),
            };
            match prepared {
                Ok(place) => (command::carry_out(call, login, request, handed).await, place, Handed::Nothing),
                Err(refusal) => (Err(refusal), None, handed),
            }
        });
        self.running.push(Box::pin(async move {
            let done = match timeout(CALL_TIMEOUT, running).await {
                Ok(Ok(Some(done))) => done,
                Ok(Ok(None)) | Err(_) => (Err(Refusal::Busy), None, Handed::Nothing),
                Ok(Err(panicked)) => {
                    tracing::error!("a call panicked: {panicked}");
                    (Err(Refusal::Internal), None, Handed::Nothing)
                }
            };
            (number, done)
        }));
    }

    /// What has been answered without any waiting.
    fn at_once(&mut self, number: u64, done: Carried) {
        self.running.push(Box::pin(std::future::ready((number, (done, None, Handed::Nothing)))));
    }

    /// What was refused before anything was looked at may be asked again.
    fn not_begun(&mut self, number: u64, refusal: Refusal, handed: Handed) {
        self.running.push(Box::pin(std::future::ready((number, (Err(refusal), None, handed)))));
    }

    /// Keeps what is to be published later, and hands it over when it is.
    fn hand_over(&mut self, user: Option<common::id::UserId>, request: &Request) -> Result<Handed, Refusal> {
        let (services, now) = (&self.context.services, Instant::now());
        match request {
            Request::StageManifest { file_id, first, pieces } => {
                let whose = (&services.staging, user.ok_or(Refusal::NotLoggedIn)?);
                self.staging.add_pieces(whose, *file_id, *first, pieces.to_vec(), now)?;
                Ok(Handed::Nothing)
            }
            Request::StageTree { tree, offset, bytes } => {
                let whose = (&services.store, user.ok_or(Refusal::NotLoggedIn)?);
                self.staging.add_tree_part(whose, *tree, *offset, bytes.len(), now).map(Handed::Part)
            }
            Request::UploadFile { .. } | Request::Publish { .. } => {
                Ok(Handed::Staging(std::mem::take(&mut self.staging)))
            }
            _ => Ok(Handed::Nothing),
        }
    }

    /// Whether the connection goes on.
    async fn finish<S>(&mut self, reader: &mut Reader<S>, number: u64, done: Done) -> bool
    where
        S: AsyncRead + AsyncWrite,
    {
        let (done, place, handed) = done;
        if let Handed::Staging(staging) = handed
            && self.staging.expires().is_none()
        {
            self.staging = staging;
        }
        let (result, change) = match done {
            Ok((response, change, mode)) => (Ok((response, mode)), change),
            Err(Refusal::SessionEnded) => (Err(Refusal::SessionEnded), LoginChange::Gone),
            Err(refusal) => (Err(refusal), LoginChange::Same),
        };
        if change == LoginChange::Gone {
            self.log_out();
            self.slot.demote();
        }
        reader.set_limit(if self.here.is_some() || matches!(change, LoginChange::Now(_)) {
            MAX_FRAME
        } else {
            MAX_FRAME_BEFORE_LOGIN
        });
        let frame = reply(&self.context.services, number, result);
        if self.replies.send(Outgoing::new(frame, place)).await.is_err() {
            return false;
        }
        if let LoginChange::Now(login) = change {
            self.log_in(login).await;
        }
        if self.running.is_empty() {
            self.alone = false;
        }
        if let Some(call) = self.held.take_if(|_| !self.alone) {
            self.take(call);
        }
        true
    }

    /// After the reply, so that no news overtake it; what happened meanwhile is caught up with.
    async fn log_in(&mut self, login: Login) {
        let services = Arc::clone(&self.context.services);
        if self.here.as_ref().is_some_and(|here| here.login == login) {
            return;
        }
        self.log_out();
        self.slot.promote(login.user);
        let registered = services.hub.register(Online {
            connection: self.id,
            device: self.peer.device,
            user: login.user,
            session: login.session,
            revision: 0,
            pushes: self.pushes.clone(),
            hears_hints: Arc::clone(&self.hears_hints),
            kill: self.slot.kill().clone(),
        });
        for push in command::catch_up(&services, login.user).await {
            // Not with the news: there may be more of these than fit there. A writer that is gone ends the session.
            let _ = self.replies.send(Outgoing::short(ServerFrame::Push(push))).await;
        }
        self.here = Some(Here { login, _registered: registered });
    }

    fn log_out(&mut self) {
        self.here = None;
        self.staging = Staging::default();
        self.context.services.presence.leave(self.peer.device, self.id);
    }

    /// Finishes what runs, and says why the connection ends if the client broke the protocol.
    async fn farewell(&mut self, ended: &Result<(), ConnectionError>) {
        if let Err(e) = ended
            && e.is_violation()
        {
            let refusal = Refusal::Invalid(Text::clipped(&e.to_string()));
            let refused = reply(&self.context.services, 0, Err(refusal));
            let _ = self.replies.try_send(Outgoing::short(refused));
        }
        if ended.is_ok() {
            while let Some((number, (done, place, _))) = self.running.next().await {
                let done = done.map(|(response, _, mode)| (response, mode));
                let frame = reply(&self.context.services, number, done);
                if self.replies.send(Outgoing::new(frame, place)).await.is_err() {
                    break;
                }
            }
        }
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        self.gone.cancel();
        self.log_out();
    }
}

async fn until(then: Option<Instant>) {
    match then {
        Some(then) => tokio::time::sleep_until(then.into()).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
