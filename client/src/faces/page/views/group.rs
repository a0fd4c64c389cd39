//! One group: its files, its people, and what the user can do there.

use askama::Template;
use common::id::GroupName;
use common::wire::client::InviteState;

use super::files::{Filter, Here, SORTS};
use super::{Part, Rendered, html, limits, partial, subscriptions};
use crate::download::State;
use crate::engine::outcome::{FileRow, InviteRow, NewInvite, invite_word};
use crate::error::{Error, shown};
use crate::faces::page::Page;
use crate::faces::page::under_way::{Stage, Work};
use crate::units;

/// Invitations that let nobody in any more that are shown.
const PAST_INVITES: usize = 100;

#[derive(Template)]
#[template(path = "group.html")]
struct Group<'a> {
    group: &'a GroupName,
    filter: &'a Filter,
    sorts: &'static [(&'static str, &'static str)],
    destination: String,
    uploads: &'a Part,
    files: &'a Part,
    subscriptions: &'a Part,
    upload_options: String,
    limit: String,
    people: &'a [Part],
}

#[derive(Template)]
#[template(path = "requests.html")]
struct Requests<'a> {
    group: &'a GroupName,
    users: Vec<String>,
}

#[derive(Template)]
#[template(path = "members.html")]
struct Members<'a> {
    group: &'a GroupName,
    members: Vec<Member>,
    i_am_admin: bool,
}

/// The form for a new invitation: never sent again, so that the line it has brought stays.
#[derive(Template)]
#[template(path = "invite.html")]
struct Invite<'a> {
    group: &'a GroupName,
}

#[derive(Template)]
#[template(path = "invited.html")]
struct Invited<'a> {
    line: &'a str,
    uses: String,
    until: String,
    local: bool,
}

#[derive(Template)]
#[template(path = "invites.html")]
struct Invites<'a> {
    group: &'a GroupName,
    open: Vec<Invitation>,
    /// Those that let nobody in any more, the last first.
    past: Vec<Invitation>,
    /// How many there are of these.
    total: usize,
}

struct Invitation {
    n: u64,
    used: String,
    until: String,
    by: String,
    state: String,
}

struct Member {
    user: String,
    admin: bool,
    me: bool,
}

#[derive(Template)]
#[template(path = "uploads.html")]
struct Uploads {
    uploads: Vec<Upload>,
}

struct Upload {
    n: u64,
    name: String,
    class: &'static str,
    text: String,
    done: u64,
    total: u64,
}

pub(super) async fn render(page: &Page, group: &GroupName, filter: &Filter) -> Result<Rendered, Error> {
    let files = files(page, group, filter).await?;
    let people = people(page, group).await?;
    let uploads = uploads(page, group)?;
    let destination = shown(&page.destination());
    let subscriptions = subscriptions::of_group(page, group, &destination).await?;
    let main = html(&Group {
        group,
        filter,
        sorts: SORTS,
        destination,
        uploads: &uploads,
        files: &files,
        subscriptions: &subscriptions,
        upload_options: upload_options()?,
        limit: limits::of_group(group)?,
        people: &people,
    })?;
    // The files are not among the parts: the browser asks for those that it shows, once it hears that they have changed.
    let parts = people.into_iter().chain([uploads, subscriptions]).collect();
    Ok(Rendered { title: group.to_string(), main, parts, status: axum::http::StatusCode::OK })
}

/// The files that the filter lets through, a page of them.
pub(super) async fn files(page: &Page, group: &GroupName, filter: &Filter) -> Result<Part, Error> {
    let files = page.answers.files(group).await?;
    let (shared, copies) = (page.engine.shared_here(group), page.engine.copies());
    let own = shared.listed(&files);
    let seeding = |file: &FileRow| {
        let share = own(file)?;
        let copy = copies.has(&share.path, share.file_id);
        Some(Here::Seeding { name: share.name.clone(), copy })
    };
    let downloads = page.engine.downloads().list();
    let state = |file: &FileRow| {
        let unfinished = downloads.iter().find(|d| {
            d.group == *group && d.name == file.name && !matches!(d.progress.state, State::Complete | State::Failed)
        });
        match unfinished {
            Some(_) => Here::Fetching,
            None => seeding(file).unwrap_or(Here::Not),
        }
    };
    Part::new("files", &super::files::listing(group, &files, filter, state))
}

