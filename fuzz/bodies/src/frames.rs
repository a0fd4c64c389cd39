//! Arbitrary bytes on a connection: however they are cut into parts, and wherever reading is
//! cancelled, a reader finds what a look at all the bytes at once finds, and ends for the same reason.

use std::fmt::Debug;
use std::io;
use std::pin::pin;
use std::task::Poll;

use common::codec;
use common::connection::{ConnectionError, FrameReader};
use common::wire::client::{ClientFrame, ServerFrame};
use common::wire::limits::{MAX_FRAME, MAX_FRAME_BEFORE_LOGIN, MAX_PEER_FRAME};
use common::wire::peer::{LeecherFrame, SeederFrame};
use serde::de::DeserializeOwned;

use crate::golden;
use crate::input::Input;
use crate::trickle::{Trickle, finish, once};

/// Limits that readers have: before login, between peers, after login, and one that samples exceed.
pub(crate) const LIMITS: [usize; 4] = [MAX_FRAME_BEFORE_LOGIN, MAX_FRAME, MAX_PEER_FRAME, 64];

/// How a connection ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Between two frames.
    Clean,
    /// Inside one.
    Cut,
    /// With an announcement above the limit.
    TooLong(usize),
    /// With bytes that are no message.
    Malformed,
}

impl From<ConnectionError> for End {
    fn from(e: ConnectionError) -> Self {
        match e {
            ConnectionError::TooLong { len, .. } => Self::TooLong(len),
            ConnectionError::Malformed(_) => Self::Malformed,
            ConnectionError::Io(e) if e.kind() == io::ErrorKind::UnexpectedEof => Self::Cut,
            ConnectionError::Io(_) | ConnectionError::Unsendable(_) => panic!("reading fails with {e}"),
        }
    }
}

/// What kind of message, which limit, which parts; then the bytes.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let kind = input.byte() % 4;
    let limit = *input.one_of(&LIMITS);
    let (seed, cancel) = (input.u16(), input.flag());
    let bytes = input.rest();
    match kind {
        0 => compare::<ClientFrame>(bytes, limit, seed, cancel),
        1 => compare::<ServerFrame>(bytes, limit, seed, cancel),
        2 => compare::<LeecherFrame>(bytes, limit, seed, cancel),
        _ => compare::<SeederFrame>(bytes, limit, seed, cancel),
    }
}

fn compare<M: DeserializeOwned + PartialEq + Debug>(bytes: &[u8], limit: usize, seed: u16, cancel: bool) {
    let mut reader = FrameReader::<_, M>::new(Trickle::new(bytes, seed), limit);
    let mut rest = bytes;
    loop {
        let expected = look(&mut rest, limit);
        assert_eq!(read(&mut reader, cancel), expected);
        if expected.is_err() {
            return;
        }
    }
}

/// The first message of `bytes`, which then start behind it.
fn look<M: DeserializeOwned>(bytes: &mut &[u8], limit: usize) -> Result<M, End> {
    if bytes.is_empty() {
        return Err(End::Clean);
    }
    let (header, rest) = bytes.split_first_chunk().ok_or(End::Cut)?;
    let len = u32::from_be_bytes(*header) as usize;
    if len > limit {
        return Err(End::TooLong(len));
    }
    let (body, rest) = rest.split_at_checked(len).ok_or(End::Cut)?;
    *bytes = rest;
    codec::decode(body, limit).map_err(|_| End::Malformed)
}

/// The reader's next message; with `cancel`, the read is given up at every pause and begun again.
pub(crate) fn read<M: DeserializeOwned>(reader: &mut FrameReader<Trickle<'_>, M>, cancel: bool) -> Result<M, End> {
    let read = if cancel { restarted(reader) } else { finish(reader.next()) };
    read.map_err(End::from)?.ok_or(End::Clean)
}

fn restarted<M: DeserializeOwned>(reader: &mut FrameReader<Trickle<'_>, M>) -> Result<Option<M>, ConnectionError> {
    loop {
        let next = pin!(reader.next());
        if let Poll::Ready(read) = once(next) {
            return read;
        }
    }
}

/// `message` in a frame.
pub(crate) fn framed(message: &[u8]) -> Vec<u8> {
    let len = u32::try_from(message.len()).expect("a short message");
    [&len.to_be_bytes(), message].concat()
}

/// Whole conversations, under each limit.
pub fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for (kind, name) in (0..).zip(["ClientFrame", "ServerFrame", "LeecherFrame", "SeederFrame"]) {
        let stream: Vec<u8> = golden::bytes(name).iter().flat_map(|message| framed(message)).collect();
        seeds.extend((0..4).map(|limit| [&[kind, limit, 1, kind, limit], &stream[..]].concat()));
    }
    seeds
}
