//! `--trial`: a complete cluster on this machine for somebody who wants to see it work. One process runs both
//! trackers, in a directory that it makes and tidies up again.
//!
//! Removes only what trackers and clients keep for themselves. Files that people put or fetched there stay.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use common::file_names::{CLIENT_LOCK, CLUSTER_SECRET, DEVICE_KEY, TRACKER_INFO};
use common::secret::check_directory;

use crate::config::{Arguments, Refused};
use crate::server::{Config, Server};

/// Where a trial is, unless `--data-dir` says otherwise.
const DIRECTORY: &str = "trial";
/// Held locked while the trial runs; what is left of one that was killed is known by it.
const MARKER: &str = "trial.lock";
/// Where trackers and clients keep their things, in the directory of whoever started them.
const DATA: &str = "data";

/// A running trial.
#[derive(Debug)]
pub(crate) struct Trial {
    directory: PathBuf,
    /// Held while it runs.
    _marker: File,
    /// Whether an earlier one had been killed there, and what it left is removed.
    pub(crate) follows_another: bool,
    /// Both trackers.
    pub(crate) servers: Vec<Server>,
}

impl Trial {
    /// Makes the directory and starts both trackers.
    ///
    /// # Errors
    /// When the directory is not free for it, or a tracker does not start.
    pub(crate) async fn start(arguments: &Arguments) -> Result<Self, Refused> {
        let directory = arguments.data_dir.clone().unwrap_or_else(|| DIRECTORY.into());
        let unusable = |source| Refused::Trial { directory: directory.clone(), source };
        create_private(&directory).map_err(unusable)?;
        let directory = directory.canonicalize().map_err(unusable)?;
        check_directory(&directory).map_err(|e| unusable(io::Error::other(e)))?;
        let (marker, follows_another) = claim(&directory).map_err(unusable)?;
        let list: String = free_addresses().map_err(unusable)?.iter().map(|a| format!("{a}\n")).collect();
        fs::write(directory.join(TRACKER_INFO), list).map_err(unusable)?;
        let mut trial = Self { directory, _marker: marker, follows_another, servers: Vec::new() };
        for number in 1..=2 {
            match trial.start_tracker(arguments, number).await {
                Ok(server) => trial.servers.push(server),
                Err(refused) => {
                    trial.stop().await?;
                    return Err(refused);
                }
            }
        }
        Ok(trial)
    }

    async fn start_tracker(&self, arguments: &Arguments, number: u16) -> Result<Server, Refused> {
        let tracker = Arguments {
            tracker_info: Some(self.directory.join(TRACKER_INFO)),
            tracker_no: Some(number),
            cluster_secret: None,
            data_dir: Some(self.directory.join(DATA).join(format!("tracker-{number}"))),
            ..arguments.clone()
        };
        let config: Config = tracker.configure()?;
        Ok(Server::bind(config).await?)
    }

    /// What the person who started it should know.
    pub(crate) fn welcome(&self) -> String {
        let quoted = |path: &Path| {
            let path = path.to_string_lossy().into_owned();
            shlex::try_quote(&path).map(|q| q.into_owned()).unwrap_or(path)
        };
        let (here, client) = (self.directory.join("alice"), beside_us("client"));
        format!(
            "A trial in {}: both trackers run in this process, and `quit` tidies up what they keep.\n\
             This line, in another terminal, starts a client; take another name for each person:\n    \
             mkdir -p {here} && cd {here} && {} 127.0.0.1:0 ../{TRACKER_INFO}",
            quoted(&self.directory),
            quoted(&client),
            here = quoted(&here),
        )
    }

    /// Stops both trackers and tidies up; what people put there and is therefore left.
    ///
    /// # Errors
    /// When something cannot be removed.
    pub(crate) async fn stop(self) -> Result<Option<PathBuf>, Refused> {
        futures::future::join_all(self.servers.iter().map(Server::stop)).await;
        let unusable = |source| Refused::Trial { directory: self.directory.clone(), source };
        tidy(&self.directory).map_err(unusable)?;
        remove(fs::remove_file(self.directory.join(MARKER))).map_err(unusable)?;
        // Fails while anything else is there.
        Ok(fs::remove_dir(&self.directory).err().map(|_| self.directory))
    }
}

#[cfg(unix)]
fn create_private(directory: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)
}

#[cfg(not(unix))]
fn create_private(directory: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)
}

