//! Arguments of commands: parsed once, and written again as they have to be typed.

use std::fmt;
use std::num::NonZeroU32;

use clap::ValueEnum;
use common::escape::Escaped;
use common::id::DeviceId;
use common::tree::TreePath;
use common::wire::client::FileSelector;
use serde::{Serialize, Serializer};
use zeroize::Zeroizing;

pub use crate::settings::limit::{Hours, MaxRate};

pub(super) fn positive(text: &str) -> Result<NonZeroU32, String> {
    text.parse().map_err(|_| format!("`{}` is not a number from 1", Escaped(text)))
}

pub(super) fn download_number(text: &str) -> Result<u64, String> {
    let wrong = |_| format!("`{}` is not the number of a download; `show_downloads` shows them", Escaped(text));
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
        let path = if path.is_empty() { None } else { Some(path.parse::<TreePath>().map_err(|e| e.to_string())?) };
        Ok(Self { share: share.parse()?, path })
    }
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
