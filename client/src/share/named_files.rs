//! Files of a folder as a sentence names them: the first ones, and how many others there are. Pure.

use std::fmt;

use common::escape::Escaped;
use serde::{Deserialize, Serialize};

use crate::units::count;

/// Files of a folder, of which only the first are named.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct NamedFiles {
    /// The paths of the first.
    pub first: Vec<String>,
    /// How many others there are.
    pub others: usize,
}

impl NamedFiles {
    /// All of `paths`, of which at most so many are named.
    pub(crate) fn of<'a>(paths: impl ExactSizeIterator<Item = &'a str>, most: usize) -> Self {
        let others = paths.len().saturating_sub(most);
        Self { first: paths.take(most).map(str::to_owned).collect(), others }
    }

    /// The same, of which at most so many are named.
    pub(crate) fn at_most(&self, most: usize) -> Self {
        let first: Vec<_> = self.first.iter().take(most).cloned().collect();
        Self { others: self.count() - first.len(), first }
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.first.len() + self.others
    }
}

/// `a`, `b` and 3 other files
impl fmt::Display for NamedFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts: Vec<_> = self.first.iter().map(|path| format!("`{}`", Escaped(path))).collect();
        if self.others > 0 {
            parts.push(count(self.others as u64, "other file", "other files"));
        }
        match parts.as_slice() {
            [] => Ok(()),
            [only] => f.write_str(only),
            [before @ .., last] => write!(f, "{} and {last}", before.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_files_are_named_and_the_others_counted() {
        let said = |n: usize| NamedFiles::of(["a", "b\u{1b}", "c", "d"][..n].iter().copied(), 2).to_string();
        assert_eq!([0, 1, 2].map(said), ["", "`a`", "`a` and `b\\u{1b}`"]);
        assert_eq!([3, 4].map(said), ["`a`, `b\\u{1b}` and 1 other file", "`a`, `b\\u{1b}` and 2 other files"]);
        let three = NamedFiles::of(["a", "b", "c"].into_iter(), 2);
        assert_eq!((three.count(), three.at_most(1).count(), three.at_most(1).first.len()), (3, 3, 1));
        assert_eq!(three.at_most(5), three);
    }
}
