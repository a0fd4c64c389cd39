//! Paths within a tree.

use std::fmt::{self, Display};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{MAX_DEPTH, MAX_PATH_BYTES, TreeError};
use crate::escape::Escaped;
use crate::id::{InvalidId, check_file_name, clip};

/// A path below a shared folder: names that are each good for a file, with `/` between them. It never leaves the folder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TreePath(Box<str>);

impl TreePath {
    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its names, the outermost folder first.
    pub fn names(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split('/')
    }
}

/// Whether `path` is good for a [`TreePath`].
///
/// # Errors
/// When it is not; it is named.
pub(super) fn check(path: &str) -> Result<(), TreeError> {
    check_from(path, 0)
}

/// The same, for a path of which the first `known` bytes are those of one that is good. So the cost is that of what
/// is new in it.
pub(super) fn check_from(path: &str, known: usize) -> Result<(), TreeError> {
    let refuse = |reason| Err(TreeError::Path { path: clip(path), reason });
    if path.len() > MAX_PATH_BYTES {
        return refuse("its path is longer than 4,096 bytes");
    }
    let known = path.as_bytes()[..known].iter().rposition(|b| *b == b'/').map_or(0, |slash| slash + 1);
    let depth = path.bytes().filter(|b| *b == b'/').count() + 1;
    for name in path[known..].split('/') {
        match check_file_name(name) {
            Ok(()) => {}
            Err(InvalidId::FileName { reason, .. }) => return refuse(reason),
            Err(_) => return refuse("one of its names is not a file's"),
        }
    }
    if depth > MAX_DEPTH {
        return refuse("it lies more than 256 folders deep");
    }
    Ok(())
}

impl TryFrom<String> for TreePath {
    type Error = TreeError;
    fn try_from(path: String) -> Result<Self, TreeError> {
        check(&path)?;
        Ok(Self(path.into()))
    }
}

impl FromStr for TreePath {
    type Err = TreeError;
    fn from_str(path: &str) -> Result<Self, TreeError> {
        check(path)?;
        Ok(Self(path.into()))
    }
}

impl From<TreePath> for String {
    fn from(path: TreePath) -> Self {
        path.0.into()
    }
}

impl Display for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Display::fmt(&Escaped(&self.0), f)
    }
}
