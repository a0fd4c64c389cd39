//! The machine alone, in virtual time: what it sends where, and when it gives up what.

use std::time::{Duration, Instant};

use common::id::{DeviceId, OriginId, RequestId, SessionId, UserId};
use common::secret::ClusterSecret;
use common::ticket::{SessionToken, Signed};
use common::wire::client::{
    Call, InviteInfo, InviteState, Mode, Password, REVISION, Reply, Request, Response, ServerFrame,
};
use common::wire::limits::List;
use common::wire::refusal::Refusal;
use common::wire::sync::VersionVector;

use super::{Effect, LoggedIn, Machine, Session, Tell};
use crate::error::Error;

/// A machine and the time.
struct Bench {
    machine: Machine,
    now: Instant,
    woken: u32,
    effects: Vec<Effect>,
}

impl Bench {
    /// With both trackers connected, going on with a login if it is `bound`.
    fn new(trackers: usize, bound: bool) -> Self {
        let mut id = 0u8;
        let ids = move || {
            id += 1;
            RequestId::new([id; 16])
        };
        let names = (1..=trackers).map(|n| format!("tracker {n}")).collect();
        let machine = Machine::new(names, bound.then(session), 0, ids);
        let mut bench = Self { machine, now: Instant::now(), woken: 0, effects: Vec::new() };
        for index in 0..trackers {
            bench.machine.connected(bench.now, index, REVISION);
            if bound {
                let resume = bench.sent(index).expect("the token is shown");
                bench.answer(index, &resume, Mode::Dual, &[], Ok(logged_in()));
                let life = bench.sent(index).expect("a sign of life follows");
                bench.answer(index, &life, Mode::Dual, &[], Ok(Response::Done));
            }
        }
        bench.take_effects();
        bench
    }

    fn sent(&mut self, index: usize) -> Option<Call> {
        self.machine.poll_transmit(self.now, index)
    }

    fn answer(
        &mut self,
        index: usize,
        call: &Call,
        mode: Mode,
        seen: &[(OriginId, u64)],
        result: Result<Response, Refusal>,
    ) {
        let reply = Reply { number: call.number, mode, seen: vector(seen), result };
        self.machine.handle_frame(self.now, index, ServerFrame::Reply(reply));
    }

    /// Lets time go by until `done` or the end of `at_most`; how long that was.
    fn wait(&mut self, at_most: Duration, mut done: impl FnMut(&mut Self) -> bool) -> Duration {
        let began = self.now;
        while !done(self) {
            let wake = self.machine.poll_timeout().map_or(began + at_most, |at| at.min(began + at_most));
            if wake >= began + at_most {
                self.now = began + at_most;
                break;
            }
            self.now = self.now.max(wake);
            self.woken += 1;
            assert!(self.woken < 10_000, "it wants to be woken for ever");
            self.machine.handle_timeout(self.now);
        }
        self.now - began
    }

    fn take_effects(&mut self) -> Vec<Effect> {
        std::iter::from_fn(|| self.machine.poll_effect()).collect()
    }

    /// How call `number` was answered, if it was.
    fn answered(&mut self, number: u64) -> Option<Result<Response, Error>> {
        let new = self.take_effects();
        self.effects.extend(new);
        let at = self.effects.iter().position(|e| matches!(e, Effect::Answer(n, _) if *n == number))?;
        match self.effects.swap_remove(at) {
            Effect::Answer(_, result) => Some(result),
            _ => None,
        }
    }
}

fn session() -> Session {
    let user_id = UserId::new([1; 16]);
    let token = SessionToken {
        session: SessionId::new([2; 16]),
        user: user_id,
        device: DeviceId::new([3; 32]),
        credentials: 1,
        expires: u64::MAX,
    };
    let token = Signed::sign(&token, &ClusterSecret::generate().cluster_key()).expect("signed");
    Session { who: LoggedIn { user: "alice".parse().expect("a name"), user_id }, token }
}

fn logged_in() -> Response {
    let Session { who: LoggedIn { user, user_id }, token } = session();
    Response::LoggedIn { user, user_id, token }
}

fn vector(items: &[(OriginId, u64)]) -> VersionVector {
    VersionVector(List::first_of(items.iter().copied()))
}

fn groups() -> Request {
    Request::ListGroups { after: None }
}

