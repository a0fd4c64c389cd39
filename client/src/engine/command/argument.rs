//! Arguments of commands: parsed once, and written again as they have to be typed.

use std::fmt;
use std::num::NonZeroU32;

use clap::ValueEnum;
use common::escape::Escaped;
use common::id::DeviceId;
use common::invitation::{Invitation, MAX_SECONDS, MAX_USES, MIN_SECONDS, NotAnInvitation};
use common::tree::{TreeError, TreePath};
use common::wire::client::FileSelector;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

pub use crate::settings::limit::{Hours, MaxRate};

/// A word as it has to be typed for an argument: quoted where needed, escaped, and not to be taken for an option. No option may come
/// after it.
pub(crate) fn as_argument(word: &str) -> String {
    let quoted = shlex::try_quote(word).map_or_else(|_| word.to_owned(), Into::into);
    let quoted = Escaped(&quoted);
    if word.starts_with('-') { format!("-- {quoted}") } else { quoted.to_string() }
}

pub(super) fn positive(text: &str) -> Result<NonZeroU32, String> {
    text.parse().map_err(|_| format!("`{}` is not a number from 1", Escaped(text)))
}

pub(super) fn download_number(text: &str) -> Result<u64, String> {
    let wrong = |_| format!("`{}` is not the number of a download; `show_downloads` shows them", Escaped(text));
    text.parse().map_err(wrong)
}

pub(super) fn invitation_number(text: &str) -> Result<u64, String> {
    let wrong = |_| format!("`{}` is not the number of an invitation; `list_invites` shows them", Escaped(text));
    text.parse().map_err(wrong)
}

pub(super) fn uses(text: &str) -> Result<NonZeroU32, String> {
    let number = text.parse::<NonZeroU32>().ok().filter(|n| n.get() <= MAX_USES);
    number.ok_or_else(|| format!("an invitation has 1 to {MAX_USES} uses, and not `{}`", Escaped(text)))
}

/// How long an invitation is good, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetime(u32);

/// The letters of units, and how many seconds each has; the largest first.
const UNITS: [(&str, u64); 5] = [("w", 7 * 24 * 3600), ("d", 24 * 3600), ("h", 3600), ("m", 60), ("s", 1)];

impl Lifetime {
    /// In seconds.
    pub const fn seconds(self) -> u32 {
        self.0
    }
}

impl std::str::FromStr for Lifetime {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        let wrong =
            || format!("`{}` is not a time such as 30m, 12h or 7d; a minute at least, 365 days at most", Escaped(s));
        let text = s.trim();
        let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
        let unit = match unit.to_ascii_lowercase().as_str() {
            "min" => "m".to_owned(),
            unit => unit.to_owned(),
        };
        let (_, seconds) = UNITS.iter().find(|(letter, _)| *letter == unit).ok_or_else(wrong)?;
        let seconds =
            number.parse::<u64>().ok().and_then(|n| n.checked_mul(*seconds)).and_then(|n| u32::try_from(n).ok());
        let fits = |n: &u32| (MIN_SECONDS..=MAX_SECONDS).contains(n);
        seconds.filter(fits).map(Self).ok_or_else(wrong)
    }
}

/// As it has to be typed.
impl fmt::Display for Lifetime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = u64::from(self.0);
        let fits = UNITS[1..].iter().find(|(_, unit)| seconds.is_multiple_of(*unit));
        let (letter, unit) = fits.copied().unwrap_or(("s", 1));
        write!(f, "{}{letter}", seconds / unit)
    }
}

impl Serialize for Lifetime {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

/// An invitation as typed. Never shown but where it is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InviteLine(pub Invitation);

impl std::str::FromStr for InviteLine {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        s.parse().map(Self).map_err(|e: NotAnInvitation| e.to_string())
    }
}

/// As typed: what is written goes to the same user's client, over a socket that only that user can open, or to whoever has just
/// made it.
impl Serialize for InviteLine {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.0.to_line())
    }
}

impl<'de> Deserialize<'de> for InviteLine {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = Zeroizing::new(String::deserialize(d)?);
        text.parse().map_err(D::Error::custom)
    }
}

pub(super) fn subscription_number(text: &str) -> Result<u64, String> {
    let wrong = |_| format!("`{}` is not the number of a subscription; `list_subscriptions` shows them", Escaped(text));
    text.parse().map_err(wrong)
}

/// A share, or a file of a folder that is one: `name`, `id:<digits>`, and perhaps `/` and a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShareFile {
    /// The share.
    pub share: FileSelector,
    /// The file of it.
    pub path: Option<TreePath>,
}

impl From<FileSelector> for ShareFile {
    fn from(share: FileSelector) -> Self {
        Self { share, path: None }
    }
}

impl std::str::FromStr for ShareFile {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        let Some((share, path)) = s.split_once('/') else { return s.parse().map(|share| Self { share, path: None }) };
        // A folder may be written as one, and a path as the shell leaves it.
        let path = path.trim_end_matches('/');
        let path =
            if path.is_empty() { None } else { Some(path.parse::<TreePath>().map_err(|e| not_within(path, e))?) };
        Ok(Self { share: share.parse()?, path })
    }
}

