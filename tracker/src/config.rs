//! Arguments and files to a configuration; what is wrong with them in one sentence.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use common::address::HostPort;
use common::escape::Escaped;
use common::file_names::{CLUSTER_SECRET, TRACKER_INFO};
use common::secret::{ClusterKey, ClusterPin, ClusterSecret, SecretError};
use common::tracker_info::{TrackerInfo, TrackerInfoError};

use crate::admission::Limits;
pub use crate::arguments::Arguments;
use crate::quota::Quota;
use crate::server::{Config, StartError};
use crate::store::BackupError;

/// Files that the process needs besides its connections: the database, its log, the terminal.
const OTHER_FILES: u64 = 128;

/// Why the tracker does not start.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The list of trackers.
    #[error(transparent)]
    List(#[from] TrackerInfoError),
    /// A number that the list does not have.
    #[error("{} lists {listed} tracker(s), and none has number {number}; numbers count from 1", Escaped(&.path.to_string_lossy()))]
    Number {
        /// The list.
        path: PathBuf,
        /// What was asked for.
        number: u16,
        /// How many there are.
        listed: usize,
    },
    /// The machine's own name means nothing.
    #[error("{}, tracker {number}: {source}; correct the name, or write the address", Escaped(&.path.to_string_lossy()))]
    Lookup {
        /// The list.
        path: PathBuf,
        /// Which tracker of it.
        number: u16,
        /// Why.
        source: io::Error,
    },
    /// More trackers than can agree.
    #[error(
        "{} lists {listed} trackers, and this release synchronises one or two: names are given by two votes; \
         remove the others from the list", Escaped(&.path.to_string_lossy())
    )]
    TooMany {
        /// The list.
        path: PathBuf,
        /// How many there are.
        listed: usize,
    },
    /// The list pins another key.
    #[error(
        "{} pins the cluster {pinned}, and {} is the secret of {ours}; use the right secret, or correct the list",
        Escaped(&.list.to_string_lossy()), Escaped(&.secret.to_string_lossy())
    )]
    Pin {
        /// The list.
        list: PathBuf,
        /// What it says.
        pinned: ClusterPin,
        /// The secret's file.
        secret: PathBuf,
        /// What comes of it.
        ours: ClusterPin,
    },
    /// The secret.
    #[error("the cluster's secret: {0}")]
    Secret(#[from] SecretError),
    /// No trial.
    #[error("cannot start a trial in {}: {source}", Escaped(&.directory.to_string_lossy()))]
    Trial {
        /// Where it would be.
        directory: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// No backup.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// Anything later.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The runtime.
    #[error("cannot start: {0}")]
    System(#[from] io::Error),
}

impl Refused {
    /// 2 for what was asked wrongly, 1 for what went wrong.
    pub const fn exit_status(&self) -> u8 {
        match self {
            Self::List(_) | Self::Number { .. } | Self::Lookup { .. } | Self::Pin { .. } | Self::TooMany { .. } => 2,
            Self::Secret(_) | Self::Trial { .. } | Self::Backup(_) | Self::Start(_) | Self::System(_) => 1,
        }
    }
}

impl Arguments {
    /// The list of trackers. There is always one, except for a trial, which makes its own.
    fn list(&self) -> &Path {
        self.tracker_info.as_deref().unwrap_or(Path::new(TRACKER_INFO))
    }

    /// Which tracker of the list this is.
    fn number(&self) -> u16 {
        self.tracker_no.unwrap_or_default()
    }

    /// Where the database is.
    pub fn data_dir(&self) -> PathBuf {
        self.data_dir.clone().unwrap_or_else(|| PathBuf::from(format!("data/tracker-{}", self.number())))
    }

    fn secret_path(&self) -> PathBuf {
        let beside = || self.list().parent().unwrap_or(Path::new("")).join(CLUSTER_SECRET);
        self.cluster_secret.clone().unwrap_or_else(beside)
    }

    /// Where this tracker listens. Blocks while a name is looked up.
    fn address(&self, info: &TrackerInfo) -> Result<SocketAddr, Refused> {
        let listed = info.address_of(self.number().into()).ok_or_else(|| Refused::Number {
            path: self.list().to_owned(),
            number: self.number(),
            listed: info.trackers.len(),
        })?;
        let unknown = |source| Refused::Lookup { path: self.list().to_owned(), number: self.number(), source };
        let found = listed.resolve_now().map_err(unknown)?;
        // A name may have addresses that are not this machine's.
        let ours = found.iter().find(|a| TcpListener::bind((a.ip(), 0)).is_ok());
        Ok(*ours.or(found.first()).ok_or_else(|| unknown(io::ErrorKind::NotFound.into()))?)
    }

    /// The other tracker of the list, if there is one.
    fn sibling(&self, info: &TrackerInfo) -> Result<Option<(u16, HostPort)>, Refused> {
        match info.trackers.as_slice() {
            [_] => Ok(None),
            [first, second] => Ok(Some(if self.number() == 1 { (2, second.clone()) } else { (1, first.clone()) })),
            all => Err(Refused::TooMany { path: self.list().to_owned(), listed: all.len() }),
        }
    }

    fn key(&self, info: &TrackerInfo) -> Result<ClusterKey, Refused> {
        let secret = self.secret_path();
        let (loaded, created) = ClusterSecret::load_or_create(&secret)?;
        if created {
            tracing::info!("made the cluster's secret, {}", secret.display());
        }
        let key = loaded.cluster_key();
        let ours = key.public().pin();
        match info.pin {
            Some(pinned) if pinned != ours => Err(Refused::Pin { list: self.list().to_owned(), pinned, secret, ours }),
            _ => Ok(key),
        }
    }

    /// Reads the list and the secret, which is made if it is missing. Blocks on the disk.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn configure(&self) -> Result<Config, Refused> {
        let info = TrackerInfo::read(self.list())?;
        let listen = self.address(&info)?;
        let key = self.key(&info)?;
        let (number, data_dir) = (self.number(), self.data_dir());
        let limits = within(raise_file_limit(), Limits::default());
        let sibling = self.sibling(&info)?;
        let quota = Quota::times(self.quota_factor);
        let registration = self.registration;
        Ok(Config { limits, sibling, quota, registration, ..Config::new(number, listen, data_dir, key) })
    }
}

/// As many files as the system lets this process open.
#[cfg(unix)]
fn raise_file_limit() -> Option<u64> {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let now = getrlimit(Resource::Nofile);
    let raised = rustix::process::Rlimit { current: now.maximum, maximum: now.maximum };
    if let Err(e) = setrlimit(Resource::Nofile, raised) {
        tracing::debug!("the limit of open files stays at {:?}: {e}", now.current);
    }
    getrlimit(Resource::Nofile).current
}

#[cfg(not(unix))]
fn raise_file_limit() -> Option<u64> {
    None
}

/// The limits that so many files allow; `None` is any number.
fn within(files: Option<u64>, usual: Limits) -> Limits {
    let Some(files) = files else { return usual };
    let allowed = usize::try_from(files.saturating_sub(OTHER_FILES)).unwrap_or(usize::MAX).max(16);
    // A few less than usual nobody misses.
    if allowed < usual.connections / 2 {
        tracing::warn!("at most {allowed} connections: the limit of open files (ulimit -n) is {files}");
    }
    Limits { connections: usual.connections.min(allowed), ..usual }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn arguments(dir: &Path, list: &str, number: &str) -> Arguments {
        let path = dir.join("tracker_info.txt");
        std::fs::write(&path, list).expect("written");
        Arguments::parse_from(["tracker", path.to_str().expect("UTF-8"), number])
    }

    #[test]
    fn the_number_counts_from_one() {
        let dir = tempfile::tempdir().expect("directory");
        let list = "127.0.0.1:5000\n127.0.0.1:5001\n";
        let config = arguments(dir.path(), list, "2").configure().expect("configured");
        assert_eq!((config.number, config.listen.port()), (2, 5001));
        assert_eq!(config.data_dir, Path::new("data/tracker-2"));
        assert!(dir.path().join("cluster.secret").exists());
        for wrong in ["0", "3"] {
            let refused = arguments(dir.path(), list, wrong).configure().expect_err(wrong);
            assert_eq!(refused.exit_status(), 2);
            assert!(refused.to_string().contains("lists 2 tracker(s)"), "{refused}");
        }
    }

    #[test]
    fn a_tracker_may_be_listed_by_name() {
        let dir = tempfile::tempdir().expect("directory");
        let config = arguments(dir.path(), "localhost:5000\nlocalhost:5001\n", "2").configure().expect("configured");
        assert!(config.listen.ip().is_loopback() && config.listen.port() == 5001, "{}", config.listen);
        assert_eq!(config.sibling.map(|(n, a)| (n, a.to_string())), Some((1, "localhost:5000".to_owned())));
        let refused = arguments(dir.path(), "127.0.0.1:1\nno-such-machine.invalid:5000\n", "2").configure();
        let refused = refused.expect_err("RFC 2606");
        assert_eq!(refused.exit_status(), 2);
        for part in ["tracker_info.txt, tracker 2", "`no-such-machine.invalid` cannot be looked up", "correct the name"]
        {
            assert!(refused.to_string().contains(part), "{refused}");
        }
    }

    #[test]
    fn a_list_that_pins_another_cluster_is_refused() {
        let dir = tempfile::tempdir().expect("directory");
        let own = arguments(dir.path(), "127.0.0.1:5000\n", "1").configure().expect("configured").key.public().pin();
        let pinned = format!("127.0.0.1:5000\ncluster {own}\n");
        assert!(arguments(dir.path(), &pinned, "1").configure().is_ok());
        let other = ClusterSecret::generate().cluster_key().public().pin();
        let refused = arguments(dir.path(), &format!("127.0.0.1:5000\ncluster {other}\n"), "1").configure();
        assert!(refused.is_err_and(|e| e.exit_status() == 2 && e.to_string().contains(&own.to_string())));
    }

    #[test]
    fn few_files_mean_few_connections() {
        let usual = Limits::default();
        assert_eq!(within(None, usual), usual);
        assert_eq!(within(Some(1024), usual).connections, 1024 - OTHER_FILES as usize);
        assert_eq!(within(Some(1 << 20), usual), usual);
        assert!(within(Some(0), usual).connections > 0);
    }
}
