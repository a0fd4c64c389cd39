use std::collections::BTreeMap;

use common::id::{DeviceId, FileId, GroupId, MembershipId, OriginId, PublicationId, SessionId, UserId};
use common::invitation::InviteDigest;
use proptest::prelude::*;
use rusqlite::types::Value;

use super::*;
use crate::fact::{CredentialId, EndReason, Hlc, InvitationId, KickId, ManifestId};
use crate::store::facts;

fn empty() -> Connection {
    let conn = Connection::open_in_memory().expect("in memory");
    for schema in [
        include_str!("../../../../migrations/V1__facts.sql"),
        include_str!("../../../../migrations/V2__replication.sql"),
        include_str!("../../../../migrations/V3__upkeep.sql"),
        include_str!("../../../../migrations/V4__looks.sql"),
        include_str!("../../../../migrations/V5__withdrawn.sql"),
        include_str!("../../../../migrations/V6__checkpoint.sql"),
        include_str!("../../../../migrations/V7__trees.sql"),
        include_str!("../../../../migrations/V8__invitations.sql"),
    ] {
        conn.execute_batch(schema).expect("schema");
    }
    conn
}

const TABLES: [&str; 20] = [
    "users",
    "credentials",
    "sessions",
    "session_bindings",
    "session_ends",
    "groups",
    "admins",
    "memberships",
    "accepts",
    "accept_kicks",
    "kicks",
    "ends",
    "live",
    "publications",
    "withdrawals",
    "seeders",
    "invitations",
    "invitation_ends",
    "redemptions",
    "sponsors",
];

type Dump = BTreeMap<&'static str, Vec<String>>;

fn dump(conn: &Connection) -> Dump {
    let rows = |table: &&'static str| {
        let mut all = conn.prepare(&format!("SELECT * FROM {table}")).expect("prepared");
        let n = all.column_count();
        let row = |r: &rusqlite::Row<'_>| (0..n).map(|i| r.get(i)).collect::<rusqlite::Result<Vec<Value>>>();
        let rows = all.query_map([], |r| row(r).map(|values| format!("{values:?}"))).expect("queried");
        let mut rows = rows.collect::<rusqlite::Result<Vec<_>>>().expect("rows");
        rows.sort();
        (*table, rows)
    };
    TABLES.iter().map(rows).collect()
}

fn fill(facts: &[(Fact, Stamp)]) -> Connection {
    let conn = empty();
    for (fact, stamp) in facts {
        join(&conn, fact, *stamp).expect("joined");
    }
    conn
}

fn state(facts: &[(Fact, Stamp)]) -> Dump {
    dump(&fill(facts))
}

/// Few things, so that facts meet.
fn thing<const N: usize, T: From<[u8; N]> + std::fmt::Debug>() -> impl Strategy<Value = T> {
    (0..3u8).prop_map(|b| T::from([b; N]))
}

fn text<T: TryFrom<String> + std::fmt::Debug>() -> impl Strategy<Value = T> {
    "[ab]".prop_filter_map("a name", |s| T::try_from(s).ok())
}

fn fact() -> impl Strategy<Value = Fact> {
    let reason = prop_oneof![Just(EndReason::Left), Just(EndReason::Rejected), Just(EndReason::Kicked)];
    prop_oneof![
        (thing(), text()).prop_map(|(id, name)| Fact::User { id, name }),
        (thing::<16, CredentialId>(), thing(), "[xy]").prop_map(|(id, user, phc)| Fact::Credential { id, user, phc }),
        (thing::<16, SessionId>(), thing(), thing::<32, DeviceId>(), 0..9u64)
            .prop_map(|(id, user, device, expires)| Fact::Session { id, user, device, expires }),
        (thing(), 0..5u32).prop_map(|(session, credentials)| Fact::SessionBound { session, credentials }),
        thing().prop_map(|session| Fact::SessionEnded { session }),
        (thing(), text(), thing()).prop_map(|(id, name, creator)| Fact::Group { id, name, creator }),
        (thing(), thing(), thing()).prop_map(|(group, user, membership)| Fact::Admin { group, user, membership }),
        membership_fact(),
        (thing(), reason).prop_map(|(membership, reason)| Fact::Ended { membership, reason }),
        (thing::<16, PublicationId>(), thing(), text(), thing::<32, FileId>(), 0..2u8, thing(), thing()).prop_map(
            |(id, group, name, file, m, user, membership)| {
                Fact::Published { id, group, name, file, manifest: ManifestId([m; 32]), user, membership }
            }
        ),
        thing().prop_map(|publication| Fact::Withdrawn { publication }),
        (thing(), thing(), thing(), thing(), thing(), any::<bool>()).prop_map(
            |(group, file, device, user, membership, on)| Fact::Seeding { group, file, device, user, membership, on }
        ),
        invitation_fact(),
    ]
}

fn invitation_fact() -> impl Strategy<Value = Fact> {
    let seen = proptest::collection::vec((thing(), 0..4i64), 0..3);
    prop_oneof![
        (thing::<16, InvitationId>(), thing(), thing(), 0..3u32, seen).prop_map(|(id, group, user, uses, seen)| {
            Fact::Invited {
                id,
                group,
                user,
                number: uses,
                secret: InviteDigest([id.0[0]; 32]),
                uses,
                expires: 10,
                kicks_seen: seen.into_iter().map(|(run, at)| (run, Hlc::from_stored(at))).collect(),
            }
        }),
        thing().prop_map(|invitation| Fact::InvitationRevoked { invitation }),
        (thing(), thing()).prop_map(|(membership, invitation)| Fact::Redeemed { membership, invitation }),
        (thing(), thing()).prop_map(|(user, invitation)| Fact::Sponsored { user, invitation }),
    ]
}

