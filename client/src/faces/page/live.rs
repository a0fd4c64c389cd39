//! What has changed since the browser last heard: server-sent events, at most two a second, and only what is different.
//!
//! A view is rendered when something happened, and now and then in case something did that nobody tells. Its parts are
//! compared with what was sent; a part that differs is sent, and all of the view where its parts are others. The listing of
//! files is not sent: the browser is told that it is old, and asks for the page of it that it shows.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Query, State};
use axum::http::{HeaderMap, Uri};
use axum::response::sse::{KeepAlive, Sse};
use axum::response::{IntoResponse, Response, sse};
use serde::Deserialize;
use tokio::sync::{broadcast, watch};
use tokio::time::{Instant, sleep_until};

use super::Page;
use super::answers::{self, Rows};
use super::guard::cookie;
use super::views::{self, Part, View, partial, said_html};
use crate::download::{DownloadId, PieceState};
use crate::engine::Event;
use crate::engine::outcome::FileRow;

/// Least time between two looks.
const PAUSE: Duration = Duration::from_millis(500);
/// Most time between two looks.
const REFRESH: Duration = Duration::from_secs(5);
/// The event that tells that a listing of files is old.
const FILES: &str = "files";

/// What the browser shows.
#[derive(Deserialize)]
pub(super) struct Shown {
    /// The path and query of its view.
    view: String,
    /// [`shape`] of its parts.
    shape: String,
}

/// Streams what changes in a view.
pub(super) async fn live(State(page): State<Arc<Page>>, headers: HeaderMap, Query(shown): Query<Shown>) -> Response {
    let browser = cookie(&page, &headers).unwrap_or_default().to_owned();
    let Ok(uri) = shown.view.parse::<Uri>() else { return axum::http::StatusCode::BAD_REQUEST.into_response() };
    let live = Live {
        events: page.engine.events(),
        lines: page.log.count(),
        requests: page.requests.subscribe(),
        page,
        browser,
        uri,
        shape: shown.shape,
        sent: HashMap::new(),
        files: None,
        pieces: None,
        queue: VecDeque::new(),
        looked: None,
    };
    let stream = futures::stream::unfold(live, |mut live| async move {
        let event = live.next().await?;
        Some((Ok::<_, Infallible>(event), live))
    });
    Sse::new(stream).keep_alive(KeepAlive::default()).into_response()
}

/// Which parts there are: a view whose parts are others is sent whole.
pub(super) fn shape(parts: &[Part]) -> String {
    let mut hasher = DefaultHasher::new();
    parts.iter().for_each(|part| part.id.hash(&mut hasher));
    format!("{:x}", hasher.finish())
}

/// One browser's view.
struct Live {
    page: Arc<Page>,
    browser: String,
    uri: Uri,
    events: broadcast::Receiver<Event>,
    /// Lines of the log that were there when the browser came, or have been told.
    lines: u64,
    requests: watch::Receiver<usize>,
    shape: String,
    /// Hashes of the parts as they were sent.
    sent: HashMap<String, u64>,
    files: Option<Rows<FileRow>>,
    /// Held so that the download tells how its pieces stand.
    pieces: Option<watch::Receiver<Vec<PieceState>>>,
    queue: VecDeque<sse::Event>,
    looked: Option<Instant>,
}

impl Live {
    /// The next thing to send; `None` when the client stops, or the browser is no longer signed in.
    async fn next(&mut self) -> Option<sse::Event> {
        loop {
            if let Some(event) = self.queue.pop_front() {
                return Some(event);
            }
            let page = Arc::clone(&self.page);
            let changed = tokio::select! {
                () = page.tasks.cancelled() => return None,
                changed = self.wait() => changed?,
            };
            if !self.page.entry.knows(&self.browser) {
                return None;
            }
            self.look(changed).await;
        }
    }

    /// Waits for something to happen, and then until it is time to look; whether it was more than progress.
    async fn wait(&mut self) -> Option<bool> {
        let Some(looked) = self.looked.replace(Instant::now()) else { return Some(false) };
        let mut changed = false;
        tokio::select! {
            () = sleep_until(looked + REFRESH) => {}
            _ = self.requests.changed() => {}
            event = self.events.recv() => match event {
                Err(broadcast::error::RecvError::Closed) => return None,
                Err(broadcast::error::RecvError::Lagged(_)) => changed = true,
                Ok(event) => changed |= self.heed(&event),
            },
        }
        sleep_until(looked + PAUSE).await;
        loop {
            match self.events.try_recv() {
                Ok(event) => changed |= self.heed(&event),
                Err(broadcast::error::TryRecvError::Lagged(_)) => changed = true,
                Err(_) => break,
            }
        }
        self.looked = Some(Instant::now());
        Some(changed)
    }

    /// Whether an event is more than progress.
    fn heed(&self, event: &Event) -> bool {
        // Also here: this may run before the page's own task has heard of it.
        if answers::is_old_after(event) {
            self.page.answers.forget();
        }
        !matches!(event, Event::Progress(_))
    }

    /// Queues what is different from what was sent.
    async fn look(&mut self, changed: bool) {
        let view = View::at(&self.page, self.uri.path(), self.uri.query().unwrap_or_default());
        if let (View::Transfer(n), None) = (&view, &self.pieces) {
            self.pieces = self.page.engine.downloads().pieces(DownloadId(*n));
        }
        let mut html = String::new();
        if let Ok(top) = views::top(&self.page, &view) {
            self.part(&top, &mut html);
        }
        let rendered = view.render(&self.page).await;
        let shape = shape(&rendered.parts);
        let whole = shape != self.shape;
        if whole {
            self.shape = shape;
            html += &partial("main", "innerMorph", &rendered.main);
        }
        for part in &rendered.parts {
            let into = if whole { &mut String::new() } else { &mut html };
            self.part(part, into);
        }
        let (lines, count) = self.page.log.since(self.lines);
        self.lines = count;
        if let Some(line) = lines.last() {
            html += &partial("news", "innerHTML", &said_html(&line.text, line.bad));
        }
        if !html.is_empty() {
            // A carriage return would end a line of the stream.
            self.queue.push_back(sse::Event::default().data(html.replace('\r', "")));
        }
        self.look_at_files(&view, changed).await;
    }

    /// Adds a part to `html` if it is different.
    fn part(&mut self, part: &Part, html: &mut String) {
        let mut hasher = DefaultHasher::new();
        part.html.hash(&mut hasher);
        let hash = hasher.finish();
        if self.sent.insert(part.id.clone(), hash) != Some(hash) {
            *html += &partial(&part.id, "outerMorph", &part.html);
        }
    }

    async fn look_at_files(&mut self, view: &View, changed: bool) {
        let View::Group(group, _) = view else { return };
        let Ok(files) = self.page.answers.files(group).await else { return };
        let old = self.files.as_ref().is_none_or(|known| !known.same(&files));
        self.files = Some(files);
        if old || changed {
            self.queue.push_back(sse::Event::default().event(FILES).data("old"));
        }
    }
}
