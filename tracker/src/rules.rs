//! Who may do what. Pure: from what is the case to yes or a refusal that says why.

use common::id::{DeviceId, FileName, GroupName, SessionId, UserId, UserName};
use common::ticket::{SessionToken, UnixSeconds};
use common::wire::client::{InviteState, Password};
use common::wire::limits::{MAX_PASSWORD, MIN_PASSWORD, Text};
use common::wire::refusal::Refusal;

pub use crate::arguments::Registration;
use crate::fact::ManifestId;
use crate::state::{InvitationEntry, SessionRow, Share, Standing};

/// A login that a connection acts for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// Who.
    pub user: UserId,
    /// The name.
    pub name: UserName,
    /// The login.
    pub session: SessionId,
    /// The device it was made on.
    pub device: DeviceId,
}

impl Registration {
    /// Whether somebody without an invitation may make an account, where there are so many: the first may, or nobody could
    /// invite.
    ///
    /// # Errors
    /// With how to get in.
    pub fn uninvited(self, accounts: u64) -> Result<(), Refusal> {
        let text = "accounts are by invitation here: ask the admin of a group for one, and start the client with \
                    `--invite <line>`, or say `create_user <user> --invite <line>`";
        match self {
            Self::Open => Ok(()),
            Self::Invite if accounts == 0 => Ok(()),
            Self::Invite => Err(Refusal::Invalid(Text::clipped(text))),
        }
    }
}

/// What has become of an invitation into a group that `is_open`, or is not: whether it still lets somebody in.
pub const fn invite_state(entry: &InvitationEntry, is_open: bool, now: UnixSeconds) -> InviteState {
    if entry.revoked {
        InviteState::Revoked
    } else if entry.used >= entry.uses {
        InviteState::UsedUp
    } else if entry.expires <= now {
        InviteState::Expired
    } else if !is_open {
        InviteState::Closed
    } else {
        InviteState::Open
    }
}

/// The rule for new passwords.
///
/// # Errors
/// When it is too short or too long.
pub fn new_password(password: &Password) -> Result<(), Refusal> {
    let ok = (MIN_PASSWORD..=MAX_PASSWORD).contains(&password.as_str().len());
    if ok { Ok(()) } else { Err(Refusal::PasswordRule) }
}

/// The rule for new names, beyond what the type holds: `name~hhhhhhhh` only refers.
///
/// # Errors
/// When it is no name that can be claimed.
pub fn claim(is_claim: bool, name: &str) -> Result<(), Refusal> {
    if is_claim {
        return Ok(());
    }
    let text = format!(
        "`{name}` cannot be claimed: with `~` it refers to somebody who lost that name; leave `~` and what follows away"
    );
    Err(Refusal::Invalid(Text::clipped(&text)))
}

/// Whether a login still holds: it is this device's, not ended, not expired, and the password has not been
/// changed since.
pub fn session_holds(row: &SessionRow, user: UserId, device: DeviceId, now: UnixSeconds) -> bool {
    row.user == user && row.device == device && !row.ended && row.expires > now && row.bound == row.credentials
}

/// Whether a login of which only the token is known here still holds: it was made at another
/// tracker, which has not told yet.
pub fn token_holds(token: &SessionToken, credentials: u32, ended: bool) -> bool {
    !ended && token.credentials == credentials
}

/// Members only.
///
/// # Errors
/// `NotAMember`, for everyone else.
pub fn member(standing: &Standing, group: &GroupName) -> Result<common::id::MembershipId, Refusal> {
    standing.membership().ok_or_else(|| Refusal::NotAMember(group.clone()))
}

/// The admin only.
///
/// # Errors
/// `NotAdmin`, for everyone else.
pub fn admin(me: UserId, admin: UserId, admin_name: UserName, group: &GroupName) -> Result<(), Refusal> {
    if me == admin { Ok(()) } else { Err(Refusal::NotAdmin { group: group.clone(), admin: admin_name }) }
}

