//! Shoal's own files: which are never shared, and which are never taken from others. Pure, but for looking what lies where.
//!
//! Whoever has a key or a data directory acts as its owner. A file is told to be one by its name; a directory, by two
//! names that lie in it together. One of the two is never taken from others ([`is_refused`]): so nobody makes the directory of
//! somebody else into one, and no plain file of such a name keeps others from being shared.

use std::path::{Path, PathBuf};

use common::file_names::{CLIENT_LOCK, CLUSTER_SECRET, DEVICE_KEY, TRACKER_DATABASE, TRACKER_LOCK};
use common::tree::folded;

use crate::error::{Error, shown};

/// What a client keeps, besides its key, of what it was told to do.
const KEPT: [&str; 8] = [
    "downloads",
    "shares.json",
    "folders.json",
    "subscriptions.json",
    "copies.json",
    "news.json",
    "known_trackers",
    "session",
];

/// Why a file of this name is never shared, wherever it lies: copies, and what was left of one that was being made, have the
/// name with something before or behind it.
pub(crate) fn key(name: &str) -> Option<&'static str> {
    let name = folded(name);
    let name = name.as_str();
    let is_of = |kept: &str| {
        let rest = name.strip_prefix('.').unwrap_or(name).strip_prefix(kept);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '~', '-', '_', ' ']))
    };
    if is_of(CLUSTER_SECRET) {
        Some("by its name it is the secret of a cluster of trackers; under another name it can be shared")
    } else if is_of(DEVICE_KEY) {
        Some("by its name it is the key of a device; under another name it can be shared")
    } else if is_of(TRACKER_DATABASE) {
        Some("by its name it is the database of a tracker; under another name it can be shared")
    } else {
        None
    }
}

/// Why a directory with these entries is never shared, nor anything in it.
pub(crate) fn data_directory(has: impl Fn(&str) -> bool) -> Option<&'static str> {
    if has(DEVICE_KEY) && (has(CLIENT_LOCK) || KEPT.iter().any(|kept| has(kept))) {
        Some("it is the data directory of a client, with its keys and logins")
    } else if has(TRACKER_DATABASE) && has(TRACKER_LOCK) {
        Some("it is the data directory of a tracker, with what everybody's passwords are checked by")
    } else {
        None
    }
}

/// Why the file at `path` is never shared. Looks at the directory that it is in.
pub(crate) fn secret(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str().unwrap_or_default();
    let in_ours = path.parent().and_then(|dir| Some(format!("it lies in {}; {}", shown(dir), directory(dir)?)));
    in_ours.or_else(|| key(name).map(str::to_owned))
}

/// Which of `paths`, files of a folder, are never shared.
pub(crate) fn secrets<'a>(paths: impl Iterator<Item = &'a str> + Clone) -> Vec<&'a str> {
    let split = |path: &'a str| path.rsplit_once('/').unwrap_or(("", path));
    let mut marked: std::collections::HashMap<&str, Vec<&str>> = std::collections::HashMap::new();
    for (dir, name) in paths.clone().map(split) {
        if [DEVICE_KEY, CLIENT_LOCK, TRACKER_DATABASE, TRACKER_LOCK].contains(&name) || KEPT.contains(&name) {
            marked.entry(dir).or_default().push(name);
        }
    }
    let ours: Vec<&str> = marked
        .into_iter()
        .filter(|(_, names)| data_directory(|name| names.contains(&name)).is_some())
        .map(|(dir, _)| dir)
        .collect();
    let is_below =
        |path: &str, dir: &str| dir.is_empty() || path.strip_prefix(dir).is_some_and(|rest| rest.starts_with('/'));
    let is_secret = |path: &&'a str| key(split(path).1).is_some() || ours.iter().any(|dir| is_below(path, dir));
    paths.filter(is_secret).collect()
}

/// Whether nothing of this name, a file's or a folder's, is taken from others: it would make its directory one of ours.
pub(crate) fn is_refused(name: &str) -> bool {
    key(name).is_some() || folded(name) == TRACKER_LOCK
}

/// Refuses to put anything at `path` if that is a data directory, or lies in one.
///
/// # Errors
/// With the data directory.
pub(crate) fn refuse_at(path: &Path) -> Result<(), Error> {
    refuse(path.ancestors().find_map(|dir| Some((dir.to_owned(), directory(dir)?))), "choose another directory")
}

/// Refuses to put files at these `paths` below `root`, if one of them would go into a data directory.
///
/// # Errors
/// With the data directory.
pub(crate) fn refuse_below<'a>(root: &Path, paths: impl Iterator<Item = &'a str>) -> Result<(), Error> {
    refuse(within(root, paths), "leave it out with --except, or choose another destination")
}

