//! Which files of a folder are wanted.
//!
//! Patterns are those of `globset`: `*` stays within a name, `**` goes through folders. A pattern without a slash is about
//! the last name of a path, wherever it lies, and what a pattern says of a folder it says of all that is below.

use std::sync::Arc;

use common::escape::Escaped;
use common::pieces::{Bitfield, PieceLayout};
use common::tree::{Entry, Tree};
use globset::{Glob, GlobBuilder, GlobSet, GlobSetBuilder};
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::share::{blocking, pieces_touching};

/// Patterns, as they were given. Without any, everything is chosen.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choice {
    /// Only what one of these fits; everything if there is none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub only: Vec<String>,
    /// Not what one of these fits.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub except: Vec<String>,
    /// Exactly the file at this path, which goes to the destination without its folders.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

impl Choice {
    /// Whether nothing is left out.
    pub(crate) const fn is_all(&self) -> bool {
        self.only.is_empty() && self.except.is_empty() && self.path.is_none()
    }

    /// The entries of `tree` that are chosen.
    ///
    /// # Errors
    /// When a pattern is none, or there is nothing that fits.
    pub(crate) fn of(&self, tree: &Tree) -> Result<Chosen, Error> {
        if let Some(path) = &self.path {
            return one_file(tree, path);
        }
        let (only, except) = (set(&self.only)?, set(&self.except)?);
        let fits = |path: &str| (self.only.is_empty() || only.is_match(path)) && !except.is_match(path);
        let chosen = Chosen::new(tree.iter().map(|node| fits(node.path)));
        if !self.is_all() && chosen.count() == 0 {
            return Err(Error::InvalidArgument(
                "no file of the folder fits; `list_files` with group and folder shows them".to_owned(),
            ));
        }
        Ok(chosen)
    }
}

impl Choice {
    /// As [`of`](Self::of), beside the runtime: a tree may have a million entries.
    ///
    /// # Errors
    /// As `of`.
    pub(crate) async fn among(self, tree: Arc<Tree>) -> Result<Chosen, Error> {
        blocking(move || self.of(&tree)).await
    }
}

/// Says of paths whether a pattern chooses them.
///
/// # Errors
/// When it is no pattern.
pub(crate) fn chooses(pattern: &str) -> Result<impl Fn(&str) -> bool + Send + use<>, Error> {
    let set = set(&[pattern.to_owned()])?;
    Ok(move |path: &str| set.is_match(path))
}

fn one_file(tree: &Tree, path: &str) -> Result<Chosen, Error> {
    let index = tree.find(path);
    let Some(index) = index.filter(|index| tree.get(*index).is_some_and(|n| matches!(n.entry, Entry::File { .. })))
    else {
        let text = if tree.under(path).is_empty() {
            format!("there is no file `{}` in the folder; `list_files` with group and folder shows them", Escaped(path))
        } else {
            format!("`{0}` is a folder; fetch what is in it with `--only '{0}/**'`", Escaped(path))
        };
        return Err(Error::InvalidArgument(text));
    };
    Ok(Chosen::new((0..tree.entries()).map(|at| at == index)))
}

fn set(patterns: &[String]) -> Result<GlobSet, Error> {
    let wrong = |pattern: &str, e: globset::Error| {
        Error::InvalidArgument(format!("`{}` is not a pattern: {}", Escaped(pattern), Escaped(&e.kind().to_string())))
    };
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        for form in forms(pattern) {
            set.add(glob(&form).map_err(|e| wrong(pattern, e))?);
        }
    }
    set.build().map_err(|e| wrong(&patterns.join(" "), e))
}

/// A pattern about the entry itself, and about all below it.
fn forms(pattern: &str) -> [String; 2] {
    let plain = pattern.strip_prefix("./").unwrap_or(pattern).trim_end_matches('/');
    let anchored = match plain.strip_prefix('/') {
        Some(rest) => rest.to_owned(),
        None if plain.contains('/') => plain.to_owned(),
        None => format!("**/{plain}"),
    };
    let below = format!("{anchored}/**");
    [anchored, below]
}

fn glob(pattern: &str) -> Result<Glob, globset::Error> {
    GlobBuilder::new(pattern).literal_separator(true).backslash_escape(true).build()
}

/// The entries of one tree that are wanted, by number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chosen {
    entries: Arc<[bool]>,
    count: u64,
}

impl Chosen {
    fn new(entries: impl Iterator<Item = bool>) -> Self {
        let entries: Arc<[bool]> = entries.collect();
        let count = entries.iter().filter(|chosen| **chosen).count() as u64;
        Self { entries, count }
    }

