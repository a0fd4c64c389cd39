//! What one account may take of both trackers' room at most. Pure.
//!
//! Checked when a command is decided, and never when facts are joined: what the other tracker has decided
//! is the truth. Two trackers that cannot hear each other may so let somebody have twice as much. Facts are
//! never unsaid, so that what was ended counts towards a bound of its own.

use common::manifest::PieceHash;
use common::pieces::PieceLayout;
use common::wire::limits::Text;
use common::wire::refusal::Refusal;

/// Open groups that a user is the admin of.
pub const GROUPS_RUN: u32 = 256;
/// Groups that a user has made, closed ones included.
pub const GROUPS_MADE: u32 = 4096;
/// Groups that a user is a member of or has asked to join.
pub const MEMBERSHIPS: u32 = 1024;
/// Requests to join that a user has made, ended ones included.
pub const REQUESTS_MADE: u32 = 16_384;
/// Requests to join one group that a user has made: each acceptance states which of the kicks between them it knows of.
pub const REQUESTS_PER_GROUP: u32 = 256;
/// Invitations that a user has made into one group, those that are over included.
pub const INVITATIONS_PER_GROUP: u32 = 1000;
/// Invitations that a user has made, wherever, those that are over included.
pub const INVITATIONS_MADE: u32 = 10_000;
/// Accounts that may be made by an invitation beyond its uses: of those who were let in otherwise meanwhile, or never came.
pub const SPARE_ACCOUNTS: u32 = 8;
/// Shares that a user has in one group.
pub const SHARES_PER_GROUP: u32 = 10_000;
/// Shares that a user has published, wherever, replaced ones included.
pub const SHARES_MADE: u32 = 100_000;
/// What the manifests and trees of a user's shares take, in bytes: ten million pieces, which at the largest default
/// length are 40 TiB.
pub const MANIFEST_BYTES: u64 = 512 << 20;
/// What takes no more than a manifest of so many pieces is not weighed: the number of shares bounds it.
pub const LIGHT_PIECES: u32 = 64;
/// Logins of a user that hold; a further one ends the oldest.
pub const SESSIONS: u32 = 64;

/// The bounds above, times what the operator has chosen; 0 for none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota(u16);

impl Default for Quota {
    fn default() -> Self {
        Self(1)
    }
}

fn most(have: u32, most: u32, text: impl FnOnce() -> String) -> Result<(), Refusal> {
    if have < most { Ok(()) } else { Err(Refusal::Invalid(Text::clipped(&text()))) }
}

impl Quota {
    /// So many times the bounds above; 0 for none.
    pub const fn times(factor: u16) -> Self {
        Self(factor)
    }

    /// Whether there are bounds, and something is to be counted.
    pub const fn applies(self) -> bool {
        self.0 > 0
    }

    fn of(self, bound: u32) -> u32 {
        if self.applies() { bound.saturating_mul(self.0.into()) } else { u32::MAX }
    }

    /// Whether who runs `run` open groups, and has made `made`, may make another.
    ///
    /// # Errors
    /// When that is enough.
    pub fn new_group(self, run: u32, made: u32) -> Result<(), Refusal> {
        let bound = self.of(GROUPS_RUN);
        most(run, bound, || {
            format!(
                "you are the admin of {bound} groups, which is the most; hand one over with `make_admin`, or leave one"
            )
        })?;
        let bound = self.of(GROUPS_MADE);
        most(made, bound, || {
            format!(
                "this account has made {bound} groups, closed ones included, which is the most; use one that \
                 there is, or another account"
            )
        })
    }

    /// Whether somebody else who runs `run` open groups may be handed another.
    ///
    /// # Errors
    /// When that is enough.
    pub fn handed_group(self, run: u32, whom: &str) -> Result<(), Refusal> {
        let bound = self.of(GROUPS_RUN);
        most(run, bound, || {
            format!("`{whom}` is the admin of {bound} groups, which is the most; choose another member")
        })
    }

    /// Whether who is in, or waits for, `open` groups, and has asked `made` times in all, may do so again.
    ///
    /// # Errors
    /// When that is enough.
    pub fn new_membership(self, open: u32, made: u32) -> Result<(), Refusal> {
        let bound = self.of(MEMBERSHIPS);
        most(open, bound, || {
            format!(
                "you are in {bound} groups, requests to join included, which is the most; leave one with `leave_group`"
            )
        })?;
        let bound = self.of(REQUESTS_MADE);
        most(made, bound, || {
            format!("this account has entered groups or asked to {bound} times, which is the most; use another account")
        })
    }

    /// Whether who has asked `here` times to be in a group may do so again.
    ///
    /// # Errors
    /// When that is enough.
    pub fn new_request(self, here: u32) -> Result<(), Refusal> {
        let bound = self.of(REQUESTS_PER_GROUP);
        most(here, bound, || {
            format!(
                "you have asked to join this group {bound} times, which is the most; use another group, or another account"
            )
        })
    }

