//! Invitations: one line of text that lets somebody into a group, and tells a machine that knows nothing yet where the
//! trackers are and by which key to know them. Pure, and the only place that reads or writes such lines.
//!
//! `shoal-invite:` and base32 of: a version byte, the cluster's pin, the secret, the number of trackers and for each the
//! length of its address (two bytes, big-endian) and the address as text, and four check bytes (BLAKE3 of all before), by which a
//! line that was cut or mistyped is told from one that is not known. See docs/adr/0027.
//!
//! The secret is what counts. Trackers keep only its hash; [`Debug`] never shows it, and there is no `Display`.

use std::fmt;
use std::str::FromStr;

use data_encoding::BASE32_NOPAD_NOCASE as BASE32;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use crate::address::HostPort;
use crate::secret::ClusterPin;
use crate::tracker_info::{MAX_TRACKERS, TrackerInfo};

/// What a line begins with.
const SCHEME: &str = "shoal-invite:";
/// The form of the bytes.
const VERSION: u8 = 1;
/// Random bytes of a secret.
pub const SECRET_BYTES: usize = 16;
/// Check bytes at the end.
const CHECK_BYTES: usize = 4;
/// Longest line that is looked at, in bytes: that of the most and longest trackers is shorter.
const MAX_LINE: usize = 8 << 10;
/// Most words that a line may have been broken into.
const MAX_PARTS: usize = 64;
/// What tells the hash of a secret from other hashes.
const DIGEST_CONTEXT: &str = "shoal invitation secret 1";
/// What tells the check bytes from other hashes.
const CHECK_CONTEXT: &str = "shoal invitation check 1";

/// Most uses of one invitation.
pub const MAX_USES: u32 = 10_000;
/// How long an invitation may last at most, in seconds: a year.
pub const MAX_SECONDS: u32 = 365 * 24 * 3600;
/// How long it lasts at least, in seconds.
pub const MIN_SECONDS: u32 = 60;

/// What lets its holder in: 128 random bits, wiped when dropped, and never shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Zeroize)]
#[zeroize(drop)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct InviteSecret([u8; SECRET_BYTES]);

impl InviteSecret {
    /// These bytes.
    pub const fn new(bytes: [u8; SECRET_BYTES]) -> Self {
        Self(bytes)
    }

    /// A fresh one from the system's random source.
    pub fn generate() -> Self {
        Self(rand::random())
    }

    /// What the trackers keep of it.
    pub fn digest(&self) -> InviteDigest {
        InviteDigest(blake3::derive_key(DIGEST_CONTEXT, &self.0))
    }
}

impl fmt::Debug for InviteSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InviteSecret(…)")
    }
}

/// The hash of a secret: BLAKE3, under a context of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct InviteDigest(pub [u8; 32]);

/// An invitation, as it is passed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invitation {
    /// Where the trackers listen, in the order of their numbers.
    pub trackers: Vec<HostPort>,
    /// The cluster's key.
    pub pin: ClusterPin,
    /// What lets its holder in.
    pub secret: InviteSecret,
}

/// Why a text is no invitation. The text itself is never repeated: it may be most of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotAnInvitation {
    /// It does not begin as one.
    #[error("this is no invitation: one begins with `{SCHEME}`; paste the whole line that you were sent")]
    Scheme,
    /// Part of it is missing, or something in it is another character.
    #[error("this invitation is cut off or mistyped; paste the whole line that you were sent")]
    Damaged,
    /// A later release made it.
    #[error("this invitation was made by a newer release; install that one")]
    Newer,
}

impl Invitation {
    /// Whether `text` is meant as an invitation, a good one or not.
    pub fn is_meant(text: &str) -> bool {
        Self::start(text.trim_start()) == Some(0)
    }

    /// Where in `text` an invitation begins, in bytes.
    fn start(text: &str) -> Option<usize> {
        text.as_bytes().windows(SCHEME.len()).position(|start| start.eq_ignore_ascii_case(SCHEME.as_bytes()))
    }

