//! Names and identifiers as types that cannot hold a bad value: parse once, at the edge.
//!
//! Names (`UserName`, `GroupName`, `FileName`) are what people type; everything is *bound* to
//! random ids or to digests, so that no privilege ever follows a name.

use std::fmt::{self, Display};
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize, Serializer};

use crate::escape::{Escaped, is_always_refused};

/// Longest user or group name, in characters (all of them ASCII).
pub const MAX_NAME_CHARS: usize = 64;

/// Longest file name, in bytes of UTF-8: what common file systems store (NAME_MAX).
pub const MAX_FILE_NAME_BYTES: usize = 255;

/// Why a name or an identifier was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidId {
    /// A user or group name that breaks the rule for names.
    #[error(
        "`{}` is not a valid name: use 1 to {MAX_NAME_CHARS} of the letters a-z and A-Z, digits, \
         `.`, `_`, `-`, not starting with `.` or `-`", Escaped(.0)
    )]
    Name(String),
    /// A file name that could not be stored safely under a directory.
    #[error("`{}` is not a valid file name: {reason}", Escaped(.name))]
    FileName {
        /// The offending name.
        name: String,
        /// Which rule it breaks.
        reason: &'static str,
    },
    /// A file name that stands for what is there already, and is not given to anything new.
    #[error("`{}` is not a good name to share a file under: {reason}; give it another with `--name`", Escaped(.name))]
    NewName {
        /// The offending name.
        name: String,
        /// Which rule it breaks.
        reason: &'static str,
    },
    /// Not the expected number of hexadecimal digits.
    #[error("`{}` is not {expected} hexadecimal digits", Escaped(.text))]
    Hex {
        /// The offending text.
        text: String,
        /// Digits expected.
        expected: usize,
    },
}

/// A name of a user or group: see [`InvalidId::Name`] for the rule. ASCII only, so that two names
/// that look alike are the same name. With `~` and eight digits it refers, and cannot be claimed.
fn check_name(s: &str) -> Result<(), InvalidId> {
    let claimed = claimed_part(s);
    let ok = !claimed.is_empty()
        && claimed.len() <= MAX_NAME_CHARS
        && !claimed.starts_with(['.', '-'])
        && claimed.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
    if ok { Ok(()) } else { Err(InvalidId::Name(clip(s))) }
}

/// Of `name~hhhhhhhh` the name. Whoever lost a name to somebody else is referred to so: by what it
/// claimed, and the first digits of its id.
fn claimed_part(s: &str) -> &str {
    match s.rsplit_once('~') {
        Some((claimed, digits)) if is_suffix(digits) => claimed,
        _ => s,
    }
}

fn is_suffix(digits: &str) -> bool {
    digits.len() == 8 && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// Device names that Windows resolves to hardware whatever the extension.
const RESERVED: [&str; 6] = ["con", "prn", "aux", "nul", "conin$", "conout$"];

pub(crate) fn check_file_name(s: &str) -> Result<(), InvalidId> {
    let refuse = |reason| Err(InvalidId::FileName { name: clip(s), reason });
    if s.is_empty() {
        return refuse("it is empty");
    }
    if s.len() > MAX_FILE_NAME_BYTES {
        return refuse("it is longer than 255 bytes");
    }
    if s == "." || s == ".." {
        return refuse("it names a directory");
    }
    if s.contains(['/', '\\']) {
        return refuse("it contains a path separator");
    }
    if s.contains(is_always_refused) {
        return refuse("it contains a control, bidirectional or zero-width character");
    }
    // Windows takes these for other files and says nothing. What it refuses aloud (`?`, say) may be shared.
    if s.contains(':') {
        return refuse("it contains a colon, which means something else on Windows");
    }
    if s.ends_with(['.', ' ']) {
        return refuse("it ends with a dot or a space, which Windows drops");
    }
    let stem = s.split('.').next().unwrap_or_default().trim_end().to_ascii_lowercase();
    let numbered = ["com", "lpt"].iter().any(|p| {
        stem.strip_prefix(p)
            .is_some_and(|n| matches!(n, "0" | "1" | "2" | "3" | "4" | "5" | "6" | "7" | "8" | "9" | "¹" | "²" | "³"))
    });
    if RESERVED.contains(&stem.as_str()) || numbered {
        return refuse("it is a reserved device name");
    }
    Ok(())
}

/// Enough of a refused text to recognise it, never a megabyte of it.
pub(crate) fn clip(s: &str) -> String {
    const SHOWN: usize = 80;
    if s.chars().count() <= SHOWN {
        return s.to_owned();
    }
    s.chars().take(SHOWN).chain(['…']).collect()
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident, $check:path) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
        #[serde(try_from = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;
            fn try_from(s: String) -> Result<Self, InvalidId> {
                $check(&s)?;
                Ok(Self(s.into()))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(s: &str) -> Result<Self, InvalidId> {
                Self::try_from(s.to_owned())
            }
        }

        impl From<$name> for String {
            fn from(n: $name) -> String {
                String::from(&*n.0)
            }
        }

        impl Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                Display::fmt(&Escaped(&self.0), f)
            }
        }
    };
}

