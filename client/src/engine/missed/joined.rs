//! Groups that a command of this client has joined: its answer says so, and news need not.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use common::id::{GroupName, UserId};

/// Of so many the news are still to come.
const MOST: usize = 64;

/// See the module.
#[derive(Debug, Default)]
pub(in crate::engine) struct JoinedHere(Mutex<VecDeque<(UserId, GroupName)>>);

impl JoinedHere {
    /// A group was joined.
    pub(in crate::engine) fn note(&self, user: UserId, group: &GroupName) {
        let mut joined = self.locked();
        if joined.len() == MOST {
            joined.pop_front();
        }
        joined.push_back((user, group.clone()));
    }

    /// Whether it was, and its news had not come before this.
    pub(super) fn take(&self, user: UserId, group: &GroupName) -> bool {
        let mut joined = self.locked();
        let at = joined.iter().position(|(who, joined)| *who == user && joined == group);
        at.map(|at| joined.remove(at)).is_some()
    }

    fn locked(&self) -> MutexGuard<'_, VecDeque<(UserId, GroupName)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_one_users_and_once() {
        let (joined, lab) = (JoinedHere::default(), "lab".parse().expect("a name"));
        let (alice, bob) = (UserId::new([1; 16]), UserId::new([2; 16]));
        joined.note(alice, &lab);
        assert!(!joined.take(bob, &lab) && joined.take(alice, &lab) && !joined.take(alice, &lab));
        for n in 0..2 * MOST {
            joined.note(bob, &format!("group{n}").parse().expect("a name"));
        }
        assert_eq!(joined.locked().len(), MOST);
    }
}
