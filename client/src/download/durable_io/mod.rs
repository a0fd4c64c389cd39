//! What is done to the disk for an unfinished download, in the few steps whose order matters when the power fails.
//!
//! Each does what its name says, and nothing else. Tests see the steps as they happen, try what a disk may look
//! like when the power fails between any two of them, and let them fail.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use rustix::fs::FallocateFlags;
use rustix::io::Errno;

#[cfg(test)]
pub(crate) mod fault;
#[cfg(test)]
pub(crate) mod seen;

/// Writes all of `bytes` at `at`.
#[cfg_attr(test, track_caller)]
pub(crate) fn write_at(file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
    #[cfg(test)]
    fault::check_write(file)?;
    file.write_all_at(bytes, at)?;
    #[cfg(test)]
    seen::note(file, seen::Step::Write { at, bytes: bytes.to_vec() });
    Ok(())
}

/// Cuts or extends the file.
#[cfg_attr(test, track_caller)]
pub(crate) fn set_len(file: &File, len: u64) -> io::Result<()> {
    file.set_len(len)?;
    #[cfg(test)]
    seen::note(file, seen::Step::SetLen(len));
    Ok(())
}

/// Reserves room for `len` bytes. A file system that cannot do this gives a sparse file.
#[cfg_attr(test, track_caller)]
pub(crate) fn allocate(file: &File, len: u64) -> io::Result<()> {
    if len == 0 {
        return Ok(());
    }
    let done = match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, len) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => file.set_len(len),
        Err(Errno::FBIG) => {
            Err(io::Error::new(io::ErrorKind::FileTooLarge, "the file system cannot hold so large a file"))
        }
        done => Ok(done?),
    };
    #[cfg(test)]
    seen::note(file, seen::Step::SetLen(len));
    done
}

/// Makes the content durable, and as much of the metadata as it takes to read it.
#[cfg_attr(test, track_caller)]
pub(crate) fn sync_data(file: &File) -> io::Result<()> {
    #[cfg(test)]
    fault::check_sync(file)?;
    file.sync_data()?;
    #[cfg(test)]
    seen::note(file, seen::Step::Sync);
    Ok(())
}

/// Makes content and metadata durable.
#[cfg_attr(test, track_caller)]
pub(crate) fn sync_all(file: &File) -> io::Result<()> {
    #[cfg(test)]
    fault::check_sync(file)?;
    file.sync_all()?;
    #[cfg(test)]
    seen::note(file, seen::Step::Sync);
    Ok(())
}

/// Makes everything durable that was written in the file system of `file`: where that is many files, one call for all.
#[cfg_attr(test, track_caller)]
pub(crate) fn sync_file_system(file: impl rustix::fd::AsFd) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    rustix::fs::syncfs(file)?;
    // It may return before all is written, where there is nothing better.
    #[cfg(not(target_os = "linux"))]
    {
        let _ = file;
        rustix::fs::sync();
    }
    Ok(())
}

/// Makes durable which names there are in an open directory.
#[cfg_attr(test, track_caller)]
pub(crate) fn sync_names(directory: &File) -> io::Result<()> {
    #[cfg(test)]
    seen::note_names(directory);
    sync_all(directory)
}
