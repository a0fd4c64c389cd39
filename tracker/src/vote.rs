//! Who owns a name, by two votes: the rule, pure. Verified in tests/models.
//!
//! Each tracker votes for the first claim it sees, and ships the vote. A vote that is received
//! changes one's own by [`Vote::meet`], and by nothing else. A pledge says "I vote so, knowing that
//! you do", and cannot move any more: only a pledge confirms. Invariant: of one name at most one
//! owner is ever confirmed, and a confirmed name is never taken away.

pub use common::wire::sync::{NameKind, VoteStage};

use crate::fact::Stamp;

/// A claim on a name; the earlier one is the smaller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Claim {
    /// When it was made.
    pub stamp: Stamp,
    /// Id of the user or group.
    pub owner: [u8; 16],
}

/// A tracker's vote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vote {
    /// The claim voted for.
    pub claim: Claim,
    /// How far it has come.
    pub stage: VoteStage,
}

impl Vote {
    /// The vote for the first claim that is seen.
    pub const fn first(claim: Claim) -> Self {
        Self { claim, stage: VoteStage::Provisional }
    }

    /// Whether this vote stands when it meets one for another owner: the further stage, else the earlier claim.
    fn stands_against(self, other: Self) -> bool {
        match self.stage.cmp(&other.stage) {
            std::cmp::Ordering::Equal => self.claim < other.claim,
            order => order.is_gt(),
        }
    }

    /// My vote after `theirs`, the sibling's current one, was received on the current connection.
    ///
    /// Once it is pledged it is known to be current, and to stay: it was cast by a tracker that knew
    /// mine. So a pledge confirms, and a mere vote only earns a pledge.
    #[must_use]
    pub fn meet(self, theirs: Self) -> Self {
        let alike = self.claim.owner == theirs.claim.owner;
        if !alike && self.stands_against(theirs) {
            return self;
        }
        let mine = if alike { self } else { Self::first(theirs.claim) };
        let learnt = match theirs.stage {
            VoteStage::Provisional => VoteStage::Pledged,
            VoteStage::Pledged | VoteStage::Confirmed => VoteStage::Confirmed,
        };
        Self { claim: mine.claim.min(theirs.claim), stage: mine.stage.max(learnt) }
    }
}

#[cfg(test)]
mod tests {
    use common::id::OriginId;

    use super::*;
    use crate::fact::Hlc;

    fn vote(ms: u64, owner: u8, stage: VoteStage) -> Vote {
        let stamp = Stamp { hlc: Hlc::at_millis(ms), origin: OriginId::new([0; 16]) };
        Vote { claim: Claim { stamp, owner: [owner; 16] }, stage }
    }

    #[test]
    fn alike_votes_go_on_by_one_stage_at_a_time() {
        use VoteStage::{Confirmed, Pledged, Provisional};
        for (mine, theirs, expected) in [
            (Provisional, Provisional, Pledged),
            (Provisional, Pledged, Confirmed),
            (Provisional, Confirmed, Confirmed),
            (Pledged, Provisional, Pledged),
            (Pledged, Pledged, Confirmed),
            (Confirmed, Provisional, Confirmed),
        ] {
            assert_eq!(vote(1, 1, mine).meet(vote(1, 1, theirs)), vote(1, 1, expected), "{mine:?} {theirs:?}");
        }
    }

    #[test]
    fn on_a_split_the_further_stage_stands_and_else_the_earlier_claim() {
        use VoteStage::{Confirmed, Pledged, Provisional};
        let (early, late) = (vote(1, 1, Provisional), vote(2, 2, Provisional));
        assert_eq!(early.meet(late), early);
        assert_eq!(late.meet(early), vote(1, 1, Pledged));
        let pledged = vote(2, 2, Pledged);
        assert_eq!(pledged.meet(early), pledged, "a mere vote cannot move a pledge");
        assert_eq!(early.meet(pledged), vote(2, 2, Confirmed));
        let confirmed = vote(2, 2, Confirmed);
        assert_eq!(confirmed.meet(vote(1, 1, Pledged)), confirmed, "never taken away");
    }
}
