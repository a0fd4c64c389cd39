//! The subscriptions of one data directory, in a file.
//!
//! Invariant: what [`Subscriptions`] holds is what is on the disk; a change that cannot be saved is undone. An item is kept
//! until its file is there, so that whatever is killed begins it again, and finds its download on the list.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use common::id::{FileId, FileName, GroupId, GroupName, UserId};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::look::Known;
use crate::download::unlisted::Publication;
use crate::error::{Error, shown};
use crate::private_file;
use crate::transfer::saved::{path, text};

const FILE_NAME: &str = "subscriptions.json";
const VERSION: u32 = 1;
/// Subscriptions that a user may have on one device.
const MAX_SUBSCRIPTIONS: usize = 100;

/// One subscription.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Subscription {
    /// Its number, from 1; never used again in this data directory.
    pub(super) n: u64,
    #[serde(with = "text")]
    pub(super) user: UserId,
    /// What the group was called then.
    pub(super) group: GroupName,
    #[serde(with = "text")]
    pub(super) group_id: GroupId,
    /// Only names that fit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) glob: Option<String>,
    /// The directory, absolute.
    #[serde(with = "path")]
    pub(super) destination: PathBuf,
    /// Shares that have come.
    pub(super) fetched: u64,
    /// Shares that did not have to come: this device had them.
    #[serde(default)]
    pub(super) here: u64,
    /// What was last wrong, if nothing has come since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) problem: Option<String>,
    /// Which share that is about, if it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) problem_of: Option<FileName>,
    pub(super) known: Known,
    /// What is to come, the first first.
    #[serde(default)]
    pub(super) waiting: Vec<Item>,
}

/// A share that is to come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Item {
    pub(super) name: FileName,
    #[serde(with = "text")]
    pub(super) file_id: FileId,
    /// How often it has failed.
    #[serde(default)]
    pub(super) tries: u32,
    /// When it may be tried again, in seconds since 1970.
    #[serde(default)]
    pub(super) not_before: u64,
    /// How it was published. Earlier releases did not note it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) publication: Option<Publication>,
}

impl From<super::Found> for Item {
    fn from(super::Found { name, file_id, publication }: super::Found) -> Self {
        Self { name, file_id, tries: 0, not_before: 0, publication: Some(publication) }
    }
}

/// What has become of a subscription that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Added {
    /// It is there now, under this number.
    New(u64),
    /// It was there already, under number `n`; so many items are to come besides, and so many shares need not.
    Extended { n: u64, items: u64, here: u64 },
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Stored {
    version: u32,
    /// The largest number that was ever given.
    last: u64,
    subscriptions: Vec<Subscription>,
}

/// All of them. Clones are the same.
#[derive(Debug, Clone)]
pub struct Subscriptions(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    file: PathBuf,
    /// Held while the file is written.
    changing: Mutex<()>,
    /// Not held over the disk: tasks look at it.
    stored: Mutex<Stored>,
    /// Told when one was added or has ended.
    changed: watch::Sender<()>,
}

impl Subscriptions {
    /// Those under `data_dir`. Blocks on the disk.
    ///
    /// # Errors
    /// When the file cannot be read, is damaged, or was written by a newer release: it is left as it is.
    pub fn open(data_dir: &Path) -> Result<Self, Error> {
        let file = data_dir.join(FILE_NAME);
        let stored = match private_file::read(&file)? {
            None => Stored { version: VERSION, last: 0, subscriptions: Vec::new() },
            Some(text) => {
                let damaged = |why: String| {
                    let text = format!(
                        "the subscriptions in {} cannot be read ({why}); mend or remove the file",
                        shown(&file)
                    );
                    Error::InvalidArgument(text)
                };
                let stored: Stored = serde_json::from_str(&text).map_err(|e| damaged(e.to_string()))?;
                if stored.version != VERSION {
                    return Err(damaged("it is of another release".to_owned()));
                }
                stored
            }
        };
        let changed = watch::Sender::new(());
        Ok(Self(Arc::new(Inner { file, changing: Mutex::default(), stored: Mutex::new(stored), changed })))
    }