fn create(name: &str) -> Request {
    Request::CreateGroup { group: name.parse().expect("a name") }
}

const A: OriginId = OriginId::new([0xa; 16]);
const B: OriginId = OriginId::new([0xb; 16]);

/// The trackers apart, both reachable: what the one that is not used says to a sign of life was counted as seen, and
/// the one in use, which lacks it, had to wait for it in vain.
#[test]
fn what_a_sign_of_life_tells_has_not_been_seen() {
    let mut b = Bench::new(2, true);
    let number = b.machine.call(b.now, groups());
    let call = b.sent(0).expect("sent");
    b.answer(0, &call, Mode::Solo, &[(A, 5)], Ok(Response::Done));
    assert!(b.answered(number).is_some());
    let mut lives = 0;
    b.wait(Duration::from_secs(30), |b| {
        for (index, seen) in [(0, [(A, 7)]), (1, [(B, 9)])] {
            while let Some(call) = b.sent(index) {
                lives += 1;
                b.answer(index, &call, Mode::Solo, &seen, Ok(Response::Done));
            }
        }
        false
    });
    assert!(lives >= 4, "{lives}");
    b.machine.call(b.now, groups());
    assert_eq!(b.sent(0).expect("sent").seen, vector(&[(A, 5)]));
}

/// SIGSTOP: the connection stays, and says nothing.
#[test]
fn a_tracker_that_stops_is_left_within_a_second() {
    let mut b = Bench::new(2, true);
    let number = b.machine.call(b.now, create("lab"));
    let first = b.sent(0).expect("sent");
    let mut again = None;
    let took = b.wait(Duration::from_secs(10), |b| {
        assert!(b.sent(0).is_none_or(|probe| probe.request == Request::Status));
        again = b.sent(1);
        again.is_some()
    });
    assert!(took <= Duration::from_secs(1), "{took:?}");
    let again = again.expect("the other is asked");
    assert_eq!((again.request_id, &again.request), (first.request_id, &first.request));
    assert!(b.answered(number).is_none());
    b.answer(1, &again, Mode::Solo, &[(B, 1)], Ok(Response::Done));
    assert!(b.answered(number).expect("answered").is_ok());
    assert!(!b.effects.iter().any(|e| matches!(e, Effect::Close(_))), "it may go on");
    assert!(b.effects.iter().any(|e| matches!(e, Effect::Tell(Tell::Switched { from: 0, to: 1, .. }))));
    // It does not: it is given up, too.
    b.wait(Duration::from_secs(20), |b| {
        while let Some(call) = b.sent(1) {
            b.answer(1, &call, Mode::Solo, &[], Ok(Response::Done));
        }
        b.sent(0);
        let new = b.take_effects();
        new.iter().any(|e| matches!(e, Effect::Close(0)))
    });
    assert_eq!(b.machine.view().up, [Some(false), Some(true)]);
}

/// It was counted from its last word on, however long nobody had asked it anything.
#[test]
fn a_tracker_that_nobody_asked_has_not_been_silent() {
    let mut b = Bench::new(2, true);
    b.wait(Duration::from_secs(8), |_| false);
    b.machine.call(b.now, create("lab"));
    assert!(b.sent(0).is_some());
    b.machine.handle_timeout(b.now);
    assert_eq!(b.sent(1), None);
    b.wait(Duration::from_millis(500), |b| {
        b.sent(0);
        false
    });
    assert_eq!(b.machine.view().current, Some(0));
}

/// The trackers are apart. The one in use stops; the other lacks what it showed, and has said so just before.
#[test]
fn a_tracker_that_has_waited_in_vain_does_not_wait_again() {
    let mut b = Bench::new(2, true);
    b.machine.call(b.now, groups());
    let call = b.sent(0).expect("sent");
    b.answer(0, &call, Mode::Solo, &[(A, 5)], Ok(Response::Done));
    let number = b.machine.call(b.now, groups());
    b.sent(0).expect("sent");
    let mut asked = Vec::new();
    let took = b.wait(Duration::from_secs(2), |b| {
        b.sent(0);
        asked.extend(b.sent(1));
        !asked.is_empty()
    });
    assert!(took <= Duration::from_secs(1), "{took:?}");
    // The first one speaks up, so that it is asked again when the other has waited in vain; then it stops for good.
    b.machine.heard(b.now, 0);
    b.now += Duration::from_secs(2);
    let stale = asked.pop().expect("asked");
    assert_eq!(stale.seen, vector(&[(A, 5)]));
    b.answer(1, &stale, Mode::Solo, &[(B, 3)], Err(Refusal::Stale));
    assert!(b.sent(0).is_some_and(|call| call.request == groups()));
    b.wait(Duration::from_secs(2), |b| {
        b.sent(0);
        asked.extend(std::iter::from_fn(|| b.sent(1)).filter(|call| call.request == groups()));
        !asked.is_empty()
    });
    assert_eq!(asked.pop().expect("asked").seen, vector(&[(B, 3)]), "it has waited already");
    assert!(b.answered(number).is_none());
    assert!(b.effects.iter().any(|e| matches!(e, Effect::Tell(Tell::Behind(1)))));
}

