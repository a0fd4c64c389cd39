//! What groups are called. A group is known by its id; its name is for people.
//!
//! Two trackers that cannot hear each other may both give a name away. When they meet, one group keeps it and the other is
//! called `name~hhhhhhhh`, after the first digits of its id. Trackers understand that form for every group, whether
//! it has lost its name or not. So this device asks about a group under its [reference](GroupName::reference), which
//! cannot come to mean another group, and shows people its present name.
//!
//! Invariant: a name in `lost` is the reference of a group that has lost the name it claimed; a name that was lost
//! does not come back.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use common::id::{GroupId, GroupName};
use common::ticket::{Signed, Ticket};
use serde::{Deserialize, Serialize};

use super::Directory;
use crate::error::{Error, unexpected};
use crate::private_file;

const FILE_NAME: &str = "group-names.json";
const VERSION: u32 = 1;

/// The present names of groups. Clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct GroupNames(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    file: PathBuf,
    lost: Mutex<BTreeSet<GroupName>>,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    version: u32,
    lost: BTreeSet<GroupName>,
}

impl GroupNames {
    /// What is known under `data_dir`. A file that cannot be read counts as none: trackers tell again after each login.
    /// Blocks on the disk.
    ///
    /// # Errors
    /// When the file system refuses.
    pub(crate) fn open(data_dir: &Path) -> Result<Self, Error> {
        let file = data_dir.join(FILE_NAME);
        let stored = private_file::read(&file)?.and_then(|text| serde_json::from_str::<Stored>(&text).ok());
        let lost = stored.filter(|s| s.version == VERSION).map(|s| s.lost).unwrap_or_default();
        Ok(Self(Arc::new(Inner { file, lost: Mutex::new(lost) })))
    }

    /// What `group` is called now, that was called `known` once.
    pub(crate) fn present(&self, group: GroupId, known: &GroupName) -> GroupName {
        let reference = known.reference(group);
        if self.lost().contains(&reference) { reference } else { known.clone() }
    }

    /// Whether `typed` means `group`, that was called `known` once.
    pub(crate) fn means(&self, typed: &GroupName, group: GroupId, known: &GroupName) -> bool {
        *typed == self.present(group, known) || *typed == known.reference(group)
    }

    /// A group has lost its name and is called `now`. Blocks on the disk if that is news.
    ///
    /// # Errors
    /// When it cannot be saved; it counts all the same until the program ends.
    pub(crate) fn renamed(&self, now: GroupName) -> Result<(), Error> {
        let mut lost = self.lost();
        if now.is_claim() || !lost.insert(now) {
            return Ok(());
        }
        let stored = Stored { version: VERSION, lost: lost.clone() };
        let text = serde_json::to_vec_pretty(&stored).map_err(|e| Error::from_io("write", &self.0.file, e.into()))?;
        private_file::replace(&self.0.file, &text)
    }

    fn lost(&self) -> MutexGuard<'_, BTreeSet<GroupName>> {
        self.0.lost.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A ticket for `group`, that was called `known` once. Tried under that name first, because that ticket may be at hand.
///
/// # Errors
/// As [`Directory::ticket`]; a refusal speaks of the group as `known`.
pub(crate) async fn ticket(
    directory: &dyn Directory,
    group: GroupId,
    known: &GroupName,
) -> Result<Signed<Ticket>, Error> {
    let cluster = directory.cluster().ok_or_else(unexpected);
    let is_for_group = |ticket: &Signed<Ticket>| {
        cluster.as_ref().is_ok_and(|cluster| ticket.verify(cluster).is_ok_and(|ticket| ticket.group == group))
    };
    match directory.ticket(known).await {
        Ok(ticket) if is_for_group(&ticket) => Ok(ticket),
        Ok(_) | Err(Error::Refused(_)) => {
            // The name is another group's.
            let ticket = directory.ticket(&known.reference(group)).await.map_err(|e| called(e, known))?;
            if is_for_group(&ticket) { Ok(ticket) } else { Err(unexpected()) }
        }
        Err(error) => Err(error),
    }
}

/// Drops the tickets at hand for a group that was called `known` once.
pub(crate) fn forget_tickets(directory: &dyn Directory, group: GroupId, known: &GroupName) {
    directory.forget_ticket(known);
    directory.forget_ticket(&known.reference(group));
}

/// The error, with the group that it speaks of called `name`.
pub(crate) fn called(error: Error, name: &GroupName) -> Error {
    match error {
        Error::Refused(refusal) => Error::Refused(refusal.about_group(name)),
        error => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> GroupName {
        text.parse().expect("a name")
    }

    #[test]
    fn a_group_that_lost_its_name_is_shown_under_the_new_one_also_after_a_restart() {
        let dir = tempfile::tempdir().expect("a directory");
        let (ours, theirs) = (GroupId::new([0x6d; 16]), GroupId::new([0x11; 16]));
        let names = GroupNames::open(dir.path()).expect("opened");
        assert_eq!(names.present(ours, &name("team")), name("team"));
        names.renamed(name("team~6d6d6d6d")).expect("saved");
        names.renamed(name("other")).expect("no news: that is not the form of a lost name");
        let again = GroupNames::open(dir.path()).expect("opened");
        for names in [names, again] {
            assert_eq!(names.present(ours, &name("team")), name("team~6d6d6d6d"));
            assert_eq!(names.present(theirs, &name("team")), name("team"));
            assert!(names.means(&name("team~6d6d6d6d"), ours, &name("team")));
            assert!(!names.means(&name("team"), ours, &name("team")), "that is the other group now");
            assert!(names.means(&name("team"), theirs, &name("team")));
            assert!(names.means(&name("team~11111111"), theirs, &name("team")));
        }
    }

    #[test]
    fn a_damaged_file_is_as_good_as_none() {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join(FILE_NAME), "{").expect("written");
        let names = GroupNames::open(dir.path()).expect("opened");
        assert_eq!(names.present(GroupId::new([1; 16]), &name("team")), name("team"));
    }
}
