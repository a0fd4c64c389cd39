//! Where the socket of a data directory is, and who may open it.
//!
//! Invariant: nobody but the owner of the data directory can connect, at any moment: the socket gets its mode before it gets
//! its name, and each side checks the user of the other. Who holds the lock of the data directory may replace what
//! another left behind.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};

/// Its name in the data directory.
const NAME: &str = "control.sock";
/// Its extension before it has its mode. Not longer than the one it gets.
const NEW: &str = "new";
/// How long nothing is accepted after a failure, as when there are no more file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Where the socket of the client on `data_dir` (canonical) is: there, or where that is too long for a socket, in the
/// user's runtime directory by the hash of the path.
///
/// # Errors
/// When the path is too long and there is no runtime directory.
pub(crate) fn path_for(data_dir: &Path, runtime_dir: Option<&Path>) -> io::Result<PathBuf> {
    let path = data_dir.join(NAME);
    if fits(&path) {
        return Ok(path);
    }
    let hash = blake3::hash(data_dir.as_os_str().as_bytes()).to_hex();
    let elsewhere = runtime_dir.map(|dir| dir.join(format!("shoal-{:.32}.sock", hash.as_str())));
    elsewhere.filter(|path| fits(path)).ok_or_else(|| {
        let text = "its path is too long for a socket, and there is no XDG_RUNTIME_DIR; choose a shorter --data-dir";
        io::Error::new(io::ErrorKind::InvalidInput, text)
    })
}

/// The user's runtime directory (XDG Base Directory Specification).
pub(crate) fn runtime_dir() -> Option<PathBuf> {
    std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|dir| dir.is_absolute())
}

fn fits(path: &Path) -> bool {
    SocketAddr::from_pathname(path).is_ok()
}

/// The listener of a running client. The socket goes away with it.
#[derive(Debug)]
pub(super) struct Listener {
    socket: UnixListener,
    path: PathBuf,
}

impl Listener {
    /// Listens at `path`, in place of whatever is there.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(super) fn bind(path: &Path) -> io::Result<Self> {
        let new = path.with_extension(NEW);
        match fs::remove_file(&new) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            Ok(()) | Err(_) => {}
        }
        let socket = UnixListener::bind(&new)?;
        fs::set_permissions(&new, Permissions::from_mode(0o600))?;
        fs::rename(&new, path)?;
        Ok(Self { socket, path: path.to_owned() })
    }
}

/// Connects to the client at `path`, if that is of the same user: in a runtime directory that others can write, it might be
/// somebody who wants to hear passwords.
///
/// # Errors
/// When nobody listens there, or another user does.
pub(super) async fn connect(path: &Path) -> io::Result<UnixStream> {
    let stream = UnixStream::connect(path).await?;
    is_ours(&stream).then_some(stream).ok_or_else(|| io::Error::other("another user listens there"))
}

/// Whether the process at the other end is of the same user.
fn is_ours(stream: &UnixStream) -> bool {
    match stream.peer_cred() {
        Ok(peer) if peer.uid() == rustix::process::geteuid().as_raw() => true,
        Ok(peer) => {
            tracing::warn!(uid = peer.uid(), "another user is at the other end of a control socket");
            false
        }
        Err(error) => {
            tracing::warn!(%error, "nobody knows who is at the other end of a control socket");
            false
        }
    }
}

impl axum::serve::Listener for Listener {
    type Io = UnixStream;
    type Addr = ();

    async fn accept(&mut self) -> (UnixStream, ()) {
        loop {
            match self.socket.accept().await {
                Ok((peer, _)) if is_ours(&peer) => return (peer, ()),
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(%error, "no connection was accepted at the control socket");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path); // The next one replaces it.
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_path_has_its_socket_in_the_runtime_directory_by_its_hash() {
        let short = Path::new("/home/alice/data/client-127.0.0.1-7000");
        assert_eq!(path_for(short, None).expect("it fits"), short.join("control.sock"));
        let long = |last: &str| PathBuf::from(format!("/{}/{last}", "x".repeat(120)));
        let run = Path::new("/run/user/1000");
        let (a, b) = (path_for(&long("a"), Some(run)).expect("there"), path_for(&long("b"), Some(run)).expect("there"));
        assert!(a.starts_with(run) && a != b, "{}", a.display());
        assert_eq!(path_for(&long("a"), None).expect_err("nowhere").kind(), io::ErrorKind::InvalidInput);
    }

    #[tokio::test]
    async fn a_socket_is_private_replaces_a_stale_one_and_goes_away() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join(NAME);
        fs::write(&path, "left behind").expect("written");
        let listener = Listener::bind(&path).expect("bound");
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        UnixStream::connect(&path).await.expect("it listens");
        drop(listener);
        assert!(!path.exists());
    }
}
