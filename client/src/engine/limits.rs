//! What may be sent and fetched, changed while the client runs; and whether others can reach it.

use std::sync::Arc;

use super::command::MaxRate;
use super::outcome::{self, Moment, Outcome, Reach, ReachState};
use super::{Engine, Event};
use crate::error::Error;
use crate::settings::Direction;
use crate::share::{Reached, blocking};

impl Engine {
    /// Limits what is sent or fetched, from now on and after the next start.
    ///
    /// # Errors
    /// When it cannot be kept; then nothing is changed.
    pub(super) async fn limit(&self, direction: Direction, MaxRate(rate): MaxRate) -> Result<Outcome, Error> {
        let settings = Arc::clone(&self.settings);
        blocking(move || settings.set_limit(direction, rate)).await?;
        match direction {
            Direction::Up => self.limits.up.set(rate),
            Direction::Down => self.limits.down.set(rate),
        }
        self.tell(Event::Status(self.known_status()));
        Ok(Outcome::Limits(self.known_limits()))
    }

    pub(super) fn known_limits(&self) -> outcome::Limits {
        outcome::Limits { up: self.limits.up.get().map(Into::into), down: self.limits.down.get().map(Into::into) }
    }

    /// Whether others can connect, as far as has been seen.
    pub(super) fn reach(&self) -> Reach {
        reach(self.shares.listen_addr().ip().is_loopback(), self.shares.reached())
    }
}

fn reach(is_loopback: bool, Reached { from_elsewhere, from_here }: Reached) -> Reach {
    match (from_elsewhere, from_here) {
        (_, at) if is_loopback => Reach { state: ReachState::Loopback, at: at.map(Moment) },
        (Some(at), _) => Reach { state: ReachState::Reached, at: Some(Moment(at)) },
        (None, Some(at)) => Reach { state: ReachState::Local, at: Some(Moment(at)) },
        (None, None) => Reach::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_connection_from_another_machine_shows_that_others_can_reach_it() {
        let of = |is_loopback, from_elsewhere, from_here| reach(is_loopback, Reached { from_elsewhere, from_here });
        assert_eq!(of(true, None, Some(7)), Reach { state: ReachState::Loopback, at: Some(Moment(7)) });
        assert_eq!(of(false, Some(5), Some(7)), Reach { state: ReachState::Reached, at: Some(Moment(5)) });
        assert_eq!(of(false, None, Some(7)).state, ReachState::Local);
        assert_eq!(of(false, None, None), Reach::default());
    }
}
