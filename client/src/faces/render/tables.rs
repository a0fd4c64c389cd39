//! Listings as tables. Names that may be of any width come last; elsewhere a long one puts only its own row out of line.

use common::escape::Escaped;
use common::wire::client::Relation;
use unicode_width::UnicodeWidthStr;

use crate::engine::outcome::{
    DeviceRow, DownloadRow, FileRow, GroupRow, InviteRow, Kind, LimitRow, SettingRow, ShareRow, SubscriptionRow,
    TreeRow, invite_word, relation_word,
};
use crate::error::shown;
use crate::units::{age, percent, rate, size};

/// Widest column; what is longer pushes the rest of its row aside.
const MAX_COLUMN: usize = 24;

pub(super) fn groups_table(groups: &[GroupRow]) -> String {
    table(
        ["GROUP", "ADMIN", "MEMBERS", "YOU"],
        groups.iter().map(|g| {
            let relation = if g.relation == Relation::None { "-" } else { relation_word(g.relation) };
            [g.group.to_string(), g.admin.to_string(), g.members.to_string(), relation.to_owned()]
        }),
    )
}

pub(super) fn files_table(files: &[FileRow]) -> String {
    table(
        ["SIZE", "SEEDERS", "AGE", "HERE", "UPLOADER", "ID", "NAME"],
        files.iter().map(|f| {
            [
                size(f.size),
                f.seeders.to_string(),
                f.published.map_or_else(|| "-".to_owned(), |at| age(at.age())),
                if f.here { "yes" } else { "-" }.to_owned(),
                f.uploader.to_string(),
                format!("{:.8}", f.file_id),
                match f.kind {
                    Kind::File => f.name.to_string(),
                    Kind::Folder => format!("{}/", f.name),
                },
            ]
        }),
    )
}

pub(super) fn tree_table(files: &[TreeRow]) -> String {
    table(
        ["SIZE", "PATH"],
        files.iter().map(|f| match f.kind {
            Kind::File => [size(f.size), Escaped(&f.path).to_string()],
            Kind::Folder => ["-".to_owned(), format!("{}/", Escaped(&f.path))],
        }),
    )
}

pub(super) fn downloads_table(downloads: &[DownloadRow]) -> String {
    table(
        ["N", "STATE", "DONE", "SIZE", "RATE", "PEERS", "GROUP", "NAME"],
        downloads.iter().map(|d| {
            let rate = if d.rate > 0 { rate(d.rate) } else { "-".to_owned() };
            let name = match &d.reason {
                Some(reason) => format!("{}  ({})", d.label(), Escaped(reason)),
                None => d.label(),
            };
            let done = format!("{}%", percent(d.have, d.size));
            let state = d.state.word().to_owned();
            [d.n.to_string(), state, done, size(d.size), rate, d.peers.to_string(), d.group.to_string(), name]
        }),
    )
}

pub(super) fn shares_table(shares: &[ShareRow]) -> String {
    table(
        ["STATE", "RATE", "PEERS", "GIVEN", "SIZE", "GROUP", "NAME"],
        shares.iter().map(|s| {
            let rate = if s.rate > 0 { rate(s.rate) } else { "-".to_owned() };
            let name = match &s.reason {
                Some(reason) => format!("{}  ({})", s.name, Escaped(reason)),
                None => s.name.to_string(),
            };
            let state = s.state.word().to_owned();
            [state, rate, s.peers.to_string(), size(s.sent), size(s.size), s.group.to_string(), name]
        }),
    )
}

pub(super) fn limits_table(limits: &[LimitRow]) -> String {
    table(
        ["DIRECTION", "OF", "RATE", "AT", "NOW"],
        limits.iter().map(|l| {
            let whose = match (&l.group, l.n) {
                (Some(group), _) => Escaped(group).to_string(),
                (None, Some(n)) => format!("download {n}"),
                (None, None) => "this client".to_owned(),
            };
            [
                l.direction.word().to_owned(),
                whose,
                l.rate.map_or_else(|| "off".to_owned(), rate),
                l.at.as_deref().map_or_else(|| "-".to_owned(), |at| Escaped(at).to_string()),
                if l.now { "holds" } else { "" }.to_owned(),
            ]
        }),
    )
}

pub(super) fn settings_table(settings: &[SettingRow]) -> String {
    table(
        ["NAME", "VALUE", "FROM"],
        settings.iter().map(|s| {
            let from = crate::settings::said(s.name, s.from);
            let next =
                s.next_start.map(|given| format!("; {} at the next start", crate::settings::said(s.name, given)));
            let hours = if s.by_hours { "; at some hours another: `limit` shows which" } else { "" };
            [s.name.word().to_owned(), Escaped(&s.value).to_string(), from + &next.unwrap_or_default() + hours]
        }),
    )
}

pub(super) fn invites_table(invites: &[InviteRow]) -> String {
    table(
        ["N", "STATE", "USED", "UNTIL", "BY"],
        invites.iter().map(|i| {
            let used = format!("{} of {}", i.used, i.uses);
            [i.n.to_string(), invite_word(i.state).replace('_', " "), used, i.expires.to_string(), i.by.to_string()]
        }),
    )
}

pub(super) fn subscriptions_table(subscriptions: &[SubscriptionRow]) -> String {
    table(
        ["N", "GROUP", "NAMES", "FETCHED", "HERE", "WAITING", "DESTINATION"],
        subscriptions.iter().map(|s| {
            let glob = s.glob.as_ref().map_or_else(|| "all".to_owned(), |glob| Escaped(glob).to_string());
            let destination = match &s.problem {
                Some(problem) => format!("{}  ({problem})", shown(&s.destination)),
                None => shown(&s.destination),
            };
            let counts = [s.fetched, s.here, s.waiting].map(|n| n.to_string());
            let [fetched, here, waiting] = counts;
            [s.n.to_string(), s.group.to_string(), glob, fetched, here, waiting, destination]
        }),
    )
}

pub(super) fn devices_table(devices: &[DeviceRow]) -> String {
    table(
        ["DEVICE", "SINCE", ""],
        devices.iter().map(|d| {
            let here = if d.here { "this device" } else { "" };
            [format!("{:.8}", d.device), d.since.clone(), here.to_owned()]
        }),
    )
}

pub(super) fn table<const N: usize>(head: [&str; N], rows: impl Iterator<Item = [String; N]>) -> String {
    let rows: Vec<_> = std::iter::once(head.map(str::to_owned)).chain(rows).collect();
    if rows.len() == 1 {
        return String::new();
    }
    let width = |column: usize| {
        rows.iter().map(|row| row[column].width()).filter(|width| *width <= MAX_COLUMN).max().unwrap_or_default()
    };
    let widths: [usize; N] = std::array::from_fn(width);
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| padded(cell, width));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Format strings pad by characters, of which some take two columns and some none.
fn padded(cell: &str, width: usize) -> String {
    format!("{cell}{}", " ".repeat(width.saturating_sub(cell.width())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_what_is_shown_however_many_characters_that_is() {
        let rows =
            [["1", "日本*", "a"], ["2", "*.bin", "b"], ["3", "e\u{301}*", "c"]].map(|row| row.map(str::to_owned));
        let table = table(["N", "NAMES", "TO"], rows.into_iter());
        let columns = table.lines().map(|line| line.rsplit_once(' ').map(|(before, _)| before.width()));
        assert!(columns.clone().all(|width| width == Some(9)), "{:?}\n{table}", columns.collect::<Vec<_>>());
    }
}
