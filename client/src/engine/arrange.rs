//! Which rows of a listing are shown, and in which order. Pure.

use std::cmp::Reverse;
use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use clap::ValueEnum;
use common::escape::Escaped;
use globset::{GlobBuilder, GlobMatcher};
use serde::{Serialize, Serializer};

use super::outcome::FileRow;

/// Rows of a page if nobody says how many.
const ROWS: NonZeroU32 = NonZeroU32::new(100).expect("not zero");

/// By what rows are sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SortBy {
    /// By name, whatever the case.
    #[default]
    Name,
    /// The largest first.
    Size,
    /// The newest first; those whose age is not known come last.
    Age,
    /// Those with most seeders first.
    Seeders,
}

/// A pattern for names: `*`, `?`, `[a-z]`, `{a,b}`.
#[derive(Debug, Clone)]
pub struct Glob {
    text: String,
    matcher: GlobMatcher,
}

impl Glob {
    /// Whether a name fits.
    pub fn fits(&self, name: &str) -> bool {
        self.matcher.is_match(name)
    }
}

impl FromStr for Glob {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("a pattern is empty, and fits nothing; write one like *.bin or run-[0-9]*".to_owned());
        }
        let wrong = |e: globset::Error| {
            format!("`{}` is no pattern: {}; write one like *.bin or run-[0-9]*", Escaped(text), e.kind())
        };
        let glob = GlobBuilder::new(text).literal_separator(true).build().map_err(wrong)?;
        Ok(Self { text: text.to_owned(), matcher: glob.compile_matcher() })
    }
}

impl PartialEq for Glob {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Glob {}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for Glob {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.text)
    }
}

/// What of a listing is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wanted {
    /// In this order.
    pub sort: SortBy,
    /// Only names that fit.
    pub pattern: Option<Glob>,
    /// From 1; `None` for all rows, unless their number is given.
    pub page: Option<NonZeroU32>,
    /// Rows of a page.
    pub rows: Option<NonZeroU32>,
}

impl Wanted {
    /// The rows that are wanted, and how many fit in all.
    pub fn of(&self, mut files: Vec<FileRow>) -> (Vec<FileRow>, u64) {
        if let Some(pattern) = &self.pattern {
            files.retain(|f| pattern.fits(f.name.as_str()));
        }
        sort(&mut files, self.sort);
        self.page_of(files)
    }

    /// Of rows in their order the page that is wanted, and how many there are in all.
    pub(super) fn page_of<T>(&self, mut rows: Vec<T>) -> (Vec<T>, u64) {
        let total = rows.len() as u64;
        if self.page.is_some() || self.rows.is_some() {
            let most = self.rows.unwrap_or(ROWS).get() as usize;
            let before = (self.page.map_or(1, NonZeroU32::get) as usize - 1).saturating_mul(most);
            rows = rows.into_iter().skip(before).take(most).collect();
        }
        (rows, total)
    }
}

/// Sorts rows; equal ones stay in the order in which they were.
pub fn sort(files: &mut [FileRow], by: SortBy) {
    match by {
        SortBy::Name => files.sort_by_cached_key(|f| f.name.as_str().to_lowercase()),
        SortBy::Size => files.sort_by_key(|f| Reverse(f.size)),
        SortBy::Age => files.sort_by_key(|f| Reverse(f.published)),
        SortBy::Seeders => files.sort_by_key(|f| Reverse(f.seeders)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::outcome::{Kind, Moment};

    fn files() -> Vec<FileRow> {
        let file = |name: &str, size, published: Option<u64>, seeders| FileRow {
            name: name.parse().expect("a name"),
            claimed: None,
            size,
            file_id: common::id::FileId::new([7; 32]),
            uploader: "alice".parse().expect("a name"),
            seeders,
            kind: Kind::File,
            entries: None,
            published: published.map(Moment),
            here: false,
        };
        vec![file("b.bin", 1, Some(5), 3), file("Alpha.txt", 9, None, 0), file("c.txt", 5, Some(9), 7)]
    }

    fn names(wanted: &Wanted) -> Vec<String> {
        wanted.of(files()).0.into_iter().map(|f| f.name.to_string()).collect()
    }

    #[test]
    fn rows_are_sorted_as_wanted() {
        for (sort, order) in [
            (SortBy::Name, ["Alpha.txt", "b.bin", "c.txt"]),
            (SortBy::Size, ["Alpha.txt", "c.txt", "b.bin"]),
            (SortBy::Age, ["c.txt", "b.bin", "Alpha.txt"]),
            (SortBy::Seeders, ["c.txt", "b.bin", "Alpha.txt"]),
        ] {
            assert_eq!(names(&Wanted { sort, ..Wanted::default() }), order, "{sort:?}");
        }
    }

    #[test]
    fn patterns_choose_names_and_pages_choose_rows() {
        let number = NonZeroU32::new;
        let pattern = |text: &str| Some(text.parse::<Glob>().expect(text));
        let wanted = Wanted { pattern: pattern("*.txt"), ..Wanted::default() };
        assert_eq!((names(&wanted), wanted.of(files()).1), (vec!["Alpha.txt".to_owned(), "c.txt".to_owned()], 2));
        assert_eq!(names(&Wanted { pattern: pattern("{b,c}.*"), ..Wanted::default() }), ["b.bin", "c.txt"]);
        assert!(names(&Wanted { pattern: pattern("txt"), ..Wanted::default() }).is_empty());
        let second = Wanted { page: number(2), rows: number(2), ..Wanted::default() };
        assert_eq!((names(&second), second.of(files()).1), (vec!["c.txt".to_owned()], 3));
        assert!(names(&Wanted { page: number(u32::MAX), rows: number(u32::MAX), ..Wanted::default() }).is_empty());
        assert_eq!(names(&Wanted { page: number(1), ..Wanted::default() }).len(), 3);
        let refused = "[a".parse::<Glob>().expect_err("not closed");
        assert!(refused.contains("`[a` is no pattern"), "{refused}");
        assert!("".parse::<Glob>().is_err_and(|e| e.contains("empty")));
    }
}
