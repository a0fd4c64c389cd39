//! What is set, and where each value comes from.

use askama::Template;
use common::escape::Escaped;

use super::Part;
use crate::engine::outcome::SettingRow;
use crate::engine::{Call, Command, Outcome};
use crate::error::Error;
use crate::faces::page::Page;
use crate::settings::said;

#[derive(Template)]
#[template(path = "settings.html")]
struct Settings {
    rows: Vec<Row>,
}

struct Row {
    name: &'static str,
    value: String,
    about: &'static str,
    from: String,
}

/// All of them.
pub(super) async fn part(page: &Page) -> Result<Part, Error> {
    let outcome = page.engine.run(Command::Show { name: None }, &Call::unwatched(false)).await?;
    let all = if let Outcome::Settings { settings } = outcome { settings } else { Vec::new() };
    Part::new("settings", &Settings { rows: all.into_iter().map(row).collect() })
}

fn row(s: SettingRow) -> Row {
    let next = s.next_start.map(|given| format!("; {} at the next start", said(s.name, given)));
    Row {
        name: s.name.word(),
        value: Escaped(&s.value).to_string(),
        about: s.name.about(),
        from: said(s.name, s.from) + &next.unwrap_or_default(),
    }
}