#[test]
fn a_tracker_that_was_left_may_still_answer() {
    let mut b = Bench::new(2, true);
    let number = b.machine.call(b.now, create("lab"));
    let first = b.sent(0).expect("sent");
    b.wait(Duration::from_secs(2), |b| {
        b.sent(0);
        b.sent(1).is_some()
    });
    b.answer(0, &first, Mode::Dual, &[(A, 1)], Ok(Response::Done));
    assert!(b.answered(number).expect("answered").is_ok());
}

/// Only the answer to a question that is answered at once tells how long the line is.
#[test]
fn a_long_line_is_not_taken_for_a_tracker_that_stopped() {
    let mut b = Bench::new(2, false);
    for index in 0..2 {
        b.now += Duration::from_secs(10);
        b.machine.handle_timeout(b.now);
        let lives: Vec<_> = std::iter::from_fn(|| b.sent(index)).collect();
        assert!(!lives.is_empty());
        b.now += Duration::from_millis(800);
        for life in lives {
            b.answer(index, &life, Mode::Dual, &[], Ok(Response::Done));
        }
    }
    b.machine.call(b.now, create("lab"));
    assert!(std::iter::from_fn(|| b.sent(0)).any(|call| call.request == create("lab")));
    b.wait(Duration::from_millis(1600), |b| {
        assert_eq!(b.sent(1).map(|call| call.request).filter(|r| *r != Request::Status), None);
        false
    });
    assert_eq!(b.machine.view().current, Some(0));
}

/// Part of a long answer shows that the tracker is there.
#[test]
fn a_long_answer_is_waited_for_while_it_arrives() {
    let mut b = Bench::new(2, true);
    b.machine.call(b.now, groups());
    assert!(b.sent(0).is_some());
    for _ in 0..50 {
        b.wait(Duration::from_millis(200), |b| {
            b.sent(0);
            false
        });
        b.machine.heard(b.now, 0);
    }
    assert_eq!(b.machine.view().current, Some(0));
}

/// The disk of the first tracker is full; the other one's is not.
#[test]
fn what_one_tracker_has_no_room_for_goes_to_the_other() {
    let mut b = Bench::new(2, true);
    let number = b.machine.call(b.now, create("lab"));
    let call = b.sent(0).expect("sent");
    b.answer(0, &call, Mode::Dual, &[], Err(Refusal::TrackerDiskFull));
    assert!(b.answered(number).is_none());
    assert_eq!(b.machine.view().full, [true, false]);
    let again = b.sent(1).expect("the other is asked");
    assert_eq!(again.request_id, call.request_id);
    b.answer(1, &again, Mode::Dual, &[], Ok(Response::Done));
    assert!(b.answered(number).expect("answered").is_ok());

    let number = b.machine.call(b.now, create("other"));
    let call = b.sent(1).expect("it stays there");
    b.answer(1, &call, Mode::Dual, &[], Err(Refusal::TrackerDiskFull));
    let refused = b.answered(number).expect("answered").expect_err("neither has room");
    assert_eq!(refused.code(), "tracker_disk_full");
    b.wait(Duration::from_secs(70), |b| {
        for index in 0..2 {
            while let Some(call) = b.sent(index) {
                b.answer(index, &call, Mode::Dual, &[], Ok(Response::Done));
            }
        }
        false
    });
    assert_eq!(b.machine.view().full, [false, false], "there may be room again");
}

