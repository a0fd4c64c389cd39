//! The bytes of every message, fixed: whoever changes them cuts off every client and tracker that is
//! out there.
//!
//! `golden.txt` holds one line `name bytes` for each sample, the bytes in hexadecimal. A variant that
//! is new takes a name in [`listed!`] (the compiler asks for it), a sample in [`samples`] (a test
//! asks for it), and a line at the end of the file (a test prints it). No line is ever changed or
//! removed: a message that needs another form is a new variant, or a new protocol version.

mod samples;

use std::collections::BTreeMap;
use std::fmt::Debug;

use data_encoding::HEXLOWER;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::codec;
use crate::ticket::{Revocation, Revoked, SessionToken, Signed, Ticket};
use crate::wire::client::{
    ClientFrame, FileSelector, Happened, InviteState, Mode, ProbeOutcome, Push, Relation, Request, Response,
    ServerFrame,
};
use crate::wire::limits::MAX_FRAME;
use crate::wire::peer::{Goodbye, LeecherFrame, SeederFrame};
use crate::wire::refusal::Refusal;
use crate::wire::sync::{NameKind, SyncFrame, VoteStage};

const FILE: &str = include_str!("golden.txt");
const PATH: &str = "common/src/wire/golden.txt";

/// A type of the wire with the names of all its variants.
trait Listed: Serialize + DeserializeOwned + PartialEq + Debug + 'static {
    const NAMES: &'static [&'static str];
    fn name(&self) -> &'static str;
}

/// Names every variant. The match has no wildcard, so that a variant without a name does not compile.
macro_rules! listed {
    ($($kind:ident: $($variant:ident)*;)*) => { $(
        impl Listed for $kind {
            const NAMES: &'static [&'static str] = &[$(concat!(stringify!($kind), "::", stringify!($variant))),*];
            fn name(&self) -> &'static str {
                match self {
                    $(Self::$variant { .. } => concat!(stringify!($kind), "::", stringify!($variant)),)*
                }
            }
        }
    )* };
}

macro_rules! listed_whole {
    ($($kind:ty = $name:literal)*) => { $(
        impl Listed for $kind {
            const NAMES: &'static [&'static str] = &[$name];
            fn name(&self) -> &'static str {
                $name
            }
        }
    )* };
}

listed! {
    ClientFrame: Hello Call;
    ServerFrame: Welcome Reply Push;
    Request: CreateUser Login Resume Logout ChangePassword CreateGroup ListGroups JoinGroup LeaveGroup ListRequests
        AcceptRequest RejectRequest ListMembers RemoveMember MakeAdmin StageManifest UploadFile ListFiles FindFile
        GetManifest FindPeers StartSeeding StopSeeding Announce GetTicket Status Cluster ListDevices EndLogin OpenFile
        StageTree Publish FindShare OpenShare GetTree ListShares Search
        AnnounceAs ProbeMe ProbeResult Invite ListInvites RevokeInvite AcceptInvite CreateInvitedUser
        News LoginWithCode CheckInvite NewsWithVersions;
    Response: Done LoggedIn Groups Users Members Files File ManifestPart Peers Ticket Left Status
        Provisional Cluster Devices Opened Published Share OpenedShare TreePart Shares Hits Probed Invited Invites
        Joined News Invitation;
    Push: JoinRequested Accepted Rejected Removed MadeAdmin Revoked SeederUp SessionEnded UserRenamed GroupRenamed
        Probe NewsHint;
    Refusal: Version NotLoggedIn BadCredentials SessionEnded UserExists NoSuchUser GroupExists NoSuchGroup NotAMember
        UserNotAMember NotAdmin AlreadyMember AlreadyRequested NoSuchRequest FileExists NoSuchFile AmbiguousId
        PasswordRule Invalid RateLimited Busy TrackerDiskFull Internal Stale OtherPieceSize NoSuchInvite
        NoSuchInviteNumber;
    Mode: Dual Solo;
    Happened: JoinRequested Accepted Rejected Removed MadeAdmin FileShared InvitationUsed NewVersion;
    Relation: Admin Member Pending None;
    ProbeOutcome: Reached Refused Silent Unreachable Other;
    InviteState: Open UsedUp Expired Revoked Closed;
    FileSelector: Name IdPrefix;
    LeecherFrame: Hello Request Cancel Renew Revoked Rest;
    SeederFrame: Bitfield Have Run Cancelled Lost Goodbye;
    Goodbye: Version Ticket Revoked NotShared Busy Violation Leaving;
    Revoked: Membership Session OtherSessions;
    SyncFrame: Hello Batch Facts Ack WantManifest Manifest NoManifest Digest Repair Quarantined Ping Pong
        WantManifestFrom Presence Clock FolderManifest WantTree Tree NoTree;
    NameKind: User Group;
    VoteStage: Provisional Pledged Confirmed;
}

