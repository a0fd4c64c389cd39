//! What is found, and its remedy. Pure.

use std::net::SocketAddr;
use std::time::Duration;

use common::escape::Escaped;
use common::ticket::UnixSeconds;
use common::wire::client::{Mode, ProbeOutcome, ProbeRow, Probed, REVISION};

use crate::engine::outcome::Finding;
use crate::trackers::{Status, TrackerState};
use crate::units::duration;

/// A difference between two clocks that is one, in seconds: what a line and whole seconds leave open is less.
const CLOCK_OFF: u64 = 30;

/// Whether others have tried to connect.
pub(super) enum Tried {
    /// They have not, for this reason.
    Not(String),
    /// They have.
    By(Probed),
}

/// Each tracker, and whether they stand in for each other.
pub(super) fn trackers(status: &Status) -> Vec<Finding> {
    let another = |of: &TrackerState| status.trackers.iter().any(|t| t.up && t.address != of.address);
    let mut findings: Vec<_> = status.trackers.iter().map(|t| tracker(t, another(t))).collect();
    let listed = status.trackers.len();
    findings.extend(match (status.mode, status.lag) {
        (Some(Mode::Dual), None | Some(0)) => Some(Finding::good("both trackers have everything")),
        (Some(Mode::Dual), Some(lag)) => {
            Some(Finding::good(format!("both trackers are there; the other one is catching up with {lag} events")))
        }
        (Some(Mode::Solo), _) if listed > 1 => Some(Finding::bad(
            "one tracker does the work of both: what is done now is lost if its disk is",
            "start the other tracker again, or mend the line between the two",
        )),
        (Some(Mode::Solo), _) => Some(Finding::good("there is one tracker, and no other that could stand in for it")),
        (None, _) => None,
    });
    findings
}

fn tracker(tracker: &TrackerState, another: bool) -> Finding {
    let TrackerState { address, up, disk_full, revision, .. } = tracker;
    match revision.filter(|_| *up) {
        None if another => Finding::bad(
            format!("the tracker {address} does not answer; the other one does its work meanwhile"),
            "start it, or correct the list of trackers",
        ),
        None => Finding::bad(
            format!("the tracker {address} does not answer"),
            "start it, or correct the list of trackers; is this machine connected?",
        ),
        Some(_) if *disk_full => Finding::bad(
            format!("the disk of the tracker {address} is full: nothing can be created or shared"),
            "make room on that machine",
        ),
        Some(revision) if revision < REVISION => Finding::bad(
            format!("the tracker {address} is of an older release (revision {revision} of {REVISION})"),
            "install the present release there: some commands need it",
        ),
        Some(revision) => Finding::good(format!("the tracker {address} is up (revision {revision})")),
    }
}

/// This machine's clock against those of the trackers.
pub(super) fn clock(here: UnixSeconds, (first, last): (UnixSeconds, UnixSeconds)) -> Finding {
    let by = |seconds| duration(Duration::from_secs(seconds));
    if last.abs_diff(first) > CLOCK_OFF {
        return Finding::bad(
            format!("the trackers' clocks differ by {}", by(last.abs_diff(first))),
            "have them set on both machines, for example by `timedatectl set-ntp true`",
        );
    }
    let (off, word) = if here < first { (first - here, "behind") } else { (here.saturating_sub(last), "ahead of") };
    if off > CLOCK_OFF {
        return Finding::bad(
            format!("this machine's clock is {} {word} the trackers'", by(off)),
            "have it set, for example by `timedatectl set-ntp true`; what is dated here is wrong until then",
        );
    }
    Finding::good("this machine's clock and the trackers' agree")
}

/// Where this client listens.
pub(super) fn listener(listen: SocketAddr, answers: bool, is_trial: bool) -> Finding {
    if !answers {
        return Finding::bad(
            format!("nothing answers at {listen}, where this client listens"),
            "start it again; does a firewall on this machine stop its own connections?",
        );
    }
    if listen.ip().is_loopback() && !is_trial {
        return Finding::bad(
            format!("this client listens at {listen}, an address that no other machine has: it can seed to nobody"),
            "start it with another IP:PORT: 0.0.0.0:7000, or the machine's own address",
        );
    }
    Finding::good(format!("this client listens at {listen}"))
}

/// Whether others can connect.
pub(super) fn reach(tried: &Tried) -> Finding {
    let Probed { address, rows } = match tried {
        Tried::Not(why) => {
            let what = format!("whether others can connect was not tried: {}", Escaped(why));
            return Finding {
                remedy: Some("run `doctor` again when that is no longer so".to_owned()),
                ..Finding::good(what)
            };
        }
        Tried::By(probed) => probed,
    };
    let reached = |row: &&ProbeRow| row.outcome == Some(ProbeOutcome::Reached);
    if rows.is_empty() {
        let what = format!("nobody was there to try whether others can connect to {address}");
        let remedy = "run `doctor` again when another member of your groups is online".to_owned();
        return Finding { remedy: Some(remedy), ..Finding::good(what) };
    }
    if let Some(row) = rows.iter().find(|row| row.from_elsewhere && reached(row)) {
        return Finding::good(format!("{} has connected to {address}, from another machine", row.user));
    }
    // One that comes from the same address says little where another has failed.
    if let Some((row, outcome)) =
        rows.iter().find_map(|row| Some((row, row.outcome.filter(|o| *o != ProbeOutcome::Reached)?)))
    {
        let (why, remedy) = failure(outcome);
        return Finding::bad(format!("{} could not connect to {address}: {why}", row.user), remedy);
    }
    match rows.iter().find(reached) {
        Some(row) => {
            let what = format!(
                "{} has connected to {address}, from this machine or its own network; others have not tried",
                row.user
            );
            let only_here = address.ip().is_loopback();
            let remedy = only_here.then(|| {
                format!(
                    "no other machine reaches {address}: start the client with an address of this machine that they see"
                )
            });
            Finding { remedy, ..Finding::good(what) }
        }
        None => {
            let names: Vec<_> = rows.iter().map(|row| row.user.to_string()).collect();
            Finding::good(format!("{} did not say in time whether {address} can be reached", names.join(", ")))
        }
    }
}

