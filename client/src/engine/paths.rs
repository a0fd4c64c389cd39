//! Paths in the command table: with the home directory for `~`.

use std::path::PathBuf;

use clap::builder::{OsStringValueParser, TypedValueParser};
use common::home::expand;

/// Reads a path of the command table.
pub(crate) fn parser() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().map(|path| expand(&path, std::env::home_dir().as_deref()))
}
