//! The running client as faces see it.

use common::id::UserName;
use futures::future::BoxFuture;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use crate::engine::outcome::Status;
use crate::engine::{Call, Command, Engine, Event, Outcome};
use crate::error::Error;

/// A running client: the engine of this process, or one that this process is attached to.
pub trait Service: Send + Sync {
    /// Carries a command out, except `help`. Dropping the future gives up waiting; a download that was begun goes on.
    ///
    /// # Errors
    /// Whatever keeps it from succeeding.
    fn run(&self, command: Command, call: Call) -> BoxFuture<'_, Result<Outcome, Error>>;

    /// What happens from now on. It ends when the running client does.
    fn events(&self) -> broadcast::Receiver<Event>;

    /// How it is, as far as is known without asking.
    fn known_status(&self) -> Status;

    /// Who is logged in, as far as is known without asking.
    fn user(&self) -> Option<UserName>;

    /// Cancelled when it has ended, or is about to.
    fn ended(&self) -> CancellationToken;

    /// Whether it has ended, or is about to, because somebody said `shutdown`.
    fn is_shut_down(&self) -> bool;

    /// Whether it goes on when this face leaves.
    fn outlives_this_face(&self) -> bool;
}

impl Service for Engine {
    fn run(&self, command: Command, call: Call) -> BoxFuture<'_, Result<Outcome, Error>> {
        Box::pin(async move { Self::run(self, command, &call).await })
    }

    fn events(&self) -> broadcast::Receiver<Event> {
        Self::events(self)
    }

    fn known_status(&self) -> Status {
        Self::known_status(self)
    }

    fn user(&self) -> Option<UserName> {
        Self::user(self)
    }

    fn ended(&self) -> CancellationToken {
        Self::ended(self)
    }

    fn is_shut_down(&self) -> bool {
        Self::ended(self).is_cancelled()
    }

    fn outlives_this_face(&self) -> bool {
        false
    }
}
