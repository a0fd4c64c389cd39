//! What requests are made of, besides names and ids: types that cannot hold a bad value.

use std::fmt;

use serde::{Deserialize, Serialize};
use zeroize::Zeroize;

use crate::id::FileName;
use crate::wire::limits::{MAX_PASSWORD, MAX_WORDS};

/// A password on its way to be hashed. Never shown, wiped when dropped.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Zeroize)]
#[zeroize(drop)]
#[serde(try_from = "String")]
pub struct Password(String);

impl Password {
    /// The password, as typed.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Password {
    type Error = &'static str;
    /// Bounds the length from above only; the rule for new passwords is the tracker's.
    fn try_from(mut s: String) -> Result<Self, &'static str> {
        if s.len() > MAX_PASSWORD {
            s.zeroize();
            return Err("the password is too long");
        }
        Ok(Self(s))
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

/// Which file of a group is meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub enum FileSelector {
    /// By its name.
    Name(FileName),
    /// By the first hexadecimal digits of its id, 8 to 64 of them.
    IdPrefix(IdPrefix),
}

/// 8 to 64 lower-case hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct IdPrefix(String);

impl IdPrefix {
    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for IdPrefix {
    type Error = &'static str;
    fn try_from(s: String) -> Result<Self, &'static str> {
        let ok = (8..=64).contains(&s.len()) && s.bytes().all(|b| b.is_ascii_hexdigit());
        if ok {
            Ok(Self(s.to_ascii_lowercase()))
        } else {
            Err("`id:` is followed by 8 to 64 hexadecimal digits of a file id")
        }
    }
}

impl From<IdPrefix> for String {
    fn from(p: IdPrefix) -> String {
        p.0
    }
}

impl std::str::FromStr for FileSelector {
    type Err = String;
    /// `id:<hex>` or a file name.
    fn from_str(s: &str) -> Result<Self, String> {
        match s.strip_prefix("id:") {
            Some(hex) => IdPrefix::try_from(hex.to_owned()).map(Self::IdPrefix).map_err(str::to_owned),
            None => s.parse().map(Self::Name).map_err(|e: crate::id::InvalidId| e.to_string()),
        }
    }
}

impl fmt::Display for FileSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(n) => n.fmt(f),
            Self::IdPrefix(p) => write!(f, "id:{}", p.0),
        }
    }
}

/// What is looked for: at most [`MAX_WORDS`] bytes of any text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct Words(String);

impl Words {
    /// The words, as typed.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Words {
    type Error = &'static str;
    fn try_from(s: String) -> Result<Self, &'static str> {
        if s.len() > MAX_WORDS { Err("what is searched for has at most 256 bytes") } else { Ok(Self(s)) }
    }
}