    /// Told when one was added or has ended.
    pub(super) fn changed(&self) -> watch::Receiver<()> {
        self.0.changed.subscribe()
    }

    /// Something may have changed for them: they are looked at.
    pub(in crate::engine) fn poke(&self) {
        self.0.changed.send_replace(());
    }

    /// Those of a user, by number.
    pub(super) fn of(&self, user: UserId) -> Vec<Subscription> {
        self.locked().subscriptions.iter().filter(|s| s.user == user).cloned().collect()
    }

    /// Adds one under the next number; or where there is the same already, what `new` has waiting to that one, if it is to be
    /// extended: of the shares that are here so many lie `inside` its directory then. Blocks on the disk.
    ///
    /// # Errors
    /// When there is the same already and it does not extend, there are too many, or the disk refuses.
    pub(super) fn add(&self, new: Subscription, inside: Option<u64>) -> Result<Added, Error> {
        let added = self.save(|stored| {
            let is_same = |s: &&mut Subscription| {
                (s.user, s.group_id, &s.glob, &s.destination) == (new.user, new.group_id, &new.glob, &new.destination)
            };
            if let Some(same) = stored.subscriptions.iter_mut().find(is_same) {
                return match inside {
                    Some(inside) => Ok(same.extend(new.waiting, new.here, inside)),
                    None => Err(already_there(same.n)),
                };
            }
            if stored.subscriptions.iter().filter(|s| s.user == new.user).count() >= MAX_SUBSCRIPTIONS {
                return Err(too_many());
            }
            stored.last += 1;
            stored.subscriptions.push(Subscription { n: stored.last, ..new });
            Ok(Added::New(stored.last))
        })??;
        self.0.changed.send_replace(());
        Ok(added)
    }

    /// The numbers of those of a user in a group.
    pub(super) fn numbers_in(&self, user: UserId, group_id: GroupId) -> HashSet<u64> {
        let stored = self.locked();
        stored.subscriptions.iter().filter(|s| s.user == user && s.group_id == group_id).map(|s| s.n).collect()
    }

    /// Ends one of a user. Blocks on the disk.
    pub(super) fn remove(&self, user: UserId, n: u64) -> Result<Option<Subscription>, Error> {
        let is_it = |s: &Subscription| s.user == user && s.n == n;
        if !self.locked().subscriptions.iter().any(is_it) {
            return Ok(None);
        }
        let ended = self.save(|stored| {
            let at = stored.subscriptions.iter().position(is_it);
            at.map(|at| stored.subscriptions.remove(at))
        })?;
        self.0.changed.send_replace(());
        Ok(ended)
    }

    /// Changes one, if it is still there. Blocks on the disk.
    pub(super) fn change(&self, n: u64, change: impl FnOnce(&mut Subscription)) -> Result<(), Error> {
        if !self.locked().subscriptions.iter().any(|s| s.n == n) {
            return Ok(());
        }
        self.save(|stored| stored.subscriptions.iter_mut().find(|s| s.n == n).map(change)).map(drop)
    }

    fn save<T>(&self, change: impl FnOnce(&mut Stored) -> T) -> Result<T, Error> {
        let _one = self.0.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut new = self.locked().clone();
        let result = change(&mut new);
        let text = serde_json::to_vec(&new).map_err(|e| Error::from_io("write", &self.0.file, e.into()))?;
        private_file::replace(&self.0.file, &text)?;
        *self.locked() = new;
        Ok(result)
    }