    /// Whether this entry is.
    pub(crate) fn has(&self, index: usize) -> bool {
        self.entries.get(index).copied().unwrap_or(false)
    }

    /// Whether all entries are.
    pub(crate) fn is_all(&self) -> bool {
        self.count == self.entries.len() as u64
    }

    /// How many entries are.
    pub(crate) const fn count(&self) -> u64 {
        self.count
    }

    /// The pieces that touch a chosen file.
    pub(crate) fn pieces(&self, tree: &Tree, layout: PieceLayout) -> Bitfield {
        if self.is_all() {
            return Bitfield::full(layout);
        }
        let mut pieces = Bitfield::empty(layout);
        for index in (0..tree.entries()).filter(|index| self.has(*index)) {
            pieces_touching(tree, layout, index).for_each(|piece| {
                pieces.set(piece);
            });
        }
        pieces
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::id::FileId;

    fn tree() -> Tree {
        let file = |path: &str| {
            (path.parse().expect("a path"), Entry::File { len: 10_000, hash: FileId::new([1; 32]), executable: false })
        };
        let mut entries: Vec<_> =
            ["Cargo.toml", "README.md", "src/lib.rs", "src/deep/mod.rs", "src/deep/notes.md", "tests/a.rs"]
                .map(file)
                .into();
        entries.push(("empty".parse().expect("a path"), Entry::EmptyFolder));
        Tree::new(entries).expect("a tree")
    }

    fn chosen(only: &[&str], except: &[&str]) -> Vec<String> {
        let owned = |all: &[&str]| all.iter().map(|p| (*p).to_owned()).collect();
        let choice = Choice { only: owned(only), except: owned(except), path: None };
        let tree = tree();
        match choice.of(&tree) {
            Ok(chosen) => {
                tree.iter().enumerate().filter(|(n, _)| chosen.has(*n)).map(|(_, node)| node.path.to_owned()).collect()
            }
            Err(e) => vec![e.code().to_owned()],
        }
    }

    #[test]
    fn patterns_choose_by_name_by_path_and_by_folder() {
        assert_eq!(chosen(&[], &[]).len(), 7);
        assert_eq!(chosen(&["*.md"], &[]), ["README.md", "src/deep/notes.md"]);
        assert_eq!(chosen(&["/*.md"], &[]), ["README.md"]);
        assert_eq!(chosen(&["src/*.rs"], &[]), ["src/lib.rs"]);
        assert_eq!(chosen(&["src/**/*.rs"], &[]), ["src/deep/mod.rs", "src/lib.rs"]);
        assert_eq!(chosen(&["src"], &["*.md"]), ["src/deep/mod.rs", "src/lib.rs"]);
        assert_eq!(chosen(&["src/deep/", "tests/*"], &[]), ["src/deep/mod.rs", "src/deep/notes.md", "tests/a.rs"]);
        assert_eq!(chosen(&["{Cargo.toml,empty}"], &[]), ["Cargo.toml", "empty"]);
        assert_eq!(chosen(&["*.exe"], &[]), ["invalid_argument"]);
        assert_eq!(chosen(&["[z"], &[]), ["invalid_argument"]);
    }

    #[test]
    fn one_file_is_named_by_its_path() {
        let one = |path: &str| Choice { path: Some(path.to_owned()), ..Choice::default() }.of(&tree());
        assert!(one("src/lib.rs").is_ok_and(|c| (0..7).filter(|n| c.has(*n)).count() == 1));
        assert!(one("src").is_err_and(|e| e.to_string().contains("--only 'src/**'")));
        assert!(one("empty").is_err() && one("src/lib").is_err());
    }

    #[test]
    fn the_pieces_are_those_that_touch_what_is_chosen() {
        let tree = tree();
        let layout = PieceLayout::new(tree.len(), 16 << 10).expect("a layout");
        let pieces = |only: &str| {
            let choice = Choice { only: vec![only.to_owned()], ..Choice::default() };
            let pieces = choice.of(&tree).expect("a choice").pieces(&tree, layout);
            layout.pieces().filter(|p| pieces.has(*p)).map(|p| p.get()).collect::<Vec<_>>()
        };
        assert_eq!(pieces("*"), [0, 1, 2, 3]);
        // In order: Cargo.toml, README.md, src/deep/mod.rs, src/deep/notes.md, src/lib.rs, tests/a.rs.
        assert_eq!(pieces("Cargo.toml"), [0]);
        assert_eq!(pieces("README.md"), [0, 1]);
        assert_eq!(pieces("empty"), [] as [u32; 0]);
    }
}
