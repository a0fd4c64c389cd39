//! What a person has set for this client, kept over restarts: `settings.toml` in the data directory.
//!
//! The file is for people as well: a change edits the one value, and leaves their comments and order as they are. Nothing
//! is guessed: a file that cannot be understood is left alone, and told with its line. Blocks on the disk.

mod edit;
pub mod limit;
pub mod names;
mod print;

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::{fs, io};

use common::escape::Escaped;
use common::id::GroupId;
use serde::{Deserialize, Serialize};
use toml_edit::{Document, Item, TableLike, Value};

pub(crate) use self::limit::parse_limit;
use self::limit::{Limit, Rate};
pub use self::names::{Origin, SettingName};
pub(crate) use self::print::{print, said};
use crate::error::{Error, shown};
use crate::private_file;

/// Name of the file.
const FILE: &str = "settings.toml";
/// Uploads at the same time where nothing is said of it.
const DEFAULT_SLOTS: NonZeroU32 = NonZeroU32::new(8).unwrap();

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// What this client sends to others.
    Up,
    /// What it fetches from them.
    Down,
}

impl Direction {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Up, Self::Down];

    /// As it is typed.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

/// Something for each direction.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ways<T> {
    /// For what is sent.
    pub up: T,
    /// For what is fetched.
    pub down: T,
}

impl<T> Ways<T> {
    /// That of one direction.
    pub const fn of(&self, direction: Direction) -> &T {
        match direction {
            Direction::Up => &self.up,
            Direction::Down => &self.down,
        }
    }

    /// That of one direction, to be changed.
    pub const fn of_mut(&mut self, direction: Direction) -> &mut T {
        match direction {
            Direction::Up => &mut self.up,
            Direction::Down => &mut self.down,
        }
    }
}

/// How many uploads there may be at the same time; `None` is without bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UploadSlots(pub Option<NonZeroU32>);

impl Default for UploadSlots {
    fn default() -> Self {
        Self(Some(DEFAULT_SLOTS))
    }
}

impl std::fmt::Display for UploadSlots {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(slots) => slots.fmt(f),
            None => f.write_str("off"),
        }
    }
}

/// A number of slots; `off` and 0 are without bound.
impl std::str::FromStr for UploadSlots {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        if s.trim() == "off" {
            return Ok(Self(None));
        }
        let slots: u32 = s.trim().parse().map_err(|_| {
            format!("`{}` is no number of uploads; write a number, or `off` (or 0) for no bound", Escaped(s))
        })?;
        Ok(Self(NonZeroU32::new(slots)))
    }
}

/// The limits of one group.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GroupLimit {
    /// What it was called when it was limited; for people.
    pub name: String,
    /// The limits.
    pub limit: Ways<Limit>,
}

/// What is set.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Values {
    /// Of the whole client.
    pub limit: Ways<Option<Limit>>,
    /// Of groups.
    pub groups: BTreeMap<GroupId, GroupLimit>,
    /// Uploads at the same time.
    pub seeding_slots: Option<UploadSlots>,
    /// Names in the file that mean nothing to this release.
    pub unknown: Vec<String>,
}

/// What was said when the client was started, by its command line or the environment: it goes before the file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Given {
    /// The limits.
    pub limit: Ways<Option<(Rate, Origin)>>,
    /// Uploads at the same time.
    pub slots: Option<(UploadSlots, Origin)>,
}

/// The file. Changes have to come one at a time.
#[derive(Debug)]
pub struct Settings {
    path: PathBuf,
}

impl Settings {
    /// The settings of a data directory; the file need not be there.
    pub fn at(data_dir: &Path) -> Self {
        Self { path: data_dir.join(FILE) }
    }