/// Who may ask to join: nobody who is a member or has asked.
///
/// # Errors
/// The one or the other.
pub fn may_ask(standing: &Standing, group: &GroupName) -> Result<(), Refusal> {
    match (standing.live.as_slice(), standing.pending.as_slice()) {
        ([], []) => Ok(()),
        ([], _) => Err(Refusal::AlreadyRequested(group.clone())),
        _ => Err(Refusal::AlreadyMember(group.clone())),
    }
}

/// An admin does not remove himself: leaving settles who follows.
///
/// # Errors
/// With the command to use.
pub fn may_remove(me: UserId, whom: UserId, group: &GroupName) -> Result<(), Refusal> {
    if me != whom {
        return Ok(());
    }
    let text = format!("you cannot remove yourself; `leave_group {group}` hands the group on and leaves it");
    Err(Refusal::Invalid(Text::clipped(&text)))
}

/// What an upload does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Upload {
    /// It makes a new share, or joins one that is the same.
    Add,
    /// It takes the name of another share: as a new version of it, or because nobody seeds it any more.
    Replace,
}

/// A content that is to be shared.
#[derive(Debug, Clone)]
pub struct Offer<'a> {
    /// Where.
    pub group: &'a GroupName,
    /// Under which name.
    pub name: &'a FileName,
    /// Its manifest, which says all of it.
    pub manifest: ManifestId,
    /// The manifest that it has as a file, whatever the tree.
    pub plain: ManifestId,
    /// Length of its pieces, in bytes.
    pub piece_len: u64,
    /// If it is to take the place of the share of its name, whether it may.
    pub replace: Option<Result<(), Refusal>>,
}

/// What uploading `offer` means, given the share of its name, the share of its content, and whether anybody seeds
/// the former.
///
/// # Errors
/// When the name is taken and is not to be, or may not be, replaced; or when the content is shared with other pieces: seeders
/// of one content in one group must agree on them.
pub fn upload(
    offer: &Offer<'_>,
    same_name: Option<&Share>,
    same_content: Option<&Share>,
    seeded: bool,
) -> Result<Upload, Refusal> {
    if let Some(other) = same_content.filter(|s| s.plain() != offer.plain) {
        let piece_len = other.layout.piece_len();
        return Err(if piece_len == offer.piece_len {
            let text = format!(
                "this content is already shared in `{}` as `{}`, with SHA-1 digests that are not those of your file; \
                 whoever shared it has a defective program",
                offer.group, other.name
            );
            Refusal::Invalid(Text::clipped(&text))
        } else {
            Refusal::OtherPieceSize { piece_len }
        });
    }
    match (same_name, &offer.replace) {
        (None, _) => Ok(Upload::Add),
        (Some(other), _) if other.manifest == offer.manifest => Ok(Upload::Add),
        (Some(_), Some(Ok(()))) => Ok(Upload::Replace),
        (Some(_), _) if !seeded => Ok(Upload::Replace),
        (Some(_), Some(Err(refusal))) => Err(refusal.clone()),
        (Some(_), None) => Err(Refusal::FileExists { group: offer.group.clone(), name: offer.name.clone() }),
    }
}

#[cfg(test)]
mod tests {
    use common::id::{FileId, MembershipId, PublicationId, Sha1Digest};
    use common::pieces::PieceLayout;

    use super::*;
    use crate::fact::Hlc;

    fn group() -> GroupName {
        "lab".parse().expect("a name")
    }

    fn standing(live: usize, pending: usize) -> Standing {
        let some = |n| (0..n).map(|_| MembershipId::random()).collect();
        Standing { live: some(live), pending: some(pending) }
    }

    #[test]
    fn passwords_have_a_length() {
        for (len, ok) in [(0, false), (7, false), (8, true), (1024, true)] {
            let p = Password::try_from("x".repeat(len)).expect("within the wire's limit");
            assert_eq!(new_password(&p).is_ok(), ok, "{len}");
        }
    }

