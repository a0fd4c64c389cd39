//! Tickets, session tokens and revocations: whatever is done to their bytes, only what the cluster
//! signed verifies, as the kind it was signed as, and only where and when it says.

use std::fmt::Debug;
use std::sync::LazyLock;

use common::codec;
use common::id::{DeviceId, GroupId, MembershipId, SessionId, TicketId, UserId};
use common::secret::{ClusterKey, ClusterSecret};
use common::ticket::{
    CLOCK_TOLERANCE, EXPIRY_TOLERANCE, Revocation, Revoked, SessionToken, Signed, Statement, StatementError, Ticket,
    UnixSeconds,
};

use crate::golden;
use crate::input::Input;
use crate::secrets::SECRET;

/// Room for a statement with its signature, in bytes.
const LIMIT: usize = 4096;

/// The key of the golden samples.
static KEY: LazyLock<ClusterKey> = LazyLock::new(|| ClusterSecret::from_text(SECRET).expect("a secret").cluster_key());

/// A kind of statement that can be made from arbitrary bytes.
trait Kind: Statement + PartialEq + Debug {
    /// The golden line with a signed sample.
    const SAMPLE: &'static str;
    fn make(input: &mut Input<'_>) -> Self;
}

impl Kind for Ticket {
    const SAMPLE: &'static str = "Signed<Ticket>";

    fn make(input: &mut Input<'_>) -> Self {
        Self {
            id: TicketId::new(input.array()),
            user: UserId::new(input.array()),
            user_name: format!("u{}", input.u64()).parse().expect("a name"),
            session: SessionId::new(input.array()),
            device: DeviceId::new([input.byte() % 2; 32]),
            group: GroupId::new([input.byte() % 2; 16]),
            membership: MembershipId::new(input.array()),
            issued: moment(input),
            expires: moment(input),
        }
    }
}

impl Kind for SessionToken {
    const SAMPLE: &'static str = "Signed<SessionToken>";

    fn make(input: &mut Input<'_>) -> Self {
        Self {
            session: SessionId::new(input.array()),
            user: UserId::new(input.array()),
            device: DeviceId::new([input.byte() % 2; 32]),
            credentials: input.u32(),
            expires: moment(input),
        }
    }
}

impl Kind for Revocation {
    const SAMPLE: &'static str = "Signed<Revocation>";

    fn make(input: &mut Input<'_>) -> Self {
        let (user, session) = (UserId::new(input.array()), SessionId::new(input.array()));
        let what = match input.byte() % 4 {
            0 => {
                Revoked::Membership { group: GroupId::new(input.array()), membership: MembershipId::new(input.array()) }
            }
            1 => Revoked::Session(session),
            2 => Revoked::OtherSessions { user, except: Some(session) },
            _ => Revoked::OtherSessions { user, except: None },
        };
        Self { what, at: moment(input) }
    }
}

/// Near the beginning of time, near its end, or anywhere.
fn moment(input: &mut Input<'_>) -> UnixSeconds {
    match input.byte() % 4 {
        0 | 1 => u64::from(input.byte()),
        2 => u64::MAX - u64::from(input.byte()),
        _ => input.u64(),
    }
}

/// Which kind and what happens; then bytes, or what to make and how to alter it.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    match input.byte() % 7 {
        0 => foreign::<Ticket>(input.rest()),
        1 => foreign::<SessionToken>(input.rest()),
        2 => foreign::<Revocation>(input.rest()),
        3 => altered::<Ticket>(&mut input),
        4 => altered::<SessionToken>(&mut input),
        5 => altered::<Revocation>(&mut input),
        _ => admission(&mut input),
    }
}

/// Bytes that nobody signed: only the published sample, unchanged, may pass.
fn foreign<T: Kind>(bytes: &[u8]) {
    let Ok(signed) = codec::decode::<Signed<T>>(bytes, LIMIT) else { return };
    if let Ok(statement) = signed.verify(&KEY.public()) {
        assert!(golden::values::<Signed<T>>(T::SAMPLE).contains(&signed), "{statement:?} was never signed");
    }
}