/// A membership belongs to one user of one group, for good: these follow from its id.
fn membership_fact() -> impl Strategy<Value = Fact> {
    let kicks = proptest::collection::btree_set(thing::<16, KickId>(), 0..3);
    prop_oneof![
        (0..3u8).prop_map(|m| Fact::Requested {
            membership: MembershipId::new([m; 16]),
            group: GroupId::new([0; 16]),
            user: UserId::new([m / 2; 16]),
        }),
        (thing(), kicks)
            .prop_map(|(membership, seen)| Fact::Accepted { membership, kicks_seen: seen.into_iter().collect() }),
        (0..3u8).prop_map(|k| Fact::Kicked {
            id: KickId([k; 16]),
            group: GroupId::new([0; 16]),
            user: UserId::new([k % 2; 16]),
        }),
    ]
}

/// Facts with stamps of their own, as events have.
fn facts() -> impl Strategy<Value = Vec<(Fact, Stamp)>> {
    let stamps = |facts: Vec<(Fact, u8, u8)>| {
        let stamp = |(n, (fact, ms, origin)): (usize, (Fact, u8, u8))| {
            // The place in the list makes the stamp unique, the rest its order arbitrary.
            let hlc = Hlc::from_stored(i64::from(ms) << 16 | n as i64);
            (fact, Stamp { hlc, origin: OriginId::new([origin; 16]) })
        };
        facts.into_iter().enumerate().map(stamp).collect()
    };
    proptest::collection::vec((fact(), 0..4u8, 0..2u8), 1..40).prop_map(stamps)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn neither_order_nor_repetition_matters(
        (all, shuffled) in facts().prop_flat_map(|f| {
            let twice: Vec<_> = f.iter().chain(f.iter().take(f.len() / 2)).cloned().collect();
            (Just(f), Just(twice).prop_shuffle())
        })
    ) {
        prop_assert_eq!(state(&all), state(&shuffled));
    }

    #[test]
    fn what_is_sent_as_facts_is_worth_the_events(
        (all, mine, theirs) in facts().prop_flat_map(|f| {
            let some = || proptest::sample::subsequence(f.clone(), 0..=f.len());
            (Just(f.clone()), some(), some())
        })
    ) {
        // Each has some of what was stated; the rest both have.
        let split = |some: &[(Fact, Stamp)]| {
            let conn = empty();
            let shared = all.iter().filter(|f| !mine.contains(f) && !theirs.contains(f));
            some.iter().chain(shared).for_each(|(fact, stamp)| {
                join(&conn, fact, *stamp).expect("joined");
            });
            conn
        };
        let (a, b) = (split(&mine), split(&theirs));
        let mut cursor = Some(facts::Cursor::default());
        while let Some(at) = cursor {
            let (part, next) = facts::part(&a, &at, usize::MAX).expect("read");
            let sent = facts::unpack(&facts::pack(&part).expect("packed")).expect("unpacked");
            // Twice: a part may be sent again after a connection is lost.
            for (stamp, fact) in sent.iter().chain(&sent) {
                join(&b, fact, *stamp).expect("joined");
            }
            cursor = next;
        }
        prop_assert_eq!(dump(&b), state(&all));
        prop_assert_eq!(facts::digest(&b, 0).expect("digest"), facts::digest(&fill(&all), 0).expect("digest"));
    }

    #[test]
    fn a_member_has_an_acceptance_that_knew_of_every_kick(all in facts()) {
        let conn = empty();
        for (fact, stamp) in &all {
            join(&conn, fact, *stamp).expect("joined");
        }
        let mut live = conn.prepare("SELECT membership FROM live").expect("prepared");
        let live: Vec<MembershipId> = live.query_map([], |r| r.get(0).map(MembershipId::new)).expect("queried")
            .collect::<rusqlite::Result<_>>().expect("rows");
        for m in (0..3u8).map(|m| MembershipId::new([m; 16])) {
            prop_assert_eq!(live.contains(&m), is_live(&all, m), "{:?}", m);
        }
    }
}

/// The definition, on the facts themselves.
fn is_live(all: &[(Fact, Stamp)], m: MembershipId) -> bool {
    let owner = UserId::new([m.as_bytes()[0] / 2; 16]);
    let requested = all.iter().any(|(d, _)| matches!(d, Fact::Requested { membership, .. } if *membership == m));
    let ended = all.iter().any(|(d, _)| matches!(d, Fact::Ended { membership, .. } if *membership == m));
    let kicks: Vec<KickId> = all
        .iter()
        .filter_map(|(d, _)| match d {
            Fact::Kicked { id, user, .. } if *user == owner => Some(*id),
            _ => None,
        })
        .collect();
    let accepted = all.iter().any(|(d, _)| match d {
        Fact::Accepted { membership, kicks_seen } => *membership == m && kicks.iter().all(|k| kicks_seen.contains(k)),
        _ => false,
    });
    requested && accepted && !ended
}
