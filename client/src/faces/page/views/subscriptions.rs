//! What comes by itself: from one group, or all of it.

use std::time::Duration;

use askama::Template;
use common::escape::Escaped;
use common::id::GroupName;

use super::Part;
use crate::engine::outcome::SubscriptionRow;
use crate::engine::{Call, Command, Outcome};
use crate::error::{Error, shown};
use crate::faces::page::Page;
use crate::faces::page::log::plain;

/// How long transfers wait for the subscriptions among them, while a tracker comes or goes.
const WAIT: Duration = Duration::from_secs(1);

#[derive(Template)]
#[template(path = "subscriptions.html")]
struct OfGroup<'a> {
    group: &'a GroupName,
    destination: &'a str,
    rows: Vec<Row>,
}

#[derive(Template)]
#[template(path = "all_subscriptions.html")]
struct All {
    rows: Vec<Row>,
    /// Whether these are all: not while no tracker answers.
    known: bool,
}

struct Row {
    n: u64,
    /// Where it comes from, if that is not said above the row.
    group: Option<String>,
    glob: Option<String>,
    destination: String,
    fetched: u64,
    here: u64,
    waiting: u64,
    problem: String,
}

/// What comes from a group, and a form for more.
pub(super) async fn of_group(page: &Page, group: &GroupName, destination: &str) -> Result<Part, Error> {
    let all = listed(page).await?;
    let rows = all.into_iter().filter(|s| s.group == *group).map(|s| Row { group: None, ..row(s) }).collect();
    Part::new("subscriptions", &OfGroup { group, destination, rows })
}

/// What comes from all groups, as far as a tracker confirms whose it is.
pub(super) async fn all(page: &Page) -> Result<Part, Error> {
    let is_connected = page.engine.known_status().mode.is_some();
    let all =
        if is_connected { tokio::time::timeout(WAIT, listed(page)).await.ok().and_then(Result::ok) } else { None };
    let known = all.is_some();
    let rows = all.unwrap_or_default().into_iter().map(row).collect();
    Part::new("subscriptions", &All { rows, known })
}

async fn listed(page: &Page) -> Result<Vec<SubscriptionRow>, Error> {
    let outcome = page.engine.run(Command::ListSubscriptions, &Call::unwatched(false)).await?;
    Ok(if let Outcome::Subscriptions { subscriptions } = outcome { subscriptions } else { Vec::new() })
}

fn row(s: SubscriptionRow) -> Row {
    Row {
        n: s.n,
        group: Some(s.group.to_string()),
        glob: s.glob.map(|glob| Escaped(&glob).to_string()),
        destination: shown(&s.destination),
        fetched: s.fetched,
        here: s.here,
        waiting: s.waiting,
        problem: plain(&s.problem.unwrap_or_default()),
    }
}