/// The trackers are apart. The first one is full, and the other lacks what it showed: the command was sent to the first
/// again and again, as fast as it refused, and each time a person was told of a switch.
#[test]
fn a_full_tracker_is_not_asked_again_and_again_while_the_other_lacks_what_was_seen() {
    let mut b = Bench::new(2, true);
    b.machine.call(b.now, groups());
    let call = b.sent(0).expect("sent");
    b.answer(0, &call, Mode::Solo, &[(A, 5)], Ok(Response::Done));
    let number = b.machine.call(b.now, create("lab"));
    let call = b.sent(0).expect("sent");
    b.answer(0, &call, Mode::Solo, &[], Err(Refusal::TrackerDiskFull));
    let call = b.sent(1).expect("the other is asked");
    b.now += Duration::from_secs(2);
    b.answer(1, &call, Mode::Solo, &[(B, 3)], Err(Refusal::Stale));
    let call = b.sent(0).expect("there may be room by now");
    b.answer(0, &call, Mode::Solo, &[], Err(Refusal::TrackerDiskFull));
    let refused = b.answered(number).expect("answered").expect_err("there is no room");
    assert_eq!(refused.code(), "tracker_disk_full");
    assert_eq!(b.machine.view().current, Some(0), "it has what was seen");
    b.machine.call(b.now, groups());
    assert_eq!(b.sent(0).expect("lists need no room").seen, vector(&[(A, 5)]));
}

/// For a minute a refusal counts, and what needs no room has to go somewhere meanwhile.
#[test]
fn a_full_tracker_is_better_than_one_that_stopped() {
    let mut b = Bench::new(2, true);
    b.machine.call(b.now, create("lab"));
    let call = b.sent(0).expect("sent");
    b.answer(0, &call, Mode::Dual, &[], Err(Refusal::TrackerDiskFull));
    let call = b.sent(1).expect("sent");
    b.answer(1, &call, Mode::Dual, &[], Ok(Response::Done));
    b.machine.call(b.now, groups());
    b.sent(1).expect("sent");
    let took = b.wait(Duration::from_secs(5), |b| {
        b.sent(1);
        b.sent(0).is_some_and(|call| call.request == groups())
    });
    assert!(took <= Duration::from_secs(1), "{took:?}");
}

/// A client that has just been started is refused before it has met the second tracker.
#[test]
fn a_full_disk_is_not_the_last_word_before_the_other_tracker_is_met() {
    let mut b = Bench::new(2, false);
    let names = vec!["tracker 1".to_owned(), "tracker 2".to_owned()];
    b.machine = Machine::new(names, None, 0, RequestId::random);
    b.machine.connected(b.now, 0, REVISION);
    let number = b.machine.call(b.now, create("lab"));
    let call = b.sent(0).expect("sent");
    b.answer(0, &call, Mode::Dual, &[], Err(Refusal::TrackerDiskFull));
    assert!(b.answered(number).is_none(), "the other one is being dialled");
    b.machine.connected(b.now, 1, REVISION);
    let mut taken = None;
    let took = b.wait(Duration::from_secs(3), |b| {
        while let Some(call) = b.sent(0) {
            b.answer(0, &call, Mode::Dual, &[], Err(Refusal::TrackerDiskFull));
        }
        taken = b.sent(1).filter(|call| call.request == create("lab"));
        taken.is_some()
    });
    assert!(took < Duration::from_secs(1), "{took:?}");
    b.answer(1, &taken.expect("asked"), Mode::Dual, &[], Ok(Response::Done));
    assert!(b.answered(number).expect("answered").is_ok());
}

/// A tracker that lost its data, the other one away: nobody is to wait for 30 s, nor to be told that a listing may have
/// been carried out.
#[test]
fn a_tracker_that_does_not_know_the_account_is_named_at_once() {
    let mut b = Bench::new(1, false);
    b.machine = Machine::new(vec!["tracker 1".to_owned()], Some(session()), 0, RequestId::random);
    b.machine.connected(b.now, 0, REVISION);
    let number = b.machine.call(b.now, groups());
    let took = b.wait(Duration::from_secs(30), |b| {
        while let Some(call) = b.sent(0) {
            b.answer(0, &call, Mode::Solo, &[], Err(Refusal::Stale));
        }
        match b.answered(number) {
            Some(answer) => {
                let error = answer.expect_err("refused");
                assert!(matches!(&error, Error::AccountUnknown(name) if name == "tracker 1"), "{error}");
                true
            }
            None => false,
        }
    });
    assert!(took <= Duration::from_secs(2), "{took:?}");
    let number = b.machine.ready(b.now);
    assert!(b.answered(number).expect("at once").is_err());
    // A login with a password is another matter.
    let password = Password::try_from("password".to_owned()).expect("a password");
    b.machine.call(b.now, Request::Login { user: "alice".parse().expect("a name"), password });
    assert!(b.sent(0).is_some_and(|call| matches!(call.request, Request::Login { .. })));
    // And it is asked less and less often.
    let asked = std::cell::Cell::new(0);
    b.wait(Duration::from_secs(60), |b| {
        while let Some(call) = b.sent(0) {
            asked.set(asked.get() + u32::from(matches!(call.request, Request::Resume { .. })));
            b.answer(0, &call, Mode::Solo, &[], Err(Refusal::Stale));
        }
        false
    });
    assert!((5..25).contains(&asked.get()), "{}", asked.get());
}

