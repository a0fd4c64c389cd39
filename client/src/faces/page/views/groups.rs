//! All groups: those of the user first.

use askama::Template;
use common::wire::client::Relation;

use super::{Part, Rendered, html};
use crate::engine::outcome::relation_word;
use crate::error::Error;
use crate::faces::page::Page;
use crate::units::count;

/// Groups of others that are shown.
const MOST: usize = 200;

#[derive(Template)]
#[template(path = "groups.html")]
struct Groups<'a> {
    list: &'a Part,
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
    let main = html(&Groups { list: &list })?;
    Ok(Rendered { title: "Groups".to_owned(), main, parts: vec![list], status: axum::http::StatusCode::OK })
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
