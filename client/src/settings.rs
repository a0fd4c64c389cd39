//! What a person has set for this client, kept over restarts: `settings.toml` in the data directory.
//!
//! The file is for people as well: a change edits the one value, and leaves their comments and order as they are. Nothing
//! is guessed: a file that cannot be understood is left alone, and told with its line. Blocks on the disk.

use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use common::escape::Escaped;
use toml_edit::{Item, Table, TableLike, Value};

use crate::error::{Error, shown};
use crate::private_file;
use crate::units;

/// Name of the file.
const FILE: &str = "settings.toml";
/// What a new file begins with.
const HEAD: &str = "\
# Settings of this client. Commands such as `limit up 10M` change them, and keep your comments. By hand: while no client
# runs on this data directory, or else they hold from its next start.

[limit]
# Bytes per second for the whole client, for example \"500K\" or \"10M\", or \"off\". The options --limit-up and --limit-down
# go before what is here.
up = \"off\"
down = \"off\"
";

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// What this client sends to others.
    Up,
    /// What it fetches from them.
    Down,
}

impl Direction {
    const ALL: [Self; 2] = [Self::Up, Self::Down];

    /// As it is typed.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

/// What is set.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Values {
    /// What may be sent, in bytes per second.
    pub limit_up: Option<NonZeroU64>,
    /// What may be fetched, in bytes per second.
    pub limit_down: Option<NonZeroU64>,
    /// Names in the file that mean nothing to this release.
    pub unknown: Vec<String>,
}

/// The file.
#[derive(Debug)]
pub struct Settings {
    path: PathBuf,
    /// One change at a time.
    changing: Mutex<()>,
}

impl Settings {
    /// The settings of a data directory; the file need not be there.
    pub fn at(data_dir: &Path) -> Self {
        Self { path: data_dir.join(FILE), changing: Mutex::default() }
    }

    /// What is set.
    ///
    /// # Errors
    /// When the file cannot be read or understood; with the line.
    pub fn read(&self) -> Result<Values, Error> {
        let text = private_file::read(&self.path)?.unwrap_or_default();
        let document = self.parse(&text)?;
        let mut values = Values::default();
        for (name, item) in document.iter() {
            match (name, item.as_table_like()) {
                ("limit", Some(limits)) => self.read_limits(limits, &text, &mut values)?,
                ("limit", None) => return Err(self.wrong(&text, item.span(), "`limit` has to be a table: `[limit]`")),
                (unknown, _) => values.unknown.push(unknown.to_owned()),
            }
        }
        Ok(values)
    }

    fn read_limits(&self, limits: &dyn TableLike, text: &str, values: &mut Values) -> Result<(), Error> {
        for (name, item) in limits.iter() {
            let limit = match Direction::ALL.into_iter().find(|d| d.word() == name) {
                Some(Direction::Up) => &mut values.limit_up,
                Some(Direction::Down) => &mut values.limit_down,
                None => {
                    values.unknown.push(format!("limit.{name}"));
                    continue;
                }
            };
            *limit = rate_of(item).map_err(|why| self.wrong(text, item.span(), &why))?;
        }
        Ok(())
    }

    /// Sets a limit; `None` is none.
    ///
    /// # Errors
    /// When the file cannot be understood or written; it is as it was then.
    pub fn set_limit(&self, direction: Direction, rate: Option<NonZeroU64>) -> Result<(), Error> {
        let _one = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let text = private_file::read(&self.path)?.unwrap_or_else(|| HEAD.to_owned());
        // Checked, so that a change does not hide that a hand has made it wrong.
        let mut document = self.parse(&text)?.into_mut();
        let limits = document.entry("limit").or_insert_with(|| Item::Table(Table::new()));
        let limits = limits.as_table_like_mut();
        let limits = limits.ok_or_else(|| self.wrong(&text, None, "`limit` has to be a table: `[limit]`"))?;
        put(limits, direction.word(), &rate.map_or_else(|| "off".to_owned(), |rate| units::exact(rate.get())));
        private_file::replace(&self.path, document.to_string().as_bytes())
    }

    fn parse(&self, text: &str) -> Result<toml_edit::Document<String>, Error> {
        let parsed = toml_edit::Document::parse(text.to_owned());
        parsed.map_err(|e| self.wrong(text, e.span(), e.message()))
    }

    fn wrong(&self, text: &str, at: Option<std::ops::Range<usize>>, why: &str) -> Error {
        let before = at.and_then(|at| text.get(..at.start));
        let line = before.map(|before| format!(", line {}", before.matches('\n').count() + 1)).unwrap_or_default();
        let why = Escaped(why.lines().next().unwrap_or_default()).to_string();
        Error::InvalidArgument(format!(
            "{}{line}: {why}; correct it, or move the file away to begin with none",
            shown(&self.path)
        ))
    }
}

