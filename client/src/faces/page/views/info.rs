//! One file of a group, looked at closely: what it is, a link to it, and who has how much.

use std::ffi::OsStr;
use std::path::Path;

use askama::Template;
use common::wire::client::FileSelector;

use super::files::encoded;
use super::{Part, Rendered, html};
use crate::engine::outcome::{Info, SeederRow};
use crate::error::{Error, shown};
use crate::faces::page::Page;
use crate::faces::page::share_at::{ShareAt, field};
use crate::faces::page::under_way::Stage;
use crate::units;

#[derive(Template)]
#[template(path = "info.html")]
struct View<'a> {
    i: &'a Info,
    /// The share as fields of forms, for a download, and for what is here of it.
    share: String,
    own: String,
    /// Its name for an address.
    encoded_name: String,
    size: String,
    piece_size: String,
    path: String,
    destination: String,
    verifying: &'a Part,
    seeders: &'a Part,
}

#[derive(Template)]
#[template(path = "info_verifying.html")]
struct Verifying {
    name: String,
    /// Bytes that have been read, and of how many, while it is read.
    read: Option<(u64, u64)>,
    text: String,
}

#[derive(Template)]
#[template(path = "info_seeders.html")]
struct Seeders {
    rows: Vec<Seeder>,
}

struct Seeder {
    user: String,
    device: String,
    address: String,
    /// Hundredths.
    percent: Option<u64>,
    reason: String,
}

pub(super) async fn render(page: &Page, at: &ShareAt) -> Result<Rendered, Error> {
    let answer = page.answers.info(at).await?;
    let Some(i) = answer.info() else { return Err(Error::Internal("a share without information".to_owned())) };
    let rows = i.seeders.iter().map(|seeder| row(seeder, i.pieces)).collect();
    let seeders = Part::new("seeders", &Seeders { rows })?;
    let path = i.path.as_deref().map(shown).unwrap_or_default();
    let (size, piece_size) = (units::size(i.size), units::size(i.piece_size));
    let own = own(page, i);
    let (destination, verifying) = (destination(page, i), Part::new("verifying", &verifying(page, i, &own))?);
    let main = html(&View {
        i,
        share: field(&answer.share),
        own: field(&own),
        encoded_name: encoded(i.name.as_str()),
        size,
        piece_size,
        path,
        destination,
        verifying: &verifying,
        seeders: &seeders,
    })?;
    // What is here can be verified.
    let parts = [seeders].into_iter().chain(i.here.then_some(verifying)).collect();
    Ok(Rendered { title: i.name.to_string(), main, parts, status: axum::http::StatusCode::OK })
}

/// Where a download goes: to what is here of a folder already, so that more of it comes to the rest.
fn destination(page: &Page, i: &Info) -> String {
    let known = i.path.as_deref().filter(|path| {
        let is_same_name = path.file_name() == Some(OsStr::new(i.name.as_str()));
        i.entries.is_some() && is_same_name
    });
    known.and_then(Path::parent).map_or_else(|| shown(&page.destination()), shown)
}

/// What is here of it: by the name that it has here, as this device may have others with its id.
fn own(page: &Page, i: &Info) -> FileSelector {
    let here = page.engine.shared_here(&i.group);
    let share = here.get(i.file_id, i.tree.as_deref().and_then(|tree| tree.parse().ok()), &i.name);
    FileSelector::Name(share.map_or(&i.name, |share| &share.name).clone())
}

/// How far the reading is that somebody has asked for on the page.
fn verifying(page: &Page, i: &Info, own: &FileSelector) -> Verifying {
    let asked_for = own.to_string();
    let all = page.verifying.of(&i.group);
    let read = all.into_iter().find_map(|(_, work)| match work.stage {
        Stage::Reading(done, all) if work.name == asked_for => Some((done, all.max(1))),
        _ => None,
    });
    let text = match read {
        Some((done, all)) => format!("Reading: {}% of {}", units::percent(done, all), units::size(i.size)),
        None => "Reads all of it again, and compares it with what was published.".to_owned(),
    };
    Verifying { name: i.name.to_string(), read, text }
}

fn row(seeder: &SeederRow, all: u32) -> Seeder {
    Seeder {
        user: seeder.user.to_string(),
        device: common::escape::Escaped(&seeder.device).to_string().chars().take(8).collect(),
        address: common::escape::Escaped(&seeder.address).to_string(),
        percent: match seeder.complete {
            true => Some(100),
            false => seeder.pieces.map(|pieces| units::percent(pieces.into(), all.into())),
        },
        reason: seeder.reason.as_deref().map(|r| common::escape::Escaped(r).to_string()).unwrap_or_default(),
    }
}
