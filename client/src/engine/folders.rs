//! What is in a folder that a group shares.

use std::cmp::Reverse;
use std::ops::Range;

use common::escape::Escaped;
use common::id::GroupName;
use common::tree::{Entry, Node, Tree, TreePath};
use common::wire::client::{Request, Response};

use super::arrange::{SortBy, Wanted};
use super::command::{ShareFile, as_argument};
use super::outcome::{Kind, Outcome, TreeRow};
use super::{Engine, Error, unexpected};
use crate::download::chooses;
use crate::share::blocking;

impl Engine {
    /// The files of a folder, or of a folder in it, as far as they are wanted; or one file in it.
    pub(super) async fn list_folder(
        &self,
        group: GroupName,
        folder: ShareFile,
        wanted: Wanted,
    ) -> Result<Outcome, Error> {
        let wanted = WantedFiles::try_from(wanted)?;
        self.who().await?;
        let request = Request::FindShare { group: group.clone(), file: folder.share };
        let Response::Share(share) = self.trackers.call(request).await? else { return Err(unexpected()) };
        let Some(head) = share.tree else {
            let name = share.file.name;
            return Err(Error::InvalidArgument(format!(
                "`{name}` is a file, and not a folder with something in it; `info {group} {}` shows more of it",
                as_argument(name.as_str())
            )));
        };
        let tree = self.downloads.tree(&group, &share.file, &head).await?;
        let within = folder.path.as_ref().map_or("", TreePath::as_str);
        let name = share.file.name;
        let Some(part) = part_at(&tree, within) else {
            return Err(Error::InvalidArgument(format!(
                "there is nothing at `{}` in `{name}`; `list_files {group} {}` shows what there is",
                Escaped(within),
                as_argument(name.as_str()),
            )));
        };
        // Beside the runtime: a tree may have a million entries.
        let listed = blocking(move || Ok(wanted.of(&tree, part)));
        let Listed { size, entries, files, total } = listed.await?;
        Ok(Outcome::Tree { group, name, size, entries, files, total })
    }
}

/// What is at `within`: what a folder there has in it, the file, or nothing of an empty folder. `None` if there is no such path.
fn part_at(tree: &Tree, within: &str) -> Option<Range<usize>> {
    let below = tree.under(within);
    if within.is_empty() || !below.is_empty() {
        return Some(below);
    }
    let at = tree.find(within)?;
    Some(if tree.get(at)?.entry == Entry::EmptyFolder { below } else { at..at + 1 })
}

/// Tells by its path whether a file is wanted.
type Fits = Box<dyn Fn(&str) -> bool + Send>;

/// Which files of a folder are wanted, and in which order.
struct WantedFiles {
    largest_first: bool,
    fits: Option<Fits>,
    wanted: Wanted,
}

/// A part of a folder, and the rows of it that are wanted.
struct Listed {
    /// Bytes of all files of the part.
    size: u64,
    /// Its files and empty folders.
    entries: u64,
    files: Vec<TreeRow>,
    /// Those that fit, on this page and the others.
    total: u64,
}

impl TryFrom<Wanted> for WantedFiles {
    type Error = Error;

    /// In a folder patterns mean what they do for `--only`, and there is no order by what only shares have.
    fn try_from(wanted: Wanted) -> Result<Self, Error> {
        let largest_first = match wanted.sort {
            SortBy::Name => false,
            SortBy::Size => true,
            SortBy::Age | SortBy::Seeders => {
                let text =
                    "the files of a folder have no age and no seeders of their own; `--sort` takes name or size there";
                return Err(Error::InvalidArgument(text.to_owned()));
            }
        };
        let fits = wanted.pattern.as_ref().map(|pattern| chooses(&pattern.to_string())).transpose()?;
        Ok(Self { largest_first, fits: fits.map(|fits| Box::new(fits) as _), wanted })
    }
}

impl WantedFiles {
    /// Of a part of a tree. By name is in the order of the paths.
    fn of(&self, tree: &Tree, part: Range<usize>) -> Listed {
        let entries = part.len() as u64;
        let mut nodes: Vec<_> = part.filter_map(|at| tree.get(at)).collect();
        let size = nodes.iter().map(len).sum();
        if let Some(fits) = &self.fits {
            nodes.retain(|node| fits(node.path));
        }
        if self.largest_first {
            nodes.sort_by_key(|node| Reverse(len(node)));
        }
        let (nodes, total) = self.wanted.page_of(nodes);
        Listed { size, entries, files: nodes.iter().map(row).collect(), total }
    }
}

fn len(node: &Node<'_>) -> u64 {
    if let Entry::File { len, .. } = node.entry { len } else { 0 }
}

