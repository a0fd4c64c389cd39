//! Room on the disks, and who may read and write what is on them. Blocks on the disk.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use common::file_names::DEVICE_KEY;

use crate::download::DownloadRow;
use crate::engine::outcome::Finding;
use crate::error::shown;
use crate::private_file;
use crate::settings::Settings;
use crate::units::size;

/// Room below which a disk counts as full, in bytes.
const ENOUGH: u64 = 64 << 20;
/// Files that nobody else may read, as far as they are there.
const SECRETS: [&str; 3] = [DEVICE_KEY, "session", "known_trackers"];
/// The name of a file that is written to see whether that is possible.
const TRIAL: &str = "doctor";

/// Looks at the data directory of `settings`, and at where unfinished downloads go.
pub(super) fn look(settings: &Settings, downloads: &[DownloadRow]) -> Vec<Finding> {
    let data_dir = settings.path().parent().unwrap_or(Path::new("."));
    let mut findings = vec![room(data_dir), wanted(&missing(downloads))];
    findings.extend(permissions(data_dir));
    findings.push(match settings.read() {
        Ok(_) => Finding::good("settings.toml can be read"),
        Err(e) => Finding::bad(format!("the settings cannot be read: {e}"), "correct the file, or move it away"),
    });
    findings
}

/// Free bytes for this user.
fn free(path: &Path) -> io::Result<u64> {
    let s = rustix::fs::statvfs(path)?;
    Ok(s.f_bavail.saturating_mul(s.f_frsize))
}

fn room(data_dir: &Path) -> Finding {
    match free(data_dir) {
        Ok(free) if free < ENOUGH => Finding::bad(
            format!("{} are free in the data directory {}", size(free), shown(data_dir)),
            "make room: keys, logins and the state of downloads are written there",
        ),
        Ok(free) => Finding::good(format!("{} are free in the data directory {}", size(free), shown(data_dir))),
        Err(e) => Finding::bad(
            format!("the data directory {} cannot be looked at: {e}", shown(data_dir)),
            "is it still there, and yours?",
        ),
    }
}

/// What unfinished downloads still need, by the disk that they are on.
type Missing = BTreeMap<u64, (PathBuf, u64)>;

fn missing(downloads: &[DownloadRow]) -> Missing {
    let mut missing = Missing::new();
    for row in downloads.iter().filter(|row| row.progress.done.is_none()) {
        let Some((directory, disk)) = row.path.ancestors().skip(1).find_map(|path| Some((path, disk_of(path)?))) else {
            continue;
        };
        let entry = missing.entry(disk).or_insert_with(|| (directory.to_owned(), 0));
        // A file has its room from the beginning, a folder takes it as it comes.
        let missing =
            if row.progress.files.is_some() { row.progress.size.saturating_sub(row.progress.have) } else { 0 };
        entry.1 = entry.1.saturating_add(missing);
    }
    missing
}

#[cfg(unix)]
fn disk_of(path: &Path) -> Option<u64> {
    fs::metadata(path).ok().map(|found| std::os::unix::fs::MetadataExt::dev(&found))
}

/// Whether there is room for the downloads that are not complete.
fn wanted(missing: &Missing) -> Finding {
    if missing.is_empty() {
        return here();
    }
    for (directory, bytes) in missing.values() {
        let room = free(directory).unwrap_or_default();
        if room < *bytes {
            return Finding::bad(
                format!(
                    "{} are free in {}, and unfinished downloads there need {}",
                    size(room),
                    shown(directory),
                    size(*bytes)
                ),
                "make room, or give some up with `cancel_download`",
            );
        }
    }
    Finding::good("there is room for the downloads that are not complete")
}

/// Where downloads would go that name no other directory.
fn here() -> Finding {
    let room = std::env::current_dir().and_then(|here| free(&here));
    match room {
        Ok(room) if room >= ENOUGH => Finding::good(format!("{} are free where this client was started", size(room))),
        Ok(room) => Finding::bad(format!("{} are free where this client was started", size(room)), "make room there"),
        Err(e) => Finding::bad(
            format!("the directory that this client was started in cannot be looked at: {e}"),
            "start it in another one, or give downloads a full path",
        ),
    }
}

/// Who may read and write the data directory and what is in it.
fn permissions(data_dir: &Path) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(mode) = open_to_others(data_dir) {
        findings.push(Finding::bad(
            format!("others may use the data directory {} (mode {mode:o})", shown(data_dir)),
            format!("chmod 700 {}", quoted(data_dir)),
        ));
    }
    for path in SECRETS.map(|name| data_dir.join(name)) {
        if let Some(mode) = open_to_others(&path) {
            findings.push(Finding::bad(
                format!("others may read {} (mode {mode:o})", shown(&path)),
                format!("chmod 600 {}", quoted(&path)),
            ));
        }
    }
    if findings.is_empty() {
        findings.push(Finding::good("nobody else can read this client's keys and login"));
    }
    let trial = data_dir.join(TRIAL);
    findings.push(match private_file::replace(&trial, b"").and_then(|()| private_file::remove(&trial)) {
        Ok(()) => Finding::good("the data directory can be written"),
        Err(e) => Finding::bad(
            format!("the data directory cannot be written: {e}"),
            "make it yours, or mount its disk for writing",
        ),
    });
    findings
}

/// The mode of something that others than its owner may use.
#[cfg(unix)]
fn open_to_others(path: &Path) -> Option<u32> {
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(path).ok()?.permissions()) & 0o777;
    (mode & 0o077 != 0).then_some(mode)
}

fn quoted(path: &Path) -> String {
    let text = shown(path);
    shlex::try_quote(&text).map_or_else(|_| text.clone(), Into::into)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn bad(data_dir: &Path) -> Vec<String> {
        let findings = look(&Settings::at(data_dir), &[]);
        findings.into_iter().filter(|finding| !finding.ok).map(|finding| finding.what).collect()
    }

    fn set(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("set");
    }

    #[test]
    fn what_others_may_read_is_named_with_the_line_that_mends_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let (data_dir, key) = (dir.path(), dir.path().join("device.key"));
        set(data_dir, 0o700);
        private_file::replace(&key, b"x").expect("written");
        assert!(bad(data_dir).is_empty(), "{:?}", bad(data_dir));
        set(&key, 0o640);
        set(data_dir, 0o755);
        let findings = look(&Settings::at(data_dir), &[]);
        let remedies: Vec<_> = findings.iter().filter(|f| !f.ok).filter_map(|f| f.remedy.as_deref()).collect();
        assert_eq!(remedies, [format!("chmod 700 {}", quoted(data_dir)), format!("chmod 600 {}", quoted(&key))]);
        assert_eq!(fs::read_dir(data_dir).expect("listed").count(), 1, "nothing is left behind");
    }

    #[test]
    fn settings_that_cannot_be_understood_are_found() {
        let dir = tempfile::tempdir().expect("a directory");
        set(dir.path(), 0o700);
        fs::write(dir.path().join("settings.toml"), "[limit]\nup = 'fast'\n").expect("written");
        let found = bad(dir.path());
        assert!(found.len() == 1 && found[0].contains("line 2"), "{found:?}");
        assert!(!bad(&dir.path().join("gone")).is_empty());
    }
}
