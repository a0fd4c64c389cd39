//! The listing of a group's files: filtered, sorted, and a page at a time, so that ten thousand are as quick as ten.

use std::cmp::Reverse;

use askama::Template;
use common::id::{FileName, GroupName};
use common::wire::client::FileSelector;
use serde::{Deserialize, Serialize};

use super::names::{MAX_TEXT, Names};
use crate::engine::outcome::FileRow;
use crate::faces::page::share_at::field;
use crate::units;

/// Rows on a page.
const ROWS: usize = 100;

/// How files can be sorted: as in the address, and as people read it.
pub(super) const SORTS: &[(&str, &str)] = &[
    ("name", "Name"),
    ("size", "Largest first"),
    ("age", "Newest first"),
    ("seeders", "Most seeders"),
    ("uploader", "Who shared it"),
];

/// The columns, each by the sort that its head asks for.
const COLUMNS: &[(&str, &str)] =
    &[("name", "Name"), ("size", "Size"), ("age", "Age"), ("seeders", "Seeders"), ("uploader", "From")];

/// Which files are shown, and in which order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(in crate::faces::page) struct Filter {
    /// A part of the name, or a pattern; see [`Names`].
    #[serde(rename = "match")]
    pub(super) text: String,
    /// One of [`SORTS`].
    pub(super) sort: String,
    /// From 1.
    pub(super) page: usize,
}

impl Default for Filter {
    fn default() -> Self {
        Self { text: String::new(), sort: "name".to_owned(), page: 1 }
    }
}

impl Filter {
    /// What an address asks for; everything, where it makes no sense.
    pub(super) fn of(query: &str) -> Self {
        let uri = format!("/?{query}").parse::<axum::http::Uri>().ok();
        let filter = uri.and_then(|uri| axum::extract::Query::<Self>::try_from_uri(&uri).ok()).map(|q| q.0);
        let filter = filter.filter(|f| f.text.len() <= MAX_TEXT).unwrap_or_default();
        let known = SORTS.iter().any(|(word, _)| *word == filter.sort);
        if known { filter } else { Self { sort: Self::default().sort, ..filter } }
    }
}

#[derive(Template)]
#[template(path = "files.html")]
pub(super) struct Listing<'a> {
    group: &'a GroupName,
    rows: Vec<Row>,
    /// How many there are without the filter.
    total: usize,
    text: String,
    number: usize,
    pages: usize,
    /// What is shown of how much.
    shown: String,
    /// The filter, for the addresses of the other pages.
    query: String,
    columns: &'static [(&'static str, &'static str)],
    sort: String,
    /// The text of the filter, for the addresses of the other orders.
    encoded_text: String,
}

struct Row {
    /// For the element's id.
    key: String,
    name: String,
    /// The share as a field of a form.
    share: String,
    /// What this device has of it, in the same way.
    own: String,
    /// The name for an address.
    encoded_name: String,
    size: String,
    /// How long ago it was published, and when; empty where that is not known.
    age: String,
    published: String,
    /// What is in a folder.
    entries: Option<u32>,
    seeders: u32,
    uploader: String,
    id: String,
    state: &'static str,
    /// Whether a copy from a browser goes when it is stopped.
    is_copy: bool,
}

/// What this device does with a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Here {
    Not,
    Fetching,
    /// Under this name; from a copy that the client made, or from where the file lies.
    Seeding {
        name: FileName,
        copy: bool,
    },
}

impl Here {
    const fn word(&self) -> &'static str {
        match self {
            Self::Not => "",
            Self::Fetching => "fetching",
            Self::Seeding { .. } => "seeding",
        }
    }
}

