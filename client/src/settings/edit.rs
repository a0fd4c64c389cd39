//! Changes of the file: one value at a time, around which everything stays as it is.

use common::id::{GroupId, GroupName};
use toml_edit::{DocumentMut, Item, Table, TableLike, Value};

use super::limit::{Hours, Rate, written};
use super::{Direction, SettingName, Settings, no_table};
use crate::error::Error;
use crate::private_file;

/// What a new file begins with.
const HEAD: &str = "\
# Settings of this client. Commands such as `limit up 10M` and `set` change them, and keep your comments. By hand: while no
# client runs on this data directory, or else they hold from its next start.

[limit]
# Bytes per second for the whole client, for example \"500K\" or \"10M\", or \"off\". The options --limit-up and --limit-down
# go before what is here.
up = \"off\"
down = \"off\"
";

/// What stands above the number of slots.
const ABOUT_SLOTS: &str = "\n# Uploads at the same time, while others wait for their turn; \"off\" is without bound.\n";

/// Whose limit it is.
pub(super) type Whose<'a> = Option<(GroupId, &'a GroupName)>;

impl Settings {
    /// Sets a limit, of the whole client or of a group: at these hours, or where there are none, at any time.
    ///
    /// # Errors
    /// When the file cannot be understood or written; it is as it was then.
    pub fn set_limit(&self, direction: Direction, whose: Whose<'_>, rate: Rate, hours: &[Hours]) -> Result<(), Error> {
        self.change(|document| {
            let limits = child(document.as_table_mut(), "limit", false)?;
            let Some((id, name)) = whose else { return put_limit(limits, direction, rate, hours) };
            let groups = child(limits, "group", true)?;
            let group = child(groups, &id.to_string(), false)?;
            put(group, "name", Value::from(name.as_str()));
            put_limit(group, direction, rate, hours)?;
            if is_without_limits(group) {
                groups.remove(&id.to_string());
            }
            if groups.is_empty() {
                limits.remove("group");
            }
            Ok(())
        })
    }

    /// Sets how many uploads there may be at the same time.
    ///
    /// # Errors
    /// When the file cannot be understood or written; it is as it was then.
    pub fn set_slots(&self, slots: super::UploadSlots) -> Result<(), Error> {
        let value = slots.0.map_or_else(|| Value::from("off"), |slots| Value::from(i64::from(slots.get())));
        self.change(|document| {
            let (name, key) = SettingName::SeedingSlots.place();
            let is_new = !document.contains_key(name);
            put(child(document.as_table_mut(), name, false)?, key, value);
            if let Some(table) = document.get_mut(name).and_then(Item::as_table_mut).filter(|_| is_new) {
                table.decor_mut().set_prefix(ABOUT_SLOTS);
            }
            Ok(())
        })
    }

    /// Takes a setting out of the file, so that its default holds.
    ///
    /// # Errors
    /// When the file cannot be understood or written; it is as it was then.
    pub fn unset(&self, name: SettingName) -> Result<(), Error> {
        self.change(|document| {
            let (table, key) = name.place();
            if let Some(table) = document.get_mut(table).and_then(Item::as_table_like_mut) {
                table.remove(key);
                table.remove(&format!("{key}_at"));
            }
            Ok(())
        })
    }

    fn change(&self, change: impl FnOnce(&mut DocumentMut) -> Result<(), String>) -> Result<(), Error> {
        let text = private_file::read(&self.path)?.unwrap_or_else(|| HEAD.to_owned());
        // Checked, so that a change does not hide that a hand has made it wrong.
        let mut document = self.parse(&text)?.into_mut();
        change(&mut document).map_err(|why| self.wrong(&text, None, &why))?;
        self.write(&document.to_string())
    }
}

/// The table of this name in another; made if it is not there, and without a heading of its own if it only holds others.
fn child<'a>(parent: &'a mut dyn TableLike, name: &str, holds_others: bool) -> Result<&'a mut dyn TableLike, String> {
    if !parent.contains_key(name) {
        let mut table = Table::new();
        table.set_implicit(holds_others);
        parent.insert(name, Item::Table(table));
    }
    parent.get_mut(name).and_then(Item::as_table_like_mut).ok_or_else(|| no_table(name))
}

fn put_limit(table: &mut dyn TableLike, direction: Direction, rate: Rate, hours: &[Hours]) -> Result<(), String> {
    let (word, at) = (direction.word(), format!("{}_at", direction.word()));
    if hours.is_empty() {
        put(table, word, Value::from(written(rate)));
        table.remove(&at);
        return Ok(());
    }
    let windows = child(table, &at, false)?;
    for hours in hours {
        // As they may be written by hand, and more than once: the first is changed, the others go, or the smallest would hold.
        let is_same = |key: &&str| key.parse::<Hours>() == Ok(*hours);
        let mut same =
            windows.iter().map(|(key, _)| key).filter(is_same).map(str::to_owned).collect::<Vec<_>>().into_iter();
        let known = same.next().unwrap_or_else(|| hours.to_string());
        same.for_each(|key| drop(windows.remove(&key)));
        put(windows, &known, Value::from(written(rate)));
    }
    Ok(())
}

/// Whether the table of a group limits nothing.
fn is_without_limits(group: &dyn TableLike) -> bool {
    let is_off = |item: &Item| item.as_str().is_some_and(|text| text.trim() == "off");
    group.iter().all(|(name, item)| name == "name" || is_off(item))
}

/// Sets a value; what a person wrote around it stays.
fn put(table: &mut dyn TableLike, name: &str, mut value: Value) {
    match table.get_mut(name).and_then(Item::as_value_mut) {
        Some(old) => {
            *value.decor_mut() = old.decor().clone();
            *old = value;
        }
        None => drop(table.insert(name, Item::Value(value))),
    }
}
