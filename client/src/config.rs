//! The command line, and what it stands for: the list of trackers, and the data directory that
//! belongs to this process alone.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};

use clap::Parser;
use common::tracker_info::{TrackerInfo, TrackerInfoError};

use crate::error::{Error, shown};
use crate::private_file;
use crate::units;

/// Name of the file whose lock says that the directory is in use.
const LOCK: &str = "lock";

/// Shares files with the members of your groups, and downloads theirs.
///
/// Without -c and -f, and with a terminal on stdin, this is an interactive prompt; type `help` there.
/// Lines that are piped in are run as a script.
#[derive(Debug, Clone, Parser)]
#[command(name = "client", version, max_term_width = 100)]
pub struct Args {
    /// Where this client serves pieces to others; port 0 lets the system choose.
    #[arg(value_name = "IP:PORT")]
    pub listen: SocketAddr,
    /// The list of trackers: a text file with one IP:PORT a line.
    #[arg(value_name = "TRACKER_INFO")]
    pub tracker_info: PathBuf,
    /// Run this line, then the next -c, then leave.
    #[arg(short = 'c', long = "command", value_name = "LINE", allow_hyphen_values = true)]
    pub commands: Vec<String>,
    /// Run the lines of a file (after those of -c), then leave.
    #[arg(short = 'f', long = "file", value_name = "SCRIPT")]
    pub file: Option<PathBuf>,
    /// One JSON object per command on stdout, nothing else there.
    #[arg(long)]
    pub json: bool,
    /// After -c, -f or the end of piped input: stay and seed until SIGINT or SIGTERM.
    #[arg(long)]
    pub stay: bool,
    /// Do not stop at the first failing line.
    #[arg(long)]
    pub keep_going: bool,
    /// Where keys, known trackers, shares, unfinished downloads and the login are kept
    /// (default: `./data/client-<IP>-<PORT>`)
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Send at most so many bytes per second to others, for example 500K or 10M.
    #[arg(long, value_name = "RATE", value_parser = units::parse_rate)]
    pub limit_up: Option<NonZeroU64>,
    /// Fetch at most so many bytes per second from others.
    #[arg(long, value_name = "RATE", value_parser = units::parse_rate)]
    pub limit_down: Option<NonZeroU64>,
}

impl Args {
    /// The list of trackers.
    ///
    /// # Errors
    /// With file, line and reason.
    pub fn read_tracker_info(&self) -> Result<TrackerInfo, TrackerInfoError> {
        TrackerInfo::read(&self.tracker_info)
    }

    /// Where this client keeps its things: a directory of its own for each address.
    pub fn data_dir(&self) -> PathBuf {
        self.data_dir.clone().unwrap_or_else(|| {
            // Colons of IPv6 are not for file names.
            let ip = self.listen.ip().to_string().replace(':', "_");
            PathBuf::from(format!("data/client-{ip}-{}", self.listen.port()))
        })
    }
}

/// A data directory that no other process uses. Released when dropped.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Makes the directory (mode 0700) if it is not there, and takes it.
    ///
    /// # Errors
    /// When it cannot be made, or another process has it.
    pub fn open(path: &Path) -> Result<Self, Error> {
        create_private(path)?;
        // Absolute, so that it stays the same whatever becomes of the working directory.
        let path = path.canonicalize().map_err(|e| Error::from_io("find", path, e))?;
        let file = path.join(LOCK);
        let failed = |e| Error::from_io("lock", &file, e);
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let lock = options.open(&file).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {
                private_file::tidy(&path).map_err(|e| Error::from_io("tidy", &path, e))?;
                Ok(Self { path, _lock: lock })
            }
            Err(TryLockError::WouldBlock) => Err(Error::InvalidArgument(format!(
                "the data directory {} is in use by another client; stop that one, or choose another IP:PORT or --data-dir",
                shown(&path)
            ))),
            Err(TryLockError::Error(e)) => Err(failed(e)),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn create_private(path: &Path) -> Result<(), Error> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path).map_err(|e| Error::from_io("create the data directory", path, e))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(line: &str) -> Result<Args, clap::Error> {
        Args::try_parse_from(std::iter::once("client").chain(line.split_whitespace()))
    }

    #[test]
    fn the_data_directory_tells_addresses_apart() {
        let dir = |line: &str| args(line).expect("good arguments").data_dir();
        assert_eq!(dir("127.0.0.1:7000 t.txt"), Path::new("data/client-127.0.0.1-7000"));
        assert_eq!(dir("[fe80::1]:7000 t.txt"), Path::new("data/client-fe80__1-7000"));
        assert_eq!(dir("0.0.0.0:0 t.txt --data-dir d"), Path::new("d"));
    }

    #[test]
    fn options_are_read() {
        let a = args("127.0.0.1:0 t.txt -c whoami -c -x --limit-up 10M --stay --json --keep-going").expect("good");
        assert_eq!(a.commands, ["whoami", "-x"]);
        assert_eq!((a.limit_up.map(NonZeroU64::get), a.stay, a.json, a.keep_going), (Some(10 << 20), true, true, true));
        for bad in ["", "127.0.0.1:0", "localhost:1 t.txt", "127.0.0.1 t.txt", "127.0.0.1:0 t.txt --limit-up 0"] {
            assert!(args(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_second_process_is_refused_by_name() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("a/b");
        let first = DataDir::open(&path).expect("free");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(fs::metadata(&path).expect("made").permissions().mode() & 0o777, 0o700);
        }
        let refused = DataDir::open(&path).expect_err("taken").to_string();
        assert!(refused.contains(&shown(first.path())), "{refused}");
        drop(first);
        DataDir::open(&path).expect("free again");
    }
}
