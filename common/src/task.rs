//! The only place where tasks are spawned: each is named, tracked, and ends when its group is
//! told to.

use std::future::Future;

use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use tracing::Instrument;

/// Tasks that end together. Clones are the same group; a [`TaskGroup::child`] ends with its
/// parent, or before.
#[derive(Debug, Clone, Default)]
pub struct TaskGroup {
    cancel: CancellationToken,
    tracker: TaskTracker,
}

impl TaskGroup {
    /// A group of its own.
    pub fn new() -> Self {
        Self::default()
    }

    /// A group that this one ends too. Its tasks are counted here.
    pub fn child(&self) -> Self {
        Self { cancel: self.cancel.child_token(), tracker: self.tracker.clone() }
    }

    /// Runs `future` until it ends or the group is cancelled, whichever is first; on
    /// cancellation it is dropped at its next await.
    pub fn spawn<F>(&self, name: &'static str, future: F) -> JoinHandle<Option<F::Output>>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let cancel = self.cancel.clone();
        let span = tracing::info_span!("task", name);
        let task = async move { cancel.run_until_cancelled_owned(future).await };
        #[expect(clippy::disallowed_methods, reason = "the one place that may")]
        self.tracker.spawn(task.instrument(span))
    }

    /// Whether the group has been told to end.
    pub fn is_cancelled(&self) -> bool {
        self.cancel.is_cancelled()
    }

    /// Resolves when the group is told to end.
    pub async fn cancelled(&self) {
        self.cancel.cancelled().await;
    }

    /// Tells every task of the group, and of its children, to end. Does not wait.
    pub fn cancel(&self) {
        self.cancel.cancel();
    }

    /// Cancels the group when the guard is dropped.
    pub fn guard(&self) -> DropGuard {
        self.cancel.clone().drop_guard()
    }

    /// Tells every task to end and waits until all have.
    pub async fn stop(&self) {
        self.cancel.cancel();
        self.tracker.close();
        self.tracker.wait().await;
    }
}
