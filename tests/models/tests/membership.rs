//! The searches of the model of membership.

use shoal_models::membership::{CONVERGENCE, ENDED_STAYS, KICK_HOLDS, Membership, REMOVAL_WINS, REPLAY, Rule};
use shoal_models::{refute, verify};

fn world(rule: Rule, commands: u8, drops: u8, restores: u8) -> Membership {
    Membership { rule, commands, drops, restores }
}

/// Verifies the rule, and holds the documented number of states to it.
fn holds(commands: u8, drops: u8, restores: u8, states: usize) {
    let world = world(Rule::DotsAndFence, commands, drops, restores);
    assert_eq!(verify(&format!("{world:?}"), world), states, "put the new number into the model's header");
}

fn fails(rule: Rule, property: &'static str) {
    let world = world(rule, 6, 1, 0);
    refute(&format!("{world:?}"), world, property);
}

#[test]
fn holds_while_disks_last() {
    holds(4, 2, 0, 49_391);
    holds(6, 1, 0, 368_151);
}

#[test]
fn holds_while_one_disk_goes_back() {
    holds(4, 0, 1, 191_980);
}

#[test]
#[ignore = "minutes"]
fn holds_in_larger_worlds() {
    holds(6, 2, 0, 1_511_627);
    holds(7, 1, 0, 2_041_652);
    holds(4, 1, 1, 1_678_905);
    holds(5, 0, 1, 1_795_734);
}

#[test]
fn when_the_last_writer_wins_a_kicked_user_is_a_member() {
    fails(Rule::LastWriterWins, REMOVAL_WINS);
    fails(Rule::LastWriterWins, KICK_HOLDS);
}

#[test]
fn without_the_fence_a_kicked_user_is_a_member() {
    fails(Rule::DotsOnly, KICK_HOLDS);
}

#[test]
fn when_phases_are_overwritten_ended_revives_and_trackers_diverge() {
    fails(Rule::NotAbsorbing, ENDED_STAYS);
    fails(Rule::NotAbsorbing, REMOVAL_WINS);
    fails(Rule::NotAbsorbing, CONVERGENCE);
    fails(Rule::NotAbsorbing, REPLAY);
}
