//! One-time codes by which who has lost a password sets a new one.
//!
//! Nothing is kept of a code: it says until when it is good, and carries a keyed hash (BLAKE3) of that, of the user and of the
//! user's present password hash, under a key that both trackers derive from the cluster's secret. So either of them takes
//! it, and using it changes the password hash, and so voids it. Whoever reads the database can make none.

use std::fmt;
use std::str::FromStr;

use data_encoding::BASE32_NOPAD_NOCASE as BASE32;
use serde::{Deserialize, Serialize};

use crate::id::UserId;
use crate::secret::ClusterKey;
use crate::ticket::UnixSeconds;

/// What it is made for, so that no other use of the key makes one.
const DOMAIN: &[u8] = b"reset a password";
/// Bytes of the keyed hash that a code carries: 96 bits, which nobody guesses.
const PROOF_BYTES: usize = 12;
/// Bytes in all: four of them are the time.
const BYTES: usize = 4 + PROOF_BYTES;
/// Characters that are written together.
const GROUP: usize = 5;
/// Seconds of the unit in which its end is told.
const MINUTE: u64 = 60;

/// A code. As secret as a password while it is good: never shown by `Debug`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct ResetCode([u8; BYTES]);

impl ResetCode {
    /// The code for `user`, whose present password hash is `credential`, good until `expires` (rounded up to a minute).
    pub fn new(key: &ClusterKey, user: UserId, credential: &str, expires: UnixSeconds) -> Self {
        Self::of_minute(key, user, credential, u32::try_from(expires.div_ceil(MINUTE)).unwrap_or(u32::MAX))
    }

    fn of_minute(key: &ClusterKey, user: UserId, credential: &str, minute: u32) -> Self {
        let message = [&user.as_bytes()[..], &minute.to_be_bytes(), credential.as_bytes()].concat();
        let proof = key.authenticate(DOMAIN, &message);
        let mut bytes = [0; BYTES];
        let (time, room) = bytes.split_at_mut(4);
        time.copy_from_slice(&minute.to_be_bytes());
        room.copy_from_slice(&proof[..PROOF_BYTES]);
        Self(bytes)
    }

    /// Until when it is good, if it is one at all.
    pub fn expires(&self) -> UnixSeconds {
        u64::from(self.minute()) * MINUTE
    }

    fn minute(&self) -> u32 {
        let [a, b, c, d, ..] = self.0;
        u32::from_be_bytes([a, b, c, d])
    }

    /// Whether it is `user`'s, for this password hash, and good at `now`. Takes as long for a wrong one.
    #[must_use]
    pub fn holds(&self, key: &ClusterKey, user: UserId, credential: &str, now: UnixSeconds) -> bool {
        let right = Self::of_minute(key, user, credential, self.minute());
        // Hashes are compared in constant time.
        let is_right = blake3::hash(&right.0) == blake3::hash(&self.0);
        is_right && now < self.expires()
    }
}

/// As people copy it: base32 in lower case, five characters together.
impl fmt::Display for ResetCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = BASE32.encode(&self.0).to_ascii_lowercase();
        for (n, c) in text.chars().enumerate() {
            if n > 0 && n % GROUP == 0 {
                f.write_str("-")?;
            }
            write!(f, "{c}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for ResetCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ResetCode(…)")
    }
}

/// The text is not a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "that is no one-time code: those have 26 letters and digits, such as `agx2k-…`; the tracker's operator makes one"
)]
pub struct InvalidCode;

impl FromStr for ResetCode {
    type Err = InvalidCode;

    /// Case, dashes and blanks do not matter.
    fn from_str(text: &str) -> Result<Self, InvalidCode> {
        let plain: String = text.chars().filter(|c| !matches!(c, '-' | ' ')).collect();
        let bytes = BASE32.decode(plain.as_bytes()).map_err(|_| InvalidCode)?;
        bytes.try_into().map(Self).map_err(|_| InvalidCode)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::ClusterSecret;

    const USER: UserId = UserId::new([1; 16]);

    #[test]
    fn it_is_good_for_one_user_one_password_and_a_time() {
        let (key, other) = (ClusterSecret::generate().cluster_key(), ClusterSecret::generate().cluster_key());
        let code = ResetCode::new(&key, USER, "$argon2id$one", 6_000);
        assert_eq!(code.expires(), 6_000);
        assert_eq!(ResetCode::new(&key, USER, "$argon2id$one", 6_001).expires(), 6_060, "rounded up");
        assert!(code.holds(&key, USER, "$argon2id$one", 5_999));
        assert!(!code.holds(&key, USER, "$argon2id$one", 6_000), "over");
        assert!(!code.holds(&key, USER, "$argon2id$two", 0), "the password was changed");
        assert!(!code.holds(&key, UserId::new([2; 16]), "$argon2id$one", 0));
        assert!(!code.holds(&other, USER, "$argon2id$one", 0));
        for at in 0..BYTES {
            let mut forged = code.clone();
            forged.0[at] ^= 1;
            assert!(!forged.holds(&key, USER, "$argon2id$one", 0), "byte {at}: also a later end");
        }
    }

    #[test]
    fn it_is_copied_whatever_the_case_and_the_dashes() {
        let code = ResetCode::new(&ClusterSecret::generate().cluster_key(), USER, "x", 6_000);
        let text = code.to_string();
        assert_eq!((text.len(), text.split('-').count()), (31, 6), "{text}");
        for typed in [text.clone(), text.to_uppercase(), text.replace('-', ""), text.replace('-', " ")] {
            assert_eq!(typed.parse(), Ok(code.clone()), "{typed}");
        }
        for wrong in ["", "abc", &text[1..], &format!("{text}a"), &text.replace('-', "0-")] {
            assert_eq!(wrong.parse::<ResetCode>(), Err(InvalidCode), "{wrong}");
        }
        assert!(!format!("{code:?}").contains(&text[..5]));
    }
}
