//! Every size that the wire knows, and the types that enforce them while decoding.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

use serde::de::{Error, SeqAccess, Visitor};
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
/// Piece digests that an opened file begins with: with a seeder or two they fit into the ten segments that TCP sends before it
/// hears of the other side (RFC 6928), so that a longer manifest does not hold up the ticket.
pub const FIRST_PART: usize = 192;
/// Longest part of a tree, in bytes.
pub const MAX_TREE_PART: usize = 256 << 10;
/// Rows in one page of a listing.
pub const MAX_ROWS: usize = 1000;
/// Members who are asked at a time to dial somebody who wants to know whether that is possible.
pub const MAX_PROBES: usize = 3;
/// Rows in one page of what was found.
pub const MAX_HITS: usize = 100;
/// Rows in a page of news.
pub const MAX_NEWS: usize = 200;
/// Longest text that is searched for, in bytes.
pub const MAX_WORDS: usize = 256;
/// Origins in a version vector.
pub const MAX_ORIGINS: usize = 4096;
/// Events, or votes, in one batch between trackers.
pub const MAX_EVENTS: usize = 1024;
/// Devices in one message on who is where.
pub const MAX_PRESENCE: usize = 1024;
/// Longest event, and longest run of events or facts in one frame between trackers, in bytes.
pub const MAX_BATCH_BYTES: usize = 512 << 10;
/// Longest password, in bytes.
pub const MAX_PASSWORD: usize = 1024;
/// Shortest password, in bytes.
pub const MIN_PASSWORD: usize = 8;
/// Longest text that explains something, in bytes.
pub const MAX_TEXT: usize = 512;
/// Requests that a peer may have outstanding.
pub const MAX_QUEUE: usize = 256;

/// Renewed tickets that a leecher may show at once.
pub const RENEW_BURST: u32 = 4;
/// Beyond those, one per so many seconds.
pub const RENEW_SECONDS: u32 = 10;
/// Revocations new to the seeder that a leecher may pass on at once.
pub const REVOKED_BURST: u32 = 64;
/// Beyond those, so many per second.
pub const REVOKED_PER_SECOND: u32 = 4;

/// What an announced length may reserve before the items are there, in bytes.
const TRUSTED_BYTES: usize = 4096;

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
        d.deserialize_seq(ListVisitor(PhantomData))
    }
}

/// Reads no item beyond the `N`th, and believes no announced length: memory follows the items.
struct ListVisitor<T, const N: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const N: usize> Visitor<'de> for ListVisitor<T, N> {
    type Value = List<T, N>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at most {N} items")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let announced = seq.size_hint().unwrap_or_default();
        if announced > N {
            return Err(A::Error::invalid_length(announced, &self));
        }
        let mut items = Vec::with_capacity(announced.min(TRUSTED_BYTES / size_of::<T>().max(1)));
        while let Some(item) = seq.next_element()? {
            if items.len() == N {
                return Err(A::Error::invalid_length(N + 1, &self));
            }
            items.push(item);
        }
        Ok(List(items))
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

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use serde::de::value::SeqDeserializer;

    use super::*;
    use crate::codec::{decode, encode};

    thread_local!(static READ: Cell<usize> = const { Cell::new(0) });

    /// Counts how many of its kind were read.
    struct Counted;

    impl<'de> Deserialize<'de> for Counted {
        fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
            READ.set(READ.get() + 1);
            u8::deserialize(d).map(|_| Self)
        }
    }

    #[test]
    fn a_list_that_is_too_long_is_refused_before_its_items_are_read() {
        let bytes = encode(&vec![7u8; 11], 64).expect("short");
        assert!(decode::<List<Counted, 10>>(&bytes, 64).is_err());
        assert_eq!(READ.get(), 0);
        assert!(decode::<List<Counted, 11>>(&bytes, 64).is_ok_and(|l| l.len() == 11));
        assert_eq!(READ.get(), 11);
    }

    /// Announces a full list, and has three items.
    struct Boaster(std::ops::Range<u32>);

    impl Iterator for Boaster {
        type Item = u32;
        fn next(&mut self) -> Option<u32> {
            self.0.next()
        }
        fn size_hint(&self) -> (usize, Option<usize>) {
            (MAX_PART, Some(MAX_PART))
        }
    }

    #[test]
    fn an_announced_length_reserves_next_to_nothing() {
        let seq = SeqDeserializer::<_, serde::de::value::Error>::new(Boaster(0..3));
        let list = ListVisitor::<u32, MAX_PART>(PhantomData).visit_seq(seq).expect("three items");
        assert_eq!(list[..], [0, 1, 2]);
        assert!(list.0.capacity() * size_of::<u32>() <= TRUSTED_BYTES);
    }
}
