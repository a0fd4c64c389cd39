//! Files that hold a secret: private to their owner, and made exactly once.
//!
//! Invariant: at its final path such a file is complete or absent. It is written under a temporary
//! name, synced, and then given its name by a hard link, which fails if the name is taken: of two
//! processes that start at the same moment one creates, the other reads what the first one made.
//! (A rename would replace the winner's file; creating in place could be read half-written.)
//!
//! Knows nothing about what the text means.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::SecretError;

/// Largest secret file that is read, in bytes. What is stored takes a few hundred.
const MAX_FILE_BYTES: u64 = 4096;

/// The text of the file at `path`, and whether this call created the file from `make`.
///
/// # Errors
/// See [`SecretError`]; a file that exists and is not acceptable is never replaced.
pub(crate) fn load_or_create(
    path: &Path,
    make: impl FnOnce() -> Result<Zeroizing<String>, SecretError>,
) -> Result<(Zeroizing<String>, bool), SecretError> {
    match load(path) {
        Err(SecretError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
        done => return Ok((done?, false)),
    }
    check_directory(directory_of(path))?;
    let text = make()?;
    if create(path, &text).map_err(|e| SecretError::io("create", path, e))? {
        return Ok((text, true));
    }
    Ok((load(path)?, false))
}

fn load(path: &Path) -> Result<Zeroizing<String>, SecretError> {
    let io = |e| SecretError::io("read", path, e);
    // Asked before the file is opened: opening a pipe would wait for its writer.
    if !fs::metadata(path).map_err(io)?.is_file() {
        return Err(SecretError::NotAFile { path: path.to_owned() });
    }
    check_directory(directory_of(path))?;
    let file = File::open(path).map_err(io)?;
    refuse_loose_permissions(path, &file.metadata().map_err(io)?)?;

    // Room for all of it at once: growing would leave copies behind that nobody wipes.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_FILE_BYTES as usize + 1));
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(SecretError::damaged(path, "it is too long"));
    }
    match std::str::from_utf8(&bytes) {
        Ok(text) => Ok(Zeroizing::new(text.to_owned())),
        Err(_) => Err(SecretError::damaged(path, "it is not text")),
    }
}

fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Refuses a directory in which anybody could have put a file that decides whom we trust. One that its group can
/// write is only warned of: many systems give each user a group of its own.
///
/// # Errors
/// [`SecretError::LooseDirectory`].
#[cfg(unix)]
pub fn check_directory(path: &Path) -> Result<(), SecretError> {
    use std::os::unix::fs::PermissionsExt;

    // Whoever uses a directory that is not there will say so.
    let Ok(metadata) = fs::metadata(path) else { return Ok(()) };
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o002 != 0 {
        return Err(SecretError::LooseDirectory { path: path.to_owned(), mode });
    }
    if mode & 0o020 != 0 {
        tracing::warn!("the group of {} can replace the keys there; `chmod g-w` it", path.display());
    }
    Ok(())
}

/// Elsewhere the directory's access list decides, and there is no mode to read.
///
/// # Errors
/// None.
#[cfg(not(unix))]
pub fn check_directory(_: &Path) -> Result<(), SecretError> {
    Ok(())
}

#[cfg(unix)]
fn refuse_loose_permissions(path: &Path, metadata: &fs::Metadata) -> Result<(), SecretError> {
    use std::os::unix::fs::PermissionsExt;

    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 == 0 { Ok(()) } else { Err(SecretError::LoosePermissions { path: path.to_owned(), mode }) }
}

/// Elsewhere the directory's access list decides, and there is no mode to read.
#[cfg(not(unix))]
fn refuse_loose_permissions(_: &Path, _: &fs::Metadata) -> Result<(), SecretError> {
    Ok(())
}

/// Makes the file, unless the name is taken: says whether it did.
fn create(path: &Path, text: &str) -> io::Result<bool> {
    let directory = directory_of(path);
    let temporary = temporary_beside(path, directory)?;
    let linked = write_private(&temporary, text).and_then(|()| fs::hard_link(&temporary, path));
    let removed = fs::remove_file(&temporary);
    match linked {
        Ok(()) => removed?,
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => return Ok(false),
        Err(e) => return Err(e),
    }
    sync_directory(directory)?;
    Ok(true)
}

fn temporary_beside(path: &Path, directory: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidFilename)?;
    let unique: u64 = rand::random();
    Ok(directory.join(format!(".{}.{unique:016x}.new", name.to_string_lossy())))
}

fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// Makes the new name itself durable, not only the content.
#[cfg(unix)]
fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// Elsewhere a directory cannot be opened as a file; its file system journals names.
#[cfg(not(unix))]
fn sync_directory(_: &Path) -> io::Result<()> {
    Ok(())
}
