//! What can be looked at: a view is named by its path, and is made of parts that are sent again when they change.
//!
//! Rendering asks the engine and changes nothing. What goes wrong is shown in the view's place, with what to do about it.

mod account;
mod files;
mod folder;
mod frame;
mod group;
mod groups;
mod health;
mod info;
mod limits;
mod names;
mod pieces;
mod search;
mod settings;
mod subscriptions;
mod transfer;
mod transfers;

use std::sync::Arc;
use std::time::SystemTime;

use askama::Template;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{Html, IntoResponse, Response};
use common::escape::Escaped;
use common::id::GroupName;
use common::wire::refusal::Refusal;

pub(super) use self::files::Filter;
use self::folder::Level;
pub(super) use self::frame::top;
pub(super) use self::groups::missed;
pub(super) use self::health::findings;
use self::search::Query;
use super::Page;
use super::log::{Line, plain};
use super::share_at::ShareAt;
use crate::engine::outcome::NewInvite;
use crate::error::{Error, shown};
use crate::units;

/// A view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum View {
    /// Make an account, or log in.
    Welcome,
    /// All groups.
    Groups,
    /// One group, with those of its files that the filter lets through.
    Group(GroupName, Filter),
    /// One file of a group.
    File(ShareAt),
    /// What is in a folder of a group.
    Folder(ShareAt, Level),
    /// What was found.
    Search(Query),
    /// Downloads, shares, subscriptions, and what happened.
    Transfers,
    /// One download.
    Transfer(u64),
    /// Trackers, addresses, limits.
    Health,
    /// The user's password and logins.
    Account,
    /// There is nothing at this path.
    Missing,
}

/// A piece of a view that has an id, and is sent again when it changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) id: String,
    pub(super) html: String,
}

impl Part {
    fn new(id: impl Into<String>, template: &impl Template) -> Result<Self, Error> {
        Ok(Self { id: id.into(), html: html(template)? })
    }
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.html)
    }
}

/// A view as it is now.
pub(super) struct Rendered {
    pub(super) title: String,
    /// All of it, with the parts in their places.
    pub(super) main: String,
    pub(super) parts: Vec<Part>,
    pub(super) status: StatusCode,
}

impl View {
    /// The view at a path, as far as anybody may see it who is logged in, or not.
    pub(super) fn at(page: &Page, path: &str, query: &str) -> Self {
        let nobody = page.engine.user().is_none();
        let (file, within) = path.trim_end_matches('/').strip_suffix("/in").map_or((path, false), |file| (file, true));
        if let Some(share) = ShareAt::of(file, query) {
            return match (nobody, within) {
                (true, _) => Self::Welcome,
                (_, false) => Self::File(share),
                (_, true) => Self::Folder(share, Level::of(query)),
            };
        }
        let mut parts = path.trim_matches('/').split('/');
        match (parts.next(), parts.next(), parts.next()) {
            (Some("health"), None, _) => Self::Health,
            (Some("" | "groups" | "search" | "transfers" | "account"), ..) if nobody => Self::Welcome,
            (Some("" | "groups"), None, _) => Self::Groups,
            (Some("groups"), Some(group), None) => {
                group.parse().map_or(Self::Missing, |group| Self::Group(group, Filter::of(query)))
            }
            (Some("search"), None, _) => Self::Search(Query::of(query)),
            (Some("transfers"), None, _) => Self::Transfers,
            (Some("transfers"), Some(n), None) => n.parse().map_or(Self::Missing, Self::Transfer),
            (Some("account"), None, _) => Self::Account,
            _ => Self::Missing,
        }
    }

    /// Where a group is.
    pub(super) fn path_of(group: &GroupName) -> String {
        format!("/groups/{}", group.as_str())
    }

    /// The view as it is now; in place of what cannot be shown, why.
    pub(super) async fn render(&self, page: &Page) -> Rendered {
        let rendered = match self {
            Self::Welcome => frame::welcome(page).await,
            Self::Groups => groups::render(page).await,
            Self::Group(group, filter) => group::render(page, group, filter).await,
            Self::File(share) => info::render(page, share).await,
            Self::Folder(share, level) => folder::render(page, share, level).await,
            Self::Search(query) => search::render(page, query).await,
            Self::Transfers => transfers::render(page).await,
            Self::Transfer(n) => transfer::render(page, *n),
            Self::Health => health::render(page).await,
            Self::Account => account::render(page).await,
            Self::Missing => Ok(problem("Not found", "There is nothing at this address.", StatusCode::NOT_FOUND)),
        };
        rendered.unwrap_or_else(|e| self.failed(&e))
    }

