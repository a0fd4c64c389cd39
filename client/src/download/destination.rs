//! Where a download goes: a directory that was opened once, and a name in it.
//!
//! Invariant: nothing outside that directory is ever touched, because every step names one path component
//! relative to the open directory and follows no link. What exists is never replaced unless the user asked
//! for it. The unfinished file is made exclusively and is its owner's alone; no mode, owner or link is taken
//! from the network.

use std::ffi::{OsStr, OsString};
use std::fs::{File, Permissions};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use cap_std::ambient_authority;
use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt};
use common::escape::Escaped;
use common::id::{FileId, FileName, MAX_FILE_NAME_BYTES};
use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::durable_io;
use crate::error::{Error, shown};
use crate::own_files;
use crate::transfer::beneath::rename_free;

/// Names tried for the unfinished file, when those before are taken.
const ATTEMPTS: u32 = 100;

/// A directory and the name that the finished file gets in it.
#[derive(Debug)]
pub(crate) struct Destination {
    dir: Dir,
    dir_path: PathBuf,
    name: OsString,
}

impl Destination {
    /// What the user means by `path`: inside of it under the share's name if it is a directory (or
    /// ends with a slash), else exactly this file in a directory that exists. Blocks on the disk.
    ///
    /// # Errors
    /// When there is no such directory, it is where a client or a tracker keeps its things, or the name is one of theirs.
    pub(crate) fn resolve(path: &Path, share: &FileName) -> Result<Self, Error> {
        let means_directory = path.as_os_str().as_bytes().ends_with(b"/");
        let (dir, name) = if path.is_dir() {
            (path.to_owned(), OsString::from(share.as_str()))
        } else if means_directory {
            return Err(Error::InvalidArgument(format!("{} is not a directory; create it first", shown(path))));
        } else {
            split(path)?
        };
        let destination = Self::open(&dir, name)?;
        own_files::refuse_at(&destination.path())?;
        let name = destination.name().to_string_lossy();
        if own_files::is_refused(&name) {
            return Err(Error::InvalidArgument(format!(
                "nothing is put down under the name `{}`, by which clients and trackers know their own keys; write another name \
                 into the destination",
                Escaped(&name)
            )));
        }
        Ok(destination)
    }