/// A genuine statement, then anything done to its bytes.
fn altered<T: Kind>(input: &mut Input<'_>) {
    let statement = T::make(input);
    let signed = Signed::sign(&statement, &KEY).expect("a statement fits");
    assert_eq!(signed.verify(&KEY.public()).as_ref(), Ok(&statement));

    let mut bytes = codec::encode(&signed, LIMIT).expect("it fits");
    for _ in 0..8 {
        if input.is_empty() {
            break;
        }
        alter(&mut bytes, input);
    }
    passes_only_as_itself::<T, Ticket>(&signed, &bytes);
    passes_only_as_itself::<T, SessionToken>(&signed, &bytes);
    passes_only_as_itself::<T, Revocation>(&signed, &bytes);
}

fn alter(bytes: &mut Vec<u8>, input: &mut Input<'_>) {
    let at = input.below(bytes.len().max(1));
    let Some(byte) = bytes.get_mut(at) else { return };
    match input.byte() % 5 {
        0 => *byte ^= 1 << (input.byte() % 8),
        1 => *byte = input.byte(),
        2 => bytes.truncate(at),
        3 => bytes.insert(at, input.byte()),
        _ => {
            let len = input.below(32);
            let with = input.take(len);
            let end = (at + with.len()).min(bytes.len());
            bytes.splice(at..end, with.iter().copied());
        }
    }
}

/// `bytes`, which were made from `genuine`, are shown as a `U`.
fn passes_only_as_itself<T: Kind, U: Kind>(genuine: &Signed<T>, bytes: &[u8]) {
    let Ok(shown) = codec::decode::<Signed<U>>(bytes, LIMIT) else { return };
    if shown.verify(&KEY.public()).is_ok() {
        assert_eq!(T::SAMPLE, U::SAMPLE, "one kind of statement passes for another");
        let canonical = codec::encode(genuine, LIMIT).expect("it fits");
        assert_eq!(codec::encode(&shown, LIMIT).expect("it fits"), canonical, "an altered statement passes");
    }
}

/// A door opens exactly as the rule says.
fn admission(input: &mut Input<'_>) {
    let (device, group) = (DeviceId::new([input.byte() % 2; 32]), GroupId::new([input.byte() % 2; 16]));
    let now = moment(input);
    let cluster = KEY.public();

    let token = SessionToken::make(input);
    let admitted = Signed::sign(&token, &KEY).expect("it fits").admit(&cluster, device, now);
    let expected = match () {
        () if token.device != device => Err(StatementError::Device),
        () if token.expires < now => Err(StatementError::Expired),
        () => Ok(token),
    };
    assert_eq!(admitted, expected);

    let ticket = Ticket::make(input);
    let later = now.saturating_add(u64::from(input.byte()));
    let admitted = Signed::sign(&ticket, &KEY).expect("it fits").admit(&cluster, device, group, (now, later));
    let (ahead, late) = (u128::from(CLOCK_TOLERANCE.as_secs()), u128::from(EXPIRY_TOLERANCE.as_secs()));
    let begun = u128::from(ticket.issued) <= u128::from(later) + ahead;
    let current = begun && u128::from(now) <= u128::from(ticket.expires) + late;
    let expected = match () {
        () if ticket.device != device => Err(StatementError::Device),
        () if ticket.group != group => Err(StatementError::Group),
        () if !current => Err(StatementError::Expired),
        () => Ok(ticket),
    };
    assert_eq!(admitted, expected);
}

/// The published samples, and one of each kind to alter.
pub fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for (kind, name) in (0..).zip([Ticket::SAMPLE, SessionToken::SAMPLE, Revocation::SAMPLE]) {
        seeds.extend(golden::after(kind, golden::bytes(name)));
        seeds.push([&[kind + 3][..], &[kind; 120], &[0, 2, 0, 3]].concat());
    }
    // Device 0 in group 0 at second 70 of a time that begins at 0; the ticket is good from 40 to 100.
    seeds.push([&[6, 0, 0, 0, 70][..], &[0; 37], &[0, 200], &[0; 74], &[0, 40, 0, 100]].concat());
    seeds
}
