//! What is in a folder: every file that can be shared, and by name every entry that cannot.
//!
//! No link is followed, and the keys of Shoal's own programs are left out. What is left out is told, never an error: a socket in a folder is no reason not to share the rest.
//! Blocks on the disk.

use std::collections::HashMap;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicBool, Ordering};

use cap_std::fs::Dir;
use common::tree::{MAX_DEPTH, MAX_ENTRIES, TreePath, folded};
use rustix::fs::{AtFlags, FileType, Mode, OFlags};

use crate::own_files;
use crate::transfer::beneath::Beneath;
use crate::transfer::stamp::Stamp;

/// Why a folder has to be shared in parts.
const TOO_MANY: &str = "it has more than 1,000,000 files and empty folders; share its parts one by one";

/// An entry of a folder that is not shared with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// Its path below the folder, as well as it can be shown.
    pub path: String,
    /// Why.
    pub why: String,
}

/// A file that can be shared.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) path: TreePath,
    pub(crate) len: u64,
    /// The mark of its stamp.
    pub(crate) mark: u64,
    pub(crate) executable: bool,
}

/// All that was found.
#[derive(Debug, Default)]
pub(crate) struct Walked {
    /// In the order of their paths.
    pub(crate) files: Vec<Found>,
    pub(crate) empty_folders: Vec<TreePath>,
    pub(crate) skipped: Vec<Skipped>,
}

/// Looks at everything below `root`. `stop` ends it early with [`io::ErrorKind::Interrupted`].
///
/// # Errors
/// When the folder itself cannot be read, is one that is never shared, or there is too much in it.
pub(crate) fn walk(root: &Beneath, stop: &AtomicBool) -> io::Result<Walked> {
    let mut walk = Walk { walked: Walked::default(), stop };
    let names = names(root.root())?;
    if let Some(why) = data_directory(&names) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    }
    walk.folder(root.root(), "", names, 1)?;
    walk.walked.files.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    Ok(walk.walked)
}

struct Walk<'a> {
    walked: Walked,
    stop: &'a AtomicBool,
}

impl Walk<'_> {
    /// Whether anything of the folder is shared.
    fn folder(&mut self, dir: &Dir, path: &str, names: Vec<Vec<u8>>, depth: usize) -> io::Result<bool> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let mut any = false;
        // The first of two that clash is shared: the same one each time.
        let mut alike: HashMap<String, String> = HashMap::with_capacity(names.len());
        for name in names {
            let Some((name, below)) = self.named(path, name) else { continue };
            match alike.entry(folded(&name)) {
                std::collections::hash_map::Entry::Occupied(first) => {
                    let why = format!(
                        "on systems that do not tell upper from lower case, or one form of an accent from another, \
                         it is the same as `{}`",
                        common::escape::Escaped(first.get())
                    );
                    self.skip(below.as_str(), why);
                    continue;
                }
                std::collections::hash_map::Entry::Vacant(free) => _ = free.insert(name.clone()),
            }
            any |= self.entry(dir, &name, below, depth)?;
        }
        Ok(any)
    }

    /// The name of an entry and its path, if they may be shared.
    fn named(&mut self, folder: &str, name: Vec<u8>) -> Option<(String, TreePath)> {
        let slash = if folder.is_empty() { "" } else { "/" };
        let name = match String::from_utf8(name) {
            Ok(name) => name,
            Err(e) => {
                let shown = String::from_utf8_lossy(e.as_bytes());
                self.skip(&format!("{folder}{slash}{shown}"), "its name is not UTF-8".to_owned());
                return None;
            }
        };
        let path = format!("{folder}{slash}{name}");
        match TreePath::try_from(path.clone()) {
            Ok(below) => Some((name, below)),
            Err(error) => {
                let why = match error {
                    common::tree::TreeError::Path { reason, .. } => reason.to_owned(),
                    other => other.to_string(),
                };
                self.skip(&path, why);
                None
            }
        }
    }

    fn entry(&mut self, dir: &Dir, name: &str, path: TreePath, depth: usize) -> io::Result<bool> {
        let stat = match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(e) => {
                self.skip(path.as_str(), format!("it cannot be read ({})", io::Error::from(e)));
                return Ok(false);
            }
        };
        let why = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => match own_files::key(name) {
                Some(why) => why,
                None => {
                    let stamp = Stamp::of_stat(&stat);
                    let executable = Mode::from_raw_mode(stat.st_mode).contains(Mode::XUSR);
                    self.walked.files.push(Found { path, len: stamp.len, mark: stamp.mark(), executable });
                    return self.counted().map(|()| true);
                }
            },
            FileType::Directory => return self.subfolder(dir, name, path, depth),
            FileType::Symlink => "it is a link",
            FileType::Socket => "it is a socket",
            FileType::Fifo => "it is a pipe",
            _ => "it is a device",
        };
        self.skip(path.as_str(), why.to_owned());
        Ok(false)
    }

    fn subfolder(&mut self, dir: &Dir, name: &str, path: TreePath, depth: usize) -> io::Result<bool> {
        if depth >= MAX_DEPTH {
            self.skip(path.as_str(), "it lies more than 256 folders deep".to_owned());
            return Ok(false);
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(dir, name, flags, Mode::empty()).map_err(io::Error::from);
        let opened = opened.map(|fd| Dir::from_std_file(fd.into())).and_then(|dir| Ok((names(&dir)?, dir)));
        let (names, below) = match opened {
            Ok(opened) => opened,
            Err(e) => {
                self.skip(path.as_str(), format!("it cannot be read ({e})"));
                return Ok(false);
            }
        };
        if let Some(why) = data_directory(&names) {
            self.skip(path.as_str(), why.to_owned());
            return Ok(false);
        }
        let is_empty = names.is_empty();
        let any = self.folder(&below, path.as_str(), names, depth + 1)?;
        if is_empty {
            self.walked.empty_folders.push(path);
            self.counted()?;
        }
        Ok(any || is_empty)
    }

    fn counted(&self) -> io::Result<()> {
        let entries = self.walked.files.len() + self.walked.empty_folders.len();
        if entries > MAX_ENTRIES { Err(io::Error::new(io::ErrorKind::InvalidInput, TOO_MANY)) } else { Ok(()) }
    }

    fn skip(&mut self, path: &str, why: String) {
        self.walked.skipped.push(Skipped { path: path.to_owned(), why });
    }
}

