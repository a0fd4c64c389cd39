//! How the client is: trackers, mode, addresses, limits, settings.

use askama::Template;
use common::wire::client::Mode;

use super::{Part, Rendered, html, limits, log, settings};
use crate::engine::outcome::{Finding, Status};
use crate::error::Error;
use crate::faces::page::Page;
use crate::faces::render;
use crate::settings::Direction;
use crate::settings::limit::{Hours, Limit, Rate};
use crate::units;

/// Lines of the log that are shown.
const LINES: usize = 100;

#[derive(Template)]
#[template(path = "health.html")]
struct Health<'a> {
    state: &'a Part,
    limits: &'a [Field],
    limit_rows: &'a Part,
    slots: String,
    settings: &'a Part,
    log: &'a Part,
}

/// A form to set a limit.
#[derive(Debug, PartialEq, Eq)]
struct Field {
    /// What is at the end of the ids of its inputs.
    id: String,
    direction: &'static str,
    label: String,
    /// As it is typed; empty where there is none.
    rate: String,
    /// As they are typed; empty where it holds at any time.
    at: String,
}

/// The forms for a direction: one for each of its hours, or one where there are none. Sent as they are, they change nothing.
fn fields(direction: Direction, limit: &Limit) -> Vec<Field> {
    let label = match direction {
        Direction::Up => "Send at most",
        Direction::Down => "Fetch at most",
    };
    let typed = |rate: Rate| rate.map(|rate| units::exact(rate.get())).unwrap_or_default();
    let direction = direction.word();
    if limit.windows.is_empty() {
        let (id, label, rate) = (direction.to_owned(), label.to_owned(), typed(limit.rate));
        return vec![Field { id, direction, label, rate, at: String::new() }];
    }
    let field = |(i, (hours, rate)): (usize, &(Hours, Rate))| Field {
        id: if i == 0 { direction.to_owned() } else { format!("{direction}-{}", i + 1) },
        direction,
        label: format!("{label}, {hours}"),
        rate: typed(*rate),
        at: hours.to_string(),
    };
    limit.windows.iter().enumerate().map(field).collect()
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
    let limits = page.engine.client_limits();
    let fields: Vec<_> = Direction::ALL.into_iter().flat_map(|way| fields(way, limits.of(way))).collect();
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
        (Some(Mode::Solo), _) if status.trackers.iter().all(|tracker| tracker.up) => (
            "fair",
            "The trackers do not reach each other. Everything goes on; see to the line between them, so that nothing hangs on one."
                .to_owned(),
        ),
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

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;

    use super::*;

    #[test]
    fn the_forms_for_limits_hold_what_is_set_also_its_hours() {
        let rate = NonZeroU64::new;
        let shown = |limit: &Limit| {
            let fields = fields(Direction::Up, limit).into_iter();
            fields.map(|field| [field.id, field.label, field.rate, field.at]).collect::<Vec<_>>()
        };
        assert_eq!(shown(&Limit::default()), [["up", "Send at most", "", ""]]);
        let mut limit = Limit::always(rate(10 << 20));
        assert_eq!(shown(&limit), [["up", "Send at most", "10M", ""]]);
        limit.change(rate(500 << 10), &["8-18".parse().expect("hours")]);
        limit.change(None, &["22-6".parse().expect("hours")]);
        assert_eq!(
            shown(&limit),
            [
                ["up", "Send at most, 08:00-18:00", "500K", "08:00-18:00"],
                ["up-2", "Send at most, 22:00-06:00", "", "22:00-06:00"]
            ]
        );
        for [_, _, rate, at] in shown(&limit) {
            let rate = crate::settings::parse_limit(if rate.is_empty() { "off" } else { &rate }).expect("a rate");
            let mut again = limit.clone();
            again.change(rate, &[at.parse().expect("hours")]);
            assert_eq!(again, limit, "sent as it is");
        }
    }
}