    /// The line to pass on.
    pub fn to_line(&self) -> Zeroizing<String> {
        let mut bytes = Zeroizing::new(vec![VERSION]);
        bytes.extend_from_slice(self.pin.as_bytes());
        bytes.extend_from_slice(&self.secret.0);
        let trackers = self.trackers.iter().take(MAX_TRACKERS);
        bytes.push(u8::try_from(trackers.len()).unwrap_or(u8::MAX));
        for address in trackers {
            let text = address.to_string();
            bytes.extend_from_slice(&u16::try_from(text.len()).unwrap_or(u16::MAX).to_be_bytes());
            bytes.extend_from_slice(text.as_bytes());
        }
        let check = check(&bytes);
        bytes.extend_from_slice(&check);
        let digits = Zeroizing::new(BASE32.encode(&bytes));
        Zeroizing::new(format!("{SCHEME}{}", digits.to_ascii_lowercase()))
    }

    /// The list of trackers that it stands for.
    pub fn tracker_info(&self) -> TrackerInfo {
        TrackerInfo { trackers: self.trackers.clone(), pin: Some(self.pin) }
    }
}

fn check(bytes: &[u8]) -> [u8; CHECK_BYTES] {
    let [a, b, c, d, ..] = blake3::derive_key(CHECK_CONTEXT, bytes);
    [a, b, c, d]
}

impl FromStr for Invitation {
    type Err = NotAnInvitation;

    /// The first one in a text, whatever stands around it. Upper and lower case are the same; blanks and line ends that a mail
    /// program put in are left out.
    fn from_str(text: &str) -> Result<Self, NotAnInvitation> {
        if text.len() > MAX_LINE {
            return Err(NotAnInvitation::Damaged);
        }
        let start = Self::start(text).ok_or(NotAnInvitation::Scheme)?;
        // Programs that take links for addresses add slashes.
        let rest = text.get(start + SCHEME.len()..).unwrap_or_default().trim_start().trim_start_matches('/');
        let mut digits = Zeroizing::new(String::with_capacity(rest.len()));
        let mut wrong = NotAnInvitation::Damaged;
        // Words that follow may be the rest of it, or say something else: the check bytes tell where it ends.
        for word in rest.split_whitespace().take(MAX_PARTS) {
            let end = word.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(word.len());
            digits.push_str(&word[..end]);
            match Self::from_digits(&digits) {
                Err(NotAnInvitation::Newer) => wrong = NotAnInvitation::Newer,
                Err(_) => {}
                found => return found,
            }
            if end < word.len() {
                break; // Such as the full stop after it.
            }
        }
        Err(wrong)
    }
}