#[test]
fn a_login_is_answered_when_it_is_stored_and_keeps_nothing_else_waiting() {
    let mut b = Bench::new(2, false);
    let password = Password::try_from("password".to_owned()).expect("a password");
    let login = b.machine.call(b.now, Request::Login { user: "alice".parse().expect("a name"), password });
    let call = b.sent(0).expect("sent");
    b.answer(0, &call, Mode::Dual, &[], Ok(logged_in()));
    assert!(b.answered(login).is_none());
    let save = b.effects.iter().find_map(|e| if let Effect::Save(n, Some(_)) = e { Some(*n) } else { None });
    let save = save.expect("it is to be stored");
    assert!(!b.effects.iter().any(|e| matches!(e, Effect::Show(_))), "it is not stored yet");
    let listing = b.machine.call(b.now, groups());
    let call = std::iter::from_fn(|| b.sent(0)).find(|call| call.request == groups()).expect("sent");
    b.answer(0, &call, Mode::Dual, &[], Ok(Response::Done));
    assert!(b.answered(listing).is_some());
    b.machine.saved(save, Ok(()));
    assert!(b.answered(login).expect("answered").is_ok());
    assert!(b.effects.iter().any(|e| matches!(e, Effect::Show(Some(_)))));
}

#[test]
fn an_idle_client_sleeps() {
    let mut b = Bench::new(2, true);
    b.woken = 0;
    b.wait(Duration::from_secs(60), |b| {
        for index in 0..2 {
            while let Some(call) = b.sent(index) {
                b.answer(index, &call, Mode::Dual, &[], Ok(Response::Done));
            }
        }
        false
    });
    assert!(b.woken <= 15, "woken {} times in a minute", b.woken);
}

#[test]
fn calls_fail_when_nobody_can_be_reached() {
    let mut b = Bench::new(1, false);
    b.machine.disconnected(b.now, 0, "the tracker is gone");
    let number = b.machine.call(b.now, groups());
    let unreachable = || super::DialError::Unreachable("refused".to_owned());
    let took = b.wait(Duration::from_secs(30), |b| {
        b.machine.failed(b.now, 0, unreachable());
        b.answered(number).is_some_and(|answer| matches!(answer, Err(Error::TrackersUnreachable(_))))
    });
    assert!(took > Duration::from_secs(2) && took < Duration::from_secs(4), "{took:?}");
}

/// The first release would end the connection at a question that it does not know, and with it everything else on it.
#[test]
fn a_tracker_of_the_first_release_is_not_asked_what_it_does_not_know() {
    let mut b = Bench::new(1, true);
    let open = || Request::OpenFile { group: "lab".parse().expect("a name"), file: "f".parse().expect("a selector") };
    let number = b.machine.call(b.now, open());
    assert_eq!(b.sent(0).expect("sent").request, open(), "one of the present release is");
    b.machine.disconnected(b.now, 0, "it was replaced by an old one");
    b.machine.connected(b.now, 0, 0);
    let resume = b.sent(0).expect("the token is shown");
    b.answer(0, &resume, Mode::Dual, &[], Ok(logged_in()));
    while let Some(call) = b.sent(0) {
        assert_ne!(call.request, open());
    }
    assert!(matches!(b.answered(number), Some(Err(Error::OldTracker))));
}

