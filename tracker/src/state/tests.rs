//! The laws, over random histories: the same state in whatever order facts come, and whatever is taken away, or back, and
//! joined anew.

use common::id::{
    DeviceId, FileId, GroupId, MembershipId, OriginId, PublicationId, SessionId, Sha1Digest, TreeId, UserId,
};
use common::invitation::InviteDigest;
use common::pieces::PieceLayout;
use proptest::prelude::*;

use super::{Folder, ManifestHead, State};
use crate::fact::{CredentialId, EndReason, Fact, Hlc, InvitationId, KickId, ManifestId, Stamp};
use crate::vote::{Claim, NameKind, Vote};

mod size;

/// What comes in.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Fact(Stamp, Fact),
    Manifest(u8, bool),
}

/// Few things, so that facts meet.
fn thing<const N: usize, T: From<[u8; N]> + std::fmt::Debug>() -> impl Strategy<Value = T> {
    (0..4u8).prop_map(|b| T::from([b; N]))
}

fn text<T: TryFrom<String> + std::fmt::Debug>(pattern: &'static str) -> impl Strategy<Value = T> {
    pattern.prop_filter_map("a name", |s: String| T::try_from(s).ok())
}

/// A membership belongs to one user of one group, for good: these follow from its number. Users have two in a group.
fn place_of(membership: u8) -> (GroupId, UserId) {
    (GroupId::new([membership % 2; 16]), UserId::new([membership / 4; 16]))
}

fn membership_fact() -> impl Strategy<Value = Fact> {
    let kicks = || proptest::collection::btree_set(thing::<16, KickId>(), 0..4);
    let reason = prop_oneof![Just(EndReason::Left), Just(EndReason::Rejected), Just(EndReason::Kicked)];
    let requested = |m: u8| {
        let (group, user) = place_of(m);
        Fact::Requested { membership: MembershipId::new([m; 16]), group, user }
    };
    let accepted = |(m, seen): (u8, std::collections::BTreeSet<KickId>)| Fact::Accepted {
        membership: MembershipId::new([m; 16]),
        kicks_seen: seen.into_iter().collect(),
    };
    prop_oneof![
        4 => (0..12u8).prop_map(requested),
        5 => (0..12u8, kicks()).prop_map(accepted),
        1 => (0..12u8, reason).prop_map(|(m, reason)| Fact::Ended { membership: MembershipId::new([m; 16]), reason }),
        1 => (0..4u8).prop_map(|k| {
            let (group, user) = place_of(k * 3);
            Fact::Kicked { id: KickId([k; 16]), group, user }
        }),
        1 => (0..4u8, 0..12u8).prop_map(|(group, m)| Fact::Admin {
            group: GroupId::new([group % 2; 16]),
            user: place_of(m).1,
            membership: MembershipId::new([m; 16]),
        }),
    ]
}

fn share_fact() -> impl Strategy<Value = Fact> {
    let name = || {
        prop_oneof![text("[abAO0]"), Just(format!("a~{}", "01".repeat(4))).prop_map(|s| s.try_into().expect("a name"))]
    };
    prop_oneof![
        4 => (0..12u8, 0..12u8, name(), thing::<32, FileId>()).prop_map(|(id, m, name, file)| {
            let (group, user) = place_of(m);
            let (membership, manifest) = (MembershipId::new([m; 16]), ManifestId(*file.as_bytes()));
            Fact::Published { id: PublicationId::new([id; 16]), group, name, file, manifest, user, membership }
        }),
        1 => (0..12u8).prop_map(|id| Fact::Withdrawn { publication: PublicationId::new([id; 16]) }),
        2 => (thing::<32, FileId>(), thing::<32, DeviceId>(), 0..12u8, any::<bool>()).prop_map(|(file, device, m, on)| {
            let (group, user) = place_of(m);
            Fact::Seeding { group, file, device, user, membership: MembershipId::new([m; 16]), on }
        }),
    ]
}

fn invitation_fact() -> impl Strategy<Value = Fact> {
    // An invitation is one into one group by one user, for good: these follow from its number.
    let invited = |(i, uses, secret, seen): (u8, u32, u8, Vec<(u8, u8)>)| {
        let (group, user) = place_of(i * 4);
        let kicks_seen = seen.into_iter().map(|(run, ms)| (OriginId::new([run; 16]), Hlc::at_millis(ms.into())));
        Fact::Invited {
            id: InvitationId([i; 16]),
            group,
            user,
            number: u32::from(i / 2),
            secret: InviteDigest([secret; 32]),
            uses,
            expires: 10 + u64::from(uses),
            kicks_seen: kicks_seen.collect(),
        }
    };
    let invitation = || thing::<16, InvitationId>();
    prop_oneof![
        3 => (0..4u8, 0..3u32, 0..2u8, proptest::collection::vec((0..2u8, 0..4u8), 0..3)).prop_map(invited),
        1 => invitation().prop_map(|invitation| Fact::InvitationRevoked { invitation }),
        2 => (0..12u8, invitation()).prop_map(|(m, invitation)| Fact::Redeemed {
            membership: MembershipId::new([m; 16]),
            invitation,
        }),
        1 => (thing(), invitation()).prop_map(|(user, invitation)| Fact::Sponsored { user, invitation }),
    ]
}