    #[test]
    fn a_login_holds_only_as_it_was_made() {
        let (user, device) = (UserId::new([1; 16]), DeviceId::new([2; 32]));
        let good = SessionRow { user, device, bound: 2, credentials: 2, expires: 100, ended: false };
        assert!(session_holds(&good, user, device, 99));
        assert!(!session_holds(&good, user, device, 100), "expired");
        assert!(!session_holds(&good, UserId::new([9; 16]), device, 99));
        assert!(!session_holds(&good, user, DeviceId::new([9; 32]), 99));
        assert!(!session_holds(&SessionRow { ended: true, ..good }, user, device, 99));
        assert!(!session_holds(&SessionRow { credentials: 3, ..good }, user, device, 99));
    }

    #[test]
    fn who_may_ask() {
        assert!(may_ask(&standing(0, 0), &group()).is_ok());
        assert!(matches!(may_ask(&standing(0, 1), &group()), Err(Refusal::AlreadyRequested(_))));
        assert!(matches!(may_ask(&standing(1, 0), &group()), Err(Refusal::AlreadyMember(_))));
        assert!(matches!(may_ask(&standing(1, 1), &group()), Err(Refusal::AlreadyMember(_))));
        assert!(member(&standing(0, 1), &group()).is_err() && member(&standing(1, 0), &group()).is_ok());
    }

    #[test]
    fn admins_leave_and_are_not_removed() {
        let (me, other) = (UserId::new([1; 16]), UserId::new([2; 16]));
        assert!(may_remove(me, other, &group()).is_ok());
        assert!(may_remove(me, me, &group()).is_err_and(|r| r.to_string().contains("leave_group lab")));
        let name: UserName = "bob".parse().expect("a name");
        assert!(admin(me, me, name.clone(), &group()).is_ok());
        assert!(matches!(admin(me, other, name, &group()), Err(Refusal::NotAdmin { .. })));
    }

    #[test]
    fn what_an_upload_means() {
        let share = |file: u8, manifest: u8, piece_len| Share {
            publication: PublicationId::random(),
            name: "f".parse().expect("a name"),
            file: FileId::new([file; 32]),
            manifest: ManifestId([manifest; 32]),
            layout: PieceLayout::new(1, piece_len).expect("layout"),
            sha1: Sha1Digest::new([0; 20]),
            folder: None,
            publisher: UserId::new([1; 16]),
            uploader: "bob".parse().expect("a name"),
            published: Hlc::default(),
        };
        let (g, name) = (group(), "f".parse().expect("a name"));
        let offer = Offer {
            group: &g,
            name: &name,
            manifest: ManifestId([1; 32]),
            plain: ManifestId([1; 32]),
            piece_len: 16384,
            replace: None,
        };
        let same = share(1, 1, 16384);
        let other = share(2, 2, 16384);
        assert_eq!(upload(&offer, None, None, false), Ok(Upload::Add));
        assert_eq!(upload(&offer, Some(&same), Some(&same), true), Ok(Upload::Add));
        assert!(matches!(upload(&offer, Some(&other), None, true), Err(Refusal::FileExists { .. })));
        assert_eq!(upload(&offer, Some(&other), None, false), Ok(Upload::Replace));
        let asked = |may| Offer { replace: Some(may), ..offer.clone() };
        assert_eq!(upload(&asked(Ok(())), Some(&other), None, true), Ok(Upload::Replace));
        assert_eq!(upload(&asked(Ok(())), Some(&same), Some(&same), true), Ok(Upload::Add), "nothing has changed");
        assert_eq!(upload(&asked(Err(Refusal::Busy)), Some(&other), None, true), Err(Refusal::Busy));
        assert_eq!(upload(&asked(Err(Refusal::Busy)), Some(&other), None, false), Ok(Upload::Replace));
        let recut = share(1, 3, 32768);
        assert_eq!(upload(&offer, None, Some(&recut), true), Err(Refusal::OtherPieceSize { piece_len: 32768 }));
        let forged = share(1, 4, 16384);
        assert!(matches!(upload(&offer, None, Some(&forged), true), Err(Refusal::Invalid(_))));
    }
}
