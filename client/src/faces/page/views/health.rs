//! How the client is: trackers, mode, addresses, limits, settings.

use askama::Template;
use common::wire::client::Mode;

use super::{Part, Rendered, html, limits, log, settings};
use crate::engine::outcome::{Finding, Status};
use crate::error::Error;
use crate::faces::page::Page;
use crate::faces::render;
use crate::units;

/// Lines of the log that are shown.
const LINES: usize = 100;

#[derive(Template)]
#[template(path = "health.html")]
struct Health<'a> {
    state: &'a Part,
    limits: &'a [Limit],
    limit_rows: &'a Part,
    slots: String,
    settings: &'a Part,
    log: &'a Part,
}

/// A field to set a limit.
struct Limit {
    direction: &'static str,
    label: &'static str,
    /// As it is typed; empty where there is none.
    rate: String,
}

#[derive(Template)]
#[template(path = "health_state.html")]
struct Now {
    trackers: Vec<Tracker>,
    verdict: (&'static str, String),
    listen: String,
    reach: String,
    limit_up: String,
    limit_down: String,
    device: String,
}

struct Tracker {
    number: usize,
    address: String,
    pill: &'static str,
    current: bool,
    disk_full: bool,
}

pub(super) async fn render(page: &Page) -> Result<Rendered, Error> {
    let status = page.engine.known_status();
    let limit = |rate: Option<u64>| rate.map_or("no limit".to_owned(), units::rate);
    let tracker = |(i, t): (usize, &crate::engine::outcome::TrackerRow)| Tracker {
        number: i + 1,
        address: t.address.clone(),
        pill: if t.up { "up" } else { "down" },
        current: t.current,
        disk_full: t.disk_full,
    };
    let now = Now {
        trackers: status.trackers.iter().enumerate().map(tracker).collect(),
        verdict: verdict(&status),
        listen: status.listen.clone(),
        reach: render::reach(&status.reach),
        limit_up: limit(status.limits.up),
        limit_down: limit(status.limits.down),
        device: format!("{:.16}", status.device),
    };
    let (state, log) = (Part::new("state", &now)?, log(page, LINES)?);
    let fields = [("up", "Send at most", status.limits.up), ("down", "Fetch at most", status.limits.down)];
    let fields = fields.map(|(direction, label, rate)| Limit {
        direction,
        label,
        rate: rate.map(units::exact).unwrap_or_default(),
    });
    let limit_rows = limits::rows(page)?;
    let (slots, settings) = (page.engine.seeding_slots(), settings::part(page).await?);
    let main = html(&Health {
        state: &state,
        limits: &fields,
        limit_rows: &limit_rows,
        slots,
        settings: &settings,
        log: &log,
    })?;
    Ok(Rendered {
        title: "Health".to_owned(),
        main,
        parts: vec![state, limit_rows, settings, log],
        status: axum::http::StatusCode::OK,
    })
}

/// What a doctor has found.
#[derive(Template)]
#[template(path = "findings.html")]
struct Findings<'a> {
    findings: &'a [Finding],
}

/// The list of what was looked at.
///
/// # Errors
/// When it cannot be made.
pub(in crate::faces::page) fn findings(findings: &[Finding]) -> Result<String, Error> {
    html(&Findings { findings })
}

/// A word for the style, and a sentence.
fn verdict(status: &Status) -> (&'static str, String) {
    match (status.mode, status.lag) {
        (Some(Mode::Dual), None | Some(0)) => ("good", "Both trackers are there, and each has everything.".to_owned()),
        (Some(Mode::Dual), Some(lag)) => {
            let lag = units::count(lag, "event", "events");
            ("good", format!("Both trackers are there; the other one is catching up with {lag}."))
        }
        (Some(Mode::Solo), _) => (
            "fair",
            "One tracker does the work of both. Everything goes on; start the other one again so that nothing hangs on this one."
                .to_owned(),
        ),
        (None, _) => (
            "bad",
            "No tracker can be reached. Transfers that run go on for a while; nothing new can begin. Are the trackers running, and \
             is the list of trackers right?"
                .to_owned(),
        ),
    }
}
