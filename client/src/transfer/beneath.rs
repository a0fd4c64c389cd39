//! Files and folders below one open directory, by their paths in a tree.
//!
//! Invariant: nothing outside of the directory is ever touched. A path is walked name by name, each relative to the open folder
//! before it, and no link is followed, whoever puts one in the way meanwhile. Folders that were walked through stay open for
//! the next path, a few at a time: files come in the order of their paths. Blocks on the disk.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use cap_std::ambient_authority;
use cap_std::fs::Dir;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawMode, RenameFlags, Stat};
use rustix::io::Errno;

use super::stamp::Stamp;

/// Folders that stay open.
const OPEN_FOLDERS: usize = 32;
/// The mode of new folders and of files that may be run, as far as the process's mask lets it.
const MODE_ALL: RawMode = 0o777;
/// The mode of other new files, the same.
const MODE_PLAIN: RawMode = 0o666;

/// See the module.
#[derive(Debug)]
pub(crate) struct Beneath {
    root: Arc<Dir>,
    /// The folders that were used last, the latest at the end.
    open: Mutex<VecDeque<(Box<str>, Arc<Dir>)>>,
}

/// What is at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Met {
    /// A file, a folder, or something else. A link is a link.
    pub(crate) kind: FileType,
    /// How it is.
    pub(crate) stamp: Stamp,
    /// Whether its owner may run it.
    pub(crate) executable: bool,
}

impl Met {
    fn of(stat: &Stat) -> Self {
        let executable = Mode::from_raw_mode(stat.st_mode).contains(Mode::XUSR);
        Self { kind: FileType::from_raw_mode(stat.st_mode), stamp: Stamp::of_stat(stat), executable }
    }
}

impl Beneath {
    /// Everything below `dir`.
    pub(crate) fn new(dir: Dir) -> Self {
        Self { root: Arc::new(dir), open: Mutex::default() }
    }