    fn locked(&self) -> MutexGuard<'_, Stored> {
        self.0.stored.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Subscription {
    /// Has these items come as well, but for those that are to come anyway. What is `here` need not; but of that, what lies
    /// `inside` the directory has come by this subscription, as far as it has fetched so many.
    fn extend(&mut self, items: Vec<Item>, here: u64, inside: u64) -> Added {
        let here = here.saturating_sub(inside.min(self.fetched));
        // It may have counted some of them before, and never counts one twice.
        self.here = self.here.max(here);
        let before = self.waiting.len();
        let mut known: HashSet<_> = self.waiting.iter().map(|item| (item.name.clone(), item.file_id)).collect();
        self.waiting.extend(items.into_iter().filter(|item| known.insert((item.name.clone(), item.file_id))));
        Added::Extended { n: self.n, items: (self.waiting.len() - before) as u64, here }
    }

    /// What was wrong with `name` is over.
    pub(super) fn forget_problem(&mut self, name: &FileName) {
        if self.problem_of.as_ref() == Some(name) {
            (self.problem, self.problem_of) = (None, None);
        }
    }

    /// Something is wrong with `name`.
    pub(super) fn set_problem(&mut self, name: FileName, what: impl std::fmt::Display) {
        (self.problem, self.problem_of) = (Some(format!("{name}: {what}")), Some(name));
    }
}

fn already_there(n: u64) -> Error {
    let text =
        format!("subscription {n} is the same; `--existing` fetches what is there already, `unsubscribe {n}` ends it");
    Error::InvalidArgument(text)
}

fn too_many() -> Error {
    let text = format!("you have {MAX_SUBSCRIPTIONS} subscriptions here, which is the most; `unsubscribe` ends one");
    Error::InvalidArgument(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(user: u8) -> Subscription {
        Subscription {
            n: 0,
            user: UserId::new([user; 16]),
            group: "lab".parse().expect("a name"),
            group_id: GroupId::new([9; 16]),
            glob: Some("*.bin".to_owned()),
            destination: PathBuf::from("/x"),
            fetched: 0,
            here: 0,
            problem: None,
            problem_of: None,
            known: Known::default(),
            waiting: Vec::new(),
        }
    }

    #[test]
    fn they_are_there_after_a_restart_and_numbers_are_not_used_again() {
        let dir = tempfile::tempdir().expect("a directory");
        let all = Subscriptions::open(dir.path()).expect("opened");
        let (alice, bob) = (UserId::new([1; 16]), UserId::new([2; 16]));
        let other = Subscription { glob: None, ..new(1) };
        let add = |new: Subscription| all.add(new, None);
        assert_eq!((add(new(1)).expect("saved"), add(other.clone()).expect("saved")), (Added::New(1), Added::New(2)));
        let twice = add(other).expect_err("the same").to_string();
        assert!(twice.contains("subscription 2 is the same") && twice.contains("--existing"), "{twice}");
        assert!(all.remove(bob, 2).expect("not hers").is_none());
        assert!(all.remove(alice, 2).expect("saved").is_some());
        let (name, file_id) = ("a.bin".parse().expect("a name"), FileId::new([7; 32]));
        let publication = Some(Publication { published: 9, uploader: "alice".parse().expect("a name") });
        let item = Item { name, file_id, tries: 1, not_before: 5, publication };
        all.change(1, |s| s.waiting.push(item.clone())).expect("saved");
        all.change(2, |s| s.fetched = 9).expect("it is gone");
        let again = Subscriptions::open(dir.path()).expect("opened");
        assert_eq!(again.of(alice), [Subscription { n: 1, waiting: vec![item], ..new(1) }]);
        assert!(again.of(bob).is_empty());
        assert_eq!(again.add(new(2), None).expect("saved"), Added::New(3));
    }

    #[test]
    fn one_that_is_there_can_be_told_to_fetch_what_is_there_as_well() {
        let dir = tempfile::tempdir().expect("a directory");
        let (alice, all) = (UserId::new([1; 16]), Subscriptions::open(dir.path()).expect("opened"));
        let item = |name: &str| Item {
            name: name.parse().expect("a name"),
            file_id: FileId::new([7; 32]),
            tries: 0,
            not_before: 0,
            publication: None,
        };
        let with = |names: &[&str]| Subscription { waiting: names.iter().map(|name| item(name)).collect(), ..new(1) };
        assert_eq!(all.add(with(&["a"]), Some(0)).expect("saved"), Added::New(1));
        all.change(1, |s| s.waiting[0].tries = 3).expect("saved");
        assert_eq!(
            all.add(with(&["a", "b", "c"]), Some(0)).expect("saved"),
            Added::Extended { n: 1, items: 2, here: 0 }
        );
        assert_eq!(all.add(with(&["b"]), Some(0)).expect("saved"), Added::Extended { n: 1, items: 0, here: 0 });
        let tried = Item { tries: 3, ..item("a") };
        let expected = Subscription { n: 1, waiting: vec![tried, item("b"), item("c")], ..new(1) };
        assert_eq!(Subscriptions::open(dir.path()).expect("opened").of(alice), [expected]);
    }

    #[test]
    fn what_is_here_when_one_is_extended_is_counted_once_and_not_as_what_it_has_fetched() {
        let dir = tempfile::tempdir().expect("a directory");
        let (alice, all) = (UserId::new([1; 16]), Subscriptions::open(dir.path()).expect("opened"));
        all.add(new(1), None).expect("saved");
        let extend = |here: u64, inside: u64| {
            let added = all.add(Subscription { here, ..new(1) }, Some(inside)).expect("saved");
            let Added::Extended { here: told, .. } = added else { panic!("{added:?}") };
            (told, all.of(alice)[0].here)
        };
        assert_eq!(extend(2, 0), (2, 2), "elsewhere");
        assert_eq!(extend(2, 0), (2, 2), "the same again");
        assert_eq!(extend(3, 1), (3, 3), "one was put there by hand");
        all.change(1, |s| s.fetched = 4).expect("saved");
        assert_eq!(extend(7, 5), (3, 3), "four of the five inside it has fetched");
        assert_eq!(extend(4, 4), (0, 3), "and shares may have gone since");
    }

    #[test]
    fn items_of_an_earlier_release_are_read() {
        let text = format!(r#"{{"name":"a.bin","file_id":"{}","tries":2}}"#, FileId::new([7; 32]));
        let item: Item = serde_json::from_str(&text).expect("read");
        assert_eq!((item.tries, item.publication), (2, None));
    }

    #[test]
    fn a_user_with_very_many_can_still_extend_one() {
        let dir = tempfile::tempdir().expect("a directory");
        let all = Subscriptions::open(dir.path()).expect("opened");
        let numbered = |n: usize| Subscription { destination: PathBuf::from(format!("/{n}")), ..new(1) };
        for n in 0..MAX_SUBSCRIPTIONS {
            all.add(numbered(n), None).expect("saved");
        }
        let refused = all.add(numbered(MAX_SUBSCRIPTIONS), Some(0)).expect_err("too many").to_string();
        assert!(refused.contains("which is the most"), "{refused}");
        assert_eq!(all.add(numbered(0), Some(0)).expect("saved"), Added::Extended { n: 1, items: 0, here: 0 });
        assert!(all.add(new(2), None).is_ok(), "another user's are not counted");
    }

    #[test]
    fn what_cannot_be_saved_is_as_it_was() {
        let dir = tempfile::tempdir().expect("a directory");
        let (alice, all) = (UserId::new([1; 16]), Subscriptions::open(dir.path()).expect("opened"));
        all.add(new(1), None).expect("saved");
        dir.close().expect("removed");
        let other = Subscription { glob: None, ..new(1) };
        assert!(all.add(other, None).is_err() && all.change(1, |s| s.fetched = 9).is_err());
        assert_eq!(all.of(alice), [Subscription { n: 1, ..new(1) }]);
    }

    #[test]
    fn a_file_that_cannot_be_read_is_left_as_it_is() {
        let dir = tempfile::tempdir().expect("a directory");
        for text in ["{", r#"{"version":2,"last":0,"subscriptions":[]}"#] {
            std::fs::write(dir.path().join(FILE_NAME), text).expect("written");
            let refused = Subscriptions::open(dir.path()).expect_err("no subscriptions");
            assert!(refused.to_string().contains("mend or remove"), "{refused}");
            assert_eq!(std::fs::read_to_string(dir.path().join(FILE_NAME)).expect("there"), text);
        }
    }
}