/// Who asks to join, for the admin; and who is in.
async fn people(page: &Page, group: &GroupName) -> Result<Vec<Part>, Error> {
    let me = page.engine.user();
    let members = page.answers.members(group).await?;
    let i_am_admin = members.iter().any(|m| m.admin && Some(&m.user) == me.as_ref());
    let mut parts = Vec::new();
    if i_am_admin {
        let users = page.answers.requests(group).await?.iter().map(|u| u.user.to_string()).collect();
        parts.push(Part::new("requests", &Requests { group, users })?);
        parts.push(Part::new("invite", &Invite { group })?);
        parts.extend(invites(page, group).await?);
    }
    let member = |m: &crate::engine::outcome::MemberRow| Member {
        user: m.user.to_string(),
        admin: m.admin,
        me: Some(&m.user) == me.as_ref(),
    };
    let members = members.iter().map(member).collect();
    parts.push(Part::new("members", &Members { group, members, i_am_admin })?);
    Ok(parts)
}

/// The invitations, those that are good first. A tracker of an older release knows none.
async fn invites(page: &Page, group: &GroupName) -> Result<Option<Part>, Error> {
    let rows = match page.answers.invites(group).await {
        Ok(rows) => rows,
        Err(Error::OldTracker) => return Ok(None),
        Err(e) => return Err(e),
    };
    let invitation = |i: &InviteRow| Invitation {
        n: i.n,
        used: format!("{} of {} used", i.used, i.uses),
        until: i.expires.minute(),
        by: i.by.to_string(),
        state: invite_word(i.state).replace('_', " "),
    };
    let (open, past): (Vec<_>, Vec<_>) = rows.iter().partition(|i| i.state == InviteState::Open);
    let total = past.len();
    let open = open.into_iter().map(invitation).collect();
    let past = past.into_iter().rev().take(PAST_INVITES).map(invitation).collect();
    Part::new("invites", &Invites { group, open, past, total }).map(Some)
}

/// A new invitation for its maker, and the list with it.
pub(super) async fn invited(page: &Page, invite: &NewInvite) -> Result<String, Error> {
    let line = invite.invite.0.to_line();
    let (uses, until) = (units::count(invite.uses.into(), "person", "people"), invite.expires.minute());
    let shown = html(&Invited { line: &line, uses, until, local: invite.local })?;
    let list = invites(page, &invite.group).await?;
    Ok(shown + &list.map(|part| partial("invites", "outerMorph", &part.html)).unwrap_or_default())
}

fn uploads(page: &Page, group: &GroupName) -> Result<Part, Error> {
    let upload = |(n, upload): (u64, Work)| {
        let (class, text, done, total) = match upload.stage {
            Stage::Arriving(done, Some(total)) => {
                let text = format!("{} of {} copied", units::size(done), units::size(total));
                ("arriving", text, done, total)
            }
            Stage::Arriving(done, None) => ("arriving", format!("{} copied", units::size(done)), 0, 0),
            Stage::Reading(done, total) => ("hashing", "hashing".to_owned(), done, total),
            Stage::Done => ("shared", "shared".to_owned(), 0, 0),
            Stage::Failed(why) => ("failed", why, 0, 0),
        };
        Upload { n, name: common::escape::Escaped(&upload.name).to_string(), class, text, done, total }
    };
    Part::new("uploads", &Uploads { uploads: page.uploads.of(group).into_iter().map(upload).collect() })
}

/// What the next files from the browser are to be: fresh after each, so that nothing is replaced that was not meant to be.
pub(super) fn upload_options() -> Result<String, Error> {
    #[derive(Template)]
    #[template(path = "upload_options.html")]
    struct Options;
    html(&Options)
}