/// Why somebody could not connect, and what helps.
const fn failure(outcome: ProbeOutcome) -> (&'static str, &'static str) {
    match outcome {
        ProbeOutcome::Reached => ("", ""),
        ProbeOutcome::Refused => (
            "nothing listens there",
            "if a router stands before this machine, have it forward the port here; else start the client with the address that \
             others see",
        ),
        ProbeOutcome::Silent => (
            "nothing answers there",
            "let the port through the firewalls of this machine and its network, and have the router forward it here",
        ),
        ProbeOutcome::Unreachable => (
            "there is no way there",
            "start the client with an address that members can reach: theirs may be another network",
        ),
        ProbeOutcome::Other => (
            "something else answers there",
            "another program or machine has that port; have the router forward it here, or choose another port",
        ),
    }
}

#[cfg(test)]
mod tests {
    use common::wire::limits::List;

    use super::*;

    fn state(port: u16, revision: Option<u8>) -> TrackerState {
        let address = format!("192.0.2.1:{port}").parse().expect("an address");
        TrackerState { address, up: revision.is_some(), current: false, disk_full: false, revision }
    }

    fn probed(rows: &[(&str, bool, Option<ProbeOutcome>)]) -> Finding {
        let row = |(user, from_elsewhere, outcome): &(&str, bool, Option<ProbeOutcome>)| ProbeRow {
            user: user.parse().expect("a name"),
            from_elsewhere: *from_elsewhere,
            outcome: *outcome,
        };
        let address = "192.0.2.7:7000".parse().expect("an address");
        reach(&Tried::By(Probed { address, rows: List::first_of(rows.iter().map(row)) }))
    }

    #[test]
    fn each_tracker_and_both_together_are_judged() {
        let of = |trackers: Vec<TrackerState>, mode| {
            trackers_of(&Status { trackers, mode, lag: None }).into_iter().map(|f| f.ok).collect::<Vec<_>>()
        };
        fn trackers_of(status: &Status) -> Vec<Finding> {
            super::trackers(status)
        }
        let (new, old, down) = (Some(REVISION), Some(REVISION - 1), None);
        assert_eq!(of(vec![state(1, new), state(2, new)], Some(Mode::Dual)), [true, true, true]);
        assert_eq!(of(vec![state(1, new), state(2, old)], Some(Mode::Dual)), [true, false, true]);
        assert_eq!(of(vec![state(1, new), state(2, down)], Some(Mode::Solo)), [true, false, false]);
        assert_eq!(of(vec![state(1, new)], Some(Mode::Solo)), [true, true], "that is how it is meant to be");
        assert_eq!(of(vec![state(1, down), state(2, down)], None), [false, false]);
        let full = TrackerState { disk_full: true, ..state(1, new) };
        assert!(super::trackers(&Status { trackers: vec![full], mode: None, lag: None })[0].what.contains("is full"));
    }

    #[test]
    fn a_clock_is_off_by_more_than_seconds() {
        for (here, span, ok, what) in [
            (1000, (1000, 1001), true, "agree"),
            (1029, (1000, 1000), true, "agree"),
            (1100, (1000, 1000), false, "1 min 40 s ahead of"),
            (900, (1000, 1000), false, "1 min 40 s behind"),
            (1000, (1000, 1100), false, "the trackers' clocks differ"),
        ] {
            let finding = clock(here, span);
            assert!(finding.ok == ok && finding.what.contains(what), "{finding:?}");
            assert_eq!(finding.remedy.is_some(), !ok);
        }
    }

    #[test]
    fn a_loopback_address_is_a_fault_unless_all_is_on_one_machine() {
        let at = |address: &str| address.parse().expect("an address");
        assert!(listener(at("0.0.0.0:7000"), true, false).ok && listener(at("127.0.0.1:7000"), true, true).ok);
        assert!(!listener(at("127.0.0.1:7000"), true, false).ok && !listener(at("0.0.0.0:7000"), false, true).ok);
    }

    #[test]
    fn only_who_comes_from_elsewhere_shows_that_others_can() {
        use ProbeOutcome::{Reached, Refused, Silent};
        for (rows, ok, what) in [
            (vec![], true, "nobody was there to try"),
            (vec![("bob", true, Some(Reached)), ("eve", true, Some(Silent))], true, "bob has connected"),
            (vec![("bob", false, Some(Reached))], true, "others have not tried"),
            (vec![("bob", false, Some(Reached)), ("eve", true, Some(Refused))], false, "eve could not connect"),
            (vec![("bob", true, Some(Silent))], false, "nothing answers there"),
            (vec![("bob", true, None)], true, "bob did not say in time"),
        ] {
            let finding = probed(&rows);
            assert!(finding.ok == ok && finding.what.contains(what), "{finding:?}");
            assert!(ok || finding.remedy.is_some());
        }
        let hostile = reach(&Tried::Not("\u{1b}[2J".to_owned()));
        assert!(hostile.ok && !hostile.what.contains('\u{1b}'));
    }
}
