//! What stands around every view.

use askama::Template;

use super::{Part, Rendered, View, html};
use crate::download::State;
use crate::engine::command::InviteLine;
use crate::error::Error;
use crate::faces::page::invited::Checked;
use crate::faces::page::log::plain;
use crate::faces::page::{Page, live};
use crate::faces::render;
use crate::units;
use common::wire::client::{InviteState, Mode};
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
    /// What there is to say of it, above all and beside its field.
    said: Option<(Part, Part)>,
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
pub(super) async fn welcome(page: &Page) -> Result<Rendered, Error> {
    let (status, invitation) = (axum::http::StatusCode::OK, invited(page));
    let said = if invitation.is_empty() { None } else { Some(said_of(page.invited.checked(&page.engine).await)?) };
    let welcome = Welcome { invitation: &invitation, said };
    let main = html(&welcome)?;
    let parts = welcome.said.into_iter().flat_map(<[Part; 2]>::from).collect();
    Ok(Rendered { title: "Welcome".to_owned(), main, parts, status })
}

/// What is said of the invitation above all, and beside its field. Where nothing is known it may be good.
fn said_of(checked: Option<Checked>) -> Result<(Part, Part), Error> {
    #[derive(Template)]
    #[template(path = "invitation_lead.html")]
    struct Lead {
        text: String,
    }
    #[derive(Template)]
    #[template(path = "invitation_standing.html")]
    struct Beside {
        text: String,
        bad: bool,
    }
    const WAY_IN: &str = "choose a name and a password, or log in, and you are in the group";
    let (lead, text, bad) = match checked {
        None => (format!("You are invited: {WAY_IN}."), String::new(), false),
        Some(Ok(invite)) if invite.state == InviteState::Open => {
            let lead = format!("You are invited to {} by {}: {WAY_IN}.", invite.group, invite.by);
            (lead, format!("This is {}.", plain(&render::checked(&invite))), false)
        }
        Some(Ok(invite)) => {
            let lead = "Who has come in by the invitation before logs in.".to_owned();
            (lead, format!("No longer good: {}.", plain(&render::checked(&invite))), true)
        }
        Some(Err(unknown)) => (String::new(), format!("{}.", unknown.replacen("this", "This", 1)), true),
    };
    Ok((Part::new("invited-lead", &Lead { text: lead })?, Part::new("invited-standing", &Beside { text, bad })?))
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