/// A rate in the file: text as at the prompt, or a number of bytes.
fn rate_of(item: &Item) -> Result<Option<NonZeroU64>, String> {
    match item.as_value() {
        Some(Value::String(text)) => parse_limit(text.value()),
        Some(Value::Integer(number)) => parse_limit(&number.value().to_string()),
        _ => Err("a rate has to be text in quotation marks, or a number".to_owned()),
    }
}

/// A rate, or `off`.
///
/// # Errors
/// With a sentence that says what is accepted.
pub(crate) fn parse_limit(text: &str) -> Result<Option<NonZeroU64>, String> {
    if text.trim() == "off" {
        return Ok(None);
    }
    units::parse_rate(text).map(Some).map_err(|e| format!("{e}, or `off`"))
}

/// Sets a value; what a person wrote around it stays.
fn put(table: &mut dyn TableLike, name: &str, text: &str) {
    let mut value = Value::from(text);
    match table.get_mut(name).and_then(Item::as_value_mut) {
        Some(old) => {
            *value.decor_mut() = old.decor().clone();
            *old = value;
        }
        None => drop(table.insert(name, Item::Value(value))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str) -> (tempfile::TempDir, Settings) {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join(FILE), text).expect("written");
        let settings = Settings::at(dir.path());
        (dir, settings)
    }

    fn rate(n: u64) -> Option<NonZeroU64> {
        NonZeroU64::new(n)
    }

    #[test]
    fn what_is_set_is_read_back_and_explained_to_people() {
        let dir = tempfile::tempdir().expect("a directory");
        let settings = Settings::at(dir.path());
        assert_eq!(settings.read().expect("no file"), Values::default());
        settings.set_limit(Direction::Up, rate(10 << 20)).expect("set");
        settings.set_limit(Direction::Down, rate(1234)).expect("set");
        let expected = Values { limit_up: rate(10 << 20), limit_down: rate(1234), unknown: Vec::new() };
        assert_eq!(settings.read().expect("read"), expected);
        let text = std::fs::read_to_string(dir.path().join(FILE)).expect("a file");
        assert!(text.starts_with("# Settings") && text.ends_with("up = \"10M\"\ndown = \"1234\"\n"), "{text}");
        settings.set_limit(Direction::Up, None).expect("set");
        assert_eq!(settings.read().expect("read").limit_up, None);
    }

    #[test]
    fn a_persons_comments_and_order_survive() {
        let text = "# mine\nother = 1 # kept\n\n[limit] # a table\n# slow line at home\ndown = '2M' # enough\n\n[later]\nx = []\n";
        let (dir, settings) = settings(text);
        settings.set_limit(Direction::Down, rate(3 << 20)).expect("set");
        let now = std::fs::read_to_string(dir.path().join(FILE)).expect("a file");
        assert_eq!(now, text.replace("'2M'", "\"3M\""));
        let values = settings.read().expect("read");
        assert_eq!((values.limit_down, values.unknown), (rate(3 << 20), vec!["other".to_owned(), "later".to_owned()]));
        settings.set_limit(Direction::Down, None).expect("set");
        let now = std::fs::read_to_string(dir.path().join(FILE)).expect("a file");
        assert_eq!(now, text.replace("'2M'", "\"off\""));
    }

    #[test]
    fn a_file_that_is_wrong_is_told_by_its_line_and_left_alone() {
        for (text, what) in [
            ("\n\n[limit\n", "line 3"),
            ("[limit]\nup = \"fast\"\n", "line 2: `fast` is not a rate"),
            ("[limit]\nup = 0\n", "line 2"),
            ("[limit]\nup = []\n", "line 2: a rate has to be"),
            ("limit = 3\n", "line 1: `limit` has to be a table"),
        ] {
            let (dir, settings) = settings(text);
            let read = settings.read().expect_err(text);
            assert!(read.code() == "invalid_argument" && read.to_string().contains(what), "{text}: {read}");
            if !what.contains("rate") && !text.contains("up") {
                settings.set_limit(Direction::Up, rate(9)).expect_err(text);
                assert_eq!(std::fs::read_to_string(dir.path().join(FILE)).expect("a file"), text);
            }
        }
    }

    #[test]
    fn limits_in_other_shapes_of_toml_are_the_same() {
        for text in ["limit.up = \"1M\"\n", "limit = { up = 1048576 }\n", "[limit]\nup = \"1 MiB/s\"\n"] {
            let (_dir, settings) = settings(text);
            assert_eq!(settings.read().expect(text).limit_up, rate(1 << 20), "{text}");
            settings.set_limit(Direction::Up, rate(2 << 20)).expect(text);
            assert_eq!(settings.read().expect(text).limit_up, rate(2 << 20), "{text}");
        }
    }
}
