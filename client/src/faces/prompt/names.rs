//! What Tab knows of groups, files and users: remembered from listings, and asked for again when it
//! is old.
//!
//! The completer runs on the prompt's thread and may wait a moment for an answer; whoever answers
//! gets the listing's command from [`Names::open`]'s receiver and returns its outcome to
//! [`Names::note`].

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use common::id::GroupName;
use tokio::sync::mpsc;

use crate::engine::{Command, Outcome};

/// Listings that may wait to be made.
const WANTED: usize = 8;
/// Age from which on a listing is made again when it is needed.
const FRESH: Duration = Duration::from_secs(5);
/// How long Tab waits for a listing.
const PATIENCE: Duration = Duration::from_millis(400);

/// Which list of names.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum List {
    /// All groups.
    Groups,
    /// The shares of a group.
    Files(GroupName),
    /// The members of a group.
    Members(GroupName),
    /// Who asks to join a group.
    Requests(GroupName),
    /// Downloads, by number.
    Downloads,
}

impl List {
    /// The command that fills it.
    pub(crate) fn command(&self) -> Command {
        match self.clone() {
            Self::Groups => Command::ListGroups,
            Self::Files(group) => Command::all_files(group),
            Self::Members(group) => Command::ListMembers { group },
            Self::Requests(group) => Command::ListRequests { group },
            Self::Downloads => Command::ShowDownloads,
        }
    }
}

#[derive(Debug, Clone, Default)]
struct Entry {
    names: BTreeSet<String>,
    /// When it was last answered, also with a refusal.
    answered: Option<Instant>,
}

/// The memory. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    lists: Arc<(Mutex<HashMap<List, Entry>>, Condvar)>,
    wanted: mpsc::Sender<List>,
}

impl Names {
    /// An empty memory, and where it says what it wants.
    pub(crate) fn open() -> (Self, mpsc::Receiver<List>) {
        let (wanted, wants) = mpsc::channel(WANTED);
        (Self { lists: Arc::default(), wanted }, wants)
    }

    /// The names of a list. One that is not fresh is asked for, and waited for a moment.
    pub(crate) fn get(&self, list: &List) -> Vec<String> {
        let fresh = |entry: &Entry| entry.answered.is_some_and(|at| at.elapsed() < FRESH);
        let (lists, answered) = &*self.lists;
        let mut lists = lists.lock().unwrap_or_else(PoisonError::into_inner);
        let asked = Instant::now();
        if !lists.get(list).is_some_and(fresh) && self.wanted.try_send(list.clone()).is_ok() {
            let open =
                |lists: &mut HashMap<List, Entry>| lists.get(list).and_then(|e| e.answered).is_none_or(|at| at < asked);
            let waited = answered.wait_timeout_while(lists, PATIENCE, open);
            lists = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        lists.get(list).map(|e| e.names.iter().cloned().collect()).unwrap_or_default()
    }

    /// The list could not be made: what is remembered has to do.
    pub(crate) fn give_up(&self, list: &List) {
        self.update(|lists| lists.entry(list.clone()).or_default().answered = Some(Instant::now()));
    }

    /// Remembers the names of a listing; any other outcome may have changed any of them.
    pub(crate) fn note(&self, list: Option<&List>, outcome: &Outcome) {
        let (list, names) = match outcome {
            Outcome::Groups { groups } => (List::Groups, groups.iter().map(|g| g.group.to_string()).collect()),
            Outcome::Files { group, files, .. } => {
                (List::Files(group.clone()), files.iter().map(|f| f.name.as_str().to_owned()).collect())
            }
            Outcome::Requests { group, requests } => {
                (List::Requests(group.clone()), requests.iter().map(|u| u.user.to_string()).collect())
            }
            Outcome::Downloads { downloads } => (List::Downloads, downloads.iter().map(|d| d.n.to_string()).collect()),
            Outcome::Members { members } => match list {
                Some(list @ List::Members(_)) => (list.clone(), members.iter().map(|m| m.user.to_string()).collect()),
                _ => return,
            },
            _ => return self.doubt(),
        };
        self.update(|lists| drop(lists.insert(list, Entry { names, answered: Some(Instant::now()) })));
    }

    /// Keeps what is remembered, but no longer takes it for fresh.
    fn doubt(&self) {
        self.update(|lists| lists.values_mut().for_each(|entry| entry.answered = None));
    }

    /// Forgets everything: another user is logged in, or nobody.
    pub(crate) fn clear(&self) {
        self.update(HashMap::clear);
    }

    fn update(&self, change: impl FnOnce(&mut HashMap<List, Entry>)) {
        let (lists, answered) = &*self.lists;
        change(&mut lists.lock().unwrap_or_else(PoisonError::into_inner));
        answered.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::outcome::User;

    #[test]
    fn a_listing_is_waited_for_and_then_remembered() {
        let (names, mut wants) = Names::open();
        let group: GroupName = "lab".parse().expect("a name");
        let list = List::Requests(group.clone());
        let answering = std::thread::spawn({
            let names = names.clone();
            move || {
                let wanted = wants.blocking_recv().expect("a wish");
                let requests = vec![User { user: "bob".parse().expect("a name") }];
                names.note(Some(&wanted), &Outcome::Requests { group, requests });
                wants
            }
        });
        assert_eq!(names.get(&list), ["bob"]);
        let mut wants = answering.join().expect("answered");
        assert_eq!(names.get(&list), ["bob"]);
        assert!(wants.try_recv().is_err(), "a fresh list is not asked for again");
        names.clear();
        drop(wants);
        assert!(names.get(&list).is_empty(), "nobody answers any more");
    }

    #[test]
    fn a_group_that_was_just_made_is_completed_at_once() {
        let (names, mut wants) = Names::open();
        names.note(None, &Outcome::Groups { groups: Vec::new() });
        assert!(names.get(&List::Groups).is_empty());
        assert!(wants.try_recv().is_err(), "fresh");
        names.note(None, &Outcome::LoggedOut {});
        assert!(names.get(&List::Groups).is_empty());
        assert_eq!(wants.try_recv().ok(), Some(List::Groups), "asked for again after a command");
    }
}
