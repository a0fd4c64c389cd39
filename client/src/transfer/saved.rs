//! How this device's own state files put things, and where they lie.

use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use crate::private_file;

/// A directory for the owner only, made if it is missing, without what a kill left half written.
pub(crate) fn private_directory(path: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    private_file::tidy(path)
}

/// For serde: ids as text (hexadecimal), so that the files can be read by people.
pub(crate) mod text {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    /// Writes what `Display` shows.
    pub(crate) fn serialize<T: Display, S: Serializer>(value: &T, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(value)
    }

    /// Reads what `FromStr` takes.
    pub(crate) fn deserialize<'de, T, D>(d: D) -> Result<T, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        String::deserialize(d)?.parse().map_err(D::Error::custom)
    }
}

/// For serde: paths as text, or as bytes where they are not text.
pub(crate) mod path {
    use std::ffi::{OsStr, OsString};
    use std::os::unix::ffi::{OsStrExt, OsStringExt};

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    #[serde(untagged)]
    enum Stored {
        Text(String),
        Bytes(Vec<u8>),
    }

    /// Writes any path without loss.
    pub(crate) fn serialize<T: AsRef<OsStr>, S: Serializer>(value: &T, s: S) -> Result<S::Ok, S::Error> {
        let path = value.as_ref();
        let stored =
            path.to_str().map_or_else(|| Stored::Bytes(path.as_bytes().to_vec()), |t| Stored::Text(t.to_owned()));
        stored.serialize(s)
    }

    /// Reads it back.
    pub(crate) fn deserialize<'de, T: From<OsString>, D: Deserializer<'de>>(d: D) -> Result<T, D::Error> {
        Ok(match Stored::deserialize(d)? {
            Stored::Text(text) => OsString::from(text).into(),
            Stored::Bytes(bytes) => OsString::from_vec(bytes).into(),
        })
    }
}
