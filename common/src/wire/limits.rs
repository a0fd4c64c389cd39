//! Every size that the wire knows, and the types that enforce them while decoding.

use std::fmt;
use std::ops::Deref;

use serde::{Deserialize, Deserializer, Serialize};

/// Longest frame from a connection that has not logged in, in bytes.
pub const MAX_FRAME_BEFORE_LOGIN: usize = 16 << 10;
/// Longest frame of a control connection after login, in bytes.
pub const MAX_FRAME: usize = 1 << 20;
/// Longest frame between peers, in bytes. Bulk bytes are not in frames.
pub const MAX_PEER_FRAME: usize = 64 << 10;
/// Longest run of raw bytes that one header announces, in bytes: between two of them, a peer can
/// react to a cancel or a revocation.
pub const MAX_RUN: u32 = 256 << 10;
/// Longest signed statement, in bytes.
pub const MAX_STATEMENT: usize = 512;
/// Piece digests in one manifest part (52 bytes each).
pub const MAX_PART: usize = 8192;
/// Rows in one page of a listing.
pub const MAX_ROWS: usize = 1000;
/// Origins in a version vector.
pub const MAX_ORIGINS: usize = 4096;
/// Longest password, in bytes.
pub const MAX_PASSWORD: usize = 1024;
/// Shortest password, in bytes.
pub const MIN_PASSWORD: usize = 8;
/// Longest text that explains something, in bytes.
pub const MAX_TEXT: usize = 512;
/// Requests that a peer may have outstanding.
pub const MAX_QUEUE: usize = 256;

/// A list of at most `N` items, checked while decoding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct List<T, const N: usize>(Vec<T>);

impl<T, const N: usize> List<T, N> {
    /// The list, unless it has more than `N` items.
    pub fn new(items: Vec<T>) -> Option<Self> {
        (items.len() <= N).then_some(Self(items))
    }

    /// The first `N` of `items`.
    pub fn first_of(items: impl IntoIterator<Item = T>) -> Self {
        Self(items.into_iter().take(N).collect())
    }

    /// The items.
    pub fn into_vec(self) -> Vec<T> {
        self.0
    }
}

impl<T, const N: usize> Default for List<T, N> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T, const N: usize> Deref for List<T, N> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<'de, T: Deserialize<'de>, const N: usize> Deserialize<'de> for List<T, N> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Self::new(Vec::deserialize(d)?).ok_or_else(|| serde::de::Error::custom("the list is too long"))
    }
}

/// At most `N` bytes, checked while decoding.
pub type Bytes<const N: usize> = List<u8, N>;

/// Explanatory text of at most [`MAX_TEXT`] bytes; escape it before showing it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct Text(String);

impl Text {
    /// The text, cut to what fits.
    pub fn clipped(s: &str) -> Self {
        Self(s[..s.floor_char_boundary(MAX_TEXT)].to_owned())
    }
}

impl TryFrom<String> for Text {
    type Error = &'static str;
    fn try_from(s: String) -> Result<Self, &'static str> {
        if s.len() > MAX_TEXT { Err("the text is too long") } else { Ok(Self(s)) }
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        crate::escape::Escaped(&self.0).fmt(f)
    }
}
