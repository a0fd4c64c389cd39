//! The side of a running client: takes calls, streams what happens, and ends with it.

use std::convert::Infallible;
use std::io;
use std::path::Path as FilePath;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, Method, Response, StatusCode, Uri, header};
use axum::response::{IntoResponse, Sse, sse};
use axum::routing::{get, post};
use common::escape::Escaped;
use common::task::TaskGroup;
use futures::future::BoxFuture;
use futures::stream::{self, Stream, StreamExt};
use serde_json::{Map, Value};
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::event_stream::{encode, named};
use super::socket::Listener;
use super::{EVENT_STREAM, MAX_BODY, RESPOND_ASYNC, RESULT, SUCCESSOR, answer, arguments, openapi};
use crate::engine::{Call, Command, Event, Outcome, Progress};
use crate::error::Error;
use crate::faces::execute::execute;
use crate::faces::{Service, parse, render};

/// How long answers that are on their way may take once the client stops.
const LAST_ANSWERS: Duration = Duration::from_secs(1);
/// Progress that a reader may be behind; further progress is left out.
const PROGRESS: usize = 16;
/// How often an idle stream gives a sign of life.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Columns of the text that `help` answers.
const HELP_COLUMNS: usize = 80;

/// The local interface, open.
pub(crate) struct Control {
    hub: Arc<Hub>,
    served: JoinHandle<Option<()>>,
}

/// What all connections share.
struct Hub {
    service: Arc<dyn Service>,
    /// What the end of this client breaks off: faces that listen to what happens, and calls of those that take its place.
    faces: watch::Sender<usize>,
    stop: CancellationToken,
}

impl Control {
    /// Listens at `path`, in place of what an earlier client left there.
    ///
    /// # Errors
    /// When there can be no socket.
    pub(crate) fn open(path: &FilePath, service: Arc<dyn Service>, tasks: &TaskGroup) -> io::Result<Self> {
        let listener = Listener::bind(path)?;
        let hub = Arc::new(Hub { service, faces: watch::Sender::new(0), stop: CancellationToken::new() });
        let served =
            axum::serve(listener, router(Arc::clone(&hub))).with_graceful_shutdown(hub.stop.clone().cancelled_owned());
        let served = tasks.spawn("control", async move {
            if let Err(error) = served.await {
                tracing::error!(%error, "the control socket is closed");
            }
        });
        Ok(Self { hub, served })
    }

    /// How many faces of other processes end with this client. One that takes its place counts while a call of it is answered.
    pub(crate) fn faces(&self) -> watch::Receiver<usize> {
        self.hub.faces.subscribe()
    }

    /// Ends all streams and calls, and waits until that is told. Nobody can attach any more.
    pub(crate) async fn close(self) {
        self.hub.stop.cancel();
        let _ = tokio::time::timeout(LAST_ANSWERS, self.served).await; // Then they see the connection end.
    }
}

fn router(hub: Arc<Hub>) -> Router {
    Router::new()
        .route("/v1/events", get(events))
        .route("/v1/openapi.json", get(|| async { answer::json(StatusCode::OK, openapi::document().to_string()) }))
        .route("/v1/{command}", post(call))
        .fallback(nothing_here)
        .method_not_allowed_fallback(other_method)
        .with_state(hub)
}

async fn nothing_here(uri: Uri) -> Response<Body> {
    let text = format!("there is nothing at {}; `GET /v1/openapi.json` tells what there is", Escaped(uri.path()));
    let mut response = answer::response(None, &Err(Error::Usage(text)));
    *response.status_mut() = StatusCode::NOT_FOUND;
    response
}

async fn other_method(method: Method) -> Response<Body> {
    let text = format!("commands are called with POST, events and the description with GET; this was {method}");
    let mut response = answer::response(None, &Err(Error::Usage(text)));
    *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    response
}

/// `GET /v1/events`: how things are, and then whatever happens. One that reads too slowly loses the oldest, and is told again
/// how things are.
async fn events(State(hub): State<Arc<Hub>>, headers: HeaderMap) -> impl IntoResponse {
    // Before the status is asked for: what changes meanwhile is told twice rather than not at all.
    let events = hub.service.events();
    let present = (!headers.contains_key(SUCCESSOR)).then(|| Present::of(&hub));
    let first = Event::Status(hub.service.known_status());
    let later = stream::unfold((events, present, hub), |(mut events, present, hub)| async move {
        let event = tokio::select! {
            // What was told before the end is heard.
            biased;
            event = events.recv() => event,
            () = hub.stop.cancelled() => return None,
        };
        let event = match event {
            Ok(event) => event,
            Err(broadcast::error::RecvError::Lagged(_)) => Event::Status(hub.service.known_status()),
            Err(broadcast::error::RecvError::Closed) => return None,
        };
        Some((event, (events, present, hub)))
    });
    let all = stream::once(async { first }).chain(later).map(|event| Ok::<_, Infallible>(encode(&event)));
    Sse::new(all).keep_alive(sse::KeepAlive::new().interval(KEEP_ALIVE))
}

