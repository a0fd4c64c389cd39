//! The list of trackers: a text file, one `IP:PORT` or `IP PORT` a line, or a name in place of the IP, with blank
//! lines and `#` comments, and at most one line `cluster sha256:<base32>` that pins the cluster's key.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::address::HostPort;
use crate::escape::Escaped;
use crate::secret::ClusterPin;

/// Longest file that is read, in bytes.
const MAX_LEN: u64 = 64 << 10;
/// Most trackers in one file.
pub const MAX_TRACKERS: usize = 16;

/// The trackers of one cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrackerInfo {
    /// Where they listen; tracker number 1 is the first.
    pub trackers: Vec<HostPort>,
    /// The pinned key, if the file names one.
    pub pin: Option<ClusterPin>,
}

/// Why a file is not a list of trackers.
#[derive(Debug, thiserror::Error)]
pub enum TrackerInfoError {
    /// It cannot be read.
    #[error("cannot read the list of trackers {}: {source}", Escaped(&.path.to_string_lossy()))]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// One of its lines is wrong.
    #[error("{}, line {line}: {reason}", Escaped(&.path.to_string_lossy()))]
    Line {
        /// Which file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
        /// What is wrong and what is expected.
        reason: LineError,
    },
    /// It has no tracker at all.
    #[error("{} names no tracker: write one IP:PORT a line, for example 127.0.0.1:5000", Escaped(&.0.to_string_lossy()))]
    Empty(PathBuf),
}

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// Not an address.
    #[error("`{}` is not an address of the form IP:PORT or IP PORT (a name may stand for the IP)", Escaped(.0))]
    Address(String),
    /// Port 0 cannot be dialled.
    #[error("port 0 cannot be reached; name the port that the tracker listens on")]
    PortZero,
    /// Named before.
    #[error("{0} is listed twice")]
    Twice(HostPort),
    /// Not a pin.
    #[error("`{}` is not a pin of the form sha256:<52 base32 digits>", Escaped(.0))]
    Pin(String),
    /// More than one pin.
    #[error("a second `cluster` line; a list has one cluster")]
    SecondPin,
    /// Too many.
    #[error("more than {MAX_TRACKERS} trackers")]
    TooMany,
}

impl TrackerInfo {
    /// Reads the file.
    ///
    /// # Errors
    /// With file, line and reason, when it is not what it should be.
    pub fn read(path: &Path) -> Result<Self, TrackerInfoError> {
        let unreadable = |source| TrackerInfoError::Unreadable { path: path.to_owned(), source };
        let len = std::fs::metadata(path).map_err(unreadable)?.len();
        if len > MAX_LEN {
            return Err(unreadable(io::Error::other(format!("it is longer than {MAX_LEN} bytes"))));
        }
        let bytes = std::fs::read(path).map_err(unreadable)?;
        let text = String::from_utf8(bytes).map_err(|_| unreadable(io::Error::other("it is not UTF-8 text")))?;
        Self::parse(&text, path)
    }

    /// Parses the text of the file; `path` is for messages.
    ///
    /// # Errors
    /// With line and reason, when a line is wrong or there is no tracker.
    pub fn parse(text: &str, path: &Path) -> Result<Self, TrackerInfoError> {
        let mut info = Self { trackers: Vec::new(), pin: None };
        for (i, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default().trim();
            if !line.is_empty() {
                info.add(line).map_err(|reason| TrackerInfoError::Line {
                    path: path.to_owned(),
                    line: i + 1,
                    reason,
                })?;
            }
        }
        if info.trackers.is_empty() {
            return Err(TrackerInfoError::Empty(path.to_owned()));
        }
        Ok(info)
    }

    fn add(&mut self, line: &str) -> Result<(), LineError> {
        if let Some(pin) = line.strip_prefix("cluster").filter(|rest| rest.starts_with(char::is_whitespace)) {
            let pin = pin.trim().parse().map_err(|_| LineError::Pin(clip(pin.trim())))?;
            return if self.pin.replace(pin).is_some() { Err(LineError::SecondPin) } else { Ok(()) };
        }
        let address = parse_address(line).ok_or_else(|| LineError::Address(clip(line)))?;
        if address.port() == 0 {
            return Err(LineError::PortZero);
        }
        if self.trackers.contains(&address) {
            return Err(LineError::Twice(address));
        }
        if self.trackers.len() == MAX_TRACKERS {
            return Err(LineError::TooMany);
        }
        self.trackers.push(address);
        Ok(())
    }

    /// The address of tracker `number`, from 1.
    pub fn address_of(&self, number: usize) -> Option<&HostPort> {
        self.trackers.get(number.checked_sub(1)?)
    }
}

impl fmt::Display for TrackerInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(pin) = &self.pin {
            writeln!(f, "cluster {pin}")?;
        }
        self.trackers.iter().try_for_each(|t| writeln!(f, "{t}"))
    }
}

fn parse_address(line: &str) -> Option<HostPort> {
    if let Ok(address) = line.parse() {
        return Some(address);
    }
    let mut words = line.split_whitespace();
    let (host, port, end) = (words.next()?, words.next()?, words.next());
    let port = port.parse().ok()?;
    HostPort::new(host, port).ok().filter(|_| end.is_none())
}

fn clip(s: &str) -> String {
    s.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<TrackerInfo, String> {
        TrackerInfo::parse(text, Path::new("t.txt")).map_err(|e| e.to_string())
    }

    #[test]
    fn both_forms_comments_and_blank_lines() {
        let names = parse("localhost:5000\ntracker.LAB.example 5001").expect("a list");
        assert_eq!(names.to_string(), "localhost:5000\ntracker.lab.example:5001\n");
        let info =
            parse("# trackers\r\n127.0.0.1:5000\n\n  127.0.0.1 5001  # the other\n[::1]:7\n::1 8\n").expect("a list");
        let expected: Vec<HostPort> = ["127.0.0.1:5000", "127.0.0.1:5001", "[::1]:7", "[::1]:8"]
            .iter()
            .map(|s| s.parse().expect("address"))
            .collect();
        assert_eq!(info.trackers, expected);
        assert_eq!(info.address_of(2), Some(&expected[1]));
        assert_eq!((info.address_of(0), info.address_of(5)), (None, None));
        assert_eq!(parse(&info.to_string()), Ok(info));
    }

    #[test]
    fn a_bad_line_is_named() {
        for (text, what) in [
            ("127.0.0.1:5000\nnonsense", "t.txt, line 2: `nonsense` is not an address"),
            ("localhost", "line 1: `localhost` is not an address"),
            ("lab_tracker:0", "port 0"),
            ("a:1\nA 1", "line 2: a:1 is listed twice"),
            ("256.1.1.1:5000", "line 1"),
            ("1.2.3.4:99999", "line 1"),
            ("1.2.3.4 5 6", "line 1"),
            ("1.2.3.4:0", "port 0"),
            ("1.2.3.4:5\n1.2.3.4 5", "line 2: 1.2.3.4:5 is listed twice"),
            ("cluster sha256:short", "line 1: `sha256:short` is not a pin"),
            ("# nothing\n", "names no tracker"),
            ("\u{1b}[2J", "\\u{1b}"),
        ] {
            let message = parse(text).expect_err(text);
            assert!(message.contains(what), "{message}");
        }
    }
}