fn account_fact() -> impl Strategy<Value = Fact> {
    prop_oneof![
        (thing(), text("[abA]")).prop_map(|(id, name)| Fact::User { id, name }),
        (thing(), text("[abA]"), thing()).prop_map(|(id, name, creator)| Fact::Group { id, name, creator }),
        (thing::<16, CredentialId>(), thing(), "[xy]").prop_map(|(id, user, phc)| Fact::Credential { id, user, phc }),
        (thing::<16, SessionId>(), thing(), thing::<32, DeviceId>(), 0..9u64)
            .prop_map(|(id, user, device, expires)| Fact::Session { id, user, device, expires }),
        (thing(), 0..4u32).prop_map(|(session, credentials)| Fact::SessionBound { session, credentials }),
        thing().prop_map(|session| Fact::SessionEnded { session }),
    ]
}

/// What half of the histories begin with, so that there is somebody about whom something can be said: named users and
/// groups, members who have seen every kick, and all manifests.
fn setting() -> Vec<Fact> {
    let mut all = Vec::new();
    for n in 0..3u8 {
        let name = ["a", "b", "A"][usize::from(n)];
        all.push(Fact::User { id: UserId::new([n; 16]), name: name.parse().expect("a name") });
        let (id, creator) = (GroupId::new([n; 16]), UserId::new([n; 16]));
        all.push(Fact::Group { id, name: name.parse().expect("a name"), creator });
    }
    for m in 0..10u8 {
        let ((group, user), membership) = (place_of(m), MembershipId::new([m; 16]));
        all.push(Fact::Requested { membership, group, user });
        all.push(Fact::Accepted { membership, kicks_seen: (0..4).map(|k| KickId([k; 16])).collect() });
    }
    all
}

/// A history: facts with stamps of their own, as events have, and manifests that come and go.
pub(crate) fn history() -> impl Strategy<Value = Vec<Step>> {
    let fact = (
        prop_oneof![
            2 => account_fact(),
            3 => membership_fact(),
            3 => share_fact(),
            1 => invitation_fact(),
        ],
        0..6u8,
        0..2u8,
    );
    let step = prop_oneof![
        12 => fact.prop_map(|(fact, ms, run)| (Some(fact), ms, run)),
        1 => (0..4u8, 0..4u8).prop_map(|(m, there)| (None, m, there)),
    ];
    (any::<bool>(), proptest::collection::vec(step, 1..80)).prop_map(|(begun, steps)| {
        let beginning = setting().into_iter().map(|fact| (Some(fact), 0, 0)).chain((0..4).map(|m| (None, m, 1)));
        let steps = beginning.filter(|_| begun).chain(steps);
        let stamped = |(n, (fact, ms, run)): (usize, (Option<Fact>, u8, u8))| match fact {
            // The place in the list makes the stamp unique, the rest its order arbitrary.
            Some(fact) => {
                let hlc = Hlc::from_stored(i64::from(ms) << 16 | n as i64);
                Step::Fact(Stamp { hlc, origin: OriginId::new([run; 16]) }, fact)
            }
            None => Step::Manifest(ms, run > 0),
        };
        steps.enumerate().map(stamped).collect()
    })
}

pub(crate) fn head(manifest: u8) -> ManifestHead {
    let layout = PieceLayout::new((u64::from(manifest) + 1) << 20, 1 << 14).expect("a layout");
    ManifestHead { layout, sha1: Sha1Digest::new([manifest; 20]), folder: folder(manifest) }
}

/// Every other manifest is a folder's, and those have the same tree.
fn folder(manifest: u8) -> Option<Folder> {
    let plain = ManifestId([manifest + 100; 32]);
    (manifest % 2 == 1).then_some(Folder { tree: TreeId::new([1; 32]), bytes: 5200, entries: 3, plain })
}

fn take(state: &mut State, step: &Step) {
    match step {
        Step::Fact(stamp, fact) => drop(state.join(*stamp, fact)),
        Step::Manifest(m, true) => drop(state.add_manifest(ManifestId([*m; 32]), head(*m))),
        Step::Manifest(m, false) => state.remove_manifest(ManifestId([*m; 32])),
    }
}

fn facts(history: &[Step]) -> Vec<(Stamp, Fact)> {
    let fact = |step: &Step| match step {
        Step::Fact(stamp, fact) => Some((*stamp, fact.clone())),
        Step::Manifest(..) => None,
    };
    history.iter().filter_map(fact).collect()
}