impl Invitation {
    fn from_digits(digits: &str) -> Result<Self, NotAnInvitation> {
        let bytes = Zeroizing::new(BASE32.decode(digits.as_bytes()).map_err(|_| NotAnInvitation::Damaged)?);
        Self::from_bytes(&bytes)
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, NotAnInvitation> {
        let damaged = NotAnInvitation::Damaged;
        let (said, checked) = bytes.split_last_chunk::<CHECK_BYTES>().ok_or(damaged)?;
        if check(said) != *checked {
            return Err(damaged);
        }
        let (version, rest) = said.split_first().ok_or(damaged)?;
        if *version != VERSION {
            return Err(NotAnInvitation::Newer);
        }
        let (pin, rest) = rest.split_first_chunk().ok_or(damaged)?;
        let (secret, rest) = rest.split_first_chunk().ok_or(damaged)?;
        let (count, mut rest) = rest.split_first().ok_or(damaged)?;
        let mut trackers: Vec<HostPort> = Vec::new();
        for _ in 0..*count {
            let (len, after) = rest.split_first_chunk().ok_or(damaged)?;
            let (address, after) = after.split_at_checked(u16::from_be_bytes(*len).into()).ok_or(damaged)?;
            let address = std::str::from_utf8(address).ok().and_then(|text| text.parse::<HostPort>().ok());
            trackers.push(address.filter(|a| a.port() != 0 && !trackers.contains(a)).ok_or(damaged)?);
            rest = after;
        }
        let fits = (1..=MAX_TRACKERS).contains(&trackers.len()) && rest.is_empty();
        let (pin, secret) = (ClusterPin::from_bytes(*pin), InviteSecret(*secret));
        if fits { Ok(Self { trackers, pin, secret }) } else { Err(damaged) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn invitation(trackers: &[&str]) -> Invitation {
        let trackers = trackers.iter().map(|t| t.parse().unwrap()).collect();
        Invitation { trackers, pin: ClusterPin::from_bytes([7; 32]), secret: InviteSecret::new([9; 16]) }
    }

    #[test]
    fn what_is_written_is_read_back() {
        for trackers in [&["127.0.0.1:5000"][..], &["tracker.lab.example:5000", "[2001:db8::1]:5001"]] {
            let invitation = invitation(trackers);
            let line = invitation.to_line();
            assert!(
                line.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b":-".contains(&b)),
                "{}",
                *line
            );
            assert_eq!(line.parse(), Ok(invitation));
        }
    }

    #[test]
    fn the_form_of_a_line_stays_as_it_is() {
        let line = invitation(&["a:1", "10.0.0.1:5000"]).to_line();
        assert_eq!(
            *line,
            "shoal-invite:aedqobyha4dqobyha4dqobyha4dqobyha4dqobyha4dqobyha4dqocijbeeqscijbeeqscijbeeqscicaabwcorraagtcmbogaxdalrrhi2tambqldngvgy",
            "lines are out there, in people's mail"
        );
    }

    #[test]
    fn the_longest_line_is_read() {
        let host = ["a".repeat(62).as_str(); 4].join(".");
        let trackers: Vec<String> = (0..MAX_TRACKERS).map(|n| format!("{host}:{}", 65_000 + n)).collect();
        let longest = invitation(&trackers.iter().map(String::as_str).collect::<Vec<_>>());
        let line = longest.to_line();
        assert!(line.len() < MAX_LINE, "{}", line.len());
        assert_eq!(line.parse(), Ok(longest));
    }

    #[test]
    fn what_mail_programs_make_of_a_line_is_understood() {
        let invitation = invitation(&["127.0.0.1:5000"]);
        let line = invitation.to_line();
        let wrapped: String =
            line.chars().enumerate().flat_map(|(n, c)| (n == 40).then_some('\n').into_iter().chain([c])).collect();
        for text in [line.to_uppercase(), format!("  {}\n", *line), wrapped, line.replace(':', "://")] {
            assert_eq!(text.parse(), Ok(invitation.clone()), "{text}");
        }
    }

    #[test]
    fn a_line_is_found_in_the_sentence_around_it() {
        let invitation = invitation(&["127.0.0.1:5000"]);
        let line = invitation.to_line();
        let (first, second) = line.split_at(60);
        for text in [
            format!("Hello bob, come in: {} see you", *line),
            format!("({})", *line),
            format!("\u{201c}{}\u{201d}", *line),
            format!("> {first}\r\n{second}. Yours, alice"),
            format!("client --invite {first} {second}"),
        ] {
            assert_eq!(text.parse(), Ok(invitation.clone()), "{text}");
        }
        let broken = format!("come in: {first} and then the rest");
        assert_eq!(broken.parse::<Invitation>(), Err(NotAnInvitation::Damaged));
    }

    #[test]
    fn any_altered_or_missing_character_is_noticed() {
        let line = invitation(&["127.0.0.1:5000", "127.0.0.1:5001"]).to_line();
        for at in SCHEME.len()..line.len() {
            let (before, after) = line.split_at(at);
            assert!(before.parse::<Invitation>().is_err());
            let other = if after.starts_with('b') { 'c' } else { 'b' };
            let altered = format!("{before}{other}{}", &after[1..]);
            assert!(altered.parse::<Invitation>().is_err(), "{altered}");
        }
    }

    #[test]
    fn nothing_shows_a_secret() {
        let invitation = invitation(&["127.0.0.1:5000"]);
        let shown = format!("{invitation:?}");
        assert!(!shown.contains("9, 9") && shown.contains("InviteSecret(…)"), "{shown}");
        assert_ne!(invitation.secret.digest(), InviteSecret::new([8; 16]).digest());
        let line = invitation.to_line();
        let error = line[..line.len() - 3].parse::<Invitation>().unwrap_err();
        assert!(!error.to_string().contains(&line[SCHEME.len()..SCHEME.len() + 8]));
    }

    #[test]
    fn a_later_form_and_no_form_are_told_apart() {
        let mut bytes = vec![VERSION + 1];
        bytes.extend(check(&bytes));
        let later = format!("{SCHEME}{}", BASE32.encode(&bytes));
        assert_eq!(later.parse::<Invitation>(), Err(NotAnInvitation::Newer));
        assert_eq!("shoal:lab/x".parse::<Invitation>(), Err(NotAnInvitation::Scheme));
        assert_eq!("".parse::<Invitation>(), Err(NotAnInvitation::Scheme));
        assert_eq!(SCHEME.parse::<Invitation>(), Err(NotAnInvitation::Damaged));
    }
}
