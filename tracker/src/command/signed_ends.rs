//! Statements that something is void, signed once and kept: every device that comes back is told the same of the last
//! minutes, and a signature costs more than all the rest of it.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use common::id::{MembershipId, SessionId};
use common::ticket::{CLOCK_TOLERANCE, Revoked, TICKET_LIFE};
use common::wire::client::Push;

/// How long one is kept: by then, what it voids has run out.
const KEEP: Duration = TICKET_LIFE.saturating_add(CLOCK_TOLERANCE);
/// How many are kept; all go when there are more.
const MAX_KEPT: usize = 8192;

/// What can only end once. The others are signed each time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Key {
    Membership(MembershipId),
    Session(SessionId),
}

impl Key {
    fn of(what: &Revoked) -> Option<Self> {
        match what {
            Revoked::Membership { membership, .. } => Some(Self::Membership(*membership)),
            Revoked::Session(session) => Some(Self::Session(*session)),
            Revoked::OtherSessions { .. } => None,
        }
    }
}

/// The statements.
#[derive(Debug, Default)]
pub(crate) struct SignedEnds(Mutex<HashMap<Key, (Instant, Push)>>);

impl SignedEnds {
    /// The statement of `what`, as it was signed before or else by `sign`.
    pub(super) fn get(&self, what: &Revoked, now: Instant, sign: impl FnOnce() -> Option<Push>) -> Option<Push> {
        let Some(key) = Key::of(what) else { return sign() };
        if let Some((at, push)) = self.lock().get(&key)
            && now.saturating_duration_since(*at) <= KEEP
        {
            return Some(push.clone());
        }
        let push = sign()?;
        let mut kept = self.lock();
        if kept.len() >= MAX_KEPT {
            kept.retain(|_, (at, _)| now.saturating_duration_since(*at) <= KEEP);
        }
        if kept.len() >= MAX_KEPT {
            kept.clear();
        }
        kept.insert(key, (now, push.clone()));
        Some(push)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, (Instant, Push)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_signed_once_while_it_matters_and_memory_is_bounded() {
        let (ends, begin) = (SignedEnds::default(), Instant::now());
        let mut signed = 0;
        let mut get = |n: u16, now| {
            let mut id = [0; 16];
            id[..2].copy_from_slice(&n.to_be_bytes());
            let sign = || {
                signed += 1;
                Some(Push::SessionEnded)
            };
            ends.get(&Revoked::Session(SessionId::new(id)), now, sign);
            signed
        };
        assert_eq!([get(1, begin), get(1, begin + KEEP), get(2, begin), get(1, begin + 2 * KEEP)], [1, 1, 2, 3]);
        for n in 0..20_000 {
            get(n, begin);
        }
        assert!(ends.lock().len() <= MAX_KEPT);
    }
}