/// Takes the directory, and tidies up after a trial that was killed there, which is told. Trackers of another kind are left
/// alone, and so is all while a client of that trial runs.
fn claim(directory: &Path) -> io::Result<(File, bool)> {
    let path = directory.join(MARKER);
    let was_trial = path.exists();
    if let Some(other) =
        [TRACKER_INFO, CLUSTER_SECRET, DATA].into_iter().find(|n| !was_trial && directory.join(n).exists())
    {
        return Err(io::Error::other(format!(
            "`{other}` is there already, and not from a trial; name another --data-dir"
        )));
    }
    if let Some(person) = people(directory)?.into_iter().find(|person| !was_trial && keeps(person)) {
        return Err(io::Error::other(format!(
            "a client keeps its data in {} already, and not for a trial; name another --data-dir",
            person.join(DATA).display()
        )));
    }
    let marker = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
    match marker.try_lock() {
        Ok(()) => {
            if let Some(person) =
                people(directory)?.into_iter().chain([directory.to_owned()]).find(|person| is_running(person))
            {
                return Err(io::Error::other(format!(
                    "a client of an earlier trial still runs in {}; `quit` there, or `shutdown`, ends it, and then a new trial begins",
                    person.display()
                )));
            }
            tidy(directory).map(|()| (marker, was_trial))
        }
        Err(TryLockError::WouldBlock) => {
            Err(io::Error::other("another trial runs there; use that one, or name another --data-dir"))
        }
        Err(TryLockError::Error(e)) => Err(e),
    }
}

/// Removes what the trackers keep, and what clients in directories within keep, with the lists that invitations have brought.
fn tidy(directory: &Path) -> io::Result<()> {
    let trackers = fs::read_to_string(directory.join(TRACKER_INFO)).unwrap_or_default();
    let is_of_trial = |list: &Path| {
        let is_file = list.symlink_metadata().is_ok_and(|m| m.is_file());
        let names = |text: String| !trackers.is_empty() && trackers.lines().all(|t| text.lines().any(|line| line == t));
        is_file && fs::read_to_string(list).is_ok_and(names)
    };
    for file in [TRACKER_INFO, CLUSTER_SECRET] {
        remove(fs::remove_file(directory.join(file)))?;
    }
    remove(fs::remove_dir_all(directory.join(DATA)))?;
    for person in people(directory)? {
        let data = person.join(DATA);
        for kept in fs::read_dir(&data)? {
            let kept = kept?;
            if is_made_by_client(&kept) {
                remove(fs::remove_dir_all(kept.path()))?;
            }
        }
        if is_of_trial(&person.join(TRACKER_INFO)) {
            remove(fs::remove_file(person.join(TRACKER_INFO)))?;
        }
        // These stay if anything else is in them.
        let _ = fs::remove_dir(&data).and_then(|()| fs::remove_dir(&person));
    }
    Ok(())
}

/// Directories within that have one for data. A link leads elsewhere, and what is there is not the trial's.
fn people(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let is_directory = |path: &Path| path.symlink_metadata().is_ok_and(|m| m.is_dir());
    let within = fs::read_dir(directory)?.map(|entry| entry.map(|e| e.path())).collect::<io::Result<Vec<_>>>()?;
    Ok(within.into_iter().filter(|person| is_directory(person) && is_directory(&person.join(DATA))).collect())
}

/// Whether a client keeps something there.
fn keeps(person: &Path) -> bool {
    fs::read_dir(person.join(DATA)).is_ok_and(|mut kept| kept.any(|entry| entry.is_ok_and(|e| is_made_by_client(&e))))
}

/// Whether a client that keeps its things there is running: it holds a lock.
fn is_running(person: &Path) -> bool {
    let Ok(kept) = fs::read_dir(person.join(DATA)) else { return false };
    let is_held = |entry: fs::DirEntry| {
        let lock = File::open(entry.path().join(CLIENT_LOCK));
        is_named_as_clients(&entry) && lock.is_ok_and(|lock| matches!(lock.try_lock(), Err(TryLockError::WouldBlock)))
    };
    kept.flatten().any(is_held)
}

/// Whether a client has made it: the name alone may be that of anybody's folder.
fn is_made_by_client(kept: &fs::DirEntry) -> bool {
    let is_file = |name| kept.path().join(name).symlink_metadata().is_ok_and(|m| m.is_file());
    let is_directory = kept.file_type().is_ok_and(|t| t.is_dir());
    is_named_as_clients(kept) && is_directory && [DEVICE_KEY, CLIENT_LOCK].into_iter().all(is_file)
}

fn is_named_as_clients(kept: &fs::DirEntry) -> bool {
    kept.file_name().as_encoded_bytes().starts_with(b"client-")
}

/// What is not there is removed.
fn remove(removed: io::Result<()>) -> io::Result<()> {
    removed.or_else(|e| if e.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(e) })
}

/// Addresses for both trackers that nobody uses at this moment.
fn free_addresses() -> io::Result<Vec<SocketAddr>> {
    // Held together, so that they differ.
    let listeners = (0..2).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<io::Result<Vec<_>>>()?;
    listeners.iter().map(TcpListener::local_addr).collect()
}