/// A page of `files`; `here` says what this device does with one.
pub(super) fn listing<'a>(
    group: &'a GroupName,
    files: &[FileRow],
    filter: &Filter,
    here: impl Fn(&FileRow) -> Here,
) -> Listing<'a> {
    let wanted = Names::of(&filter.text);
    let mut matching: Vec<_> = files.iter().filter(|f| wanted.has(f.name.as_str())).collect();
    match filter.sort.as_str() {
        "size" => matching.sort_by_key(|f| Reverse(f.size)),
        "age" => matching.sort_by_key(|f| Reverse(f.published)),
        "seeders" => matching.sort_by_key(|f| Reverse(f.seeders)),
        "uploader" => matching.sort_by_key(|f| f.uploader.as_str()),
        // As the listing comes.
        _ => {}
    }
    let pages = matching.len().div_ceil(ROWS).max(1);
    let number = filter.page.clamp(1, pages);
    let first = (number - 1) * ROWS;
    let rows: Vec<_> = matching.iter().skip(first).take(ROWS).map(|f| row(f, &here(f))).collect();
    let bytes: u64 = matching.iter().map(|f| f.size).sum();
    let what = format!("{}, {}", units::count(matching.len() as u64, "file", "files"), units::size(bytes));
    let shown = match pages {
        1 => what,
        _ => format!("{} to {} of {what}", first + 1, first + rows.len()),
    };
    let encoded_text = encoded(&filter.text);
    let query = format!("match={encoded_text}&sort={}", filter.sort);
    let (total, text, sort) = (files.len(), filter.text.clone(), filter.sort.clone());
    Listing { group, rows, total, text, number, pages, shown, query, columns: COLUMNS, sort, encoded_text }
}

fn row(f: &FileRow, here: &Here) -> Row {
    let by_name = |name: &FileName| field(&FileSelector::Name(name.clone()));
    Row {
        // Names are unique in a group, but not fit for ids.
        key: blake3::hash(f.name.as_str().as_bytes()).to_hex().chars().take(16).collect(),
        name: f.name.to_string(),
        share: by_name(&f.name),
        own: if let Here::Seeding { name, .. } = here { by_name(name) } else { String::new() },
        encoded_name: encoded(f.name.as_str()),
        size: units::size(f.size),
        age: f.published.map(|at| units::age(at.age())).unwrap_or_default(),
        published: f.published.map(|at| at.to_string()).unwrap_or_default(),
        entries: f.entries,
        seeders: f.seeders,
        uploader: f.uploader.to_string(),
        id: f.file_id.to_string(),
        state: here.word(),
        is_copy: matches!(here, Here::Seeding { copy: true, .. }),
    }
}

/// Text for a query, percent-encoded.
pub(super) fn encoded(text: &str) -> String {
    text.bytes()
        .map(|b| if b.is_ascii_alphanumeric() { char::from(b).to_string() } else { format!("%{b:02X}") })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::outcome::{Kind, Moment};

    fn file(name: &str, size: u64, seeders: u32) -> FileRow {
        let (name, uploader) = (name.parse().expect("a name"), "alice".parse().expect("a name"));
        let (claimed, file_id, published) = (None, common::id::FileId::new([7; 32]), Some(Moment(size)));
        FileRow {
            name,
            claimed,
            size,
            file_id,
            uploader,
            seeders,
            kind: Kind::File,
            entries: None,
            published,
            here: false,
        }
    }

    fn names(files: &[FileRow], query: &str) -> Vec<String> {
        let group = "lab".parse().expect("a name");
        listing(&group, files, &Filter::of(query), |_| Here::Not).rows.into_iter().map(|r| r.name).collect()
    }

    #[test]
    fn files_are_filtered_and_sorted_as_the_address_says() {
        let files = [file("Alpha.txt", 9, 0), file("b.bin", 1, 3), file("beta.txt", 5, 7)];
        assert_eq!(names(&files, ""), ["Alpha.txt", "b.bin", "beta.txt"]);
        assert_eq!(names(&files, "sort=size"), ["Alpha.txt", "beta.txt", "b.bin"]);
        assert_eq!(names(&files, "sort=age"), ["Alpha.txt", "beta.txt", "b.bin"]);
        assert_eq!(names(&files, "sort=seeders&match=b"), ["beta.txt", "b.bin"]);
        assert_eq!(names(&files, "match=ALPHA&page=99&sort=nonsense"), ["Alpha.txt"]);
        assert_eq!(names(&files, "match=%5BAb%5D*.txt"), ["Alpha.txt", "beta.txt"]);
        assert_eq!(names(&files, "page=minus"), names(&files, ""));
    }

    #[test]
    fn a_long_listing_comes_in_pages_and_its_filter_goes_along() {
        let files: Vec<_> = (0..250).map(|n| file(&format!("f{n:03}&x"), 1, 1)).collect();
        let group = "lab".parse().expect("a name");
        let last = listing(&group, &files, &Filter::of("match=%26x&page=3"), |_| Here::Not);
        assert_eq!((last.number, last.pages, last.rows.len()), (3, 3, 50));
        assert_eq!(last.query, "match=%26x&sort=name");
        assert_eq!(last.shown, "201 to 250 of 250 files, 250 B");
    }
}
