//! Paths in the command table: with the home directory for `~`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::{OsStringValueParser, TypedValueParser};
use common::home::expand;

/// Reads a path of the command table.
pub(crate) fn parser() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().try_map(read)
}

fn read(path: OsString) -> Result<PathBuf, String> {
    if path.is_empty() {
        return Err("a path is empty; write `.` for the directory that you are in".to_owned());
    }
    Ok(expand(&path, std::env::home_dir().as_deref()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_path_is_called_empty() {
        assert!(read(OsString::new()).is_err_and(|e| e.contains("empty")));
        assert_eq!(read("/a b".into()), Ok(PathBuf::from("/a b")));
    }
}
