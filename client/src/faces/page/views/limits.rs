//! Limits besides those of the whole client at any time: what there are, and forms to set them.

use std::collections::HashSet;

use askama::Template;
use common::escape::Escaped;
use common::id::GroupName;

use super::{Part, html};
use crate::engine::outcome::LimitRow;
use crate::error::Error;
use crate::faces::page::Page;
use crate::settings::Direction;
use crate::units;

#[derive(Template)]
#[template(path = "limit_rows.html")]
struct Rows {
    rows: Vec<Row>,
}

struct Row {
    what: String,
    direction: &'static str,
    rate: String,
    at: Option<String>,
    now: bool,
    /// The field that says of what it is lifted, with its value. Those of one group go together.
    lift: Option<(&'static str, String)>,
}

#[derive(Template)]
#[template(path = "limit_form.html")]
struct Form<'a> {
    group: Option<&'a GroupName>,
    n: u64,
}

/// All of them.
pub(super) fn rows(page: &Page) -> Result<Part, Error> {
    let mut lifted = HashSet::new();
    let row = |l: &LimitRow| {
        let of = match (&l.group, l.n) {
            (Some(group), _) => Some(("group", group.clone())),
            (None, Some(n)) => Some(("download", n.to_string())),
            (None, None) => None,
        };
        let direction = match l.direction {
            Direction::Up => "Sent",
            Direction::Down => "Fetched",
        };
        let what = match (&of, l.direction) {
            (Some(("group", group)), Direction::Up) => format!("{direction} to members of {}", Escaped(group)),
            (Some(("group", group)), Direction::Down) => format!("{direction} from members of {}", Escaped(group)),
            (Some((_, n)), _) => format!("{direction} by download {n}"),
            (None, _) => format!("{direction} by this client"),
        };
        Row {
            what,
            direction: l.direction.word(),
            rate: l.rate.map_or_else(|| "no limit".to_owned(), units::rate),
            at: l.at.as_deref().map(|at| Escaped(at).to_string()),
            now: l.now,
            lift: of.filter(|of| lifted.insert((l.direction.word(), of.clone()))),
        }
    };
    Part::new("limit-rows", &Rows { rows: page.engine.limit_table().limits.iter().map(row).collect() })
}

/// A form for what comes from a group, or goes to it.
pub(super) fn of_group(group: &GroupName) -> Result<String, Error> {
    html(&Form { group: Some(group), n: 0 })
}

/// A form for one download.
pub(super) fn of_download(n: u64) -> Result<String, Error> {
    html(&Form { group: None, n })
}
