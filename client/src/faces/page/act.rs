//! What the user does: forms to commands, and outcomes to what is shown next.

use std::path::Path as FilePath;
use std::process::{Command, Stdio};
use std::sync::Arc;

use axum::extract::rejection::{FormRejection, QueryRejection};
use axum::extract::{Form, Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use serde::Deserialize;

use super::guard::cookie;
use super::log::plain;
use super::under_way::{Shown, Stage};
use super::views::{self, View};
use super::{Page, fields};
use crate::download::DownloadId;
use crate::engine::command::{InviteLine, Secret};
use crate::engine::outcome::Group;
use crate::engine::{Call, Command as Line, Outcome};
use crate::error::{Error, shown};
use crate::faces::render;
use crate::share::blocking;

/// Where a link leads: a page that exchanges its token as soon as it is there. The link itself changes nothing, so that
/// whatever looks at links beforehand does not use it up.
pub(super) async fn enter(
    State(page): State<Arc<Page>>,
    headers: HeaderMap,
    link: Result<Query<Link>, QueryRejection>,
) -> Response {
    let Ok(Query(link)) = link else { return views::broken_link() };
    // One that was used may be opened again where it has been. Another one is used up, also by a browser that is signed in.
    let is_known = cookie(&page, &headers).is_some_and(|browser| page.entry.knows(browser));
    if is_known && !page.entry.is_open(&link.token) {
        return go("/");
    }
    views::enter(&link.token)
}

/// `?token=…`
#[derive(Deserialize)]
pub(super) struct Link {
    token: String,
}

/// Exchanges the token of a link for a cookie.
pub(super) async fn sign_in(
    State(page): State<Arc<Page>>,
    headers: HeaderMap,
    link: Result<Form<Link>, FormRejection>,
) -> Response {
    let Ok(Form(link)) = link else { return views::broken_link() };
    let Some(browser) = page.entry.sign_in(&link.token) else { return views::no_entry(StatusCode::UNAUTHORIZED) };
    if let Some(before) = cookie(&page, &headers) {
        page.entry.sign_out(before);
    }
    // Without an age: it ends with the browser.
    let secure = if page.fingerprint.is_some() { "; Secure" } else { "" };
    let cookie = format!("{}={browser}; Path=/; HttpOnly; SameSite=Strict{secure}", page.cookie);
    let mut response = go("/");
    if let Ok(value) = cookie.parse() {
        response.headers_mut().insert(header::SET_COOKIE, value);
    }
    response
}

/// Signs this browser out.
pub(super) async fn leave(State(page): State<Arc<Page>>, headers: HeaderMap) -> Response {
    if let Some(browser) = cookie(&page, &headers) {
        page.entry.sign_out(browser);
    }
    go("/")
}

/// Runs a command of the table, with the fields of the form as its arguments.
pub(super) async fn run(
    State(page): State<Arc<Page>>,
    Path(command): Path<String>,
    headers: HeaderMap,
    form: Result<Form<Vec<(String, String)>>, FormRejection>,
) -> Response {
    let command = form.map_err(|e| Error::Usage(e.body_text())).and_then(|Form(f)| fields::command(&command, f));
    let result = match command {
        Ok(command) => {
            page.remember(&command);
            match execute(&page, command).await {
                Ok(outcome) if matches!(outcome.done(), Outcome::LoggedIn(_)) => {
                    come_in(&page, outcome, page.engine.invited_by()).await
                }
                result => result,
            }
        }
        Err(e) => Err(e),
    };
    answer(&page, &headers, result).await
}

/// Makes an account and logs in: two commands that newcomers take for one.
pub(super) async fn create_account(
    State(page): State<Arc<Page>>,
    headers: HeaderMap,
    Form(form): Form<NewAccount>,
) -> Response {
    let result = new_account(&page, form).await;
    answer(&page, &headers, result).await
}

/// A new account's name and password.
#[derive(Deserialize)]
pub(super) struct NewAccount {
    user: String,
    password: String,
    again: String,
    /// Empty, if there is none.
    #[serde(default)]
    invite: String,
}

async fn new_account(page: &Page, form: NewAccount) -> Result<Outcome, Error> {
    let NewAccount { user, password, again, invite } = form;
    let (password, again) = (Secret::new(password), Secret::new(again));
    if password != again {
        return Err(Error::InvalidArgument("the two passwords differ; type both again".to_owned()));
    }
    let user: common::id::UserName = user.parse().map_err(|e| Error::InvalidArgument(format!("{e}")))?;
    let invite: Option<InviteLine> = match invite.trim() {
        "" => None,
        line => Some(line.parse().map_err(Error::InvalidArgument)?),
    };
    let (name, secret) = (user.clone(), Some(password.clone()));
    execute(page, Line::CreateUser { user: name, password: secret, invite: invite.clone() }).await?;
    let logged_in =
        execute(page, Line::Login { user, password: Some(password), code: None, new_password: None }).await?;
    come_in(page, logged_in, invite).await
}

/// Somebody has logged in, with an invitation or without.
async fn come_in(page: &Page, logged_in: Outcome, invite: Option<InviteLine>) -> Result<Outcome, Error> {
    match invite {
        None => Ok(logged_in),
        // The login is there: what is wrong with the invitation is said in the log.
        Some(line) => match execute(page, Line::AcceptInvite { line: Some(line) }).await {
            Err(e) => {
                page.log.say(e.to_string(), true);
                Ok(logged_in)
            }
            joined => joined,
        },
    }
}

/// Opens the folder of a download in this machine's file manager.
pub(super) async fn open_folder(State(page): State<Arc<Page>>, Path(n): Path<u64>, headers: HeaderMap) -> Response {
    let row = page.engine.downloads().row(DownloadId(n));
    let result = match row.as_ref().and_then(|row| row.path.parent()) {
        Some(folder) => open(folder).await,
        None => Err(Error::InvalidArgument(format!("there is no download {n}"))),
    };
    match result {
        Ok(()) => views::said(&page, &headers, None).await,
        Err(e) => views::wrong(&e),
    }
}

/// Returns when the file manager has been asked; whether it shows anything is between it and the desktop.
async fn open(folder: &FilePath) -> Result<(), Error> {
    let mut command = Command::new("xdg-open");
    command.arg(folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let status = blocking(move || Ok(command.status())).await?;
    let why = match status {
        Ok(status) if status.success() => return Ok(()),
        Ok(status) => format!("xdg-open ended with {status}"),
        Err(e) => format!("xdg-open: {e}"),
    };
    Err(Error::InvalidArgument(format!(
        "no file manager could be opened here ({why}); the folder is {}",
        shown(folder)
    )))
}

/// Runs a command for the page: downloads go on in the background.
pub(super) async fn execute(page: &Page, command: Line) -> Result<Outcome, Error> {
    let shown = begin(page, &command);
    let unwatched = || Call::unwatched(false);
    let call = shown.as_ref().map_or_else(unwatched, |shown| Call { wait: false, progress: shown.progress() });
    let outcome = page.engine.run(command, &call).await;
    if let Some(shown) = shown {
        shown.end(&outcome, views::words);
    }
    page.answers.forget();
    outcome.iter().for_each(|outcome| note_provisional(page, outcome));
    outcome
}

/// What only one of two trackers has so far is noted, whichever view follows.
pub(super) fn note_provisional(page: &Page, outcome: &Outcome) {
    if outcome.is_provisional() {
        page.log.say(plain(&render::text(outcome).message), true);
    }
}

/// Shows how far a command is that reads files.
fn begin(page: &Page, command: &Line) -> Option<Shown> {
    let reading = Stage::Reading(0, 0);
    match command {
        Line::UploadFile { path, group, name, .. } => {
            let last = || path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
            let name = name.as_ref().map_or_else(last, |name| name.as_str().to_owned());
            Some(page.uploads.begin(group.clone(), name, reading))
        }
        Line::Verify { group, file_name } => Some(page.verifying.begin(group.clone(), file_name.to_string(), reading)),
        _ => None,
    }
}

/// What is shown after a command: an error beside the form; else the view as it is now, or another one.
async fn answer(page: &Arc<Page>, headers: &HeaderMap, result: Result<Outcome, Error>) -> Response {
    let text = result.as_ref().map(render::text).unwrap_or_default();
    match result.map(Outcome::into_done) {
        // Without the script, the answer does not come into the form that it is about.
        Err(e) if headers.contains_key("hx-request") => views::wrong_form(&e),
        Err(e) => views::wrong(&e),
        Ok(Outcome::Findings { findings }) => match views::findings(&findings) {
            Ok(list) => Html(list).into_response(),
            Err(e) => views::wrong(&e),
        },
        Ok(Outcome::News { news, all, .. }) => match views::missed(&news, all) {
            Ok(list) => Html(list).into_response(),
            Err(e) => views::wrong(&e),
        },
        Ok(Outcome::Invited(invite)) => views::invited(page, &invite).await,
        Ok(outcome) => match next(&outcome) {
            Some(path) => go(&path),
            None => {
                let said = if text.message.is_empty() { text.data } else { text.message };
                views::said(page, headers, Some(&plain(&said))).await
            }
        },
    }
}

/// The view that an outcome leads to, if that is another one.
fn next(outcome: &Outcome) -> Option<String> {
    match outcome {
        Outcome::LoggedIn(_) | Outcome::LoggedOut {} | Outcome::LoginEnded { here: true, .. } => Some("/".to_owned()),
        Outcome::GroupCreated { group, .. } | Outcome::Joined(Group { group }) => Some(View::path_of(group)),
        Outcome::Left { .. } => Some("/groups".to_owned()),
        Outcome::Cancelled { .. } => Some("/transfers".to_owned()),
        _ => None,
    }
}

/// Has the browser go to `path`; one without the script, too.
pub(super) fn go(path: &str) -> Response {
    let html = format!("<!doctype html><meta http-equiv=\"refresh\" content=\"0;url={path}\"><title>Shoal</title>");
    ([("hx-redirect", path)], Html(html)).into_response()
}
