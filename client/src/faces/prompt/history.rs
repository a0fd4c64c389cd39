//! Lines typed before: the file `history` in the data directory, mode 0600, one line each.
//!
//! Invariant: it gets only lines that the parser knows to be harmless (see
//! [`super::secrecy::is_harmless`]). A file that cannot be read or written is done without.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::private_file;

const FILE_NAME: &str = "history";
/// Lines that are kept.
pub(super) const MOST: usize = 1000;

/// The file.
#[derive(Debug)]
pub(super) struct History(PathBuf);

impl History {
    /// The file, and the lines in it, oldest first.
    pub(super) fn open(data_dir: &Path) -> (Self, Vec<String>) {
        let path = data_dir.join(FILE_NAME);
        let text = private_file::read(&path).ok().flatten().unwrap_or_default();
        let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
        if lines.len() > 2 * MOST {
            lines.drain(..lines.len() - MOST);
            let kept = lines.join("\n") + "\n";
            if let Err(error) = private_file::replace(&path, kept.as_bytes()) {
                tracing::debug!(%error, "the history was not shortened");
            }
        }
        (Self(path), lines)
    }

    /// Keeps a line.
    pub(super) fn add(&self, line: &str) {
        let mut options = OpenOptions::new();
        options.append(true).create(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let line = line.replace(['\n', '\r'], " ");
        let written = options.open(&self.0).and_then(|mut file| writeln!(file, "{line}"));
        if let Err(error) = written {
            tracing::debug!(%error, "a line was not kept");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_kept_privately_and_not_for_ever() {
        let dir = tempfile::tempdir().expect("a directory");
        let (history, lines) = History::open(dir.path());
        assert!(lines.is_empty());
        history.add("list_groups");
        history.add("two\nlines");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = std::fs::metadata(dir.path().join(FILE_NAME)).expect("a file").permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        assert_eq!(History::open(dir.path()).1, ["list_groups", "two lines"]);
        (0..2 * MOST).for_each(|i| history.add(&i.to_string()));
        let (_, lines) = History::open(dir.path());
        assert_eq!((lines.len(), lines.last().map(String::as_str)), (MOST, Some("1999")));
        assert_eq!(History::open(dir.path()).1.len(), MOST);
    }
}
