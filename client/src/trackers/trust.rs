//! Which cluster this client trusts, and the file that remembers it (`known_trackers`).
//!
//! The pin of the list of trackers decides, if it has one. Otherwise the cluster that answered first
//! is remembered, and every later contact must show the same key. All trackers of one list are of one
//! cluster. Invariant: once a key is expected, [`Trust::learn`] accepts no other.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use common::address::HostPort;
use common::secret::{ClusterPin, ClusterPublic, check_directory};
use common::tls::{ClusterCertificate, ClusterTrust};
use common::tracker_info::TrackerInfo;
use data_encoding::BASE64;

use crate::error::{Error, shown};
use crate::private_file;

/// Name of the file in the data directory.
const FILE_NAME: &str = "known_trackers";

/// What is expected of every tracker's key.
#[derive(Debug)]
pub(crate) struct Trust {
    pin: Option<ClusterPin>,
    list: PathBuf,
    file: PathBuf,
    known: Mutex<Option<ClusterCertificate>>,
}

/// What a tracker's certificate told us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Learnt {
    /// The cluster that we knew, or whose pin we had.
    Expected,
    /// There was nothing to hold it against; it is remembered from now on.
    FirstContact(ClusterPin),
}

impl Trust {
    /// Reads what is remembered in `data_dir`. `list` is where `info` was read, for messages.
    ///
    /// # Errors
    /// When the file cannot be read or is damaged: it is never silently taken for a first contact.
    pub(crate) fn open(data_dir: &Path, info: &TrackerInfo, list: &Path) -> Result<Self, Error> {
        let file = data_dir.join(FILE_NAME);
        let known = match private_file::read(&file)? {
            None => None,
            Some(text) => {
                check_directory(data_dir).map_err(|e| Error::from_io("use", &file, std::io::Error::other(e)))?;
                Some(parse(&text).ok_or_else(|| damaged(&file))?)
            }
        };
        Ok(Self { pin: info.pin, list: list.to_owned(), file, known: Mutex::new(known) })
    }

    /// What to hold the next tracker against.
    pub(crate) fn expectation(&self) -> ClusterTrust {
        match (self.pin, self.known()) {
            (Some(pin), _) => ClusterTrust::Pinned(pin),
            (None, Some(known)) => ClusterTrust::Known(known),
            (None, None) => ClusterTrust::FirstContact,
        }
    }

    /// The pin that is expected, if any is.
    pub(crate) fn expected(&self) -> Option<ClusterPin> {
        self.pin.or_else(|| self.known().map(|known| known.public().pin()))
    }

    /// The cluster's key, once it is known.
    pub(crate) fn public(&self) -> Option<ClusterPublic> {
        let known = self.known().map(|c| c.public());
        known.filter(|public| self.pin.is_none_or(|pin| pin == public.pin()))
    }

    /// Takes note of the certificate that the tracker at `address` has proven to stand under.
    /// Blocks on the disk when it is new.
    ///
    /// # Errors
    /// [`Error::UntrustedTracker`] when another is expected, also if that has been learnt from a
    /// sibling during this very handshake; or when it cannot be remembered.
    pub(crate) fn learn(&self, address: &HostPort, seen: &ClusterCertificate) -> Result<Learnt, Error> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let expected = self.pin.or_else(|| known.as_ref().map(|c| c.public().pin()));
        let presented = seen.public().pin();
        if let Some(expected) = expected.filter(|e| *e != presented) {
            return Err(self.mismatch(address, expected, presented));
        }
        if known.as_ref() != Some(seen) {
            private_file::replace(&self.file, print(seen).as_bytes())?;
            *known = Some(seen.clone());
        }
        Ok(if expected.is_some() { Learnt::Expected } else { Learnt::FirstContact(presented) })
    }

    /// The error for a tracker that showed another key.
    pub(crate) fn mismatch(&self, address: &HostPort, expected: ClusterPin, presented: ClusterPin) -> Error {
        let remedy = if self.pin.is_some() {
            format!("correct the `cluster` line of {}", shown(&self.list))
        } else {
            format!("remove {}", shown(&self.file))
        };
        Error::UntrustedTracker { address: address.clone(), expected, presented, remedy }
    }

    fn known(&self) -> Option<ClusterCertificate> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn print(certificate: &ClusterCertificate) -> String {
    format!(
        "# The cluster that this client trusts. Without this file the next one that answers is trusted.\n\
         cluster {} {}\n",
        certificate.public().pin(),
        BASE64.encode(certificate.der())
    )
}

