//! What holds, as a person would write it into the file: for `--print-config`. Pure.

use std::fmt::Write;

use common::id::GroupId;
use toml_edit::Value;

use super::limit::{Limit, written};
use super::{Direction, GroupLimit, Origin, SettingName, UploadSlots, Ways};

/// What holds, with where each value comes from: the form is that of `settings.toml`, below `head`, which is a comment.
pub(crate) fn print<'a>(
    head: &str,
    limit: &Ways<Limit>,
    groups: impl IntoIterator<Item = (&'a GroupId, &'a GroupLimit)>,
    slots: UploadSlots,
    origin: impl Fn(SettingName) -> Origin,
) -> String {
    let mut text: String = head.lines().map(|line| format!("# {line}\n")).collect();
    text += "\n[limit]\n";
    for (direction, name) in Direction::ALL.into_iter().zip([SettingName::LimitUp, SettingName::LimitDown]) {
        text += &explained(name, origin(name));
        text += &format!("{} = {}\n", direction.word(), quoted(&written(limit.of(direction).rate)));
    }
    text += &windows("limit", limit);
    for (id, group) in groups {
        let table = format!("limit.group.{id}");
        text += &format!("\n[{table}]\nname = {}\n", quoted(&group.name));
        for direction in Direction::ALL {
            text += &format!("{} = {}\n", direction.word(), quoted(&written(group.limit.of(direction).rate)));
        }
        text += &windows(&table, &group.limit);
    }
    let slots = slots.0.map_or_else(|| quoted("off"), |slots| slots.to_string());
    text + &format!(
        "\n[seeding]\n{}slots = {slots}\n",
        explained(SettingName::SeedingSlots, origin(SettingName::SeedingSlots))
    )
}

fn explained(name: SettingName, origin: Origin) -> String {
    format!("# {}: {} ({})\n", name.word(), name.about(), said(name, origin))
}

/// Where a value comes from, for people.
pub(crate) fn said(name: SettingName, origin: Origin) -> String {
    match origin {
        Origin::Default => "the default".to_owned(),
        Origin::File => "from settings.toml".to_owned(),
        Origin::Environment => format!("from {} in the environment", name.variable()),
        Origin::Flag => format!("from {} on the command line", name.option()),
    }
}

fn windows(table: &str, limit: &Ways<Limit>) -> String {
    let mut text = String::new();
    for direction in Direction::ALL {
        let windows = &limit.of(direction).windows;
        if !windows.is_empty() {
            let _ = write!(text, "\n[{table}.{}_at]\n", direction.word()); // A string takes all that is written.
        }
        for (hours, rate) in windows {
            let _ = writeln!(text, "{} = {}", quoted(&hours.to_string()), quoted(&written(*rate)));
        }
    }
    text
}

fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}