name_type!(
    /// The name that a user claims. 1 to 64 characters; see [`InvalidId::Name`].
    UserName, check_name
);
name_type!(
    /// The name that a group claims. 1 to 64 characters; see [`InvalidId::Name`].
    GroupName, check_name
);
macro_rules! claim {
    ($($name:ident)*) => { $(
        impl $name {
            /// Whether it can be claimed, and does not only refer to somebody who lost it.
            pub fn is_claim(&self) -> bool {
                !self.0.contains('~')
            }
        }
    )* };
}

claim!(UserName GroupName);

impl GroupName {
    /// The name by which trackers know `group`, that claimed this name, whether or not the name went to another group:
    /// `name~hhhhhhhh`. It cannot come to mean another group.
    pub fn reference(&self, group: GroupId) -> Self {
        Self(format!("{}~{group:.8}", claimed_part(&self.0)).into())
    }
}

name_type!(
    /// The name of a share: one path component, at most 255 bytes, harmless in every terminal, and the name of
    /// the same file on every system that takes it. Never `id:…`, which means a file by its id. For new shares
    /// [`crate::look`] has further rules.
    FileName, check_file_name
);

macro_rules! byte_type {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[cfg_attr(test, derive(proptest_derive::Arbitrary))]
        pub struct $name([u8; $len]);

        impl $name {
            /// Length in bytes.
            pub const LEN: usize = $len;

            /// Wraps raw bytes.
            pub const fn new(bytes: [u8; $len]) -> Self {
                Self(bytes)
            }

            /// The raw bytes.
            pub const fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }
        }

        impl From<[u8; $len]> for $name {
            fn from(bytes: [u8; $len]) -> Self {
                Self(bytes)
            }
        }

        impl Display for $name {
            /// Lower-case hexadecimal; a precision (`{:.8}`) shows only that many digits.
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&data_encoding::HEXLOWER.encode(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({:.16})"), self)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(s: &str) -> Result<Self, InvalidId> {
                let bytes = data_encoding::HEXLOWER_PERMISSIVE.decode(s.as_bytes()).ok();
                let bytes = bytes.and_then(|b| <[u8; $len]>::try_from(b).ok());
                bytes.map(Self).ok_or_else(|| InvalidId::Hex { text: clip(s), expected: $len * 2 })
            }
        }
    };
}