/// That no folder has something at this path.
fn not_within(path: &str, error: TreeError) -> String {
    let reason = match error {
        TreeError::Path { .. } if path.split('/').any(|name| [".", ".."].contains(&name)) => {
            "it has `.` or `..` in it; write it from the folder down".to_owned()
        }
        TreeError::Path { reason, .. } => reason.to_owned(),
        error => error.to_string(),
    };
    format!("`{}` is not the path of anything in a shared folder: {reason}", Escaped(path))
}

impl fmt::Display for ShareFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.share.fmt(f)?;
        self.path.iter().try_for_each(|path| write!(f, "/{path}"))
    }
}

/// As it has to be typed.
impl Serialize for ShareFile {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match (&self.share, &self.path) {
            (share, None) => selector(share, s),
            (FileSelector::Name(name), Some(path)) => {
                s.collect_str(&format_args!("{}/{}", name.as_str(), path.as_str()))
            }
            (id, Some(path)) => s.collect_str(&format_args!("{id}/{}", path.as_str())),
        }
    }
}

/// What is fetched of a folder, or not: an empty pattern would fit everything.
pub(super) fn pattern(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err("a pattern is empty; write one like '*.bin' or 'photos/**', or leave the option out".to_owned());
    }
    Ok(text.to_owned())
}

/// A whole share. A folder may be written as one, as `list_files` shows it.
pub(super) fn share(text: &str) -> Result<FileSelector, String> {
    let name = text.trim_end_matches('/');
    if name.contains('/') {
        return Err(format!(
            "`{}` is a path, and this is about whole shares: write the name of one, as `list_files` shows it",
            Escaped(text)
        ));
    }
    name.parse()
}

/// In which order pieces are fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Uniformly at random.
    Random,
    /// The rarest first, at random among equally rare ones.
    Rarest,
    /// From the beginning.
    Sequential,
}

/// The beginning of a device's id: hexadecimal digits, at least six.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DevicePrefix(String);

impl DevicePrefix {
    const MIN_DIGITS: usize = 6;

    /// Whether `device` begins so.
    pub fn is_of(&self, device: DeviceId) -> bool {
        device.to_string().starts_with(&self.0)
    }
}

impl std::str::FromStr for DevicePrefix {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        let ok = (Self::MIN_DIGITS..=2 * DeviceId::LEN).contains(&s.len()) && s.bytes().all(|b| b.is_ascii_hexdigit());
        let text = || format!("a device is named by the first {} or more digits of its id", Self::MIN_DIGITS);
        if ok { Ok(Self(s.to_ascii_lowercase())) } else { Err(text()) }
    }
}

impl fmt::Display for DevicePrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A password as typed: wiped when dropped, and never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes it over.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// As typed: what is written goes to the same user's client, over a socket that only that user can open.
impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.as_str())
    }
}

/// As one text.
pub(super) fn joined<S: Serializer>(words: &[String], s: S) -> Result<S::Ok, S::Error> {
    s.serialize_str(&words.join(" "))
}

/// As it has to be typed.
pub(super) fn selector<S: Serializer>(file: &FileSelector, s: S) -> Result<S::Ok, S::Error> {
    match file {
        FileSelector::Name(name) => s.serialize_str(name.as_str()),
        id @ FileSelector::IdPrefix(_) => s.collect_str(id),
    }
}

impl std::str::FromStr for Secret {
    type Err = std::convert::Infallible;
    fn from_str(s: &str) -> Result<Self, Self::Err> {
        Ok(Self::new(s.to_owned()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_may_be_written_as_one() {
        let name: FileSelector = "host".parse().expect("a name");
        for text in ["host", "host/", "host//"] {
            assert_eq!(share(text), Ok(name.clone()), "{text}");
        }
        assert!(share("host/a").is_err_and(|e| e.contains("about whole shares")));
        assert!(share("/").is_err_and(|e| e.contains("empty")));
    }

    #[test]
    fn a_path_that_leads_out_of_a_folder_is_called_that() {
        let refused = "host/../../etc/passwd".parse::<ShareFile>().expect_err("it leads out");
        assert!(refused.contains("`../../etc/passwd`") && refused.contains("`..` in it"), "{refused}");
        assert!(!refused.contains("rename"), "{refused}");
        let refused = "host/a//b".parse::<ShareFile>().expect_err("no name");
        assert!(refused.contains("it is empty"), "{refused}");
    }

    #[test]
    fn times_are_read_and_written_with_a_unit() {
        let read = |text: &str| text.parse::<Lifetime>().map(Lifetime::seconds);
        for (text, seconds, written) in [
            ("7d", 604_800, "7d"),
            ("12h", 43_200, "12h"),
            ("90m", 5400, "90m"),
            ("2w", 1_209_600, "14d"),
            ("90s", 90, "90s"),
        ] {
            assert_eq!(read(text), Ok(seconds));
            assert_eq!(text.parse::<Lifetime>().expect(text).to_string(), written);
        }
        assert_eq!(read("60 Min".replace(' ', "").as_str()), Ok(3600));
        for wrong in ["", "7", "d", "59s", "366d", "1y", "-7d", "1.5h", "99999999999999999999d"] {
            assert!(read(wrong).is_err_and(|e| e.contains("such as 30m")), "{wrong}");
        }
        assert!(uses("0").is_err() && uses("10001").is_err() && uses("10000").is_ok());
    }
}
