//! The list of trackers that an invitation brings to a machine that has none.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use common::invitation::Invitation;
use common::secret::ClusterPin;
use common::tracker_info::{TrackerInfo, TrackerInfoError};

use crate::error::{Error, shown};

/// What stands above the list that is written.
const HEADER: &str = "# The trackers, one IP:PORT or NAME:PORT a line, and the key by which this client knows them.\n";

/// The list of trackers, and whether it was written just now.
#[derive(Debug)]
pub(crate) struct Listed {
    /// The list.
    pub(crate) info: TrackerInfo,
    /// Whether it was not there before.
    pub(crate) is_new: bool,
}

/// The list at `path`, which has to be of the invitation's cluster; if there is none, that of the invitation is written there.
///
/// # Errors
/// When the list is of another cluster, or cannot be read or written. One that is there is never changed.
pub(crate) fn list(path: &Path, invitation: &Invitation) -> Result<Listed, Error> {
    let info = invitation.tracker_info();
    match write(path, &info) {
        Ok(()) => Ok(Listed { info, is_new: true }),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
            Ok(Listed { info: agreed(path, read(path)?, invitation)?, is_new: false })
        }
        Err(e) => Err(Error::from_io("write the list of trackers", path, e)),
    }
}

/// The list in a file.
///
/// # Errors
/// With file, line and reason.
pub(crate) fn read(path: &Path) -> Result<TrackerInfo, Error> {
    TrackerInfo::read(path).map_err(|e| match e {
        TrackerInfoError::Unreadable { path, source } => {
            let help = match source.kind() {
                io::ErrorKind::NotFound => {
                    " (a file with one IP:PORT a line, which you get from whoever runs the trackers; or start with `--invite <line>`)"
                }
                _ => "",
            };
            let action = format!("read the list of trackers {}{help}", shown(&path));
            Error::Io { action, source: Arc::new(source) }
        }
        wrong => Error::InvalidArgument(wrong.to_string()),
    })
}

fn write(path: &Path, info: &TrackerInfo) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
    let written = file.write_all(format!("{HEADER}{info}").as_bytes()).and_then(|()| file.sync_all());
    if written.is_err() {
        let _ = std::fs::remove_file(path); // Nothing of it was there before.
    }
    written
}

/// The list that is there, pinned to the invitation's key, if it is of the same cluster. One without a pin is, if it has one of the
/// invitation's trackers; the key decides at the first contact.
fn agreed(path: &Path, mut info: TrackerInfo, invitation: &Invitation) -> Result<TrackerInfo, Error> {
    let is_same = match info.pin {
        Some(pin) => pin == invitation.pin,
        None => info.trackers.iter().any(|tracker| invitation.trackers.contains(tracker)),
    };
    if !is_same {
        return Err(another(path, info.pin, invitation.pin));
    }
    info.pin = Some(invitation.pin);
    Ok(info)
}

fn another(path: &Path, listed: Option<ClusterPin>, invited: ClusterPin) -> Error {
    let listed = listed.map_or_else(|| "other trackers".to_owned(), |pin| format!("the cluster {pin}"));
    Error::InvalidArgument(format!(
        "{} is the list of {listed}, and the invitation is to {invited}; nothing was changed: start in another directory, or \
         name another file for the list",
        shown(path)
    ))
}

#[cfg(test)]
mod tests {
    use common::invitation::InviteSecret;

    use super::*;

    fn invitation(trackers: &[&str], pin: u8) -> Invitation {
        let trackers = trackers.iter().map(|t| t.parse().expect("an address")).collect();
        Invitation { trackers, pin: ClusterPin::from_bytes([pin; 32]), secret: InviteSecret::new([9; 16]) }
    }

    #[test]
    fn a_list_is_written_where_there_is_none_and_never_changed() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("tracker_info.txt");
        let ours = invitation(&["tracker.example:5000", "10.0.0.1:5001"], 7);
        let written = list(&path, &ours).expect("written");
        assert!(written.is_new && written.info == ours.tracker_info());
        assert_eq!(read(&path).expect("a list"), ours.tracker_info());
        let text = std::fs::read(&path).expect("there");
        assert!(!list(&path, &ours).expect("the same").is_new);
        let moved = invitation(&["elsewhere.example:1"], 7);
        assert_eq!(
            list(&path, &moved).expect("the same cluster").info,
            ours.tracker_info(),
            "the file's addresses hold"
        );
        let refused = list(&path, &invitation(&["tracker.example:5000"], 8)).expect_err("another cluster").to_string();
        assert!(refused.contains("is the list of the cluster sha256:"), "{refused}");
        assert_eq!(std::fs::read(&path).expect("there"), text);
    }

    #[test]
    fn a_list_without_a_pin_is_told_by_its_trackers_and_pinned_from_then_on() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("tracker_info.txt");
        std::fs::write(&path, "10.0.0.1:5001\n").expect("written");
        let ours = invitation(&["tracker.example:5000", "10.0.0.1:5001"], 7);
        assert_eq!(list(&path, &ours).expect("the same").info.pin, Some(ours.pin));
        let refused = list(&path, &invitation(&["tracker.example:5000"], 7)).expect_err("other trackers");
        assert_eq!(refused.code(), "invalid_argument");
    }
}