    /// Everything below the directory at `path`.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        Dir::open_ambient_dir(path, ambient_authority()).map(Self::new)
    }

    /// The directory.
    pub(crate) fn root(&self) -> &Dir {
        &self.root
    }

    /// The folder at `path`; the directory itself for the empty path.
    ///
    /// # Errors
    /// When it is not there, or something on the way is no folder.
    pub(crate) fn folder(&self, path: &str) -> io::Result<Arc<Dir>> {
        self.walk(path, false)
    }

    /// The same, made where it is missing.
    ///
    /// # Errors
    /// When something on the way is no folder, or the system refuses.
    pub(crate) fn make_folder(&self, path: &str) -> io::Result<Arc<Dir>> {
        self.walk(path, true)
    }

    fn walk(&self, path: &str, make: bool) -> io::Result<Arc<Dir>> {
        if path.is_empty() {
            return Ok(Arc::clone(&self.root));
        }
        if let Some(open) = self.recall(path) {
            return Ok(open);
        }
        let (before, name) = split(path);
        let parent = self.walk(before, make)?;
        let dir = match open_folder(&parent, name) {
            Err(e) if make && e.kind() == io::ErrorKind::NotFound => {
                match rustix::fs::mkdirat(&*parent, name, Mode::from_raw_mode(MODE_ALL)) {
                    Ok(()) | Err(Errno::EXIST) => open_folder(&parent, name)?,
                    Err(e) => return Err(e.into()),
                }
            }
            done => done?,
        };
        let dir = Arc::new(dir);
        self.keep(path, &dir);
        Ok(dir)
    }

    fn recall(&self, path: &str) -> Option<Arc<Dir>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let at = open.iter().rposition(|(known, _)| **known == *path)?;
        let latest = open.len() - 1;
        if at + 1 < latest
            && let Some(found) = open.remove(at)
        {
            open.push_back(found);
            return open.back().map(|(_, dir)| Arc::clone(dir));
        }
        open.get(at).map(|(_, dir)| Arc::clone(dir))
    }

    fn keep(&self, path: &str, dir: &Arc<Dir>) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.len() >= OPEN_FOLDERS {
            open.pop_front();
        }
        open.push_back((path.into(), Arc::clone(dir)));
    }

    /// Forgets the folders that are open.
    #[cfg(test)]
    fn forget(&self) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Opens the file at `path` for reading, unless it is something else: opening a pipe would wait for its writer.
    ///
    /// # Errors
    /// When it is not there, or is no file.
    pub(crate) fn read(&self, path: &str) -> io::Result<File> {
        let (folder, name) = split(path);
        open_file(&*self.folder(folder)?, name, OFlags::RDONLY, 0)
    }

    /// Opens whatever is at `path` for reading. For a caller that compares the mark of what it has read: only a file has one.
    ///
    /// # Errors
    /// When it is not there, or cannot be read.
    pub(crate) fn open_any(&self, path: &str) -> io::Result<File> {
        let (folder, name) = split(path);
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        Ok(File::from(rustix::fs::openat(&*self.folder(folder)?, name, flags, Mode::empty())?))
    }

    /// Opens the file at `path` for writing, made where it is missing, with the folders on its way.
    ///
    /// # Errors
    /// When something else is there, or the system refuses.
    pub(crate) fn write(&self, path: &str, executable: bool) -> io::Result<File> {
        let (folder, name) = split(path);
        let mode = if executable { MODE_ALL } else { MODE_PLAIN };
        let folder = self.make_folder(folder)?;
        // What is made here is a file: it need not be asked what it is.
        let fresh = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        match rustix::fs::openat(&*folder, name, fresh, Mode::from_raw_mode(mode)) {
            Ok(file) => Ok(File::from(file)),
            Err(Errno::EXIST) => open_file(&folder, name, OFlags::RDWR, 0),
            Err(e) => Err(e.into()),
        }
    }

    /// What is at `path`.
    ///
    /// # Errors
    /// When nothing is, or something on the way is no folder.
    pub(crate) fn look(&self, path: &str) -> io::Result<Met> {
        let (folder, name) = split(path);
        Ok(Met::of(&rustix::fs::statat(&*self.folder(folder)?, name, AtFlags::SYMLINK_NOFOLLOW)?))
    }

    /// Gives the file at `path` the same path below `to`, in place of one that is there. Folders on its way are made.
    ///
    /// # Errors
    /// When something else than a file is there, or the system refuses.
    pub(crate) fn move_to(&self, to: &Self, path: &str) -> io::Result<()> {
        let (folder, name) = split(path);
        let (here, there) = (self.folder(folder)?, to.make_folder(folder)?);
        Ok(rustix::fs::renameat(&*here, name, &*there, name)?)
    }

    /// The same, unless something is there.
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`] if something is; else when the system refuses.
    pub(crate) fn move_to_free(&self, to: &Self, path: &str) -> io::Result<()> {
        let (folder, name) = split(path);
        let (here, there) = (self.folder(folder)?, to.make_folder(folder)?);
        rename_free(&here, name, &there, name.as_ref())
    }
}

/// Moves `from`/`name` to `to`/`new`, unless something is there. Not every file system knows the flag for that.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`] if something is; else when the system refuses.
pub(crate) fn rename_free(from: &Dir, name: &str, to: &Dir, new: &OsStr) -> io::Result<()> {
    match rustix::fs::renameat_with(from, name, to, new, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => rename_free_in_two_steps(from, name, to, new),
        done => Ok(done?),
    }
}

/// A hard link does not replace a file, and a folder replaces only one that is empty: the one that was made here.
fn rename_free_in_two_steps(from: &Dir, name: &str, to: &Dir, new: &OsStr) -> io::Result<()> {
    let stat = rustix::fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        rustix::fs::linkat(from, name, to, new, AtFlags::empty())?;
        return Ok(rustix::fs::unlinkat(from, name, AtFlags::empty())?);
    }
    rustix::fs::mkdirat(to, new, Mode::RWXU)?;
    rustix::fs::renameat(from, name, to, new).map_err(|e| match e {
        Errno::NOTEMPTY | Errno::EXIST => io::ErrorKind::AlreadyExists.into(),
        other => io::Error::from(other),
    })
}

/// The folder of a path and the name in it.
pub(crate) fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

fn open_folder(parent: &Dir, name: &str) -> io::Result<Dir> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = rustix::fs::openat(parent, name, flags, Mode::empty());
    // A link to a folder is none.
    let opened = opened.map_err(|e| if e == Errno::LOOP { Errno::NOTDIR } else { e })?;
    Ok(Dir::from_std_file(File::from(opened)))
}

fn open_file(folder: &Dir, name: &str, flags: OFlags, mode: RawMode) -> io::Result<File> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = File::from(rustix::fs::openat(folder, name, flags, Mode::from_raw_mode(mode))?);
    let is_file = FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) == FileType::RegularFile;
    if is_file { Ok(file) } else { Err(io::ErrorKind::InvalidInput.into()) }
}