/// The program that was installed with this one; else whatever the shell finds under that name.
fn beside_us(name: &str) -> PathBuf {
    let beside = std::env::current_exe().ok().map(|us| us.with_file_name(name));
    beside.filter(|path| path.is_file()).unwrap_or_else(|| name.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn as_client_makes(directory: &Path) {
        fs::create_dir_all(directory).expect("made");
        [DEVICE_KEY, CLIENT_LOCK].into_iter().for_each(|name| fs::write(directory.join(name), "x").expect("written"));
    }

    #[test]
    fn only_what_programs_keep_is_tidied_up() {
        let dir = tempfile::tempdir().expect("directory");
        let at = |path: &str| dir.path().join(path);
        for kept in ["data/tracker-1", "alice/data/client-127.0.0.1-0", "bob/data/client-127.0.0.1-0", "bob/data/other"]
        {
            fs::create_dir_all(at(kept)).expect("made");
        }
        for file in [TRACKER_INFO, CLUSTER_SECRET, "bob/results.tar", "data/tracker-1/tracker.db"] {
            fs::write(at(file), "x").expect("written");
        }
        for client in ["alice", "bob"] {
            as_client_makes(&at(client).join("data/client-127.0.0.1-0"));
        }
        fs::write(at("bob/tracker_info.txt"), "# from an invitation\nx\ncluster y\n").expect("written");
        let other = claim(dir.path()).expect_err("trackers that are no trial's").to_string();
        assert!(other.contains("tracker_info.txt") && other.contains("--data-dir"), "{other}");
        assert!(at(TRACKER_INFO).exists());
        fs::write(at(MARKER), "").expect("written");
        let client = File::open(at("bob/data/client-127.0.0.1-0/lock")).expect("opened");
        client.lock().expect("locked");
        let runs = claim(dir.path()).expect_err("a client runs").to_string();
        assert!(runs.contains("bob") && at(TRACKER_INFO).exists() && at("alice").exists(), "{runs}");
        drop(client);
        fs::create_dir_all(at("data/client-127.0.0.1-1")).expect("made");
        let client = File::create(at("data/client-127.0.0.1-1/lock")).expect("made");
        client.lock().expect("locked");
        assert!(claim(dir.path()).is_err() && at(TRACKER_INFO).exists(), "in the trial's own directory");
        drop(client);
        let (held, follows_another) = claim(dir.path()).expect("what a killed trial left");
        assert!(follows_another && !at("bob/tracker_info.txt").exists());
        assert!(
            !at(TRACKER_INFO).exists() && !at(CLUSTER_SECRET).exists() && !at(DATA).exists() && !at("alice").exists()
        );
        assert!(at("bob/results.tar").exists() && at("bob/data/other").exists());
        assert!(!at("bob/data/client-127.0.0.1-0").exists());
        assert!(claim(dir.path()).expect_err("in use").to_string().contains("another trial"));
        drop(held);
    }

    #[test]
    fn what_clients_kept_before_or_elsewhere_is_left_alone() {
        let dir = tempfile::tempdir().expect("directory");
        let (trial, elsewhere) = (dir.path().join("trial"), dir.path().join("elsewhere/data/client-0.0.0.0-7000"));
        let own = trial.join("alice/data/client-127.0.0.1-0");
        [&own, &elsewhere].into_iter().for_each(|kept| as_client_makes(kept));
        let refused = claim(&trial).expect_err("a client's own directory").to_string();
        assert!(refused.contains("alice") && refused.contains("--data-dir"), "{refused}");
        assert!(own.join("device.key").exists() && !trial.join(MARKER).exists());
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink(dir.path().join("elsewhere"), trial.join("bob")).expect("linked");
            fs::write(trial.join(MARKER), "").expect("written");
            claim(&trial).expect("what a killed trial left");
            assert!(!own.exists() && elsewhere.join("device.key").exists());
        }
    }

    #[test]
    fn a_folder_that_is_only_named_as_a_clients_is_left_alone() {
        let dir = tempfile::tempdir().expect("directory");
        let data = dir.path().join("alice/data");
        let (client, notes, key) =
            (data.join("client-127.0.0.1-0"), data.join("client-notes"), data.join("client-keys"));
        as_client_makes(&client);
        for folder in [&notes, &key] {
            fs::create_dir_all(folder).expect("made");
        }
        fs::write(notes.join("monday.txt"), "x").expect("written");
        fs::write(key.join(DEVICE_KEY), "x").expect("written");
        tidy(dir.path()).expect("tidied up");
        assert!(notes.join("monday.txt").exists() && key.join(DEVICE_KEY).exists() && !client.exists());
        // Nor do they keep a trial from being begun there.
        assert!(claim(dir.path()).is_ok());
        #[cfg(unix)]
        {
            as_client_makes(&dir.path().join("elsewhere"));
            std::os::unix::fs::symlink(dir.path().join("elsewhere"), &client).expect("linked");
            tidy(dir.path()).expect("tidied up");
            assert!(client.join(DEVICE_KEY).exists(), "a link is a person's");
        }
    }
}
