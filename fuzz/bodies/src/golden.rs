//! The fixed samples of every message, from the file whose bytes the wire's own tests guard.

use common::codec;
use common::wire::limits::MAX_FRAME;
use data_encoding::HEXLOWER;
use serde::de::DeserializeOwned;

const FILE: &str = include_str!("../../../common/src/wire/golden.txt");

/// The bytes of every sample of `kind`: an enum's name, or the whole name of the line.
pub fn bytes(kind: &str) -> Vec<Vec<u8>> {
    let lines = FILE.lines().filter_map(|line| line.split_once(' ')).filter(|(name, _)| {
        let rest = name.strip_prefix(kind);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("::") || rest.starts_with('/'))
    });
    let bytes: Vec<_> = lines.map(|(_, hex)| HEXLOWER.decode(hex.as_bytes()).expect("golden hexadecimal")).collect();
    assert!(!bytes.is_empty(), "there is no sample of {kind}");
    bytes
}

/// Every sample of `kind`, decoded.
pub fn values<T: DeserializeOwned>(kind: &str) -> Vec<T> {
    bytes(kind).iter().map(|b| codec::decode(b, MAX_FRAME).expect("golden bytes")).collect()
}

/// Each of `inputs` after the byte `first`, which tells a body what the rest is.
pub(crate) fn after(first: u8, inputs: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Vec<Vec<u8>> {
    inputs.into_iter().map(|input| [&[first], input.as_ref()].concat()).collect()
}
