//! One file of a group, looked at closely: what it is, a link to it, and who has how much.

use askama::Template;
use common::id::{FileId, GroupName};

use super::{Part, Rendered, html};
use crate::engine::outcome::{Info, SeederRow};
use crate::error::{Error, shown};
use crate::faces::page::Page;
use crate::units;

#[derive(Template)]
#[template(path = "info.html")]
struct View<'a> {
    i: &'a Info,
    size: String,
    piece_size: String,
    path: String,
    destination: String,
    seeders: &'a Part,
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

pub(super) async fn render(page: &Page, group: &GroupName, file_id: FileId) -> Result<Rendered, Error> {
    let answer = page.answers.info(group, file_id).await?;
    let Some(i) = answer.info() else { return Err(Error::Internal("a share without information".to_owned())) };
    let rows = i.seeders.iter().map(|seeder| row(seeder, i.pieces)).collect();
    let seeders = Part::new("seeders", &Seeders { rows })?;
    let path = i.path.as_deref().map(shown).unwrap_or_default();
    let (size, piece_size) = (units::size(i.size), units::size(i.piece_size));
    let destination = shown(&page.destination());
    let main = html(&View { i, size, piece_size, path, destination, seeders: &seeders })?;
    Ok(Rendered { title: i.name.to_string(), main, parts: vec![seeders], status: axum::http::StatusCode::OK })
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
