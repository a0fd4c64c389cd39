//! What is decoded is what was encoded, for arbitrary messages of every kind, also through a stream.
//!
//! The messages derive `Arbitrary`, so that a new variant is covered once it exists. Here stand the
//! types that hold a promise which a derived value would break.

use std::fmt::Debug;
use std::net::SocketAddr;

use proptest::collection::vec;
use proptest::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::codec;
use crate::connection::{ConnectionError, FrameReader, FrameWriter};
use crate::id::{FileName, GroupName, MAX_FILE_NAME_BYTES, UserName};
use crate::pieces::{MAX_PIECES, PieceLayout};
use crate::ticket::{Revocation, SessionToken, Signed, Ticket};
use crate::tree::TreePath;
use crate::wire::client::{ClientFrame, IdPrefix, Page, Password, Push, Request, Response, ServerFrame, Words};
use crate::wire::limits::{
    Bytes, List, MAX_FRAME, MAX_PASSWORD, MAX_PEER_FRAME, MAX_ROWS, MAX_STATEMENT, MAX_TEXT, MAX_WORDS, Text,
};
use crate::wire::peer::{LeecherFrame, SeederFrame};
use crate::wire::refusal::Refusal;
use crate::wire::sync::SyncFrame;

/// Items in an arbitrary list: enough for each to follow another, few enough to stay quick.
const ITEMS: usize = 6;

/// An address as the wire carries it: IPv6 zones and flow labels mean nothing to another machine.
pub(crate) fn address() -> impl Strategy<Value = SocketAddr> {
    any::<(std::net::IpAddr, u16)>().prop_map(SocketAddr::from)
}

macro_rules! arbitrary {
    ([$($generic:tt)*] $type:ty, $strategy:expr) => {
        impl<$($generic)*> Arbitrary for $type {
            type Parameters = ();
            type Strategy = BoxedStrategy<Self>;
            fn arbitrary_with((): ()) -> Self::Strategy {
                $strategy.boxed()
            }
        }
    };
}

fn name() -> impl Strategy<Value = String> {
    "[A-Za-z0-9_][A-Za-z0-9._-]{0,63}"
}

/// Text of any script, of at most `limit` bytes.
fn text(limit: usize) -> impl Strategy<Value = String> {
    any::<String>().prop_map(move |s| s[..s.floor_char_boundary(limit)].to_owned())
}

arbitrary!([] UserName, name().prop_map(|s| s.parse().unwrap()));
arbitrary!([] GroupName, name().prop_map(|s| s.parse().unwrap()));
arbitrary!([] FileName, text(MAX_FILE_NAME_BYTES).prop_filter_map("a file name", |s| s.parse().ok()));
arbitrary!([] TreePath, vec(text(40).prop_filter("a name", |s| s.parse::<FileName>().is_ok()), 1..5)
    .prop_map(|names| names.join("/").parse().unwrap()));
arbitrary!([] Words, text(MAX_WORDS).prop_map(|s| s.try_into().unwrap()));
arbitrary!([] Password, text(MAX_PASSWORD).prop_map(|s| s.try_into().unwrap()));
arbitrary!([] IdPrefix, "[0-9a-f]{8,64}".prop_map(|s| s.try_into().unwrap()));
arbitrary!([] Text, text(MAX_TEXT).prop_map(|s| s.try_into().unwrap()));
arbitrary!([T: Arbitrary + 'static, const N: usize] List<T, N>,
    vec(any::<T>(), 0..=ITEMS.min(N)).prop_map(|items| Self::new(items).unwrap()));
arbitrary!([T: Arbitrary + 'static] Page<T>,
    any::<(List<T, MAX_ROWS>, bool)>().prop_map(|(rows, more)| Self { rows, more }));
arbitrary!(
    [] PieceLayout,
    (14..=24u32, any::<u64>())
        .prop_map(|(shift, len)| { Self::new(len % ((MAX_PIECES << shift) + 1), 1 << shift).unwrap() })
);
// Any bytes: whether they are signed is not the codec's business.
arbitrary!([T: 'static] Signed<T>, any::<(Bytes<MAX_STATEMENT>, Bytes<64>)>().prop_map(|parts| {
    codec::decode(&codec::encode(&parts, MAX_FRAME).unwrap(), MAX_FRAME).unwrap()
}));

/// Encodes and decodes `message`, bare and over a pipe that takes `part` bytes at a time.
fn survives<M>(message: &M, limit: usize, part: usize) -> Result<(), TestCaseError>
where
    M: Serialize + DeserializeOwned + PartialEq + Debug,
{
    let bytes = codec::encode(message, limit).unwrap();
    prop_assert_eq!(&codec::decode::<M>(&bytes, limit).unwrap(), message);
    prop_assert!(codec::decode::<M>(&bytes[..bytes.len() - 1], limit).is_err(), "cut short");

    let (near, far) = tokio::io::duplex(part);
    let (mut writer, mut reader) = (FrameWriter::new(near, limit), FrameReader::<_, M>::new(far, limit));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (sent, received) = runtime.block_on(async {
        let send = async {
            writer.send(message).await?;
            writer.shutdown().await.map_err(ConnectionError::from)
        };
        let receive = async { Ok::<_, ConnectionError>((reader.next().await?, reader.next().await?)) };
        tokio::join!(send, receive)
    });
    sent.unwrap();
    let (first, second) = received.unwrap();
    prop_assert_eq!(first.as_ref(), Some(message));
    prop_assert!(second.is_none());
    Ok(())
}

proptest! {
    #[test]
    fn client_frames(frame: ClientFrame, part in 1..100usize) {
        survives(&frame, MAX_FRAME, part)?;
    }

    #[test]
    fn server_frames(frame: ServerFrame, part in 1..100usize) {
        survives(&frame, MAX_FRAME, part)?;
    }

    #[test]
    fn leecher_frames(frame: LeecherFrame, part in 1..100usize) {
        survives(&frame, MAX_PEER_FRAME, part)?;
    }

    #[test]
    fn sync_frames(frame: SyncFrame, part in 1..100usize) {
        survives(&frame, MAX_FRAME, part)?;
    }

    #[test]
    fn seeder_frames(frame: SeederFrame, part in 1..100usize) {
        survives(&frame, MAX_PEER_FRAME, part)?;
    }
}

proptest! {
    // Each of these has as many kinds as a frame has few.
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn bodies(request: Request, response: Response, refusal: Refusal, push: Push) {
        survives(&request, MAX_FRAME, 4096)?;
        survives(&response, MAX_FRAME, 4096)?;
        survives(&refusal, MAX_FRAME, 4096)?;
        survives(&push, MAX_FRAME, 4096)?;
    }

    #[test]
    fn statements(ticket: Ticket, token: SessionToken, revocation: Revocation) {
        survives(&ticket, MAX_STATEMENT, 4096)?;
        survives(&token, MAX_STATEMENT, 4096)?;
        survives(&revocation, MAX_STATEMENT, 4096)?;
    }
}
