//! Messages to bytes and back: the only user of bincode.
//!
//! bincode is no longer maintained (RUSTSEC-2025-0141), so it stays behind these functions: it
//! never sees unbounded input or bulk data, and a wire-compatible successor would be put in here.
//! The format is bincode 2 `standard`: little-endian, variable-length integers. Bytes left over
//! after a message are an error.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::wire::limits::MAX_FRAME;

/// Why a message could not be written.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// Longer than the limit for its place.
    #[error("the message is longer than its limit")]
    TooLong,
    /// The type cannot be represented: a defect of ours.
    #[error("the message cannot be encoded: {0}")]
    Unsupported(#[from] bincode::error::EncodeError),
}

/// Why bytes are not a message.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Longer than the limit for its place.
    #[error("{len} bytes where at most {limit} are allowed")]
    TooLong {
        /// Length found, in bytes.
        len: usize,
        /// Limit, in bytes.
        limit: usize,
    },
    /// The message ended, and bytes were left.
    #[error("{0} bytes follow the message")]
    Trailing(usize),
    /// Truncated, out of range, or of an unknown kind.
    #[error("malformed message: {0}")]
    Malformed(#[from] bincode::error::DecodeError),
}

/// The bytes of `message`, at most `limit` of them.
///
/// # Errors
/// When there would be more.
pub fn encode<T: Serialize>(message: &T, limit: usize) -> Result<Vec<u8>, EncodeError> {
    #[expect(clippy::disallowed_methods, reason = "the one place that may")]
    let bytes = bincode::serde::encode_to_vec(message, bincode::config::standard())?;
    if bytes.len() > limit { Err(EncodeError::TooLong) } else { Ok(bytes) }
}

/// The message that `bytes` are, all of them.
///
/// # Errors
/// When they are longer than `limit`, malformed, or more than the message.
pub fn decode<T: DeserializeOwned>(bytes: &[u8], limit: usize) -> Result<T, DecodeError> {
    if bytes.len() > limit {
        return Err(DecodeError::TooLong { len: bytes.len(), limit });
    }
    let config = bincode::config::standard().with_limit::<MAX_FRAME>();
    #[expect(clippy::disallowed_methods, reason = "the one place that may")]
    let (message, used) = bincode::serde::decode_from_slice(bytes, config)?;
    match bytes.len() - used {
        0 => Ok(message),
        left => Err(DecodeError::Trailing(left)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absurd_length_is_an_error_and_not_an_allocation() {
        // 0xfd: a u64 follows.
        let huge = [&[0xfd][..], &u64::MAX.to_le_bytes()].concat();
        assert!(decode::<Vec<u8>>(&huge, 64).is_err());
        assert!(decode::<Vec<u64>>(&huge, 64).is_err());
        assert!(decode::<String>(&huge, 64).is_err());
    }

    #[test]
    fn trailing_bytes_and_overlong_messages_are_refused() {
        let bytes = encode(&7u32, 16).expect("fits");
        assert_eq!(decode::<u32>(&bytes, 16).ok(), Some(7));
        assert!(matches!(decode::<u32>(&[&bytes[..], &[0]].concat(), 16), Err(DecodeError::Trailing(1))));
        assert!(matches!(decode::<u32>(&[0; 17], 16), Err(DecodeError::TooLong { len: 17, limit: 16 })));
        assert!(matches!(encode(&[0u8; 32], 16), Err(EncodeError::TooLong)));
    }
}
