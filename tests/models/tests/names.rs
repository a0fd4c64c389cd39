//! The searches of the model of names.

use shoal_models::names::{Bounds, Claim, NEVER_TAKEN, Names, ONE_OWNER, Restores, Rule, SETTLED, Stage, Vote};
use shoal_models::{refute, verify};

/// Three owners with one claim each.
const THREE: [u8; 3] = [0, 1, 2];
/// Two owners with two claims each, as when a client tries again at the other tracker.
const TWICE: [u8; 4] = [0, 1, 0, 1];

fn bounds(owners: &[u8], claims: u8, drops: u8, restores: u8) -> Bounds {
    Bounds { owners: owners.to_vec(), claims, drops, restores, which: Restores::OneAtATime }
}

/// Verifies the rule, or a mutant that is as good, and holds the documented number of states to it.
fn holds(rule: Rule, bounds: Bounds, states: usize) {
    let what = format!("{rule:?}, {bounds:?}");
    assert_eq!(verify(&what, Names { bounds, rule }), states, "put the new number into the model's header");
}

fn fails(rule: Rule, bounds: Bounds, property: &'static str) {
    refute(&format!("{rule:?}, {bounds:?}"), Names { bounds, rule }, property);
}

#[test]
fn undisturbed_a_claim_is_confirmed_by_the_first_answer() {
    let here = Vote::first(Claim { stamp: 0, owner: 0 });
    let there = Vote::first(here.claim).meet(here);
    assert_eq!(there.stage, Stage::Pledged);
    assert_eq!(here.meet(there).stage, Stage::Confirmed);
    assert_eq!(there.meet(here.meet(there)).stage, Stage::Confirmed);
}

#[test]
fn holds_while_disks_last() {
    holds(Rule::TwoVotes, bounds(&THREE, 2, 3, 0), 18_197);
    holds(Rule::TwoVotes, bounds(&TWICE, 2, 3, 0), 33_921);
}

#[test]
fn holds_while_one_disk_goes_back() {
    holds(Rule::TwoVotes, bounds(&TWICE, 3, 0, 1), 279_855);
    holds(Rule::TwoVotes, bounds(&THREE, 3, 1, 1), 968_114);
}

#[test]
fn holds_while_disks_go_back_in_turn() {
    holds(Rule::TwoVotes, bounds(&[0, 1], 3, 0, 2), 366_613);
}

#[test]
#[ignore = "minutes"]
fn holds_in_larger_worlds() {
    holds(Rule::TwoVotes, bounds(&TWICE, 3, 1, 1), 2_573_794);
    holds(Rule::TwoVotes, bounds(&THREE, 3, 2, 1), 3_461_581);
    holds(Rule::TwoVotes, bounds(&THREE, 3, 0, 2), 1_380_317);
    holds(Rule::TwoVotes, bounds(&[0, 1], 3, 1, 2), 2_630_777);
}

#[test]
fn while_disks_last_the_mutants_are_as_good() {
    holds(Rule::AnyVote, bounds(&THREE, 2, 3, 0), 14_459);
    holds(Rule::OldConnections, bounds(&THREE, 2, 2, 0), 87_971);
    holds(Rule::EarliestAlways, bounds(&THREE, 2, 3, 0), 18_197);
    holds(Rule::VotesInMemory, bounds(&THREE, 2, 3, 0), 17_957);
}

#[test]
fn without_the_current_vote_two_owners_are_confirmed() {
    fails(Rule::AnyVote, bounds(&[0, 1], 2, 0, 1), ONE_OWNER);
}

#[test]
fn with_votes_of_older_connections_two_owners_are_confirmed() {
    fails(Rule::OldConnections, bounds(&[0, 1], 2, 0, 2), ONE_OWNER);
    fails(Rule::OldConnections, bounds(&THREE, 2, 0, 1), SETTLED);
}

#[test]
fn when_pledges_move_a_confirmed_name_is_taken_away() {
    fails(Rule::EarliestAlways, bounds(&[0, 1], 2, 0, 1), ONE_OWNER);
    fails(Rule::EarliestAlways, bounds(&[0, 1], 2, 0, 1), NEVER_TAKEN);
}

#[test]
fn with_votes_in_memory_two_owners_are_confirmed() {
    fails(Rule::VotesInMemory, bounds(&[0, 1], 2, 1, 1), ONE_OWNER);
}

#[test]
fn when_both_disks_go_back_at_once_the_guarantee_ends() {
    let bounds = Bounds { which: Restores::Any, ..bounds(&[0, 1], 2, 0, 2) };
    fails(Rule::TwoVotes, bounds, ONE_OWNER);
}