/// What a device says when it announces itself to a tracker of this revision, and what becomes of a question from there.
#[test]
fn only_a_tracker_that_asks_is_told_what_this_client_knows_and_is_answered_itself() {
    use common::wire::client::{ProbeOutcome, Push};
    let listen = "0.0.0.0:7000".parse().expect("an address");
    for (revision, knows) in [(2, false), (3, true), (REVISION, true)] {
        let mut bench = Bench::new(2, true);
        bench.machine.disconnected(bench.now, 1, "it goes");
        bench.machine.connected(bench.now, 1, revision);
        let resume = bench.sent(1).expect("the token is shown");
        bench.machine.serve_at(bench.now, listen);
        bench.answer(1, &resume, Mode::Dual, &[], Ok(logged_in()));
        let said: Vec<_> = std::iter::from_fn(|| bench.sent(1).map(|call| call.request)).collect();
        let announced_as = said.iter().filter(|r| matches!(r, Request::AnnounceAs { revision: REVISION, .. })).count();
        let announced = said.iter().filter(|r| matches!(r, Request::Announce { .. })).count();
        assert_eq!((announced_as, announced), if knows { (1, 0) } else { (0, 1) }, "{revision}: {said:?}");
    }
    let mut bench = Bench::new(2, true);
    let (id, device) = (7, DeviceId::new([9; 32]));
    bench.machine.handle_frame(bench.now, 1, ServerFrame::Push(Push::Probe { id, device, address: listen }));
    assert!(matches!(bench.take_effects()[..], [Effect::Probe(1, 7, ..)]), "it is no news");
    let outcome = ProbeOutcome::Reached;
    bench.machine.say(bench.now, 1, Request::ProbeResult { id, outcome });
    assert_eq!(bench.sent(1).map(|call| call.request), Some(Request::ProbeResult { id, outcome }));
    assert!(bench.sent(0).is_none(), "calls go to the other one, and this does not");
}

fn check_invite() -> Request {
    Request::CheckInvite { secret: common::invitation::InviteSecret::new([9; 16]) }
}

fn invitation() -> Response {
    Response::Invitation(InviteInfo {
        group: "lab".parse().expect("a name"),
        by: "alice".parse().expect("a name"),
        left: 1,
        expires: 0,
        state: InviteState::Open,
    })
}

/// The trackers apart: the one in use would refuse the account, too.
#[test]
fn who_was_shown_an_invitation_by_the_other_tracker_goes_on_there() {
    let mut b = Bench::new(2, false);
    let first = b.machine.call(b.now, check_invite());
    let call = b.sent(0).expect("sent");
    b.answer(0, &call, Mode::Solo, &[(A, 5)], Err(Refusal::NoSuchInvite));
    assert!(matches!(b.answered(first), Some(Err(Error::Refused(Refusal::NoSuchInvite)))));
    let second = b.machine.ask_there(b.now, 1, check_invite());
    assert!(b.sent(0).is_none());
    let call = b.sent(1).expect("sent");
    assert_eq!(call.seen, vector(&[]), "it is to say what it has");
    b.answer(1, &call, Mode::Solo, &[(B, 3)], Ok(invitation()));
    assert!(b.answered(second).is_some_and(|answer| answer.is_ok()));
    b.machine.call(b.now, create("other"));
    assert!(b.sent(0).is_none());
    assert_eq!(
        b.sent(1).expect("asked there").seen,
        vector(&[(B, 3)]),
        "what the first did not know has shown nothing"
    );
}

/// Both know the invitation, and that its group is closed: the client went from one to the other, and back with the next question.
#[test]
fn who_hears_of_a_closed_group_from_both_trackers_stays_where_it_is() {
    let closed = || match invitation() {
        Response::Invitation(info) => Response::Invitation(InviteInfo { state: InviteState::Closed, ..info }),
        other => other,
    };
    let mut b = Bench::new(2, false);
    for _ in 0..2 {
        let first = b.machine.call(b.now, check_invite());
        let call = b.sent(0).expect("sent to the one in use");
        b.answer(0, &call, Mode::Dual, &[(A, 5)], Ok(closed()));
        assert!(b.answered(first).is_some_and(|answer| answer.is_ok()));
        let second = b.machine.ask_there(b.now, 1, check_invite());
        let call = b.sent(1).expect("sent to the other");
        b.answer(1, &call, Mode::Dual, &[(A, 5)], Ok(closed()));
        assert!(b.answered(second).is_some_and(|answer| answer.is_ok()));
        assert_eq!(b.machine.view().current, Some(0), "the other has shown nothing that it lacks");
    }
}

