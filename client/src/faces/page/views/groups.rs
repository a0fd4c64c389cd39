//! All groups: those of the user first.

use std::time::{Duration, SystemTime};

use askama::Template;
use common::wire::client::Relation;

use super::frame::invited;
use super::{Part, Rendered, html, stamp};
use crate::engine::outcome::{NewsRow, relation_word};
use crate::error::Error;
use crate::faces::page::Page;
use crate::faces::page::log::plain;
use crate::units::{ago, count};

/// Groups of others that are shown.
const MOST: usize = 200;

#[derive(Template)]
#[template(path = "groups.html")]
struct Groups<'a> {
    list: &'a Part,
    /// The line that the client was started with, or nothing.
    invitation: &'a str,
}

#[derive(Template)]
#[template(path = "groups_list.html")]
struct List {
    rows: Vec<Row>,
    more: usize,
}

struct Row {
    group: String,
    admin: String,
    members: String,
    pill: &'static str,
    mine: bool,
    requests: usize,
}

pub(super) async fn render(page: &Page) -> Result<Rendered, Error> {
    let list = list(page).await?;
    let main = html(&Groups { list: &list, invitation: &invited(page) })?;
    Ok(Rendered { title: "Groups".to_owned(), main, parts: vec![list], status: axum::http::StatusCode::OK })
}

/// News, the last first.
///
/// # Errors
/// When they cannot be shown.
pub(in crate::faces::page) fn missed(news: &[NewsRow], all: bool) -> Result<String, Error> {
    #[derive(Template)]
    #[template(path = "missed.html")]
    struct Missed {
        rows: Vec<Told>,
        none: &'static str,
    }
    struct Told {
        stamp: String,
        ago: String,
        text: String,
    }
    let told = |row: &NewsRow| {
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(row.at.0);
        // The first sentence: what follows is a line to type.
        let text = plain(row.text.split(": `").next().unwrap_or_default());
        Told { stamp: stamp(at), ago: ago(row.at.age()), text }
    };
    let none = if all { "Nothing in the last 30 days." } else { "Nothing that you have not been shown." };
    html(&Missed { rows: news.iter().rev().map(told).collect(), none })
}

async fn list(page: &Page) -> Result<Part, Error> {
    let groups = page.answers.groups().await?;
    let (mut rows, mut others) = (Vec::new(), Vec::new());
    for group in groups.iter() {
        let pill = if group.relation == Relation::None { "" } else { relation_word(group.relation) };
        let requests = match group.relation {
            Relation::Admin => page.answers.requests(&group.group).await.map_or(0, |users| users.len()),
            Relation::Member | Relation::Pending | Relation::None => 0,
        };
        let row = Row {
            group: group.group.to_string(),
            admin: group.admin.to_string(),
            members: count(group.members.into(), "member", "members"),
            pill,
            mine: matches!(group.relation, Relation::Admin | Relation::Member),
            requests,
        };
        if group.relation == Relation::None { others.push(row) } else { rows.push(row) }
    }
    rows.sort_by_key(|row| !row.mine);
    let more = others.len().saturating_sub(MOST);
    rows.extend(others.into_iter().take(MOST));
    Part::new("groups", &List { rows, more })
}