/// Why a folder of these entries is never shared.
fn data_directory(names: &[Vec<u8>]) -> Option<&'static str> {
    own_files::data_directory(|name| names.iter().any(|n| n == name.as_bytes()))
}

/// The names in a folder, in the order of their bytes.
fn names(dir: &Dir) -> io::Result<Vec<Vec<u8>>> {
    let mut names = Vec::new();
    // What is open may be a mere place, which cannot be read.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = rustix::fs::openat(dir, ".", flags, Mode::empty())?;
    for entry in rustix::fs::Dir::new(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(std::ffi::OsStr::from_bytes(name).as_bytes().to_vec());
        }
    }
    names.sort_unstable();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::os::unix::net::UnixListener;
    use std::path::Path;

    fn walked(path: &Path) -> Walked {
        walk(&Beneath::open(path).expect("opened"), &AtomicBool::new(false)).expect("walked")
    }

    #[test]
    fn files_and_empty_folders_are_found_and_the_rest_is_named() {
        let dir = tempfile::tempdir().expect("a directory");
        let root = dir.path();
        let at = |p: &str| root.join(p);
        ["sub/deeper", "empty", "only-a-link", "Sub"].iter().for_each(|d| fs::create_dir_all(at(d)).expect("made"));
        for file in ["b", "a-1", "sub/deeper/x", ".hidden", "Sub/y", "bad:name", "con.txt", "é", "e\u{301}"] {
            fs::write(at(file), file).expect("written");
        }
        fs::set_permissions(at("b"), fs::Permissions::from_mode(0o755)).expect("set");
        symlink("/etc/passwd", at("link")).expect("linked");
        symlink("/etc", at("only-a-link/etc")).expect("linked");
        let _socket = UnixListener::bind(at("socket")).expect("bound");
        let bad = std::ffi::OsStr::from_bytes(b"not-\xff-text");
        fs::write(root.join(bad), b"x").expect("written");

        let Walked { files, empty_folders, skipped } = walked(root);
        let paths: Vec<_> = files.iter().map(|f| f.path.as_str()).collect();
        assert_eq!(paths, [".hidden", "Sub/y", "a-1", "b", "e\u{301}"]);
        assert!(files.iter().all(|f| f.executable == (f.path.as_str() == "b") && f.mark != 0));
        assert_eq!(empty_folders.iter().map(TreePath::as_str).collect::<Vec<_>>(), ["empty"]);
        let reason = |path: &str| skipped.iter().find(|s| s.path == path).map(|s| s.why.clone()).unwrap_or_default();
        assert!(reason("link").contains("a link") && reason("only-a-link/etc").contains("a link"));
        assert!(reason("socket").contains("a socket") && reason("bad:name").contains("colon"));
        assert!(reason("con.txt").contains("reserved") && reason("not-\u{fffd}-text").contains("UTF-8"));
        assert!(reason("sub").contains("`Sub`"), "{skipped:?}");
        assert!(reason("é").contains("accent"), "{skipped:?}");
        assert_eq!(skipped.len(), 8, "{skipped:?}");
    }

    #[test]
    fn a_folder_of_nothing_is_empty_and_stopping_stops() {
        let dir = tempfile::tempdir().expect("a directory");
        let walked = walked(dir.path());
        assert!(walked.files.is_empty() && walked.empty_folders.is_empty() && walked.skipped.is_empty());
        let stopped = walk(&Beneath::open(dir.path()).expect("opened"), &AtomicBool::new(true));
        assert_eq!(stopped.expect_err("stopped").kind(), io::ErrorKind::Interrupted);
    }

    #[test]
    fn keys_of_shoal_are_left_out_wherever_they_lie() {
        let dir = tempfile::tempdir().expect("a directory");
        for path in [
            "own.txt",
            "cluster.secret",
            "certs/device.key",
            "certs/other.pem",
            "db/tracker.txt",
            "data/client-1/device.key",
            "data/client-1/lock",
            "data/client-1/session",
            "data/client-1/copies/x",
            "data/tracker-1/tracker.db",
            "data/tracker-1/tracker.lock",
        ] {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().expect("a parent")).expect("made");
            fs::write(path, "x").expect("written");
        }
        let all = walked(dir.path());
        let files: Vec<_> = all.files.iter().map(|f| f.path.as_str()).collect();
        assert_eq!(files, ["certs/other.pem", "db/tracker.txt", "own.txt"]);
        let left_out: Vec<_> = all.skipped.iter().map(|s| s.path.as_str()).collect();
        assert_eq!(left_out, ["certs/device.key", "cluster.secret", "data/client-1", "data/tracker-1"]);
        let root = Beneath::open(&dir.path().join("data/client-1")).expect("opened");
        assert!(walk(&root, &AtomicBool::new(false)).is_err(), "nor as such");
    }
}
