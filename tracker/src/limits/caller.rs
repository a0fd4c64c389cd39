//! On whose behalf the store works: whose share that takes, whether it overtakes, and for how long anybody wants it.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use common::address::subscriber;
use common::id::UserId;
use tokio_util::sync::CancellationToken;

/// Whose share of a queue something takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Payer {
    /// The tracker's own upkeep.
    Tracker,
    /// A subscriber, of whom nobody knows yet which user it is.
    Address(IpAddr),
    /// A user, over all connections.
    User(UserId),
}

impl Payer {
    /// The user who is logged in, or else the subscriber.
    pub fn of(user: Option<UserId>, address: IpAddr) -> Self {
        user.map_or_else(|| Self::Address(subscriber(address)), Self::User)
    }
}

/// Who asks the store for something.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Whose share it takes.
    pub payer: Payer,
    /// It goes before everything that does not, and is carried out even if nobody waits for it any more.
    pub overtakes: bool,
    /// From when on the answer is of no use; `None` for the tracker's own work.
    pub deadline: Option<Instant>,
    /// Cancelled when nobody is there to be answered.
    pub gone: CancellationToken,
}

impl Caller {
    /// The tracker itself, which waits in turn and as long as it takes.
    pub fn tracker() -> Self {
        Self { payer: Payer::Tracker, overtakes: false, deadline: None, gone: CancellationToken::new() }
    }

    /// The tracker itself, for the other tracker or for those who are to be told of an end.
    pub fn replica() -> Self {
        Self { overtakes: true, ..Self::tracker() }
    }

    /// A call of `payer` that has to be answered within `patience`, unless `gone` is cancelled before.
    pub fn call(payer: Payer, overtakes: bool, patience: Duration, gone: CancellationToken) -> Self {
        let deadline = (tokio::time::Instant::now() + patience).into_std();
        Self { payer, overtakes, deadline: Some(deadline), gone }
    }

    /// The same, waiting in turn.
    pub fn in_turn(&self) -> Self {
        Self { overtakes: false, ..self.clone() }
    }

    /// Whether the answer is of no use to anybody any more.
    pub fn has_given_up(&self) -> bool {
        !self.overtakes && (self.gone.is_cancelled() || self.deadline.is_some_and(|then| Instant::now() >= then))
    }

    /// Resolves when the answer is of no use any more; never for a caller that overtakes.
    pub async fn gives_up(&self) {
        if self.overtakes {
            return std::future::pending().await;
        }
        let late = async {
            match self.deadline {
                Some(then) => tokio::time::sleep_until(then.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.gone.cancelled() => {}
            () = late => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_caller_gives_up_when_it_is_gone_or_late_unless_it_overtakes() {
        let call = |overtakes| {
            let gone = CancellationToken::new();
            (Caller::call(Payer::Tracker, overtakes, Duration::from_secs(10), gone.clone()), gone)
        };
        let (late, _gone) = call(false);
        let begun = tokio::time::Instant::now();
        late.gives_up().await;
        assert!(begun.elapsed() >= Duration::from_secs(10));
        let (caller, gone) = call(false);
        assert!(!caller.has_given_up());
        gone.cancel();
        caller.gives_up().await;
        assert!(caller.has_given_up());
        let (urgent, gone) = call(true);
        gone.cancel();
        assert!(!urgent.has_given_up());
        assert!(tokio::time::timeout(Duration::from_secs(60), urgent.gives_up()).await.is_err());
    }
}
