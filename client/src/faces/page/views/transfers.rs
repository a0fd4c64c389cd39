//! All downloads, what this device shares, what comes by itself, and what happened.

use std::cmp::Reverse;
use std::time::Duration;

use askama::Template;
use common::escape::Escaped;

use super::{Part, Rendered, html, log, rate, subscriptions};
use crate::download::{DownloadRow, State};
use crate::error::Error;
use crate::faces::page::Page;
use crate::units;

/// Lines of the log that are shown.
const LINES: usize = 30;
/// Shares that are shown.
const SHARES: usize = 200;

#[derive(Template)]
#[template(path = "transfers.html")]
struct Transfers<'a> {
    downloads: &'a [Part],
    shares: &'a Part,
    subscriptions: &'a Part,
    log: &'a Part,
}

#[derive(Template)]
#[template(path = "transfer_row.html")]
struct Row<'a> {
    t: &'a Transfer,
    buttons: String,
}

#[derive(Template)]
#[template(path = "transfer_buttons.html")]
struct Buttons<'a> {
    t: &'a Transfer,
}

#[derive(Template)]
#[template(path = "shares.html")]
struct Shares {
    rows: Vec<Share>,
    total: usize,
}

struct Share {
    key: String,
    name: String,
    group: String,
    size: String,
    sent: String,
    rate: String,
    peers: u64,
    state: &'static str,
    reason: String,
}

/// A download, in words.
pub(super) struct Transfer {
    pub(super) n: u64,
    pub(super) name: String,
    pub(super) group: String,
    pub(super) state: &'static str,
    pub(super) have: u64,
    pub(super) size: u64,
    pub(super) percent: u64,
    pub(super) amount: String,
    pub(super) rate: String,
    pub(super) left: String,
    pub(super) peers: String,
    pub(super) reason: String,
    pub(super) can_pause: bool,
    pub(super) can_resume: bool,
}

impl Transfer {
    pub(super) fn of(row: &DownloadRow) -> Self {
        let p = &row.progress;
        let left = match (p.state, p.rate) {
            (State::Complete, _) => "none".to_owned(),
            (_, 0) => "–".to_owned(),
            (_, rate) => units::duration(Duration::from_secs(p.size.saturating_sub(p.have).div_ceil(rate))),
        };
        let giving = p.peers.iter().filter(|peer| peer.rate > 0).count() as u64;
        Self {
            n: row.n.0,
            name: row.label(),
            group: row.group.to_string(),
            state: p.state.word(),
            have: p.have,
            // An empty file has a bar, too.
            size: p.size.max(1),
            percent: units::percent(p.have, p.size),
            amount: match p.state {
                State::Complete => units::size(p.size),
                _ => format!("{} of {}", units::size(p.have), units::size(p.size)),
            },
            rate: rate(p.rate),
            left,
            peers: units::count(giving, "peer", "peers"),
            reason: p.reason.as_deref().map(|r| Escaped(r).to_string()).unwrap_or_default(),
            can_pause: matches!(p.state, State::Downloading | State::Waiting),
            can_resume: matches!(p.state, State::Paused | State::Failed),
        }
    }

    pub(super) fn buttons(&self) -> Result<String, Error> {
        html(&Buttons { t: self })
    }
}

pub(super) async fn render(page: &Page) -> Result<Rendered, Error> {
    let subscriptions = subscriptions::all(page).await?;
    let mut rows = page.engine.downloads().list();
    // What goes on comes first, and of the rest the newest.
    rows.sort_by_key(|row| (row.progress.state == State::Complete, Reverse(row.n)));
    let downloads = rows.iter().map(|row| part(&Transfer::of(row))).collect::<Result<Vec<_>, _>>()?;
    let (shares, log) = (shares(page)?, log(page, LINES)?);
    let main = html(&Transfers { downloads: &downloads, shares: &shares, subscriptions: &subscriptions, log: &log })?;
    let parts = downloads.into_iter().chain([shares, subscriptions, log]).collect();
    Ok(Rendered { title: "Transfers".to_owned(), main, parts, status: axum::http::StatusCode::OK })
}

fn part(t: &Transfer) -> Result<Part, Error> {
    Part::new(format!("t-{}", t.n), &Row { t, buttons: t.buttons()? })
}

fn shares(page: &Page) -> Result<Part, Error> {
    let mut all = page.engine.shares().list().unwrap_or_default();
    let total = all.len();
    all.sort_by_key(|s| (Reverse(s.given.rate), Reverse(s.given.peers)));
    let share = |s: crate::share::ShareRow| Share {
        key: format!("{:.16}-{}", s.file_id.to_string(), s.group.as_str()),
        name: s.name.to_string(),
        group: s.group.to_string(),
        size: units::size(s.size),
        sent: units::size(s.given.sent),
        rate: rate(s.given.rate),
        peers: s.given.peers,
        state: s.state.word(),
        reason: s.reason.as_deref().map(|r| Escaped(r).to_string()).unwrap_or_default(),
    };
    Part::new("shares", &Shares { rows: all.into_iter().take(SHARES).map(share).collect(), total })
}