    /// Exactly this name in exactly this directory. Blocks on the disk.
    ///
    /// # Errors
    /// When the directory cannot be opened.
    pub(crate) fn open(dir: &Path, name: OsString) -> Result<Self, Error> {
        let no_directory = |e: io::Error| match e.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
                Error::InvalidArgument(format!("there is no directory {}; create it first", shown(dir)))
            }
            _ => Error::from_io("open", dir, e),
        };
        let dir_path = dir.canonicalize().map_err(no_directory)?;
        let dir = Dir::open_ambient_dir(&dir_path, ambient_authority()).map_err(no_directory)?;
        Ok(Self { dir, dir_path, name })
    }

    /// The directory, absolute.
    pub(crate) fn directory(&self) -> &Path {
        &self.dir_path
    }

    /// The finished file's name.
    pub(crate) fn name(&self) -> &OsStr {
        &self.name
    }

    /// The finished file's path.
    pub(crate) fn path(&self) -> PathBuf {
        self.dir_path.join(&self.name)
    }

    /// Refuses a destination that is taken: always by a directory, and by anything unless `force`.
    ///
    /// # Errors
    /// [`Error::DestinationExists`].
    pub(crate) fn check_free(&self, force: bool) -> Result<(), Error> {
        match self.dir.symlink_metadata(&self.name) {
            Ok(m) if m.is_dir() => Err(Error::InvalidArgument(format!("{} is a directory", shown(&self.path())))),
            Ok(_) if !force => Err(Error::DestinationExists(self.path())),
            Ok(_) => Ok(()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(e) => Err(Error::from_io("look at", &self.path(), e)),
        }
    }

    /// Makes a fresh unfinished file: its name, durably, and the file. The name is told to `note` before the file is
    /// made, so that there is never one that nobody knows of.
    ///
    /// # Errors
    /// When it cannot be made, or `note` fails.
    pub(crate) fn create_part(
        &self,
        file_id: FileId,
        note: impl Fn(&OsStr) -> Result<(), Error>,
    ) -> Result<(OsString, File), Error> {
        let failed = |e| Error::from_io("create", &self.path(), e);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(0o600);
        for attempt in 0..ATTEMPTS {
            let name = part_name(&self.name, file_id, attempt);
            if self.dir.symlink_metadata(&name).is_ok() {
                continue;
            }
            note(&name)?;
            match self.dir.open_with(&name, &options) {
                Ok(file) => {
                    self.sync().map_err(failed)?;
                    return Ok((name, file.into_std()));
                }
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(failed(e)),
            }
        }
        Err(failed(io::ErrorKind::AlreadyExists.into()))
    }

    /// Opens the unfinished file of an earlier run.
    ///
    /// # Errors
    /// When it is gone, or is no longer a plain file.
    pub(crate) fn open_part(&self, part: &OsStr) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = File::from(rustix::fs::openat(&self.dir, part, flags, Mode::empty())?);
        if file.metadata()?.is_file() { Ok(file) } else { Err(io::ErrorKind::InvalidInput.into()) }
    }

    /// As [`Destination::create_part`], a fresh folder.
    ///
    /// # Errors
    /// The same.
    pub(crate) fn create_part_folder(
        &self,
        file_id: FileId,
        note: impl Fn(&OsStr) -> Result<(), Error>,
    ) -> Result<(OsString, Dir), Error> {
        let failed = |e| Error::from_io("create", &self.path(), e);
        for attempt in 0..ATTEMPTS {
            let name = part_name(&self.name, file_id, attempt);
            if self.dir.symlink_metadata(&name).is_ok() {
                continue;
            }
            note(&name)?;
            match rustix::fs::mkdirat(&self.dir, &name, Mode::RWXU) {
                Ok(()) => {
                    self.sync().map_err(failed)?;
                    return Ok((name.clone(), self.open_part_folder(&name).map_err(failed)?));
                }
                Err(Errno::EXIST) => {}
                Err(e) => return Err(failed(e.into())),
            }
        }
        Err(failed(io::ErrorKind::AlreadyExists.into()))
    }

    /// Opens the unfinished folder of an earlier run.
    ///
    /// # Errors
    /// When it is gone, or is no folder.
    pub(crate) fn open_part_folder(&self, part: &OsStr) -> io::Result<Dir> {
        open_folder(&self.dir, part)
    }

    /// Opens the folder that is at the destination.
    ///
    /// # Errors
    /// When it is not there, or is no folder.
    pub(crate) fn open_folder(&self) -> io::Result<Dir> {
        open_folder(&self.dir, &self.name)
    }

    /// Whether a folder is at the destination, that may be added to. Refuses one that is taken otherwise: by a file or a link
    /// always, and by a folder unless `allowed`.
    ///
    /// # Errors
    /// [`Error::DestinationExists`].
    pub(crate) fn check_free_for_folder(&self, allowed: bool) -> Result<bool, Error> {
        match self.dir.symlink_metadata(&self.name) {
            Ok(m) if !m.is_dir() => Err(Error::InvalidArgument(format!(
                "{} is no folder; move it away, or choose another destination",
                shown(&self.path())
            ))),
            Ok(_) if !allowed => Err(Error::DestinationExists(self.path())),
            Ok(_) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(Error::from_io("look at", &self.path(), e)),
        }
    }

    /// Gives the folder `files` of the unfinished one the final name, durably, unless something has it.
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`] if something has; else when the system refuses.
    pub(crate) fn commit_folder(&self, part: &Dir, files: &str) -> io::Result<()> {
        rename_free(part, files, &self.dir, &self.name)?;
        self.sync()
    }

    /// Gives `folder`/`name` the final name, durably.
    ///
    /// # Errors
    /// [`Error::DestinationExists`] when something has it and `force` is not set.
    pub(crate) fn commit_from(&self, folder: &Dir, name: &str, force: bool) -> Result<(), Error> {
        let failed = |e: io::Error| match e.kind() {
            io::ErrorKind::AlreadyExists => Error::DestinationExists(self.path()),
            _ => Error::from_io("create", &self.path(), e),
        };
        let renamed = if force {
            rustix::fs::renameat(folder, name, &self.dir, &self.name).map_err(io::Error::from)
        } else {
            rename_free(folder, name, &self.dir, &self.name)
        };
        renamed.and_then(|()| self.sync()).map_err(failed)
    }

    /// The metadata of the finished file, if it is there.
    pub(crate) fn finished(&self) -> Option<std::fs::Metadata> {
        self.open_finished()?.metadata().ok()
    }

    /// The file at the destination, if there is one.
    pub(crate) fn open_finished(&self) -> Option<File> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = File::from(rustix::fs::openat(&self.dir, &self.name, flags, Mode::empty()).ok()?);
        file.metadata().is_ok_and(|m| m.is_file()).then_some(file)
    }

    /// Gives the unfinished file its final name and the mode of any new file, durably.
    ///
    /// # Errors
    /// [`Error::DestinationExists`] when the name is taken and `force` is not set; the unfinished file
    /// is then still there.
    pub(crate) fn commit(&self, part: &OsStr, file: &File, force: bool) -> Result<(), Error> {
        self.check_free(force)?;
        let failed = |e: io::Error| match e.kind() {
            io::ErrorKind::AlreadyExists => Error::DestinationExists(self.path()),
            _ => Error::from_io("create", &self.path(), e),
        };
        file.set_permissions(Permissions::from_mode(0o666 & !umask())).map_err(failed)?;
        self.rename(part, force).map_err(failed)?;
        self.sync().map_err(failed)
    }

    fn rename(&self, part: &OsStr, force: bool) -> io::Result<()> {
        let (dir, name) = (&self.dir, self.name.as_os_str());
        if force {
            return Ok(rustix::fs::renameat(dir, part, dir, name)?);
        }
        match rustix::fs::renameat_with(dir, part, dir, name, RenameFlags::NOREPLACE) {
            // Not every file system knows the flag; a hard link refuses to replace, too.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                rustix::fs::linkat(dir, part, dir, name, AtFlags::empty())?;
                Ok(rustix::fs::unlinkat(dir, part, AtFlags::empty())?)
            }
            done => Ok(done?),
        }
    }

    /// Makes the directory's names durable.
    #[cfg_attr(test, track_caller)]
    fn sync(&self) -> io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        durable_io::sync_names(&File::from(rustix::fs::openat(&self.dir, ".", flags, Mode::empty())?))
    }

    /// Removes the unfinished file or folder, if it is there.
    ///
    /// # Errors
    /// When the system refuses.
    pub(crate) fn remove_part(&self, part: &OsStr) -> io::Result<()> {
        match rustix::fs::unlinkat(&self.dir, part, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(Errno::ISDIR | Errno::PERM) if self.open_part_folder(part).is_ok() => self.dir.remove_dir_all(part),
            Err(e) => Err(e.into()),
        }
    }

    /// Bytes that may still be written in this file system.
    pub(crate) fn room(&self) -> io::Result<u64> {
        let s = rustix::fs::fstatvfs(&self.dir)?;
        Ok(s.f_bavail.saturating_mul(s.f_frsize))
    }

    /// Refuses a destination without room for files of these lengths, in bytes.
    ///
    /// # Errors
    /// [`io::ErrorKind::StorageFull`].
    pub(crate) fn check_room(&self, lengths: impl Iterator<Item = u64>) -> io::Result<()> {
        let s = rustix::fs::fstatvfs(&self.dir)?;
        let unit = s.f_frsize.max(1);
        let (blocks, files) =
            lengths.fold((0u64, 0u64), |(blocks, files), len| (blocks.saturating_add(len.div_ceil(unit)), files + 1));
        // Some file systems do not count files.
        let enough = blocks <= s.f_bavail && (s.f_files == 0 || files <= s.f_favail);
        if enough { Ok(()) } else { Err(io::ErrorKind::StorageFull.into()) }
    }
}

/// A folder in `dir`; a link is none.
fn open_folder(dir: &Dir, name: &OsStr) -> io::Result<Dir> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(Dir::from_std_file(File::from(rustix::fs::openat(dir, name, flags, Mode::empty())?)))
}

/// The directory and the last component of `path`.
fn split(path: &Path) -> Result<(PathBuf, OsString), Error> {
    let name = path.file_name().ok_or_else(|| Error::InvalidArgument(format!("{} names no file", shown(path))))?;
    if name.len() > MAX_FILE_NAME_BYTES {
        return Err(Error::InvalidArgument(format!("the name of {} is longer than 255 bytes", shown(path))));
    }
    let dir = path.parent().filter(|d| !d.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Ok((dir.to_owned(), name.to_owned()))
}

/// `.<name>.<digits>.part`, where the name is cut to what a file system takes.
fn part_name(name: &OsStr, file_id: FileId, attempt: u32) -> OsString {
    let again = if attempt == 0 { String::new() } else { format!("-{attempt}") };
    let tail = format!(".{file_id:.8}{again}.part");
    let mut room = MAX_FILE_NAME_BYTES - 1 - tail.len();
    let bytes = name.as_bytes();
    // Not in the middle of a UTF-8 sequence, which some file systems refuse.
    while room < bytes.len() && bytes[room] & 0xc0 == 0x80 {
        room -= 1;
    }
    let kept = &bytes[..room.min(bytes.len())];
    OsString::from_vec([b".", kept, tail.as_bytes()].concat())
}

/// The process's mask for new files. Read, because asking the system means changing it.
pub(crate) fn umask() -> u32 {
    const USUAL: u32 = 0o022;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|l| l.strip_prefix("Umask:"));
    mask.and_then(|m| u32::from_str_radix(m.trim(), 8).ok()).unwrap_or(USUAL)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::fs;
    use std::io::Write;
    use std::os::unix::fs::symlink;

    fn id() -> FileId {
        FileId::new([0xab; 32])
    }

    fn name(s: &str) -> FileName {
        s.parse().expect("a name")
    }

    fn code(result: Result<impl Sized, Error>) -> &'static str {
        result.err().map_or("ok", |e| e.code())
    }

    #[test]
    fn directories_and_files_are_told_apart() {
        let dir = tempfile::tempdir().expect("a directory");
        let root = dir.path().canonicalize().expect("a path");
        let at = |p: &str| Destination::resolve(&root.join(p), &name("share")).map(|d| d.path());
        assert_eq!(at("").ok(), Some(root.join("share")));
        assert_eq!(at(".").ok(), Some(root.join("share")));
        assert_eq!(at("other").ok(), Some(root.join("other")));
        for bad in ["other/", "missing/file", "missing/"] {
            let error = at(bad).expect_err(bad);
            assert!(error.code() == "invalid_argument" && error.to_string().contains("create it first"), "{error}");
        }
        fs::write(root.join("file"), b"x").expect("written");
        assert_eq!(code(at("file/")), "invalid_argument");
        assert_eq!(code(at("file/below")), "invalid_argument");
        assert_eq!(code(at(&"n".repeat(256))), "invalid_argument");
    }

    #[test]
    fn what_exists_is_not_replaced_unless_asked() {
        let dir = tempfile::tempdir().expect("a directory");
        let d = Destination::resolve(dir.path(), &name("share")).expect("resolved");
        let (part, mut file) = d.create_part(id(), |_| Ok(())).expect("created");
        file.write_all(b"new").expect("written");
        fs::write(d.path(), b"old").expect("written");
        assert_eq!(code(d.check_free(false)), "destination_exists");
        assert_eq!(code(d.commit(&part, &file, false)), "destination_exists");
        // Also when it appears after the check.
        assert_eq!(d.rename(&part, false).map_err(|e| e.kind()), Err(io::ErrorKind::AlreadyExists));
        assert_eq!(fs::read(d.path()).expect("read"), b"old");
        d.commit(&part, &file, true).expect("replaced");
        assert_eq!(fs::read(d.path()).expect("read"), b"new");
        assert_eq!(fs::read_dir(dir.path()).expect("listed").count(), 1);
        assert_eq!(file.metadata().expect("there").permissions().mode() & 0o777, 0o666 & !umask());
        fs::create_dir(dir.path().join("sub")).expect("made");
        let sub = Destination::open(dir.path(), "sub".into()).expect("opened");
        assert_eq!(code(sub.check_free(true)), "invalid_argument");
    }

    #[test]
    fn the_name_of_an_unfinished_file_is_noted_before_there_is_one() {
        let dir = tempfile::tempdir().expect("a directory");
        let d = Destination::resolve(dir.path(), &name("share")).expect("resolved");
        let noted = RefCell::new(Vec::new());
        let note = |part: &OsStr| {
            assert!(!dir.path().join(part).exists());
            noted.borrow_mut().push(part.to_owned());
            Ok(())
        };
        let parts = [(); 2].map(|()| d.create_part(id(), note).expect("created").0);
        assert_eq!(*noted.borrow(), parts, "nor is a name noted that is taken");
        assert_ne!(parts[0], parts[1]);
        d.create_part(id(), |_| Err(Error::InvalidArgument("no".to_owned()))).expect_err("it is not noted");
        assert_eq!(fs::read_dir(dir.path()).expect("listed").count(), 2, "so there is none");
    }

    #[test]
    fn links_that_appear_during_a_download_never_lead_out() {
        let dir = tempfile::tempdir().expect("a directory");
        let (inside, outside) = (dir.path().join("in"), dir.path().join("out"));
        fs::create_dir(&inside).expect("made");
        fs::create_dir(&outside).expect("made");
        fs::write(outside.join("victim"), b"precious").expect("written");
        let d = Destination::resolve(&inside, &name("share")).expect("resolved");

        // The unfinished file's name is taken by a link: another name is used, the link not followed.
        let taken = part_name(OsStr::new("share"), id(), 0);
        symlink(outside.join("victim"), inside.join(&taken)).expect("linked");
        let (part, mut file) = d.create_part(id(), |_| Ok(())).expect("created");
        assert_ne!(part, taken);
        file.write_all(b"content").expect("written");
        assert!(d.open_part(&taken).is_err(), "a link is not a part");

        // The directory itself is swapped for a link.
        fs::rename(&inside, dir.path().join("moved")).expect("renamed");
        symlink(&outside, &inside).expect("linked");
        d.commit(&part, &file, false).expect("committed");
        assert_eq!(fs::read(dir.path().join("moved/share")).expect("read"), b"content");
        assert_eq!(fs::read_dir(&outside).expect("listed").count(), 1);

        // The final name is a link: it is replaced, not followed.
        let d = Destination::resolve(&dir.path().join("moved"), &name("linked")).expect("resolved");
        symlink(outside.join("victim"), d.path()).expect("linked");
        let (part, file) = d.create_part(id(), |_| Ok(())).expect("created");
        assert_eq!(code(d.commit(&part, &file, false)), "destination_exists");
        d.commit(&part, &file, true).expect("committed");
        assert_eq!(fs::read(outside.join("victim")).expect("read"), b"precious");
    }

    #[test]
    fn long_names_still_get_an_unfinished_file() {
        let dir = tempfile::tempdir().expect("a directory");
        for long in ["n".repeat(255), "ü".repeat(127), "データ".repeat(28)] {
            let d = Destination::resolve(dir.path(), &name(&long)).expect("resolved");
            let (part, file) = d.create_part(id(), |_| Ok(())).expect("created");
            assert!(part.len() <= 255 && part.to_str().is_some_and(|p| p.ends_with(".abababab.part")), "{part:?}");
            d.commit(&part, &file, false).expect("committed");
            assert!(d.path().is_file());
        }
    }
}
