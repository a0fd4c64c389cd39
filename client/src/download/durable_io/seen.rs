//! The steps that one thread takes on its disk, in order, for a test that lets the power fail between them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirEntryExt, MetadataExt};
use std::panic::Location;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::{AtFlags, CWD};

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    Write {
        at: u64,
        bytes: Vec<u8>,
    },
    SetLen(u64),
    /// All before it, of the same file or directory, is durable.
    Sync,
    /// A directory has these files now.
    Names(BTreeMap<OsString, u64>),
}

/// A step, on what, and from which line of the program.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) inode: u64,
    pub(crate) step: Step,
    pub(crate) modified: SystemTime,
    pub(crate) site: &'static Location<'static>,
}

thread_local! {
    static LOG: RefCell<Option<(PathBuf, Vec<Seen>)>> = const { RefCell::new(None) };
}

/// From here on the steps of this thread are kept, and every file that it touches stays in `vault` under the number
/// of its inode.
pub(crate) fn record(vault: &Path) {
    LOG.set(Some((vault.to_owned(), Vec::new())));
}

/// How many steps there were.
pub(crate) fn len() -> usize {
    LOG.with_borrow(|log| log.as_ref().map_or(0, |(_, steps)| steps.len()))
}

/// The steps since [`record`]; no more are kept.
pub(crate) fn taken() -> Vec<Seen> {
    LOG.take().map_or_else(Vec::new, |(_, steps)| steps)
}

#[track_caller]
pub(super) fn note(file: &File, step: Step) {
    let site = Location::caller();
    LOG.with_borrow_mut(|log| {
        let Some((vault, steps)) = log else { return };
        let metadata = file.metadata().expect("metadata");
        let kept = vault.join(metadata.ino().to_string());
        if metadata.is_file() && !kept.exists() {
            let open = format!("/proc/self/fd/{}", file.as_raw_fd());
            rustix::fs::linkat(CWD, open, CWD, &kept, AtFlags::SYMLINK_FOLLOW).expect("linked");
        }
        let modified = metadata.modified().expect("a time");
        steps.push(Seen { inode: metadata.ino(), step, modified, site });
    });
}

#[track_caller]
pub(super) fn note_names(directory: &File) {
    if LOG.with_borrow(Option::is_none) {
        return;
    }
    let entries = fs::read_dir(format!("/proc/self/fd/{}", directory.as_raw_fd())).expect("listed");
    let entry = |e: std::io::Result<fs::DirEntry>| e.map(|e| (e.file_name(), e.ino())).expect("an entry");
    note(directory, Step::Names(entries.map(entry).collect()));
}
