//! The user's password and logins.

use askama::Template;

use super::{Part, Rendered, html};
use crate::engine::Outcome;
use crate::engine::{Call, Command};
use crate::error::Error;
use crate::faces::page::Page;

#[derive(Template)]
#[template(path = "account.html")]
struct Account<'a> {
    user: String,
    devices: &'a Part,
}

#[derive(Template)]
#[template(path = "devices.html")]
struct Devices {
    devices: Vec<Device>,
}

struct Device {
    device: String,
    short: String,
    since: String,
    here: bool,
}

pub(super) async fn render(page: &Page) -> Result<Rendered, Error> {
    let user = page.engine.user().map(|u| u.to_string()).unwrap_or_default();
    let outcome = page.engine.run(Command::ListDevices, &Call::unwatched(false)).await?;
    let rows = if let Outcome::Devices { devices } = outcome { devices } else { Vec::new() };
    let device = |d: crate::engine::outcome::DeviceRow| Device {
        short: d.device.chars().take(8).collect(),
        device: d.device,
        since: d.since.replace('T', " ").replace('Z', " UTC"),
        here: d.here,
    };
    let devices = Part::new("devices", &Devices { devices: rows.into_iter().map(device).collect() })?;
    let main = html(&Account { user: user.clone(), devices: &devices })?;
    // Not sent again by itself: whoever ends a login sees it at once.
    Ok(Rendered { title: user, main, parts: Vec::new(), status: axum::http::StatusCode::OK })
}
