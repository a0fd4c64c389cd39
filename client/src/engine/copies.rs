//! Copies that this client made of files that came from a browser: remembered, so that they go when nobody shares them any
//! more, and nothing else does.
//!
//! A copy is told by its path, its content and its stamp: a file that somebody changed or put in its place is not ours. Blocks
//! on the disk.

use std::path::{Component, Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use common::id::FileId;
use serde::{Deserialize, Serialize};

use crate::error::{Error, shown};
use crate::private_file;
use crate::transfer::stamp::Stamp;

/// Where copies lie, in the data directory.
const DIRECTORY: &str = "shared";
/// Name of the list of them in the data directory: not among the directories, which have the names of groups.
const LIST: &str = "copies.json";

/// See the module.
pub struct Copies {
    directory: PathBuf,
    list: PathBuf,
    /// As the list says, once it has been read; this process alone writes it.
    rows: Mutex<Option<Vec<Row>>>,
}

/// A copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Row {
    /// Below the directory.
    path: PathBuf,
    file_id: String,
}

impl Copies {
    /// Those in a data directory.
    pub fn at(data_dir: &Path) -> Self {
        Self { directory: data_dir.join(DIRECTORY), list: data_dir.join(LIST), rows: Mutex::default() }
    }

    /// Where they lie.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Remembers a copy that has been made.
    ///
    /// # Errors
    /// When the list cannot be read or written.
    pub(crate) fn add(&self, path: &Path, file_id: FileId) -> Result<(), Error> {
        let Ok(path) = path.strip_prefix(&self.directory) else { return Ok(()) };
        let mut known = self.locked();
        let mut rows = self.rows(&mut known)?.clone();
        rows.retain(|row| row.path != path);
        rows.push(Row { path: path.to_owned(), file_id: file_id.to_string() });
        self.save(rows, &mut known)
    }

    /// Whether this is one: the path of a share with this content.
    pub(crate) fn has(&self, path: &Path, file_id: FileId) -> bool {
        self.rows(&mut self.locked()).is_ok_and(|rows| rows.iter().any(|row| self.is(row, path, file_id)))
    }

    /// Removes the file if it is a copy and as it was when it was shared, by its `stamp`; whether it was. One that has changed is
    /// no copy any more.
    ///
    /// # Errors
    /// When the list or the file cannot be changed.
    pub(crate) fn remove(&self, path: &Path, file_id: FileId, stamp: Stamp) -> Result<bool, Error> {
        let mut known = self.locked();
        let mut rows = self.rows(&mut known)?.clone();
        let before = rows.len();
        rows.retain(|row| !self.is(row, path, file_id));
        if rows.len() == before {
            return Ok(false);
        }
        let is_as_it_was = std::fs::symlink_metadata(path).is_ok_and(|m| m.is_file() && Stamp::of(&m) == stamp);
        if is_as_it_was {
            private_file::remove(path)?;
        }
        self.save(rows, &mut known)?;
        Ok(is_as_it_was)
    }

    fn is(&self, row: &Row, path: &Path, file_id: FileId) -> bool {
        let is_below = row.path.components().all(|part| matches!(part, Component::Normal(_)));
        is_below && self.directory.join(&row.path) == path && row.file_id == file_id.to_string()
    }

    fn locked(&self) -> MutexGuard<'_, Option<Vec<Row>>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn rows<'a>(&self, known: &'a mut Option<Vec<Row>>) -> Result<&'a Vec<Row>, Error> {
        let rows = match known.take() {
            Some(rows) => rows,
            None => self.read()?,
        };
        Ok(known.insert(rows))
    }

    fn read(&self) -> Result<Vec<Row>, Error> {
        let Some(text) = private_file::read(&self.list)? else { return Ok(Vec::new()) };
        serde_json::from_str(&text).map_err(|e| {
            let path = shown(&self.list);
            Error::InvalidArgument(format!(
                "{path} is not what this client wrote ({e}); move it away: then copies are kept"
            ))
        })
    }

    fn save(&self, rows: Vec<Row>, known: &mut Option<Vec<Row>>) -> Result<(), Error> {
        let text = serde_json::to_vec_pretty(&rows).map_err(|e| Error::Internal(format!("a list of copies: {e}")))?;
        private_file::replace(&self.list, &text)?;
        *known = Some(rows);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_remembered_with_its_content_is_removed() {
        let dir = tempfile::tempdir().expect("a directory");
        let copies = Copies::at(dir.path());
        let (ours, theirs) = (dir.path().join("shared/lab/a.bin"), dir.path().join("shared/lab/b.bin"));
        std::fs::create_dir_all(dir.path().join("shared/lab")).expect("made");
        [&ours, &theirs].into_iter().for_each(|path| std::fs::write(path, "x").expect("written"));
        let (id, other) = (FileId::new([1; 32]), FileId::new([2; 32]));
        let stamp_of = |path: &Path| Stamp::of(&std::fs::metadata(path).expect("there"));
        let (stamp, of_theirs) = (stamp_of(&ours), stamp_of(&theirs));
        assert!(!copies.remove(&ours, id, stamp).expect("no list yet"));
        copies.add(&ours, id).expect("remembered");
        copies.add(dir.path(), id).expect("outside: nothing to remember");
        assert!(copies.has(&ours, id) && !copies.has(&ours, other) && !copies.has(&theirs, id));
        assert!(!copies.remove(&theirs, id, of_theirs).expect("not ours"));
        assert!(!copies.remove(&ours, other, stamp).expect("not ours"));
        assert!(ours.exists() && theirs.exists());
        assert!(copies.remove(&ours, id, stamp).expect("ours"));
        assert!(!ours.exists() && theirs.exists() && !copies.has(&ours, id));
        assert!(!copies.remove(&ours, id, stamp).expect("gone already"));
        copies.add(&theirs, other).expect("remembered");
        assert!(Copies::at(dir.path()).has(&theirs, other), "after a restart, too");
    }

    #[test]
    fn a_copy_that_somebody_changed_is_kept() {
        let dir = tempfile::tempdir().expect("a directory");
        let (copies, id) = (Copies::at(dir.path()), FileId::new([1; 32]));
        // A group may be called as anything.
        let path = dir.path().join("shared").join(LIST).join("a.bin");
        std::fs::create_dir_all(path.parent().expect("one")).expect("made");
        std::fs::write(&path, "x").expect("written");
        let stamp = Stamp::of(&std::fs::metadata(&path).expect("there"));
        copies.add(&path, id).expect("remembered");
        std::fs::write(&path, "edited").expect("written");
        assert!(!copies.remove(&path, id, stamp).expect("no longer ours"));
        assert!(path.exists() && !copies.has(&path, id));
    }
}
