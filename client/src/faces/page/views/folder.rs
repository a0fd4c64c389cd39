//! What is in a folder that a group shares: one level of it, filtered, sorted, and a page at a time.

use std::cmp::Reverse;

use askama::Template;
use common::escape::Escaped;
use common::id::{FileId, GroupName};
use common::tree::TreePath;
use serde::Deserialize;

use super::files::encoded;
use super::names::{MAX_TEXT, Names};
use super::{Rendered, html};
use crate::engine::Outcome;
use crate::engine::outcome::{Kind, TreeRow};
use crate::error::{Error, shown};
use crate::faces::page::Page;
use crate::faces::page::share_at::{ShareAt, field};
use crate::units;

/// Rows on a page.
const ROWS: usize = 200;

/// How a level can be sorted: as in the address, and as people read it.
const SORTS: &[(&str, &str)] = &[("name", "Name"), ("size", "Largest first")];

/// Which part of a folder is shown.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(in crate::faces::page) struct Level {
    /// A folder in it; empty for the whole.
    under: String,
    /// What the names are to be like; see [`Names`].
    #[serde(rename = "match")]
    text: String,
    /// One of [`SORTS`].
    sort: String,
    /// From 1.
    page: usize,
}

impl Default for Level {
    fn default() -> Self {
        Self { under: String::new(), text: String::new(), sort: "name".to_owned(), page: 1 }
    }
}

impl Level {
    /// What an address asks for; the beginning, where it makes no sense.
    pub(super) fn of(query: &str) -> Self {
        let uri = format!("/?{query}").parse::<axum::http::Uri>().ok();
        let level = uri.and_then(|uri| axum::extract::Query::<Self>::try_from_uri(&uri).ok()).map(|q| q.0);
        let level = level.filter(|l| l.text.len() <= MAX_TEXT);
        level.filter(|l| l.under.is_empty() || l.under.parse::<TreePath>().is_ok()).unwrap_or_default()
    }

    /// Only what fits, in the order that is wanted; folders first, as people are used to.
    fn arrange(&self, items: &mut Vec<Item<'_>>) {
        let wanted = Names::of(&self.text);
        items.retain(|item| wanted.has(item.name));
        if self.sort == "size" {
            items.sort_by_key(|item| Reverse(item.size));
        }
        items.sort_by_key(|item| item.entries.is_none());
    }
}

#[derive(Template)]
#[template(path = "folder.html")]
struct View<'a> {
    group: &'a GroupName,
    id: FileId,
    name: String,
    /// The share as a field of a form.
    share: String,
    /// Its name, and that for an address.
    file_name: &'a str,
    encoded_name: String,
    destination: String,
    above: Vec<Above>,
    level: &'a Level,
    sorts: &'static [(&'static str, &'static str)],
    rows: Vec<Row>,
    /// How many rows there are without the filter.
    total: usize,
    shown: String,
    number: usize,
    pages: usize,
    /// The share's name and the level, for the addresses of its other pages.
    query: String,
}

/// A folder on the way to the one that is shown.
struct Above {
    name: String,
    query: String,
}

struct Row {
    name: String,
    size: String,
    /// Where it is in the share.
    path: String,
    /// What is in it, if it is a folder, and the level below for an address.
    folder: Option<(u64, String)>,
}

/// What one level has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Item<'a> {
    name: &'a str,
    size: u64,
    /// How many files and empty folders are in it, if it is a folder.
    entries: Option<u64>,
}

pub(super) async fn render(page: &Page, at: &ShareAt, level: &Level) -> Result<Rendered, Error> {
    let answer = page.answers.folder(at, &level.under).await?;
    let Outcome::Tree { name, files, .. } = &*answer.outcome else {
        return Err(Error::Internal("not a folder".to_owned()));
    };
    let mut items = items(files, &level.under);
    let (total, size) = (items.len(), items.iter().map(|item| item.size).sum());
    level.arrange(&mut items);
    let pages = items.len().div_ceil(ROWS).max(1);
    let number = level.page.clamp(1, pages);
    let row = |item: &Item<'_>| {
        let path = below(&level.under, item.name);
        Row {
            name: Escaped(item.name).to_string(),
            size: units::size(item.size),
            folder: item.entries.map(|n| (n, encoded(&path))),
            path,
        }
    };
    let rows = items.iter().skip((number - 1) * ROWS).take(ROWS).map(row).collect();
    let shown_text = format!("{}, {}", units::count(files.len() as u64, "file", "files"), units::size(size));
    let encoded_name = encoded(name.as_str());
    let (under, text, sort) = (encoded(&level.under), encoded(&level.text), encoded(&level.sort));
    let query = format!("name={encoded_name}&under={under}&match={text}&sort={sort}");
    let main = html(&View {
        group: &at.group,
        id: at.file_id,
        name: name.to_string(),
        share: field(&answer.share),
        file_name: name.as_str(),
        encoded_name,
        destination: shown(&page.destination()),
        above: above(&level.under),
        level,
        sorts: SORTS,
        rows,
        total,
        shown: shown_text,
        number,
        pages,
        query,
    })?;
    Ok(Rendered { title: name.to_string(), main, parts: Vec::new(), status: axum::http::StatusCode::OK })
}