    /// Whether who has made `here` invitations into a group, and `made` in all, may make another.
    ///
    /// # Errors
    /// When that is enough.
    pub fn new_invitation(self, here: u32, made: u32) -> Result<(), Refusal> {
        let bound = self.of(INVITATIONS_PER_GROUP);
        most(here, bound, || {
            format!(
                "you have made {bound} invitations into this group, which is the most; make one with more uses \
                 before it comes to that, or hand the group over"
            )
        })?;
        let bound = self.of(INVITATIONS_MADE);
        most(made, bound, || {
            format!("this account has made {bound} invitations, which is the most; use another account")
        })
    }

    /// Whether who has `here` shares in the group, and has published `made` in all, may publish another.
    ///
    /// # Errors
    /// When that is enough.
    pub fn new_share(self, here: u32, made: u32) -> Result<(), Refusal> {
        let bound = self.of(SHARES_PER_GROUP);
        most(here, bound, || {
            format!(
                "you have {bound} shares in this group, which is the most; pack many files into one archive, \
                 or share in another group"
            )
        })?;
        let bound = self.of(SHARES_MADE);
        most(made, bound, || {
            format!(
                "this account has published {bound} shares, replaced ones included, which is the most; pack many \
                 files into one archive, or use another account"
            )
        })
    }

    /// Whether a manifest of `more` bytes may be added to `have` bytes.
    ///
    /// # Errors
    /// When that would be too much.
    pub fn new_manifest(self, have: u64, more: u64) -> Result<(), Refusal> {
        let bound = if self.applies() { MANIFEST_BYTES.saturating_mul(self.0.into()) } else { u64::MAX };
        if have.saturating_add(more) <= bound {
            return Ok(());
        }
        let text = format!(
            "the lists of pieces and files of your shares would take more than {} MiB, which is the most; use a larger \
             `--piece-size`, or leave groups whose shares are not needed (room is free again a week later)",
            bound >> 20
        );
        Err(Refusal::Invalid(Text::clipped(&text)))
    }
}

/// What a manifest and a tree of so many bytes take, in bytes, if they are weighed at all.
pub fn weight(layout: PieceLayout, tree_bytes: u64) -> Option<u64> {
    let bytes = u64::from(layout.count()) * PieceHash::LEN as u64 + tree_bytes;
    (bytes > u64::from(LIGHT_PIECES) * PieceHash::LEN as u64).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Rule = &'static dyn Fn(u32) -> Result<(), Refusal>;

    const ONE: Quota = Quota(1);

    #[test]
    fn the_last_one_is_allowed_and_the_next_refused_with_a_remedy() {
        let bounds: [(Rule, u32); 9] = [
            (&|n| ONE.new_invitation(n, 0), INVITATIONS_PER_GROUP),
            (&|n| ONE.new_invitation(0, n), INVITATIONS_MADE),
            (&|n| ONE.new_group(n, 0), GROUPS_RUN),
            (&|n| ONE.new_group(0, n), GROUPS_MADE),
            (&|n| ONE.handed_group(n, "bob"), GROUPS_RUN),
            (&|n| ONE.new_membership(n, 0), MEMBERSHIPS),
            (&|n| ONE.new_membership(0, n), REQUESTS_MADE),
            (&|n| ONE.new_share(n, 0), SHARES_PER_GROUP),
            (&|n| ONE.new_share(0, n), SHARES_MADE),
        ];
        for (ask, bound) in bounds {
            assert_eq!(ask(bound - 1), Ok(()));
            let Err(refusal) = ask(bound) else { panic!("{bound} is too many") };
            let text = refusal.to_string();
            assert!(text.contains(&bound.to_string()) && text.contains("which is the most; "), "{text}");
            assert_eq!(refusal.code(), "invalid_argument");
        }
    }

    #[test]
    fn manifests_are_weighed_unless_they_are_light() {
        let layout = |pieces: u64| PieceLayout::new(pieces << 14, 1 << 14).expect("layout");
        assert_eq!(weight(layout(u64::from(LIGHT_PIECES)), 0), None);
        assert_eq!(weight(layout(65), 0), Some(65 * 52));
        assert_eq!((weight(layout(1), 3000), weight(layout(1), 4000)), (None, Some(4052)));
        assert_eq!(ONE.new_manifest(MANIFEST_BYTES - 10, 10), Ok(()));
        assert!(ONE.new_manifest(MANIFEST_BYTES - 10, 11).is_err());
        assert!(ONE.new_manifest(u64::MAX, 1).is_err());
    }

    #[test]
    fn the_operator_may_allow_more() {
        let ten = Quota::times(10);
        assert_eq!(ten.new_group(10 * GROUPS_RUN - 1, 0), Ok(()));
        let refused = ten.new_group(10 * GROUPS_RUN, 0).expect_err("too many");
        assert!(refused.to_string().contains("2560 groups"));
        assert_eq!(ten.new_manifest(9 * MANIFEST_BYTES, MANIFEST_BYTES), Ok(()));
        assert!(ten.new_manifest(10 * MANIFEST_BYTES, 1).is_err());
        assert_eq!(Quota::times(0).new_group(10 * GROUPS_RUN, 10 * GROUPS_MADE), Ok(()));
    }
}