    /// Which entry of the navigation it belongs to.
    fn here(&self) -> &'static str {
        match self {
            Self::Welcome => "welcome",
            Self::Groups | Self::Group(..) | Self::File(..) | Self::Folder(..) => "groups",
            Self::Search(_) => "search",
            Self::Transfers | Self::Transfer(_) => "transfers",
            Self::Health => "health",
            Self::Account => "account",
            Self::Missing => "",
        }
    }

    fn failed(&self, error: &Error) -> Rendered {
        let text = plain(&error.to_string());
        let (title, text) = match (self, error) {
            (
                Self::Group(group, _) | Self::File(ShareAt { group, .. }) | Self::Folder(ShareAt { group, .. }, _),
                Error::Refused(Refusal::NotAMember(_)),
            ) => (
                format!("You are not in {group}"),
                "Only its members see its files. You can ask to join it in the list of groups.".to_owned(),
            ),
            (_, Error::TrackersUnreachable(_) | Error::Timeout(_)) => ("No tracker answers".to_owned(), text),
            _ => ("This cannot be shown".to_owned(), text),
        };
        problem(&title, &text, StatusCode::OK)
    }
}

/// The view at `/`: the first that there is.
pub(super) async fn home(state: State<Arc<Page>>, headers: HeaderMap) -> Response {
    show(state, Uri::from_static("/groups"), headers).await
}

/// A view as a whole page, or only its listing of files where the page asks for that.
pub(super) async fn show(State(page): State<Arc<Page>>, uri: Uri, headers: HeaderMap) -> Response {
    let view = View::at(&page, uri.path(), uri.query().unwrap_or_default());
    let wants_files = headers.get("hx-target").is_some_and(|target| target.as_bytes().ends_with(b"#files"));
    if let (View::Group(group, filter), true) = (&view, wants_files) {
        let listing = group::files(&page, group, filter).await;
        return Html(listing.map_or_else(|e| said_html(&e.to_string(), true), |part| part.html)).into_response();
    }
    let wants_hits = headers.get("hx-target").is_some_and(|target| target.as_bytes().ends_with(b"#hits"));
    if let (View::Search(query), true) = (&view, wants_hits) {
        let hits = search::hits(&page, query).await;
        return Html(hits.map_or_else(|e| said_html(&e.to_string(), true), |part| part.html)).into_response();
    }
    let path = uri.path_and_query().map_or("/", |p| p.as_str());
    let rendered = view.render(&page).await;
    (rendered.status, Html(frame::whole(&page, &view, path, &rendered))).into_response()
}

/// What is at no address.
pub(super) async fn not_found(state: State<Arc<Page>>, uri: Uri, headers: HeaderMap) -> Response {
    show(state, uri, headers).await
}

/// For whom a link is needed.
pub(super) fn no_entry(status: StatusCode) -> Response {
    (status, Html(frame::bare("This browser is not signed in", None))).into_response()
}

/// A link without its end.
pub(super) fn broken_link() -> Response {
    (StatusCode::BAD_REQUEST, Html(frame::bare("This link is incomplete", None))).into_response()
}

/// A link's landing.
pub(super) fn enter(token: &str) -> Response {
    Html(frame::bare("Shoal", Some(token))).into_response()
}

/// What went wrong, for the place beside the form.
pub(super) fn wrong(error: &Error) -> Response {
    (StatusCode::UNPROCESSABLE_ENTITY, Html(said_html(&words(error), true))).into_response()
}

/// The same, within a form that can be sent again: where something has the name, with a button that does it all the same.
pub(super) fn wrong_form(error: &Error) -> Response {
    #[derive(Template)]
    #[template(path = "again.html")]
    struct Again {
        text: String,
        field: &'static str,
        label: &'static str,
    }
    let (field, label) = match error {
        Error::DestinationExists(_) => ("force", "Replace what is there"),
        Error::Refused(Refusal::FileExists { .. }) => ("replace", "Share as a new version"),
        _ => return wrong(error),
    };
    let again = html(&Again { text: words(error), field, label }).unwrap_or_default();
    (StatusCode::UNPROCESSABLE_ENTITY, Html(again)).into_response()
}

