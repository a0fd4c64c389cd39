//! A few runs of everything; `simulate` makes many.
#![allow(clippy::panic, reason = "a test harness")]

use std::time::Duration;

use simulation::{Fault, Plan, run, run_with_clients};

fn plan(name: &str) -> Plan {
    Plan::named().into_iter().find(|p| p.name == name).unwrap_or_else(|| panic!("no plan is called {name}"))
}

macro_rules! scenarios {
    ($($test:ident: $name:literal;)*) => {
        $(
            #[test]
            fn $test() {
                for seed in 1..=3 {
                    run(&plan($name), seed);
                }
            }
        )*

        #[test]
        fn every_plan_has_a_test() {
            let tested = [$($name),*];
            assert!(Plan::named().iter().all(|p| tested.contains(&p.name)));
        }
    };
}

scenarios! {
    nothing: "nothing";
    kill_before_commit: "kill before commit";
    kill_after_commit: "kill after commit, before ship";
    kill_after_ship: "kill after ship, before acknowledgement";
    kill_in_a_snapshot: "kill in a snapshot";
    death_after_dual: "death right after a dual acknowledgement";
    death_after_solo: "death right after a solo acknowledgement";
    partition: "partition";
    one_way_partition: "one-way partition";
    broken_connections: "broken connections";
    flapping: "flapping at 1 Hz";
    stopped: "stopped for 30 s";
    slow_disk: "slow disk";
    full_disk: "full disk";
    restored_other_up: "restored, the other up";
    restored_other_down: "restored, the other down";
    both_restored: "both restored to different times";
    wiped: "wiped";
    clock_ahead: "clock +10 years and back";
    clock_behind: "clock -3 days";
    longer_than_the_log: "partition longer than the log";
    duplicated: "messages duplicated";
    reordered: "events reordered";
    replayed: "messages replayed";
    malformed: "messages malformed";
    altered: "a row altered";
    invitations: "invitations while apart";
    slow_line: "a line of 40 KB/s";
    very_slow_line: "a line of 2 KB/s";
    very_slow_one_way: "a line of 2 KB/s one way";
    very_slow_and_breaking: "a line of 2 KB/s that breaks";
    very_slow_and_stopping: "a line of 2 KB/s that stops";
    long_delay: "a line of a long delay";
    wiped_over_a_slow_line: "a wiped disk over a slow line";
}

/// A tracker that is to be copied may have lost its disk a moment before.
#[test]
fn a_lost_disk_is_not_backed_up() {
    run(&Plan::random(), 5881);
}

/// A disk is lost, and the other tracker's log names a manifest that it never fetched: the share was gone by then.
#[test]
fn a_manifest_that_neither_has_does_not_keep_them_apart() {
    run(&Plan::random(), 401);
}

/// A name was claimed on both sides, and one of the two groups closed while the votes on it were under way: each side waited for
/// the other to say something more.
#[test]
fn a_vote_that_met_a_group_which_has_closed_since_is_told_again() {
    run(&Plan::random_lines(), 504);
}

/// What a closed connection had not sent held up the next ones for good.
#[test]
fn a_slow_line_is_free_for_the_next_connection() {
    run(&Plan::random_lines(), 275);
}

#[test]
fn by_chance_over_lines_of_any_rate() {
    for seed in 1..=50 {
        run(&Plan::random_lines(), seed);
    }
}

#[test]
fn by_chance() {
    let mut folders = 0;
    for seed in 1..=200 {
        folders += run(&Plan::random(), seed).folders;
    }
    assert!(folders > 20, "trees go from tracker to tracker: {folders}");
}

/// While the trackers are apart, members at both publish folders and replace what is there.
#[test]
fn versions_that_were_published_apart_are_the_same_at_both() {
    let plan = Plan {
        name: "apart",
        commands: 150,
        certain: vec![Fault::Partition(Duration::from_secs(20))],
        random: 0,
        bulk: 0,
        invitations: false,
    };
    let folders: u64 = (1..=20).map(|seed| run(&plan, seed).folders).sum();
    assert!(folders > 5, "{folders}");
}

/// Connected trackers let in more than an invitation's uses only when both are asked in the same moment, those that are apart
/// whenever both are asked; and then all of them stay, at both.
#[test]
fn an_invitation_is_seldom_overused_but_while_the_trackers_are_apart() {
    let (mut connected, mut apart) = (simulation::Report::default(), simulation::Report::default());
    for seed in 1..=30 {
        connected.add(&run(&Plan::invitations("connected", vec![], 0), seed));
        apart.add(&run(&plan("invitations while apart"), seed));
    }
    assert!(connected.redeemed > 30 && apart.redeemed > 30, "{connected}; {apart}");
    // In the same moment nobody is asked in these runs.
    assert!(connected.overused == 0 && apart.overused > 0, "{connected}; {apart}");
}

#[test]
fn invitations_by_chance() {
    let redeemed: u64 = (1..=60).map(|seed| run(&Plan::invitations("invitations", vec![], 6), seed).redeemed).sum();
    assert!(redeemed > 60, "{redeemed}");
}

/// Clients of two trackers: whatever strikes, they see no less than they have seen, lose nothing, and are answered in time.
#[test]
fn clients_through_each_fault() {
    for plan in Plan::named() {
        run_with_clients(&plan, 1, 3, false);
        run_with_clients(&plan, 2, 3, true);
    }
}

#[test]
fn clients_by_chance() {
    for seed in 1..=60 {
        run_with_clients(&Plan::random(), seed, 3, true);
    }
}

/// The trackers are apart, and clients reach both, while others write at each: nobody goes back to an older truth, and
/// nobody waits for what only the other tracker has. (The tracker that is not used was believed to have been seen.)
#[test]
fn clients_that_reach_both_trackers_do_not_notice_that_they_are_apart() {
    let plan = Plan {
        name: "apart",
        commands: 60,
        certain: vec![Fault::Partition(Duration::from_secs(50))],
        random: 0,
        bulk: 0,
        invitations: false,
    };
    for seed in 1..=5 {
        let report = run_with_clients(&plan, seed, 3, false);
        assert!(report.reads > 20 && report.writes > 20, "{report}");
        assert_eq!(report.gone_back, 0, "{report}");
        assert!(report.slowest < Duration::from_millis(2500), "{report}");
    }
}

/// A tracker that is stopped, and not killed, says nothing and closes nothing.
#[test]
fn clients_of_a_stopped_tracker_are_answered_within_three_seconds() {
    let plan = Plan {
        name: "stopped",
        commands: 10,
        certain: vec![Fault::Stall(Duration::from_secs(20))],
        random: 0,
        bulk: 0,
        invitations: false,
    };
    for seed in 1..=5 {
        let report = run_with_clients(&plan, seed, 3, false);
        assert!(report.slowest <= Duration::from_secs(3), "{report}");
        assert_eq!(report.failed, 0, "{report}");
    }
}
