//! Files whose disk is full or broken, for tests: what the system answers instead of doing what it is told.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;

type Inode = (u64, u64);

static FAULTS: Mutex<Option<HashMap<Inode, (Deed, Errno)>>> = Mutex::new(None);

/// What fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deed {
    Write,
    Sync,
}

/// Ends with this.
pub(crate) struct Fault(Inode);

impl Fault {
    /// From now on, `deed` on the file at `path` fails with `error`.
    pub(crate) fn set(path: &Path, deed: Deed, error: Errno) -> Self {
        let inode = inode(&std::fs::metadata(path).expect("there"));
        faults().get_or_insert_default().insert(inode, (deed, error));
        Self(inode)
    }
}

impl Drop for Fault {
    fn drop(&mut self) {
        faults().get_or_insert_default().remove(&self.0);
    }
}

pub(super) fn check_write(file: &File) -> io::Result<()> {
    check(file, Deed::Write)
}

pub(super) fn check_sync(file: &File) -> io::Result<()> {
    check(file, Deed::Sync)
}

fn check(file: &File, deed: Deed) -> io::Result<()> {
    let fault = faults().as_ref().and_then(|f| f.get(&inode(&file.metadata().ok()?)).copied());
    fault.filter(|(d, _)| *d == deed).map_or(Ok(()), |(_, error)| Err(error.into()))
}

fn inode(metadata: &std::fs::Metadata) -> Inode {
    (metadata.dev(), metadata.ino())
}

fn faults() -> MutexGuard<'static, Option<HashMap<Inode, (Deed, Errno)>>> {
    FAULTS.lock().unwrap_or_else(PoisonError::into_inner)
}