#[test]
fn one_tracker_is_asked_for_itself_if_it_is_there_and_knows_the_question() {
    let mut b = Bench::new(2, false);
    let unknown = b.machine.ask_there(b.now, 1, check_invite());
    let call = b.sent(1).expect("sent");
    b.answer(1, &call, Mode::Solo, &[], Err(Refusal::NoSuchInvite));
    assert!(matches!(b.answered(unknown), Some(Err(Error::Refused(Refusal::NoSuchInvite)))));
    assert_eq!(b.machine.view().current, Some(0), "it has shown nothing");
    b.machine.disconnected(b.now, 1, "it goes");
    let away = b.machine.ask_there(b.now, 1, check_invite());
    assert!(matches!(b.answered(away), Some(Err(Error::TrackersUnreachable(_)))));
    b.machine.connected(b.now, 1, 3);
    let old = b.machine.ask_there(b.now, 1, check_invite());
    assert!(matches!(b.answered(old), Some(Err(Error::OldTracker))));
    assert!(std::iter::from_fn(|| b.sent(1)).all(|call| call.request != check_invite()));
    // The one in use is of that release, too.
    b.machine.disconnected(b.now, 0, "it goes");
    let old = b.machine.call(b.now, check_invite());
    assert!(std::iter::from_fn(|| b.sent(1)).all(|call| call.request != check_invite()));
    assert!(matches!(b.answered(old), Some(Err(Error::OldTracker))));
}

/// A kick was acknowledged by one tracker, and nobody was told that the other has not heard of it.
#[test]
fn a_change_that_one_of_two_trackers_has_is_told_apart() {
    let is_told = |trackers: usize, request: Request, mode: Mode, result: Result<Response, Refusal>| {
        let mut b = Bench::new(trackers, true);
        let number = b.machine.call(b.now, request);
        let call = b.sent(0).expect("sent");
        b.answer(0, &call, mode, &[(A, 5)], result);
        let effects = b.take_effects();
        let solo = effects.iter().position(|e| matches!(e, Effect::Solo(n) if *n == number));
        let answered = effects.iter().position(|e| matches!(e, Effect::Answer(n, _) if *n == number));
        assert!(answered.is_some() && solo < answered, "{effects:?}");
        solo.is_some()
    };
    assert!(is_told(2, create("lab"), Mode::Solo, Ok(Response::Done)));
    assert!(!is_told(2, create("lab"), Mode::Dual, Ok(Response::Done)));
    assert!(!is_told(2, groups(), Mode::Solo, Ok(Response::Done)), "it changes nothing");
    assert!(!is_told(2, create("lab"), Mode::Solo, Err(Refusal::Busy)), "nor does this");
    assert!(!is_told(1, create("lab"), Mode::Solo, Ok(Response::Done)), "there is no other");
}

/// Both trackers were stopped (SIGSTOP) with a kick on its way: it was said that none can be reached, and done all the same.
#[test]
fn what_was_sent_and_not_answered_is_in_doubt() {
    let mut b = Bench::new(2, true);
    let (kick, question) = (b.machine.call(b.now, create("lab")), b.machine.call(b.now, groups()));
    let sent: Vec<_> = std::iter::from_fn(|| b.sent(0)).collect();
    assert_eq!(sent.len(), 2);
    let mut answers = Vec::new();
    b.wait(Duration::from_secs(60), |b| {
        for index in 0..2 {
            while b.sent(index).is_some() {}
        }
        (0..2).filter(|index| b.machine.up(*index).is_none()).collect::<Vec<_>>().into_iter().for_each(|index| {
            b.machine.failed(b.now, index, super::DialError::Unreachable("it does not answer".to_owned()));
        });
        answers.extend([kick, question].into_iter().filter_map(|n| Some((n, b.answered(n)?))));
        answers.len() == 2
    });
    let of =
        |number| answers.iter().find_map(|(n, answer)| (*n == number).then_some(answer.as_ref().expect_err("none")));
    let error = of(kick).expect("answered");
    assert!(matches!(error, Error::InDoubt { .. }) && error.code() == "trackers_unreachable", "{error}");
    assert!(matches!(of(question), Some(Error::TrackersUnreachable(_))), "a question changes nothing");
}
