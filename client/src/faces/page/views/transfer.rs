//! One download: how it stands, its rate over the last minutes, its pieces, its peers.

use std::fmt::Write;

use askama::Template;

use super::transfers::Transfer;
use super::{Part, Rendered, html, limits, pieces, rate};
use crate::download::{DownloadId, DownloadRow, State};
use crate::error::{Error, shown};
use crate::faces::page::Page;
use crate::faces::page::log::SAMPLES;
use crate::units;

#[derive(Template)]
#[template(path = "transfer.html")]
struct Whole<'a> {
    t: &'a Transfer,
    standing: &'a Part,
    graph: &'a Part,
    pieces: &'a Part,
    peers: &'a Part,
    folder: String,
    limit: Option<String>,
}

#[derive(Template)]
#[template(path = "standing.html")]
struct Standing<'a> {
    t: &'a Transfer,
    buttons: String,
}

#[derive(Template)]
#[template(path = "graph.html")]
struct Graph {
    width: usize,
    line: String,
    area: String,
    /// The highest rate, which the top of the graph stands for.
    most: String,
    label: String,
}

#[derive(Template)]
#[template(path = "peers.html")]
struct Peers {
    rows: Vec<Peer>,
}

struct Peer {
    user: String,
    device: String,
    given: String,
    part: u64,
    rate: String,
    note: &'static str,
}

pub(super) fn render(page: &Page, n: u64) -> Result<Rendered, Error> {
    let row = page.engine.downloads().row(DownloadId(n));
    let row = row.ok_or_else(|| Error::InvalidArgument(format!("Download {n} is no longer on the list.")))?;
    let t = Transfer::of(&row);
    let standing = Part::new("standing", &Standing { t: &t, buttons: t.buttons()? })?;
    let graph = Part::new("graph", &graph(&page.log.rates(n)))?;
    let pieces = pieces::part(page, &row)?;
    let peers = Part::new("peers", &peers(&row))?;
    let folder = row.path.parent().map(shown).unwrap_or_default();
    let is_over = matches!(row.progress.state, State::Complete | State::Failed);
    let limit = (!is_over).then(|| limits::of_download(n)).transpose()?;
    let whole = Whole { t: &t, standing: &standing, graph: &graph, pieces: &pieces, peers: &peers, folder, limit };
    let main = html(&whole)?;
    let parts = vec![standing, graph, pieces, peers];
    Ok(Rendered { title: t.name.clone(), main, parts, status: axum::http::StatusCode::OK })
}

/// Oldest first; now is at the right.
fn graph(rates: &[u64]) -> Graph {
    let width = SAMPLES - 1;
    let most = rates.iter().copied().max().unwrap_or_default();
    let left = SAMPLES.saturating_sub(rates.len());
    let mut line = String::new();
    if most > 0 {
        for (i, rate) in rates.iter().enumerate() {
            let y = 100 - u64::try_from(u128::from(*rate) * 96 / u128::from(most)).unwrap_or(96);
            // A string takes all that is written to it.
            let _ = write!(line, "{}{} {y}", if i == 0 { 'M' } else { 'L' }, left + i);
        }
    }
    let area = if line.is_empty() { String::new() } else { format!("{line}V100H{left}Z") };
    let label = match most {
        0 => "Nothing came in the last three minutes".to_owned(),
        _ => format!("Rates of the last three minutes, at most {}", units::rate(most)),
    };
    Graph { width, line, area, most: rate(most), label }
}

fn peers(row: &DownloadRow) -> Peers {
    let all: u64 = row.progress.peers.iter().map(|p| p.bytes).sum();
    let peer = |p: &crate::download::PeerProgress| Peer {
        user: p.user.to_string(),
        device: format!("{:.8}", p.device.to_string()),
        given: units::size(p.bytes),
        part: if all == 0 { 0 } else { units::percent(p.bytes, all) },
        rate: rate(p.rate),
        note: p.note.unwrap_or_default(),
    };
    Peers { rows: row.progress.peers.iter().map(peer).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_graph_ends_at_the_right_and_its_top_is_the_highest_rate() {
        let graph = graph(&[0, 50, 100]);
        assert_eq!(graph.line, "M87 100L88 52L89 4");
        assert_eq!(graph.area, "M87 100L88 52L89 4V100H87Z");
        assert!(super::graph(&[]).line.is_empty() && super::graph(&[0, 0]).line.is_empty());
    }
}
