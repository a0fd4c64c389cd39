//! Everything that can keep a command from succeeding, each with the stable code that scripts rely
//! on (see [`Error::code`]) and a sentence that names the cause and the remedy.
//!
//! Knows nothing about how it is shown. Texts that came from a file name or from the network are
//! escaped when they are put in.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::address::HostPort;
use common::escape::Escaped;
use common::id::GroupName;
use common::secret::ClusterPin;
use common::wire::refusal::Refusal;

/// A command did not succeed. Cheap to clone, so that a task's end can be told to several waiters.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// A tracker understood the command and did not carry it out.
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// The line is not a command with its arguments.
    #[error("{0}")]
    Usage(String),
    /// An argument breaks a rule that this client can check.
    #[error("{0}")]
    InvalidArgument(String),
    /// Nobody who has the file is there.
    #[error("{0}")]
    NoSeeders(String),
    /// The code with which somebody wanted to log in is of no use, or there is no such user: never says which.
    #[error(
        "wrong user or code; a code is good once, for as long as its maker has said, and until the password is changed: the \
         tracker's operator makes another (`reset_password`)"
    )]
    BadCode,
    /// The group has the file, but this device does not seed it.
    #[error("this device does not share `{0}`, so there is nothing to stop here")]
    NotShared(String),
    /// What a download fetches is not shared any more.
    #[error(
        "`{0}` does not share this any more; a newer version may have taken its place: `list_files {0}` shows what there is"
    )]
    Withdrawn(GroupName),
    /// The content or the manifest is not what was announced.
    #[error("{0}")]
    Integrity(String),
    /// This machine's disk, or this user's quota of it, is full.
    #[error("cannot {action}: the disk is full; make room and try again")]
    DiskFull {
        /// What was tried: a verb and its object.
        action: String,
    },
    /// The file system or the network of this machine refused.
    #[error("cannot {action}: {source}")]
    Io {
        /// What was tried: a verb and its object.
        action: String,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// Something has the destination's name.
    #[error("{} exists already; choose another destination, or replace it with `--force`", shown(.0))]
    DestinationExists(PathBuf),
    /// No tracker of the list answers; for each its address and the reason.
    #[error("no tracker can be reached ({0}); are they running, and is the list of trackers right?")]
    TrackersUnreachable(String),
    /// The only tracker that answers does not know the account that is logged in here.
    #[error(
        "the tracker {0} does not know your account: it has lost its data, or has not had it from the other tracker \
         yet; try again when both are up, or `login` if the trackers were set up anew"
    )]
    AccountUnknown(String),
    /// A tracker showed a key that is not the one we know.
    #[error(
        "the tracker {address} is not of the cluster we know, and nothing was sent to it: expected {expected}, \
         it showed {presented}. If the cluster's key was changed on purpose, {remedy}; if not, somebody may be \
         in between"
    )]
    UntrustedTracker {
        /// Which tracker.
        address: HostPort,
        /// The pin we hold.
        expected: ClusterPin,
        /// The pin it showed.
        presented: ClusterPin,
        /// What to do, naming the file that holds the expected pin.
        remedy: String,
    },
    /// The tracker in use is of a release that does not know the question; there is another way to ask.
    #[error("the tracker is of an older release; install the present one there")]
    OldTracker,
    /// No tracker that was asked knows an invitation.
    #[error("{}", unknown_invite(*.all))]
    UnknownInvite {
        /// Whether all trackers of the list were asked.
        all: bool,
    },
    /// An invitation lets nobody in any more, for this reason.
    #[error("{0}")]
    InviteOver(String),
    /// The answer did not come in time.
    #[error("{0}")]
    Timeout(String),
    /// A change was sent to a tracker, and no answer has come: it may have been carried out all the same.
    #[error("{}", in_doubt(.cause, .look.as_deref()))]
    InDoubt {
        /// Why there is no answer.
        cause: Box<Self>,
        /// The line that shows what has become of it.
        look: Option<String>,
    },
    /// The data directory or the port belongs to another process.
    #[error("{0}")]
    InUse(String),
    /// The user or the system asked to stop before the command was done.
    #[error("interrupted before it was done")]
    Interrupted,
    /// The client that this face was attached to has ended.
    #[error(
        "the running client has ended before this was done; start one, with the same data directory, and try again"
    )]
    ClientEnded,
    /// What another client process, which was attached to, could not do.
    #[error("{message}")]
    Told {
        /// Its stable code.
        code: &'static str,
        /// Its sentence.
        message: String,
    },
    /// A defect of ours, or of the tracker.
    #[error("{0}")]
    Internal(String),
}

/// All codes: what another process tells is one of them.
const CODES: [&str; 30] = [
    "usage",
    "invalid_argument",
    "not_logged_in",
    "bad_credentials",
    "user_exists",
    "no_such_user",
    "group_exists",
    "no_such_group",
    "not_a_member",
    "not_admin",
    "already_member",
    "already_requested",
    "no_such_request",
    "no_such_invite",
    "file_exists",
    "no_such_file",
    "destination_exists",
    "no_seeders",
    "integrity",
    "disk_full",
    "io",
    "rate_limited",
    "busy",
    "trackers_unreachable",
    "untrusted_tracker",
    "timeout",
    "interrupted",
    "in_use",
    "tracker_disk_full",
    "internal",
];