listed_whole! {
    Ticket = "Ticket"
    SessionToken = "SessionToken"
    Revocation = "Revocation"
    Signed<Ticket> = "Signed<Ticket>"
    Signed<SessionToken> = "Signed<SessionToken>"
    Signed<Revocation> = "Signed<Revocation>"
}

/// What the file says, and what is wrong with it.
struct Check {
    lines: BTreeMap<&'static str, Vec<u8>>,
    changed: Vec<String>,
    missing: Vec<String>,
}

impl Check {
    fn new() -> Self {
        let mut lines = BTreeMap::new();
        for line in FILE.lines().filter(|l| !l.is_empty() && !l.starts_with('#')) {
            let (name, hex) = line.split_once(' ').unwrap_or_else(|| panic!("{PATH}: `{line}` is not `name bytes`"));
            let bytes = HEXLOWER.decode(hex.as_bytes()).unwrap_or_else(|e| panic!("{PATH}: {name}: {e}"));
            assert!(lines.insert(name, bytes).is_none(), "{PATH}: {name} stands there twice");
        }
        Self { lines, changed: Vec::new(), missing: Vec::new() }
    }

    /// Compares the samples of one type with their lines, which are then done with. The second
    /// sample of a variant is called `name/2`.
    fn samples<T: Listed>(&mut self, samples: Vec<T>) {
        let mut seen = BTreeMap::new();
        for sample in samples {
            let count = seen.entry(sample.name()).and_modify(|n| *n += 1).or_insert(1);
            let name = if *count == 1 { sample.name().to_owned() } else { format!("{}/{count}", sample.name()) };
            let bytes = codec::encode(&sample, MAX_FRAME).unwrap();
            match self.lines.remove(name.as_str()) {
                None => self.missing.push(format!("{name} {}", HEXLOWER.encode(&bytes))),
                Some(golden) if golden != bytes => self.changed.push(format!("{name} {}", HEXLOWER.encode(&bytes))),
                Some(golden) => assert_eq!(codec::decode::<T>(&golden, MAX_FRAME).unwrap(), sample, "{name}"),
            }
        }
        for name in T::NAMES {
            assert!(seen.contains_key(name), "common/src/wire/golden/samples.rs has no sample of {name}");
        }
    }

    fn finish(self) {
        let Self { lines, changed, missing } = self;
        assert!(
            changed.is_empty(),
            "the bytes of these messages have changed, and nobody out there can read them any more. Undo that, \
             and append a variant instead (a test's sample that was edited on purpose gets its old values back):\n{}",
            changed.join("\n")
        );
        assert!(missing.is_empty(), "append these lines to {PATH}:\n{}", missing.join("\n"));
        let left: Vec<_> = lines.into_keys().collect();
        assert!(left.is_empty(), "{PATH} has bytes of messages that are gone, which old programs still send: {left:?}");
    }
}

#[test]
fn the_bytes_of_every_message_stay_as_they_are() {
    let mut check = Check::new();
    check.samples(samples::client_frames());
    check.samples(samples::requests());
    check.samples(samples::selectors());
    check.samples(samples::server_frames());
    check.samples(samples::responses());
    check.samples(samples::pushes());
    check.samples(samples::happened());
    check.samples(samples::refusals());
    check.samples(vec![Mode::Dual, Mode::Solo]);
    check.samples(vec![Relation::Admin, Relation::Member, Relation::Pending, Relation::None]);
    check.samples(samples::probe_outcomes());
    check.samples(samples::invite_states());
    check.samples(samples::leecher_frames());
    check.samples(samples::seeder_frames());
    check.samples(samples::goodbyes());
    check.samples(samples::revoked());
    check.samples(samples::sync_frames());
    check.samples(vec![NameKind::User, NameKind::Group]);
    check.samples(vec![VoteStage::Provisional, VoteStage::Pledged, VoteStage::Confirmed]);
    check.samples(vec![samples::ticket()]);
    check.samples(vec![samples::token()]);
    check.samples(vec![samples::revocation()]);
    check.samples(vec![samples::signed(&samples::ticket())]);
    check.samples(vec![samples::signed(&samples::token())]);
    check.samples(vec![samples::signed(&samples::revocation())]);
    check.finish();
}

#[test]
fn signed_samples_verify() {
    let cluster = samples::key().public();
    assert_eq!(samples::signed(&samples::ticket()).verify(&cluster), Ok(samples::ticket()));
    assert_eq!(samples::signed(&samples::token()).verify(&cluster), Ok(samples::token()));
    assert_eq!(samples::signed(&samples::revocation()).verify(&cluster), Ok(samples::revocation()));
}
