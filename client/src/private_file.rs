//! Small files that belong to the user alone: mode 0600, and complete or absent at their path.
//!
//! A file is written under a temporary name in the same directory, synced, and renamed over the old
//! one, so that a crash leaves either the old content or the new. Blocks on the disk.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use crate::error::Error;

/// Puts `content` at `path`, in place of what was there.
///
/// # Errors
/// When the file system refuses; the old file is then still there.
pub(crate) fn replace(path: &Path, content: &[u8]) -> Result<(), Error> {
    let temporary = path.with_extension(format!("{:016x}.new", rand::random::<u64>()));
    let written = write(&temporary, content).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        let _ = fs::remove_file(&temporary); // Best effort: the error that counts is the first one.
    }
    written.and_then(|()| sync_parent(path)).map_err(|e| Error::from_io("write", path, e))
}

/// The text at `path`, or `None` if there is no such file.
///
/// # Errors
/// When it cannot be read.
pub(crate) fn read(path: &Path) -> Result<Option<String>, Error> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::from_io("read", path, e)),
    }
}

/// The text at `path` as [`read`] gives it, if nobody else may read it.
///
/// # Errors
/// When others may, or it cannot be read.
pub(crate) fn read_secret(path: &Path) -> Result<Option<String>, Error> {
    let text = read(path)?;
    #[cfg(unix)]
    if text.is_some() {
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::metadata(path).map_err(|e| Error::from_io("read", path, e))?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            let path = crate::error::shown(path);
            return Err(Error::InvalidArgument(format!(
                "others may read {path} (mode {mode:03o}), which holds a key; `chmod 600` it, or remove it: a new one is \
                 made at the next start"
            )));
        }
    }
    Ok(text)
}

/// Removes the file at `path`, if there is one.
///
/// # Errors
/// When the file system refuses.
pub(crate) fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::from_io("remove", path, e)),
        _ => sync_parent(path).map_err(|e| Error::from_io("remove", path, e)),
    }
}

/// Removes from `directory` what a [`replace`] left that was killed in the middle. For whoever is alone there.
///
/// # Errors
/// When the file system refuses.
pub(crate) fn tidy(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let is_left_over = name
            .strip_suffix(".new")
            .and_then(|name| name.rsplit_once('.'))
            .is_some_and(|(_, random)| random.len() == 16 && random.bytes().all(|b| b.is_ascii_hexdigit()));
        if is_left_over {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

/// Makes the name itself durable.
fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(directory) if cfg!(unix) && !directory.as_os_str().is_empty() => File::open(directory)?.sync_all(),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_kill_left_is_removed_and_nothing_else() {
        let dir = tempfile::tempdir().expect("a directory");
        let names = ["1.json", "1.journal", "brand.new", "1.0123456789abcdef", "1.0123456789abcdef.new"];
        names.iter().for_each(|name| fs::write(dir.path().join(name), b"x").expect("written"));
        tidy(dir.path()).expect("tidied");
        let left = |name: &&&str| dir.path().join(name).exists();
        assert_eq!(names.iter().filter(left).collect::<Vec<_>>(), names[..4].iter().collect::<Vec<_>>());
    }

    #[test]
    fn it_is_replaced_whole_and_private() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("session");
        assert_eq!(read(&path).expect("readable"), None);
        replace(&path, b"one").expect("written");
        replace(&path, b"two").expect("written");
        assert_eq!(read(&path).expect("readable").as_deref(), Some("two"));
        assert_eq!(fs::read_dir(dir.path()).expect("a directory").count(), 1, "no temporary file is left");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(fs::metadata(&path).expect("a file").permissions().mode() & 0o777, 0o600);
        }
        remove(&path).expect("removed");
        remove(&path).expect("nothing to remove is fine");
        assert_eq!(read(&path).expect("readable"), None);
    }
}