fn parse(text: &str) -> Option<ClusterCertificate> {
    let mut lines = text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#'));
    let (line, None) = (lines.next()?, lines.next()) else { return None };
    let [word, pin, der] = line.split_whitespace().collect::<Vec<_>>().try_into().ok()?;
    let certificate = ClusterCertificate::from_der(&BASE64.decode(der.as_bytes()).ok()?)?;
    (word == "cluster" && pin.parse() == Ok(certificate.public().pin())).then_some(certificate)
}

fn damaged(file: &Path) -> Error {
    let reason = "it is damaged; remove it to trust the next cluster that answers";
    Error::from_io("use", file, std::io::Error::other(reason))
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::secret::{ClusterKey, ClusterSecret};
    use common::tls::{DeviceKey, TrackerAcceptor, TrackerConnector};

    fn key() -> ClusterKey {
        ClusterSecret::generate().cluster_key()
    }

    /// The cluster's certificate, as a client sees it.
    async fn certificate(key: &ClusterKey) -> ClusterCertificate {
        let acceptor = TrackerAcceptor::new(key).expect("an acceptor");
        let device = DeviceKey::generate().expect("a key");
        let connector = TrackerConnector::new(&device, ClusterTrust::FirstContact).expect("a connector");
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        let (dialled, accepted) = tokio::join!(connector.connect(ours), acceptor.accept(theirs));
        accepted.expect("a handshake");
        dialled.expect("a handshake").1
    }

    fn open(dir: &Path, pin: Option<ClusterPin>) -> Result<Trust, Error> {
        let info = TrackerInfo { trackers: vec![address()], pin };
        Trust::open(dir, &info, Path::new("list.txt"))
    }

    fn address() -> HostPort {
        "127.0.0.1:5000".parse().expect("an address")
    }

    #[tokio::test]
    async fn the_first_cluster_is_remembered_and_another_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        let (ours, other) = (certificate(&key()).await, certificate(&key()).await);
        let trust = open(dir.path(), None).expect("opened");
        assert_eq!(trust.expectation(), ClusterTrust::FirstContact);
        assert_eq!(trust.learn(&address(), &ours).expect("learnt"), Learnt::FirstContact(ours.public().pin()));
        assert_eq!(trust.learn(&address(), &ours).expect("learnt"), Learnt::Expected);
        let error = trust.learn(&address(), &other).expect_err("another cluster");
        assert_eq!(error.code(), "untrusted_tracker");
        for part in [&ours.public().pin().to_string(), &other.public().pin().to_string(), "known_trackers", "remove"] {
            assert!(error.to_string().contains(part), "{error}");
        }
        let reopened = open(dir.path(), None).expect("opened");
        assert_eq!(reopened.expectation(), ClusterTrust::Known(ours.clone()));
        assert_eq!(reopened.public(), Some(ours.public()));
    }

    #[tokio::test]
    async fn the_pin_of_the_list_wins_over_what_is_remembered() {
        let dir = tempfile::tempdir().expect("a directory");
        let (old, new) = (certificate(&key()).await, certificate(&key()).await);
        open(dir.path(), None).expect("opened").learn(&address(), &old).expect("learnt");
        let trust = open(dir.path(), Some(new.public().pin())).expect("opened");
        assert_eq!(trust.public(), None, "the remembered key is not the pinned one");
        assert!(trust.learn(&address(), &old).expect_err("not the pin").to_string().contains("list.txt"));
        assert_eq!(trust.learn(&address(), &new).expect("the pin"), Learnt::Expected);
        assert_eq!(trust.public(), Some(new.public()));
    }

    #[cfg(unix)]
    #[test]
    fn what_anybody_could_have_put_there_is_not_trusted() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join(FILE_NAME), "cluster nonsense\n").expect("written");
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o777)).expect("opened up");
        let refused = open(dir.path(), None).expect_err("open to all").to_string();
        assert!(refused.contains("known_trackers") && refused.contains("chmod go-w"), "{refused}");
    }

    #[test]
    fn a_damaged_memory_is_not_a_first_contact() {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join(FILE_NAME), "cluster nonsense\n").expect("written");
        assert!(open(dir.path(), None).expect_err("damaged").to_string().contains("remove it"));
    }
}
