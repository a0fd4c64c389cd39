//! The map of a download's pieces: a cell for each, or for several that lie together where there are many.

use std::collections::BTreeMap;
use std::fmt::Write;

use askama::Template;

use super::Part;
use crate::download::{DownloadRow, PieceState, State};
use crate::error::Error;
use crate::faces::page::Page;
use crate::units::count;

/// Most cells in a row.
const COLUMNS: usize = 64;
/// A map is so many times as wide as it is high.
const SHAPE: usize = 4;
/// Most cells.
const CELLS: usize = COLUMNS * COLUMNS / SHAPE;

#[derive(Template)]
#[template(path = "pieces.html")]
struct Map {
    caption: String,
    label: String,
    /// What to say where there is no map.
    empty: &'static str,
    cells: usize,
    columns: usize,
    rows: usize,
    /// A path of unit squares for each kind of cell.
    paths: Vec<(&'static str, String)>,
}

pub(super) fn part(page: &Page, row: &DownloadRow) -> Result<Part, Error> {
    // Whoever shows the view keeps a receiver, which makes the download tell.
    let pieces = page.engine.downloads().pieces(row.n).map(|pieces| pieces.borrow().clone()).unwrap_or_default();
    let pieces = match row.progress.state {
        State::Complete => vec![PieceState::Have; pieces.len().max(1)],
        // What is under way or rare is known only while it goes on.
        State::Downloading => pieces,
        State::Paused | State::Waiting | State::Failed => pieces.into_iter().map(at_rest).collect(),
    };
    Part::new("pieces", &map(&pieces))
}

const fn at_rest(piece: PieceState) -> PieceState {
    match piece {
        PieceState::InFlight => PieceState::Missing { holders: 0 },
        other => other,
    }
}

fn map(pieces: &[PieceState]) -> Map {
    let per_cell = pieces.len().div_ceil(CELLS).max(1);
    let cells: Vec<_> = pieces.chunks(per_cell).map(kind).collect();
    let columns = (cells.len() * SHAPE).isqrt().clamp(16, COLUMNS);
    let mut paths: BTreeMap<&'static str, String> = BTreeMap::new();
    for (i, kind) in cells.iter().enumerate() {
        let (x, y) = (i % columns, i / columns);
        // A string takes all that is written to it. The gap between cells is a tenth of their width.
        let _ = write!(paths.entry(kind).or_default(), "M{x}.05 {y}.05h.9v.9h-.9z");
    }
    let number = |wanted: fn(&PieceState) -> bool| pieces.iter().filter(|p| wanted(p)).count() as u64;
    let have = number(|p| matches!(p, PieceState::Have));
    let flight = number(|p| matches!(p, PieceState::InFlight));
    let alone = number(|p| matches!(p, PieceState::Missing { holders: 0 | 1 }));
    let all = count(pieces.len() as u64, "piece", "pieces");
    Map {
        caption: if pieces.is_empty() { String::new() } else { format!("{have} of {all}") },
        label: format!("{have} of {all} are here, {flight} under way, {alone} missing that at most one peer holds"),
        empty: "The map is drawn as soon as the download goes on.",
        columns,
        rows: cells.len().div_ceil(columns).max(1),
        cells: cells.len(),
        paths: paths.into_iter().collect(),
    }
}

/// What a cell shows: the most interesting of what its pieces are.
fn kind(pieces: &[PieceState]) -> &'static str {
    let mut rarest: Option<u32> = None;
    for piece in pieces {
        match piece {
            PieceState::InFlight => return "flight",
            PieceState::Missing { holders } => rarest = Some(rarest.map_or(*holders, |r| r.min(*holders))),
            PieceState::Have => {}
        }
    }
    match rarest {
        None => "have",
        Some(0) => "none",
        Some(1) => "rare",
        Some(2..=4) => "some",
        Some(_) => "many",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_piece_is_in_a_cell_and_cells_are_bounded() {
        let missing = |holders| PieceState::Missing { holders };
        let few = map(&[PieceState::Have, PieceState::InFlight, missing(0), missing(1), missing(3), missing(9)]);
        let kinds: Vec<_> = few.paths.iter().map(|(kind, _)| *kind).collect();
        assert_eq!(kinds, ["flight", "have", "many", "none", "rare", "some"]);
        assert_eq!((few.cells, few.columns, few.rows), (6, 16, 1));
        assert_eq!(few.caption, "1 of 6 pieces");
        let many = map(&vec![missing(1); 100_000]);
        assert!(many.cells <= CELLS && many.cells * 98 >= 100_000);
        assert_eq!(map(&[]).cells, 0);
    }
}