fn below(under: &str, name: &str) -> String {
    if under.is_empty() { name.to_owned() } else { format!("{under}/{name}") }
}

fn above(under: &str) -> Vec<Above> {
    let ends = under.match_indices('/').map(|(at, _)| at).chain((!under.is_empty()).then_some(under.len()));
    let paths = ends.filter_map(|end| under.get(..end));
    let name = |path: &str| Escaped(path.rsplit('/').next().unwrap_or_default()).to_string();
    paths.map(|path| Above { name: name(path), query: encoded(path) }).collect()
}

/// What lies in `under` itself. `files` come in the order of their paths, so that those of one folder are neighbours.
fn items<'a>(files: &'a [TreeRow], under: &str) -> Vec<Item<'a>> {
    let mut items: Vec<Item<'a>> = Vec::new();
    for file in files {
        let within = if under.is_empty() { Some(file.path.as_str()) } else { file.path.strip_prefix(under) };
        let Some(within) = within.map(|path| path.trim_start_matches('/')).filter(|path| !path.is_empty()) else {
            continue;
        };
        let (name, is_file) = match within.split_once('/') {
            Some((name, _)) => (name, false),
            None => (within, file.kind == Kind::File),
        };
        let entries = u64::from(within.len() > name.len());
        match items.last_mut().filter(|last| last.name == name && !is_file) {
            Some(Item { size, entries: Some(n), .. }) => (*size, *n) = (*size + file.size, *n + entries),
            _ => items.push(Item { name, size: file.size, entries: (!is_file).then_some(entries) }),
        }
    }
    items
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, kind: Kind, size: u64) -> TreeRow {
        TreeRow { path: path.to_owned(), kind, size, file_id: None, executable: false }
    }

    #[test]
    fn a_level_has_its_files_and_the_sums_of_its_folders() {
        let files = [
            file("README", Kind::File, 1),
            file("empty", Kind::Folder, 0),
            file("src/a.rs", Kind::File, 2),
            file("src/deep/b.rs", Kind::File, 3),
            file("src-old", Kind::File, 4),
        ];
        let folder = |name, size, n| Item { name, size, entries: Some(n) };
        let plain = |name, size| Item { name, size, entries: None };
        let at = |query: &str| {
            let level = Level::of(query);
            let mut items = items(&files, &level.under);
            level.arrange(&mut items);
            items
        };
        let all = [folder("empty", 0, 0), folder("src", 5, 2), plain("README", 1), plain("src-old", 4)];
        assert_eq!(at(""), all);
        assert_eq!(items(&files[2..4], "src"), [plain("a.rs", 2), folder("deep", 3, 1)]);
        assert_eq!(at("sort=size"), [all[1], all[0], all[3], all[2]]);
        assert_eq!(at("match=SRC"), [all[1], all[3]]);
        assert_eq!(at("match=src*old&sort=nonsense"), [all[3]]);
    }

    #[test]
    fn an_address_says_which_level() {
        let second = Level { under: "a/b".to_owned(), page: 2, ..Level::default() };
        assert_eq!(Level::of("under=a%2Fb&page=2"), second);
        for wrong in ["", "under=..%2Fx", "under=a&page=minus", "under=%2Fetc"] {
            assert_eq!(Level::of(wrong), Level::default(), "{wrong}");
        }
        let names: Vec<_> = above("a/b/c").into_iter().map(|a| (a.name, a.query)).collect();
        assert_eq!(names.last().map(|(n, q)| (n.as_str(), q.as_str())), Some(("c", "a%2Fb%2Fc")));
    }
}
