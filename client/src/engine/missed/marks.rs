//! Which news were shown, and what this device itself has to tell; per user, over restarts.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use common::id::UserId;
use serde::{Deserialize, Serialize};

use crate::engine::outcome::NewsRow;
use crate::error::Error;
use crate::private_file;

const FILE_NAME: &str = "news.json";
const VERSION: u32 = 1;
/// News of this device that are kept for a user; of more, the last ones.
const MAX_OWN: usize = 200;
/// What was told is remembered of so many: many times what the trackers tell.
const MAX_READ: usize = 16_384;
/// How long they are kept, in seconds: as long as the trackers tell theirs.
const KEPT_FOR: u64 = 30 * 24 * 3600;
/// How much longer it is known that they were told, since clocks differ, in seconds.
const SKEW: u64 = 24 * 3600;

/// What is kept of all users. Clones are the same.
#[derive(Debug, Clone)]
pub struct ReadMarks(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    file: PathBuf,
    /// Held while the file is written.
    changing: Mutex<()>,
    /// By the user's id. Not held over the disk: tasks look at it.
    users: Mutex<BTreeMap<String, Kept>>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Kept {
    /// When news were last shown, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    read_at: Option<u64>,
    /// Those that were told, by what they are known: when that was last noted, in seconds since 1970. What a tracker does not
    /// tell at the moment may be told again by the other.
    #[serde(default)]
    read: BTreeMap<u64, u64>,
    #[serde(default)]
    own: Vec<(u64, NewsRow)>,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    version: u32,
    users: BTreeMap<String, Kept>,
}

impl Kept {
    /// Notes what was told by `now`, and forgets what no tracker tells any more.
    fn note(&mut self, keys: impl IntoIterator<Item = u64>, now: u64) {
        self.read.extend(keys.into_iter().map(|key| (key, now)));
        self.read.retain(|_, at| *at + KEPT_FOR + SKEW >= now);
        if let Some(surplus) = self.read.len().checked_sub(MAX_READ).filter(|surplus| *surplus > 0) {
            let mut oldest: Vec<(u64, u64)> = self.read.iter().map(|(key, at)| (*at, *key)).collect();
            oldest.select_nth_unstable(surplus - 1);
            for (_, key) in &oldest[..surplus] {
                self.read.remove(key);
            }
        }
    }
}

impl ReadMarks {
    /// What is known under `data_dir`. A file that cannot be read counts as none: then everything is told again. Blocks on
    /// the disk.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn open(data_dir: &Path) -> Result<Self, Error> {
        let file = data_dir.join(FILE_NAME);
        let stored = private_file::read(&file)?.and_then(|text| serde_json::from_str::<Stored>(&text).ok());
        let users = stored.filter(|s| s.version == VERSION).map(|s| s.users).unwrap_or_default();
        Ok(Self(Arc::new(Inner { file, changing: Mutex::default(), users: Mutex::new(users) })))
    }

    /// When news were last shown to a user here, in seconds since 1970.
    pub fn read_at(&self, user: UserId) -> Option<u64> {
        self.locked().get(&user.to_string()).and_then(|kept| kept.read_at)
    }

    /// What was shown, by its keys.
    pub fn read(&self, user: UserId) -> HashSet<u64> {
        self.locked().get(&user.to_string()).map(|kept| kept.read.keys().copied().collect()).unwrap_or_default()
    }

    /// What this device has to tell, the first first.
    pub fn own(&self, user: UserId) -> Vec<(u64, NewsRow)> {
        self.locked().get(&user.to_string()).map(|kept| kept.own.clone()).unwrap_or_default()
    }

    /// What is known has been shown. Blocks on the disk.
    ///
    /// # Errors
    /// When it cannot be saved: it is as it was.
    pub fn set_read(&self, user: UserId, read: HashSet<u64>, at: u64) -> Result<(), Error> {
        self.change(user, |kept| {
            kept.note(read, at);
            kept.read_at = Some(at);
        })
    }

    /// Some more has been shown. Blocks on the disk.
    ///
    /// # Errors
    /// When it cannot be saved: it is as it was.
    pub fn add_read(&self, user: UserId, read: impl IntoIterator<Item = u64>, at: u64) -> Result<(), Error> {
        self.change(user, |kept| kept.note(read, at))
    }

    /// Adds what this device has to tell, or has told already. Blocks on the disk.
    ///
    /// # Errors
    /// When it cannot be saved: it is as it was.
    pub fn add(&self, user: UserId, row: NewsRow, was_told: bool) -> Result<(), Error> {
        self.change(user, |kept| {
            let oldest = row.at.0.saturating_sub(KEPT_FOR);
            kept.own.retain(|(_, row)| row.at.0 >= oldest);
            let surplus = (kept.own.len() + 1).saturating_sub(MAX_OWN);
            kept.own.drain(..surplus);
            let (key, at) = (rand::random(), row.at.0);
            kept.own.push((key, row));
            kept.note(was_told.then_some(key), at);
        })
    }

    fn change(&self, user: UserId, change: impl FnOnce(&mut Kept)) -> Result<(), Error> {
        let _one = self.0.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut changed = self.locked().clone();
        change(changed.entry(user.to_string()).or_default());
        let stored = Stored { version: VERSION, users: changed };
        let text = serde_json::to_vec(&stored).map_err(|e| Error::from_io("write", &self.0.file, e.into()))?;
        private_file::replace(&self.0.file, &text)?;
        *self.locked() = stored.users;
        Ok(())
    }

    fn locked(&self) -> MutexGuard<'_, BTreeMap<String, Kept>> {
        self.0.users.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::news::Happening;
    use crate::engine::outcome::Moment;

    fn row(at: u64) -> NewsRow {
        let (group, user, name, size, file_id) = (None, None, None, None, None);
        let (event, new_version, text) = (Happening::Downloaded, false, "x".to_owned());
        NewsRow { at: Moment(at), event, group, user, name, size, file_id, new_version, text }
    }

    #[test]
    fn what_was_shown_is_known_after_a_restart_and_by_each_user_alone() {
        let dir = tempfile::tempdir().expect("a directory");
        let (alice, bob) = (UserId::new([1; 16]), UserId::new([2; 16]));
        let marks = ReadMarks::open(dir.path()).expect("opened");
        assert_eq!((marks.read_at(alice), marks.read(alice).len()), (None, 0));
        marks.set_read(alice, HashSet::from([5, u64::MAX]), 1_700_000_000).expect("saved");
        marks.add_read(alice, [7], 1_700_000_000).expect("saved");
        marks.add(alice, row(1_700_000_000), false).expect("saved");
        for marks in [ReadMarks::open(dir.path()).expect("opened"), marks] {
            assert_eq!(marks.read_at(alice), Some(1_700_000_000));
            assert_eq!(marks.read(alice), HashSet::from([5, 7, u64::MAX]));
            assert_eq!(marks.own(alice).len(), 1);
            assert_eq!((marks.read_at(bob), marks.own(bob).len()), (None, 0));
        }
    }

    #[test]
    fn what_was_told_stays_known_for_as_long_as_it_may_be_told_again_and_no_longer() {
        let dir = tempfile::tempdir().expect("a directory");
        let (user, marks, at) = (UserId::new([1; 16]), ReadMarks::open(dir.path()).expect("opened"), 1_700_000_000);
        marks.set_read(user, HashSet::from([1]), at).expect("saved");
        marks.set_read(user, HashSet::from([2]), at + 9).expect("saved");
        assert_eq!(marks.read(user), HashSet::from([1, 2]), "one tracker knows the one, another the other");
        marks.add_read(user, [3], at + KEPT_FOR + SKEW + 5).expect("saved");
        assert_eq!(marks.read(user), HashSet::from([2, 3]));
    }

    #[test]
    fn of_what_was_told_so_much_is_known_and_the_last_of_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let (user, marks, most) = (UserId::new([1; 16]), ReadMarks::open(dir.path()).expect("opened"), MAX_READ as u64);
        marks.add_read(user, 0..most, 100).expect("saved");
        marks.add_read(user, most..most + 9, 101).expect("saved");
        let read = marks.read(user);
        assert!(read.len() == MAX_READ && (most..most + 9).all(|key| read.contains(&key)));
    }

    #[test]
    fn what_cannot_be_saved_is_not_known() {
        let dir = tempfile::tempdir().expect("a directory");
        let (user, marks) = (UserId::new([1; 16]), ReadMarks::open(dir.path()).expect("opened"));
        dir.close().expect("removed");
        assert!(marks.add_read(user, [1], 5).is_err() && marks.read(user).is_empty());
    }

    #[test]
    fn what_this_device_tells_is_bounded_in_number_and_age() {
        let dir = tempfile::tempdir().expect("a directory");
        let (user, marks) = (UserId::new([1; 16]), ReadMarks::open(dir.path()).expect("opened"));
        marks.add(user, row(5), false).expect("saved");
        (0..MAX_OWN as u64 + 3).for_each(|n| marks.add(user, row(1_700_000_000 + n), true).expect("saved"));
        let own = marks.own(user);
        assert_eq!((own.len(), own[0].1.at), (MAX_OWN, Moment(1_700_000_003)));
        assert!(marks.read(user).contains(&own[0].0), "told at once");
    }

    #[test]
    fn a_damaged_file_is_as_good_as_none() {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join(FILE_NAME), "{").expect("written");
        assert!(ReadMarks::open(dir.path()).expect("opened").read(UserId::new([1; 16])).is_empty());
    }
}