/// A face, for as long as its stream is open or its call is answered.
struct Present(Arc<Hub>);

impl Present {
    fn of(hub: &Arc<Hub>) -> Self {
        hub.faces.send_modify(|faces| *faces += 1);
        Self(Arc::clone(hub))
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        self.0.faces.send_modify(|faces| *faces -= 1);
    }
}

/// `POST /v1/<command>`. Who goes away before the answer gives up waiting, as one who presses Ctrl-C.
async fn call(State(hub): State<Arc<Hub>>, Path(name): Path<String>, request: Request) -> Response<Body> {
    let (head, body) = request.into_parts();
    let asked = match read(&name, body).await {
        Ok(command) => Ok(command),
        Err(Unreadable(status, error)) => {
            let known = arguments::is_command(&name);
            let mut response = answer::response(known.then_some(name.as_str()), &Err(error));
            *response.status_mut() = status;
            Err(response)
        }
    };
    let command = match asked {
        Ok(command) => command,
        Err(response) => return response,
    };
    let wait = !has(&head.headers, "prefer", RESPOND_ASYNC);
    let present = head.headers.contains_key(SUCCESSOR).then(|| Present::of(&hub));
    if has(&head.headers, header::ACCEPT.as_str(), EVENT_STREAM) {
        return Sse::new(call_stream(hub, command, wait, present)).into_response();
    }
    let result = run(&hub, command, Call::unwatched(wait)).await;
    answer::response(Some(&name), &result)
}

/// Whether a header of this name has this value, perhaps among others.
fn has(headers: &HeaderMap, name: &str, value: &str) -> bool {
    let all = headers.get_all(name).iter().filter_map(|v| v.to_str().ok()).flat_map(|v| v.split([',', ';']));
    all.map(str::trim).any(|v| v.eq_ignore_ascii_case(value))
}

/// Why a body is no call, and the status that says so.
struct Unreadable(StatusCode, Error);

async fn read(name: &str, body: Body) -> Result<Command, Unreadable> {
    let refused = |e: Error| Unreadable(answer::status_of(e.code()), e);
    if !arguments::is_command(name) {
        let text = format!("there is no command `{}`; `GET /v1/openapi.json` tells all", Escaped(name));
        return Err(Unreadable(StatusCode::NOT_FOUND, Error::Usage(text)));
    }
    let body = axum::body::to_bytes(body, MAX_BODY).await.map_err(|_| {
        let text = format!("the body is longer than {MAX_BODY} bytes, or was cut off");
        Unreadable(StatusCode::PAYLOAD_TOO_LARGE, Error::Usage(text))
    })?;
    let fields: Map<String, Value> = if body.trim_ascii().is_empty() {
        Map::new()
    } else {
        serde_json::from_slice(&body).map_err(|_| {
            // What stands there may be a password: it is not repeated.
            refused(Error::Usage("the body has to be one JSON object".to_owned()))
        })?
    };
    let words = arguments::words(name, fields).map_err(refused)?;
    let parsed = parse::parse_words(&words).ok_or_else(|| refused(Error::Usage("there is no command".to_owned())))?;
    parsed.command.map_err(refused)
}

async fn run(hub: &Hub, command: Command, call: Call) -> Result<Outcome, Error> {
    tokio::select! {
        biased;
        result = execute(&*hub.service, command, call, HELP_COLUMNS) => result,
        () = hub.stop.cancelled() => Err(Error::Interrupted),
    }
}

/// The progress of a call, and at last its result.
fn call_stream(
    hub: Arc<Hub>,
    command: Command,
    wait: bool,
    present: Option<Present>,
) -> impl Stream<Item = Result<sse::Event, Infallible>> + Send + use<> {
    let (sender, progress) = mpsc::channel::<Progress>(PROGRESS);
    let sink = Arc::new(move |progress: &Progress| {
        let _ = sender.try_send(progress.clone()); // A slow reader gets the next one.
    });
    let name = command.name();
    let run: BoxFuture<'static, _> = Box::pin(async move {
        let _present = present;
        run(&hub, command, Call { wait, progress: sink }).await
    });
    stream::unfold(Some((run, progress)), move |state| async move {
        let (mut run, mut progress) = state?;
        tokio::select! {
            biased;
            Some(told) = progress.recv() => Some((Ok(named("progress", &told)), Some((run, progress)))),
            result = &mut run => {
                let line = render::json(Some(name), &result);
                Some((Ok(sse::Event::default().event(RESULT).data(line)), None))
            }
        }
    })
}
