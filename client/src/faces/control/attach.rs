//! The side of a face: a client that runs in another process, as a [`Service`].
//!
//! One connection hears what happens for as long as the face is there; each call has a connection of its own, so that giving
//! up a call is closing it. Whoever runs at the other end is the same user, and is believed.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use common::id::UserName;
use common::task::TaskGroup;
use futures::future::BoxFuture;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Method, Request, Response, header};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::event_stream::{self, Read, Reader};
use super::{EVENT_STREAM, RESPOND_ASYNC, RESULT, SUCCESSOR, socket};
use crate::engine::news::Happening;
use crate::engine::outcome::Status;
use crate::engine::{Call, Command, Event, Outcome, Progress};
use crate::error::Error;
use crate::faces::Service;
use crate::faces::render::UNHEALTHY;

/// Events that a slow reader of this process may lag behind.
const EVENTS: usize = 1024;
/// How long a running client may take to say how it is.
const GREETING: Duration = Duration::from_secs(5);
/// How long the answer to a `shutdown` of our own may come after the end.
const LAST_ANSWER: Duration = Duration::from_secs(1);

/// A client in another process.
pub(crate) struct Attached {
    // Immutable.
    socket: PathBuf,
    /// Whether it takes the client's place when that ends.
    is_successor: bool,
    tasks: TaskGroup,
    ended: CancellationToken,
    // Each guards itself.
    /// `None` once the client has ended.
    events: Mutex<Option<broadcast::Sender<Event>>>,
    status: Mutex<Status>,
    /// Whether the client ends because somebody said so.
    shut_down: AtomicBool,
    /// Whether that was this face.
    by_us: AtomicBool,
}

/// What a client in another process tells, before anybody listens.
pub(crate) struct Listening {
    attached: Arc<Attached>,
    events: Events,
}

impl Attached {
    /// Attaches to the client that listens at `socket`, perhaps to take its place when it ends.
    ///
    /// # Errors
    /// When there is none, or it does not answer.
    pub(crate) async fn open(
        socket: &Path,
        is_successor: bool,
        tasks: &TaskGroup,
    ) -> io::Result<(Arc<Self>, Listening)> {
        // One that is stopped (SIGSTOP) accepts connections and says nothing.
        let greeted = tokio::time::timeout(GREETING, greeting(socket, is_successor, tasks)).await;
        let (status, events) = greeted.map_err(|_| io::Error::other("it does not answer"))??;
        let attached = Arc::new(Self {
            socket: socket.to_owned(),
            is_successor,
            tasks: tasks.clone(),
            ended: CancellationToken::new(),
            events: Mutex::new(Some(broadcast::Sender::new(EVENTS))),
            status: Mutex::new(status),
            shut_down: AtomicBool::new(false),
            by_us: AtomicBool::new(false),
        });
        Ok((Arc::clone(&attached), Listening { attached, events }))
    }

    async fn call(&self, command: &Command, call: &Call) -> Result<Outcome, Error> {
        let path = format!("/v1/{}", command.name());
        let mut request = request(Method::POST, &path, body_of(command)?, self.is_successor)
            .map_err(|e| Error::from_io_about("ask the running client", e))?;
        request.headers_mut().insert(header::ACCEPT, header::HeaderValue::from_static(EVENT_STREAM));
        if !call.wait {
            request.headers_mut().insert("prefer", header::HeaderValue::from_static(RESPOND_ASYNC));
        }
        let exchange = exchange(&self.socket, request, &self.tasks).await.map_err(|_| Error::ClientEnded)?;
        if !exchange.is_stream() {
            return decode(command, &exchange.text().await.ok_or(Error::ClientEnded)?);
        }
        let mut events = Events::of(exchange);
        while let Some(read) = events.next().await {
            if read.name == RESULT {
                return decode(command, &read.data);
            }
            if let Some(progress) = read.json::<Progress>() {
                (call.progress)(&progress);
            }
        }
        Err(Error::ClientEnded)
    }

    /// What the face has learnt by a call of its own is known at once, and not only when the event comes.
    fn note(&self, outcome: &Outcome) {
        let mut status = locked(&self.status);
        match outcome.done() {
            Outcome::LoggedIn(who) => status.user = Some(who.user.clone()),
            Outcome::LoggedOut {} | Outcome::LoginEnded { here: true, .. } => status.user = None,
            _ => {}
        }
    }

    fn hear(&self, event: Event) {
        match &event {
            Event::Status(status) => locked(&self.status).clone_from(status),
            Event::News(news) if news.event == Happening::ShutDown => self.shut_down.store(true, Ordering::Relaxed),
            Event::News(_) | Event::Progress(_) | Event::Download(_) | Event::Share(_) => {}
        }
        if let Some(events) = &*locked(&self.events) {
            let _ = events.send(event); // Nobody listens: then nobody wants to know.
        }
    }
}

