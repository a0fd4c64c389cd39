//! Who stands behind what a command has changed: both trackers, or only one of two.
//!
//! A command calls the trackers from several rooms, always in its own task. There each call leaves what it was answered, so that none of
//! those rooms has to hand it on.

use std::cell::Cell;

tokio::task_local! {
    /// Whether something that this task has changed is at one of two trackers only.
    static IS_SOLO: Cell<bool>;
}

/// Runs `command`: what it comes to, and whether something that it has changed is at one of two trackers only. What it leaves to other
/// tasks does not count.
pub async fn noted<T>(command: impl Future<Output = T>) -> (T, bool) {
    IS_SOLO.scope(Cell::new(false), async { (command.await, IS_SOLO.with(Cell::get)) }).await
}

/// A change of this task's is at one of two trackers only.
pub(super) fn by_one() {
    let _ = IS_SOLO.try_with(|solo| solo.set(true)); // No command: then nobody wants to know.
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_call_of_several_that_one_tracker_has_is_enough() {
        by_one();
        assert_eq!(noted(async { 1 }).await, (1, false), "it was another's");
        let two = async {
            by_one();
            tokio::task::yield_now().await;
            2
        };
        assert_eq!(noted(two).await, (2, true));
    }
}