/// An error in the words of the page: elsewhere some name what to type next.
pub(super) fn words(error: &Error) -> String {
    match error {
        Error::DestinationExists(path) => format!(
            "{} exists already; choose another place, or replace what is there: of a folder only files that are in the share",
            shown(path)
        ),
        Error::Refused(Refusal::FileExists { group, name }) => {
            format!(
                "{group} has another file named {name} already; share yours as a new version, or under another name"
            )
        }
        Error::InviteOver(why) => plain(why),
        error => error.to_string(),
    }
}

/// A new invitation, for the place beside the form, and the list with it.
pub(super) async fn invited(page: &Page, invite: &NewInvite) -> Response {
    match group::invited(page, invite).await {
        Ok(html) => Html(html).into_response(),
        Err(e) => wrong(&e),
    }
}

/// Files from the browser are shared: the same as [`said`], and their options are fresh for the next ones.
pub(super) async fn shared(page: &Page, headers: &HeaderMap, text: &str) -> Response {
    let fresh = group::upload_options().map(|options| partial("upload-options", "outerHTML", &options));
    said_with(page, headers, Some(text), &fresh.unwrap_or_default()).await
}

/// What was done: the view that the browser shows as it is now, and a word about it.
pub(super) async fn said(page: &Page, headers: &HeaderMap, text: Option<&str>) -> Response {
    said_with(page, headers, text, "").await
}

async fn said_with(page: &Page, headers: &HeaderMap, text: Option<&str>, more: &str) -> Response {
    let url = headers.get("hx-current-url").and_then(|url| url.to_str().ok()).and_then(|url| url.parse::<Uri>().ok());
    let Some(url) = url else { return super::act::go("/") };
    let view = View::at(page, url.path(), url.query().unwrap_or_default());
    let rendered = view.render(page).await;
    let news = text.map(|text| partial("news", "innerHTML", &said_html(text, false))).unwrap_or_default();
    Html(partial("main", "innerMorph", &rendered.main) + more + &news).into_response()
}

/// HTML for the element with this id.
pub(super) fn partial(id: &str, swap: &str, html: &str) -> String {
    let id = Escaped(id).to_string();
    format!("<hx-partial hx-target=\"#{id}\" hx-swap=\"{swap}\">{html}</hx-partial>")
}

/// A sentence as HTML.
pub(super) fn said_html(text: &str, bad: bool) -> String {
    #[derive(Template)]
    #[template(source = r#"<p{% if bad %} class="error"{% endif %}>{{ text }}</p>"#, ext = "html")]
    struct Said<'a> {
        text: &'a str,
        bad: bool,
    }
    html(&Said { text, bad }).unwrap_or_default()
}

fn html(template: &impl Template) -> Result<String, Error> {
    template.render().map_err(|e| Error::Internal(format!("the page cannot be made: {e}")))
}

fn problem(title: &str, text: &str, status: StatusCode) -> Rendered {
    #[derive(Template)]
    #[template(path = "problem.html")]
    struct Problem<'a> {
        title: &'a str,
        text: &'a str,
        href: &'a str,
        link: &'a str,
    }
    let (href, link) = ("/groups", "All groups");
    let main = html(&Problem { title, text, href, link }).unwrap_or_default();
    // A part of its own, so that a view that fails is told apart from one that does not.
    let parts = vec![Part { id: "problem".to_owned(), html: String::new() }];
    Rendered { title: title.to_owned(), main, parts, status }
}

/// The newest lines of the log.
fn log(page: &Page, most: usize) -> Result<Part, Error> {
    #[derive(Template)]
    #[template(path = "log.html")]
    struct LogPart {
        lines: Vec<Row>,
    }
    struct Row {
        stamp: String,
        ago: String,
        text: String,
        bad: bool,
    }
    let row =
        |Line { at, text, bad }| Row { stamp: stamp(at), ago: units::ago(at.elapsed().unwrap_or_default()), text, bad };
    Part::new("log", &LogPart { lines: page.log.lines(most).into_iter().map(row).collect() })
}

/// In RFC 3339, to the second.
fn stamp(at: SystemTime) -> String {
    use time::format_description::well_known::Rfc3339;
    let at = time::OffsetDateTime::from(at);
    at.replace_nanosecond(0).unwrap_or(at).format(&Rfc3339).unwrap_or_default()
}

/// A rate, or a dash.
fn rate(bytes: u64) -> String {
    if bytes == 0 { "–".to_owned() } else { units::rate(bytes) }
}