impl Error {
    /// The stable code of `--json`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Refused(refusal) => refusal.code(),
            Self::Usage(_) => "usage",
            Self::InvalidArgument(_) => "invalid_argument",
            Self::BadCode => "bad_credentials",
            Self::NoSeeders(_) => "no_seeders",
            Self::NotShared(_) | Self::Withdrawn(_) => "no_such_file",
            Self::Integrity(_) => "integrity",
            Self::DiskFull { .. } => "disk_full",
            Self::Io { .. } => "io",
            Self::DestinationExists(_) => "destination_exists",
            Self::AccountUnknown(_) => "busy",
            Self::TrackersUnreachable(_) => "trackers_unreachable",
            Self::UntrustedTracker { .. } => "untrusted_tracker",
            Self::OldTracker => "internal",
            Self::UnknownInvite { .. } | Self::InviteOver(_) => "no_such_invite",
            Self::Timeout(_) => "timeout",
            Self::InDoubt { cause, .. } => cause.code(),
            Self::InUse(_) => "in_use",
            Self::Interrupted | Self::ClientEnded => "interrupted",
            Self::Told { code, .. } => code,
            Self::Internal(_) => "internal",
        }
    }

    /// The same, of a change that was sent to a tracker.
    pub(crate) fn in_doubt(self) -> Self {
        Self::InDoubt { cause: Box::new(self), look: None }
    }

    /// With the line that shows what has become of the command, if that is in doubt.
    #[must_use]
    pub(crate) fn seen_by(self, line: Option<String>) -> Self {
        match self {
            Self::InDoubt { cause, look: None } => Self::InDoubt { cause, look: line },
            other => other,
        }
    }

    /// What another client process said; a code that this release does not know is a defect of one of them.
    pub(crate) fn told(code: &str, message: String) -> Self {
        let code = CODES.iter().find(|known| **known == code).copied().unwrap_or("internal");
        Self::Told { code, message }
    }

    /// What the system said when `verb` (`read`, `create`, …) was tried on `path`; a full disk or an
    /// exhausted quota becomes [`Error::DiskFull`].
    pub fn from_io(verb: &str, path: &Path, source: io::Error) -> Self {
        Self::from_io_about(format!("{verb} {}", shown(path)), source)
    }

    /// As [`Error::from_io`] where there is no path: `action` is a verb and its object, already escaped. A port that
    /// another process listens on becomes [`Error::InUse`].
    pub fn from_io_about(action: impl Into<String>, source: io::Error) -> Self {
        let action = action.into();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull { action },
            io::ErrorKind::AddrInUse => Self::InUse(format!(
                "cannot {action}: another program does already; stop that one, or choose another port"
            )),
            io::ErrorKind::AddrNotAvailable => Self::InvalidArgument(format!(
                "cannot {action}: this machine has no such address; take one of its own, or 0.0.0.0 for all of them"
            )),
            _ => Self::Io { action, source: Arc::new(source) },
        }
    }
}

/// That a change may have been carried out, and how to find out.
fn in_doubt(cause: &Error, look: Option<&str>) -> String {
    let look = look.map(|line| format!(": `{line}` shows it, once a tracker answers")).unwrap_or_default();
    let cause = cause.to_string();
    let stop = if cause.ends_with(['.', '?', '!']) { "" } else { "." };
    format!("{cause}{stop} What was asked had been sent, and may have been done all the same{look}")
}

/// That an invitation is not known, at `all` trackers or at those that answer: it may be good all the same.
const fn unknown_invite(all: bool) -> &'static str {
    if all {
        "this invitation is not known here, or not yet: if it was made just now, try again in a minute; if that is of no use, ask \
         whoever sent it for another"
    } else {
        "this invitation is not known at the tracker that answers; the other one, which cannot be asked now, may know it: try \
         again when it is back, or ask whoever sent it for another"
    }
}

/// The error for an answer that does not fit its question.
pub(crate) fn unexpected() -> Error {
    Error::Internal("the tracker's answer does not fit the question; install the same release on both".to_owned())
}

/// A path as people see it: escaped, and never cut.
pub(crate) fn shown(path: &Path) -> String {
    Escaped(&path.to_string_lossy()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_process_tells_keeps_its_code_and_its_sentence() {
        for code in CODES {
            let told = Error::told(code, "why".to_owned());
            assert_eq!((told.code(), told.to_string().as_str()), (code, "why"));
        }
        assert_eq!(Error::told("of a later release", String::new()).code(), "internal");
        let ours = [
            Error::Refused(Refusal::TrackerDiskFull),
            Error::NotShared(String::new()),
            Error::UnknownInvite { all: true },
            Error::InviteOver(String::new()),
            Error::AccountUnknown(String::new()),
            Error::ClientEnded,
            Error::DiskFull { action: String::new() },
            Error::TrackersUnreachable(String::new()),
            Error::Timeout(String::new()).in_doubt(),
        ];
        assert!(ours.iter().all(|e| CODES.contains(&e.code())));
    }

    #[test]
    fn a_full_disk_and_a_full_quota_are_told_apart_from_other_faults() {
        let path = Path::new("a\nb");
        // ENOSPC, EDQUOT, EACCES on Linux.
        for (errno, code) in [(28, "disk_full"), (122, "disk_full"), (13, "io")] {
            let error = Error::from_io("write", path, io::Error::from_raw_os_error(errno));
            assert_eq!(error.code(), code);
            assert!(error.to_string().starts_with("cannot write a\\u{a}b: "), "{error}");
        }
    }
}