/// How an open file is.
pub(crate) fn met(file: &File) -> io::Result<Met> {
    Ok(Met::of(&rustix::fs::fstat(file)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::Write;
    use std::os::unix::fs::symlink;

    #[test]
    fn files_are_made_and_read_below_the_directory_only() {
        let dir = tempfile::tempdir().expect("a directory");
        let (inside, outside) = (dir.path().join("in"), dir.path().join("out"));
        [&inside, &outside].iter().for_each(|d| fs::create_dir(d).expect("made"));
        fs::write(outside.join("victim"), b"precious").expect("written");
        let below = Beneath::open(&inside).expect("opened");
        below.write("a/b/c", false).expect("made").write_all(b"new").expect("written");
        below.write("run", true).expect("made");
        assert_eq!(fs::read(inside.join("a/b/c")).expect("read"), b"new");
        assert!(below.look("run").expect("there").executable && !below.look("a/b/c").expect("there").executable);

        symlink(&outside, inside.join("link")).expect("linked");
        symlink(outside.join("victim"), inside.join("leaf")).expect("linked");
        assert!(below.read("link/victim").is_err() && below.write("link/victim", false).is_err());
        assert!(below.read("leaf").is_err() && below.write("leaf", false).is_err());
        assert!(below.make_folder("link/deeper").is_err());
        assert_eq!(below.look("leaf").expect("there").kind, FileType::Symlink);
        assert_eq!(fs::read(outside.join("victim")).expect("read"), b"precious");
        assert_eq!(fs::read_dir(&outside).expect("listed").count(), 1);
    }

    #[test]
    fn where_the_system_has_no_such_renaming_nothing_is_replaced_either() {
        let home = tempfile::tempdir().expect("a directory");
        let dir = Dir::open_ambient_dir(home.path(), cap_std::ambient_authority()).expect("opened");
        let make = |name: &str| {
            fs::create_dir(home.path().join(name)).expect("made");
            fs::write(home.path().join(name).join("file"), name).expect("written");
        };
        ["new", "taken"].into_iter().for_each(make);
        fs::create_dir(home.path().join("empty")).expect("made");
        fs::write(home.path().join("leaf"), b"x").expect("written");
        let moved = |name: &str, to: &str| rename_free_in_two_steps(&dir, name, &dir, to.as_ref());
        for to in ["taken", "empty", "leaf"] {
            assert_eq!(moved("new", to).expect_err(to).kind(), io::ErrorKind::AlreadyExists, "{to}");
            assert_eq!(moved("leaf", to).expect_err(to).kind(), io::ErrorKind::AlreadyExists, "{to}");
        }
        assert_eq!(fs::read(home.path().join("taken/file")).expect("read"), b"taken");
        moved("new", "free").expect("moved");
        moved("leaf", "other").expect("moved");
        assert_eq!(fs::read(home.path().join("free/file")).expect("read"), b"new");
        assert!(!home.path().join("new").exists() && !home.path().join("leaf").exists());
    }

    #[test]
    fn a_folder_that_becomes_a_link_while_it_is_open_leads_nowhere_else() {
        let dir = tempfile::tempdir().expect("a directory");
        let (inside, outside) = (dir.path().join("in"), dir.path().join("out"));
        [&inside, &outside].iter().for_each(|d| fs::create_dir(d).expect("made"));
        let below = Beneath::open(&inside).expect("opened");
        below.write("a/one", false).expect("made");
        fs::rename(inside.join("a"), inside.join("moved")).expect("renamed");
        symlink(&outside, inside.join("a")).expect("linked");
        below.write("a/two", false).expect("into the folder that was opened");
        assert!(inside.join("moved/two").exists() && !outside.join("two").exists());
        below.forget();
        assert!(below.write("a/three", false).is_err());
    }

    #[test]
    fn more_folders_than_stay_open_are_found_all_the_same() {
        let dir = tempfile::tempdir().expect("a directory");
        let below = Beneath::open(dir.path()).expect("opened");
        for round in 0..2 {
            for n in 0..3 * OPEN_FOLDERS {
                below.write(&format!("d{n}/e/f{round}"), false).expect("made");
            }
        }
        assert_eq!(below.open.lock().expect("unpoisoned").len(), OPEN_FOLDERS);
        assert_eq!(fs::read_dir(dir.path().join("d5/e")).expect("listed").count(), 2);
    }
}