fn refuse(ours: Option<(PathBuf, &str)>, remedy: &str) -> Result<(), Error> {
    let text = |(ours, why): (PathBuf, &str)| format!("nothing is put into {}: {why}; {remedy}", shown(&ours));
    ours.map_or(Ok(()), |ours| Err(Error::InvalidArgument(text(ours))))
}

/// A data directory below `root` that files at these `paths` would go into, and why it is one.
fn within<'a>(root: &Path, paths: impl Iterator<Item = &'a str>) -> Option<(PathBuf, &'static str)> {
    let mut seen = std::collections::HashSet::new();
    for path in paths {
        // From the innermost folder outwards; what is above one that was looked at was as well.
        let mut folder = path;
        while let Some((above, _)) = folder.rsplit_once('/').filter(|(above, _)| seen.insert(*above)) {
            let dir = root.join(above);
            if let Some(why) = directory(&dir) {
                return Some((dir, why));
            }
            folder = above;
        }
    }
    None
}

/// Whether what is at `path` looks as if a client had kept it, and no client has: it has come from elsewhere.
pub(crate) fn is_planted(path: &Path) -> bool {
    !is_there(path, DEVICE_KEY) && KEPT.iter().any(|name| is_there(path, name))
}

/// Whether clients keep their data below `data`, each in a directory of its own.
pub(crate) fn has_clients(data: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(data) else { return false };
    entries.flatten().any(|entry| is_there(&entry.path(), DEVICE_KEY))
}

fn directory(path: &Path) -> Option<&'static str> {
    data_directory(|name| is_there(path, name))
}

fn is_there(dir: &Path, name: &str) -> bool {
    dir.join(name).symlink_metadata().is_ok()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn keys_are_told_by_their_names_and_by_those_of_copies() {
        for name in [
            "device.key",
            "Device.KEY",
            "tracker.db-wal",
            "cluster.secret",
            "cluster.secret~",
            ".cluster.secret.0123456789abcdef.new",
            "device.key.bak",
        ] {
            assert!(key(name).is_some(), "{name}");
        }
        for name in ["device.keys", "my-device.key", "session", "tracker.dbs", "lock", "cluster.secrets"] {
            assert_eq!(key(name), None, "{name}");
        }
    }

    #[test]
    fn a_directory_is_ours_by_two_names_of_which_one_never_comes_from_others() {
        let of = |names: &[&str]| data_directory(|name| names.contains(&name)).is_some();
        assert!(of(&["device.key", "lock"]) && of(&["device.key", "session"]) && of(&["tracker.db", "tracker.lock"]));
        for others in [&["device.key"][..], &["lock"], &["tracker.db"], &["tracker.db", "lock"], &["session", "lock"]] {
            assert!(!of(others), "{others:?}");
        }
        for refused in ["device.key", "DEVICE.Key", "tracker.lock", "cluster.secret"] {
            assert!(is_refused(refused), "{refused}");
        }
        assert!(!is_refused("tracker.txt") && !is_refused("lock") && !is_refused("session"));
    }

    #[test]
    fn what_is_never_shared_is_found_in_a_list_of_paths() {
        let paths = [
            "a.txt",
            "certs/device.key",
            "certs/other.pem",
            "data/c/copies/x",
            "data/c/device.key",
            "data/c/lock",
            "data/c-2/y",
            "db/tracker.txt",
        ];
        let found = secrets(paths.iter().copied());
        assert_eq!(found, ["certs/device.key", "data/c/copies/x", "data/c/device.key", "data/c/lock"]);
    }

    #[test]
    fn what_lies_in_a_data_directory_is_told_and_what_was_planted_too() {
        let dir = tempfile::tempdir().expect("a directory");
        let ours = dir.path().join("data/client-1");
        fs::create_dir_all(ours.join("shared/lab")).expect("made");
        for name in ["device.key", "lock", "shares.json"] {
            fs::write(ours.join(name), "x").expect("written");
        }
        let refused = refuse_at(&ours.join("shared/lab")).expect_err("in it").to_string();
        assert!(refused.contains(&shown(&ours)), "{refused}");
        assert!(refuse_at(dir.path()).is_ok() && has_clients(&dir.path().join("data")) && !has_clients(dir.path()));
        let paths = ["a", "data/client-1/shared/x", "data/other/y"];
        let refused = refuse_below(dir.path(), paths.into_iter()).expect_err("it would go there").to_string();
        assert!(refused.contains(&shown(&ours)) && refused.contains("--except"), "{refused}");
        assert!(refuse_below(dir.path(), ["a", "data/other/y"].into_iter()).is_ok());
        assert!(secret(&ours.join("shares.json")).is_some() && !is_planted(&ours));
        fs::remove_file(ours.join("device.key")).expect("removed");
        assert!(is_planted(&ours) && !is_planted(dir.path()));
    }
}