fn row(node: &Node<'_>) -> TreeRow {
    let (kind, size, file_id, executable) = match node.entry {
        Entry::File { len, hash, executable } => (Kind::File, len, Some(hash.to_string()), executable),
        Entry::EmptyFolder => (Kind::Folder, 0, None, false),
    };
    TreeRow { path: node.path.to_owned(), kind, size, file_id, executable }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use common::id::FileId;

    use super::*;

    fn tree() -> Tree {
        let file = |(path, len): (&str, u64)| {
            (path.parse().expect("a path"), Entry::File { len, hash: FileId::new([1; 32]), executable: false })
        };
        let files =
            [("Cargo.toml", 7), ("src/deep/mod.rs", 5), ("src/deep/notes.md", 9), ("src/lib.rs", 5), ("x.md", 1)];
        let empty = ("nothing".parse().expect("a path"), Entry::EmptyFolder);
        Tree::new(files.map(file).into_iter().chain([empty])).expect("a tree")
    }

    fn listed(wanted: Wanted, within: &str) -> (Vec<String>, [u64; 3]) {
        let tree = tree();
        let listed = WantedFiles::try_from(wanted).expect("wanted").of(&tree, tree.under(within));
        let Listed { size, entries, files, total } = listed;
        (files.into_iter().map(|row| row.path).collect(), [size, entries, total])
    }

    fn matching(pattern: &str) -> Wanted {
        Wanted { pattern: Some(pattern.parse().expect("a pattern")), ..Wanted::default() }
    }

    #[test]
    fn the_files_of_a_folder_are_sorted_by_path_or_by_size() {
        let by = |sort, within| listed(Wanted { sort, ..Wanted::default() }, within).0;
        let paths = ["Cargo.toml", "nothing", "src/deep/mod.rs", "src/deep/notes.md", "src/lib.rs", "x.md"];
        assert_eq!(by(SortBy::Name, ""), paths);
        let largest = ["src/deep/notes.md", "Cargo.toml", "src/deep/mod.rs", "src/lib.rs", "x.md", "nothing"];
        assert_eq!(by(SortBy::Size, ""), largest);
        assert_eq!(by(SortBy::Size, "src/deep"), ["src/deep/notes.md", "src/deep/mod.rs"]);
        for sort in [SortBy::Age, SortBy::Seeders] {
            let refused = WantedFiles::try_from(Wanted { sort, ..Wanted::default() }).err().expect("refused");
            let text = refused.to_string();
            assert!(refused.code() == "invalid_argument" && text.contains("takes name or size"), "{text}");
        }
    }

    #[test]
    fn a_pattern_chooses_files_of_a_folder_as_it_does_for_a_download() {
        let (files, counts) = listed(matching("*.md"), "");
        assert_eq!((files, counts), (vec!["src/deep/notes.md".to_owned(), "x.md".to_owned()], [27, 6, 2]));
        assert_eq!(listed(matching("/*.md"), "").0, ["x.md"]);
        assert_eq!(listed(matching("src/*.rs"), "").0, ["src/lib.rs"]);
        assert_eq!(listed(matching("deep"), "").0, ["src/deep/mod.rs", "src/deep/notes.md"]);
        assert_eq!(listed(matching("*.rs"), "src/deep"), (vec!["src/deep/mod.rs".to_owned()], [14, 2, 1]));
        assert_eq!(listed(matching("*.exe"), ""), (Vec::new(), [27, 6, 0]));
    }

    #[test]
    fn a_path_in_a_folder_is_of_a_folder_a_file_or_nothing() {
        let tree = tree();
        let at = |within| {
            part_at(&tree, within).map(|part| part.filter_map(|at| Some(tree.get(at)?.path)).collect::<Vec<_>>())
        };
        assert_eq!(at("src/deep"), Some(vec!["src/deep/mod.rs", "src/deep/notes.md"]));
        assert_eq!(at("src/lib.rs"), Some(vec!["src/lib.rs"]));
        assert_eq!(at("nothing"), Some(Vec::new()), "an empty folder");
        assert_eq!((at("src/li"), at("none"), at("").map(|all| all.len())), (None, None, Some(6)));
    }

    #[test]
    fn a_page_of_a_folder_has_its_rows_and_the_total_of_all() {
        let page =
            |page, rows| Wanted { page: NonZeroU32::new(page), rows: NonZeroU32::new(rows), ..Wanted::default() };
        let second = listed(page(2, 4), "");
        assert_eq!(second, (vec!["src/lib.rs".to_owned(), "x.md".to_owned()], [27, 6, 6]));
        assert_eq!(listed(page(3, 4), ""), (Vec::new(), [27, 6, 6]));
        assert_eq!(listed(page(1, 0), "").0.len(), 6, "a hundred rows if nobody says how many");
        assert_eq!(listed(Wanted { ..page(0, 1) }, "").0, ["Cargo.toml"]);
    }
}