macro_rules! random_id {
    ($(#[$doc:meta])* $name:ident) => {
        byte_type!($(#[$doc])* $name, 16);

        impl $name {
            /// A fresh id from the system's random source.
            pub fn random() -> Self {
                Self(rand::random())
            }
        }
    };
}

byte_type!(
    /// BLAKE3 of a file's content: the identity of what is shared; `b3sum FILE` prints it.
    FileId, 32
);
byte_type!(
    /// BLAKE3 of a folder's tree in its canonical form: see [`crate::tree`].
    TreeId, 32
);
byte_type!(
    /// SHA-1 of a piece or of a whole file (FIPS 180-4). Never trusted alone: SHA-1 is forgeable.
    Sha1Digest, 20
);
byte_type!(
    /// SHA-256 of a device's public key (its SPKI, DER): one client installation.
    DeviceId, 32
);
random_id!(
    /// A user account.
    UserId
);
random_id!(
    /// A group.
    GroupId
);
random_id!(
    /// A login of one user on one device.
    SessionId
);
random_id!(
    /// One join request and the membership that may come of it: the unit that is accepted or ended.
    MembershipId
);
random_id!(
    /// One act of publishing a file in a group.
    PublicationId
);
random_id!(
    /// One command of one client: a retry carries the same id and has the same single effect.
    RequestId
);
random_id!(
    /// One run of one tracker, from start to stop: the namespace of its event numbers.
    OriginId
);
random_id!(
    /// One ticket.
    TicketId
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_names_a_group_by_what_it_claimed_and_by_its_id() {
        let id = GroupId::new([0x6d; 16]);
        let name: GroupName = "team".parse().expect("a name");
        let reference = name.reference(id);
        assert_eq!(reference.as_str(), "team~6d6d6d6d");
        assert_eq!(reference.reference(id), reference);
        assert_eq!(reference.as_str().parse::<GroupName>(), Ok(reference));
    }

    #[test]
    fn names_follow_the_rule() {
        for good in ["a", "alice", "Lab-7_b.2", "0", "_x", &"n".repeat(64)] {
            assert!(good.parse::<UserName>().is_ok(), "{good}");
        }
        let reference = "alice~00c0ffee".parse::<UserName>();
        assert!(reference.is_ok_and(|n| !n.is_claim()) && "alice".parse::<UserName>().is_ok_and(|n| n.is_claim()));
        let bad_references = ["~00c0ffee", "a~00c0ffe", "a~00C0FFEE", "a~b", "a~00c0ffee~00c0ffee", "~"];
        for bad in ["", ".a", "-a", "a b", "a/b", "é", "a\n", "a\0", &"n".repeat(65)].into_iter().chain(bad_references)
        {
            assert!(bad.parse::<GroupName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn hostile_file_names_are_refused() {
        let long = "x".repeat(256);
        let hostile = [
            "",
            ".",
            "..",
            "a/b",
            "/etc/passwd",
            "..\\x",
            "a\0b",
            "a\nb",
            "\u{1b}[2J",
            "a\u{202e}gpj.exe",
            "zero\u{200b}width",
            "\u{feff}bom",
            "CON",
            "con.txt",
            "Aux",
            "nul.tar.gz",
            "COM1",
            "lpt9.x",
            "com¹",
            "C:evil",
            "file.txt:stream",
            "id:2020abcd",
            "id:x",
            "file.",
            "file ",
            "...",
            &long,
        ];
        for name in hostile {
            assert!(name.parse::<FileName>().is_err(), "{name:?}");
        }
        for fine in [
            "a",
            " spaced name",
            "Grüße.pdf",
            "データ.bin",
            "a..b",
            "...a",
            "why?",
            "console",
            "com10",
            "-rf",
            "~",
            "$HOME",
        ] {
            assert!(fine.parse::<FileName>().is_ok(), "{fine:?}");
        }
    }

    #[test]
    fn a_refusal_never_repeats_a_megabyte_or_an_escape() {
        let refused = "\u{1b}".repeat(1 << 20).parse::<UserName>().map_err(|e| e.to_string());
        assert!(refused.is_err_and(|m| m.len() < 1000 && !m.contains('\u{1b}')));
    }

    #[test]
    fn hex_round_trips_and_precision_shortens() {
        let id = FileId::new([0xab; 32]);
        assert_eq!(id.to_string().parse::<FileId>().ok(), Some(id));
        assert_eq!(format!("{id:.8}"), "abababab");
        assert!("ab".parse::<FileId>().is_err());
        assert!("zz".repeat(32).parse::<FileId>().is_err());
    }
}