    /// Where they are.
    pub fn path(&self) -> &Path {
        &self.path
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
            match name {
                "limit" => self.read_limits(self.table(&text, name, item)?, &text, &mut values)?,
                "seeding" => self.read_seeding(self.table(&text, name, item)?, &text, &mut values)?,
                unknown => values.unknown.push(unknown.to_owned()),
            }
        }
        Ok(values)
    }

    fn read_limits(&self, limits: &dyn TableLike, text: &str, values: &mut Values) -> Result<(), Error> {
        for (name, item) in limits.iter() {
            if name == "group" {
                self.read_groups(self.table(text, "limit.group", item)?, text, values)?;
            } else if let Some((direction, part)) = part_of_limit(name) {
                let limit = values.limit.of_mut(direction).get_or_insert_default();
                self.read_limit(part, item, text, limit)?;
            } else {
                values.unknown.push(format!("limit.{name}"));
            }
        }
        Ok(())
    }

    fn read_limit(&self, part: Part, item: &Item, text: &str, limit: &mut Limit) -> Result<(), Error> {
        let rate = |item: &Item| rate_of(item).map_err(|why| self.wrong(text, item.span(), &why));
        match part {
            Part::Plain => limit.rate = rate(item)?,
            Part::Hours => {
                for (hours, item) in self.table(text, "hours", item)?.iter() {
                    let hours = hours.parse().map_err(|why: String| self.wrong(text, item.span(), &why))?;
                    limit.windows.push((hours, rate(item)?));
                }
                limit.windows.sort_unstable();
            }
        }
        Ok(())
    }

    fn read_groups(&self, groups: &dyn TableLike, text: &str, values: &mut Values) -> Result<(), Error> {
        for (id, item) in groups.iter() {
            let what = format!("limit.group.{id}");
            let Ok(id) = id.parse::<GroupId>() else {
                values.unknown.push(what);
                continue;
            };
            let mut group = GroupLimit::default();
            for (name, item) in self.table(text, &what, item)?.iter() {
                match (name, part_of_limit(name)) {
                    ("name", _) => group.name = item.as_str().unwrap_or_default().to_owned(),
                    (_, Some((direction, part))) => {
                        self.read_limit(part, item, text, group.limit.of_mut(direction))?;
                    }
                    (unknown, None) => values.unknown.push(format!("{what}.{unknown}")),
                }
            }
            values.groups.insert(id, group);
        }
        Ok(())
    }

    fn read_seeding(&self, seeding: &dyn TableLike, text: &str, values: &mut Values) -> Result<(), Error> {
        for (name, item) in seeding.iter() {
            if name != "slots" {
                values.unknown.push(format!("seeding.{name}"));
                continue;
            }
            let slots = match item.as_value() {
                Some(Value::String(text)) => text.value().parse(),
                Some(Value::Integer(number)) => number.value().to_string().parse(),
                _ => Err("the number of slots has to be a number, or \"off\"".to_owned()),
            };
            values.seeding_slots = Some(slots.map_err(|why| self.wrong(text, item.span(), &why))?);
        }
        Ok(())
    }

    fn table<'a>(&self, text: &str, name: &str, item: &'a Item) -> Result<&'a dyn TableLike, Error> {
        item.as_table_like().ok_or_else(|| self.wrong(text, item.span(), &no_table(name)))
    }

    fn parse(&self, text: &str) -> Result<Document<String>, Error> {
        Document::parse(text.to_owned()).map_err(|e| self.wrong(text, e.span(), e.message()))
    }

    fn wrong(&self, text: &str, at: Option<Range<usize>>, why: &str) -> Error {
        let before = at.and_then(|at| text.get(..at.start));
        let line = before.map(|before| format!(", line {}", before.matches('\n').count() + 1)).unwrap_or_default();
        let why = Escaped(why.lines().next().unwrap_or_default()).to_string();
        Error::InvalidArgument(format!(
            "{}{line}: {why}; correct it, or move the file away to begin with none",
            shown(&self.path)
        ))
    }

    /// Writes the file; one that is a link stays one, and what it leads to keeps its mode.
    fn write(&self, text: &str) -> Result<(), Error> {
        let target = followed(&self.path).map_err(|e| Error::from_io("find", &self.path, e))?;
        let mode = fs::metadata(&target).ok().filter(|_| target != self.path).map(|known| known.permissions());
        private_file::replace(&target, text.as_bytes())?;
        mode.map_or(Ok(()), |mode| fs::set_permissions(&target, mode).map_err(|e| Error::from_io("write", &target, e)))
    }
}

/// Links that may lead from one to the next, as far as systems follow them.
const MAX_LINKS: usize = 40;

/// Where `path` leads, if it is a link, also to a file that is not there.
fn followed(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..MAX_LINKS {
        match fs::read_link(&path) {
            Ok(target) => path = path.parent().unwrap_or(Path::new("")).join(target),
            // No link, or nothing there.
            Err(e) if matches!(e.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::NotFound) => return Ok(path),
            Err(e) => return Err(e),
        }
    }
    Err(io::Error::other("its links lead in a circle"))
}

/// What a key of a table of limits is about.
#[derive(Debug, Clone, Copy)]
enum Part {
    /// The limit outside of all hours.
    Plain,
    /// Those at hours.
    Hours,
}

fn part_of_limit(name: &str) -> Option<(Direction, Part)> {
    let (word, part) = name.strip_suffix("_at").map_or((name, Part::Plain), |word| (word, Part::Hours));
    Direction::ALL.into_iter().find(|d| d.word() == word).map(|direction| (direction, part))
}

fn no_table(name: &str) -> String {
    format!("`{name}` has to be a table")
}

/// A rate in the file: text as at the prompt, or a number of bytes.
fn rate_of(item: &Item) -> Result<Rate, String> {
    match item.as_value() {
        Some(Value::String(text)) => parse_limit(text.value()),
        Some(Value::Integer(number)) => parse_limit(&number.value().to_string()),
        _ => Err("a rate has to be text in quotation marks, or a number".to_owned()),
    }
}

#[cfg(test)]
mod tests;
