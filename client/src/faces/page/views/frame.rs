//! What stands around every view.

use askama::Template;

use super::{Part, Rendered, View, html};
use crate::download::State;
use crate::engine::command::InviteLine;
use crate::error::Error;
use crate::faces::page::{Page, live};
use crate::units;
use common::wire::client::Mode;
use zeroize::Zeroizing;

#[derive(Template)]
#[template(path = "frame.html")]
struct Frame<'a> {
    title: &'a str,
    /// The view's address, encoded.
    path: String,
    shape: String,
    top: String,
    main: &'a str,
}

#[derive(Template)]
#[template(path = "bare.html")]
struct Bare<'a> {
    title: &'a str,
    text: &'a str,
    token: Option<&'a str>,
}

#[derive(Template)]
#[template(path = "top.html")]
struct Top<'a> {
    here: &'a str,
    user: Option<String>,
    /// How many ask to join groups that the user administers.
    requests: usize,
    /// Downloads that go on.
    running: usize,
    trouble: bool,
    down: String,
    up: String,
}

#[derive(Template)]
#[template(path = "welcome.html")]
struct Welcome<'a> {
    /// The line that the client was started with, or nothing.
    invitation: &'a str,
}

/// The whole page around a view.
pub(super) fn whole(page: &Page, view: &View, path: &str, rendered: &Rendered) -> String {
    let top = top(page, view).map(|part| part.html).unwrap_or_default();
    let (shape, path) = (live::shape(&rendered.parts), super::files::encoded(path));
    html(&Frame { title: &rendered.title, path, shape, top, main: &rendered.main }).unwrap_or_default()
}

/// A page for those who are not signed in yet.
pub(super) fn bare(title: &str, token: Option<&str>) -> String {
    let text = "Type `web` at the client's prompt, or start the client with --web: it prints a link that signs a browser in. \
                Each link works once.";
    html(&Bare { title, text, token }).unwrap_or_default()
}

/// The line that the client was started with, if nobody has come by it yet; or nothing.
pub(super) fn invited(page: &Page) -> Zeroizing<String> {
    page.engine.invited_by().map(|InviteLine(invitation)| invitation.to_line()).unwrap_or_default()
}

/// Without a user.
pub(super) fn welcome(page: &Page) -> Result<Rendered, Error> {
    let status = axum::http::StatusCode::OK;
    let main = html(&Welcome { invitation: &invited(page) })?;
    Ok(Rendered { title: "Welcome".to_owned(), main, parts: Vec::new(), status })
}

/// The bar with the navigation, and what calls for attention in other views.
pub(in crate::faces::page) fn top(page: &Page, view: &View) -> Result<Part, Error> {
    let status = page.engine.known_status();
    let rows = page.engine.downloads().list();
    let running = rows.iter().filter(|row| row.progress.state == State::Downloading).count();
    let up: u64 = page.engine.shares().list().unwrap_or_default().iter().map(|s| s.given.rate).sum();
    let top = Top {
        here: view.here(),
        requests: if status.user.is_some() { *page.requests.borrow() } else { 0 },
        user: status.user.map(|u| u.to_string()),
        running,
        trouble: status.mode != Some(Mode::Dual) && status.trackers.len() > 1 || status.mode.is_none(),
        down: units::rate(status.rate_down),
        up: units::rate(up),
    };
    Part::new("top", &top)
}