impl Service for Attached {
    fn run(&self, command: Command, call: Call) -> BoxFuture<'_, Result<Outcome, Error>> {
        Box::pin(async move {
            if command == Command::Shutdown {
                self.by_us.store(true, Ordering::Relaxed);
            }
            let result = self.call(&command, &call).await;
            result.iter().for_each(|outcome| self.note(outcome));
            result
        })
    }

    fn events(&self) -> broadcast::Receiver<Event> {
        // One that has ended tells nothing any more.
        locked(&self.events).as_ref().map_or_else(|| broadcast::channel(1).1, broadcast::Sender::subscribe)
    }

    fn known_status(&self) -> Status {
        locked(&self.status).clone()
    }

    fn user(&self) -> Option<UserName> {
        locked(&self.status).user.clone()
    }

    fn ended(&self) -> CancellationToken {
        self.ended.clone()
    }

    fn is_shut_down(&self) -> bool {
        self.shut_down.load(Ordering::Relaxed)
    }

    fn outlives_this_face(&self) -> bool {
        true
    }
}

impl Listening {
    /// Passes on what the client tells, until it ends.
    pub(crate) fn begin(self, tasks: &TaskGroup) {
        tasks.spawn("attached events", async move {
            let Self { attached, mut events } = self;
            while let Some(read) = events.next().await {
                event_stream::decode(&read).into_iter().for_each(|event| attached.hear(event));
            }
            if attached.by_us.load(Ordering::Relaxed) {
                tokio::time::sleep(LAST_ANSWER).await;
            }
            *locked(&attached.events) = None;
            attached.ended.cancel();
        });
    }
}

/// Begins to listen: how the client is, and what comes after.
async fn greeting(socket: &Path, is_successor: bool, tasks: &TaskGroup) -> io::Result<(Status, Events)> {
    let request = request(Method::GET, "/v1/events", String::new(), is_successor)?;
    let mut events = Events::of(exchange(socket, request, tasks).await?);
    while let Some(read) = events.next().await {
        if let Some(Event::Status(status)) = event_stream::decode(&read) {
            return Ok((status, events));
        }
    }
    Err(io::Error::other("it is about to end, or of another release"))
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The fields of a command.
fn body_of(command: &Command) -> Result<String, Error> {
    let unfit = |_| Error::InvalidArgument("a path that is not UTF-8 cannot be told to the running client".to_owned());
    command.fields().map(|fields| Value::Object(fields).to_string()).map_err(unfit)
}

/// The object of `--json`.
#[derive(Deserialize)]
struct Answer {
    data: Option<Value>,
    error: Option<Cause>,
}

#[derive(Deserialize)]
struct Cause {
    code: String,
    message: String,
}

fn decode(command: &Command, line: &str) -> Result<Outcome, Error> {
    let unfit = |e: serde_json::Error| {
        Error::Internal(format!(
            "the running client answers in a way that this one does not know ({e}); are both of one release?"
        ))
    };
    let Answer { data, error } = serde_json::from_str(line).map_err(unfit)?;
    match error {
        // It was carried out, and has found something.
        Some(Cause { code, .. }) if code == UNHEALTHY && data.is_some() => {
            Outcome::decode(command, &data.unwrap_or_default()).map_err(unfit)
        }
        Some(Cause { code, message }) => Err(Error::told(&code, message)),
        None => Outcome::decode(command, &data.unwrap_or_default()).map_err(unfit),
    }
}

/// A response whose connection is kept for as long as it is read.
struct Exchange {
    response: Response<Incoming>,
    _connection: AbortOnDropHandle<Option<()>>,
}

impl Exchange {
    fn is_stream(&self) -> bool {
        let kind = self.response.headers().get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok());
        kind.is_some_and(|kind| kind.starts_with(EVENT_STREAM))
    }

    async fn text(self) -> Option<String> {
        let body = self.response.into_body().collect().await.ok()?;
        String::from_utf8(body.to_bytes().to_vec()).ok()
    }
}

fn request(method: Method, path: &str, body: String, is_successor: bool) -> io::Result<Request<Full<Bytes>>> {
    // HTTP/1.1 wants a host (RFC 9112, section 3.2); the socket has none.
    let mut request = Request::builder().method(method).uri(path).header(header::HOST, "shoal");
    if is_successor {
        request = request.header(SUCCESSOR, "yes");
    }
    let request = request.header(header::CONTENT_TYPE, "application/json");
    request.body(Full::new(Bytes::from(body))).map_err(io::Error::other)
}

async fn exchange(path: &Path, request: Request<Full<Bytes>>, tasks: &TaskGroup) -> io::Result<Exchange> {
    let stream = socket::connect(path).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    let connection = tasks.spawn("control connection", async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection to the running client has ended");
        }
    });
    let connection = AbortOnDropHandle::new(connection);
    let response = sender.send_request(request).await.map_err(io::Error::other)?;
    Ok(Exchange { response, _connection: connection })
}

/// The events of a response.
struct Events {
    exchange: Exchange,
    reader: Reader,
}

impl Events {
    fn of(exchange: Exchange) -> Self {
        Self { exchange, reader: Reader::default() }
    }

    /// The next one; `None` when the stream has ended. Cancel safe.
    async fn next(&mut self) -> Option<Read> {
        loop {
            if let Some(read) = self.reader.next() {
                return Some(read);
            }
            let frame = self.exchange.response.body_mut().frame().await?.ok()?;
            let fits = frame.data_ref().is_none_or(|bytes| self.reader.feed(bytes));
            if !fits {
                return None;
            }
        }
    }
}