/// All manifests but one are here, and some names have votes.
fn state_of<'a>(facts: impl IntoIterator<Item = &'a (Stamp, Fact)>) -> State {
    let mut state = State::default();
    for m in 0..3 {
        drop(state.add_manifest(ManifestId([m; 32]), head(m)));
    }
    for (kind, name, owner) in [(NameKind::User, "a", 0), (NameKind::User, "b", 1), (NameKind::Group, "a", 0)] {
        let stamp = Stamp { hlc: Hlc::default(), origin: OriginId::new([0; 16]) };
        drop(state.set_vote(kind, name, Vote::first(Claim { stamp, owner: [owner; 16] })));
    }
    for (stamp, fact) in facts {
        drop(state.join(*stamp, fact));
    }
    state
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn neither_order_nor_repetition_matters(
        (all, shuffled) in history().prop_flat_map(|h| {
            let all = facts(&h);
            let twice: Vec<_> = all.iter().chain(all.iter().take(all.len() / 2)).cloned().collect();
            (Just(all), Just(twice).prop_shuffle())
        })
    ) {
        prop_assert_eq!(state_of(&all).said(), state_of(&shuffled).said());
    }

    #[test]
    fn what_is_joined_again_is_nothing_new(history in history()) {
        let all = facts(&history);
        let mut state = state_of(&all);
        let said = state.said();
        for (stamp, fact) in &all {
            prop_assert!(state.join(*stamp, fact).is_none(), "{:?}", fact);
        }
        prop_assert_eq!(state.said(), said);
    }

    #[test]
    fn the_facts_of_a_state_make_the_same_state(history in history()) {
        let state = state_of(&facts(&history));
        prop_assert_eq!(state_of(&state.facts()).said(), state.said());
    }

    #[test]
    fn what_is_taken_away_leaves_no_trace(history in history(), gone in 0..110usize) {
        let all = facts(&history);
        let Some((_, gone)) = all.get(gone % all.len().max(1)) else { return Ok(()) };
        let mut state = state_of(&all);
        state.forget(gone);
        let without: Vec<_> = state.facts();
        prop_assert_eq!(&state.said(), &state_of(&without).said());
        for (stamp, fact) in &all {
            drop(state.join(*stamp, fact));
        }
        prop_assert_eq!(state.said(), state_of(&all).said());
    }

    #[test]
    fn what_is_taken_back_leaves_no_trace(history in history(), at in 0..110usize, owner in 0..4u8) {
        let all = facts(&history);
        let (before, after) = all.split_at(at % (all.len() + 1));
        let mut state = state_of(before);
        let said = state.said();
        let stamp = Stamp { hlc: Hlc::default(), origin: OriginId::new([0; 16]) };
        let vote = Vote::first(Claim { stamp, owner: [owner; 16] });
        let mut undo: Vec<_> = after.iter().filter_map(|(stamp, fact)| state.join(*stamp, fact)).collect();
        undo.push(state.set_vote(NameKind::User, "a", vote));
        undo.push(state.set_vote(NameKind::Group, "b", vote));
        undo.push(state.add_manifest(ManifestId([3; 32]), head(3)));
        undo.into_iter().rev().for_each(|undo| state.undo(undo));
        prop_assert_eq!(&state.said(), &said);
        for (stamp, fact) in after {
            drop(state.join(*stamp, fact));
        }
        prop_assert_eq!(state.said(), state_of(&all).said());
    }

    #[test]
    fn manifests_and_votes_may_come_at_any_time(history in history(), owner in 0..4u8, at in 0..110usize) {
        let stamp = Stamp { hlc: Hlc::default(), origin: OriginId::new([0; 16]) };
        let vote = Vote::first(Claim { stamp, owner: [owner; 16] });
        let (mut before, mut after) = (state_of(&[]), state_of(&[]));
        let mut manifests: Vec<u8> = vec![0, 1, 2];
        for (n, step) in history.iter().enumerate() {
            if n == at % history.len() {
                drop(before.set_vote(NameKind::User, "a", vote));
                drop(before.set_vote(NameKind::Group, "b", vote));
            }
            take(&mut before, step);
            match step {
                Step::Fact(stamp, fact) => drop(after.join(*stamp, fact)),
                Step::Manifest(m, there) => {
                    manifests.retain(|other| other != m);
                    if *there { manifests.push(*m) }
                }
            }
        }
        for m in 0..4 {
            after.remove_manifest(ManifestId([m; 32]));
        }
        for m in manifests {
            drop(after.add_manifest(ManifestId([m; 32]), head(m)));
        }
        drop(after.set_vote(NameKind::User, "a", vote));
        drop(after.set_vote(NameKind::Group, "b", vote));
        prop_assert_eq!(before.said(), after.said());
    }
}
